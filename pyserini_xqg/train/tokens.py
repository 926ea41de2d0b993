"""Tokenized pairs on the disk, mapped into memory: training reads any of them without holding all.

A directory holds ``inputs.bin`` and ``targets.bin`` (token ids of all pairs end to end, int32), ``lengths.bin`` (two
int32 a pair: tokens of its input and of its target) and ``languages.bin`` (an uint8 a pair: which of the languages).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pyserini_xqg.train.pairs import Pair

BATCH = 1024
"""Pairs tokenized at a time."""


def write_pairs(
    directory: Path,
    pairs: Iterable[Pair],
    tokenize: Callable[[Sequence[Pair]], tuple[list[list[int]], list[list[int]]]],
    languages: Sequence[str],
) -> None:
    """Tokenize ``pairs`` into files of a new ``directory``; ``tokenize`` gives input ids and target ids of each."""
    directory.mkdir(parents=True)
    index = {language: number for number, language in enumerate(languages)}
    iterator = iter(pairs)
    with (
        open(directory / "inputs.bin", "wb") as inputs,
        open(directory / "targets.bin", "wb") as targets,
        open(directory / "lengths.bin", "wb") as lengths,
        open(directory / "languages.bin", "wb") as codes,
    ):
        while batch := list(islice(iterator, BATCH)):
            rows = tokenize(batch)
            for stream, ids in zip((inputs, targets), rows, strict=True):
                stream.write(np.array([token for row in ids for token in row], dtype="<i4").tobytes())
            sizes = [[len(one), len(two)] for one, two in zip(*rows, strict=True)]
            lengths.write(np.array(sizes, dtype="<i4").tobytes())
            codes.write(np.array([index[pair.language] for pair in batch], dtype="u1").tobytes())


class TokenPairs:
    """The pairs of a directory that :func:`write_pairs` filled, as a map-style dataset for torch's ``DataLoader``.

    ``lengths`` : tokens of each input and of its target, (pairs, 2). ``languages`` : number of each pair's language.
    """

    def __init__(self, directory: Path) -> None:
        self.lengths = np.fromfile(directory / "lengths.bin", dtype="<i4").reshape(-1, 2)
        self.languages = np.fromfile(directory / "languages.bin", dtype="u1")
        self._ends = np.cumsum(self.lengths, axis=0, dtype=np.int64)
        self._inputs = np.memmap(directory / "inputs.bin", dtype="<i4", mode="r")
        self._targets = np.memmap(directory / "targets.bin", dtype="<i4", mode="r")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Input ids and target ids of a pair, int32."""
        first, last = self._ends[row] - self.lengths[row], self._ends[row]
        return self._inputs[first[0] : last[0]], self._targets[first[1] : last[1]]

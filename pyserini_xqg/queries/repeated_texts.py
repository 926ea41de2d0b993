"""Which texts occur more than once among more than fit in memory: exact counts by hashes on disk."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator

import numpy as np


class RepeatedTexts:
    """Counts texts by 64-bit hashes in a temporary file, eight bytes a text.

    ``block`` hashes are in memory at a time. The most frequent texts are kept as they are by lossy counting (Manku and
    Motwani, VLDB 2002): those that make up at least one in ``width`` are never missed.

    >>> texts = RepeatedTexts()
    >>> for word in "to be or not to be".split():
    ...     texts.add(word)
    >>> texts.count()
    (4, 4)
    >>> texts.most_frequent(2)
    [('be', 2), ('to', 2)]
    """

    def __init__(self, block: int = 1 << 19, width: int = 1 << 14) -> None:
        self._block, self._width = block, width
        self._hashes = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self._number = 0
        self._frequent: Counter[str] = Counter()
        self._entered: dict[str, tuple[int, str]] = {}

    def add(self, text: str, shown: str | None = None) -> None:
        """Count one text; ``shown`` stands for it in :meth:`most_frequent`."""
        self._hashes.write(_hash(text))
        self._number += 1
        if text not in self._frequent:
            self._entered[text] = self._number // self._width, shown or text
        self._frequent[text] += 1
        if self._number % self._width == 0:
            self._forget(self._number // self._width)

    def _forget(self, bucket: int) -> None:
        """Drop texts that cannot be among the frequent ones; the bucket in which each came bounds what was missed."""
        kept = {text: count for text, count in self._frequent.items() if count + self._entered[text][0] > bucket}
        self._frequent = Counter(kept)
        self._entered = {text: self._entered[text] for text in kept}

    def count(self) -> tuple[int, int]:
        """How many different texts there are, and how many occurrences have another of the same text."""
        different = repeated = 0
        for _, counts in self._parts():
            different += len(counts)
            repeated += int(counts[counts > 1].sum())
        return different, repeated

    def most_frequent(self, number: int) -> list[tuple[str, int]]:
        """The texts that occur most often, at least twice, with how often; equally frequent ones by the alphabet."""
        candidates = sorted(self._frequent.items(), key=lambda item: (-item[1], item[0]))[: number * 8]
        by_hash = {int.from_bytes(_hash(text), "little"): text for text, _ in candidates}
        wanted = np.array(sorted(by_hash), dtype=np.uint64)
        exact: dict[str, int] = {}
        for values, counts in self._parts():
            found = np.isin(values, wanted) & (counts > 1)
            for value, count in zip(values[found].tolist(), counts[found].tolist(), strict=True):
                exact[by_hash[value]] = count
        ordered = sorted(exact.items(), key=lambda item: (-item[1], item[0]))[:number]
        return [(self._entered[text][1], count) for text, count in ordered]

    def _parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (hashes, counts) for parts of the hash space that are small enough to sort."""
        parts = -(-self._number // self._block) or 1
        for part in range(parts):
            self._hashes.seek(0)
            chosen = [np.empty(0, dtype="<u8")]
            while data := self._hashes.read(8 * self._block):
                values = np.frombuffer(data, dtype="<u8")
                chosen.append(values[values % np.uint64(parts) == part] if parts > 1 else values)
            yield np.unique(np.concatenate(chosen), return_counts=True)
        self._hashes.seek(0, 2)


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()

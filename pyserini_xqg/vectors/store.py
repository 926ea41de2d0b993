"""The embedding store: a directory of NumPy arrays, filled in chunks and resumable at each of them.

Layout (N passages, D dimensions, T_l queries in language l, C chunks)::

    store.json          settings, corpus, counts; "complete": true when done
    docids.txt          one docid a line, in the order of the rows
    passages.npy        (N, D)   passage vectors
    sum.<l>.npy         (N, D)   sum of the passage's query vectors in language l
    count.<l>.npy       (N,)     how many were summed, int32
    vectors.<l>.npy     (T_l, D) each query's vector, passage by passage (only with --keep-query-vectors)
    sum.all.npy, mean.all.npy, count.all.npy    in place of the languages' files, with --fuse sum or --fuse mean
    centroid.<l>.npy    (C, D)   by chunk, the sum of its passages' mean query vectors in language l, float64
    chunks.jsonl        one line a committed chunk: rows, queries, SHA-256 of what it wrote to each file

How chunks are committed, and unfinished stores continued, is :mod:`pyserini_xqg.core.chunks`; what fills a store is
:mod:`pyserini_xqg.vectors.store_writer`.

A shard is a store of some consecutive passages, a whole number of chunks; ``"shard"`` in its manifest says which.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.chunks import read_entries, rows_done
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import check_files
from pyserini_xqg.vectors.layout import DOCIDS_NAME, FUSED, STORE_KIND, array_specs, stored_rows
from pyserini_xqg.vectors.settings import EncoderConfig


@dataclass(frozen=True)
class Block:
    """Consecutive passages of a store.

    first : row of the first one. passages : (rows, D) float32. sums : language -> (rows, D) float32.
    counts : language -> (rows,) int32. vectors : language -> (queries, D) float32, passage by passage, where asked for.
    """

    first: int
    passages: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.passages)

    def take(self, rows: Any) -> Block:
        """Some of the rows (an index or a slice), without the single vectors."""
        return Block(
            self.first + (rows.start or 0) if isinstance(rows, slice) else self.first,
            self.passages[rows],
            {language: values[rows] for language, values in self.sums.items()},
            {language: values[rows] for language, values in self.counts.items()},
        )


Keep = Callable[[str, int, int], np.ndarray]
"""Given a language, the number of its first query and how many follow: True for each query that is used."""


class EmbeddingStore:
    """A complete store, read in blocks or memory-mapped.

    Raises :class:`XqgError` if the directory is no store, is unfinished, or a file is missing or has lost bytes.

    Example
    -------
    >>> store = EmbeddingStore("stores/sample")                            # doctest: +SKIP
    >>> store.languages, store.array("passages").shape                     # doctest: +SKIP
    (['ar', 'bn', 'fi', 'ja', 'ko', 'ru', 'te'], (48, 384))
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.manifest = STORE_KIND.read(directory)
        if not self.manifest.get("complete"):
            raise XqgError(
                f"{directory}: unfinished, {rows_done(directory, STORE_KIND):,} of {stored_rows(self.manifest):,} "
                "passages are encoded. Run the pyserini_xqg.encode command it was begun with: it continues there."
            )
        if "shard" in self.manifest:
            shard = self.manifest["shard"]
            raise XqgError(
                f"{directory}: shard {shard['id']} of {shard['num']} (--shard-id, --shard-num), {shard['rows']:,} of "
                f"{self.manifest['corpus']['passages']:,} passages. Join all shards first: "
                "python -m pyserini_xqg.store merge <shards> --output <store>."
            )
        self._specs = {spec.name: spec for spec in array_specs(self.manifest)}
        for fault in check_files(self.directory, STORE_KIND, self.manifest, checksums=False):
            raise XqgError(f"{self.directory / fault}. {STORE_KIND.again}")

    @property
    def passages(self) -> int:
        """Number of passages."""
        return self.manifest["corpus"]["passages"]

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.manifest["dimension"]

    @property
    def languages(self) -> list[str]:
        """Languages with queries, in the store's order."""
        return list(self.manifest["corpus"]["queries"])

    @property
    def fuse(self) -> str | None:
        """``sum`` or ``mean`` if the store keeps one query vector a passage for all languages, else None."""
        return self.manifest.get("fuse")

    @property
    def encoder(self) -> EncoderConfig:
        """Configuration of the encoder that made the vectors."""
        return EncoderConfig.from_dict(self.manifest["encoder"], str(self.directory / STORE_KIND.manifest))

    @property
    def docids_path(self) -> Path:
        """The file of docids, one a line, as Pyserini's ``docid`` file."""
        return self.directory / DOCIDS_NAME

    def check_use(
        self, aggregate: str, languages: Sequence[str] | None, max_queries: int | None = None, route: bool = False
    ) -> None:
        """Raise :class:`XqgError` for what a fused store cannot give: other than all that was fused, as it was."""
        if self.fuse is None or not self.languages:
            return
        wrong = {
            f"--aggregate {aggregate}": aggregate != self.fuse,
            "--route": route,
            f"--languages {','.join(languages or ())}": languages is not None and set(languages) != set(self.languages),
            f"--max-queries {max_queries}": max_queries is not None
            and max_queries < max(self.manifest["most_queries"].values(), default=0),
        }
        if refused := [option for option, is_wrong in wrong.items() if is_wrong]:
            raise XqgError(
                f"{self.directory}: keeps one fused {self.fuse} over all queries in {', '.join(self.languages)}, so "
                f"{' and '.join(refused)} cannot be had from it. Use --aggregate {self.fuse} over all languages, or "
                "encode again without --fuse."
            )

    def array(self, name: str) -> np.memmap:
        """One array, memory-mapped read-only: ``passages``, ``sum.<l>``, ``count.<l>``, ``vectors.<l>``, …"""
        return np.load(self.directory / f"{name}.npy", mmap_mode="r")

    def centroids(self, languages: Sequence[str]) -> dict[str, np.ndarray]:
        """Language to the mean, over the passages with a query in it, of their mean query vectors; float64 (D,).

        The chunks' sums are added in their order, so that a merged store gives the same numbers.
        """
        numbers = dict.fromkeys(languages, 0)
        for entry in read_entries(self.directory, STORE_KIND):
            for language in languages:
                numbers[language] += entry["passages_with_queries"].get(language, 0)
        totals = {}
        for language in languages:
            total = np.zeros(self.dimension)
            for row in self.array(f"centroid.{language}"):
                total += row
            totals[language] = total / max(numbers[language], 1)
        return totals

    def blocks(
        self,
        languages: Sequence[str],
        max_queries: int | None = None,
        *,
        vectors: bool = False,
        keep: Keep | None = None,
        block_bytes: int = 1 << 19,
    ) -> Iterator[Block]:
        """Yield the passages in blocks of consecutive rows, about ``block_bytes`` an array.

        Parameters
        ----------
        languages : those whose queries are read.
        max_queries : keeps the first so many queries per passage and language.
        vectors : whether the blocks have the single query vectors too.
        keep : says which queries are used, by their number in the language; the others are left out.

        ``vectors``, ``keep`` and a smaller ``max_queries`` take the single query vectors, and so a store that keeps
        them: :class:`XqgError` otherwise. A fused store yields its one array as ``all`` (:meth:`check_use` first);
        counts are 0 and 1 for a mean, which is not to be divided again.
        """
        # Blocks of this size stay in the CPU's cache from the reading to the last sum, which larger ones leave.
        rows = max(1, block_bytes // (4 * self.dimension))
        kind = self.fuse or "sum"
        if self.fuse and languages:
            languages, max_queries = [FUSED], None
        single = {
            language: vectors or keep is not None or self._must_recount(language, max_queries) for language in languages
        }
        for language in (language for language, wanted in single.items() if wanted):
            self.check_query_vectors(language)
        queries_read = dict.fromkeys(languages, 0)
        with ExitStack() as stack:
            read, _ = self._readers(stack, languages)
            for first in range(0, self.passages, rows):
                number = min(rows, self.passages - first)
                sums, counts, singles = {}, {}, {}
                for language in languages:
                    counts[language] = read(f"count.{language}.npy", number)
                    if single[language]:
                        total = int(counts[language].sum())
                        found = read(f"vectors.{language}.npy", total)
                        used = keep(language, queries_read[language], total) if keep else None
                        queries_read[language] += total
                        found, counts[language] = first_queries(found, counts[language], max_queries, used)
                        sums[language] = sum_queries(found, counts[language])
                        if vectors:
                            singles[language] = found
                    else:
                        sums[language] = read(f"{kind}.{language}.npy", number)
                    if kind == "mean":
                        counts[language] = np.minimum(counts[language], 1)
                yield Block(first, read("passages.npy", number), sums, counts, singles)

    def passages_at(self, rows: Sequence[int]) -> Iterator[Block]:
        """Yield blocks of one passage with its single query vectors: those at ``rows``, which rise.

        The counts before them are read, of the vectors only theirs. :class:`XqgError` if the store keeps no queries'.
        """
        self.check_query_vectors()
        at_once = 1 << 20
        with ExitStack() as stack:
            read, skip = self._readers(stack, self.languages)
            row = 0
            for wanted in rows:
                before = dict.fromkeys(self.languages, 0)
                skip("passages.npy", wanted - row)
                while row < wanted:
                    number = min(at_once, wanted - row)
                    for language in self.languages:
                        before[language] += int(read(f"count.{language}.npy", number).sum(dtype=np.int64))
                    row += number
                counts, vectors = {}, {}
                for language in self.languages:
                    skip(f"vectors.{language}.npy", before[language])
                    counts[language] = read(f"count.{language}.npy", 1)
                    vectors[language] = read(f"vectors.{language}.npy", int(counts[language][0]))
                yield Block(row, read("passages.npy", 1), {}, counts, vectors)
                row += 1

    def _readers(
        self, stack: ExitStack, languages: Sequence[str]
    ) -> tuple[Callable[[str, int], np.ndarray], Callable[[str, int], None]]:
        """Functions that read, and that skip, the next rows of a named array, for the arrays of these languages."""
        streams = {}
        for name, spec in self._specs.items():
            kind, language = name.split(".")[:2]
            if kind == "passages" or (kind != "centroid" and language in languages):
                stream = open(self.directory / name, "rb", buffering=0)  # noqa: SIM115 (closed by the stack)
                streams[name] = stack.enter_context(stream)
                streams[name].seek(len(spec.header()))

        def skip(name: str, rows: int) -> None:
            streams[name].seek(rows * self._specs[name].row_bytes, os.SEEK_CUR)

        return lambda name, rows: self._specs[name].read(streams[name], rows), skip

    def check_query_vectors(self, language: str | None = None) -> None:
        """Raise :class:`XqgError` unless the store keeps each query's vector."""
        if not self.manifest["keep_query_vectors"]:
            raise XqgError(
                f"{self.directory}: has sums of the queries' vectors{f' in {language!r}' if language else ''}, not "
                "single ones. Encode again with --keep-query-vectors."
            )

    def _must_recount(self, language: str, max_queries: int | None) -> bool:
        if max_queries is None or max_queries >= self.manifest["most_queries"][language]:
            return False
        if not self.manifest["keep_query_vectors"]:
            raise XqgError(
                f"{self.directory}: has sums of up to {self.manifest['most_queries'][language]} queries in "
                f"{language!r}, not single vectors, so --max-queries {max_queries} cannot be taken from it. Encode "
                "again with --keep-query-vectors, or with --max-queries."
            )
        return True


def first_queries(
    vectors: np.ndarray, counts: np.ndarray, most: int | None, used: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each passage's first ``most`` query vectors of those that are ``used``, and how many each passage has then.

    vectors : (queries, D), passage by passage. counts : (passages,) queries of each. used : (queries,) bool.

    >>> first_queries(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 1]), 1)[1].tolist()
    [1, 0, 1]
    """
    counts = np.asarray(counts)
    if used is not None:
        passage = np.repeat(np.arange(len(counts)), counts)
        vectors, counts = vectors[used], np.bincount(passage[used], minlength=len(counts))
    if most is not None:
        starts = np.cumsum(counts) - counts
        position = np.arange(len(vectors)) - np.repeat(starts, counts)
        vectors, counts = vectors[position < most], np.minimum(counts, most)
    return vectors, counts.astype(np.int32)


def sum_queries(vectors: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of each passage's query vectors, float32 (passages, D), zero where a passage has none.

    vectors : (queries, D), passage by passage. counts : (passages,) queries of each.

    >>> sum_queries(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 1])).ravel().tolist()
    [3.0, 0.0, 4.0]
    """
    sums = np.zeros((len(counts), vectors.shape[1]), dtype=np.float32)
    present = counts > 0
    if present.any():
        starts = (np.cumsum(counts) - counts)[present]
        sums[present] = np.add.reduceat(np.asarray(vectors, dtype=np.float32), starts, axis=0)
    return sums

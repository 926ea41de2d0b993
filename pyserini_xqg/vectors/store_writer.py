"""What fills an embedding store: chunks of vectors, or the shards of a corpus that are joined to one store."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.chunks import ChunkJob, rows_done
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import check_job
from pyserini_xqg.core.shards import ShardKind, ordered_shards, unfinished_shard
from pyserini_xqg.vectors.layout import (
    DOCIDS_NAME,
    STORE_KIND,
    array_specs,
    chunk_sizes,
    read_chunks,
    settings_differences,
    stored_queries,
    stored_rows,
)

Centroid = tuple[np.ndarray, int]
"""Sum of some passages' mean query vectors in a language, float64 (D,), and the number of these passages."""


@dataclass(frozen=True)
class Chunk:
    """The vectors of consecutive passages, ready to be committed.

    docids : one each passage. passages : (rows, D). sums, counts : language -> (rows, D) and (rows,).
    vectors : language -> (queries, D), passage by passage, or empty.
    centroids : language -> see :data:`Centroid`; of every language of the corpus.
    kind : what ``sums`` holds; ``mean`` in a store that keeps one fused mean.
    """

    docids: Sequence[str]
    passages: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray] = field(default_factory=dict)
    centroids: Mapping[str, Centroid] = field(default_factory=dict)
    kind: str = "sum"

    def arrays(self) -> dict[str, np.ndarray]:
        """File name to the rows that go into it."""
        files = {"passages.npy": self.passages}
        for language in self.sums:
            files[f"{self.kind}.{language}.npy"] = self.sums[language]
            files[f"count.{language}.npy"] = self.counts[language]
            if language in self.vectors:
                files[f"vectors.{language}.npy"] = self.vectors[language]
        for language, (total, _) in self.centroids.items():
            files[f"centroid.{language}.npy"] = total[None]
        return files


def centroids(sums: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]) -> dict[str, Centroid]:
    """Language to the sum of the passages' mean query vectors, float64, and the number of passages with a query.

    >>> total, number = centroids({"fi": np.array([[2.0], [0.0], [6.0]])}, {"fi": np.array([2, 0, 3])})["fi"]
    >>> total.tolist(), number
    ([3.0], 2)
    """
    result = {}
    for language, values in sums.items():
        count = np.asarray(counts[language])
        means = np.asarray(values, dtype=np.float64) / np.maximum(count, 1)[:, None]
        result[language] = means.sum(axis=0), int((count > 0).sum())
    return result


class StoreWriter(ChunkJob):
    """Fills a store chunk by chunk; continues an unfinished one that has the same settings.

    Use as a context manager: it holds the store's lock, which ends with the process. Raises :class:`XqgError` as
    :class:`~pyserini_xqg.core.chunks.ChunkJob` does, and where the disk has not the room that the store needs.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, Any], **how: Any) -> None:
        self._specs = {spec.name: spec for spec in array_specs(settings)}
        headers = {spec.name: spec.header() for spec in self._specs.values()} | {DOCIDS_NAME: b""}
        self._queries_done: Counter[str] = Counter()
        super().__init__(directory, STORE_KIND, settings, headers, chunk_sizes(settings), **how)

    def start(self) -> None:
        """Begin in an empty directory, on a disk that has the room."""
        needed = sum(spec.file_bytes for spec in self._specs.values())
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise XqgError(
                f"{self.output}: the store needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free. "
                "Free some, choose another --output, or use --store-dtype float16."
            )
        super().start()

    def count(self, entry: Mapping[str, Any]) -> None:
        """Note a committed chunk."""
        super().count(entry)
        self._queries_done.update(entry["queries"])

    def write(self, chunk: Chunk) -> None:
        """Commit one chunk: after this returns, no crash can lose it."""
        data = {DOCIDS_NAME: "".join(f"{docid}\n" for docid in chunk.docids).encode("utf-8")}
        for name, rows in chunk.arrays().items():
            data[name] = self._to_bytes(name, rows, chunk.docids)
        queries = {language: int(counts.sum()) for language, counts in chunk.counts.items()}
        self.commit(len(chunk.docids), queries, {code: number for code, (_, number) in chunk.centroids.items()}, data)

    def _to_bytes(self, name: str, rows: np.ndarray, docids: Sequence[str]) -> bytes:
        dtype = np.dtype(self._specs[name].dtype)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(rows, dtype=dtype.newbyteorder("<"))
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise XqgError(
                f"{self.output}: a vector for {name} among docids {docids[0]!r} to {docids[-1]!r} is infinite or no "
                f"number in {dtype}. Encode with --store-dtype float32 and --dtype float32; if it remains, the encoder "
                "is broken."
            )
        return values.tobytes()

    def commit(
        self, rows: int, queries: Mapping[str, int], with_queries: Mapping[str, int], data: Mapping[str, bytes]
    ) -> None:
        """Commit ``rows`` passages: queries, and passages with any, by language; the bytes that each file gets."""
        entry = {"rows": rows, "queries": dict(queries), "passages_with_queries": dict(with_queries)}
        self.append({**entry, "docid_bytes": len(data[DOCIDS_NAME])}, data)

    def complete(self) -> None:
        """Mark the store complete; every row must have been written."""
        if "shard" in self.manifest and self.rows_done == stored_rows(self.manifest):
            # Known only now. Headers leave room for any number of rows, so no data has to move.
            done = {language: self._queries_done[language] for language in stored_queries(self.manifest)}
            self.manifest["shard"] = {**self.manifest["shard"], "queries": done}
            self._headers |= {spec.name: spec.header() for spec in array_specs(self.manifest)}
        self.finish(stored_rows(self.manifest))


def _read_shard(directory: str | Path) -> dict[str, Any]:
    manifest = STORE_KIND.read(directory)
    if "shard" in manifest and not manifest.get("complete"):
        raise unfinished_shard(directory, manifest, rows_done(directory, STORE_KIND), STORE_SHARDS)
    return manifest


STORE_SHARDS = ShardKind(
    "encode", "store", "directories", "encoded", _read_shard, partial(settings_differences, word="here")
)
_OF_ONE_STORE = ("format", "format_version", "complete", "manifest_sha256", "files", "versions", "shard")


def merge_shards(shards: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Join the shards of a corpus, given in any order, to the store ``output``; they stay as they are.

    Streams chunk by chunk and checks each one's SHA-256. Interrupted, the same call continues where it stopped.
    Raises :class:`XqgError` if the shards do not make one store or are damaged, and as :class:`StoreWriter` does.
    """
    check_job(output, STORE_KIND, None, overwrite, shards)
    ordered = ordered_shards(shards, STORE_SHARDS)
    settings = {key: value for key, value in ordered[0][1].items() if key not in _OF_ONE_STORE}
    total = settings["corpus"]["passages"]
    with StoreWriter(output, settings, overwrite=overwrite, inputs=shards) as writer:
        if writer.finished:
            say(f"{output}: already there, made of these shards")
            return
        with progress(total=total, unit="passages", description="merging") as bar:
            done = writer.rows_done
            for directory, manifest in ordered:
                for chunk in read_chunks(directory, manifest):
                    bar.update(chunk.entry["rows"])
                    if manifest["shard"]["first"] + chunk.first < done:
                        continue
                    if damaged := chunk.damaged():
                        raise XqgError(
                            f"{Path(directory) / damaged[0]}: damaged in the chunk of passages {chunk.first:,} to "
                            f"{chunk.first + chunk.entry['rows'] - 1:,}. Copy the shard again, or encode it again with "
                            f"--overwrite; python -m pyserini_xqg.store verify {directory} names all such places."
                        )
                    entry = chunk.entry
                    writer.commit(entry["rows"], entry["queries"], entry["passages_with_queries"], chunk.data)
        writer.complete()
    say(f"{output}: {total:,} passages from {len(ordered)} shards")

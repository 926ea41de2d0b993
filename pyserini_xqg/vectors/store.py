"""The embedding store: a directory of NumPy arrays, filled in chunks and resumable at each of them.

Layout (N passages, D dimensions, T_l queries in language l)::

    store.json          settings, corpus, counts; "complete": true when done
    docids.txt          one docid a line, in the order of the rows
    passages.npy        (N, D)   passage vectors
    sum.<l>.npy         (N, D)   sum of the passage's query vectors in language l
    count.<l>.npy       (N,)     how many were summed, int32
    vectors.<l>.npy     (T_l, D) each query's vector, passage by passage (only with --keep-query-vectors)
    sum.all.npy, mean.all.npy, count.all.npy    in place of the languages' files, with --fuse sum or --fuse mean
    chunks.jsonl        one line a committed chunk: rows, queries, SHA-256 of what it wrote to each file

How chunks are committed, and half-done stores continued, is :mod:`pyserini_xqg.core.job`.

A shard is a store of some consecutive passages, a whole number of chunks; ``"shard"`` in its manifest says
which. :mod:`pyserini_xqg.core.shards` joins the shards of a corpus to the store that one process would have written.

``python -m pyserini_xqg.store`` runs :mod:`pyserini_xqg.store`.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_directory, read_json, write_json
from pyserini_xqg.core.old_files import read_described
from pyserini_xqg.core.old_journal import (
    ChunkSizes,
    Journal,
    JournalKind,
    check_new_journal,
    differing,
    manifest_digest,
    read_entries,
)
from pyserini_xqg.vectors.settings import EncoderConfig

STORE_NAME = "store.json"
DOCIDS_NAME = "docids.txt"
STORE_FORMAT = "pyserini-xqg store"
FORMAT_VERSION = 1
DTYPES = ("float32", "float16")
FUSED = "all"
"""Stands in file names where a language does, in a store that keeps one vector for all languages."""


@dataclass(frozen=True)
class ArraySpec:
    """One array file: name, shape, dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def header(self) -> bytes:
        """The .npy header for this array."""
        import io

        buffer = io.BytesIO()
        description = {"descr": np.dtype(self.dtype).newbyteorder("<").str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, description)
        return buffer.getvalue()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape[1:], dtype=np.int64))

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file, header included."""
        return len(self.header()) + self.shape[0] * self.row_bytes


def stored_rows(manifest: Mapping[str, Any]) -> int:
    """Number of passages that the store itself holds: all of the corpus, or a shard's."""
    return manifest["shard"]["rows"] if "shard" in manifest else manifest["corpus"]["passages"]


def stored_queries(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Number of query vectors per array: by language, or all under ``all`` in a fused store.

    Of an unfinished shard an estimate: its share of the corpus.
    """
    queries = manifest["corpus"]["queries"]
    if "shard" in manifest:
        if "queries" in manifest["shard"]:
            return dict(manifest["shard"]["queries"])
        rows, passages = stored_rows(manifest), manifest["corpus"]["passages"]
        queries = {language: -(-total * rows // passages) for language, total in queries.items()}
    return {FUSED: sum(queries.values())} if manifest.get("fuse") and queries else dict(queries)


def array_specs(manifest: Mapping[str, Any]) -> list[ArraySpec]:
    """The array files of a store, from its manifest."""
    passages, dimension, dtype = stored_rows(manifest), manifest["dimension"], manifest["dtype"]
    kind = manifest.get("fuse") or "sum"
    specs = [ArraySpec("passages.npy", (passages, dimension), dtype)]
    for language, total in stored_queries(manifest).items():
        specs.append(ArraySpec(f"{kind}.{language}.npy", (passages, dimension), dtype))
        specs.append(ArraySpec(f"count.{language}.npy", (passages,), "int32"))
        if manifest["keep_query_vectors"]:
            specs.append(ArraySpec(f"vectors.{language}.npy", (total, dimension), dtype))
    return specs


@dataclass(frozen=True)
class Chunk:
    """The vectors of consecutive passages, ready to be committed.

    docids : one each passage. passages : (rows, D). sums, counts : language -> (rows, D) and (rows,).
    vectors : language -> (queries, D), passage by passage, or empty.
    kind : what ``sums`` holds; ``mean`` in a store that keeps one fused mean.
    """

    docids: Sequence[str]
    passages: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray]
    kind: str = "sum"

    def arrays(self) -> dict[str, np.ndarray]:
        """File name to the rows that go into it."""
        files = {"passages.npy": self.passages}
        for language in self.sums:
            files[f"{self.kind}.{language}.npy"] = self.sums[language]
            files[f"count.{language}.npy"] = self.counts[language]
            if language in self.vectors:
                files[f"vectors.{language}.npy"] = self.vectors[language]
        return files


class StoreWriter(Journal):
    """Fills a store chunk by chunk; continues a half-done one that has the same settings.

    Use as a context manager: it holds the store's lock, which ends with the process.

    Raises :class:`XqgError` if the directory holds a complete store (unless ``overwrite``), a half-done one
    with other settings, or something else; if another process still writes it after ``wait`` seconds; and if
    the disk is full.
    """

    def __init__(
        self, directory: str | Path, settings: Mapping[str, Any], overwrite: bool = False, wait: float = 0
    ) -> None:
        manifest = {**new_store_manifest(settings), "complete": False}
        self._specs = {spec.name: spec for spec in array_specs(manifest)}
        headers = {spec.name: spec.header() for spec in self._specs.values()} | {DOCIDS_NAME: b""}
        self._queries_done: Counter[str] = Counter()
        super().__init__(
            directory, STORE_KIND, manifest, headers, chunk_sizes(manifest), overwrite=overwrite, wait=wait
        )

    def _start(self) -> None:
        needed = sum(spec.file_bytes for spec in self._specs.values())
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise XqgError(
                f"{self.directory}: the store needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free. "
                "Free some, choose another --output, or use --store-dtype float16."
            )
        super()._start()

    def _count(self, entry: Mapping[str, Any]) -> None:
        super()._count(entry)
        self._queries_done.update(entry["queries"])

    def write(self, chunk: Chunk) -> None:
        """Commit one chunk: after this returns, no crash can lose it."""
        data = {DOCIDS_NAME: "".join(f"{docid}\n" for docid in chunk.docids).encode("utf-8")}
        for name, rows in chunk.arrays().items():
            data[name] = self._to_bytes(name, rows, chunk.docids)
        queries = {language: int(counts.sum()) for language, counts in chunk.counts.items()}
        self.commit(len(chunk.docids), queries, data)

    def _to_bytes(self, name: str, rows: np.ndarray, docids: Sequence[str]) -> bytes:
        dtype = np.dtype(self._specs[name].dtype)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(rows, dtype=dtype.newbyteorder("<"))
        if dtype.kind == "f" and not np.isfinite(values).all():
            raise XqgError(
                f"{self.directory}: a vector for {name} among docids {docids[0]!r} to {docids[-1]!r} is infinite or no "
                f"number in {dtype}. Encode with --store-dtype float32 and --dtype float32; if it remains, the encoder "
                "is broken."
            )
        return values.tobytes()

    def commit(self, rows: int, queries: Mapping[str, int], data: Mapping[str, bytes]) -> None:
        """Commit ``rows`` passages with so many ``queries`` a language: the bytes that each file gets."""
        self.append({"rows": rows, "queries": dict(queries), "docid_bytes": len(data[DOCIDS_NAME])}, data)

    def finish(self) -> None:
        """Mark the store complete; every row must have been written."""
        expected = stored_rows(self.manifest)
        if self.rows_done != expected:
            raise XqgError(
                f"{self.directory}: {self.rows_done:,} of {expected:,} passages were written. The corpus changed "
                "while it was read; run the command again."
            )
        if "shard" in self.manifest:
            # Known only now. Headers leave room for any number of rows, so no data has to move.
            done = {language: self._queries_done[language] for language in stored_queries(self.manifest)}
            self.manifest["shard"] = {**self.manifest["shard"], "queries": done}
            self._specs = {spec.name: spec for spec in array_specs(self.manifest)}
        self.manifest["complete"] = True
        self.manifest["manifest_sha256"] = manifest_digest(self.manifest)
        with self.full_disk_named():
            for name, spec in self._specs.items():
                self._write_at(name, 0, spec.header())
                self._files[name].truncate(spec.file_bytes)
                os.fsync(self._files[name].fileno())
            fsync_directory(self.directory)
            write_json(self.directory / STORE_NAME, self.manifest)


def chunk_sizes(manifest: Mapping[str, Any]) -> ChunkSizes:
    """The bytes of a store's chunks in each of its files."""
    row_bytes = {spec.name: spec.row_bytes for spec in array_specs(manifest)}

    def sizes(entry: Mapping[str, Any]) -> dict[str, int]:
        found = {DOCIDS_NAME: entry["docid_bytes"]}
        for name, size in row_bytes.items():
            vectors = name.startswith("vectors.")
            found[name] = size * (entry["queries"].get(name.split(".")[1], 0) if vectors else entry["rows"])
        return found

    return sizes


def committed_chunks(directory: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a store's ``chunks.jsonl``, see :func:`pyserini_xqg.core.old_journal.read_entries`."""
    return read_entries(directory, STORE_KIND)


# The probe's digits depend on the machine's arithmetic: it is compared with a tolerance.
_NOT_COMPARED = ("complete", "probe.", "versions.", "manifest_sha256", "shard.queries.")


def settings_differences(there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now") -> list[str]:
    """What differs between two manifests, as phrases for a message; ``word`` stands for the second.

    >>> settings_differences({"dtype": "float32"}, {"dtype": "float16"})
    ["dtype is 'float32' there and 'float16' now"]
    """
    from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance

    differences = differing(there, now, word, _NOT_COMPARED)
    if not differences and "probe" in there and "probe" in now:
        distance = probe_distance(there["probe"], now["probe"])
        if distance > TOLERANCE:
            differences.append(f"the encoder's vector of the probe text differs by {distance:.0%}: other weights")
    return differences


STORE_KIND = JournalKind(
    STORE_NAME,
    "embedding store",
    "store",
    ("rows", "queries", "sha256", "docid_bytes"),
    "Encode again with --overwrite.",
    "pass --overwrite to begin anew",
    settings_differences,
)


def new_store_manifest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest of this version's format."""
    return {"format": STORE_FORMAT, "format_version": FORMAT_VERSION, **settings}


def is_complete(directory: str | Path, settings: Mapping[str, Any]) -> bool:
    """True if ``directory`` is a complete store with these settings; :class:`XqgError` if made with others."""
    path = Path(directory) / STORE_NAME
    if not path.exists():
        return False
    there = read_json(path)
    if not there.get("complete"):
        return False
    if differences := settings_differences(there, new_store_manifest(settings)):
        raise XqgError(
            f"{directory}: a store made otherwise: {'; '.join(differences)}. Name another --store, or remove this one."
        )
    return True


def check_new_store(directory: str | Path, overwrite: bool) -> None:
    """Refuse a directory that cannot become a store, naming why."""
    check_new_journal(directory, STORE_KIND, overwrite)


def read_store_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a store, finished or not; :class:`XqgError` if the directory is no store of this version."""
    path = Path(directory) / STORE_NAME
    if not path.exists():
        raise XqgError(
            f"{directory}: no embedding store there ({STORE_NAME} is missing). Build one with pyserini_xqg.encode."
        )
    return read_described(path, STORE_FORMAT, FORMAT_VERSION, "Encode again.")


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
        self.manifest = read_store_manifest(directory)
        if not self.manifest.get("complete"):
            done = sum(entry["rows"] for entry in committed_chunks(self.directory))
            raise XqgError(
                f"{directory}: unfinished, {done:,} of {stored_rows(self.manifest):,} passages are encoded. "
                "Run the pyserini_xqg.encode command it was begun with: it continues there."
            )
        if "shard" in self.manifest:
            shard = self.manifest["shard"]
            raise XqgError(
                f"{directory}: shard {shard['id']} of {shard['num']} (--shard-id, --shard-num), {shard['rows']:,} of "
                f"{self.manifest['corpus']['passages']:,} passages. Join all shards first: "
                "python -m pyserini_xqg.store merge <shards> --output <store>."
            )
        self._specs = {spec.name: spec for spec in array_specs(self.manifest)}
        self._check_sizes()

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

    def check_use(
        self, aggregate: str, languages: Sequence[str] | None, max_queries: int | None = None, route: bool = False
    ) -> None:
        """Raise :class:`XqgError` for what a fused store cannot give: other than all that was fused, as it was."""
        if self.fuse is None:
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

    @property
    def encoder(self) -> EncoderConfig:
        """Configuration of the encoder that made the vectors."""
        return EncoderConfig.from_dict(self.manifest["encoder"], str(self.directory / STORE_NAME))

    @property
    def docids_path(self) -> Path:
        """The file of docids, one a line, as Pyserini's ``docid`` file."""
        return self.directory / DOCIDS_NAME

    def _check_sizes(self) -> None:
        expected = {name: spec.file_bytes for name, spec in self._specs.items()}
        expected[DOCIDS_NAME] = sum(entry["docid_bytes"] for entry in committed_chunks(self.directory))
        for name, size in expected.items():
            path = self.directory / name
            found = path.stat().st_size if path.exists() else None
            if found != size:
                what = "is missing" if found is None else f"has {found:,} bytes"
                raise XqgError(
                    f"{path} {what}, expected {size:,} bytes. The store is damaged: restore it from a copy, or encode "
                    "again with --overwrite."
                )

    def array(self, name: str) -> np.memmap:
        """One array, memory-mapped read-only: ``passages``, ``sum.<l>``, ``count.<l>``, ``vectors.<l>``, …"""
        return np.load(self.directory / f"{name}.npy", mmap_mode="r")

    def blocks(
        self, languages: Sequence[str], max_queries: int | None = None, block_bytes: int = 1 << 19
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield (passages, sums, counts) of consecutive rows, float32 and int32, about ``block_bytes`` an array.

        ``max_queries`` keeps the first so many queries per passage and language, which takes the single
        query vectors where the store's passages have more. A fused store yields its one array as ``all``
        (:meth:`check_use` first); counts are 0 and 1 for a mean, which is not to be divided again.
        """
        # Blocks of this size stay in the CPU's cache from the reading to the last sum, which larger ones leave.
        rows = max(1, block_bytes // (4 * self.dimension))
        kind = self.fuse or "sum"
        if self.fuse and languages:
            languages, max_queries = [FUSED], None
        recount = {language: self._must_recount(language, max_queries) for language in languages}
        with ExitStack() as stack:
            streams = {
                name: stack.enter_context(open(self.directory / name, "rb", buffering=0))
                for name, spec in self._specs.items()
                if name == "passages.npy" or name.split(".")[1] in languages
            }
            for name, stream in streams.items():
                stream.seek(len(self._specs[name].header()))
            for first in range(0, self.passages, rows):
                number = min(rows, self.passages - first)
                sums, counts = {}, {}
                for language in languages:
                    counts[language] = self._read(streams, f"count.{language}.npy", number)
                    if recount[language]:
                        vectors = self._read(streams, f"vectors.{language}.npy", int(counts[language].sum()))
                        sums[language], counts[language] = sum_first(vectors, counts[language], max_queries)
                    else:
                        sums[language] = self._read(streams, f"{kind}.{language}.npy", number)
                    if kind == "mean":
                        counts[language] = np.minimum(counts[language], 1)
                yield self._read(streams, "passages.npy", number), sums, counts

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

    def _read(self, streams: Mapping[str, IO[bytes]], name: str, rows: int) -> np.ndarray:
        spec = self._specs[name]
        values = np.empty((rows, *spec.shape[1:]), dtype=np.dtype(spec.dtype).newbyteorder("<"))
        left = memoryview(values.reshape(-1).view(np.uint8))
        while left:
            number = streams[name].readinto(left)
            if not number:
                raise XqgError(
                    f"{self.directory / name}: ends too early. The store is damaged; encode again with --overwrite."
                )
            left = left[number:]
        return values.astype(np.int32 if spec.dtype == "int32" else np.float32, copy=False)


def sum_first(vectors: np.ndarray, counts: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sum each passage's first ``most`` query vectors.

    vectors : (queries, D), passage by passage. counts : (passages,) queries of each.
    Returns sums float32 (passages, D), zero where a passage has none, and the counts that were summed.

    >>> sums, counts = sum_first(np.array([[1.0], [2.0], [4.0]]), np.array([2, 0, 1]), most=1)
    >>> sums.ravel().tolist(), counts.tolist()
    ([1.0, 0.0, 4.0], [1, 0, 1])
    """
    counts = np.asarray(counts)
    kept = counts if most is None else np.minimum(counts, most)
    if most is not None:
        starts = np.cumsum(counts) - counts
        position = np.arange(len(vectors)) - np.repeat(starts, counts)
        vectors = vectors[position < most]
    sums = np.zeros((len(counts), vectors.shape[1]), dtype=np.float32)
    present = kept > 0
    if present.any():
        starts = (np.cumsum(kept) - kept)[present]
        sums[present] = np.add.reduceat(np.asarray(vectors, dtype=np.float32), starts, axis=0)
    return sums, kept.astype(np.int32)


if __name__ == "__main__":
    from pyserini_xqg.core.cli import run
    from pyserini_xqg.store import main

    run(main)

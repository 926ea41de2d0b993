"""The embedding store: a directory of NumPy arrays, filled in chunks and resumable at each of them.

Layout (N passages, D dimensions, T_l queries in language l)::

    store.json          settings, corpus, counts; "complete": true when done
    docids.txt          one docid a line, in the order of the rows
    passages.npy        (N, D)   passage vectors
    sum.<l>.npy         (N, D)   sum of the passage's query vectors in language l
    count.<l>.npy       (N,)     how many were summed, int32
    vectors.<l>.npy     (T_l, D) each query's vector, passage by passage (only with --keep-query-vectors)
    chunks.jsonl        one line a committed chunk: rows, queries, SHA-256 of what it wrote to each file

A chunk is written to all arrays, flushed to the disk, and only then entered in ``chunks.jsonl``; what
was written after the last entry is written again on resume, byte for byte the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyserini_xqg.embedding import EncoderConfig
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import exclusive, fsync_directory, full_disk_named, read_json, write_json

STORE_NAME = "store.json"
DOCIDS_NAME = "docids.txt"
CHUNKS_NAME = "chunks.jsonl"
LOCK_NAME = ".lock"
STORE_FORMAT = "pyserini-xqg store"
FORMAT_VERSION = 1
DTYPES = ("float32", "float16")


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


def array_specs(manifest: Mapping[str, Any]) -> list[ArraySpec]:
    """The array files of a store, from its manifest."""
    passages, dimension, dtype = manifest["corpus"]["passages"], manifest["dimension"], manifest["dtype"]
    specs = [ArraySpec("passages.npy", (passages, dimension), dtype)]
    for language, total in manifest["corpus"]["queries"].items():
        specs.append(ArraySpec(f"sum.{language}.npy", (passages, dimension), dtype))
        specs.append(ArraySpec(f"count.{language}.npy", (passages,), "int32"))
        if manifest["keep_query_vectors"]:
            specs.append(ArraySpec(f"vectors.{language}.npy", (total, dimension), dtype))
    return specs


@dataclass(frozen=True)
class Chunk:
    """The vectors of consecutive passages, ready to be committed.

    docids : one each passage. passages : (rows, D). sums, counts : language -> (rows, D) and (rows,).
    vectors : language -> (queries, D), passage by passage, or empty.
    """

    docids: Sequence[str]
    passages: np.ndarray
    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """File name to the rows that go into it."""
        files = {"passages.npy": self.passages}
        for language in self.sums:
            files[f"sum.{language}.npy"] = self.sums[language]
            files[f"count.{language}.npy"] = self.counts[language]
            if language in self.vectors:
                files[f"vectors.{language}.npy"] = self.vectors[language]
        return files


class StoreWriter:
    """Fills a store chunk by chunk; continues a half-done one that has the same settings.

    Use as a context manager: it holds the store's lock, which ends with the process.

    Raises :class:`XqgError` if the directory holds a complete store (unless ``overwrite``), a half-done one
    with other settings, or something else; if another process writes it; and if the disk is full.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        self.directory = Path(directory)
        self.manifest = {"format": STORE_FORMAT, "format_version": FORMAT_VERSION, **settings, "complete": False}
        self.overwrite = overwrite
        self.rows_done = 0
        self._specs = {spec.name: spec for spec in array_specs(self.manifest)}
        self._headers = {spec.name: spec.header() for spec in self._specs.values()}
        self._vectors_done: dict[str, int] = {}

    def __enter__(self) -> StoreWriter:
        self._stack = ExitStack()
        with self._full_disk_named(), self._stack:
            check_new_store(self.directory, self.overwrite, self.manifest)
            self.directory.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(exclusive(self.directory / LOCK_NAME, self.directory))
            check_new_store(self.directory, self.overwrite, self.manifest)
            if self.overwrite:
                self._clear()
            for leftover in self.directory.glob(".*.partial"):
                leftover.unlink()
            if not (self.directory / STORE_NAME).exists():
                self._start()
            self._open()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _clear(self) -> None:
        # store.json last: killed in between, the directory is still known for a store.
        for entry in sorted(self.directory.iterdir(), key=lambda entry: entry.name == STORE_NAME):
            if entry.name != LOCK_NAME:
                entry.unlink()

    def _start(self) -> None:
        needed = sum(spec.file_bytes for spec in self._specs.values())
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise XqgError(
                f"{self.directory}: the store needs {needed / 1e9:.2f} GB, the disk has {free / 1e9:.2f} GB free. "
                "Free some, choose another --output, or use --store-dtype float16."
            )
        write_json(self.directory / STORE_NAME, self.manifest)

    def _open(self) -> None:
        committed = _committed_chunks(self.directory / CHUNKS_NAME, cut=True)
        docid_bytes = 0
        for entry in committed:
            self.rows_done += entry["rows"]
            docid_bytes += entry["docid_bytes"]
            for language, number in entry["queries"].items():
                self._vectors_done[language] = self._vectors_done.get(language, 0) + number
        if committed:
            self._check_committed(docid_bytes)
        self._files: dict[str, IO[bytes]] = {}
        for name in (*self._specs, DOCIDS_NAME, CHUNKS_NAME):
            path = self.directory / name
            path.touch()
            self._files[name] = self._stack.enter_context(open(path, "r+b", buffering=0))  # noqa: SIM115 (closed by the stack)
        self._files[DOCIDS_NAME].truncate(docid_bytes)
        self._files[DOCIDS_NAME].seek(0, os.SEEK_END)
        self._files[CHUNKS_NAME].seek(0, os.SEEK_END)
        for name, header in self._headers.items():
            self._write_at(name, 0, header)
        self._chunks_done = len(committed)

    def _check_committed(self, docid_bytes: int) -> None:
        """Refuse to continue files that have lost bytes: the gap would be read as zeros."""
        expected = {DOCIDS_NAME: docid_bytes}
        for name, spec in self._specs.items():
            rows = self._vectors_done.get(name.split(".")[1], 0) if name.startswith("vectors.") else self.rows_done
            expected[name] = len(self._headers[name]) + rows * spec.row_bytes
        for name, size in expected.items():
            path = self.directory / name
            found = path.stat().st_size if path.exists() else None
            if found is None or found < size:
                what = "is missing" if found is None else f"has {found:,} bytes"
                raise XqgError(
                    f"{path} {what}, at least {size:,} bytes were committed. The half-done store is damaged: restore "
                    "it from a copy, or pass --overwrite to begin anew."
                )

    def write(self, chunk: Chunk) -> None:
        """Commit one chunk: after this returns, no crash can lose it."""
        entry: dict[str, Any] = {
            "rows": len(chunk.docids),
            "queries": {language: int(counts.sum()) for language, counts in chunk.counts.items()},
            "sha256": {},
        }
        docids = "".join(f"{docid}\n" for docid in chunk.docids).encode("utf-8")
        entry["docid_bytes"] = len(docids)
        entry["sha256"][DOCIDS_NAME] = hashlib.sha256(docids).hexdigest()
        with self._full_disk_named():
            for name, rows in chunk.arrays().items():
                spec = self._specs[name]
                data = np.ascontiguousarray(rows, dtype=np.dtype(spec.dtype).newbyteorder("<")).tobytes()
                first = self._vectors_done.get(name.split(".")[1], 0) if name.startswith("vectors.") else self.rows_done
                self._write_at(name, len(self._headers[name]) + first * spec.row_bytes, data)
                entry["sha256"][name] = hashlib.sha256(data).hexdigest()
            _write_all(self._files[DOCIDS_NAME], docids)
            for name, stream in self._files.items():
                if name != CHUNKS_NAME:
                    os.fsync(stream.fileno())
            _write_all(self._files[CHUNKS_NAME], json.dumps(entry).encode("utf-8") + b"\n")
            os.fsync(self._files[CHUNKS_NAME].fileno())
        self.rows_done += entry["rows"]
        self._chunks_done += 1
        for language, number in entry["queries"].items():
            self._vectors_done[language] = self._vectors_done.get(language, 0) + number

    def finish(self) -> None:
        """Mark the store complete; every row must have been written."""
        expected = self.manifest["corpus"]["passages"]
        if self.rows_done != expected:
            raise XqgError(
                f"{self.directory}: {self.rows_done:,} of {expected:,} passages were written. The corpus changed "
                "while it was read; run the command again."
            )
        self.manifest["complete"] = True
        with self._full_disk_named():
            for name, spec in self._specs.items():
                self._files[name].truncate(spec.file_bytes)
                os.fsync(self._files[name].fileno())
            fsync_directory(self.directory)
            write_json(self.directory / STORE_NAME, self.manifest)

    def _write_at(self, name: str, offset: int, data: bytes) -> None:
        self._files[name].seek(offset)
        _write_all(self._files[name], data)

    def _full_disk_named(self) -> AbstractContextManager[None]:
        return full_disk_named(
            self.directory, "Free some space and run the same command again: it continues where it stopped."
        )


def _write_all(stream: IO[bytes], data: bytes) -> None:
    """Unbuffered files may write less than they are given."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def _committed_chunks(path: Path, cut: bool = False) -> list[dict[str, Any]]:
    """The entries of ``chunks.jsonl``; a last line that a crash tore does not count.

    ``cut`` takes that line off the file, which only the process that holds the lock may do.
    """
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if cut and len(whole) < len(data):
        with open(path, "r+b") as stream:
            stream.truncate(len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise XqgError(f"{path}: damaged ({error}). Encode again with --overwrite.") from error


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


# The probe's digits depend on the machine's arithmetic: it is compared with a tolerance.
_NOT_COMPARED = ("complete", "probe.", "versions.")


def settings_differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two manifests, as phrases for a message.

    >>> settings_differences({"dtype": "float32"}, {"dtype": "float16"})
    ["dtype is 'float32' there and 'float16' now"]
    """
    from pyserini_xqg.fit import TOLERANCE, probe_distance

    old, new = _flat(there), _flat(now)
    names = [name for name in dict.fromkeys([*old, *new]) if not name.startswith(_NOT_COMPARED)]
    differences = [
        f"{name} is {old.get(name)!r} there and {new.get(name)!r} now"
        for name in names
        if old.get(name) != new.get(name)
    ]
    if not differences and "probe" in there and "probe" in now:
        distance = probe_distance(there["probe"], now["probe"])
        if distance > TOLERANCE:
            differences.append(f"the encoder's vector of the probe text differs by {distance:.0%}: other weights")
    return differences


def check_new_store(directory: str | Path, overwrite: bool, manifest: Mapping[str, Any] | None = None) -> None:
    """Refuse a directory that cannot become this store (``manifest``, if known), naming why."""
    directory = Path(directory)
    if not directory.exists():
        return
    if not directory.is_dir():
        raise XqgError(f"{directory} is a file. Choose another --output.")
    entries = {entry.name for entry in directory.iterdir()} - {LOCK_NAME}
    if STORE_NAME not in entries:
        foreign = sorted(name for name in entries if not name.endswith(".partial"))
        if foreign:
            raise XqgError(
                f"{directory} exists and is no embedding store (it holds {foreign[0]}). Choose another --output."
            )
        return
    if overwrite:
        return
    there = read_json(directory / STORE_NAME)
    if there.get("complete"):
        raise XqgError(f"{directory} exists. Remove it, choose another --output, or pass --overwrite.")
    differences = settings_differences(there, manifest) if manifest is not None else []
    if differences:
        raise XqgError(
            f"{directory} holds a half-done store with other settings: {'; '.join(differences)}. Run the command it "
            "was begun with to finish it, choose another --output, or pass --overwrite to begin anew."
        )


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
        if not (self.directory / STORE_NAME).exists():
            raise XqgError(
                f"{directory}: no embedding store there ({STORE_NAME} is missing). Build one with pyserini_xqg.encode."
            )
        self.manifest = read_json(self.directory / STORE_NAME)
        if self.manifest.get("format") != STORE_FORMAT or self.manifest.get("format_version") != FORMAT_VERSION:
            raise XqgError(
                f"{self.directory / STORE_NAME}: format {self.manifest.get('format')!r} version "
                f"{self.manifest.get('format_version')!r}, expected {STORE_FORMAT!r} version {FORMAT_VERSION}. "
                "Encode again."
            )
        if not self.manifest.get("complete"):
            done = sum(entry["rows"] for entry in _committed_chunks(self.directory / CHUNKS_NAME))
            raise XqgError(
                f"{directory}: unfinished, {done:,} of {self.manifest['corpus']['passages']:,} passages are encoded. "
                "Run the pyserini_xqg.encode command it was begun with: it continues there."
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
    def encoder(self) -> EncoderConfig:
        """Configuration of the encoder that made the vectors."""
        return EncoderConfig.from_dict(self.manifest["encoder"], str(self.directory / STORE_NAME))

    @property
    def docids_path(self) -> Path:
        """The file of docids, one a line, as Pyserini's ``docid`` file."""
        return self.directory / DOCIDS_NAME

    def _check_sizes(self) -> None:
        expected = {name: spec.file_bytes for name, spec in self._specs.items()}
        expected[DOCIDS_NAME] = sum(entry["docid_bytes"] for entry in _committed_chunks(self.directory / CHUNKS_NAME))
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
        """One array, memory-mapped read-only: ``passages``, ``sum.<l>``, ``count.<l>`` or ``vectors.<l>``."""
        return np.load(self.directory / f"{name}.npy", mmap_mode="r")

    def blocks(
        self, languages: Sequence[str], max_queries: int | None = None, block_bytes: int = 32 << 20
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield (passages, sums, counts) of consecutive rows, float32 and int32, about ``block_bytes`` an array.

        ``max_queries`` keeps the first so many queries per passage and language, which takes the single
        query vectors where the store's passages have more.
        """
        rows = max(1, block_bytes // (4 * self.dimension))
        recount = {language: self._must_recount(language, max_queries) for language in languages}
        with ExitStack() as stack:
            streams = {
                name: stack.enter_context(open(self.directory / name, "rb"))
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
                        sums[language] = self._read(streams, f"sum.{language}.npy", number)
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
        shape = (rows, *spec.shape[1:])
        values = np.fromfile(streams[name], dtype=np.dtype(spec.dtype).newbyteorder("<"), count=int(np.prod(shape)))
        if values.size != int(np.prod(shape)):
            raise XqgError(
                f"{self.directory / name}: ends too early. The store is damaged; encode again with --overwrite."
            )
        wanted = np.int32 if spec.dtype == "int32" else np.float32
        return values.reshape(shape).astype(wanted, copy=False)


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

"""Files that grow chunk by chunk, in a directory of their own: work of hours that no crash can take away.

Layout of such a directory::

    <manifest>.json     what decides the content; compared when the work is continued
    chunks.jsonl        one line a committed chunk: its number, rows, counts, SHA-256 of what it wrote to each file
    …                   the files themselves

A chunk is written to all files, flushed to the disk, and only then entered in ``chunks.jsonl``; what was written
after the last entry is written again on resume. The embedding store and query generation both work this way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_path
from pyserini_xqg.core.job import Job
from pyserini_xqg.core.kinds import BY_CHUNK, Kind

CHUNKS_NAME = "chunks.jsonl"

ChunkSizes = Callable[[Mapping[str, Any]], Mapping[str, int]]
"""File name to the bytes that a chunk, given by its entry, wrote to it."""


@dataclass(frozen=True)
class ChunkKind(Kind):
    """A kind of directory that grows by chunks; ``entry``: keys of a line of ``chunks.jsonl`` after its number."""

    entry: tuple[str, ...] = ("rows", "sha256")


def read_entries(directory: str | Path, kind: ChunkKind) -> Iterator[dict[str, Any]]:
    """Yield the entries of ``chunks.jsonl``, one in memory; a last line that a crash tore does not count.

    Raises :class:`XqgError` for a line that is not as :meth:`ChunkJob.append` wrote it, or not in its place.
    """
    path = Path(directory) / CHUNKS_NAME
    if not path.exists():
        return
    with open(path, "rb") as lines:
        for number, line in enumerate(lines):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                if line != _entry_line(entry) or tuple(entry) != ("chunk", *kind.entry):
                    raise ValueError("not as it was written")
                if entry["chunk"] != number:
                    raise ValueError(f"chunk {entry['chunk']} where chunk {number} was expected")
            except (ValueError, TypeError, RecursionError) as error:
                raise XqgError(f"{path}: damaged in line {number + 1} ({error}). {kind.again}") from error
            yield entry


def rows_done(directory: str | Path, kind: ChunkKind) -> int:
    """Number of rows in the committed chunks."""
    return sum(entry["rows"] for entry in read_entries(directory, kind))


def _entry_line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode("utf-8") + b"\n"


def _cut_torn_line(path: Path) -> None:
    """Take a last line without its end off the file, which only the process that holds the lock may do."""
    if path.exists():
        with open(path, "r+b") as stream:
            stream.truncate(sum(len(line) for line in stream if line.endswith(b"\n")))


class ChunkJob(Job):
    """Writes the files of a directory chunk by chunk; continues an unfinished one that has the same settings.

    Parameters, beside those of :class:`~pyserini_xqg.core.job.Job`
    ----------
    headers : file name to the bytes it begins with, before those of the first chunk; in the order of writing.
    sizes : bytes of a chunk in each of these files, from its entry.

    What was committed is checked against its checksums when the work is continued and before it is called finished:
    :class:`XqgError` if it has lost bytes, or has others.
    """

    kind: ChunkKind

    def __init__(
        self,
        output: str | Path,
        kind: ChunkKind,
        settings: Mapping[str, Any],
        headers: Mapping[str, bytes],
        sizes: ChunkSizes,
        **how: Any,
    ) -> None:
        super().__init__(output, kind, settings, listed=(*headers, CHUNKS_NAME), **how)
        self.rows_done = 0
        self._chunks = 0
        self._headers = dict(headers)
        self._sizes = sizes
        self._bytes_done: Counter[str] = Counter()
        self._files: dict[str, IO[bytes]] = {}

    def _begin(self) -> None:
        super()._begin()
        if self.finished:
            self._count_committed()
            return
        _cut_torn_line(self.directory / CHUNKS_NAME)
        self._count_committed()
        if self.rows_done:
            self.check_committed()
        for name in (*self._headers, CHUNKS_NAME):
            path = self.directory / name
            path.touch()
            self._files[name] = self._stack.enter_context(open(path, "r+b", buffering=0))  # noqa: SIM115 (closed by the stack)
        fsync_path(self.directory)
        for name, header in self._headers.items():
            self._files[name].truncate(self._committed_bytes(name))
            self.write_at(name, 0, header)
        self._files[CHUNKS_NAME].seek(0, os.SEEK_END)

    def _count_committed(self) -> None:
        for entry in read_entries(self.directory, self.kind):
            self.count(entry)

    def check_committed(self) -> None:
        """Read all that is committed again; :class:`XqgError` for a chunk whose bytes are others now."""
        chunks = 0
        headers = {name: len(header) for name, header in self._headers.items()}
        for chunk in stored_chunks(self.directory, self.kind, headers, self._sizes):
            chunks += 1
            if damaged := chunk.damaged():
                what = "missing" if chunk.data.get(damaged[0]) is None else "damaged"
                raise XqgError(
                    f"{self.output / damaged[0]}: {what} in rows {chunk.first:,} to "
                    f"{chunk.first + chunk.entry['rows'] - 1:,}. {self.kind.again}"
                )
        if chunks != self._chunks:
            raise XqgError(
                f"{self.output / CHUNKS_NAME}: has {chunks:,} chunks, {self._chunks:,} were committed. "
                f"{self.kind.again}"
            )

    def _committed_bytes(self, name: str) -> int:
        """Length of a file up to where the next chunk goes, header included."""
        return len(self._headers[name]) + self._bytes_done[name]

    def count(self, entry: Mapping[str, Any]) -> None:
        """Note a committed chunk; called for each one, also for those of earlier processes."""
        self.rows_done += entry["rows"]
        self._chunks += 1
        self._bytes_done.update(self._sizes(entry))

    def append(self, entry: Mapping[str, Any], data: Mapping[str, bytes]) -> None:
        """Commit one chunk: the bytes that each file gets. After this returns, no crash can lose it.

        ``entry`` has the keys of the kind's entries; ``chunk`` and ``sha256`` are filled in.
        """
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
        values = {**entry, "sha256": sha256}
        line = {"chunk": self._chunks, **{key: values[key] for key in self.kind.entry}}
        with self.disk_named():
            for name in self._headers:
                self.write_at(name, self._committed_bytes(name), data[name])
            for name in self._headers:
                os.fsync(self._files[name].fileno())
            _write_all(self._files[CHUNKS_NAME], _entry_line(line))
            os.fsync(self._files[CHUNKS_NAME].fileno())
        self.count(line)

    def write_at(self, name: str, offset: int, data: bytes) -> None:
        """Write bytes into one of the files."""
        self._files[name].seek(offset)
        _write_all(self._files[name], data)

    def close_files(self) -> None:
        """Bring the files to their final lengths and the disk, headers included."""
        for name, header in self._headers.items():
            self.write_at(name, 0, header)
            self._files[name].truncate(self._committed_bytes(name))
            os.fsync(self._files[name].fileno())

    def finish(self, rows: int, **how: Any) -> dict[str, Any]:
        """Mark the work as finished: all of ``rows`` must have been written, and lie on the disk as they were written.

        Returns the manifest; see :meth:`Job.finish`. Raises :class:`XqgError` otherwise.
        """
        if self.rows_done != rows:
            raise XqgError(
                f"{self.output}: {self.rows_done:,} of {rows:,} passages were written. The corpus changed while it "
                "was read; run the command again."
            )
        with self.disk_named():
            self.close_files()
            self.check_committed()
        # The chunks' checksums hold for the arrays, and this one for the chunks.
        known = dict.fromkeys(self._headers, BY_CHUNK)
        return super().finish(sha256=known, **how)


def _write_all(stream: IO[bytes], data: bytes) -> None:
    """Unbuffered files may write less than they are given."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


@dataclass(frozen=True)
class StoredChunk:
    """A committed chunk as it lies on the disk, which may be less than, or other than, what was committed.

    entry : its line of ``chunks.jsonl``. first : its first row in this directory.
    data : file name to the bytes found; None for a file that is missing.
    """

    entry: Mapping[str, Any]
    first: int
    data: Mapping[str, bytes | None]

    def damaged(self) -> list[str]:
        """Names of the files whose bytes do not have the SHA-256 that was recorded."""
        found = {name: hashlib.sha256(data).hexdigest() for name, data in self.data.items() if data is not None}
        recorded = self.entry["sha256"]
        return [name for name in dict.fromkeys([*self.data, *recorded]) if found.get(name) != recorded.get(name)]


def stored_chunks(
    directory: str | Path, kind: ChunkKind, header_bytes: Mapping[str, int], sizes: ChunkSizes
) -> Iterator[StoredChunk]:
    """Yield the committed chunks of the files in ``header_bytes``, one in memory."""
    directory = Path(directory)
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(open(directory / name, "rb")) if (directory / name).exists() else None
            for name in header_bytes
        }
        for name, stream in streams.items():
            if stream:
                stream.seek(header_bytes[name])
        first = 0
        for entry in read_entries(directory, kind):
            size = sizes(entry)
            data = {name: stream.read(size[name]) if stream else None for name, stream in streams.items()}
            yield StoredChunk(entry, first, data)
            first += entry["rows"]


def chunks_of(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Consecutive items in lists of ``size``, the last one shorter.

    >>> list(chunks_of("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    from itertools import islice

    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk

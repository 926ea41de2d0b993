"""Files that grow chunk by chunk, in a directory of their own: work of hours that no crash can take away.

Layout of such a directory::

    <manifest>.json     what decides the content; compared when the work is continued
    chunks.jsonl        one line a committed chunk: rows, counts, SHA-256 of what it wrote to each file
    …                   the files themselves

A chunk is written to all files, flushed to the disk, and only then entered in ``chunks.jsonl``; what was written
after the last entry is written again on resume. The embedding store and query generation both work this way.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import exclusive, full_disk_named, read_json, write_json

CHUNKS_NAME = "chunks.jsonl"
LOCK_NAME = ".lock"

ChunkSizes = Callable[[Mapping[str, Any]], Mapping[str, int]]
"""File name to the bytes that a chunk, given by its entry, wrote to it."""


@dataclass(frozen=True)
class JournalKind:
    """What one kind of journal is called, and what its entries hold.

    manifest : name of the manifest's file. noun, short : what the directory is, in messages.
    entry : keys of a line of ``chunks.jsonl``, in order. again, anew : the cures for one that is damaged.
    differences : phrases for what differs between two manifests (there, now).
    """

    manifest: str
    noun: str
    short: str
    entry: tuple[str, ...]
    again: str
    anew: str
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]


def differing(
    there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now", ignored: tuple[str, ...] = ()
) -> list[str]:
    """What differs between two manifests, as phrases for a message; ``word`` stands for the second.

    Names are those of nested objects joined by dots; those that begin as in ``ignored`` are not compared.

    >>> differing({"model": {"name": "a"}, "seed": 1}, {"model": {"name": "b"}, "seed": 2}, ignored=("seed",))
    ["model.name is 'a' there and 'b' now"]
    """
    old, new = _flat(there), _flat(now)
    return [
        f"{name} is {old.get(name)!r} there and {new.get(name)!r} {word}"
        for name in dict.fromkeys([*old, *new])
        if not name.startswith(ignored) and old.get(name) != new.get(name)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own checksum."""
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8")).hexdigest()


def check_new_journal(
    directory: str | Path, kind: JournalKind, overwrite: bool, manifest: Mapping[str, Any] | None = None
) -> None:
    """Refuse a directory that cannot become this journal (``manifest``, if known), naming why."""
    directory = Path(directory)
    if not directory.exists():
        return
    if not directory.is_dir():
        raise XqgError(f"{directory} is a file. Choose another --output.")
    entries = {entry.name for entry in directory.iterdir()} - {LOCK_NAME}
    if kind.manifest not in entries:
        foreign = sorted(name for name in entries if not name.endswith(".partial"))
        if foreign:
            raise XqgError(
                f"{directory} exists and is no {kind.noun} (it holds {foreign[0]}). Choose another --output."
            )
        return
    if overwrite:
        return
    there = read_json(directory / kind.manifest)
    if there.get("complete"):
        raise XqgError(f"{directory} exists. Remove it, choose another --output, or pass --overwrite.")
    differences = kind.differences(there, manifest) if manifest is not None else []
    if differences:
        raise XqgError(
            f"{directory} holds a half-done {kind.short} with other settings: {'; '.join(differences)}. Run the "
            "command it was begun with to finish it, choose another --output, or pass --overwrite to begin anew."
        )


def read_entries(directory: str | Path, kind: JournalKind) -> Iterator[dict[str, Any]]:
    """Yield the entries of ``chunks.jsonl``, one in memory; a last line that a crash tore does not count.

    Raises :class:`XqgError` for a line that is not as :meth:`Journal.append` wrote it.
    """
    path = Path(directory) / CHUNKS_NAME
    if not path.exists():
        return
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                if tuple(entry) != kind.entry or line != _entry_line(entry):
                    raise ValueError("not as it was written")
            except (ValueError, TypeError) as error:
                raise XqgError(f"{path}: damaged in line {number} ({error}). {kind.again}") from error
            yield entry


def rows_done(directory: str | Path, kind: JournalKind) -> int:
    """Number of rows in the committed chunks."""
    return sum(entry["rows"] for entry in read_entries(directory, kind))


def _entry_line(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry).encode("utf-8") + b"\n"


def _cut_torn_line(path: Path) -> None:
    """Take a last line without its end off the file, which only the process that holds the lock may do."""
    if path.exists():
        with open(path, "r+b") as stream:
            stream.truncate(sum(len(line) for line in stream if line.endswith(b"\n")))


class Journal:
    """Writes the files of a directory chunk by chunk; continues a half-done one that has the same settings.

    Parameters
    ----------
    manifest : what decides the content, not marked as complete.
    headers : file name to the bytes it begins with, before those of the first chunk; in the order of writing.
    sizes : bytes of a chunk in each of these files, from its entry.
    overwrite : begin anew where there is such a directory.
    wait : seconds in which another process may still finish writing it.
    lock : the lock's file, if it is not to lie in the directory.
    output : what messages name where the directory is only on the way to it.

    Use as a context manager: it holds the lock, which ends with the process.

    Raises :class:`XqgError` if the directory holds a complete journal (unless ``overwrite``), a half-done one with
    other settings, or something else; if another process still writes it; if it has lost bytes that were committed;
    and if the disk is full.
    """

    def __init__(
        self,
        directory: str | Path,
        kind: JournalKind,
        manifest: Mapping[str, Any],
        headers: Mapping[str, bytes],
        sizes: ChunkSizes,
        *,
        overwrite: bool = False,
        wait: float = 0,
        lock: str | Path | None = None,
        output: str | Path | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.kind = kind
        self.manifest = dict(manifest)
        self.overwrite = overwrite
        self.wait = wait
        self.rows_done = 0
        self.output = Path(output or directory)
        self._lock = Path(lock or self.directory / LOCK_NAME)
        self._headers = dict(headers)
        self._sizes = sizes
        self._bytes_done: Counter[str] = Counter()
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Journal:
        self._stack = ExitStack()
        with self.full_disk_named(), self._stack:
            self._check()
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(exclusive(self._lock, self.output, self.wait))
            self._check()
            self.directory.mkdir(exist_ok=True)
            if self.overwrite:
                self._clear()
            for leftover in self.directory.glob(".*.partial"):
                leftover.unlink()
            if not (self.directory / self.kind.manifest).exists():
                self._start()
            self._open()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _check(self) -> None:
        """Refuse what cannot be written or continued."""
        check_new_journal(self.directory, self.kind, self.overwrite, self.manifest)

    def _clear(self) -> None:
        # The manifest last: killed in between, the directory is still known for what it is.
        for entry in sorted(self.directory.iterdir(), key=lambda entry: entry.name == self.kind.manifest):
            if entry != self._lock:
                entry.unlink()

    def _start(self) -> None:
        """Begin in an empty directory."""
        write_json(self.directory / self.kind.manifest, self.manifest)

    def _open(self) -> None:
        _cut_torn_line(self.directory / CHUNKS_NAME)
        for entry in read_entries(self.directory, self.kind):
            self._count(entry)
        if self.rows_done:
            self._check_committed()
        for name in (*self._headers, CHUNKS_NAME):
            path = self.directory / name
            path.touch()
            self._files[name] = self._stack.enter_context(open(path, "r+b", buffering=0))  # noqa: SIM115 (closed by the stack)
        for name, header in self._headers.items():
            self._files[name].truncate(self._committed_bytes(name))
            self._write_at(name, 0, header)
        self._files[CHUNKS_NAME].seek(0, os.SEEK_END)

    def _check_committed(self) -> None:
        """Refuse to continue files that have lost bytes: the gap would be read as zeros."""
        for name in self._headers:
            path, size = self.directory / name, self._committed_bytes(name)
            found = path.stat().st_size if path.exists() else None
            if found is None or found < size:
                what = "is missing" if found is None else f"has {found:,} bytes"
                raise XqgError(
                    f"{path} {what}, at least {size:,} bytes were committed. The half-done {self.kind.short} is "
                    f"damaged: restore it from a copy, or {self.kind.anew}."
                )

    def _committed_bytes(self, name: str) -> int:
        """Length of a file up to where the next chunk goes, header included."""
        return len(self._headers[name]) + self._bytes_done[name]

    def _count(self, entry: Mapping[str, Any]) -> None:
        """Note a committed chunk; called for each one, also for those of earlier processes."""
        self.rows_done += entry["rows"]
        self._bytes_done.update(self._sizes(entry))

    def append(self, entry: Mapping[str, Any], data: Mapping[str, bytes]) -> None:
        """Commit one chunk: the bytes that each file gets. After this returns, no crash can lose it.

        ``entry`` has the keys of the kind's entries; ``sha256`` is filled in.
        """
        sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}
        entry = {key: sha256 if key == "sha256" else entry[key] for key in self.kind.entry}
        with self.full_disk_named():
            for name in self._headers:
                self._write_at(name, self._committed_bytes(name), data[name])
            for name in self._headers:
                os.fsync(self._files[name].fileno())
            _write_all(self._files[CHUNKS_NAME], _entry_line(entry))
            os.fsync(self._files[CHUNKS_NAME].fileno())
        self._count(entry)

    def _write_at(self, name: str, offset: int, data: bytes) -> None:
        self._files[name].seek(offset)
        _write_all(self._files[name], data)

    def full_disk_named(self) -> AbstractContextManager[None]:
        """A full disk becomes an error that names the output and says how to go on."""
        return full_disk_named(
            self.output, "Free some space and run the same command again: it continues where it stopped."
        )


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
    directory: str | Path, kind: JournalKind, header_bytes: Mapping[str, int], sizes: ChunkSizes
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

"""Outputs that appear whole, text files plain or gzipped, and JSON lines with line numbers in every error."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.errors import XqgError


def open_text(path: str | Path) -> IO[str]:
    """Open a UTF-8 text file for reading; names that end in ``.gz`` are decompressed."""
    path = Path(path)
    if not path.exists():
        raise XqgError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise XqgError(f"{path}: a directory where a file was expected. Check the path.")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    return open(path, encoding="utf-8", newline="\n")


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file, plain or ``.gz``.

    Raises :class:`XqgError`, naming the file and the line, for bytes that are not UTF-8 and for
    truncated or corrupt gzip data.
    """
    number = 0
    with open_text(path) as lines:
        try:
            for number, line in enumerate(lines, start=1):
                yield number, line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise XqgError(
                f"{path}, after line {number}: not UTF-8 ({error.reason} at byte {error.start} of the block read). "
                "Convert the file to UTF-8."
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise XqgError(f"{path}, after line {number}: broken gzip data ({error}). Fetch the file again.") from error


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file, plain or ``.gz``; never skips a line.

    Raises :class:`XqgError`, naming the file and the line, for anything that is not one JSON object.
    """
    for number, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and endless nesting
            what = f"malformed JSON ({error})"
            if isinstance(error, json.JSONDecodeError):
                what = "an empty line" if not line.strip() else f"malformed JSON ({error.msg}, column {error.colno})"
            raise XqgError(f"{path}, line {number}: {what}. Every line must be one JSON object.") from error
        if not isinstance(record, dict):
            raise XqgError(
                f"{path}, line {number}: a JSON {type(record).__name__} where an object was expected. "
                "Every line must be one JSON object."
            )
        yield number, record


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class HashedFile:
    """A new file that is hashed as it is written, instead of being read again for its checksum.

    Use as a context manager; on leaving, what was written is on the disk. A thread does the hashing, so what is
    given to :meth:`write` must not change afterwards.

    >>> with HashedFile("/tmp/xqg-doctest.bin") as out:
    ...     out.write(b"abc")
    >>> out.sha256 == sha256_file("/tmp/xqg-doctest.bin")
    True
    """

    def __init__(self, path: str | Path) -> None:
        self._path, self._hash = path, hashlib.sha256()
        self._hashing: deque[Future[None]] = deque()

    def __enter__(self) -> HashedFile:
        self._stream = open(self._path, "wb")
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._thread.shutdown()
        with self._stream:
            if kind is None:
                self._stream.flush()
                os.fsync(self._stream.fileno())

    def write(self, data: Any) -> None:
        """Write the bytes of ``data``, all of them."""
        self._hashing.append(self._thread.submit(self._hash.update, data))
        self._stream.write(data)
        if len(self._hashing) > _HASHED_LATER:  # bounds what is kept for the thread
            self._hashing.popleft().result()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written, in hexadecimal; once the file is closed."""
        return self._hash.hexdigest()


_HASHED_LATER = 4
_END: Any = object()


def read_ahead(items: Iterable[Any], number: int = 2) -> Iterator[Any]:
    """Yield ``items`` while a thread makes the next ``number`` of them; errors come where the item would have.

    >>> list(read_ahead(range(5)))
    [0, 1, 2, 3, 4]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, iterator, _END) for _ in range(number))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, iterator, _END))
            yield item


def fsync_directory(path: str | Path) -> None:
    """Make renames and new names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def write_whole(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears under ``path`` only when the block ends without an error.

    Written beside the target, flushed to the disk, then renamed over it, so that neither a crash
    nor an error leaves half a file.

    >>> with write_whole("/tmp/xqg-doctest.txt") as out:
    ...     _ = out.write("whole")
    >>> open("/tmp/xqg-doctest.txt").read()
    'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    encoding = None if "b" in mode else "utf-8"
    try:
        with open(partial, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
        fsync_directory(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all: UTF-8, indented, keys in the order given."""
    with write_whole(path) as out:
        json.dump(value, out, ensure_ascii=False, indent=2)
        out.write("\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds one object; :class:`XqgError` if it is missing or malformed."""
    path = Path(path)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise XqgError(f"{path}: no such file. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise XqgError(f"{path}: malformed JSON ({error}). Build it again.") from error
    if not isinstance(value, dict):
        raise XqgError(f"{path}: a JSON object was expected. Build it again.")
    return value


def read_described(path: str | Path, kind: str, version: int, again: str) -> dict[str, Any]:
    """Read a JSON file whose ``format`` and ``format_version`` must be these; ``again`` is the cure for another one."""
    value = read_json(path)
    if (found := (value.get("format"), value.get("format_version"))) != (kind, version):
        raise XqgError(
            f"{path}: format {found[0]!r} version {found[1]!r}, expected {kind!r} version {version}. {again}"
        )
    return value


def check_output(path: str | Path, overwrite: bool) -> None:
    """Refuse an output that exists, before any work is done."""
    if Path(path).exists() and not overwrite:
        raise XqgError(f"{path} exists. Remove it, choose another --output, or pass --overwrite.")


@contextmanager
def full_disk_named(output: str | Path, cure: str) -> Iterator[None]:
    """Turn 'no space left' into an :class:`XqgError` that names the output and says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise XqgError(f"{output}: the disk is full ({error.strerror}). {cure}") from error
        raise


@contextmanager
def whole_directory(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside ``path`` that becomes ``path`` when the block ends without an error.

    A second process that writes the same ``path`` is refused; what a killed one left behind is cleared.
    An existing ``path`` is refused unless ``overwrite``; it then stays in place until the new one is complete.
    """
    path = Path(os.path.abspath(path))
    check_output(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with (
        full_disk_named(path, "Free some space and run the command again."),
        exclusive(path.with_name(f".{path.name}.lock"), path),
    ):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            fsync_directory(partial)
            check_output(path, overwrite)
            replaced = path.with_name(f".{path.name}.replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            if path.exists():
                os.replace(path, replaced)
            os.replace(partial, path)
            fsync_directory(path.parent)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def exclusive(lock_file: str | Path, output: str | Path, wait: float = 0) -> Iterator[None]:
    """Hold a lock that ends with this process; :class:`XqgError` if another one holds it after ``wait`` seconds."""
    from filelock import FileLock, Timeout

    Path(lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_file, timeout=wait):
            yield
    except Timeout as error:
        raise XqgError(
            f"{output}: another process is writing it. Wait for it to end, or choose another --output."
        ) from error

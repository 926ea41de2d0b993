"""Outputs that appear whole, text files plain or gzipped, and JSON lines with line numbers in every error."""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.errors import XqgError

MOST_CHARACTERS = 1 << 26
"""Of one line: what a small compressed file may become is bounded."""

_PACKED = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "Parquet"}
"""How files begin that are no text, and what they are."""


def open_text(path: str | Path) -> IO[str]:
    """Open a UTF-8 text file for reading, plain or gzipped, whatever its name; a byte order mark is dropped."""
    path = Path(path)
    if not path.exists():
        raise XqgError(f"{path}: no such file. Check the path.")
    if path.is_dir():
        raise XqgError(f"{path}: a directory where a file was expected. Check the path.")
    stream: Any = open(path, "rb")  # noqa: SIM115 (closed with the text stream around it)
    head = stream.peek(8)
    if head.startswith(b"\x1f\x8b"):
        stream = _Gzip(fileobj=stream)
    elif what := next((name for start, name in _PACKED.items() if head.startswith(start)), None):
        stream.close()
        raise XqgError(f"{path}: a {what} file where text was expected. Unpack or convert it first (gzip is read).")
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")):
        stream.close()
        raise XqgError(f"{path}: not UTF-8 but UTF-16. Convert the file to UTF-8.")
    elif path.suffix == ".gz" and head:
        stream.close()
        raise XqgError(f"{path}: its name says gzip, but it is not. Name it without .gz, or fetch the file again.")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="\n")


class _Gzip(gzip.GzipFile):
    """Closes the file below it too."""

    def close(self) -> None:
        below = self.fileobj
        super().close()
        if below is not None:
            below.close()


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of a UTF-8 text file, as :func:`open_text` reads it.

    Raises :class:`XqgError`, naming the file and the line, for bytes that are not UTF-8, for truncated or corrupt gzip
    data, and for a line of more than :data:`MOST_CHARACTERS`.
    """
    number = 0
    with open_text(path) as lines:
        try:
            while line := lines.readline(MOST_CHARACTERS):
                number += 1
                if len(line) == MOST_CHARACTERS:
                    raise XqgError(
                        f"{path}, line {number}: more than {MOST_CHARACTERS:,} characters on one line. "
                        "Break it up, or leave it out."
                    )
                yield number, line.rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise XqgError(
                f"{path}, after line {number}: not UTF-8 ({error.reason} at byte {error.start} of the block read). "
                "Convert the file to UTF-8."
            ) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise XqgError(f"{path}, after line {number}: broken gzip data ({error}). Fetch the file again.") from error


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON-lines file, as :func:`open_text` reads it; never skips a line.

    Raises :class:`XqgError`, naming the file and the line, for anything that is not one JSON object.
    """
    for number, line in read_lines(path):
        yield number, json_object(line, path, number)


def json_object(line: str, path: str | Path, number: int) -> dict[str, Any]:
    """The object on a line of JSON lines; :class:`XqgError`, naming file and line, if it is anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and endless nesting
        what = f"malformed JSON ({error})"
        if number == 1 and line.strip() in ("{", "[", "[{"):
            what = "JSON over several lines"
        elif isinstance(error, json.JSONDecodeError):
            what = "an empty line" if not line.strip() else f"malformed JSON ({error.msg}, column {error.colno})"
        raise XqgError(f"{path}, line {number}: {what}. Every line must be one JSON object.") from error
    if not isinstance(record, dict):
        raise XqgError(
            f"{path}, line {number}: a JSON {type(record).__name__} where an object was expected. "
            "Every line must be one JSON object."
        )
    return record


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


def fsync_path(path: str | Path) -> None:
    """Make a file's bytes, or renames and new names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def resolved(path: str | Path) -> Path:
    """The path without links, absolute; where it leads to nothing, the place where that would be."""
    return Path(path).resolve()


@contextmanager
def write_file(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears under ``path`` only when the block ends without an error.

    Written beside the target, flushed to the disk, then renamed over it, so that neither a crash nor an error leaves
    half a file. A device or a pipe is written to as it is.

    >>> with write_file("/tmp/xqg-doctest.txt") as out:
    ...     _ = out.write("whole")
    >>> open("/tmp/xqg-doctest.txt").read()
    'whole'
    """
    target = resolved(path)
    encoding = None if "b" in mode else "utf-8"
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise XqgError(f"{path}: is a directory. Name a file.")
        with open(target, mode, encoding=encoding) as stream:
            yield stream
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    partial = partial_path(target)
    try:
        with named_errors(path), open(partial, mode, encoding=encoding) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        os.replace(partial, target)
        fsync_path(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all: UTF-8, indented, keys in the order given."""
    with write_file(path) as out:
        json.dump(value, out, ensure_ascii=False, indent=2)
        out.write("\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with write_file(path) as out:
        out.write(text)


def partial_path(path: Path) -> Path:
    """Where this process writes what is to become ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes left of an output: partial files and directories that no living process writes."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        pid = leftover.name.removeprefix(f".{path.name}.").removesuffix(".partial")
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # its number came again: the file is of an earlier process, or of ours that ended with an error
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_CURES = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file has reached the largest size allowed (see ulimit -f)",
    errno.EROFS: "the file system is read-only",
}


@contextmanager
def named_errors(
    output: str | Path, cure: str = "Free some space or choose another place, and run the command again."
) -> Iterator[None]:
    """Turn an error of the disk into an :class:`XqgError` that names the output and says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno in _CURES:
            raise XqgError(f"{output}: {_CURES[error.errno]} ({error.strerror}). {cure}") from error
        raise

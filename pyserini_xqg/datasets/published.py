"""The published files: where a local copy may be, whether it is the published one, and how to get it otherwise."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file, write_file
from pyserini_xqg.core.output import exclusive

DATA_VARIABLE = "PYSERINI_XQG_DATA"
"""Environment variable: a directory with the published files in subdirectories ``xor-tydi`` and ``xquad``."""

STORE_LAYOUT = 1
"""To be raised when the same file would be read into other records: document stores are then built anew."""

_WAIT_SECONDS = 24 * 3600.0
"""For another process that downloads the same file."""

_CHECKED: set[tuple[str, str, int, int, int]] = set()
"""Checksums that held in this process: (sha256, path, size, time of change, time of modification)."""


@dataclass(frozen=True)
class PublishedFile:
    """One published file: in ``$PYSERINI_XQG_DATA/<folder>``, else in ir_datasets' home, else downloaded to the latter.

    size : in bytes; approximate, and not checked, where there is no ``sha256``. alternatives : other names that a
    local copy may have. check : raises for a download that is something else, such as a server's error page; for
    files without a checksum.
    """

    folder: str
    name: str
    url: str
    size: int | None = None
    sha256: str | None = None
    alternatives: tuple[str, ...] = ()
    check: Callable[[Path], None] | None = None

    def local(self) -> Path | None:
        """The local copy, unchecked, or None."""
        for directory in self._directories():
            for name in (self.name, *self.alternatives):
                if (path := directory / name).is_file():
                    return path
        return None

    def path(self, force: bool = True) -> Path:
        """The local copy, checked; it is downloaded if there is none.

        With ``force`` off, where it is or would be.
        """
        path = self.local()
        if not force:
            return path or self._home() / self.name
        if path is None:
            return self._download()
        # The checksum is that of the file as published, not of the same data under another name.
        if path.name == self.name and (how := self._mismatch(path)):
            raise XqgError(f"{path} is not the published file: {how}. Remove it, or replace it by {self.url}")
        return path

    def _home(self) -> Path:
        from ir_datasets.util import home_path

        return Path(home_path()) / self.folder

    def _directories(self) -> Iterator[Path]:
        if root := os.environ.get(DATA_VARIABLE):
            if not Path(root).is_dir():
                raise XqgError(
                    f"${DATA_VARIABLE} is {root!r}, which is no directory. Set it to the directory that holds "
                    f"{self.folder}/{self.name}, or unset it."
                )
            yield Path(root) / self.folder
        yield self._home()

    def _mismatch(self, path: Path) -> str | None:
        """How a file differs from the published one, or None if it does not, or if no checksum is known."""
        if self.sha256 is None:
            return None
        status = path.stat()
        key = (self.sha256, str(path), status.st_size, status.st_ctime_ns, status.st_mtime_ns)
        if key in _CHECKED:
            return None
        # The size first: it is at hand, and it tells a truncated file from a changed one.
        if self.size is not None and status.st_size != self.size:
            return f"it has {status.st_size:,} bytes, expected {self.size:,}"
        if (digest := sha256_file(path)) != self.sha256:
            return f"its SHA-256 is {digest}, expected {self.sha256}"
        _CHECKED.add(key)
        return None

    def _download(self) -> Path:
        from ir_datasets.util import RequestsDownload

        target = self._home() / self.name
        with exclusive(target.with_name(f".{self.name}.lock"), target, _WAIT_SECONDS):
            if target.is_file():  # by another process, before this one had the lock
                return target
            try:
                with write_file(target, "wb") as out, RequestsDownload(self.url).stream() as sent:
                    shutil.copyfileobj(sent, out)
                    out.flush()
                    if how := self._mismatch(Path(out.name)):
                        raise XqgError(f"what was sent is not the published file: {how}")
                    if self.check is not None:
                        self.check(Path(out.name))
            except (OSError, RuntimeError, ValueError) as error:
                raise XqgError(
                    f"{self.url}: the download failed ({_reason(error)}). Fetch the file yourself and put it at "
                    f"{target}, or at {self.folder}/{self.name} in a directory that ${DATA_VARIABLE} names."
                ) from error
        return target


def _reason(error: Exception) -> str:
    """An exception on one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def fingerprint(path: Path) -> str:
    """A short name for a file's content: from its size and its first and last MiB.

    Cheap for the 13 GB of XOR-TyDi's passages, and the same wherever the file lies. It keeps a document store that
    was built from another file from being used.
    """
    mebibyte = 1 << 20
    size = path.stat().st_size
    with open(path, "rb") as stream:
        digest = hashlib.sha256(f"{STORE_LAYOUT} {size}".encode())
        digest.update(stream.read(mebibyte))
        stream.seek(max(0, size - mebibyte))
        digest.update(stream.read(mebibyte))
    return digest.hexdigest()[:16]

"""The published files: where a local copy may be, whether it is the published one, and how to get it otherwise."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file, write_file
from pyserini_xqg.core.output import exclusive

DATA_VARIABLE = "PYSERINI_XQG_DATA"
"""Environment variable: a directory with the published files in subdirectories ``xor-tydi`` and ``xquad``."""

_WAIT_SECONDS = 24 * 3600.0
"""For another process that downloads the same file."""


@dataclass(frozen=True)
class PublishedFile:
    """One published file: in ``$PYSERINI_XQG_DATA/<folder>``, else in ir_datasets' home, else downloaded to the latter.

    alternatives : other names that a local copy may have. check : raises for a download that is something else, such
    as a server's error page; for files without a checksum.
    """

    folder: str
    name: str
    url: str
    sha256: str | None = None
    alternatives: tuple[str, ...] = ()
    check: Callable[[Path], object] | None = None

    def path(self, force: bool = True) -> Path:
        """The local copy, checked; it is downloaded if there is none.

        With ``force`` off, where it is or would be.
        """
        from ir_datasets.util import home_path

        home = Path(home_path()) / self.folder
        directories = [home]
        if root := os.environ.get(DATA_VARIABLE):
            if not Path(root).is_dir():
                raise XqgError(
                    f"${DATA_VARIABLE} is {root!r}, which is no directory. Set it to the directory that holds "
                    f"{self.folder}/{self.name}, or unset it."
                )
            directories.insert(0, Path(root) / self.folder)
        copies = (directory / name for directory in directories for name in (self.name, *self.alternatives))
        path = next(filter(Path.is_file, copies), home / self.name)
        if not force:
            return path
        if not path.is_file():
            return self._download(path)
        # The checksum is that of the file as published, not of the same data under another name.
        if path.name == self.name and (how := self._mismatch(path)):
            raise XqgError(f"{path} is not the published file: {how}. Remove it, or replace it by {self.url}")
        return path

    def _mismatch(self, path: Path) -> str | None:
        """How a file differs from the published one, or None if it does not, or if no checksum is known."""
        if self.sha256 is None:
            return None
        status = path.stat()
        digest = _sha256(path, status.st_size, status.st_ctime_ns, status.st_mtime_ns)
        return None if digest == self.sha256 else f"its SHA-256 is {digest}, expected {self.sha256}"

    def _download(self, target: Path) -> Path:
        from ir_datasets.util import RequestsDownload

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
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise XqgError(
                    f"{self.url}: the download failed ({reason}). Fetch the file yourself and put it at "
                    f"{target}, or at {self.folder}/{self.name} in a directory that ${DATA_VARIABLE} names."
                ) from error
        return target


@functools.cache
def _sha256(path: Path, *state: int) -> str:
    """A file's checksum, made once in a process as long as its size and times stay."""
    return sha256_file(path)

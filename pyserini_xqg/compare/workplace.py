"""The output directory of a comparison: its pieces are made once, and remembered with their settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file, write_json
from pyserini_xqg.core.old_files import exclusive, full_disk_named, read_described
from pyserini_xqg.core.old_journal import differing

MARK = "comparison.json"
FORMAT = "pyserini-xqg comparison"
FORMAT_VERSION = 1
_LOCK = ".lock"


class Workplace:
    """Where a comparison is made, and continued.

    ``work/`` holds stores and indexes, ``runs/`` the TREC runs, ``pieces/`` one JSON file a finished piece: the
    settings it was made with, and what is to be remembered of it (times, sizes).
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work, self.runs, self._pieces = directory / "work", directory / "runs", directory / "pieces"
        for place in (self.work, self.runs, self._pieces):
            place.mkdir(exist_ok=True)

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        """Raise :class:`XqgError` if the piece ``name`` was made with other settings."""
        there = self._read(name)
        if there and (differences := differing(there["settings"], settings)):
            raise XqgError(
                f"{self.directory}: {name} was made otherwise: {'; '.join(differences)}. Choose another --output, or "
                "pass --overwrite to begin anew."
            )

    def piece(
        self, name: str, settings: Mapping[str, Any], make: Callable[[], dict[str, Any]], product: Path | None = None
    ) -> dict[str, Any]:
        """What is remembered of the piece ``name``; ``make`` makes it, and returns that, if it is not there yet.

        ``product`` is the file or directory that it makes: if that is gone, it is made again.

        Raises :class:`XqgError` if it was made with other settings (JSON values), and if a file was changed since.
        """
        self.check(name, settings)
        noted = self._read(name)
        if noted and (product is None or product.exists()):
            if noted.get("sha256") and noted["sha256"] != sha256_file(product):
                raise XqgError(f"{product}: was changed since it was made. Remove it, and it is made again.")
            return noted["result"]
        result = make()
        checksum = sha256_file(product) if product and product.is_file() else None
        noted = {"format": FORMAT, "format_version": FORMAT_VERSION, "settings": settings}
        write_json(self._pieces / f"{name}.json", {**noted, "result": result, "sha256": checksum})
        return result

    def result(self, name: str) -> dict[str, Any] | None:
        """What is remembered of the piece ``name``; None if it is not made yet."""
        noted = self._read(name)
        return noted["result"] if noted else None

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._pieces / f"{name}.json"
        return (
            read_described(path, FORMAT, FORMAT_VERSION, "Pass --overwrite to begin anew.") if path.exists() else None
        )


@contextmanager
def open_workplace(output: str | Path, overwrite: bool = False) -> Iterator[Workplace]:
    """The directory ``output``, new or with an earlier comparison, held against other processes.

    Raises :class:`XqgError` if it is something else, or if another process holds it. ``overwrite`` empties it first.
    """
    directory = Path(output)
    if directory.exists() and not directory.is_dir():
        raise XqgError(f"{output} exists and is a file. Choose another --output.")
    held = {entry.name for entry in directory.iterdir()} - {_LOCK} if directory.exists() else set()
    if held and MARK not in held:
        raise XqgError(f"{output} exists and is no comparison (it holds {min(held)}). Choose another --output.")
    directory.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_named(output, "Free some space and run the same command again."),
        exclusive(directory / _LOCK, output),
    ):
        if overwrite:
            for name in held - {MARK}:
                entry = directory / name
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        write_json(directory / MARK, {"format": FORMAT, "format_version": FORMAT_VERSION})
        yield Workplace(directory)


def directory_size(directory: str | Path) -> int:
    """Bytes of the files in an index directory; its lock files do not count."""
    files = (path for path in Path(directory).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.suffix != ".lock" and path.name != _LOCK)

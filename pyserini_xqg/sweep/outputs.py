"""The directory of a sweep: its settings, its runs, and which of them are done.

Layout::

    sweep.json      what decides the runs: stores, topics, searcher, hits; compared when the sweep is continued
    runs/           one TREC run a grid point, and one a cross-validated setting; each appears whole
    scores/         with a filter: the scores of each store's queries
    …               tables, figures, values by question; written anew each time
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.old_files import exclusive, full_disk_named, read_described, write_whole
from pyserini_xqg.core.old_journal import LOCK_NAME, differing
from pyserini_xqg.vectors.manifest import package_versions

SETTINGS_NAME = "sweep.json"
SWEEP_FORMAT = "pyserini-xqg sweep"
FORMAT_VERSION = 1


class SweepDirectory:
    """The output of a sweep, held by one process; use :func:`sweep_directory`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run_path(self, name: str) -> Path:
        """The run file of a grid point."""
        return self.path / "runs" / f"{name}.txt"

    def is_done(self, name: str) -> bool:
        """True if the run has been written: it appears whole or not at all."""
        return self.run_path(name).exists()

    def write_run(self, name: str, lines: Iterable[str]) -> None:
        """Write a run, whole or not at all."""
        self.write(f"runs/{name}.txt", lines)

    def write(self, name: str, lines: Iterable[str]) -> None:
        """Write a text file of the sweep, whole or not at all."""
        with write_whole(self.path / name) as out:
            out.writelines(lines)


@contextmanager
def sweep_directory(path: str | Path, settings: Mapping[str, Any]) -> Iterator[SweepDirectory]:
    """Hold a sweep's directory for this process: a new one, or one that was begun with the same settings.

    Raises :class:`XqgError` for one of other settings (which are named), for a directory that holds something else, and
    if another process writes it.
    """
    path = Path(path)
    check_sweep_directory(path, settings)
    with (
        full_disk_named(path, "Free some space and run the command again: it continues there."),
        exclusive(path / LOCK_NAME, path),
    ):
        check_sweep_directory(path, settings)  # again: another process may have begun it meanwhile
        (path / "runs").mkdir(exist_ok=True)
        for leftover in [*path.glob(".*.partial"), *(path / "runs").glob(".*.partial")]:
            leftover.unlink()
        if not (path / SETTINGS_NAME).exists():
            write_json(path / SETTINGS_NAME, {**_described(settings), "versions": package_versions()})
        yield SweepDirectory(path)


def check_sweep_directory(path: str | Path, settings: Mapping[str, Any]) -> None:
    """Refuse a directory that cannot become this sweep, naming why; changes nothing."""
    path = Path(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise XqgError(f"{path} is a file. Choose another --output.")
    if not (path / SETTINGS_NAME).exists():
        held = set(os.listdir(path)) - {LOCK_NAME, "runs"}
        if foreign := sorted(name for name in held if not name.endswith(".partial")):
            raise XqgError(f"{path} exists and is no sweep (it holds {foreign[0]}). Choose another --output.")
        return
    there = read_described(
        path / SETTINGS_NAME, SWEEP_FORMAT, FORMAT_VERSION, "Choose another --output, or use the version that wrote it."
    )
    if differences := differing(there, _described(settings), ignored=("versions.",)):
        raise XqgError(
            f"{path} holds a sweep of other settings: {'; '.join(differences)}. Choose another --output, or remove it."
        )


def _described(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"format": SWEEP_FORMAT, "format_version": FORMAT_VERSION, **settings}

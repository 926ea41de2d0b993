"""Long work on one output: settings, lock, resume, refusal of other settings, checks of what lies on the disk.

A :class:`Job` is a directory with a manifest. It is made of pieces, each made once and remembered with its settings,
or, as a :class:`~pyserini_xqg.core.chunks.ChunkJob`, of chunks that are appended to files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import named_errors, remove_leftovers, resolved
from pyserini_xqg.core.kinds import LOCK_NAME, Kind, directory_digest, seal
from pyserini_xqg.core.output import check_apart, check_directory, exclusive

CONTINUES = "Free some space and run the same command again: it continues where it stopped."
PIECES = "pieces"
_PIECE = Kind("piece of work", "", "pyserini-xqg piece", 2, "the same command")


class Job:
    """Work on one directory, which is continued where it stopped; a context manager that holds the directory's lock.

    Parameters
    ----------
    output : the directory.
    kind : what it is to become.
    settings : JSON values that decide the content; an unfinished directory with others is refused.
    overwrite : begin anew where there is such a directory, finished or not.
    wait : seconds in which another process may still finish writing it.
    inputs : files and directories that are read; the output must be none of them, lie in none, and hold none.
    listed : names in it that are ours while the work goes on; those that end in ``/`` with all below them.

    Raises :class:`XqgError`, before anything is changed, if the directory is something else, or unfinished with other
    settings, or finished with others; if ``overwrite`` would remove what is not ours; if another process writes it.
    A finished directory with the same settings is left as it is: :attr:`finished` is then true.

    >>> kind = Kind("example", "example.json", "example", 1, "a doctest")
    >>> with Job("/tmp/xqg-doctest-job", kind, {"seed": 1}, overwrite=True) as job:
    ...     _ = job.finish()
    >>> with Job("/tmp/xqg-doctest-job", kind, {"seed": 1}) as job:
    ...     job.finished
    True
    """

    def __init__(
        self,
        output: str | Path,
        kind: Kind,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
        wait: float = 0,
        inputs: Iterable[str | Path] = (),
        listed: Sequence[str] = (),
    ) -> None:
        self.output = Path(output)
        self.directory = resolved(output)
        self.kind = kind
        self.manifest = kind.new(settings)
        self.overwrite = overwrite
        self.wait = wait
        self.finished = False
        self._inputs = list(inputs)
        self._listed = tuple(listed)

    @property
    def lock(self) -> Path:
        """The file whose lock is held."""
        return self.directory / LOCK_NAME

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        with self.disk_named(), self._stack:
            self.check()
            self.directory.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(exclusive(self.lock, self.output, self.wait))
            self.check()
            self._begin()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def check(self) -> None:
        """Refuse what cannot be written or continued; nothing is changed."""
        check_job(self.output, self.kind, self.manifest, self.overwrite, self._inputs)

    def _begin(self) -> None:
        """Continue what is there, or begin; the lock is held."""
        if self.overwrite:
            self.clear()
        for leftover in self.directory.glob(".*.partial"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        remove_leftovers(self.directory)
        if self.kind.is_at(self.directory):
            self.manifest = self.kind.read(self.directory)
            self.finished = bool(self.manifest.get("complete"))
        else:
            self.start()

    def start(self) -> None:
        """Begin in an empty directory."""
        self.manifest = {**self.manifest, "complete": False, "files": {name: {} for name in self._listed}}
        self.kind.write(self.directory, self.manifest)

    def clear(self) -> None:
        """Empty the directory, the manifest last: killed in between, it is still known for what it is."""
        entries = [entry for entry in self.directory.iterdir() if entry.name != self.lock.name]
        for entry in sorted(entries, key=lambda entry: entry.name == self.kind.manifest):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def disk_named(self) -> AbstractContextManager[None]:
        """A full disk becomes an error that names the output and says how to go on."""
        return named_errors(self.output, CONTINUES)

    def finish(self, sha256: Mapping[str, str] | None = None, listed: Sequence[str] = (), **entries: Any) -> dict:
        """Mark the work as finished, with what lies in the directory, its sizes and checksums; returns the manifest.

        entries : what the manifest says beside the settings; the kind's ``ignored`` names them. sha256, listed : as in
        :func:`~pyserini_xqg.core.kinds.seal`.
        """
        with self.disk_named():
            if not self.directory.is_dir() or not self.kind.is_at(self.directory):
                raise XqgError(f"{self.output}: was removed while it was written. Run the command again.")
            self.manifest = seal(self.directory, self.kind, {**self.manifest, **entries}, sha256, listed)
        self.finished = True
        return self.manifest

    def piece(
        self,
        name: str,
        settings: Mapping[str, Any],
        make: Callable[[], Mapping[str, Any] | None],
        product: str | Path | None = None,
    ) -> dict[str, Any]:
        """What is remembered of the piece ``name``; ``make`` makes it, and returns that, if it is not there yet.

        ``product`` is the file or directory that it makes: one that is gone is made again, and a directory that a
        killed process left half made is removed first.

        Raises :class:`XqgError` if it was made with other settings, and if the product was changed since.
        """
        self.check_piece(name, settings)
        noted = self.noted(name)
        product = Path(product) if product is not None else None
        if noted and (product is None or product.exists()):
            if product is not None and noted["product"] != directory_digest(product):
                raise XqgError(f"{product}: was changed since it was made. Remove it, and it is made again.")
            return noted["result"]
        with self.disk_named():
            if product is not None and product.is_dir():
                shutil.rmtree(product)
            result = dict(make() or {})
            digest = directory_digest(product) if product is not None else None
            kind = self._piece_kind(name)
            (self.directory / PIECES).mkdir(exist_ok=True)
            noted = kind.new({"settings": dict(settings), "result": result, "product": digest})
            kind.write(self.directory / PIECES, noted)
        return result

    def check_piece(self, name: str, settings: Mapping[str, Any]) -> None:
        """Raise :class:`XqgError` if the piece ``name`` was made with other settings."""
        noted = self.noted(name)
        if noted and (differences := self._piece_kind(name).differences(noted["settings"], settings)):
            raise XqgError(
                f"{self.output}: {name} was made otherwise: {'; '.join(differences)}. Choose another --output, or "
                "pass --overwrite to begin anew."
            )

    def noted(self, name: str) -> dict[str, Any] | None:
        """The record of a piece (``settings``, ``result``); None if it is not made yet."""
        kind = self._piece_kind(name)
        return kind.read(self.directory / PIECES) if kind.is_at(self.directory / PIECES) else None

    @staticmethod
    def _piece_kind(name: str) -> Kind:
        return Kind(_PIECE.noun, f"{name}.json", _PIECE.format, _PIECE.version, _PIECE.made_by)


def check_job(
    output: str | Path,
    kind: Kind,
    manifest: Mapping[str, Any] | None,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Refuse a directory that cannot become this, or be continued with the settings in ``manifest`` (None: any)."""
    directory, inputs = resolved(output), list(inputs)
    if overwrite or not kind.is_at(directory):
        check_directory(output, kind, overwrite, inputs)
        return
    check_apart(output, inputs)
    there = kind.read(directory)
    if manifest is None:
        return
    if differences := kind.differences(there, manifest):
        state = f"holds a finished {kind.noun}" if there.get("complete") else f"holds an unfinished {kind.noun}"
        cure = "" if there.get("complete") else "Run the command it was begun with to finish it, "
        raise XqgError(
            f"{output} {state} with other settings: {'; '.join(differences)}. {cure}"
            f"{'choose' if cure else 'Choose'} another --output, or pass --overwrite to begin anew."
        )

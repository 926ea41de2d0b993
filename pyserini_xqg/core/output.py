"""Outputs: whether a path may be written, and writing it whole. Nothing else in the package creates or replaces them.

A path is resolved first, so that a symbolic link stays and its target is written. What is no regular file (a device, a
pipe) is written to, never renamed over. An output that is an input, lies in one, or holds one is refused, also through
links. A directory is ours by content: its manifest has the right format and its own checksum, and lists all else in it.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_path, named_errors, partial_path, remove_leftovers, resolved
from pyserini_xqg.core.kinds import Kind

_EXISTS = "exists. Remove it, choose another {option}, or pass --overwrite."


def check_apart(output: str | Path, inputs: Iterable[str | Path], option: str = "--output") -> None:
    """Refuse an output that is one of the inputs, lies in one (or in any file), or holds one, also through links.

    option : what the output was given as, for the message.
    """
    target = resolved(output)
    if (above := next(parent for parent in target.parents if parent.exists())) and not above.is_dir():
        raise XqgError(f"{output}: {above} is a file, so that nothing can lie in it. Choose another {option}.")
    for source in inputs:
        for here in _read_paths(source):
            if target == here or (target.exists() and os.path.samefile(target, here)):
                raise XqgError(f"{output}: is what is read ({source}). Choose another {option}.")
            if here.is_dir() and target.is_relative_to(here):
                raise XqgError(f"{output}: lies in {source}, which is read. Choose another {option}.")
            if here.is_relative_to(target):
                raise XqgError(f"{output}: holds {source}, which is read. Choose another {option}.")


def _read_paths(source: str | Path) -> Iterator[Path]:
    """An input without links, and in a directory what its links lead to; nothing where there is none."""
    here = resolved(source)
    links = [entry for entry in here.iterdir() if entry.is_symlink()] if here.is_dir() else []
    yield from (path for path in (here, *map(resolved, links)) if path.exists())


def check_file(
    output: str | Path, overwrite: bool = False, inputs: Iterable[str | Path] = (), option: str = "--output"
) -> None:
    """Refuse a path that cannot become a file, before any work is done.

    Raises :class:`XqgError` for a directory, for a file that exists unless ``overwrite``, and as :func:`check_apart`.
    """
    check_apart(output, inputs, option)
    path = resolved(output)
    if path.is_dir():
        raise XqgError(f"{output}: is a directory. Name a file as {option}.")
    if path.is_file() and not overwrite:
        raise XqgError(f"{output} {_EXISTS.format(option=option)}")


def check_directory(output: str | Path, kind: Kind, overwrite: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse a path that cannot become a directory of this kind, before any work is done.

    Raises :class:`XqgError` for a file, for a directory of something else or that holds what is not ours, for one of
    this kind unless ``overwrite``, and as :func:`check_apart`.
    """
    check_apart(output, inputs)
    path = resolved(output)
    if not path.exists():
        return
    if not path.is_dir():
        raise XqgError(f"{output}: is a file. Choose another --output.")
    if foreign := kind.foreign(path):
        raise XqgError(_not_ours(output, path, kind, foreign))
    if kind.is_at(path) and not overwrite:
        raise XqgError(f"{output} {_EXISTS.format(option='--output')}")


def _not_ours(output: str | Path, path: Path, kind: Kind, foreign: Sequence[str]) -> str:
    try:
        kind.read(path)
    except XqgError as error:
        why = f"({error}) " if kind.is_at(path) else ""
        return (
            f"{output} exists and is no {kind.noun} {why}(it holds {foreign[0]}), so it is left alone. Choose another "
            "--output."
        )
    more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    return (
        f"{output}: holds {foreign[0]}{more}, which {kind.made_by} did not write, so it is not replaced. Move that "
        "away, or choose another --output."
    )


@contextmanager
def write_directory(
    output: str | Path, kind: Kind, overwrite: bool = False, inputs: Iterable[str | Path] = ()
) -> Iterator[Path]:
    """Yield an empty directory beside ``output`` that becomes it when the block ends without an error.

    The block must write the manifest, with :func:`seal`. A second process that writes the same output is refused; what
    a killed one left behind is cleared. With ``overwrite`` the old one stays in place until the new one is complete.
    Raises :class:`XqgError` as :func:`check_directory`.
    """
    inputs = list(inputs)
    path = resolved(output)
    check_directory(output, kind, overwrite, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with named_errors(output), exclusive(path.with_name(f".{path.name}.lock"), output):
        _restore(path)
        check_directory(output, kind, overwrite, inputs)
        remove_leftovers(path)
        partial = partial_path(path)
        partial.mkdir()
        try:
            yield partial
            if not kind.is_at(partial):
                raise AssertionError(f"{partial}: no {kind.manifest} was written")
            fsync_path(partial)
            check_directory(output, kind, overwrite, inputs)
            _replace(path, partial)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _restore(path: Path) -> None:
    """Put back what a process that was killed between two renames had moved away."""
    replaced = _replaced(path)
    if replaced.exists() and not path.exists():
        os.replace(replaced, path)


def _replace(path: Path, new: Path) -> None:
    """Put a new directory in the place of an old one; whatever happens, one of them is there whole."""
    replaced = _replaced(path)
    shutil.rmtree(replaced, ignore_errors=True)
    try:
        if path.exists():
            os.replace(path, replaced)
        os.replace(new, path)
    except BaseException:
        _restore(path)
        raise
    fsync_path(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def exclusive(lock_file: str | Path, output: str | Path, wait: float = 0) -> Iterator[None]:
    """Hold a lock that ends with this process; :class:`XqgError` if another one holds it after ``wait`` seconds."""
    from filelock import FileLock, Timeout

    Path(lock_file).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file)
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            lock.acquire(timeout=wait)
    except Timeout as error:
        raise XqgError(
            f"{output}: another process is writing it (it holds {lock_file}). Wait for it to end, or choose another "
            "--output."
        ) from error
    except (OSError, NotImplementedError, UserWarning) as error:
        if getattr(error, "filename", None) is not None:
            raise  # the file could not be made
        # filelock would warn, and go on with a file that outlives a killed process.
        raise XqgError(
            f"{lock_file}: this file system keeps no locks ({error}), so a second process could not be kept away. "
            "Choose an --output on another one."
        ) from error
    try:
        yield
    finally:
        lock.release()

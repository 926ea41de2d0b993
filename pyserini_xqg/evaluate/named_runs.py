"""Runs as a command line names them, ``NAME=PATH`` or a path, and the one that is the baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pyserini_xqg.core.errors import XqgError


def named_runs(given: Sequence[str], names: Sequence[str] = ()) -> dict[str, str]:
    """Name to path of every run, in the order given.

    Parameters
    ----------
    given
        ``NAME=PATH``, or a path: the file's name then is the run's, or the whole path where two files have one name.
        (A path with ``=`` in it is taken as one if there is such a file.)
    names
        In place of the above, one for each.

    Raises
    ------
    XqgError
        For a run or a name given twice, an empty name, and as many names as there are not runs.

    >>> named_runs(["runs/plain.txt", "xQG=runs/sum.txt"])
    {'plain.txt': 'runs/plain.txt', 'xQG': 'runs/sum.txt'}
    """
    split = [_split(text) for text in given]
    for path, number in Counter(path for _, path in split).items():
        if number > 1:
            raise XqgError(f"--run {path}: given more than once. Give each once.")
    if names and len(names) != len(split):
        raise XqgError(f"--names: {len(names)} names for {len(split)} runs. Give one for each run, in their order.")
    of_files = Counter(Path(path).name for _, path in split)
    found: dict[str, str] = {}
    for place, (name, path) in enumerate(split):
        file = Path(path).name
        name = names[place] if names else name if name is not None else file if of_files[file] == 1 else path
        if not name.strip() or not name.isprintable():
            raise XqgError(f"--run {path}: its name {name!r} is empty or not printable. Give it another.")
        if name in found:
            raise XqgError(f"name {name!r}: both {found[name]} and {path} have it. Give every run its own.")
        found[name] = path
    return found


def _split(text: str) -> tuple[str | None, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals and not Path(text).exists() else (None, text)


def with_baseline(runs: dict[str, str], baseline: str) -> tuple[dict[str, str], str]:
    """The runs, the baseline among them, and the baseline's name.

    ``baseline`` is a run's name or path, or another run as in :func:`named_runs`, which then comes first.

    Raises
    ------
    XqgError
        If it is none of these, and where it is the only run.
    """
    by_path = {path: name for name, path in runs.items()}
    if (name := baseline if baseline in runs else by_path.get(baseline)) is None:
        given, path = _split(baseline)
        if not Path(path).exists():
            raise XqgError(
                f"--baseline {baseline}: neither a file nor the name of a run. The runs are {', '.join(runs)}."
            )
        name = Path(path).name if given is None else given
        if name in runs:
            raise XqgError(f"--baseline {baseline}: {runs[name]} is named {name!r} too. Write --baseline NAME={path}.")
        return {name: path} | runs, name
    if len(runs) < 2:
        raise XqgError(f"--baseline {baseline}: there is no other run to compare with it. Pass more with --run.")
    return runs, name

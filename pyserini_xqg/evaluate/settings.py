"""Options of ``python -m pyserini_xqg.evaluate``, and the runs that they name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import resolved
from pyserini_xqg.core.options import group, option
from pyserini_xqg.core.tables import ROW_SUFFIXES, check_suffix
from pyserini_xqg.evaluate.collection import CollectionOptions
from pyserini_xqg.evaluate.score_tables import FORMATS
from pyserini_xqg.evaluate.scoring import ANSWER_MEASURES, QRELS_MEASURES
from pyserini_xqg.evaluate.significance import TestOptions


@dataclass(frozen=True)
class EvaluateOptions:
    """Options of ``python -m pyserini_xqg.evaluate``."""

    run: tuple[str, ...] = option(
        (),
        "TREC runs, six columns, and the names of their rows (default: the file's name); may be given repeatedly",
        metavar="[NAME=]FILE",
        several=True,
        repeated=True,
    )
    measures: tuple[str, ...] = option(
        (),
        "R@<k>kt (k thousand tokens) and names of ir_measures, such as R@10 RR@10 nDCG@10. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, "
        f"{' '.join(QRELS_MEASURES)} where there are qrels",
        metavar="MEASURE",
        several=True,
        repeated=True,
    )
    ignore_ranks: bool = option(False, "do not compare the runs' rank columns with their scores")
    baseline: str | None = option(
        None,
        "name or path of a run, or [NAME=]FILE of one more, with which the others are compared; two-sided, paired",
        metavar="RUN",
    )
    format: str = option("table", "how to print the scores", choices=FORMATS)
    output: str | None = option(None, "write the scores to a file, instead of standard output", metavar="FILE")
    by_query: str | None = option(
        None,
        "write the value of every question too: columns run, measure, language, qid, value "
        f"({', '.join(ROW_SUFFIXES)})",
        metavar="FILE",
    )
    comparisons: str | None = option(
        None,
        "write the comparisons, all digits: differences as fractions, intervals, effect sizes (d_z), p values, "
        f"questions won, tied, lost (.json, {', '.join(ROW_SUFFIXES)})",
        metavar="FILE",
    )
    overwrite: bool = option(False, "replace output files that exist")
    collection: CollectionOptions = group(CollectionOptions)
    tests: TestOptions = group(TestOptions)

    def __post_init__(self) -> None:
        if not self.run:
            raise XqgError("no run to score. Pass one or more with --run.")
        if not self.baseline and (self.comparisons or self.tests != TestOptions()):
            raise XqgError("no run to compare with. Name one with --baseline.")
        for path, suffixes in ((self.by_query, ROW_SUFFIXES), (self.comparisons, (".json", *ROW_SUFFIXES))):
            if path:
                check_suffix(path, suffixes)
        if len(set(map(resolved, self.outputs))) < len(self.outputs):
            raise XqgError(f"{', '.join(self.outputs)}: two outputs have one name. Give each its own.")

    @property
    def outputs(self) -> list[str]:
        """The files to write."""
        return [path for path in (self.output, self.by_query, self.comparisons) if path]

    def runs(self) -> tuple[dict[str, str], str | None]:
        """Name to path of every run, and the baseline's name."""
        runs = named_runs(self.run)
        return with_baseline(runs, self.baseline) if self.baseline else (runs, None)


def named_runs(given: Sequence[str]) -> dict[str, str]:
    """Name to path of every run, in the order given; :class:`XqgError` for a name that two of them have.

    given : ``NAME=PATH``, or a path: the file's name then is the run's, or the whole path where two files have one
    name. (A path with ``=`` in it is taken as one if there is such a file.)

    >>> named_runs(["runs/plain.txt", "xQG=runs/sum.txt"])
    {'plain.txt': 'runs/plain.txt', 'xQG': 'runs/sum.txt'}
    """
    split = [_split(text) for text in given]
    files = Counter(Path(path).name for _, path in split)
    runs: dict[str, str] = {}
    for name, path in split:
        file = Path(path).name
        name = name or (file if files[file] == 1 else path)
        if name in runs:
            raise XqgError(f"name {name!r}: both {runs[name]} and {path} have it. Give every run its own: NAME={path}.")
        runs[name] = path
    return runs


def _split(text: str) -> tuple[str, str]:
    """The name, empty if there is none, and the path."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and not Path(text).exists() else ("", text)


def with_baseline(runs: dict[str, str], baseline: str) -> tuple[dict[str, str], str]:
    """The runs, the baseline among them, and the baseline's name.

    ``baseline`` is a run's name or path, or another run as in :func:`named_runs`, which then comes first. Raises
    :class:`XqgError` if it is none of these, and where it is the only run.
    """
    known = {path: name for name, path in runs.items()} | {name: name for name in runs}
    if baseline in known and len(runs) < 2:
        raise XqgError(f"--baseline {baseline}: there is no other run to compare with it. Pass more with --run.")
    if baseline in known:
        return runs, known[baseline]
    name, path = _split(baseline)
    name = name or Path(path).name
    if not Path(path).exists():
        raise XqgError(f"--baseline {baseline}: neither a file nor the name of a run. The runs are {', '.join(runs)}.")
    if name in runs:
        raise XqgError(f"--baseline {baseline}: {runs[name]} is named {name!r} too. Write --baseline NAME={path}.")
    return {name: path} | runs, name

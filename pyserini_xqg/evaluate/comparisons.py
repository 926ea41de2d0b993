"""Runs against a baseline in every column of a table, and the files that hold what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.tables import SIGNIFICANT, Cell, Column, Table
from pyserini_xqg.evaluate.means import ALL_TOPICS, sort_languages
from pyserini_xqg.evaluate.significance import PairedComparison, TestOptions, compare, correct

RunValues = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Run to measure to query id to value."""


@dataclass(frozen=True)
class Tested:
    """A run against the baseline by one measure, on the questions of one language, or ``all``."""

    run: str
    baseline: str
    measure: str
    language: str
    comparison: PairedComparison
    p_corrected: float
    significant: bool


def compare_runs(
    values: RunValues, baseline: str, languages: Mapping[str, str], settings: TestOptions | None = None
) -> list[Tested]:
    """Compare every other run with the baseline: per measure, on each language and, of several, on all questions.

    The family of tests that is corrected for is all those of one measure: runs x (languages and all). A language with
    fewer than two questions is not tested, which is said. Raises :class:`XqgError` if no test is left.

    >>> values = {"a": {"R@10": {"1": 0.0, "2": 0.5, "3": 0.5}}, "b": {"R@10": {"1": 1.0, "2": 0.5, "3": 1.0}}}
    >>> [tested] = compare_runs(values, "a", {"1": "fi", "2": "fi", "3": "fi"})
    >>> tested.run, tested.language, tested.comparison.won, round(tested.p_corrected, 3), tested.significant
    ('b', 'fi', 2, 0.225, False)
    """
    settings = settings or TestOptions()
    level = settings.significance_level
    tested: list[Tested] = []
    for measure, of_baseline in values[baseline].items():
        columns: dict[str, list[str]] = {}
        for language in sort_languages(languages[query_id] for query_id in of_baseline):
            columns[language] = [query_id for query_id in of_baseline if languages[query_id] == language]
        if len(columns) > 1:
            columns[ALL_TOPICS] = list(of_baseline)
        for language in [language for language, query_ids in columns.items() if len(query_ids) < 2]:
            say(f"warning: {measure}: one question in language {language!r}, which is too few for a test of its own")
            del columns[language]
        if not columns:
            raise XqgError(
                f"{measure}: {len(of_baseline)} question counts, and a paired test needs two or more. "
                "Leave --baseline out, or add questions."
            )
        family = [
            (run, language, compare(of_run[measure], of_baseline, query_ids, settings))
            for run, of_run in values.items()
            if run != baseline
            for language, query_ids in columns.items()
        ]
        corrected = correct([result.p_value for _, _, result in family], settings.correction)
        for (run, language, result), p_value in zip(family, corrected, strict=True):
            tested.append(Tested(run, baseline, measure, language, result, p_value, p_value < level))
    return tested


def describe(settings: TestOptions, tests: int, baseline: str) -> str:
    """A sentence about what ``†`` means.

    >>> describe(TestOptions(correction="holm"), 8, "plain")
    '† p < 0.05 against plain: paired two-sided t-test, Holm-corrected over the 8 tests of a measure.'
    """
    test = "paired two-sided t-test"
    if settings.test == "randomisation":
        test = f"two-sided randomisation test ({settings.permutations:,} permutations, seed {settings.seed})"
    how = "not corrected for" if settings.correction == "none" else f"{settings.correction.title()}-corrected over"
    against = f"{SIGNIFICANT} p < {settings.significance_level:g} against {baseline}"
    return f"{against}: {test}, {how} the {tests} tests of a measure."


def comparison_tables(tested: Sequence[Tested], settings: TestOptions, marked: Set[str] = frozenset()) -> list[Table]:
    """A table per measure: difference x 100, interval, effect size, p values, questions won, tied and lost.

    Measures in ``marked`` get a ``*`` behind their name.
    """
    corrected = settings.correction != "none"
    columns = ["run", Column("language"), "questions", Column("difference", lambda value: f"{value * 100:+.2f}")]
    columns += [f"{(1 - settings.significance_level) * 100:g}% interval", Column("d_z", "+.3f"), Column("p", _p)]
    columns += [Column(f"p ({settings.correction})", _p)] * corrected + ["won", "tied", "lost"]
    tables: dict[str, Table] = {}
    for test in tested:
        result = test.comparison
        row = [test.run, test.language, result.questions]
        row.append(Cell(result.mean_difference, mark=SIGNIFICANT * test.significant))
        row += [f"[{result.low * 100:+.2f}, {result.high * 100:+.2f}]", result.effect_size, result.p_value]
        row += [test.p_corrected] * corrected + [result.won, result.tied, result.lost]
        title = f"{test.measure}{'*' * (test.measure in marked)}: difference from {test.baseline}"
        tables.setdefault(test.measure, Table(columns, [], title)).rows.append(row)
    return list(tables.values())


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def write_comparisons(path: str | Path, tested: Sequence[Tested], settings: TestOptions) -> None:
    """Write all digits: JSON (a list of objects; null for an infinite effect size), CSV or TSV, by the suffix."""
    how = {"test": settings.test, "correction": settings.correction, "level": settings.significance_level}
    rows = [
        {
            **{"run": test.run, "baseline": test.baseline, "measure": test.measure, "language": test.language},
            **vars(test.comparison),
            **{"p_corrected": test.p_corrected, "significant": test.significant, **how},
        }
        for test in tested
    ]
    Table(list(rows[0]), [list(row.values()) for row in rows]).write(path)


def write_by_query(path: str | Path, values: RunValues, languages: Mapping[str, str]) -> None:
    """Write every value, all digits: columns run, measure, language, qid, value; CSV or TSV, by the file's suffix."""
    rows = (
        (run, measure, languages[query_id], query_id, value)
        for run, of_run in values.items()
        for measure, of_measure in of_run.items()
        for query_id, value in sorted(of_measure.items())
    )
    Table(["run", "measure", "language", "qid", "value"], rows).write(path)

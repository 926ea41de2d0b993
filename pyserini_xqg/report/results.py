"""The figures of a report: two runs by measure and language, their difference, and whether it is significant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyserini_xqg.evaluate.comparisons import Settings, Tested, compare_runs
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.significance import Comparison, mean_interval

ALL_QUESTIONS = "all questions"

Interval = tuple[float, float, float]
"""Mean, low and high end of its confidence interval."""


@dataclass(frozen=True)
class Row:
    """Two runs on the questions of a language, or on others.

    name : language, ``avg`` or :data:`ALL_QUESTIONS`. means : of both runs, with intervals; None for ``avg``'s.
    comparison : the second run against the first; None for ``avg``, and for fewer than two questions.
    p_value : corrected; significant : whether it is below 0.05.
    """

    name: str
    questions: int
    means: tuple[float, float]
    intervals: tuple[Interval, Interval] | None = None
    comparison: Comparison | None = None
    p_value: float | None = None
    significant: bool = False

    @property
    def difference(self) -> float:
        """Second minus first run."""
        return self.means[1] - self.means[0]


def result_rows(
    measure: str,
    values: tuple[Mapping[str, float], Mapping[str, float]],
    means: tuple[Mapping[str, float], Mapping[str, float]],
    languages: Mapping[str, str],
    *,
    test: str = "t-test",
    correction: str = "none",
) -> list[Row]:
    """One row a language, and where there are several, ``avg`` and all questions together.

    Parameters
    ----------
    measure
        Its name, for messages.
    values
        Of the measure, for both runs: query id to value.
    means
        Of both runs: language to mean, and ``avg``, in the order of the table.
    languages
        Query id to language.
    test, correction
        As in :func:`~pyserini_xqg.evaluate.comparisons.compare_runs`, which tests, so that the p values are those of
        ``python -m pyserini_xqg.evaluate``. A language with one question is not tested.
    """
    tested = {}
    if len(values[0]) > 1:
        runs = {"first": {measure: values[0]}, "second": {measure: values[1]}}
        found = compare_runs(runs, "first", languages, Settings(test, correction))
        tested = {one.language: one for one in found}
    rows: list[Row] = []
    names = [name for name in means[0] if name != AVERAGE]
    for name in names:
        both = [{q: value for q, value in of_run.items() if languages[q] == name} for of_run in values]
        rows.append(_row(name, both, (means[0][name], means[1][name]), tested.get(name)))
    if len(names) > 1:
        rows.append(Row(AVERAGE, len(values[0]), (means[0][AVERAGE], means[1][AVERAGE])))
        micro = tuple(math.fsum(of_run.values()) / len(of_run) for of_run in values)
        rows.append(_row(ALL_QUESTIONS, values, micro, tested.get(ALL_TOPICS)))
    return rows


def _row(name: str, values: Sequence[Mapping[str, float]], means: tuple[float, float], tested: Tested | None) -> Row:
    if tested is None:
        return Row(name, len(values[0]), means)
    intervals = tuple(mean_interval(of_run.values()) for of_run in values)
    return Row(name, len(values[0]), means, intervals, tested.comparison, tested.p_corrected, tested.significant)

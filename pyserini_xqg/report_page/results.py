"""The figures of a report: two runs by measure and language, their difference, and whether it is significant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyserini_xqg.errors import XqgError
from pyserini_xqg.evaluation.significance import Comparison, compare, correct, mean_interval
from pyserini_xqg.measures import AVERAGE

ALL_QUESTIONS = "all questions"
ALPHA = 0.05
"""Level of significance."""

Interval = tuple[float, float, float]
"""Mean, low and high end of its confidence interval."""


@dataclass(frozen=True)
class Row:
    """Two runs on the questions of a language, or on others.

    name : language, ``avg`` or :data:`ALL_QUESTIONS`. means : of both runs, with intervals; None for ``avg``'s.
    comparison : the second run against the first; None for ``avg``, and for fewer than two questions.
    p_value : corrected.
    """

    name: str
    questions: int
    means: tuple[float, float]
    intervals: tuple[Interval, Interval] | None = None
    comparison: Comparison | None = None
    p_value: float | None = None

    @property
    def difference(self) -> float:
        """Second minus first run."""
        return self.means[1] - self.means[0]

    @property
    def significant(self) -> bool:
        """Whether the corrected p value is below 0.05."""
        return self.p_value is not None and self.p_value < ALPHA


def result_rows(
    values: tuple[Mapping[str, float], Mapping[str, float]],
    means: tuple[Mapping[str, float], Mapping[str, float]],
    languages: Mapping[str, str],
    *,
    test: str = "t-test",
    correction: str = "none",
) -> list[Row]:
    """One row a language, ``avg``, and all questions together, which are tested once, apart from the languages.

    Parameters
    ----------
    values
        Of one measure, for both runs: query id to value.
    means
        Of both runs: language to mean, and ``avg``, in the order of the table.
    languages
        Query id to language.
    test, correction
        As in :mod:`pyserini_xqg.evaluation.significance`; the correction is for the number of languages tested.
    """
    rows: list[Row] = []
    names = [name for name in means[0] if name != AVERAGE]
    for name in names:
        rows.append(_row(name, *({q: v for q, v in of_run.items() if languages[q] == name} for of_run in values), test,
                         (means[0][name], means[1][name])))  # fmt: skip
    tested = [place for place, row in enumerate(rows) if row.comparison]
    for place, p_value in zip(
        tested, correct([rows[place].comparison.p_value for place in tested], correction), strict=True
    ):
        rows[place] = _with_p_value(rows[place], p_value)
    if len(names) > 1:
        rows.append(Row(AVERAGE, len(values[0]), (means[0][AVERAGE], means[1][AVERAGE])))
        together = _row(ALL_QUESTIONS, values[0], values[1], test)
        rows.append(_with_p_value(together, together.comparison.p_value if together.comparison else None))
    return rows


def _row(
    name: str,
    first: Mapping[str, float],
    second: Mapping[str, float],
    test: str,
    means: tuple[float, float] | None = None,
) -> Row:
    try:
        intervals = mean_interval(first.values()), mean_interval(second.values())
        comparison = compare(second, first, test=test)
    except XqgError:  # fewer than two questions
        value = next(iter(first.values())), next(iter(second.values()))
        return Row(name, len(first), means or value)
    return Row(name, len(first), means or (intervals[0][0], intervals[1][0]), intervals, comparison)


def _with_p_value(row: Row, p_value: float | None) -> Row:
    return Row(row.name, row.questions, row.means, row.intervals, row.comparison, p_value)

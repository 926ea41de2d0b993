"""The tables of a sweep: CSV for programs, Markdown for readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyserini_xqg.evaluation.tables import SIGNIFICANT, Cell, Table, percent, render_markdown, scored_rows
from pyserini_xqg.measures import AVERAGE, sort_languages
from pyserini_xqg.sweeping.grid import FACTORS
from pyserini_xqg.sweeping.summary import Score

_COMPARED = ("difference", "difference_low", "difference_high", "p_value", "p_corrected", "effect_size")
_COUNTED = ("questions", "won", "tied", "lost")


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return out.getvalue()


def _columns(scores: Sequence[Score]) -> list[str]:
    return [*sort_languages({column for score in scores for column in score.means} - {AVERAGE}), AVERAGE]


def _compared(score: Score, column: str) -> list[Any]:
    found = score.comparisons.get(column)
    if found is None:
        return [None] * (len(_COMPARED) + len(_COUNTED))
    p_values = found.p_value, score.p_values[column]
    counted = [getattr(found, name) for name in _COUNTED]
    return [found.mean_difference, found.low, found.high, *p_values, found.effect_size, *counted]


def table_csv(scores: Sequence[Score]) -> str:
    """One line a run and measure: factors, means by language, then the average with its interval and comparison."""
    columns = _columns(scores)
    header = ["run", *FACTORS, "measure", *columns, "avg_low", "avg_high", "baseline", *_COMPARED, *_COUNTED]
    rows = []
    for score in scores:
        system = score.system
        baseline = system.baseline if system.baseline != system.name else None
        interval = score.intervals.get(AVERAGE) or (None, None)
        cells = [system.cells.get(factor) for factor in FACTORS]
        means = [score.means.get(column) for column in columns]
        rows.append(
            [system.name, *cells, score.measure, *means, *interval, baseline, *_compared(score, AVERAGE)],
        )
    return _csv(header, rows)


def by_language_csv(scores: Sequence[Score]) -> str:
    """One line a run, measure and language (and ``avg``): mean, interval, comparison with the baseline."""
    header = ["run", "measure", "language", "mean", "low", "high", "baseline", *_COMPARED, *_COUNTED]
    rows = []
    for score in scores:
        baseline = score.system.baseline if score.system.baseline != score.system.name else None
        for column, mean in score.means.items():
            interval = score.intervals[column] or (None, None)
            rows.append(
                [score.system.name, score.measure, column, mean, *interval, baseline, *_compared(score, column)]
            )
    return _csv(header, rows)


def by_query_csv(values: Mapping[str, Mapping[str, Mapping[str, float]]], languages: Mapping[str, str]) -> str:
    """One line a run, measure and question."""
    return _csv(
        ["run", "measure", "language", "query_id", "value"],
        (
            [run, measure, languages[query_id], query_id, value]
            for run, of_run in values.items()
            for measure, of_measure in of_run.items()
            for query_id, value in sorted(of_measure.items())
        ),
    )


def table_markdown(scores: Sequence[Score], varied: Sequence[str], notes: Sequence[str], marked: set[str]) -> str:
    """One table a measure: a row a run with its varied factors, means x 100, the best of each column in bold."""
    columns = _columns(scores)
    tables = []
    for measure in dict.fromkeys(score.measure for score in scores):
        some = [score for score in scores if score.measure == measure]
        names = [score.system.name for score in some]
        marks = [
            (row, place)
            for row, score in enumerate(some)
            for place, column in enumerate(columns)
            if score.is_significant(column)
        ]
        values = [[score.means.get(column) for score in some] for column in columns]
        rows = [
            (name, [*(Cell(score.system.cells.get(factor, "-")) for factor in varied), *cells, *_tail(score)])
            for score, (name, cells) in zip(some, scored_rows(names, values, marks), strict=True)
        ]
        title = measure + "*" * (measure in marked)
        tables.append(Table(title, ["run", *varied, *columns, "95 % of avg", "won/lost", "p"], rows))
    return render_markdown(tables, notes)


def _tail(score: Score) -> list[Cell]:
    interval, found = score.intervals.get(AVERAGE), score.comparisons.get(AVERAGE)
    between = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
    if found is None:
        return [Cell(between), Cell("-"), Cell("-")]
    return [Cell(between), Cell(f"{found.won}/{found.lost}"), Cell(p_text(score.p_values[AVERAGE]))]


def p_text(p_value: float) -> str:
    """A p value with three decimals.

    >>> p_text(0.0004), p_text(0.0456), p_text(1.0)
    ('< .001', '.046', '1.000')
    """
    return "< .001" if p_value < 0.0005 else f"{p_value:.3f}".removeprefix("0")


def table_notes(test: str, correction: str, runs: int) -> list[str]:
    """What the table's numbers and marks mean."""
    corrected = f" after {correction.capitalize()}'s correction over {runs} runs" if correction != "none" else ""
    return [
        f"Values x 100; {AVERAGE} is the unweighted mean over languages. {SIGNIFICANT} differs from no augmentation of "
        f"the same store (two-sided paired {test}, p < 0.05{corrected}; under {AVERAGE}, over all questions).",
    ]

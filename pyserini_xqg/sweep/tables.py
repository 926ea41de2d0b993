"""The tables of a sweep: CSV for programs, Markdown for readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from pyserini_xqg.evaluate.comparisons import Settings, describe, write_rows
from pyserini_xqg.evaluate.means import AVERAGE, sort_languages
from pyserini_xqg.evaluate.tables import Cell, Table, percent, render_markdown, scored_rows
from pyserini_xqg.sweep.grid import FACTORS
from pyserini_xqg.sweep.summary import Score

_COMPARED = ("difference", "difference_low", "difference_high", "p", "p_corrected", "effect_size")
_COUNTED = ("questions", "won", "tied", "lost")


def _columns(scores: Sequence[Score]) -> list[str]:
    return [*sort_languages({column for score in scores for column in score.means} - {AVERAGE}), AVERAGE]


def _baseline(score: Score) -> str | None:
    return score.system.baseline if score.system.baseline != score.system.name else None


def _compared(score: Score, column: str) -> list[Any]:
    if column not in score.tests:
        return [None] * (len(_COMPARED) + len(_COUNTED))
    tested = score.tests[column]
    found = tested.comparison
    counted = [getattr(found, name) for name in _COUNTED]
    p_values = found.p_value, tested.p_corrected
    return [found.mean_difference, found.low, found.high, *p_values, found.effect_size, *counted]


def write_table(path: str | Path, scores: Sequence[Score]) -> None:
    """CSV, a line a run and measure: factors, means by language, then the average's interval and comparison."""
    columns = _columns(scores)
    header = ["run", *FACTORS, "measure", *columns, "avg_low", "avg_high", "baseline", *_COMPARED, *_COUNTED]
    rows = [
        [
            score.system.name,
            *(score.system.cells[factor] for factor in FACTORS),
            score.measure,
            *(score.means.get(column) for column in columns),
            *(score.intervals.get(AVERAGE) or (None, None)),
            _baseline(score),
            *_compared(score, AVERAGE),
        ]
        for score in scores
    ]
    write_rows(path, header, rows)


def write_by_language(path: str | Path, scores: Sequence[Score]) -> None:
    """CSV, a line a run, measure and language (and ``avg``): mean, its interval, comparison with the baseline."""
    header = ["run", "measure", "language", "mean", "low", "high", "baseline", *_COMPARED, *_COUNTED]
    rows = [
        [
            *(score.system.name, score.measure, column, mean, *(score.intervals[column] or (None, None))),
            *(_baseline(score), *_compared(score, column)),
        ]
        for score in scores
        for column, mean in score.means.items()
    ]
    write_rows(path, header, rows)


def table_markdown(scores: Sequence[Score], varied: Sequence[str], notes: Sequence[str], marked: Set[str]) -> str:
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
    interval, tested = score.intervals.get(AVERAGE), score.tests.get(AVERAGE)
    between = f"{percent(interval[0])} to {percent(interval[1])}" if interval else "-"
    if tested is None:
        return [Cell(between), Cell("-"), Cell("-")]
    won_lost = f"{tested.comparison.won}/{tested.comparison.lost}"
    return [Cell(between), Cell(won_lost), Cell(p_text(tested.p_corrected))]


def p_text(p_value: float) -> str:
    """A p value with three decimals.

    >>> p_text(0.0004), p_text(0.0456), p_text(1.0)
    ('< .001', '.046', '1.000')
    """
    return "< .001" if p_value < 0.0005 else f"{p_value:.3f}".removeprefix("0")


def table_notes(scores: Sequence[Score], settings: Settings) -> list[str]:
    """What the table's numbers and marks mean."""
    tested = [score for score in scores if score.tests]
    numbers = Counter((score.measure, score.system.baseline) for score in tested for _ in set(score.tests.values()))
    notes = [f"Values x 100; {AVERAGE} is the unweighted mean over languages."]
    if numbers:
        notes.append(describe(settings, max(numbers.values()), "no augmentation of the same store"))
    if len(set(numbers)) > len({score.measure for score in tested}):
        notes.append("Each run is compared with its own store's run without augmentation, at unit length if it is.")
    return notes

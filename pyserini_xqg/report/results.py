"""The figures of a report, in a table and plots: two runs by measure and language, and whether they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.figures import PAGE_COLORS, inline_svg, tooltip
from pyserini_xqg.core.tables import SIGNIFICANT, Cell, Column, Table, percent
from pyserini_xqg.evaluate.comparisons import Tested, compare_runs
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.significance import PairedComparison, TestOptions, mean_interval

ALL_QUESTIONS = "all questions"
BINS = 20
"""Of the histograms, from -1 to 1."""

RUN_COLORS = (PAGE_COLORS["other"], PAGE_COLORS["bar"])
Interval = tuple[float, float, float]
"""Mean, low and high end of its confidence interval."""


@dataclass(frozen=True)
class ResultRow:
    """Two runs on the questions of a language, or on others.

    name : language, ``avg`` or :data:`ALL_QUESTIONS`. means : of both runs, with intervals; None for ``avg``'s.
    comparison : the second run against the first; None for ``avg``, and for fewer than two questions.
    p_value : corrected; significant : whether it is below the level.
    """

    name: str
    questions: int
    means: tuple[float, float]
    intervals: tuple[Interval, Interval] | None = None
    comparison: PairedComparison | None = None
    p_value: float | None = None
    significant: bool = False

    @property
    def difference(self) -> float:
        """Second minus first run."""
        return self.means[1] - self.means[0]


@dataclass(frozen=True)
class MeasureResult:
    """One measure of both runs: rows of the table, and values by query id. mark : stands behind its name (``*``)."""

    name: str
    rows: Sequence[ResultRow]
    values: tuple[Mapping[str, float], Mapping[str, float]]
    mark: str = ""

    def differences(self) -> list[float]:
        """Second minus first run, per question."""
        first, second = self.values
        return [second[query_id] - first[query_id] for query_id in first]


def result_rows(
    measure: str,
    values: tuple[Mapping[str, float], Mapping[str, float]],
    means: tuple[Mapping[str, float], Mapping[str, float]],
    languages: Mapping[str, str],
    tests: TestOptions,
) -> list[ResultRow]:
    """One row a language, and where there are several, ``avg`` and all questions together.

    measure : its name, for messages. values : of both runs, query id to value. means : of both runs, language to mean,
    and ``avg``, in the order of the table. languages : query id to language.
    tests : the p values are those of ``python -m pyserini_xqg.evaluate``; a language with one question has none.
    """
    tested = {}
    if len(values[0]) > 1:
        runs = {"first": {measure: values[0]}, "second": {measure: values[1]}}
        tested = {one.language: one for one in compare_runs(runs, "first", languages, tests)}
    rows: list[ResultRow] = []
    names = [name for name in means[0] if name != AVERAGE]
    for name in names:
        both = [{q: value for q, value in of_run.items() if languages[q] == name} for of_run in values]
        rows.append(_row(name, both, (means[0][name], means[1][name]), tested.get(name)))
    if len(names) > 1:
        rows.append(ResultRow(AVERAGE, len(values[0]), (means[0][AVERAGE], means[1][AVERAGE])))
        micro = tuple(math.fsum(of_run.values()) / len(of_run) for of_run in values)
        rows.append(_row(ALL_QUESTIONS, values, micro, tested.get(ALL_TOPICS)))
    return rows


def _row(
    name: str, values: Sequence[Mapping[str, float]], means: tuple[float, float], tested: Tested | None
) -> ResultRow:
    if tested is None:
        return ResultRow(name, len(values[0]), means)
    intervals = tuple(mean_interval(of_run.values()) for of_run in values)
    return ResultRow(name, len(values[0]), means, intervals, tested.comparison, tested.p_corrected, tested.significant)


def result_table(result: MeasureResult, runs: tuple[str, str]) -> Table:
    """The table of a measure; in each row the better run, and a significant difference, are in bold."""
    columns = [
        *("language", Column("questions", ","), Column(runs[0], percent), Column(runs[1], percent)),
        *(Column("difference", _signed), Column("95 % interval", lambda ends: " to ".join(map(_signed, ends)))),
        *(Column("p", _p_value), Column("d", lambda size: f"{size:+.2f}" if math.isfinite(size) else "∞")),
        *(Column(name, ",") for name in ("won", "tied", "lost")),
    ]
    rows = []
    for row in result.rows:
        first, second = row.means
        test = row.comparison
        cells = [row.name, row.questions, Cell(first, best=first > second), Cell(second, best=second > first)]
        cells.append(Cell(row.difference, SIGNIFICANT * row.significant, best=row.significant))
        cells += [(test.low, test.high), row.p_value, test.effect_size] if test else [None] * 3
        cells += [test.won, test.tied, test.lost] if test else [None] * 3
        rows.append(cells)
    return Table(columns, rows, result.name + result.mark)


def _signed(value: float) -> str:
    return f"{value * 100:+.2f}"


def _p_value(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def plot_means(rows: Sequence[ResultRow], runs: tuple[str, str], title: str) -> str:
    """Two bars a row, the first and the second run's mean, with their 95 % intervals where they are known."""

    def draw(axes: Any) -> None:
        for number, run in enumerate(runs):
            means = [row.means[number] * 100 for row in rows]
            places = [place + 0.38 * number - 0.19 for place in range(len(rows))]
            for bar, row in zip(axes.bar(places, means, 0.34, color=RUN_COLORS[number]), rows, strict=True):
                about = f"{row.name}, {run}: {row.means[number] * 100:.2f}"
                if row.intervals:
                    low, high = (end * 100 for end in row.intervals[number][1:])
                    about += f" [{low:.2f}, {high:.2f}]"
                    low, high = max(low, 0), min(high, max(100, *means))
                    x = bar.get_x() + bar.get_width() / 2
                    axes.plot([x, x], [low, high], "_-", color=PAGE_COLORS["ink"], markersize=4, linewidth=1)
                tooltip(bar, about)
        axes.set_xticks(range(len(rows)), [row.name + SIGNIFICANT * row.significant for row in rows])
        axes.set_ylim(0, None if any(mean for row in rows for mean in row.means) else 1)
        axes.locator_params(axis="y", nbins=4)
        axes.grid(axis="y")

    return inline_svg(draw, title, (max(4.4, 0.8 + 0.45 * len(rows)), 1.8))


def plot_outcomes(rows: Sequence[ResultRow], title: str) -> str:
    """Per row, the share of questions that the second run lost, to the left, and won, to the right."""
    tested = [row for row in rows if row.comparison]
    shares = [max(row.comparison.won, row.comparison.lost) / row.comparison.questions for row in tested]
    most = max([*shares, 1e-9])

    def draw(axes: Any) -> None:
        for place, row in enumerate(tested):
            test = row.comparison
            about = f"{row.name}: won {test.won:,}, tied {test.tied:,}, lost {test.lost:,} of {test.questions:,}"
            for count, sign, color in ((test.lost, -1, RUN_COLORS[0]), (test.won, 1, RUN_COLORS[1])):
                share = sign * count / test.questions
                (bar,) = axes.barh([place], [share], 0.7, color=color)
                tooltip(bar, about)
                axes.annotate(
                    f"{count:,}",
                    (share, place),
                    (4 * sign, 0),
                    textcoords="offset points",
                    ha="left" if sign > 0 else "right",
                    va="center",
                    color=PAGE_COLORS["soft"],
                )
        axes.axvline(0, color=PAGE_COLORS["line"], linewidth=1)
        axes.set_yticks(range(len(tested)), [row.name if row.name != ALL_QUESTIONS else "all" for row in tested])
        axes.set_xticks([])
        axes.set_xlim(-1.2 * most, 1.2 * most)
        axes.invert_yaxis()

    return inline_svg(draw, title, (4.4, 0.3 + 0.26 * len(tested)))


def is_graded(differences: Sequence[float]) -> bool:
    """Whether gains have sizes, not just signs, so that their distribution is worth a plot."""
    return len({round(abs(gain), 9) for gain in differences if gain}) > 1


def plot_gains(differences: Sequence[float], title: str) -> str:
    """Histogram of the gains that are not 0, from -1 to 1."""

    def draw(axes: Any) -> None:
        losses = [100 * gain for gain in differences if gain < 0]
        gains = [100 * gain for gain in differences if gain > 0]
        counts, edges, bars = axes.hist(
            [losses, gains], BINS, range=(-100, 100), color=RUN_COLORS, stacked=True, rwidth=0.9
        )
        for number, start in enumerate(edges[:-1]):
            for of_run in bars:
                tooltip(of_run[number], f"{start:g} to {edges[number + 1]:g}: {counts[-1][number]:,.0f}")
        axes.axvline(0, color=PAGE_COLORS["line"], linewidth=1)
        axes.set_xlim(-100, 100)
        axes.locator_params(axis="y", nbins=4, integer=True)
        axes.grid(axis="y")

    return inline_svg(draw, title)

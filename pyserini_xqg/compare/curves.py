"""The figure of a grid: one factor along the x axis, a line for each combination of the others."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.compare.grid import Grid, Point
from pyserini_xqg.compare.report import SystemScores
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.figures import BASELINE_COLOR, draw_line, figure_file, line_style
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.core.tables import percent
from pyserini_xqg.evaluate.means import AVERAGE, sort_languages

# Under one wide panel, and under each of many narrow ones.
AXIS_TITLES = {
    "max-queries": ("generated queries per passage and language", "queries per language"),
    "alpha": ("alpha, the weight of the generated queries", "alpha"),
    "filter": ("filter of the queries", "filter"),
    "languages": ("languages of the queries", "languages"),
    "aggregate": ("aggregate", "aggregate"),
    "language-removal": ("share of the languages' directions that is taken out", "language removal"),
    "route": ("one index per language", "routed"),
    "normalize": ("final vectors at unit length", "unit length"),
    "store": ("store", "store"),
}
_NUMERIC = ("max-queries", "alpha", "language-removal")
_WITH_BASELINES = ("store", "normalize")  # each value has a baseline of its own
_PLAIN = "no augmentation"


def choose_axis(grid: Grid, wanted: str | None = None) -> str:
    """The factor for the x axis: the one asked for, else numbers before names, and more values before fewer."""
    if wanted is not None:
        if not grid.values[wanted]:
            raise XqgError(f"--x {wanted}: the grid has no value for it.")
        return wanted
    # Not stores: each has its own baseline, so they are lines rather than places on one.
    order = [*_NUMERIC, "filter", "languages", "route", "aggregate", "normalize", "store"]

    def weight(factor: str) -> tuple[bool, int, int]:
        number = len(grid.values[factor])
        return (number > 1 and factor in (*_NUMERIC, "filter"), number, -order.index(factor))

    return max(order, key=weight)


@dataclass(frozen=True)
class Curve:
    """A line: points along the axis, each as x and the run there; ``label`` names the values of the other factors."""

    label: str
    points: Sequence[Point]
    x: Sequence[float]


def curves(grid: Grid, axis: str, most_queries: int, names: Mapping[Point, str]) -> list[Curve]:
    """A curve for each combination of the factors that are not on the axis.

    Along numbers, curves begin at 0, no augmentation, if that is among ``names`` (point as searched to its run); along
    stores, it is a curve. Names of values stand at 0, 1, …. ``most_queries`` is where ``all`` stands.
    """
    others = [factor for factor in grid.varied if factor != axis]
    lines: dict[tuple[str, ...], list[Point]] = {}
    for point in grid.points:
        lines.setdefault(tuple(point.cell(factor) for factor in others), []).append(point)
    found = []
    for points in lines.values():
        if axis in _NUMERIC:
            if all(point.is_plain for point in points):
                continue
            if not any(point.value(axis) == 0 for point in points) and (plain := _plain(points[0], names)):
                points = [plain.with_value(axis, 0 if axis == "max-queries" else 0.0), *points]
            numbers = [most_queries if point.value(axis) is None else point.value(axis) for point in points]
            pairs = sorted(zip(numbers, points, strict=True), key=lambda pair: pair[0])
            x, points = [float(number) for number, _ in pairs], [point for _, point in pairs]
        else:
            x = [float(grid.values[axis].index(point.value(axis))) for point in points]
        found.append(Curve(", ".join(_words(points[-1], factor) for factor in others), points, x))
    if axis in _WITH_BASELINES and not any(point.is_plain for point in grid.points):
        plain = [_plain(grid.points[0].with_value(axis, value), names) for value in grid.values[axis]]
        if all(plain):
            found.append(Curve(_PLAIN, plain, [float(place) for place in range(len(plain))]))
    return found


def _plain(point: Point, names: Mapping[Point, str]) -> Point | None:
    """The point without augmentation that was searched, of its length if there is one."""
    bare = point.with_value("alpha", 0.0).with_value("language-removal", 0.0)
    some = (bare, bare.with_value("normalize", False))
    return next((plain.searched for plain in some if plain.searched in names), None)


def _words(point: Point, factor: str) -> str:
    """A factor's value in a legend."""
    cell = point.cell(factor)
    if factor == "route":
        return "routed" if point.recipe.route else "one index"
    if factor == "normalize":
        return "unit length" if point.recipe.normalize else "length as it is"
    if factor == "max-queries":
        return f"{cell} queries"
    if factor == "filter":
        return cell if point.filter else "no filter"
    return cell if factor in ("aggregate", "store") else f"{factor} {cell}"


def draw_grid(
    path: str | Path,
    grid: Grid,
    axis: str,
    report: SystemScores,
    names: Mapping[Point, str],
    *,
    caption: str,
    most_queries: int,
    by_language: bool = False,
) -> None:
    """Draw the means over languages of each measure, or a panel for each language.

    names : point as searched to the name of its run. caption : a line under the figure.
    """
    measures, lines = report.measures, curves(grid, axis, most_queries, names)
    columns = sort_languages(report.columns) if by_language else [AVERAGE]
    across = min(len(columns), 4) if by_language else len(measures)
    down = len(measures) * -(-len(columns) // across) if by_language else 1
    panel = (2.9, 2.5) if by_language else (4.6, 3.4)
    with figure_file(path, down, across, panel=panel) as (figure, axes):
        for spare in axes.ravel():
            spare.set_visible(False)
        for row, measure in enumerate(measures):
            for place, column in enumerate(columns):
                at = row * -(-len(columns) // across) + place // across if by_language else 0
                panel_axes = axes[at, place % across if by_language else row]
                panel_axes.set_visible(True)
                _draw_panel(panel_axes, lines, axis, grid, measure, column, report, names)
                panel_axes.set_xlabel(AXIS_TITLES[axis][by_language])
                title = measure + "*" * (measure in report.marked)
                if by_language:
                    title = f"{title}, {NAMES.get(column, column)}"
                panel_axes.set_title(title)
        number = len(report.columns)
        over = f"mean over {f'{number} languages' if number > 1 else 'topics'}, x 100"
        for panel_axes in axes[:, 0]:
            panel_axes.set_ylabel("x 100" if by_language else over)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        width = int(across * panel[0] / 0.052)  # characters of that size
        figure.supxlabel(textwrap.fill(caption, width), fontsize=7, color=BASELINE_COLOR)
        figure.legend(handles, labels, loc="outside upper center", ncols=_legend_columns(labels, across * panel[0]))


def _is_ordered(grid: Grid, axis: str) -> bool:
    """True if a line may connect the places on the axis: numbers, or filters of one kind."""
    if axis == "filter":
        return len({one.option for one in grid.values["filter"] if one is not None}) == 1
    return axis in _NUMERIC


def _legend_columns(labels: Sequence[str], inches: float) -> int:
    """As many as fit side by side, in rows of about equal length."""
    longest = max(map(len, labels)) * 0.075 + 0.6
    rows = -(-len(labels) // max(1, int(inches / longest)))
    return -(-len(labels) // rows)


def _draw_panel(
    axes: Any,
    lines: Sequence[Curve],
    axis: str,
    grid: Grid,
    measure: str,
    column: str,
    report: SystemScores,
    names: Mapping[Point, str],
) -> None:
    connect = _is_ordered(grid, axis)
    for number, line in enumerate(lines):
        shift = 0.0 if connect else (number - (len(lines) - 1) / 2) * min(0.12, 0.6 / len(lines))
        runs = [(x + shift, names[point.searched]) for x, point in zip(line.x, line.points, strict=True)]
        shown = [(x, run, report.mean(run, measure, column)) for x, run in runs]
        shown = [entry for entry in shown if entry[2] is not None]
        if not shown:
            continue
        between = [report.interval(run, measure, column) or (mean, mean) for _, run, mean in shown]
        draw_line(
            axes,
            [x for x, *_ in shown],
            [100 * mean for *_, mean in shown],
            [100 * low for low, _ in between],
            [100 * high for _, high in between],
            label=line.label or "xQG",
            filled=[report.is_significant(run, measure, column) for _, run, _ in shown],
            connect=connect,
            **line_style(number),
        )
    plain = {_plain(point, names) for line in lines for point in line.points} - {None}
    found = {report.mean(names[point], measure, column) for point in plain} - {None}
    if axis not in _WITH_BASELINES and len({percent(mean) for mean in found}) == 1:
        style = {"color": BASELINE_COLOR, "linestyle": (0, (4, 3)), "linewidth": 1}
        axes.axhline(100 * found.pop(), label=_PLAIN, zorder=1, **style)
    if axis not in _NUMERIC:
        cells = [grid.points[0].with_value(axis, value).cell(axis) for value in grid.values[axis]]
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if sum(map(len, cells)) > 40 else {}
        axes.set_xticks(range(len(cells)), cells, **slanted)
        axes.set_xlim(-0.5, len(cells) - 0.5)
    elif axis == "max-queries":
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

"""The figure of a grid: what varies most along the x axis, a line for each combination of the other factors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from pyserini_xqg.compare.grid import FACTORS, Grid, Point
from pyserini_xqg.compare.report import SystemScores
from pyserini_xqg.core.figures import BASELINE_COLOR, draw_line, figure_file, line_style
from pyserini_xqg.evaluate.means import AVERAGE

AXIS_TITLES = {
    "max-queries": "generated queries per passage and language",
    "alpha": "alpha, the weight of the generated queries",
    "language-removal": "share of the languages' directions that is taken out",
    "route": "one index per language",
    "normalize": "final vectors at unit length",
}
_PANEL = (4.6, 3.4)
_CHARACTER = 0.052
"""Width of one in the caption, in inches."""


def choose_axis(grid: Grid) -> str:
    """The factor with most values; among equals the last of :data:`FACTORS`."""
    return max(reversed(FACTORS), key=lambda factor: len(grid.values[factor]))


def lines(grid: Grid, axis: str) -> dict[str, list[Point]]:
    """The values of the other factors that vary, as a label, to the points along the axis."""
    others = [factor for factor in grid.varied if factor != axis]
    found: dict[str, list[Point]] = {}
    for point in grid.points:
        label = ", ".join(f"{factor} {point.cell(factor)}" for factor in others)
        found.setdefault(label, []).append(point)
    return found


def draw_grid(path: str | Path, grid: Grid, report: SystemScores, names: Mapping[Point, str], caption: str) -> None:
    """Draw the means over languages, a panel for each measure; markers are filled where the test is significant.

    names : point as searched to the name of its run. caption : a line under the figure.
    """
    axis, measures = choose_axis(grid), report.measures
    values = grid.values[axis]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    cells = dict.fromkeys(point.cell(axis) for point in grid.points)
    place = {value: value if numbers else number for number, value in enumerate(values)}
    with figure_file(path, 1, len(measures), panel=_PANEL) as (figure, axes):
        for measure, panel in zip(measures, axes[0], strict=True):
            for number, (label, points) in enumerate(lines(grid, axis).items()):
                points = sorted(points, key=lambda point: place[point.value(axis)])
                runs = [names[point.searched] for point in points]
                means = [100 * report.mean(run, measure) for run in runs]
                filled = [report.is_significant(run, measure) for run in runs]
                x = [place[point.value(axis)] for point in points]
                style = line_style(number)
                draw_line(panel, x, means, label=label or "xQG", filled=filled, connect=numbers, **style)
            panel.set(title=measure + "*" * (measure in report.marked), xlabel=AXIS_TITLES.get(axis, axis))
            if not numbers:
                panel.set_xticks(range(len(cells)), cells, rotation=30, ha="right", rotation_mode="anchor")
        axes[0, 0].set_ylabel(f"{AVERAGE}, x 100")
        width = int(len(measures) * _PANEL[0] / _CHARACTER)
        figure.supxlabel(textwrap.fill(caption, width), fontsize=7, color=BASELINE_COLOR)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2 * len(measures))

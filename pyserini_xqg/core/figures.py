"""Figures with Matplotlib (the extra ``plots``): one style, and files that have the same bytes each time.

Matplotlib is imported inside the functions; :func:`require_matplotlib` first, before any work is done.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE_FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow; black is for baselines.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINE_COLOR = "#444444"

_STYLE = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that every machine draws the same letters
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.dpi": 160,
    "svg.hashsalt": "pyserini-xqg",  # else ids are random
    "pdf.fonttype": 42,
}
# Names and dates that differ between releases and runs.
_METADATA = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def require_matplotlib(option: str) -> None:
    """Raise :class:`XqgError`, which names the extra, where Matplotlib is not installed; imports nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise XqgError(f"{option}: needs Matplotlib, which is not installed. Run: pip install 'pyserini-xqg[plots]'")


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the ``number``-th line of a figure, for :func:`draw_line`.

    >>> line_style(0)
    {'color': '#0072b2', 'marker': 'o', 'linestyle': '-'}
    """
    dashes = ("-", "--", ":", "-.")
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": dashes[number // len(COLORS) % len(dashes)],
    }


@contextmanager
def figure_file(
    path: str | Path, rows: int = 1, columns: int = 1, panel: tuple[float, float] = (4.6, 3.2), **subplots: Any
) -> Iterator[tuple[Any, np.ndarray]]:
    """Draw a figure of rows x columns panels, each ``panel`` inches wide and high, into a file that appears whole.

    Yields the figure and its axes, an array (rows, columns). The name's ending decides the format, one of
    :data:`FIGURE_FORMATS`. The same drawing with the same Matplotlib gives the same bytes.

    >>> with figure_file("/tmp/xqg-doctest.svg") as (figure, axes):
    ...     draw_line(axes[0, 0], [0, 1], [0.2, 0.4], [0.1, 0.3], [0.3, 0.5], label="xQG", **line_style(0))
    >>> Path("/tmp/xqg-doctest.svg").read_text()[:5]
    '<?xml'
    """
    kind = Path(path).suffix.removeprefix(".")
    if kind not in FIGURE_FORMATS:
        raise XqgError(f"{path}: no figure format of that name. Use one of {', '.join(FIGURE_FORMATS)}.")
    require_matplotlib(str(path))
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, **subplots)
        with write_whole(path, "wb") as out:
            figure.savefig(out, format=kind, metadata=_METADATA[kind])


def draw_line(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    label: str | None = None,
    filled: Sequence[bool] | None = None,
    connect: bool = True,
    color: str = COLORS[0],
    marker: str = "o",
    linestyle: str = "-",
) -> None:
    """Draw a line through (x, y) with the band from ``low`` to ``high``; points apart with whiskers if not ``connect``.

    filled : for each point, whether its marker is filled (such as for a significant difference); None fills all.
    """
    x, y, low, high = (np.asarray(values, dtype=float) for values in (x, y, low, high))
    filled = np.ones(len(x), dtype=bool) if filled is None else np.asarray(filled, dtype=bool)
    if connect and len(x) > 1:
        axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
        axes.plot(x, y, color=color, linestyle=linestyle)
    else:
        # Not the distances errorbar takes, which rounding could make negative.
        axes.vlines(x, low, high, color=color, linewidth=1.2, alpha=0.6)
    for chosen, face in ((filled, color), (~filled, "white")):
        if chosen.any():
            axes.plot(
                x[chosen], y[chosen], color=color, marker=marker, linestyle="none", markerfacecolor=face, zorder=3
            )
    if label is not None:  # a line of its own, so that the legend does not depend on which markers are filled
        line = linestyle if connect else "none"
        axes.plot([], [], color=color, marker=marker, linestyle=line, label=label)

"""Figures with Matplotlib: one style; files that have the same bytes each time, and inline SVG for pages."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which the colour-blind can tell apart, without its yellow."""
BASELINE_COLOR = "#444444"
PAGE_COLORS = {"bar": "#2f6fd0", "other": "#c2570c", "line": "#d9dfe6", "soft": "#5b6877", "ink": "#1c2530"}
"""Colours to draw with where pages show their own instead, of those names in ``page.css``: light and dark."""

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
    "savefig.dpi": 160,
    "svg.hashsalt": "pyserini-xqg",  # else ids are random
    "pdf.fonttype": 42,
}
_PAGE_STYLE = {
    **_STYLE,
    "axes.grid": False,
    "axes.spines.left": False,
    "axes.spines.bottom": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": PAGE_COLORS["line"],
    "svg.fonttype": "none",  # texts stay texts
}
# Without the names and dates that differ between releases and runs.
_METADATA = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
FIGURE_FORMATS = tuple(_METADATA)
_TOOLTIP = "tooltip: "


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dashes of the ``number``-th line of a figure, for :func:`draw_line`.

    >>> line_style(0)
    {'color': '#0072b2', 'marker': 'o', 'linestyle': '-'}
    """
    markers, dashes = ("o", "s", "^", "D", "v", "P", "X"), ("-", "--", ":", "-.")
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": markers[number % len(markers)],
        "linestyle": dashes[number // len(COLORS) % len(dashes)],
    }


@contextmanager
def figure_file(
    path: str | Path, rows: int = 1, columns: int = 1, panel: tuple[float, float] = (4.6, 3.2)
) -> Iterator[tuple[Any, np.ndarray]]:
    """Draw a figure of rows x columns panels, each ``panel`` inches wide and high, into a file that appears whole.

    Yields the figure and its axes, an array (rows, columns). The name's ending is one of :data:`FIGURE_FORMATS`. The
    same drawing with the same Matplotlib gives the same bytes.

    >>> with figure_file("/tmp/xqg-doctest.svg") as (figure, axes):
    ...     draw_line(axes[0, 0], [0, 1], [0.2, 0.4], label="xQG", **line_style(0))
    >>> Path("/tmp/xqg-doctest.svg").read_text()[:5]
    '<?xml'
    """
    import matplotlib
    from matplotlib.figure import Figure

    kind = Path(path).suffix.removeprefix(".")
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(panel[0] * columns, panel[1] * rows), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)
        with write_file(path, "wb") as out:
            figure.savefig(out, format=kind, metadata=_METADATA[kind])


def draw_line(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    *,
    label: str,
    filled: Sequence[bool] | None = None,
    connect: bool = True,
    color: str = COLORS[0],
    marker: str = "o",
    linestyle: str = "-",
) -> None:
    """Draw a line through (x, y), or the points alone if not ``connect``.

    filled : for each point, whether its marker is filled (such as for a significant difference); None fills all.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    filled = np.ones(len(x), dtype=bool) if filled is None else np.asarray(filled, dtype=bool)
    if connect:
        axes.plot(x, y, color=color, linestyle=linestyle)
    for chosen, face in ((filled, color), (~filled, "white")):
        axes.plot(x[chosen], y[chosen], color=color, marker=marker, linestyle="none", markerfacecolor=face, zorder=3)
    # A line of its own, so that the legend does not depend on which markers are filled.
    axes.plot([], [], color=color, marker=marker, linestyle=linestyle if connect else "none", label=label)


def tooltip(artist: Any, text: str) -> None:
    """Let a page show ``text`` where the mouse is over what was drawn."""
    artist.set_gid(_TOOLTIP + text)


def inline_svg(draw: Callable[[Axes], None], label: str, size: tuple[float, float] = (4.4, 1.8)) -> str:
    """A figure as SVG inside a page, in the page's colours: :data:`PAGE_COLORS`; ``markupsafe.Markup``.

    Pages allow no style but their own, so every style of the drawing becomes attributes.

    Parameters
    ----------
    draw : draws into the figure's axes.
    label : what is shown, for screen readers.
    size : width and height in inches, which fix the proportions: the page sets the width.

    >>> print(inline_svg(lambda axes: tooltip(axes.bar([0], [1])[0], "one"), "A bar")[:57])
    <svg viewBox="0 0 316.8 129.6" role="img" aria-label="A b
    """
    import matplotlib
    from markupsafe import Markup
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with matplotlib.rc_context(_PAGE_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots())
        figure.savefig(out, format="svg", metadata=_METADATA["svg"], transparent=True)
    return Markup(_page_svg(out.getvalue(), label))


def _page_svg(data: bytes, label: str) -> str:
    """Matplotlib's SVG without what pages do not allow or need: styles, sizes, names that nothing refers to."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(data)
    text = data.decode("utf-8")
    variables = {color: f"var(--{name})" for name, color in PAGE_COLORS.items()}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        styles = (entry.partition(":") for entry in attributes.pop("style", "").split(";") if entry)
        attributes |= {name.strip(): value.strip() for name, _, value in styles}
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        name = attributes.get("id", "")
        if f"#{name}" not in text:
            attributes.pop("id", None)
        if name.startswith(_TOOLTIP):
            about = ElementTree.Element("title")
            about.text = name.removeprefix(_TOOLTIP)
            element.insert(0, about)
        element.attrib = {name: variables.get(value, value) for name, value in attributes.items()}
    root.attrib = {
        **{"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label},
        **{"stroke-linejoin": "round", "stroke-linecap": "butt"},  # those of the style that was removed
    }
    return ElementTree.tostring(root, encoding="unicode")

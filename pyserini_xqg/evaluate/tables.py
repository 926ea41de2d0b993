"""Tables of scores as text, Markdown and LaTeX (booktabs): the best in bold, significant differences marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

BEST = ">"
"""Stands before the best value of a column in text tables, which know no bold."""

SIGNIFICANT = "†"

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    SIGNIFICANT: r"$^{\dagger}$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Cell:
    """A value as it is shown, whether it is the best of its column, and what follows it (such as ``†``)."""

    text: str
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns (that of the rows first), and rows: a name and a cell for each column."""

    title: str
    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]] = field(default_factory=list)


def percent(value: float | None) -> str:
    """A fraction times 100 with two decimals; a dash for None.

    >>> percent(0.46234), percent(None)
    ('46.23', '-')
    """
    return "-" if value is None else f"{value * 100:.2f}"


def scored_rows(
    names: Sequence[str],
    columns: Sequence[Sequence[float | None]],
    marks: Iterable[tuple[int, int]] = (),
    *,
    lower_is_better: Iterable[int] = (),
    show: Callable[[float | None], str] = percent,
) -> list[tuple[str, list[Cell]]]:
    """Rows of a :class:`Table` from values by column, the best of each column marked as such.

    Values that are shown alike are equally good; where all rows are, or there is but one, none is the best.

    Parameters
    ----------
    names
        Of the rows.
    columns
        Per column, a value or None for each row.
    marks
        (row, column), from 0, of the cells that get a ``†``.
    lower_is_better
        Columns whose smallest value is the best.
    show
        Value (or None) to text.

    >>> scored_rows(["a", "b"], [[0.5, 0.25]], marks=[(0, 0)])[0]
    ('a', [Cell(text='50.00', best=True, mark='†')])
    """
    marked, lowest = set(marks), set(lower_is_better)
    rows: list[tuple[str, list[Cell]]] = [(name, []) for name in names]
    for place, values in enumerate(columns):
        known = [value for value in values if value is not None]
        best = None
        if known and len({show(value) for value in known}) > 1:
            best = show(min(known) if place in lowest else max(known))
        for row, value in enumerate(values):
            text = show(value)
            mark = SIGNIFICANT if (row, place) in marked else ""
            rows[row][1].append(Cell(text, value is not None and text == best, mark))
    return rows


def render_text(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """Aligned columns for a terminal, after the notes; the best of a column has a ``>`` before it."""
    lines = list(notes)
    for table in tables:
        lines += ["", table.title]
        heads = list(table.header[1:])
        widths = [max([6, len(head), *(len(_plain(row[1][place])) for row in table.rows)]) for place, head in
                  enumerate(heads)]  # fmt: skip
        marks = [max([0, *(len(row[1][place].mark) for row in table.rows)]) for place in range(len(heads))]
        first = max(len(table.header[0]), *(len(name) for name, _ in table.rows))
        cells = [head.rjust(width) + " " * room for head, width, room in zip(heads, widths, marks, strict=True)]
        lines.append("  ".join([table.header[0].ljust(first), *cells]).rstrip())
        for name, row in table.rows:
            cells = [
                _plain(cell).rjust(width) + cell.mark.ljust(room)
                for cell, width, room in zip(row, widths, marks, strict=True)
            ]
            lines.append("  ".join([name.ljust(first), *cells]).rstrip())
    return "\n".join(lines) + "\n"


def _plain(cell: Cell) -> str:
    return BEST * cell.best + cell.text


def render_markdown(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    """Markdown, a paragraph for each note, then the tables; the best of a column in bold."""
    lines = "\n\n".join(_markdown(note) for note in notes).split("\n") if notes else []
    for table in tables:
        title = table.title.rstrip("*")
        lines += ["", f"**{_markdown(title)}**" + r"\*" * (len(table.title) - len(title)), ""]
        lines.append("| " + " | ".join(map(_markdown, table.header)) + " |")
        lines.append("|---" + "|---:" * (len(table.header) - 1) + "|")
        for name, row in table.rows:
            cells = [f"**{cell.text}**{cell.mark}" if cell.best else cell.text + cell.mark for cell in row]
            lines.append("| " + " | ".join([_markdown(name), *cells]) + " |")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    return text.replace("|", "&#124;").replace("*", r"\*")


def render_latex(tables: Sequence[Table], notes: Sequence[str] = ()) -> str:
    r"""One ``tabular`` with booktabs' rules (``\usepackage{booktabs}``), a block for each table; notes as comments.

    Tables with other columns than the one before begin a ``tabular`` of their own.
    """
    lines = [rf"% {note}" for note in notes] + [r"% \usepackage{booktabs}"]
    before: Sequence[str] = ()
    for table in tables:
        if list(table.header) != list(before):
            if before:
                lines += [r"\bottomrule", r"\end{tabular}", ""]
            lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule"]
            lines.append(" & ".join(map(latex, table.header)) + r" \\")
            before = table.header
        lines.append(r"\midrule")
        lines.append(rf"\multicolumn{{{len(table.header)}}}{{l}}{{{latex(table.title)}}} \\")
        for name, row in table.rows:
            cells = [
                rf"\textbf{{{latex(cell.text)}}}{latex(cell.mark)}" if cell.best else latex(cell.text + cell.mark)
                for cell in row
            ]
            lines.append(" & ".join([latex(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def latex(text: str) -> str:
    r"""Text with LaTeX's special characters escaped.

    >>> latex("xqg_5% & more")
    'xqg\\_5\\% \\& more'
    """
    return "".join(_LATEX.get(character, character) for character in text)

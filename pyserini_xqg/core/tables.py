"""Tables as text, Markdown, LaTeX (booktabs), CSV and JSON: the best of a column in bold, marks, groups of columns."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file

BEST = ">"
"""Stands before the best value of a column in text tables, which know no bold."""

SIGNIFICANT = "†"

ROW_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""Endings of the files that :meth:`Table.write` fills with values, a line a row."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    SIGNIFICANT: r"$^{\dagger}$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def percent(value: float) -> str:
    """A fraction times 100 with two decimals.

    >>> percent(0.46234)
    '46.23'
    """
    return f"{value * 100:.2f}"


@dataclass(frozen=True)
class Column:
    """How the values of a column are shown.

    name : its head.
    show : a format such as ``.2f`` or ``,``, or a function from value to text. None is always shown as a dash.
    best : whether the highest value is in bold; values shown alike are equally good, and where all are there is none.
    left : aligned left; None does so for a table's first column only.
    group : stands above neighbouring columns that have the same.
    """

    name: str
    show: str | Callable[[Any], str] = ""
    best: bool = False
    left: bool | None = None
    group: str = ""

    @property
    def full_name(self) -> str:
        """The name with its group, for formats without groups."""
        return f"{self.group}: {self.name}" if self.group else self.name

    def text(self, value: Any) -> str:
        """A value as it is shown.

        >>> Column("queries", ",").text(1234), Column("R@10", percent).text(None)
        ('1,234', '-')
        """
        if value is None:
            return "-"
        return self.show(value) if callable(self.show) else format(value, self.show)


@dataclass(frozen=True)
class Cell:
    """A value with a mark such as ``†`` behind it, or a tint on pages; the table fills in ``text`` and ``best``."""

    value: Any
    mark: str = ""
    tint: bool = False
    text: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Columns, rows of values (or of :class:`Cell`, where there is more to a value), and a title.

    A column can be given as its name. CSV and JSON hold the values with all digits, the others as the columns say.

    >>> rows = [["plain", 0.5, 21], ["xqg", Cell(0.625, mark=SIGNIFICANT), 1234]]
    >>> table = Table(["run", Column("R@10", percent, best=True), Column("MB", ",")], rows, "All runs")
    >>> print(table.text())
    All runs
    run      R@10      MB
    plain   50.00      21
    xqg    >62.50†  1,234
    >>> print(table.markdown())
    **All runs**
    <BLANKLINE>
    | run | R@10 | MB |
    |---|---:|---:|
    | plain | 50.00 | 21 |
    | xqg | **62.50**† | 1,234 |
    >>> print(table.csv())
    run,R@10,MB
    plain,0.5,21
    xqg,0.625,1234
    <BLANKLINE>
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[Any]]
    title: str = ""

    def __post_init__(self) -> None:
        columns = [Column(column) if isinstance(column, str) else column for column in self.columns]
        object.__setattr__(self, "columns", columns)

    def cells(self) -> list[list[Cell]]:
        """The rows as they are shown: every cell with its text, and whether it is the best of its column."""
        rows = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]
        for place, column in enumerate(self.columns):
            shown = [replace(row[place], text=column.text(row[place].value)) for row in rows]
            known = [cell for cell in shown if cell.value is not None]
            if column.best and len({cell.text for cell in known}) > 1:
                best = max(known, key=lambda cell: cell.value).text
                shown = [replace(cell, best=cell.text == best) for cell in shown]
            for row, cell in zip(rows, shown, strict=True):
                row[place] = cell
        return rows

    def is_left(self, place: int) -> bool:
        """Whether a column is aligned left."""
        left = self.columns[place].left
        return place == 0 if left is None else left

    def groups(self) -> list[tuple[str, int]]:
        """Names of the groups of neighbouring columns with how many columns each has; empty without any group."""
        names = [column.group for column in self.columns]
        return [(name, len(list(same))) for name, same in groupby(names)] if any(names) else []

    def text(self) -> str:
        """Aligned columns for a terminal, the title above; the best of a column has a ``>`` before it."""
        heads = [Cell(column.name, text=column.name) for column in self.columns]
        columns = []
        for cells in zip(heads, *self.cells(), strict=True):
            mark = max(len(cell.mark) for cell in cells)
            columns.append([BEST * cell.best + cell.text + cell.mark.ljust(mark) for cell in cells])
        widths = [max(map(len, texts)) for texts in columns]
        lines = [[self.title]] if self.title else []
        if groups := self.groups():
            lines.append(_group_heads(groups, widths))
        for row in zip(*columns, strict=True):
            aligned = zip(row, widths, map(self.is_left, range(len(row))), strict=True)
            lines.append([text.ljust(width) if left else text.rjust(width) for text, width, left in aligned])
        return "\n".join("  ".join(line).rstrip() for line in lines)

    def markdown(self) -> str:
        """Markdown, the title in bold above; the best of a column in bold."""
        lines = [f"**{_markdown(self.title)}**", ""] if self.title else []
        heads = [_markdown(column.full_name) for column in self.columns]
        rules = ["---" if self.is_left(place) else "---:" for place in range(len(self.columns))]
        lines += [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
        for row in self.cells():
            texts = [f"**{_markdown(cell.text)}**" if cell.best else _markdown(cell.text) for cell in row]
            lines.append(f"| {' | '.join(text + cell.mark for text, cell in zip(texts, row, strict=True))} |")
        return "\n".join(lines)

    def latex(self) -> str:
        r"""A ``tabular`` with booktabs' rules (``\usepackage{booktabs}``), the title in its first line."""
        aligned = "".join("l" if self.is_left(place) else "r" for place in range(len(self.columns)))
        title = [rf"\multicolumn{{{len(self.columns)}}}{{l}}{{{latex(self.title)}}} \\"] if self.title else []
        lines = [rf"\begin{{tabular}}{{{aligned}}}", r"\toprule", *title]
        lines += [" & ".join(latex(column.full_name) for column in self.columns) + r" \\", r"\midrule"]
        for row in self.cells():
            texts = [rf"\textbf{{{latex(cell.text)}}}" if cell.best else latex(cell.text) for cell in row]
            lines.append(" & ".join(text + latex(cell.mark) for text, cell in zip(texts, row, strict=True)) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])

    def csv(self, delimiter: str = ",") -> str:
        """Values with all digits under the columns' names, separated by commas, or tabs."""
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow([column.full_name for column in self.columns])
        writer.writerows([cell.value if isinstance(cell, Cell) else cell for cell in row] for row in self.rows)
        return out.getvalue()

    def json(self) -> str:
        """A JSON object a row, by the columns' names; null for numbers that JSON does not know."""
        names = [column.full_name for column in self.columns]
        records = [dict(zip(names, map(_json_value, row), strict=True)) for row in self.rows]
        return json.dumps(records, ensure_ascii=False, indent=2) + "\n"

    def write(self, path: str | Path) -> None:
        r"""Write values with all digits: JSON, CSV or TSV by the file's ending, the last two also ``.gz``.

        >>> Table(["run", "R@10"], [["plain", 0.5]]).write("/tmp/xqg-doctest.tsv")
        >>> Path("/tmp/xqg-doctest.tsv").read_text()
        'run\tR@10\nplain\t0.5\n'
        """
        check_suffix(path, (".json", *ROW_SUFFIXES))
        text = self.json() if str(path).endswith(".json") else self.csv("\t" if ".tsv" in Path(path).suffixes else ",")
        data = text.encode("utf-8")
        with write_file(path, "wb") as out:
            out.write(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)


def check_suffix(path: str | Path, suffixes: Sequence[str]) -> None:
    """Refuse a file's name that has none of the endings."""
    if not str(path).endswith(tuple(suffixes)):
        raise XqgError(f"{path}: unknown kind of file. Use a name that ends in {', '.join(suffixes)}.")


def render(tables: Sequence[Table], style: str = "table", notes: Sequence[str] = ()) -> str:
    """Notes and tables as one text: ``table`` (for a terminal), ``markdown``, or ``latex``.

    In LaTeX, notes are comments.

    >>> table = Table(["run", Column("R@10", percent)], [["plain", 0.5]], "R@10")
    >>> print(render([table, table], notes=["Values x 100."]), end="")
    Values x 100.
    <BLANKLINE>
    R@10
    run     R@10
    plain  50.00
    <BLANKLINE>
    R@10
    run     R@10
    plain  50.00
    """
    if style == "latex":
        lines = "\n".join([*(f"% {note}" for note in notes), r"% \usepackage{booktabs}"])
        return "\n\n".join([lines, *(table.latex() for table in tables)]) + "\n"
    if style == "markdown":
        return "\n\n".join([*map(_markdown, notes), *(table.markdown() for table in tables)]) + "\n"
    return "\n\n".join(["\n".join(notes)] * bool(notes) + [table.text() for table in tables]) + "\n"


def _group_heads(groups: Sequence[tuple[str, int]], widths: list[int]) -> list[str]:
    """The names of groups over their columns; the first column of a group with a longer name becomes wider."""
    heads, place = [], 0
    for name, number in groups:
        title = f"- {name} -" if name else ""
        span = sum(widths[place : place + number]) + 2 * (number - 1)
        widths[place] += max(0, len(title) - span)
        heads.append(title.center(span, "-" if name else " "))
        place += number
    return heads


def _json_value(cell: Any) -> Any:
    value = cell.value if isinstance(cell, Cell) else cell
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(text: str) -> str:
    return text.replace("|", "&#124;").replace("*", r"\*")


def latex(text: str) -> str:
    r"""Text with LaTeX's special characters escaped.

    >>> latex("xqg_5% & more")
    'xqg\\_5\\% \\& more'
    """
    return "".join(_LATEX.get(character, character) for character in text)

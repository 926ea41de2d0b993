"""Tables in every format: what is best, what is marked, what is grouped, what is escaped, what is written."""

import gzip
import json
import math

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.tables import Cell, Column, Table, latex, percent, render

SCORES = Table(
    ["run", *(Column(name, percent, best=True) for name in ("fi", "te", "avg"))],
    [["plain", 0.5, None, 0.12344], ["xqg_sum|5%", 0.25, Cell(1.0, mark="†"), 0.12341]],
    "R@2kt*",
)


def test_the_best_of_a_column():
    def best(values, show=".1f", wanted=True):
        rows = [[str(row), value] for row, value in enumerate(values)]
        cells = Table(["run", Column("value", show, best=wanted)], rows).cells()
        return [row for row, (_, cell) in enumerate(cells) if cell.best]

    assert best([0.3, 0.30001, 0.2]) == [0, 1]  # shown alike, equally good
    assert best([-1.0, None, -2.0]) == [0]
    assert best([0.5, 0.5]) == best([0.5]) == best([0.5, None]) == best([1, 2], wanted=False) == []


def test_text():
    assert render([SCORES, SCORES], notes=["A note."]) == "A note.\n" + 2 * (
        "\nR@2kt*\n"
        "run             fi      te     avg\n"
        "plain       >50.00       -   12.34\n"
        "xqg_sum|5%   25.00  100.00†  12.34\n"
    )


def test_groups_of_columns_in_text():
    table = Table(
        [
            "language",
            "n",
            Column("mean", ".1f", group="characters per query"),
            Column("max", group="characters per query"),
        ],
        [["ar", 3, 4.25, 9]],
    )
    assert table.groups() == [("", 2), ("characters per query", 2)]
    assert table.text() == (
        "             - characters per query -\n"
        "language  n                 mean  max\n"
        "ar        3                  4.2    9"
    )
    assert table.markdown().startswith("| language | n | characters per query: mean | characters per query: max |\n")


def test_markdown():
    assert render([SCORES], "markdown", ["With * and |.", "Another."]) == (
        "With \\* and &#124;.\n\nAnother.\n\n**R@2kt\\***\n\n"
        "| run | fi | te | avg |\n|---|---:|---:|---:|\n"
        "| plain | **50.00** | - | 12.34 |\n"
        "| xqg_sum&#124;5% | 25.00 | 100.00† | 12.34 |\n"
    )
    assert "|---|---|" in Table(["system", Column("what", left=True)], [["a", "b"]]).markdown()


def test_latex():
    table = (
        "\n\\begin{tabular}{lrrr}\n\\toprule\n\\multicolumn{4}{l}{R@2kt*} \\\\\nrun & fi & te & avg \\\\\n\\midrule\n"
        "plain & \\textbf{50.00} & - & 12.34 \\\\\n"
        "xqg\\_sum|5\\% & 25.00 & 100.00$^{\\dagger}$ & 12.34 \\\\\n\\bottomrule\n\\end{tabular}\n"
    )
    assert render([SCORES] * 2, "latex", ["Values x 100."]) == "% Values x 100.\n% \\usepackage{booktabs}\n" + 2 * table


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a\\b", r"a\textbackslash{}b"), ("#1 $5 {x} ~ ^", r"\#1 \$5 \{x\} \textasciitilde{} \textasciicircum{}")],
)
def test_latex_escapes(text, escaped):
    assert latex(text) == escaped


def test_files_hold_all_digits(tmp_path):
    table = Table(["run", Column("d", ".1f")], [["a,b", 1 / 3], ["c", Cell(math.inf, mark="†")], ["d", None]])
    for name, text in [
        ("a.csv", f'run,d\n"a,b",{1 / 3}\nc,inf\nd,\n'),
        ("a.tsv", f"run\td\na,b\t{1 / 3}\nc\tinf\nd\t\n"),
        (
            "a.json",
            json.dumps([{"run": "a,b", "d": 1 / 3}, {"run": "c", "d": None}, {"run": "d", "d": None}], indent=2) + "\n",
        ),
    ]:
        table.write(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    for _ in range(2):  # the same bytes each time
        table.write(tmp_path / "b.csv.gz")
        data = (tmp_path / "b.csv.gz").read_bytes()
        assert gzip.decompress(data) == (tmp_path / "a.csv").read_bytes() and data[4:8] == bytes(4)
    with pytest.raises(XqgError, match=r"a\.xls: unknown kind of file\. Use a name that ends in \.json, \.csv"):
        table.write(tmp_path / "a.xls")

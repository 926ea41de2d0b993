"""Tables as text, Markdown and LaTeX: what is best, what is marked, what is escaped."""

from __future__ import annotations

import pytest

from pyserini_xqg.evaluate.tables import Cell, Table, latex, render_latex, render_markdown, render_text, scored_rows

ROWS = scored_rows(["plain", "xqg_sum|5%"], [[0.5, 0.25], [None, 1.0], [0.12344, 0.12341]], marks=[(1, 1)])


def test_the_best_of_a_column():
    assert [[cell.best for cell in cells] for _, cells in ROWS] == [[True, False, False], [False, False, False]]
    assert [[cell.text for cell in cells] for _, cells in ROWS] == [
        ["50.00", "-", "12.34"],
        ["25.00", "100.00", "12.34"],
    ]
    assert [[cell.mark for cell in cells] for _, cells in ROWS] == [["", "", ""], ["", "†", ""]]
    # Two that are shown alike are both the best; the smallest is, where it is said.
    rows = scored_rows(["a", "b", "c"], [[0.3, 0.30001, 0.2], [3, 1, 2]], lower_is_better=[1], show=str)
    assert [cells[1].best for _, cells in rows] == [False, True, False]
    rows = scored_rows(["a", "b", "c"], [[0.3, 0.30001, 0.2]])
    assert [cells[0].best for _, cells in rows] == [True, True, False]
    assert not scored_rows(["alone"], [[0.3]])[0][1][0].best


TABLE = Table("R@2kt*", ["run", "fi", "te", "avg"], ROWS)


def test_text():
    assert render_text([TABLE, TABLE], ["A note."]) == "A note.\n" + 2 * (
        "\nR@2kt*\n"
        "run             fi      te      avg\n"
        "plain       >50.00       -    12.34\n"
        "xqg_sum|5%   25.00  100.00†   12.34\n"
    )


def test_markdown():
    assert render_markdown([TABLE], ["With * and |.", "Another."]) == (
        "With \\* and &#124;.\n\nAnother.\n\n**R@2kt**\\*\n\n"
        "| run | fi | te | avg |\n|---|---:|---:|---:|\n"
        "| plain | **50.00** | - | 12.34 |\n"
        "| xqg_sum&#124;5% | 25.00 | 100.00† | 12.34 |\n"
    )


def test_latex():
    other = Table("p", ["run", "p"], [("a&b", [Cell("<0.0001", mark="†")])])
    assert render_latex([TABLE, TABLE, other], ["Values x 100."]) == (
        "% Values x 100.\n% \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrrr}\n\\toprule\nrun & fi & te & avg \\\\\n"
        + 2
        * (
            "\\midrule\n\\multicolumn{4}{l}{R@2kt*} \\\\\n"
            "plain & \\textbf{50.00} & - & 12.34 \\\\\n"
            "xqg\\_sum|5\\% & 25.00 & 100.00$^{\\dagger}$ & 12.34 \\\\\n"
        )
        + "\\bottomrule\n\\end{tabular}\n\n"
        "\\begin{tabular}{lr}\n\\toprule\nrun & p \\\\\n\\midrule\n\\multicolumn{2}{l}{p} \\\\\n"
        "a\\&b & \\textless{}0.0001$^{\\dagger}$ \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a\\b", r"a\textbackslash{}b"), ("#1 $5 {x} ~ ^", r"\#1 \$5 \{x\} \textasciitilde{} \textasciicircum{}")],
)
def test_latex_escapes(text, escaped):
    assert latex(text) == escaped

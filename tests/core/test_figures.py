"""Figures: the same bytes in another process, what is drawn, and what is said without Matplotlib."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import command_environment

from pyserini_xqg.core import figures

DRAW = """
import sys
from pyserini_xqg.core.figures import draw_line, figure_file, line_style
with figure_file(sys.argv[1], 1, 2) as (figure, axes):
    for number in range(8):
        draw_line(axes[0, 0], [0, 1, 2], [1, number, 2], label=f"line {number}",
                  filled=[False, True, False], **line_style(number))
    draw_line(axes[0, 1], [0, 1], [1, 2], label="a", connect=False)
    axes[0, 0].legend()
"""


def draw(path):
    result = subprocess.run(
        [sys.executable, "-c", DRAW, str(path)], capture_output=True, text=True, env=command_environment()
    )
    assert result.returncode == 0, result.stderr
    return Path(path).read_bytes()


@pytest.mark.parametrize("kind", figures.FIGURE_FORMATS)
def test_same_bytes_in_every_process(tmp_path, kind):
    first, second = draw(tmp_path / f"a.{kind}"), draw(tmp_path / f"b.{kind}")
    assert first == second
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])
    for word in (b"Date", b"matplotlib"):  # neither dates nor the name of what wrote it, with its release
        assert word not in first.replace(b"matplotlib.axis", b"").replace(b"matplotlib.org", b"")
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_what_is_drawn(tmp_path):
    with figures.figure_file(tmp_path / "a.png") as (_, axes):
        (axes,) = axes.ravel()
        figures.draw_line(axes, [0, 1, 2], [0.1, 0.3, 0.2], label="xQG", filled=[False, True, True])
        line, filled, hollow, key = axes.lines
        assert line.get_xydata().tolist() == [[0, 0.1], [1, 0.3], [2, 0.2]]
        assert filled.get_xdata().tolist() == [1, 2] and hollow.get_xdata().tolist() == [0]
        assert hollow.get_markerfacecolor() == "white" and filled.get_markerfacecolor() == figures.COLORS[0]
        assert axes.get_legend_handles_labels()[1] == ["xQG"] and key.get_label() == "xQG"


def test_points_apart_have_no_line(tmp_path):
    with figures.figure_file(tmp_path / "a.svg") as (_, axes):
        (axes,) = axes.ravel()
        figures.draw_line(axes, [0, 1], [1, 2], label="a", connect=False)
        assert {line.get_linestyle() for line in axes.lines} == {"None"}


def test_lines_differ():
    styles = [tuple(figures.line_style(number).values()) for number in range(12)]
    assert len(set(styles)) == 12


def test_an_error_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="in the middle"), figures.figure_file(tmp_path / "a.png"):
        raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


def test_style_stays_inside(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with figures.figure_file(tmp_path / "a.png"):
        assert matplotlib.rcParams["svg.hashsalt"] == "pyserini-xqg"
    assert dict(matplotlib.rcParams) == before

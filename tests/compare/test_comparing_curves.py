"""What the figure of a grid shows: axis, lines, significance."""

import re

import numpy as np
import pytest
from compare import points
from ir_measures import Qrel

from pyserini_xqg.compare.curves import choose_axis, draw_grid, lines
from pyserini_xqg.compare.grid import FACTORS, Filter
from pyserini_xqg.compare.report import SystemRow, SystemScores
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.evaluate.significance import TestOptions

LANGUAGES = {f"{code}{row}": code for code in ("ar", "fi", "ko", "ru", "te") for row in range(20)}


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ({"max-queries": [0, 1, 2], "alpha": [0.1, 0.2]}, "max-queries"),
        ({"max-queries": [0, 1], "alpha": [0.1, 0.2, 0.3]}, "alpha"),
        ({"aggregate": ["sum", "mean"], "alpha": [0.1, 0.2]}, "alpha"),
        ({"languages": [None, ("ar",), ("fi",)], "route": [False, True], "alpha": [0.1]}, "languages"),
    ],
)
def test_axis(values, axis):
    assert choose_axis(points.grid(values, languages=("ar", "fi"))) == axis
    assert choose_axis(points.grid({"route": [False, True]}, ("a", "b", "c"))) == "store"


def test_a_line_for_each_combination_of_the_others():
    found = lines(points.grid({"languages": [("ar",), None], "route": [False, True]}, ("a", "b")), "languages")
    assert list(found) == ["store a, route no", "store a, route yes", "store b, route no", "store b, route yes"]
    assert [point.cell("languages") for point in found["store b, route yes"]] == ["ar", "all"]


def drawn(tmp_path, grid):
    chance = np.random.default_rng(0)
    names = {point: f"{point.store}.{point.name}" for point in points.searched(grid)}
    values = {
        name: {
            measure: {topic: float(chance.random() < 0.3 + 0.5 * point.recipe.alpha) for topic in LANGUAGES}
            for measure in ("R@10", "RR@10")
        }
        for point, name in names.items()
    }
    qrels = [Qrel(topic, "d", 1) for topic in LANGUAGES]
    collection = Collection("chosen", set(LANGUAGES), dict(LANGUAGES), qrels=qrels)
    rows = [SystemRow(name, "", dict.fromkeys(FACTORS, ""), f"{point.store}.plain") for point, name in names.items()]
    with Scorer(collection, ["R@10", "RR@10"]) as scorer:
        for name in names.values():
            scorer.score({}, name)
        report = SystemScores(scorer, rows, values, TestOptions())
    report.marked = {"RR@10"}
    draw_grid(tmp_path / "figure.svg", grid, report, names, "The marks.")
    return (tmp_path / "figure.svg").read_bytes()


@pytest.mark.parametrize(
    ("values", "stores", "texts"),
    [
        (
            {"aggregate": ["sum", "mean"], "alpha": [0.9, 0.1]},
            ("s",),
            {"aggregate sum", "aggregate mean", "alpha, the weight of the generated queries"},
        ),
        ({"alpha": [0.5]}, ("fp32", "int8"), {"xQG", "fp32", "int8", "store"}),
        (
            {"filter": [None, Filter("top-fraction", "0.9"), Filter("threshold", "0.1")]},
            ("s",),
            {"filter", "none", "best0.9"},
        ),
    ],
)
def test_figure(tmp_path, values, stores, texts):
    """Matplotlib leaves each text as a comment beside its glyphs."""
    grid = points.grid(values, stores)
    svg = drawn(tmp_path, grid)
    assert {"R@10", "RR@10*", "avg, x 100", "The marks.", *texts} <= set(re.findall(r"<!-- (.*?) -->", svg.decode()))
    assert drawn(tmp_path, grid) == svg

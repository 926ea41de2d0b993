"""What the figure of a grid shows: axis, curves, baseline, significance."""

import re

import numpy as np
import pytest
from compare import points
from ir_measures import Qrel

from pyserini_xqg.compare.curves import choose_axis, curves, draw_grid
from pyserini_xqg.compare.grid import FACTORS, Filter
from pyserini_xqg.compare.report import SystemRow, SystemScores
from pyserini_xqg.core.errors import XqgError
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
        ({"filter": [None, Filter("threshold", "1")], "languages": [None, ("ar",), ("fi",)]}, "filter"),
    ],
)
def test_axis(values, axis):
    assert choose_axis(points.grid(values, languages=("ar", "fi"))) == axis
    assert choose_axis(points.grid({"route": [False, True]}, ("a", "b", "c"))) == "store"


def test_axis_asked_for():
    grid = points.grid({"max-queries": [0, 1, 2], "alpha": [0.1, 0.2]})
    assert choose_axis(grid, "alpha") == "alpha"
    with pytest.raises(XqgError, match="--x route: the grid has no value for it"):
        choose_axis(grid, "route")


def names_of(grid):
    return {point: f"{point.store}.{point.name}" for point in points.searched(grid)}


def test_curves_along_numbers_begin_without_augmentation():
    grid = points.grid({"aggregate": ["sum", "mean"], "max-queries": [5, None, 1], "alpha": [0.5]})
    found = curves(grid, "max-queries", 9, names_of(grid))
    assert [(curve.label, curve.x) for curve in found] == [("sum", [0, 1, 5, 9]), ("mean", [0, 1, 5, 9])]
    assert [point.recipe.max_queries for point in found[1].points] == [0, 1, 5, None]
    assert found[1].points[0].searched in names_of(grid)

    grid = points.grid({"max-queries": [0, 2], "alpha": [0.5, 0.0, 0.2]})
    (curve,) = curves(grid, "alpha", 9, names_of(grid))
    assert (curve.label, curve.x) == ("2 queries", [0, 0.2, 0.5])


def test_curves_over_names():
    grid = points.grid({"languages": [("ar",), None], "route": [False, True]}, ("a", "b"))
    found = curves(grid, "languages", 9, names_of(grid))
    assert [(curve.label, curve.x) for curve in found] == [
        ("a, one index", [0, 1]), ("a, routed", [0, 1]), ("b, one index", [0, 1]), ("b, routed", [0, 1]),
    ]  # fmt: skip


def test_stores_have_their_own_baselines():
    grid = points.grid({"alpha": [0.5]}, ("a", "b"))
    found = curves(grid, "store", 9, names_of(grid))
    assert [(curve.label, curve.x) for curve in found] == [("", [0, 1]), ("no augmentation", [0, 1])]
    assert [(point.store, point.is_plain) for point in found[1].points] == [("a", True), ("b", True)]


def drawn(tmp_path, grid, by_language=False):
    chance = np.random.default_rng(0)
    names = names_of(grid)
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
    path = tmp_path / "figure.svg"
    axis = choose_axis(grid)
    draw_grid(path, grid, axis, report, names, caption="The marks.", most_queries=5, by_language=by_language)
    return path.read_bytes()


def words(svg: bytes) -> list[str]:
    """Texts in a figure: Matplotlib leaves each as a comment beside its glyphs."""
    return re.findall(r"<!-- (.*?) -->", svg.decode("utf-8"))


def test_figure_of_averages(tmp_path):
    grid = points.grid({"aggregate": ["sum", "mean"], "alpha": [0.1, 0.9]})
    svg = drawn(tmp_path, grid)
    found = words(svg)
    for text in ("R@10", "RR@10*", "sum", "mean", "no augmentation", "mean over 5 languages, x 100",
                 "alpha, the weight of the generated queries", "The marks."):  # fmt: skip
        assert text in found
    assert drawn(tmp_path, grid) == svg


def test_figure_of_stores(tmp_path):
    found = words(drawn(tmp_path, points.grid({"alpha": [0.5]}, ("fp32", "int8"))))
    assert {"fp32", "int8", "xQG", "no augmentation"} <= set(found)


def test_figure_by_language(tmp_path):
    grid = points.grid({"filter": [None, Filter("top-fraction", "0.9", True), Filter("threshold", "0.1")]})
    found = words(drawn(tmp_path, grid, by_language=True))
    for language in ("Arabic", "Finnish", "Korean", "Russian", "Telugu"):
        assert f"R@10, {language}" in found and f"RR@10*, {language}" in found
    assert found.count("filter") == 10 and found.count("best 0.9 each") == 10

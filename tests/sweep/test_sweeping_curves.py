"""What the figure of a sweep shows: axis, curves, baseline, significance."""

import re

import numpy as np
import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.comparisons import Settings
from pyserini_xqg.sweep.curves import choose_axis, curves, draw_sweep
from pyserini_xqg.sweep.grid import FACTORS, Filter, Grid
from pyserini_xqg.sweep.summary import System, summarise

LANGUAGES = {f"{code}{row}": code for code in ("ar", "fi", "ko", "ru", "te") for row in range(20)}


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ({"max-queries": [0, 1, 2], "alpha": [0.1, 0.2]}, "max-queries"),
        ({"max-queries": [0, 1], "alpha": [0.1, 0.2, 0.3]}, "alpha"),
        ({"aggregate": ["sum", "mean"], "alpha": [0.1, 0.2]}, "alpha"),
        ({"languages": [None, ("ar",), ("fi",)], "route": [False, True], "alpha": [0.1]}, "languages"),
        ({"filter": [None, Filter("threshold", "1")], "languages": [None, ("ar",), ("fi",)]}, "filter"),
        ({"route": [False, True], "store": ["a", "b", "c"]}, "store"),
    ],
)
def test_axis(values, axis):
    assert choose_axis(Grid({"store": ["s"], **values})) == axis


def test_axis_asked_for():
    grid = Grid({"store": ["s"], "max-queries": [0, 1, 2], "alpha": [0.1, 0.2]})
    assert choose_axis(grid, "alpha") == "alpha"
    with pytest.raises(XqgError, match="--x route: the grid has no value for it"):
        choose_axis(grid, "route")


def test_curves_along_numbers_begin_without_augmentation():
    grid = Grid({"store": ["s"], "aggregate": ["sum", "mean"], "max-queries": [5, None, 1], "alpha": [0.5]})
    found = curves(grid, "max-queries", 9)
    assert [(curve.label, curve.x) for curve in found] == [("sum", [0, 1, 5, 9]), ("mean", [0, 1, 5, 9])]
    assert [point.max_queries for point in found[1].points] == [0, 1, 5, None]
    assert found[1].points[0].searched in grid.runs

    grid = Grid({"store": ["s"], "max-queries": [0, 2], "alpha": [0.5, 0.0, 0.2]})
    (curve,) = curves(grid, "alpha", 9)
    assert (curve.label, curve.x) == ("2 queries", [0, 0.2, 0.5])


def test_curves_over_names():
    grid = Grid({"store": ["a", "b"], "languages": [("ar",), None], "route": [False, True]})
    found = curves(grid, "languages", 9)
    assert [(curve.label, curve.x) for curve in found] == [
        ("a, one index", [0, 1]), ("a, routed", [0, 1]), ("b, one index", [0, 1]), ("b, routed", [0, 1]),
    ]  # fmt: skip


def test_stores_have_their_own_baselines():
    grid = Grid({"store": ["a", "b"], "alpha": [0.5]})
    found = curves(grid, "store", 9)
    assert [(curve.label, curve.x) for curve in found] == [("", [0, 1]), ("no augmentation", [0, 1])]
    assert [(point.store, point.is_plain) for point in found[1].points] == [("a", True), ("b", True)]


def drawn(tmp_path, grid, by_language=False, kind="svg"):
    chance = np.random.default_rng(0)
    names = {point: f"{point.store}.{point.name}" for point in grid.runs}
    values = {
        name: {
            measure: {topic: float(chance.random() < 0.3 + 0.5 * point.alpha) for topic in LANGUAGES}
            for measure in ("R@10", "R@2kt")
        }
        for point, name in names.items()
    }
    systems = [System(name, dict.fromkeys(FACTORS, ""), names[point.baseline]) for point, name in names.items()]
    scores = summarise(systems, values, LANGUAGES, Settings())
    path = tmp_path / f"figure.{kind}"
    draw_sweep(
        path,
        grid,
        choose_axis(grid),
        {(score.system.name, score.measure): score for score in scores},
        names,
        caption="What the marks mean.",
        most_queries=5,
        by_language=by_language,
        marked={"R@2kt"},
    )
    return path.read_bytes()


def words(svg: bytes) -> list[str]:
    """Texts in a figure: Matplotlib leaves each as a comment beside its glyphs."""
    return re.findall(r"<!-- (.*?) -->", svg.decode("utf-8"))


def test_figure_of_averages(tmp_path):
    grid = Grid({"store": ["s"], "aggregate": ["sum", "mean"], "alpha": [0.1, 0.9]})
    svg = drawn(tmp_path, grid)
    found = words(svg)
    for text in ("R@10", "R@2kt*", "sum", "mean", "no augmentation", "mean over 5 languages, x 100",
                 "alpha, the weight of the generated queries", "What the marks mean."):  # fmt: skip
        assert text in found
    assert drawn(tmp_path, grid) == svg


def test_figure_of_stores(tmp_path):
    found = words(drawn(tmp_path, Grid({"store": ["fp32", "int8"], "alpha": [0.5]})))
    assert {"fp32", "int8", "xQG", "no augmentation"} <= set(found)


def test_figure_by_language(tmp_path):
    grid = Grid({"store": ["s"], "filter": [None, Filter("top-fraction", "0.9", True), Filter("threshold", "0.1")]})
    found = words(drawn(tmp_path, grid, by_language=True))
    for language in ("Arabic", "Finnish", "Korean", "Russian", "Telugu"):
        assert f"R@10, {language}" in found and f"R@2kt*, {language}" in found
    assert found.count("filter") == 10 and found.count("best 0.9 each") == 10

"""The grid of a sweep: what the options mean, the points, their names and baselines."""

from itertools import product

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.sweep import grid
from pyserini_xqg.sweep.grid import Filter, Grid, Point
from pyserini_xqg.vectors.recipe import Recipe


def test_ranges_are_exact_and_hold_both_ends():
    assert grid.parse_alphas(["0:1:0.1"]) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert grid.parse_alphas(["0.01", "0.5:0.9:0.25"]) == [0.01, 0.5, 0.75]
    assert grid.parse_max_queries(["0:5:1"]) == [0, 1, 2, 3, 4, 5]
    assert grid.parse_max_queries(["0", "all", "2"]) == [0, None, 2]


@pytest.mark.parametrize(
    ("parse", "texts", "message"),
    [
        (grid.parse_alphas, ["1.5"], r"--alpha 1\.5: outside \[0, 1\]"),
        (grid.parse_alphas, ["-0.1"], r"--alpha -0\.1: outside"),
        (grid.parse_alphas, ["nan"], "--alpha nan: neither a number nor a range"),
        (grid.parse_alphas, ["a half"], "--alpha a half: neither a number nor a range START:STOP:STEP"),
        (grid.parse_alphas, ["0:1"], "--alpha 0:1: neither a number nor a range"),
        (grid.parse_alphas, ["1:0:0.1"], "--alpha 1:0:0.1: a range without a value"),
        (grid.parse_alphas, ["0:1:0"], "--alpha 0:1:0: a range without a value"),
        (grid.parse_alphas, ["0:1:0.00001"], "over 10,000 values"),
        (grid.parse_alphas, ["0.1", "0:1:0.1"], "--alpha: 0.1 is given more than once"),
        (grid.parse_max_queries, ["1.5"], r"--max-queries 1\.5: not a whole number"),
        (grid.parse_max_queries, ["-1"], "--max-queries -1: not a whole number of queries, 0 or more, or all"),
        (grid.parse_max_queries, ["all", "all"], "--max-queries: None is given more than once"),
        (grid.parse_language_sets, ["all", "xx"], "--languages: unknown language code 'xx'"),
        (grid.parse_language_sets, [""], "--languages: no language given"),
        (grid.parse_language_sets, ["ar,de", "ar,de"], "given more than once"),
    ],
)
def test_bad_values(parse, texts, message):
    with pytest.raises(XqgError, match=message):
        parse(texts)


@pytest.mark.parametrize(
    ("texts", "expected"), [(None, [False]), ([], [True]), (["yes"], [True]), (["no", "yes"], [False, True])]
)
def test_switches(texts, expected):
    assert grid.parse_switch(texts, "--route") == expected
    with pytest.raises(XqgError, match="--route maybe: write yes, no, or both"):
        grid.parse_switch(["maybe"], "--route")


def test_filters():
    assert grid.parse_filters(None, None, False) == [None]
    found = grid.parse_filters(["none", "0.3", "ar=0.3,de=-inf"], ["none", "0.9"], True)
    assert found == [
        None,
        Filter("threshold", "0.3"),
        Filter("threshold", "ar=0.3,de=-inf"),
        Filter("top-fraction", "0.9", True),
    ]
    assert found[1].selection().threshold == 0.3
    assert found[2].selection().threshold == {"ar": 0.3, "de": float("-inf")}
    chosen = found[3].selection()
    assert float(chosen.top_fraction) == 0.9 and chosen.per_language and chosen.threshold is None
    for thresholds, fractions, each, message in (
        (["high"], None, False, "--threshold high: 'high' is no number"),
        (None, ["1.5"], False, r"--top-fraction 1\.5: 1\.5 is not above 0 and at most 1"),
        (["0.1"], None, True, "--per-language goes with --top-fraction"),
        (["0.1", "0.1"], None, False, "given more than once"),
    ):
        with pytest.raises(XqgError, match=message):
            grid.parse_filters(thresholds, fractions, each)


def test_points_are_all_combinations():
    made = Grid({"store": ["a", "b"], "aggregate": ["sum", "mean"], "alpha": [0.1, 0.2, 0.3]})
    assert len(made.points) == 12
    assert [(point.store, point.aggregate, point.alpha) for point in made.points] == list(
        product(["a", "b"], ["sum", "mean"], [0.1, 0.2, 0.3])
    )
    assert made.varied == ["store", "aggregate", "alpha"]


def test_empty_grid():
    with pytest.raises(XqgError, match="--alpha: no value, so the grid is empty"):
        Grid({"store": ["s"], "alpha": []})


def test_points_without_augmentation_are_one_run_a_store_and_length():
    made = Grid({"store": ["s"], "aggregate": ["sum", "mean"], "route": [False, True], "normalize": [False, True],
                 "max-queries": [0, 1], "alpha": [0.0, 0.5]})  # fmt: skip
    assert len(made.points) == 32
    plain = [point for point in made.runs if point.is_plain]
    assert [point.name for point in plain] == ["none", "none-unit"]
    assert made.runs[:2] == plain and len(made.runs) == 2 + 8
    for point in plain:
        assert point.recipe == Recipe(0.0, "sum", (), None, point.normalize)
        assert point.baseline == point


def test_baselines_come_even_where_the_grid_has_none():
    made = Grid({"store": ["s"], "alpha": [0.5]})
    assert [point.name for point in made.runs] == ["none", "sum-alpha0.5"]


def test_names_tell_every_point_from_every_other():
    filters = grid.parse_filters(["none", "0.3", "ar=0.3,de=0.4"], ["0.9"], False)
    filters += grid.parse_filters(None, ["0.9"], True)
    made = Grid(
        {
            "store": ["s"],
            "aggregate": ["sum", "mean"],
            "languages": [None, ("ar",), ("ar", "de")],
            "filter": filters,
            "route": [False, True],
            "normalize": [False, True],
            "max-queries": [None, 0, 1, 11],
            "alpha": [0.0, 0.1, 0.11, 1.0],
        }
    )
    names = [point.name for point in made.runs]
    assert len(set(names)) == len(names) == 2 + 2 * 3 * 5 * 2 * 2 * 3 * 3
    assert all(name.replace("-", "").replace(".", "").replace("+", "").isalnum() for name in names)


def test_recipe_of_a_point():
    point = Point("s", "mean", ("ar", "de"), None, True, True, 3, 0.8)
    assert point.recipe == Recipe(0.8, "mean", ("ar", "de"), 3, True)
    assert point.name == "mean-alpha0.8-ar+de-3queries-routed-unit"
    assert [point.cell(factor) for factor in grid.FACTORS] == ["s", "mean", "ar,de", "none", "yes", "yes", "3", "0.8"]

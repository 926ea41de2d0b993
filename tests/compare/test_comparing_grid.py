"""The grid: what the options mean, the points, and their names."""

from dataclasses import replace
from itertools import product

import pytest
from compare import points

from pyserini_xqg.compare import grid
from pyserini_xqg.compare.grid import Filter, Grid, GridOptions
from pyserini_xqg.compare.systems import choose_systems
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.recipe import Recipe


def test_ranges_are_exact_and_hold_both_ends():
    assert grid.parse_shares(["0:1:0.1"]) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert grid.parse_shares(["0.01", "0.5:0.9:0.25"]) == [0.01, 0.5, 0.75]
    assert grid.parse_max_queries(["0:5:1"]) == [0, 1, 2, 3, 4, 5]
    assert grid.parse_max_queries(["0", "all", "2"]) == [0, None, 2]


@pytest.mark.parametrize(
    ("parse", "texts", "message"),
    [
        (grid.parse_shares, ["1.5"], r"--alpha 1\.5: must be a number from 0 to 1"),
        (grid.parse_shares, ["-0.1"], r"--alpha -0\.1: must be"),
        (grid.parse_shares, ["nan"], "--alpha nan: neither a number nor a range"),
        (grid.parse_shares, ["a half"], "--alpha a half: neither a number nor a range START:STOP:STEP"),
        (grid.parse_shares, ["0:1"], "--alpha 0:1: neither a number nor a range"),
        (grid.parse_shares, ["1:0:0.1"], "--alpha 1:0:0.1: neither a number"),
        (grid.parse_shares, ["0:1:0"], "--alpha 0:1:0: neither a number"),
        (grid.parse_shares, ["0:1:0.00001"], "at most 10,000 steps"),
        (grid.parse_shares, ["0.1", "0:1:0.1"], "--alpha: 0.1 is given more than once"),
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


def test_options():
    assert GridOptions().values() == {}
    found = GridOptions(alpha=("0:1:0.5",), route=("no", "yes"), languages=("all", "fi"), max_queries=("0", "all"))
    assert found.values() == {
        "alpha": [0.0, 0.5, 1.0],
        "route": [False, True],
        "languages": [None, ("fi",)],
        "max-queries": [0, None],
    }
    with pytest.raises(XqgError, match="--route: True is given more than once"):
        GridOptions(route=("yes", "yes")).values()


def test_filters():
    assert grid.parse_filters((), ()) == []
    found = grid.parse_filters(["0.3", "none", "ar=0.3,de=-inf"], ["none", "0.9"])
    wanted = [("threshold", "0.3"), ("threshold", "ar=0.3,de=-inf"), ("top-fraction", "0.9")]
    assert found == [None, *(Filter(*one) for one in wanted)]
    assert found[1].selection().threshold == 0.3
    assert found[2].selection().threshold == {"ar": 0.3, "de": float("-inf")}
    chosen = found[3].selection()
    assert float(chosen.top_fraction) == 0.9 and chosen.threshold is None
    for thresholds, fractions, message in (
        (["high"], (), "--threshold high: 'high' is no number"),
        ((), ["1.5"], r"--top-fraction 1\.5: 1\.5 is not above 0 and at most 1"),
        (["0.1", "0.1"], (), "given more than once"),
    ):
        with pytest.raises(XqgError, match=message):
            grid.parse_filters(thresholds, fractions)


def test_points_are_all_combinations():
    made = points.grid({"aggregate": ["sum", "mean"], "alpha": [0.1, 0.2, 0.3]}, ("a", "b"))
    assert len(made.points) == 12
    assert [(one.store, one.recipe.aggregate, one.recipe.alpha) for one in made.points] == list(
        product(["a", "b"], ["sum", "mean"], [0.1, 0.2, 0.3])
    )
    assert made.varied == ["store", "aggregate", "alpha"]
    assert Grid({}, {"s": points.planned()}).points == []


def test_what_is_not_given_is_the_default_of_an_index():
    for l2_norm in (False, True):
        store = points.planned(l2_norm=l2_norm)
        (made,) = Grid({"route": [True]}, {"s": store}).points
        default = Recipe(route=True).resolve(store)
        assert made.recipe == replace(default, languages=None)
        assert made.recipe.normalize == l2_norm


def test_points_without_augmentation_are_one_run_a_store_and_length():
    made = points.grid({"aggregate": ["sum", "mean"], "route": [False, True], "normalize": [False, True],
                        "max-queries": [0, 1], "alpha": [0.0, 0.5]})  # fmt: skip
    assert len(made.points) == 32
    found = points.searched(made)
    plain = [one for one in found if one.is_plain]
    assert [one.name for one in plain] == ["plain", "plain-unit"]
    assert len(found) == 2 + 8
    assert all(one.searched == one and one.recipe.alpha == 0 for one in plain)


def test_a_point_that_is_a_named_system_is_its_row():
    stores = {"s": points.planned(l2_norm=True)}
    made = Grid({"aggregate": ["mean", "sum"], "alpha": [0.0, 0.01, 0.25]}, stores)
    systems, _ = choose_systems(None, made, stores, lambda system: None)
    names = [system.name for system in systems]
    assert names == ["plain", "paper", "default", "mean-alpha0.01-unit-removal0.5", "sum-alpha0.25"]


def test_names_tell_every_point_from_every_other():
    filters = grid.parse_filters(["none", "0.3", "ar=0.3,de=0.4"], ["0.9", "ar=0.9,de=0.9"])
    made = points.grid(
        {
            "aggregate": ["sum", "mean"],
            "languages": [None, ("ar",), ("ar", "de")],
            "filter": filters,
            "route": [False, True],
            "normalize": [False, True],
            "max-queries": [None, 0, 1, 11],
            "alpha": [0.0, 0.1, 0.11, 1.0],
        }
    )
    names = [one.name for one in points.searched(made)]
    assert len(set(names)) == len(names) == 2 + 2 * 3 * 5 * 2 * 2 * 3 * 3
    assert all(name.replace("-", "").replace(".", "").replace("+", "").isalnum() for name in names)


def test_cells_of_a_point():
    chosen = {"aggregate": "mean", "languages": ("ar", "de"), "route": True, "normalize": True}
    one = points.point(**chosen, max_queries=3, alpha=0.8)
    assert one.name == "mean-alpha0.8-ar+de-3queries-routed-unit"
    assert [one.cell(factor) for factor in grid.FACTORS] == [
        "s",
        "mean",
        "ar,de",
        "none",
        "yes",
        "yes",
        "0",
        "3",
        "0.8",
    ]
    assert points.point().cell("languages") == points.point().cell("max-queries") == "all"

"""Names of systems, and which of them can be had."""

import pytest
from compare import points

from pyserini_xqg.compare.grid import Grid
from pyserini_xqg.compare.systems import ALL, DENSE, LEXICAL, System, choose_systems, parse_systems
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.recipe import RECIPES

NAMES = [System(*pair).name for pair in ALL]
STORES = {"s": points.planned()}


def test_every_dense_system_alone_and_with_both_lexical_ones():
    assert len(NAMES) == len(set(NAMES)) == len(DENSE) + len(LEXICAL) + len(DENSE) * len(LEXICAL)
    assert NAMES[: len(DENSE)] == list(DENSE)
    assert {"bm25", "doc2query", "plain+bm25", "routed+doc2query"} <= set(NAMES)
    assert set(RECIPES) <= set(DENSE)  # every named recipe is a system


def test_names_are_read_back_in_the_order_of_the_table():
    assert parse_systems(NAMES[::-1]) == ALL


def chosen(names, check=lambda system: None, values=None, stores=STORES):
    return choose_systems(names, Grid(values or {}, stores), stores, check)


def test_points_of_the_grid_can_be_fused():
    (plain, fused, point), _ = chosen(["plain", "sum-alpha0.8+bm25"], values={"aggregate": ["sum"], "alpha": [0.8]})
    assert [system.name for system in (plain, fused, point)] == ["plain", "sum-alpha0.8+bm25", "sum-alpha0.8"]
    assert [part.name for part in fused.parts] == ["sum-alpha0.8", "bm25"]


def test_parts():
    fused = System("text", "bm25", "int8")
    assert fused.is_fused and fused.parts == [System("text", None, "int8"), System(None, "bm25")]
    assert fused.name == "int8.text+bm25"
    single = System("text")
    assert not single.is_fused and single.parts == [single]


@pytest.mark.parametrize("name", ["median", "bm25+paper", "paper+", "bm25+doc2query", ""])
def test_unknown_names(name):
    with pytest.raises(XqgError, match=r"no such system. Choose among plain, paper, .*such as paper\+bm25"):
        parse_systems(["plain", name])


def check_text(system):
    if system.dense == "text" or system.lexical:
        raise XqgError("no texts. Pass --corpus.")


def test_what_cannot_be_had_is_left_out_with_the_reason():
    systems, left_out = chosen(None, check_text)
    assert [system.name for system in systems] == [name for name in DENSE if name != "text"]
    assert len(left_out) + len(systems) == len(ALL)
    assert left_out["paper+bm25"] == left_out["text"] == "no texts. Pass --corpus."
    with pytest.raises(XqgError, match=r"--systems paper\+bm25: no texts. Pass --corpus."):
        chosen(["plain", "paper+bm25"], check_text)


def test_each_store_has_its_systems_of_vectors():
    stores = {"a": points.planned(), "b": points.planned(l2_norm=True)}
    systems, _ = chosen(["plain", "default", "bm25", "default+bm25"], stores=stores)
    names = ["a.plain", "b.plain", "a.default", "b.default", "bm25", "a.default+bm25", "b.default+bm25"]
    assert [system.name for system in systems] == names
    assert [system.point.recipe.normalize for system in systems[2:4]] == [False, True]
    assert [system.cells()["alpha"] for system in systems] == ["0", "0", "0.25", "0.25", "", "", ""]


def test_what_they_are():
    (plain, default), _ = chosen(["default", "plain"])
    assert default.describe() == f"{DENSE['default']} (mean-alpha0.25)" and plain.describe() == DENSE["plain"]
    assert System("text", "bm25").describe().endswith("; fused with bm25")
    one = points.point()
    assert System(one.name, None, None, one).describe() == "a point of the grid (sum-alpha0.01)"

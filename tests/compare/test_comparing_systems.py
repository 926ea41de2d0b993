"""Names of systems, and which of them can be had."""

import pytest
from compare import points

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


def test_points_of_the_grid_can_be_fused():
    one = points.point(alpha=0.8)
    chosen, _ = choose_systems(["plain", "sum-alpha0.8+bm25"], STORES, lambda system: None, [one])
    assert [system.name for system in chosen] == ["plain", "sum-alpha0.8+bm25"]
    assert [part.name for part in chosen[1].parts] == ["sum-alpha0.8", "bm25"]


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


def test_a_name_given_twice():
    with pytest.raises(XqgError, match="--systems paper: given more than once"):
        parse_systems(["paper", "plain", "paper"])


def lacking_text(system):
    return "no texts. Pass --corpus." if system.kind == "text" or system.lexical else None


def test_what_cannot_be_had_is_left_out_with_the_reason():
    chosen, left_out = choose_systems(None, STORES, lacking_text)
    assert [system.name for system in chosen] == [name for name in DENSE if name != "text"]
    assert len(left_out) + len(chosen) == len(ALL)
    assert left_out["paper+bm25"] == left_out["text"] == "no texts. Pass --corpus."


def test_a_wanted_system_that_cannot_be_had():
    with pytest.raises(XqgError, match=r"--systems paper\+bm25: no texts. Pass --corpus."):
        choose_systems(["plain", "paper+bm25"], STORES, lacking_text)


def test_each_store_has_its_systems_of_vectors():
    stores = {"a": points.planned(), "b": points.planned(l2_norm=True)}
    chosen, _ = choose_systems(["plain", "default", "bm25", "default+bm25"], stores, lambda system: None)
    names = ["a.plain", "b.plain", "a.default", "b.default", "bm25", "a.default+bm25", "b.default+bm25"]
    assert [system.name for system in chosen] == names
    assert [system.point.recipe.normalize for system in chosen[2:4]] == [False, True]
    assert [system.cells()["alpha"] for system in chosen] == ["0", "0", "0.25", "0.25", "", "", ""]


def test_what_they_are():
    (default, plain), _ = choose_systems(["default", "plain"], STORES, lambda system: None)
    default, plain = plain, default
    assert default.describe() == f"{DENSE['default']} (mean-alpha0.25)" and plain.describe() == DENSE["plain"]
    assert System("text", "bm25").describe().endswith("; fused with bm25")
    assert System("point", None, None, points.point()).describe() == "a point of the grid (sum-alpha0.01)"

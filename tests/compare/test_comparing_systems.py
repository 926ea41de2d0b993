"""Names of systems, and which of them can be had."""

import pytest

from pyserini_xqg.compare.systems import ALL, DENSE, LEXICAL, System, choose_systems, parse_systems
from pyserini_xqg.core.errors import XqgError


def test_every_dense_system_alone_and_with_both_lexical_ones():
    names = [system.name for system in ALL]
    assert len(names) == len(set(names)) == len(DENSE) + len(LEXICAL) + len(DENSE) * len(LEXICAL)
    assert names[: len(DENSE)] == list(DENSE)
    assert {"bm25", "doc2query", "none+bm25", "routed-normalized+doc2query"} <= set(names)


def test_names_are_read_back_in_the_order_of_the_table():
    names = [system.name for system in ALL]
    assert [system.name for system in parse_systems(names[::-1])] == names


def test_parts():
    fused = System("text", "bm25")
    assert fused.is_fused and fused.parts == [System("text", None), System(None, "bm25")]
    single = System("text", None)
    assert not single.is_fused and single.parts == [single]


@pytest.mark.parametrize("name", ["median", "bm25+sum", "sum+", "bm25+doc2query", ""])
def test_unknown_names(name):
    with pytest.raises(XqgError, match=r"no such system. Choose among none, sum, .*such as sum\+bm25"):
        parse_systems(["none", name])


def test_a_name_given_twice():
    with pytest.raises(XqgError, match="--systems sum: given more than once"):
        parse_systems(["sum", "none", "sum"])


def lacking_text(system):
    return "no texts. Pass --corpus." if system.dense == "text" or system.lexical else None


def test_what_cannot_be_had_is_left_out_with_the_reason():
    chosen, left_out = choose_systems(None, lacking_text)
    assert [system.name for system in chosen] == [name for name in DENSE if name != "text"]
    assert len(left_out) + len(chosen) == len(ALL)
    assert left_out["sum+bm25"] == left_out["text"] == "no texts. Pass --corpus."


def test_a_wanted_system_that_cannot_be_had():
    with pytest.raises(XqgError, match=r"--systems sum\+bm25: no texts. Pass --corpus."):
        choose_systems(["none", "sum+bm25"], lacking_text)
    assert choose_systems(["none", "sum"], lacking_text) == (parse_systems(["none", "sum"]), {})

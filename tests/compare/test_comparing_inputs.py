"""What a comparison is made from, and what it lacks."""

import pytest
from compare.points import planned
from helpers import corpus_records, write_jsonl

from pyserini_xqg.compare.grid import Grid
from pyserini_xqg.compare.inputs import Inputs, Topics
from pyserini_xqg.compare.systems import ALL, System, choose_systems
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderConfig

TOPICS = Topics({"1": "joki", "2": "نهر"}, {"1": "fi", "2": "ar"})
SINGLE = [System(*pair).name for pair in ALL if None in pair]
SUMS = {"keep_query_vectors": False, "most_queries": {"ar": 3, "fi": 3, "ja": 3}}


@pytest.fixture
def corpus(tmp_path):
    return Corpus(write_jsonl(tmp_path / "corpus.jsonl", corpus_records(9)))


def inputs(corpus=None, topics=TOPICS, languages=("ar", "fi", "ja"), fuse=None, stores=("store",), **manifest):
    known = {name: planned(languages, **manifest) for name in stores}
    for store in known.values():
        object.__setattr__(store, "fuse", fuse)
    config, summary = EncoderConfig("model"), corpus.scan() if corpus else None
    return Inputs(topics, known, config, DeviceOptions(dtype="float32"), corpus, summary, ["text"])


def lacking(given, analysis="language"):
    """System to what it lacks; those that lack nothing are left out."""
    found = choose_systems(None, Grid({}, given.stores), given.stores, lambda one: given.check(one, analysis))[1]
    return {name: reason for name, reason in found.items() if name in SINGLE}


def test_a_corpus_is_enough(corpus):
    assert lacking(inputs(corpus)) == {}


def test_stores_without_a_corpus(corpus):
    found = lacking(inputs(**SUMS))
    assert found.keys() == {"text", "multi-vector", "bm25", "doc2query"}
    assert all("--corpus" in found[name] for name in ("text", "bm25", "doc2query"))
    assert lacking(inputs(corpus, **SUMS)).keys() == {"multi-vector"}
    assert "--keep-query-vectors" in found["multi-vector"]
    assert lacking(inputs()).keys() == {"text", "bm25", "doc2query"}


def test_several_stores(corpus):
    with pytest.raises(XqgError, match="there are several stores"):
        inputs(corpus, stores=("a", "b")).check(System("text", None, "a"), "en")


def test_passages_without_queries(tmp_path):
    bare = Corpus(write_jsonl(tmp_path / "bare.jsonl", [{"docid": "1", "text": "stone bridges"}]))
    found = lacking(inputs(bare, languages=()))
    assert set(SINGLE) - found.keys() == {"plain", "bm25"}
    assert "pyserini_xqg.generate" in found["paper"]


def test_topics_without_languages(corpus):
    given = inputs(corpus, Topics({"1": "joki"}, {}))
    assert lacking(given).keys() == {"routed", "doc2query"}
    assert "--topic-languages, or --bm25-analysis en" in lacking(given)["doc2query"]
    assert lacking(given, "en").keys() == {"routed"}


def test_without_java(corpus, monkeypatch):
    monkeypatch.setattr("pyserini_xqg.core.java.find_java", lambda: None)
    found = lacking(inputs(corpus))
    assert found.keys() == {"bm25", "doc2query"} and "no Java 21 or newer" in found["bm25"]


def test_topics():
    with pytest.raises(XqgError, match=r"no topics to search with. Pass --topics"):
        Topics({}, {})
    with pytest.raises(XqgError, match=r"topic '2': no language given for it. Add it to --topic-languages"):
        Topics({"1": "joki", "2": "silta"}, {"1": "fi"})


def test_topics_are_told_apart():
    changed = [
        Topics({"1": "joki", "2": "نهر"}, {"1": "fi", "2": "fi"}),
        Topics({"2": "نهر", "1": "joki"}, {"1": "fi", "2": "ar"}),
        Topics({"1": "joki", "2": "جسر"}, {"1": "fi", "2": "ar"}),
    ]
    assert len({topics.sha256 for topics in [TOPICS, *changed]}) == 4
    assert TOPICS.present_languages == ["ar", "fi"]

"""What a comparison is made from, and what it lacks."""

import pytest
from helpers import corpus_records, write_jsonl

from pyserini_xqg import encode
from pyserini_xqg.compare.inputs import EncoderOptions, Inputs, Topics
from pyserini_xqg.compare.systems import ALL, System
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

TOPICS = Topics({"1": "joki", "2": "نهر"}, {"1": "fi", "2": "ar"})
SINGLE = [system for system in ALL if not system.is_fused]


@pytest.fixture
def path(tmp_path):
    return write_jsonl(tmp_path / "corpus.jsonl", corpus_records(9))


def make_store(path, encoder, directory, *options) -> EmbeddingStore:
    encode.main(["--corpus", str(path), "--encoder", encoder, "--output", str(directory), "--device", "cpu", *options])
    return EmbeddingStore(directory)


def inputs(store=None, corpus=None, topics=TOPICS):
    return Inputs(topics, EncoderOptions(EncoderConfig("model"), "float32"), store, corpus, ["text"])


def lacking(given, analysis="language"):
    """System to what it lacks; those that lack nothing are left out."""
    found = {system.name: given.lacking(system, analysis) for system in SINGLE}
    return {name: reason for name, reason in found.items() if reason}


def test_a_corpus_is_enough(path):
    assert lacking(inputs(corpus=Corpus(path))) == {}


def test_a_store_of_sums_alone(path, tiny_encoder, tmp_path):
    store = make_store(path, tiny_encoder, tmp_path / "store")
    found = lacking(inputs(store))
    assert found.keys() == {"text", "multi-vector", "bm25", "doc2query"}
    assert all("--corpus" in reason for reason in found.values())
    given = inputs(store, Corpus(path, languages=store.languages))
    assert lacking(given) == {}
    assert given.fields == ["title", "text"]  # the store's
    assert given.identity()["probe"] == store.manifest["probe"]


def test_a_store_with_query_vectors(path, tiny_encoder, tmp_path):
    store = make_store(path, tiny_encoder, tmp_path / "store", "--keep-query-vectors")
    assert lacking(inputs(store)).keys() == {"text", "bm25", "doc2query"}


def test_a_fused_store(path, tiny_encoder, tmp_path):
    store = make_store(path, tiny_encoder, tmp_path / "store", "--fuse", "mean")
    found = lacking(inputs(store, Corpus(path, languages=store.languages)))
    assert found.keys() == {"sum", "routed", "routed-normalized"}
    assert "encode again without --fuse" in found["routed"]


def test_passages_without_queries(tmp_path):
    path = write_jsonl(tmp_path / "bare.jsonl", [{"docid": "1", "text": "stone bridges"}])
    found = lacking(inputs(corpus=Corpus(path)))
    assert {system.name for system in SINGLE} - found.keys() == {"none", "bm25"}
    assert "pyserini_xqg.generate" in found["sum"]


def test_topics_without_languages(path):
    given = inputs(corpus=Corpus(path), topics=Topics({"1": "joki"}, {}))
    assert lacking(given).keys() == {"routed", "routed-normalized", "doc2query"}
    assert "--topic-languages, or --bm25-analysis en" in given.lacking(System(None, "doc2query"), "language")
    assert lacking(given, "wordpiece").keys() == {"routed", "routed-normalized"}


def test_topics_in_a_language_without_queries(path):
    given = inputs(corpus=Corpus(path), topics=Topics({"1": "Fluss"}, {"1": "de"}))
    assert lacking(given).keys() == {"routed", "routed-normalized"}
    assert "topics are in de, in which no passage has queries (they have ar, fi, ja)" in lacking(given)["routed"]


def test_a_store_of_another_corpus(path, tiny_encoder, tmp_path):
    store = make_store(path, tiny_encoder, tmp_path / "store")
    other = Corpus(write_jsonl(tmp_path / "other.jsonl", corpus_records(9, seed=1)))
    with pytest.raises(XqgError, match=r"made from other passages or queries than --corpus .*other.jsonl"):
        inputs(store, other)


def test_nothing_given():
    with pytest.raises(XqgError, match="nothing to search: pass --corpus with --encoder, or --store"):
        inputs()
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

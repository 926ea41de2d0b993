"""Ranks of passages for their queries, against sorting all passages for each query."""

import json
import math
import shutil

import numpy as np
import pytest
from vector_stores import vector_store

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries import round_trip
from pyserini_xqg.queries.round_trip import IndexRanker, StoreRanker
from pyserini_xqg.vectors.building import Layout, build_index
from pyserini_xqg.vectors.embedding import describe_probe
from pyserini_xqg.vectors.recipe import Recipe

NUMBER, DIMENSION = 60, 8
CHANCE = np.random.default_rng(3)
# Small whole numbers: inner products are exact, and many are equal.
PASSAGES = CHANCE.integers(-2, 3, size=(NUMBER, DIMENSION)).astype(np.float32)
PASSAGES[40:50] = PASSAGES[10:20]  # copies
QUERIES = [CHANCE.integers(-2, 3, size=(row % 4, DIMENSION)).astype(np.float32) for row in range(NUMBER)]
FLAT = np.concatenate(QUERIES)
OWN = np.repeat(np.arange(NUMBER), [len(some) for some in QUERIES])


def sorted_ranks() -> np.ndarray:
    """Place of the own passage's score among all scores, sorted from the highest; the best of equal ones."""
    ranks = []
    for query, own in zip(FLAT, OWN, strict=True):
        scores = [math.fsum(float(a) * float(b) for a, b in zip(query, passage, strict=True)) for passage in PASSAGES]
        ranks.append(sorted(scores, reverse=True).index(scores[own]) + 1)
    return np.array(ranks)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return vector_store(tmp_path_factory.mktemp("ranks") / "store", PASSAGES, {"fi": QUERIES})


@pytest.fixture(scope="module")
def plain(store):
    """A Flat index of the plain passages."""
    directory = store.directory.parent / "plain"
    build_index(store, directory, Recipe(alpha=0))
    return directory


def probe(store):
    return store.manifest["probe"]


def docids(number=NUMBER):
    return [f"p{row}" for row in range(number)]


@pytest.mark.parametrize(("queries", "passages"), [(1024, 4096), (7, 11), (1, 1)])
def test_store_against_sorting(store, monkeypatch, queries, passages):
    monkeypatch.setattr(round_trip, "_QUERIES_AT_ONCE", queries)
    monkeypatch.setattr(round_trip, "_PASSAGES_AT_ONCE", passages)
    ranker = StoreRanker(store)
    assert ranker.rows(docids(3), 20).tolist() == [20, 21, 22]
    np.testing.assert_array_equal(ranker.ranks(FLAT, OWN), sorted_ranks())
    assert len(set(sorted_ranks())) > 10
    assert ranker.ranks(FLAT[:0], OWN[:0]).tolist() == []


def test_order_of_the_passages_decides_nothing(store, tmp_path):
    """Real-valued vectors, many copies: the ranks are the same when the passages are shuffled."""
    passages = CHANCE.normal(size=(50, 64)).astype(np.float32)
    passages = np.concatenate([passages, passages, passages[:31]])
    queries = [CHANCE.normal(size=(2, 64)).astype(np.float32) for _ in passages]
    own = np.repeat(np.arange(len(passages)), 2)
    ranks = StoreRanker(vector_store(tmp_path / "one", passages, {"fi": queries})).ranks(np.concatenate(queries), own)
    order = CHANCE.permutation(len(passages))
    shuffled = vector_store(tmp_path / "two", passages[order], {"fi": [queries[row] for row in order]})
    again = StoreRanker(shuffled).ranks(np.concatenate([queries[row] for row in order]), own)
    np.testing.assert_array_equal(again.reshape(-1, 2), ranks.reshape(-1, 2)[order])


@pytest.mark.parametrize(
    "layout", [Layout(), Layout(factory="HNSW16", faiss_parameters="efSearch=200"), Layout(shards=3)]
)
@pytest.mark.parametrize("depth", [1, 5, 60, 500])
def test_index_against_sorting(store, tmp_path, layout, depth):
    build_index(store, tmp_path / "index", Recipe(alpha=0), layout)
    ranker = IndexRanker(tmp_path / "index", depth, probe(store))
    rows = np.repeat(ranker.rows(docids(), 0), [len(some) for some in QUERIES])
    found, expected = ranker.ranks(FLAT, rows), sorted_ranks()
    assert ((found == expected) | (found == 0)).all()
    # Among equal scores at the last place, FAISS chooses; above it, every own passage is found.
    ordered = np.sort(-(FLAT @ PASSAGES.T), axis=1)
    own = -np.einsum("ij,ij->i", FLAT, PASSAGES[OWN])
    sure = own < ordered[:, min(depth, NUMBER) - 1] if depth < NUMBER else np.ones(len(FLAT), dtype=bool)
    assert (found[sure] == expected[sure]).all()
    assert (found[expected > depth] == 0).all()
    assert ranker.describe()["depth"] == depth
    assert ranker.describe()["passages"] == NUMBER


def test_stock_index_in_another_order_with_more_passages(store, tmp_path):
    """Rows are found by docid: an index that Pyserini wrote may hold other passages too."""
    import faiss

    more = np.concatenate([PASSAGES, CHANCE.integers(-1, 2, size=(20, DIMENSION)).astype(np.float32)])
    names = docids(80)
    order = CHANCE.permutation(80)
    index = faiss.IndexFlatIP(DIMENSION)
    index.add(more[order])
    (tmp_path / "stock").mkdir()
    faiss.write_index(index, str(tmp_path / "stock" / "index"))
    (tmp_path / "stock" / "docid").write_text("".join(f"{names[row]}\n" for row in order))
    ranker = IndexRanker(tmp_path / "stock", 80, probe(store))
    rows = ranker.rows(docids(), 0)
    assert [names[order[row]] for row in rows] == docids()
    scores = FLAT @ more.T
    own = scores[np.arange(len(FLAT)), OWN]
    np.testing.assert_array_equal(ranker.ranks(FLAT, rows[OWN]), 1 + np.count_nonzero(scores > own[:, None], axis=1))
    with pytest.raises(XqgError, match=r"stock: has no passage with docid 'q1'"):
        ranker.rows(["p1", "q1"], 0)


def test_mapped_index(store, plain, monkeypatch):
    ranks = IndexRanker(plain, 5, probe(store)).ranks(FLAT, OWN)
    monkeypatch.setenv("PYSERINI_XQG_MMAP", "1")
    np.testing.assert_array_equal(IndexRanker(plain, 5, probe(store)).ranks(FLAT, OWN), ranks)


# What is refused


def test_index_of_another_encoder(store, plain):
    with pytest.raises(XqgError, match=r"built with another encoder, chosen-numbers .* differs by"):
        IndexRanker(plain, 5, describe_probe(np.arange(DIMENSION, 0, -1)))


def test_routed_index(store, tmp_path):
    build_index(store, tmp_path / "routed", Recipe(alpha=0.5, aggregate="mean", route=True))
    with pytest.raises(XqgError, match=r"a routed index \(fi\)"):
        IndexRanker(tmp_path / "routed", 5, probe(store))


def test_augmented_index_is_named(store, plain, tmp_path, capsys):
    IndexRanker(plain, 5, probe(store))
    assert capsys.readouterr().err == ""
    build_index(store, tmp_path / "augmented", Recipe(alpha=0.3, aggregate="mean"))
    IndexRanker(tmp_path / "augmented", 5, probe(store))
    assert "has alpha 0.3, so queries help to retrieve themselves" in capsys.readouterr().err


def test_a_docid_that_is_there_twice(store, plain, tmp_path):
    shutil.copytree(plain, tmp_path / "twice", ignore=shutil.ignore_patterns("xqg.json"))
    (tmp_path / "twice" / "docid").write_text("p0\n" * 2 + "".join(f"p{row}\n" for row in range(2, NUMBER)))
    with pytest.raises(XqgError, match="a docid is in it twice"):
        IndexRanker(tmp_path / "twice", 5, probe(store))


def test_description_is_json(store, plain):
    for ranker in (StoreRanker(store), IndexRanker(plain, 5, probe(store))):
        assert json.loads(json.dumps(ranker.describe())) == ranker.describe()

"""The index with an entry for every vector of a passage."""

import numpy as np
import pytest
from vector_stores import vector_store

from pyserini_xqg.compare.multi_vector import build_multi_vector_index, entries_needed
from pyserini_xqg.core.errors import XqgError


def ragged_store(directory, docids=None, **changes):
    chance = np.random.default_rng(3)
    queries = {
        code: [chance.normal(size=(number, 6)) for number in numbers]
        for code, numbers in (("fi", [2, 0, 1, 0, 3]), ("te", [1, 0, 0, 4, 2]))
    }
    passages = chance.normal(size=(5, 6))
    return vector_store(directory, passages, queries, docids, **changes), passages, queries


def test_entries_and_their_names(tmp_path):
    import faiss

    store, passages, queries = ragged_store(tmp_path / "store")
    manifest = build_multi_vector_index(store, tmp_path / "index")
    index = faiss.read_index(str(tmp_path / "index" / "index"))
    names = (tmp_path / "index" / "docid").read_text().splitlines()
    expected = {}
    for row in range(5):
        vectors = [passages[row], *queries["fi"][row], *queries["te"][row]]
        expected |= {f"p{row}" + (f"#{number}" if number else ""): vector for number, vector in enumerate(vectors)}
    assert names == list(expected)
    found = np.stack([index.reconstruct(row) for row in range(index.ntotal)])
    assert np.array_equal(found, np.array(list(expected.values()), dtype=np.float32))
    assert manifest["counts"] == {"entries": 18, "queries": {"fi": 6, "te": 7}}
    assert [entries_needed(store, passages) for passages in (1, 2, 3, 5)] == [1, 7, 13, 18]  # the largest has six


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_blocks_make_no_difference(tmp_path, rows):
    store, *_ = ragged_store(tmp_path / "store")
    build_multi_vector_index(store, tmp_path / "whole")
    build_multi_vector_index(store, tmp_path / "pieces", block_bytes=rows * 6 * 4)
    for name in ("index", "docid"):
        assert (tmp_path / "pieces" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_delimiter_in_a_docid(tmp_path):
    store, *_ = ragged_store(tmp_path / "store", [f"p{row}" for row in range(4)] + ["p#4"])
    with pytest.raises(XqgError, match=r"docid 'p#4' holds '#'.*another --max-passage-delimiter"):
        build_multi_vector_index(store, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    build_multi_vector_index(store, tmp_path / "index", "%")
    assert "p#4%5" in (tmp_path / "index" / "docid").read_text().splitlines()


def test_a_store_of_sums(tmp_path):
    store, *_ = ragged_store(tmp_path / "store", keep_query_vectors=False)
    with pytest.raises(XqgError, match=r"sums of the queries' vectors, not single ones.*--keep-query-vectors"):
        build_multi_vector_index(store, tmp_path / "index")

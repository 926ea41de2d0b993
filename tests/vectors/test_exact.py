"""Exact search in blocks against sorting all inner products in double precision, and against one FAISS index."""

import tracemalloc

import faiss
import numpy as np
import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.exact import ExactSearch, read_docids


def numbers(rows, dimension, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimension)).astype(np.float32)


def whole_numbers(rows, dimension, seed=0):
    """Their inner products are exact in float32."""
    return np.random.default_rng(seed).integers(-700, 700, (rows, dimension)).astype(np.float32)


def cut(vectors, sizes):
    return np.split(vectors, np.cumsum(sizes)[:-1])


def search_exact(blocks, queries, k, block_bytes=1):
    """Blocks of 1,024 rows, if nothing else is said."""
    search = ExactSearch(queries, k, block_bytes)
    for block in blocks:
        search.add(block)
    return search.result()


@pytest.mark.parametrize("sizes", [[3000], [1, 2999], [1024, 1024, 952], [700] * 4 + [200], [0, 1500, 0, 1500]])
@pytest.mark.parametrize("k", [1, 10, 1500, 4000])
def test_against_sorting_all(sizes, k):
    vectors, queries = whole_numbers(3000, 8), whole_numbers(25, 8, seed=1)
    scores, rows = search_exact(cut(vectors, sizes), queries, k)
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    wanted = np.argsort(-products, axis=1, kind="stable")[:, :k]
    assert rows.shape == (25, min(k, 3000)) and rows.dtype == np.int64 and scores.dtype == np.float32
    assert np.array_equal(rows, wanted)
    assert np.array_equal(scores, np.take_along_axis(products, wanted, axis=1))


def test_rounds_as_one_faiss_index_does():
    vectors, queries = numbers(5000, 96), numbers(64, 96, seed=2)
    index = faiss.IndexFlatIP(96)
    index.add(vectors)
    wanted = index.search(queries, 100)
    scores, rows = search_exact(cut(vectors, [999] * 5 + [5]), queries, 100, 1 << 20)  # 2,048 rows a block
    assert np.array_equal(rows, wanted[1])
    assert np.array_equal(scores, wanted[0])


def test_equal_scores_stand_in_the_order_of_rows():
    vectors = np.zeros((4000, 4), dtype=np.float32)
    vectors[[7, 1030, 2000, 3999]] = 1
    scores, rows = search_exact([vectors], np.ones((1, 4)), 6)
    assert rows[0, :4].tolist() == [7, 1030, 2000, 3999]
    assert scores[0].tolist() == [4, 4, 4, 4, 0, 0]


def test_negative_scores_and_few_queries():
    """Fewer than 20 queries take FAISS's other path."""
    search = ExactSearch(np.array([[3, 1, 2]]), 3)
    search.add(-np.eye(3, dtype=np.float32))
    scores, rows = search.result()
    assert rows.tolist() == [[1, 2, 0]] and scores.tolist() == [[-1, -2, -3]]


def test_no_rows():
    scores, rows = ExactSearch(np.ones((2, 3)), 5).result()
    assert scores.shape == rows.shape == (2, 0)


def test_memory_does_not_grow_with_the_vectors():
    def peak(blocks):
        block = numbers(1000, 64)
        tracemalloc.start()
        search_exact((block for _ in range(blocks)), block[:20], 10, 1 << 25)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak(400) < peak(150) + 1_000_000  # 25,600,000 and 10,240,000 floats; a block is 33 MB


def test_docids_of_rows(tmp_path):
    path = tmp_path / "docids.txt"
    path.write_text("".join(f"d{row}\n" for row in range(50)), encoding="utf-8")
    assert read_docids(path, np.array([[49, 3], [0, 3]])) == {0: "d0", 3: "d3", 49: "d49"}
    assert read_docids(path, np.empty((2, 0), dtype=np.int64)) == {}
    with pytest.raises(XqgError, match=r"docids\.txt: has no line 51"):
        read_docids(path, np.array([4, 50]))

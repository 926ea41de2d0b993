"""The flat index file against the one that FAISS writes."""

import faiss
import numpy as np
import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.flat import flat_header, write_flat_index


def written_by_faiss(path, vectors) -> bytes:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("count", [1, 2, 255, 256, 1000])
@pytest.mark.parametrize("dimension", [1, 2, 32, 384, 769])
def test_bytes_are_those_of_faiss(tmp_path, dimension, count):
    vectors = np.random.default_rng(count).normal(size=(count, dimension)).astype(np.float32)
    expected = written_by_faiss(tmp_path / "faiss", vectors)
    for block in (1, 3, 256, 5000):
        blocks = (vectors[first : first + block] for first in range(0, count, block))
        if count // block < 400:
            write_flat_index(tmp_path / "ours", dimension, count, blocks)
            assert (tmp_path / "ours").read_bytes() == expected


@pytest.mark.parametrize(
    "view",
    [
        lambda vectors: vectors.astype(np.float64),
        lambda vectors: vectors.astype(">f4"),
        np.asfortranarray,
        lambda vectors: np.repeat(vectors, 2, axis=0)[::2],
    ],
    ids=["float64", "big-endian", "fortran order", "strided"],
)
def test_memory_layout_of_the_blocks_does_not_matter(tmp_path, view):
    vectors = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32)
    write_flat_index(tmp_path / "ours", 8, 50, [view(vectors[:20]), view(vectors[20:])])
    assert (tmp_path / "ours").read_bytes() == written_by_faiss(tmp_path / "faiss", vectors)


def test_faiss_searches_it(tmp_path):
    random = np.random.default_rng(2)
    vectors, queries = (random.normal(size=(rows, 16)).astype(np.float32) for rows in (300, 5))
    write_flat_index(tmp_path / "ours", 16, 300, [vectors])
    index = faiss.read_index(str(tmp_path / "ours"))
    assert (index.ntotal, index.d, index.metric_type) == (300, 16, faiss.METRIC_INNER_PRODUCT)
    scores, rows = index.search(queries, 10)
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    assert rows.tolist() == np.argsort(-products, axis=1)[:, :10].tolist()
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :10], rtol=1e-5)


def test_header_of_a_large_index_counts_in_64_bits():
    count, dimension = 18_000_000, 768  # the XOR-TyDi corpus: more floats than 32 bits can count
    header = flat_header(dimension, count)
    small = flat_header(dimension, 1)
    assert len(header) == len(small)
    assert int.from_bytes(header[8:16], "little") == count
    assert int.from_bytes(header[-8:], "little") == count * dimension
    differing = [position for position in range(len(header)) if header[position] != small[position]]
    assert set(differing) <= {*range(8, 16), *range(len(header) - 8, len(header))}


@pytest.mark.parametrize("count", [9, 11])
def test_wrong_number_of_vectors(tmp_path, count):
    with pytest.raises(XqgError, match=f"10 vectors came where {count} were expected"):
        write_flat_index(tmp_path / "ours", 4, count, [np.zeros((5, 4), dtype=np.float32)] * 2)

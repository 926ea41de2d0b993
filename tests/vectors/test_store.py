"""The embedding store: its layout and reader, and what may not be continued. What chunks withstand: test_chunks.py."""

import hashlib
import json
import os

import numpy as np
import pytest
from helpers import directory_bytes

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.layout import settings_differences
from pyserini_xqg.vectors.store import EmbeddingStore, first_queries, sum_queries
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

ROWS, DIMENSION, CHUNK = 50, 16, 7
FILES = ("passages.npy", "sum.ar.npy", "count.ar.npy", "vectors.ar.npy", "sum.fi.npy", "count.fi.npy", "vectors.fi.npy",
         "centroid.ar.npy", "centroid.fi.npy", "docids.txt", "chunks.jsonl")  # fmt: skip


def contents(rows=ROWS, seed=0):
    """Docids, passage vectors, and per language each passage's query vectors (0 to 3 of them)."""
    random = np.random.default_rng(seed)
    passages = random.normal(size=(rows, DIMENSION)).astype(np.float32)
    counts = {code: random.integers(0, 4, size=rows) for code in ("ar", "fi")}
    for code in counts:
        counts[code][-1] = 2
    vectors = {code: random.normal(size=(counts[code].sum(), DIMENSION)).astype(np.float32) for code in counts}
    return [f"docid-{'日' * (row % 3)}{row}" for row in range(rows)], passages, counts, vectors


def settings(rows=ROWS, keep=True, dtype="float32", **changes):
    _, _, counts, _ = contents(rows)
    return {
        "encoder": {"model": "some/encoder", "pooling": "cls"},
        "dimension": DIMENSION,
        "dtype": dtype,
        "chunk_size": CHUNK,
        "max_queries": None,
        "keep_query_vectors": keep,
        "corpus": {"passages": rows, "queries": {code: int(c.sum()) for code, c in counts.items()}, "sha256": "0f"},
        "most_queries": {code: int(c.max()) for code, c in counts.items()},
        "probe": {"dimension": DIMENSION, "length": 5.0, "head": [3.0, 4.0]},
    } | changes


def summed(vectors, counts):
    """Each passage's queries added up in a loop, in the order and precision of the store."""
    sums, first = np.zeros((len(counts), DIMENSION), dtype=np.float32), 0
    for row, count in enumerate(counts):
        for vector in vectors[first : first + count]:
            sums[row] = sums[row] + vector
        first += count
    return sums


def chunks(rows=ROWS, keep=True, start=0):
    docids, passages, counts, vectors = contents(rows)
    for first in range(start, rows, CHUNK):
        part = slice(first, min(first + CHUNK, rows))
        queries = {
            code: vectors[code][counts[code][: part.start].sum() : counts[code][: part.stop].sum()] for code in counts
        }
        sums = {code: summed(queries[code], counts[code][part]) for code in counts}
        number = {code: counts[code][part].astype(np.int32) for code in counts}
        yield Chunk(docids[part], passages[part], sums, number, queries if keep else {}, centroids(sums, number))


def fill(directory, keep=True, stop_after=None, overwrite=False, **changes):
    """Write a store, or so many chunks of it; an unfinished one is continued."""
    with StoreWriter(directory, settings(keep=keep, **changes), overwrite=overwrite) as writer:
        for number, chunk in enumerate(chunks(keep=keep, start=writer.rows_done)):
            if number == stop_after:
                return
            writer.write(chunk)
        writer.complete()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """File name to bytes of a store that was written without a fault."""
    directory = tmp_path_factory.mktemp("reference") / "store"
    fill(directory)
    return directory_bytes(directory)


@pytest.fixture(scope="module")
def of_dtype(tmp_path_factory):
    """Stores of both precisions, to be read only."""
    directory = tmp_path_factory.mktemp("dtypes")
    for dtype in ("float32", "float16"):
        fill(directory / dtype, dtype=dtype)
    return {dtype: directory / dtype for dtype in ("float32", "float16")}


# Layout


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_layout_is_plain_numpy(tmp_path, dtype):
    fill(tmp_path / "store", dtype=dtype)
    docids, passages, counts, vectors = contents()
    expected = {"passages": passages}
    for code in counts:
        expected[f"sum.{code}"] = summed(vectors[code], counts[code])
        expected[f"vectors.{code}"] = vectors[code]
    for name, array in expected.items():
        found = np.load(tmp_path / "store" / f"{name}.npy")
        assert found.dtype == np.dtype(dtype)
        assert found.tobytes() == array.astype(dtype).tobytes()
    for code in counts:
        found = np.load(tmp_path / "store" / f"count.{code}.npy")
        assert found.dtype == np.int32
        assert found.tolist() == counts[code].tolist()
        assert np.load(tmp_path / "store" / f"centroid.{code}.npy").shape == (8, DIMENSION)
    assert (tmp_path / "store" / "docids.txt").read_text(encoding="utf-8").splitlines() == docids
    assert set(os.listdir(tmp_path / "store")) - {".lock"} == {*FILES, "store.json"}
    assert json.loads((tmp_path / "store" / "store.json").read_text())["complete"] is True


def test_without_query_vectors(tmp_path):
    fill(tmp_path / "store", keep=False)
    assert set(os.listdir(tmp_path / "store")) - {".lock"} == {
        "store.json", *(name for name in FILES if not name.startswith("vectors.")),
    }  # fmt: skip


def test_chunk_log_holds_the_checksums_of_what_was_written(reference):
    entries = [json.loads(line) for line in reference["chunks.jsonl"].splitlines()]
    assert [(entry["chunk"], entry["rows"]) for entry in entries] == list(enumerate([7] * 7 + [1]))
    row = docid_byte = 0
    passages = reference["passages.npy"][-ROWS * DIMENSION * 4 :]
    for entry in entries:
        data = passages[row * DIMENSION * 4 : (row + entry["rows"]) * DIMENSION * 4]
        assert entry["sha256"]["passages.npy"] == hashlib.sha256(data).hexdigest()
        docids = reference["docids.txt"][docid_byte : docid_byte + entry["docid_bytes"]]
        assert entry["sha256"]["docids.txt"] == hashlib.sha256(docids).hexdigest()
        row, docid_byte = row + entry["rows"], docid_byte + entry["docid_bytes"]
    assert docid_byte == len(reference["docids.txt"])


def test_store_reads_back(tmp_path):
    fill(tmp_path / "store")
    store = EmbeddingStore(tmp_path / "store")
    docids, passages, _, vectors = contents()
    assert (store.passages, store.dimension, store.languages) == (ROWS, DIMENSION, ["ar", "fi"])
    assert store.docids_path.read_text(encoding="utf-8").split() == docids
    assert store.array("passages").tobytes() == passages.tobytes()
    assert store.array("vectors.fi").tobytes() == vectors["fi"].tobytes()
    with pytest.raises(ValueError, match="read-only"):
        store.array("passages")[0] = 0


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("most", [None, 1, 2, 3, 9])
@pytest.mark.parametrize("rows", [1, 4, 49, 50, 1000])
def test_blocks(of_dtype, rows, most, dtype):
    _, passages, counts, vectors = contents()
    blocks = list(EmbeddingStore(of_dtype[dtype]).blocks(["fi", "ar"], most, block_bytes=rows * DIMENSION * 4))
    assert [(block.first, len(block)) for block in blocks] == [
        (first, min(rows, ROWS - first)) for first in range(0, ROWS, rows)
    ]
    found = np.concatenate([block.passages for block in blocks])
    assert found.tobytes() == passages.astype(dtype).astype("f4").tobytes()
    for code in ("fi", "ar"):
        found_sums = np.concatenate([block.sums[code] for block in blocks])
        found_counts = np.concatenate([block.counts[code] for block in blocks])
        assert (found_sums.dtype, found_counts.dtype) == (np.float32, np.int32)
        first, tolerance = 0, 1e-6 if dtype == "float32" else 5e-3
        for row, count in enumerate(counts[code]):
            kept = vectors[code][first : first + count][:most]
            assert found_counts[row] == len(kept)
            np.testing.assert_allclose(found_sums[row], kept.sum(0) if len(kept) else 0, rtol=0, atol=tolerance)
            first += count


def test_max_queries_needs_the_single_vectors(tmp_path):
    fill(tmp_path / "store", keep=False)
    store = EmbeddingStore(tmp_path / "store")
    for wanted in ({"vectors": True}, {"keep": lambda *_: None}):
        with pytest.raises(XqgError, match=r"sums of the queries' vectors in 'fi', not single ones"):
            next(store.blocks(["fi"], **wanted))
    with pytest.raises(XqgError, match=r"sums of up to 3 queries in 'fi'.*--max-queries 2.*--keep-query-vectors"):
        next(store.blocks(["fi"], 2))
    for enough in (3, 4):
        (block,) = store.blocks(["fi"], enough)
        assert block.sums["fi"].tobytes() == np.load(tmp_path / "store" / "sum.fi.npy").tobytes()


@pytest.mark.parametrize("most", [None, 1])
@pytest.mark.parametrize("rows", [1, 13, 1000])
def test_blocks_of_some_queries_and_their_vectors(tmp_path, rows, most):
    """Every third query is left out; ``most`` counts those that are left."""
    fill(tmp_path / "store")
    _, _, counts, vectors = contents()
    blocks = EmbeddingStore(tmp_path / "store").blocks(
        ["fi"], most, vectors=True, keep=lambda _, first, number: np.arange(first, first + number) % 3 > 0,
        block_bytes=rows * DIMENSION * 4,
    )  # fmt: skip
    blocks, first, expected = list(blocks), 0, []
    for count in counts["fi"]:
        expected.append([vectors["fi"][row] for row in range(first, first + count) if row % 3][:most])
        first += count
    assert np.concatenate([block.counts["fi"] for block in blocks]).tolist() == list(map(len, expected))
    found = np.concatenate([block.vectors["fi"] for block in blocks])
    np.testing.assert_array_equal(found, [vector for one in expected for vector in one])
    sums = np.concatenate([block.sums["fi"] for block in blocks])
    wanted = [np.sum(one, axis=0) if one else np.zeros(DIMENSION) for one in expected]
    np.testing.assert_allclose(sums, wanted, atol=1e-6)


@pytest.mark.parametrize("keep", [True, False])
def test_centroids(tmp_path, keep):
    """The mean, over the passages with a query, of their mean query vectors; and the sums of each chunk."""
    fill(tmp_path / "store", keep=keep)
    _, _, counts, vectors = contents()
    found = EmbeddingStore(tmp_path / "store").centroids(["fi", "ar"])
    assert list(found) == ["fi", "ar"]
    for code, centroid in found.items():
        owner = np.repeat(np.arange(ROWS), counts[code])
        means = np.array(
            [vectors[code][owner == row].astype(float).mean(0) for row in range(ROWS) if counts[code][row]]
        )
        assert centroid.dtype == np.float64
        np.testing.assert_allclose(centroid, means.mean(0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            np.load(tmp_path / "store" / f"centroid.{code}.npy")[0],
            means[: np.count_nonzero(counts[code][:CHUNK])].sum(0), rtol=0, atol=1e-6,
        )  # fmt: skip
    entries = [json.loads(line) for line in (tmp_path / "store" / "chunks.jsonl").read_bytes().splitlines()]
    assert [entry["passages_with_queries"]["fi"] for entry in entries] == [
        int(np.count_nonzero(counts["fi"][first : first + CHUNK])) for first in range(0, ROWS, CHUNK)
    ]


@pytest.mark.parametrize("most", [None, 1, 2, 5])
def test_sums_of_first_queries_against_loops(most):
    random = np.random.default_rng(4)
    for counts in ([0, 3, 0, 1, 2, 0], [0], [4], [0, 0, 0], [5, 5], []):
        vectors = random.normal(size=(sum(counts), 3)).astype(np.float32)
        some, kept = first_queries(vectors, np.array(counts, dtype=np.int32), most)
        sums = sum_queries(some, kept)
        assert sums.shape == (len(counts), 3)
        assert kept.tolist() == [count if most is None else min(count, most) for count in counts]
        first = 0
        for row, count in enumerate(counts):
            expected = vectors[first : first + count][:most].astype(np.float64).sum(axis=0)
            np.testing.assert_allclose(sums[row], expected, atol=1e-6)
            first += count


# Interruptions


def test_every_chunk_in_a_process_of_its_own(tmp_path, reference):
    for _ in range(7):
        fill(tmp_path / "store", stop_after=1)
    fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == reference


def test_reader_leaves_an_unfinished_store_as_it_is(tmp_path):
    fill(tmp_path / "store", stop_after=2)
    with open(tmp_path / "store" / "chunks.jsonl", "ab") as out:
        out.write(b'{"rows": 7')  # as a writer that is at work right now
    before = directory_bytes(tmp_path / "store")
    with pytest.raises(XqgError, match=r"unfinished, 14 of 50 passages.*Run the pyserini_xqg\.encode command"):
        EmbeddingStore(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == before


# Other settings, other stores, other processes


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"chunk_size": 8}, "chunk_size is 7 there and 8 now"),
        ({"encoder": {"model": "other", "pooling": "cls"}}, "encoder.model is 'some/encoder' there and 'other' now"),
        ({"encoder": {"model": "some/encoder", "pooling": "mean"}}, "encoder.pooling is 'cls' there and 'mean' now"),
        ({"dtype": "float16"}, "dtype is 'float32' there and 'float16' now"),
        ({"keep_query_vectors": False}, "keep_query_vectors is True there and False now"),
        ({"max_queries": 2}, "max_queries is None there and 2 now"),
        ({"corpus": settings()["corpus"] | {"sha256": "1f"}}, "corpus.sha256 is '0f' there and '1f' now"),
        ({"corpus": settings()["corpus"] | {"passages": 51}}, "corpus.passages is 50 there and 51 now"),
        ({"fields": ["text"]}, "fields is None there and ['text'] now"),
        ({"probe": {"dimension": 16, "length": 5.0, "head": [4.0, 3.0]}}, "vector of the probe text differs by 28%"),
    ],
)  # fmt: skip
def test_unfinished_store_with_other_settings(tmp_path, changes, difference):
    fill(tmp_path / "store", stop_after=2)
    before = directory_bytes(tmp_path / "store")
    with (
        pytest.raises(XqgError, match="holds an unfinished embedding store with other settings") as caught,
        StoreWriter(tmp_path / "store", settings(**changes)),
    ):
        pytest.fail("entered")
    assert difference in str(caught.value)
    assert "--overwrite to begin anew" in str(caught.value)
    assert directory_bytes(tmp_path / "store") == before


def test_probes_digits_are_no_difference(tmp_path, reference):
    fill(tmp_path / "store", stop_after=2)
    fill(tmp_path / "store", probe={"dimension": DIMENSION, "length": 5.00001, "head": [3.00001, 4.0]})
    assert EmbeddingStore(tmp_path / "store").passages == ROWS


def test_differences_name_each_setting():
    one = {"a": {"b": 1, "c": 2}, "complete": True, "d": None}
    assert settings_differences(one, {"a": {"b": 1, "c": 3}, "complete": False, "d": None}) == [
        "a.c is 2 there and 3 now"
    ]
    assert settings_differences(one, one) == []


# A damaged store


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("damage", ["shorter", "longer", "missing"])
def test_damaged_file_is_named_with_its_sizes(tmp_path, name, damage):
    fill(tmp_path / "store")
    path = tmp_path / "store" / name
    size = path.stat().st_size
    if damage == "missing":
        path.unlink()
        found = "is missing. "
    else:
        os.truncate(path, size + (1 if damage == "longer" else -1))
        found = f"has {size + (1 if damage == 'longer' else -1):,} bytes, expected {size:,}. "
    with pytest.raises(XqgError) as caught:
        EmbeddingStore(tmp_path / "store")
    assert str(caught.value).startswith(f"{path}: {found}Restore it from a copy, or make it")


def test_no_store_and_other_formats(tmp_path):
    with pytest.raises(XqgError, match=r"none: no embedding store there \(store\.json is missing\)"):
        EmbeddingStore(tmp_path / "none")
    fill(tmp_path / "store")
    path = tmp_path / "store" / "store.json"
    manifest = json.loads(path.read_text())
    for content, message in [
        (
            json.dumps(manifest | {"format_version": 1}),
            r"version 1, expected .* version 2\. Make it again with pyserini",
        ),
        (json.dumps(manifest | {"dtype": "float16"}), r"store\.json: was changed after it was written"),
        ("{", r"store\.json: malformed JSON"),
    ]:
        path.write_text(content)
        with pytest.raises(XqgError, match=message):
            EmbeddingStore(tmp_path / "store")
    path.write_text(json.dumps(manifest))
    (tmp_path / "store" / "chunks.jsonl").unlink()
    with pytest.raises(XqgError, match=r"chunks\.jsonl: is missing"):
        EmbeddingStore(tmp_path / "store")


def test_store_larger_than_the_disk_is_refused_before_any_work(small_disk):
    corpus = settings()["corpus"] | {"passages": 10**9}
    with (
        pytest.raises(XqgError, match=r"needs 236\.57 GB, the disk has 0\.00 GB free.*--store-dtype float16"),
        StoreWriter(small_disk / "store", settings(corpus=corpus, keep_query_vectors=False)),
    ):
        pytest.fail("entered")
    fill(small_disk / "store", keep=False)  # nothing was left that would be in the way


def test_vectors_that_are_no_numbers_are_refused(tmp_path):
    """float16 ends at 65,504."""
    big = next(chunks())
    big.passages[3] *= 1e5
    with (
        StoreWriter(tmp_path / "store", settings(dtype="float16")) as writer,
        pytest.raises(XqgError, match=r"passages\.npy among docids 'docid-0' to .* infinite .*--store-dtype float32"),
    ):
        writer.write(big)

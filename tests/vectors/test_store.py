"""The embedding store: its layout, and that no interruption, fault or second process can spoil it."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import command_environment, directory_bytes

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.layout import settings_differences
from pyserini_xqg.vectors.store import EmbeddingStore, sum_first
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter

ROWS, DIMENSION, CHUNK = 50, 16, 7
FILES = ("passages.npy", "sum.ar.npy", "count.ar.npy", "vectors.ar.npy", "sum.fi.npy", "count.fi.npy", "vectors.fi.npy",
         "docids.txt", "chunks.jsonl")  # fmt: skip


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
        yield Chunk(
            docids[part],
            passages[part],
            {code: summed(queries[code], counts[code][part]) for code in counts},
            {code: counts[code][part].astype(np.int32) for code in counts},
            queries if keep else {},
        )


def fill(directory, keep=True, overwrite=False, stop_after=None, **changes):
    """Write a store, or so many chunks of it; a half-done one is continued."""
    with StoreWriter(directory, settings(keep=keep, **changes), overwrite) as writer:
        for number, chunk in enumerate(chunks(keep=keep, start=writer.rows_done)):
            if number == stop_after:
                return
            writer.write(chunk)
        writer.finish()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """File name to bytes of a store that was written without a fault."""
    directory = tmp_path_factory.mktemp("reference") / "store"
    fill(directory)
    return directory_bytes(directory)


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
    assert [entry["rows"] for entry in entries] == [7] * 7 + [1]
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
def test_blocks(tmp_path, rows, most, dtype):
    fill(tmp_path / "store", dtype=dtype)
    _, passages, counts, vectors = contents()
    blocks = list(EmbeddingStore(tmp_path / "store").blocks(["fi", "ar"], most, block_bytes=rows * DIMENSION * 4))
    assert [len(block[0]) for block in blocks] == [min(rows, ROWS - first) for first in range(0, ROWS, rows)]
    assert np.concatenate([block[0] for block in blocks]).tobytes() == passages.astype(dtype).astype("f4").tobytes()
    for code in ("fi", "ar"):
        found_sums = np.concatenate([block[1][code] for block in blocks])
        found_counts = np.concatenate([block[2][code] for block in blocks])
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
    with pytest.raises(XqgError, match=r"sums of up to 3 queries in 'fi'.*--max-queries 2.*--keep-query-vectors"):
        next(store.blocks(["fi"], 2))
    for enough in (3, 4):
        ((_, sums, _),) = store.blocks(["fi"], enough)
        assert sums["fi"].tobytes() == np.load(tmp_path / "store" / "sum.fi.npy").tobytes()


@pytest.mark.parametrize("most", [None, 1, 2, 5])
def test_sum_first_against_loops(most):
    random = np.random.default_rng(4)
    for counts in ([0, 3, 0, 1, 2, 0], [0], [4], [0, 0, 0], [5, 5], []):
        vectors = random.normal(size=(sum(counts), 3)).astype(np.float32)
        sums, kept = sum_first(vectors, np.array(counts, dtype=np.int32), most)
        assert sums.shape == (len(counts), 3)
        assert kept.tolist() == [count if most is None else min(count, most) for count in counts]
        first = 0
        for row, count in enumerate(counts):
            expected = vectors[first : first + count][:most].astype(np.float64).sum(axis=0)
            np.testing.assert_allclose(sums[row], expected, atol=1e-6)
            first += count


# Interruptions


class FailsMidway:
    """A stream that writes half of what it is given, then fails as a disk does."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        self.stream.write(data[: max(1, len(data) // 2)])
        raise OSError(errno.EIO, "Input/output error")

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.mark.parametrize("done", [0, 3, 7])
@pytest.mark.parametrize("name", FILES)
def test_failure_in_the_middle_of_a_write(tmp_path, reference, name, done):
    with pytest.raises(OSError, match="Input/output"), StoreWriter(tmp_path / "store", settings()) as writer:
        for number, chunk in enumerate(chunks()):
            if number == done:
                writer._files[name] = FailsMidway(writer._files[name])
            writer.write(chunk)
    with pytest.raises(XqgError, match=f"unfinished, {min(done * CHUNK, ROWS)} of 50 passages"):
        EmbeddingStore(tmp_path / "store")
    fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == reference


@pytest.mark.parametrize("done", [0, 1, 5])
def test_torn_bytes_after_the_last_commit(tmp_path, reference, done):
    fill(tmp_path / "store", stop_after=done)
    committed = (tmp_path / "store" / "chunks.jsonl").read_bytes()
    assert committed.count(b"\n") == done
    for name in FILES:
        with open(tmp_path / "store" / name, "ab") as out:
            out.write(b'{"rows": 7, "quer' if name == "chunks.jsonl" else os.urandom(333))
    (tmp_path / "store" / ".store.json.4711.partial").write_text("{")
    fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == reference


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


def test_interrupted_before_store_json(tmp_path, reference):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".store.json.4711.partial").write_text("{")
    fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == reference


@pytest.mark.parametrize("name", [name for name in FILES if name != "chunks.jsonl"])
@pytest.mark.parametrize("damage", ["truncated", "missing"])
def test_half_done_store_that_lost_bytes_is_not_continued(tmp_path, reference, name, damage):
    fill(tmp_path / "store", stop_after=3)
    path = tmp_path / "store" / name
    if damage == "missing":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(XqgError) as caught:
        fill(tmp_path / "store")
    assert str(caught.value).startswith(f"{path} ")
    assert "--overwrite to begin anew" in str(caught.value)
    fill(tmp_path / "store", overwrite=True)
    assert directory_bytes(tmp_path / "store") == reference


def test_damaged_chunk_log(tmp_path):
    fill(tmp_path / "store", stop_after=3)
    path = tmp_path / "store" / "chunks.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"rows"', b"\0\0\0\0\0\0", 1))
    with pytest.raises(XqgError, match=r"chunks\.jsonl: damaged .*--overwrite"):
        fill(tmp_path / "store")


def test_too_few_passages_do_not_finish(tmp_path):
    with StoreWriter(tmp_path / "store", settings()) as writer:
        for chunk in list(chunks())[:-1]:
            writer.write(chunk)
        with pytest.raises(XqgError, match="49 of 50 passages were written"):
            writer.finish()
    with pytest.raises(XqgError, match="unfinished"):
        EmbeddingStore(tmp_path / "store")


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
def test_half_done_store_with_other_settings(tmp_path, changes, difference):
    fill(tmp_path / "store", stop_after=2)
    before = directory_bytes(tmp_path / "store")
    with (
        pytest.raises(XqgError, match="holds a half-done store with other settings") as caught,
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


def test_complete_store_is_refused_unless_overwrite(tmp_path):
    fill(tmp_path / "store")
    before = directory_bytes(tmp_path / "store")
    with pytest.raises(XqgError, match=r"store exists\. Remove it, choose another --output, or pass --overwrite"):
        fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == before
    fill(tmp_path / "store", overwrite=True, keep=False)
    assert "vectors.ar.npy" not in directory_bytes(tmp_path / "store")
    assert EmbeddingStore(tmp_path / "store").passages == ROWS


def test_killed_while_overwriting(tmp_path, reference, monkeypatch):
    """Whatever was removed by then, the directory is still known for a store and can be overwritten again."""
    fill(tmp_path / "store")
    unlink, removed = type(tmp_path).unlink, []

    def fails_at_the_fifth(self, *arguments, **options):
        if len(removed) == 5:
            raise KeyboardInterrupt
        removed.append(self.name)
        unlink(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "unlink", fails_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            fill(tmp_path / "store", overwrite=True)
    assert "store.json" not in removed
    with pytest.raises(XqgError):
        EmbeddingStore(tmp_path / "store")
    fill(tmp_path / "store", overwrite=True)
    assert directory_bytes(tmp_path / "store") == reference


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_directory_and_file(tmp_path, overwrite):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    with pytest.raises(XqgError, match=r"is no embedding store \(it holds thesis\.tex\)"):
        fill(tmp_path / "home", overwrite=overwrite)
    with pytest.raises(XqgError, match=r"thesis\.tex is a file"):
        fill(tmp_path / "home" / "thesis.tex", overwrite=overwrite)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_second_writer_in_another_process(tmp_path, reference, overwrite):
    fill(tmp_path / "store", stop_after=2)
    code = """
        import json, sys
        from pyserini_xqg.vectors.store_writer import StoreWriter
        with StoreWriter(sys.argv[1], json.loads(sys.argv[2])):
            print("holds", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "store", json.dumps(settings())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=command_environment(),
    ) as other:
        assert other.stdout.readline() == b"holds\n"
        before = directory_bytes(tmp_path / "store")
        with pytest.raises(XqgError, match="store: another process is writing it"):
            fill(tmp_path / "store", overwrite=overwrite)
        assert directory_bytes(tmp_path / "store") == before
        other.kill()
        other.wait()
    fill(tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == reference


# A damaged store


@pytest.mark.parametrize("name", FILES[:-1])
@pytest.mark.parametrize("damage", ["shorter", "longer", "missing"])
def test_damaged_file_is_named_with_its_sizes(tmp_path, name, damage):
    fill(tmp_path / "store")
    path = tmp_path / "store" / name
    size = path.stat().st_size
    if damage == "missing":
        path.unlink()
        found = "is missing"
    else:
        os.truncate(path, size + (1 if damage == "longer" else -1))
        found = f"has {size + (1 if damage == 'longer' else -1):,} bytes"
    with pytest.raises(XqgError) as caught:
        EmbeddingStore(tmp_path / "store")
    assert str(caught.value).startswith(f"{path} {found}, expected {size:,} bytes.")


def test_no_store_and_other_formats(tmp_path):
    with pytest.raises(XqgError, match=r"none: no embedding store there \(store\.json is missing\)"):
        EmbeddingStore(tmp_path / "none")
    fill(tmp_path / "store")
    path = tmp_path / "store" / "store.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(XqgError, match=r"store\.json: format 'pyserini-xqg store' version 99"):
        EmbeddingStore(tmp_path / "store")
    path.write_text("{")
    with pytest.raises(XqgError, match=r"store\.json: malformed JSON"):
        EmbeddingStore(tmp_path / "store")
    path.write_text(json.dumps(manifest))
    (tmp_path / "store" / "chunks.jsonl").unlink()
    with pytest.raises(XqgError, match=r"chunks\.jsonl|docids\.txt"):
        EmbeddingStore(tmp_path / "store")


# A full disk


def fill_up(directory):
    """Take all that is left of a disk."""
    with open(directory / "filler", "wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(4096))


@pytest.mark.parametrize("done", [0, 1, 4])
def test_full_disk_is_named_and_the_store_continues(small_disk, reference, done):
    store = small_disk / "store"
    with StoreWriter(store, settings()) as writer:
        for chunk in list(chunks())[:done]:
            writer.write(chunk)
        fill_up(small_disk)
        # The open pages of a file still take some bytes: the error comes when one more is needed.
        with pytest.raises(XqgError, match=r"store: the disk is full \(No space left.*it continues where it stopped"):
            for chunk in list(chunks())[done:]:
                writer.write(chunk)
    (small_disk / "filler").unlink()
    fill(store)
    assert directory_bytes(store) == reference


def test_disk_full_from_the_beginning(small_disk, reference):
    fill_up(small_disk)
    with pytest.raises(XqgError, match=r"the disk is full|the disk has 0\.00 GB free"):
        fill(small_disk / "store")
    (small_disk / "filler").unlink()
    fill(small_disk / "store")
    assert directory_bytes(small_disk / "store") == reference


def test_store_larger_than_the_disk_is_refused_before_any_work(small_disk):
    corpus = settings()["corpus"] | {"passages": 10**9}
    with (
        pytest.raises(XqgError, match=r"needs 200\.00 GB, the disk has 0\.00 GB free.*--store-dtype float16"),
        StoreWriter(small_disk / "store", settings(corpus=corpus, keep_query_vectors=False)),
    ):
        pytest.fail("entered")
    fill(small_disk / "store")  # nothing was left that would be in the way

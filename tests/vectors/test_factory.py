"""Kinds of FAISS indexes, shards and mapped files: against FAISS and NumPy alone."""

import itertools
import os

import faiss
import numpy as np
import pytest
from helpers import corpus_records, directory_bytes, run_command, write_jsonl

from pyserini_xqg import encode, index
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors import faiss_index
from pyserini_xqg.vectors.embedding import describe_probe
from pyserini_xqg.vectors.manifest import index_parts, manifest_encoder, read_manifest
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

DIMENSION, PASSAGES = 16, 400
LANGUAGES = ("ar", "fi")
FILES = ("index", "docid", "xqg.json")
KINDS = ("SQfp16", "SQ8", "HNSW16", "HNSW16,SQfp16", "IVF8,Flat", "IVF8,PQ4x4", "OPQ4,IVF8,PQ4x4", "PQ4x4", "PCA8,Flat",
         "IVF8,PQ4x4fs", "IVF8,PQ4x4,RFlat")  # fmt: skip


@pytest.fixture(scope="module")
def arrays():
    """Vectors of passages, and per language sums and counts; every fourth passage has no query."""
    random = np.random.default_rng(4)
    passages = random.normal(size=(PASSAGES, DIMENSION)).astype(np.float32)
    counts = {
        code: random.integers(0, 4, PASSAGES).astype(np.int32) * (np.arange(PASSAGES) % 4 > 0) for code in LANGUAGES
    }
    sums = {
        code: (random.normal(size=(PASSAGES, DIMENSION)) * number[:, None]).astype(np.float32)
        for code, number in counts.items()
    }
    return passages, sums, counts


@pytest.fixture(scope="module")
def store(arrays, tmp_path_factory):
    """These vectors as a store."""
    passages, sums, counts = arrays
    directory = tmp_path_factory.mktemp("factory") / "store"
    settings = {
        "encoder": EncoderConfig("some-model").to_dict(),
        "fields": ["text"],
        "dimension": DIMENSION,
        "dtype": "float32",
        "chunk_size": PASSAGES,
        "max_queries": None,
        "keep_query_vectors": False,
        "corpus": {
            "passages": PASSAGES,
            "queries": {code: int(number.sum()) for code, number in counts.items()},
            "sha256": "0" * 64,
        },
        "most_queries": {code: int(number.max()) for code, number in counts.items()},
        "probe": describe_probe(passages[0]),
    }
    with StoreWriter(directory, settings) as writer:
        writer.write(Chunk([f"p{row}" for row in range(PASSAGES)], passages, sums, counts, {}, centroids(sums, counts)))
        writer.complete()
    return directory


def build(store, output, *options):
    index.main(["--store", str(store), "--output", str(output), *map(str, options)])
    return output


@pytest.fixture(scope="module")
def flat(store, tmp_path_factory):
    """The vectors of the index with the default settings, as FAISS reads them."""
    output = build(store, tmp_path_factory.mktemp("flat") / "index", "--alpha", 0.3)
    return faiss.read_index(str(output / "index")).reconstruct_n()


def by_faiss(path, kind, vectors, sample=None, nprobe=None) -> bytes:
    """The bytes of the index that FAISS alone makes."""
    made = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    if nprobe:
        faiss.extract_index_ivf(made).nprobe = nprobe
    made.train(vectors if sample is None else sample)
    made.add(vectors)
    faiss.write_index(made, str(path))
    return path.read_bytes()


@pytest.fixture
def one_thread():
    with faiss_index.faiss_threads(1):
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_those_of_faiss(store, flat, tmp_path, one_thread, kind):
    output = build(store, tmp_path / "index", "--alpha", 0.3, "--factory", kind, "--faiss-threads", 1)
    nprobe = 2 if "IVF" in kind else None  # of 8 lists: the square root
    assert (output / "index").read_bytes() == by_faiss(tmp_path / "faiss", kind, flat, nprobe=nprobe)
    assert (output / "docid").read_text().split() == [f"p{row}" for row in range(PASSAGES)]
    manifest = read_manifest(output)
    trained = 0 if kind in ("SQfp16", "HNSW16", "HNSW16,SQfp16") else PASSAGES
    assert manifest["faiss"] == {"factory": kind, "parameters": None, "train_size": None, "trained_on": trained}


def test_blocks_do_not_show_and_the_same_command_gives_the_same_bytes(store, tmp_path, monkeypatch):
    options = ("--factory", "IVF8,PQ4x4", "--train-size", 200, "--alpha", 0.3, "--faiss-threads", 1)
    once, again = (directory_bytes(build(store, tmp_path / name, *options)) for name in ("once", "again"))
    assert once == again
    blocks = EmbeddingStore.blocks
    monkeypatch.setattr(EmbeddingStore, "blocks", lambda *arguments: blocks(*arguments, block_bytes=1100))
    assert directory_bytes(build(store, tmp_path / "blocks", *options)) == once


@pytest.mark.parametrize("size", [16, 129, 399])
def test_training_on_an_even_sample(store, flat, tmp_path, one_thread, size):
    output = build(
        store, tmp_path / "index", "--alpha", 0.3, "--factory", "IVF16,Flat", "--train-size", size, "--faiss-threads", 1
    )
    rows = [row * PASSAGES // size for row in range(size)]
    assert (output / "index").read_bytes() == by_faiss(tmp_path / "faiss", "IVF16,Flat", flat, flat[rows], 4)
    assert read_manifest(output)["faiss"]["trained_on"] == size
    with pytest.raises(XqgError, match="index exists"):  # other settings, though as many could be had without them
        build(store, output, "--alpha", 0.3, "--factory", "IVF16,Flat", "--faiss-threads", 1)


def test_default_size_of_the_sample():
    for kind, count, wanted, size in [
        ("IVF4096,PQ8", 10**7, None, 262_144),
        ("IVF4096,PQ8", 100_000, None, 100_000),
        ("PQ8", 10**7, None, 65_536),
        ("OPQ8,IVF64,PQ8", 300, 256, 256),
        ("HNSW32", 10**7, 5, 0),
    ]:
        made = faiss_index.new_index(kind, DIMENSION)
        assert faiss_index.training_size(made, kind, count, wanted) == size, kind


def test_parameters_are_kept_in_the_file(store, tmp_path):
    ivf = build(store, tmp_path / "ivf", "--factory", "PCA8,IVF8,Flat", "--faiss-parameters", "nprobe=5")
    read = faiss.read_index(str(ivf / "index"))
    assert faiss.extract_index_ivf(read).nprobe == 5
    assert read_manifest(ivf)["faiss"]["parameters"] == "nprobe=5"
    hnsw = build(store, tmp_path / "hnsw", "--factory", "HNSW8", "--faiss-parameters", "efConstruction=7,efSearch=90")
    graph = faiss.read_index(str(hnsw / "index")).hnsw
    assert (graph.efConstruction, graph.efSearch) == (7, 90)


FAULTS = [
    (["--factory", "Nonsense"], r"--factory 'Nonsense' for 16 dimensions: .*could not parse index string Nonsense"),
    (["--factory", ""], "--factory '' for 16 dimensions: .*could not parse"),
    (["--factory", "IVF8,PQ5"], "--factory 'IVF8,PQ5' for 16 dimensions: .*multiple of the number of subquantizers"),
    (["--factory", "LSH"], "--factory 'LSH'"),
    (["--factory", "IDMap,Flat"], "cannot number passages in the order they come"),
    (["--factory", "IVF0,Flat"], "cannot number passages"),
    (["--factory", "Flat", "--faiss-parameters", "nprobe=3"], "--faiss-parameters 'nprobe=3' for Flat"),
    (["--factory", "HNSW8", "--faiss-parameters", "efSearch"], "--faiss-parameters 'efSearch' for HNSW8"),
]
TOO_FEW = [
    (
        ["--factory", "IVF512,Flat"],
        r"at least 512 vectors, one a centroid \(19,968 are advised\); there are 400\. Use fewer",
    ),
    (["--factory", "PQ4x10"], "at least 1,024 vectors"),
    (["--factory", "IVF64,Flat", "--train-size", 63], r"at least 64 vectors.*--train-size is 63\. Raise --train-size"),
    (["--shards", 401], "--shards 401: there are 400 passages"),
]


@pytest.mark.parametrize(("options", "message"), FAULTS + TOO_FEW, ids=lambda value: " ".join(map(str, value))[:40])
@pytest.mark.parametrize("route", [[], ["--route"]])
def test_faults_are_named(store, tmp_path, options, message, route):
    with pytest.raises(XqgError, match=message) as caught:
        build(store, tmp_path / "index", *options, *route)
    assert "\n" not in str(caught.value)
    assert ".cpp" not in str(caught.value)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


def test_faults_are_named_before_anything_is_encoded(tiny_encoder, tmp_path):
    options, message = FAULTS[0]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", corpus_records(5))
    with pytest.raises(XqgError, match=message.replace("16", "32")):
        index.main(["--corpus", str(corpus), "--encoder", tiny_encoder, "--output", str(tmp_path / "index"), *options])
    assert os.listdir(tmp_path) == ["corpus.jsonl"]


def test_full_disk(store, small_disk):
    with pytest.raises(XqgError, match=r"index: the disk is full \(No space left.*Free some space or choose"):
        build(store, small_disk / "index", "--factory", "HNSW128")
    assert [name for name in os.listdir(small_disk) if not name.endswith(".lock")] == []


# Shards


@pytest.mark.parametrize("shards", [2, 3, 7])
@pytest.mark.parametrize("block_bytes", [1100, 1 << 20])
def test_shards_hold_consecutive_passages(store, flat, tmp_path, monkeypatch, shards, block_bytes):
    blocks = EmbeddingStore.blocks
    monkeypatch.setattr(EmbeddingStore, "blocks", lambda *arguments: blocks(*arguments, block_bytes=block_bytes))
    output = build(store, tmp_path / "index", "--alpha", 0.3, "--shards", shards)
    manifest = read_manifest(output)
    places = index_parts(output, manifest)
    assert manifest["layout"] == "sharded"
    assert set(manifest["files"]) == {f"{name}/{file}" for name in manifest["shards"] for file in FILES}
    assert sorted(os.listdir(output)) == sorted([*manifest["shards"], "xqg.json"])
    assert len(places) == shards
    vectors = [faiss.read_index(str(place / "index")).reconstruct_n() for place in places]
    assert max(map(len, vectors)) - min(map(len, vectors)) <= 1
    np.testing.assert_array_equal(np.concatenate(vectors), flat)
    docids = [(place / "docid").read_text().split() for place in places]
    assert [len(own) for own in docids] == list(map(len, vectors))
    assert list(itertools.chain(*docids)) == [f"p{row}" for row in range(PASSAGES)]
    whole = read_manifest(build(store, tmp_path / "whole", "--alpha", 0.3))
    parts = [read_manifest(place) for place in places]
    assert manifest["counts"] == whole["counts"]
    for name in ("passages", "passages_without_queries"):
        assert sum(part["counts"][name] for part in parts) == whole["counts"][name] > 0
    assert all(part["augmentation"] == whole["augmentation"] for part in parts)
    assert manifest_encoder(output) == manifest_encoder(tmp_path / "whole")


def test_shards_share_the_training(store, flat, tmp_path):
    """So an IVF index in shards looks into the same lists as one in a single file, and finds the same passages."""
    options = ("--alpha", 0.3, "--factory", "IVF8,Flat", "--faiss-threads", 1)
    whole = faiss.read_index(str(build(store, tmp_path / "whole", *options) / "index"))
    output = build(store, tmp_path / "shards", *options, "--shards", 3)
    shards = [faiss.read_index(str(place / "index")) for place in index_parts(output, read_manifest(output))]
    scores, rows = faiss_index.Shards(shards).search(flat[:50], 10)
    wanted_scores, wanted_rows = whole.search(flat[:50], 10)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(scores, wanted_scores, rtol=1e-6)
    assert rows.max() > PASSAGES * 2 // 3  # the last shard has its say


def test_routed_shards(store, tmp_path):
    output = build(store, tmp_path / "routed", "--route", "--shards", 2, "--factory", "SQfp16")
    assert sorted(os.listdir(output)) == ["ar", "fi", "mean", "plain", "xqg.json"]
    for code in LANGUAGES:
        manifest = read_manifest(output / code)
        assert manifest["augmentation"]["languages"] == [code]
        assert [len((place / "docid").read_text().split()) for place in index_parts(output / code, manifest)] == [
            200,
            200,
        ]


def test_shards_of_a_fused_store(tiny_encoder, tmp_path):
    """Which knows the number of queries for all passages together only."""
    records = corpus_records(20)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    common = ["--corpus", str(corpus), "--encoder", tiny_encoder, "--device", "cpu", "--dtype", "float32"]
    encode.main([*common, "--output", str(tmp_path / "fused"), "--fuse", "sum"])
    encode.main([*common, "--output", str(tmp_path / "store")])
    options = ("--aggregate", "sum", "--shards", 2)
    fused, whole = (build(tmp_path / name, tmp_path / f"{name}-index", *options) for name in ("fused", "store"))
    assert read_manifest(fused)["counts"] == read_manifest(whole)["counts"]
    for name in ("1", "2"):
        vectors = [faiss.read_index(str(place / name / "index")).reconstruct_n() for place in (fused, whole)]
        np.testing.assert_allclose(*vectors, rtol=0, atol=1e-6)
        assert read_manifest(fused / name)["counts"]["queries"] is None


def shards_of(vectors, sizes, kind="Flat"):
    shards, first = [], 0
    for size in sizes:
        shards.append(faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT))
        shards[-1].add(vectors[first : first + size])
        first += size
    return faiss_index.Shards(shards)


@pytest.mark.parametrize("sizes", [[400], [1, 399], [130, 130, 140], [50] * 8])
@pytest.mark.parametrize("k", [1, 10, 399, 1000])
@pytest.mark.parametrize("queries", [1, 40])
def test_merged_search_is_that_of_one_index(flat, sizes, k, queries):
    doubled = np.concatenate([flat[:200], flat[:200]])  # every score occurs twice, mostly in two shards
    whole = faiss.IndexFlatIP(DIMENSION)
    whole.add(doubled)
    asked = flat[-queries:]
    scores, rows = shards_of(doubled, sizes).search(asked, k)
    wanted, wanted_rows = whole.search(asked, k)
    np.testing.assert_allclose(scores[:, : min(k, 400)], wanted[:, : min(k, 400)], rtol=0, atol=1e-5)
    assert (rows[:, 400:] == -1).all() and (wanted_rows[:, 400:] == -1).all()
    for found, score, query in zip(rows[:, :400], scores[:, :400], asked, strict=True):
        assert len(set(found)) == len(found)
        np.testing.assert_allclose(doubled[found] @ query, score, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["Flat", "SQfp16", "HNSW16"])
def test_vectors_of_the_hits(flat, kind):
    """What pseudo-relevance feedback asks for; FAISS's own IndexShards has not got it."""
    shards = shards_of(flat, [100, 250, 50], kind)
    scores, rows, vectors = shards.search_and_reconstruct(flat[:5], 7)
    wanted, wanted_rows = shards.search(flat[:5], 7)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_array_equal(scores, wanted)
    np.testing.assert_allclose(vectors, flat[rows], rtol=1e-3, atol=1e-3)
    few = shards_of(flat[:3], [1, 2], kind).search_and_reconstruct(flat[:2], 5)
    assert (np.sort(few[1], axis=1) == [-1, -1, 0, 1, 2]).all()


def test_ef_search_reaches_every_shard(flat):
    shards = shards_of(flat, [200, 200], "HNSW16")
    shards.hnsw.efSearch = 77
    assert [shard.hnsw.efSearch for shard in shards.shards] == [77, 77]
    with pytest.raises(AttributeError):
        shards_of(flat, [200, 200]).hnsw.efSearch = 77


def test_docids_in_two_shards(tmp_path):
    places, ends = [tmp_path / "a", tmp_path / "b"], np.array([3, 5])
    faiss_index._check_distinct(["p1", "p2", "p3", "p4", "p5"], places, ends)
    with pytest.raises(XqgError, match=rf"docid 'p2' is in {tmp_path / 'a'} and in {tmp_path / 'b'}"):
        faiss_index._check_distinct(["p1", "p2", "p3", "p4", "p2"], places, ends)


# Mapped files


@pytest.mark.parametrize("kind", ["Flat", *KINDS])
def test_mapped_indexes_find_the_same(store, flat, tmp_path, kind):
    path = build(store, tmp_path / "index", "--alpha", 0.3, "--factory", kind) / "index"
    scores, rows = faiss_index.read_mapped(path).search(flat[:20], 10)
    wanted, wanted_rows = faiss.read_index(str(path)).search(flat[:20], 10)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)


def test_report(store, tmp_path):
    options = ["--factory", "HNSW8", "--shards", 2, "--alpha", 0.5]
    result = run_command("index", "--store", store, "--output", tmp_path / "index", *options)
    assert (result.returncode, result.stdout) == (0, "")
    *_, first, second = result.stderr.splitlines()
    assert "400 passages x 16, mean, alpha 0.5, HNSW8, 2 shards; queries: ar" in first
    assert "passages have none of these queries" in second


def test_open_index(store, tmp_path, flat):
    whole, docids = faiss_index.open_index(build(store, tmp_path / "whole", "--alpha", 0.3))
    np.testing.assert_array_equal(whole.reconstruct_n(), flat)
    assert docids == [f"p{row}" for row in range(PASSAGES)]
    sharded = build(store, tmp_path / "sharded", "--alpha", 0.3, "--shards", 3)
    for mapped in (False, True):
        shards, docids = faiss_index.open_index(sharded, mapped)
        assert shards.ntotal == len(docids) == PASSAGES
        np.testing.assert_array_equal(shards.search(flat[:5], 3)[1], whole.search(flat[:5], 3)[1])
    routed = build(store, tmp_path / "routed", "--route")
    (tmp_path / "whole" / "docid").write_text("p0\n")
    (sharded / "2" / "index").unlink()
    for place, message in [
        (routed, r"a routed index \(ar, fi\)\. Name one language's index in it"),
        (tmp_path / "whole", "has 400 vectors of 16 dimensions and docid 1 lines, 400 of 16 were expected"),
        (sharded, "2: no FAISS index there .index is missing."),
        (tmp_path / "none", "none: no FAISS index there"),
    ]:
        with pytest.raises(XqgError, match=message):
            faiss_index.open_index(place)

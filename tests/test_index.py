"""From a store to an index: every knob against NumPy loops, read back through FAISS."""

import errno
import hashlib
import os
import shutil

import faiss
import numpy as np
import pytest
from helpers import (
    LANGUAGES,
    assert_one_error,
    corpus_records,
    directory_bytes,
    reference_vectors,
    run_command,
    write_jsonl,
)

from pyserini_xqg import encode, index
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors import encoding
from pyserini_xqg.vectors.building import build_index
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.manifest import read_manifest
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.store import EmbeddingStore

RECORDS = corpus_records(20, most=4)
DOCIDS = [record["docid"] for record in RECORDS]
PLAIN = ("--device", "cpu", "--dtype", "float32")


@pytest.fixture(scope="module")
def stores(tiny_encoder, tmp_path_factory):
    """Two stores of the same corpus: ``kept`` with the single query vectors, ``sums`` without."""
    directory = tmp_path_factory.mktemp("stores")
    corpus = write_jsonl(directory / "corpus.jsonl", RECORDS)
    arguments = ["--corpus", str(corpus), "--encoder", tiny_encoder, *PLAIN, "--chunk-size", "6"]
    encode.main([*arguments, "--output", str(directory / "kept"), "--keep-query-vectors"])
    encode.main([*arguments, "--output", str(directory / "sums")])
    return directory


@pytest.fixture(scope="module")
def vectors(tiny_encoder):
    """Passage vectors, and each passage's query vectors by language, from transformers alone."""
    passages = reference_vectors(tiny_encoder, [f"{r['title']} {r['text']}".lstrip() for r in RECORDS])
    queries = [
        {code: reference_vectors(tiny_encoder, texts) for code, texts in record.get("generated_queries", {}).items()}
        for record in RECORDS
    ]
    return passages, queries


def unit(row):
    return row / np.sqrt(sum(row * row))


def expected(
    vectors, alpha=0.25, aggregate="mean", languages=LANGUAGES, most=None, normalize=False, removal=0, unit_mean=False
):
    """The method in double precision, passage by passage."""
    rows, means = [], {code: [] for code in LANGUAGES}
    for passage, by_language in zip(*vectors, strict=True):
        chosen = [by_language[code][:most] for code in languages if code in by_language]
        row = passage
        if chosen and aggregate == "sum":
            row = (1 - alpha) * passage + alpha * sum(query for queries in chosen for query in queries)
        elif chosen:
            mean = sum(sum(queries) / len(queries) for queries in chosen) / len(chosen)
            row = (1 - alpha) * passage + alpha * (unit(mean) if unit_mean else mean)
        rows.append(unit(row) if normalize else row)
        for code, queries in by_language.items():
            means[code].append(sum(queries) / len(queries))
    rows = np.array(rows)
    if removal:  # of the part that the languages' centroids can express
        centroids = np.array([np.mean(means[code], axis=0) for code in LANGUAGES])
        rows = rows - removal * np.linalg.lstsq(centroids.T, rows.T, rcond=None)[0].T @ centroids
    return rows


DEFAULT = {"alpha": 0.25, "aggregate": "mean", "normalize": True, "removal": 0.5, "unit_mean": True}
"""What an encoder whose vectors have unit length gets."""


def build(store, output, *options):
    index.main(["--store", str(store), "--output", str(output), *map(str, options)])
    return output


def read(directory):
    """The vectors of an index, as FAISS reads them."""
    read_back = faiss.read_index(str(directory / "index"))
    assert isinstance(read_back, faiss.IndexFlatIP)
    assert (directory / "docid").read_text(encoding="utf-8") == "".join(f"{docid}\n" for docid in DOCIDS)
    return read_back.reconstruct_n(0, read_back.ntotal)


def assert_index(directory, wanted):
    found = read(directory)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-5)


@pytest.mark.parametrize("store", ["kept", "sums"])
@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {}),
        (["--alpha", "0"], {"alpha": 0}),
        (["--alpha", "1"], {"alpha": 1}),
        (["--alpha", "0.8", "--aggregate", "sum"], {"alpha": 0.8, "aggregate": "sum"}),
        (
            ["--alpha", "0.3", "--aggregate", "sum", "--normalize"],
            {"alpha": 0.3, "aggregate": "sum", "normalize": True},
        ),
        (["--alpha", "0", "--normalize"], {"alpha": 0, "normalize": True}),
        (["--alpha", "0.6", "--languages", "ja"], {"alpha": 0.6, "languages": ["ja"]}),
        (
            ["--alpha", "0.6", "--languages", "ja,ar", "--aggregate", "mean", "--normalize"],
            {"alpha": 0.6, "languages": ["ja", "ar"], "aggregate": "mean", "normalize": True},
        ),
        (["--alpha", "0.6", "--max-queries", "4"], {"alpha": 0.6}),
        (["--alpha", "0.6", "--aggregate", "sum", "--max-queries", "9"], {"alpha": 0.6, "aggregate": "sum"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_knobs(stores, vectors, tmp_path, store, options, settings):
    build(stores / store, tmp_path / "index", *options)
    assert_index(tmp_path / "index", expected(vectors, **settings))


@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_max_queries_from_kept_vectors(stores, vectors, tmp_path, most, aggregate):
    build(stores / "kept", tmp_path / "index", "--alpha", 0.6, "--aggregate", aggregate, "--max-queries", most)
    wanted = expected(vectors, 0.6, aggregate, most=most)
    assert np.abs(wanted - expected(vectors, 0.6, aggregate)).max() > 0.1
    assert_index(tmp_path / "index", wanted)
    manifest = read_manifest(tmp_path / "index")
    assert manifest["augmentation"]["max_queries"] == most
    assert manifest["counts"]["queries"] == {
        code: sum(len(r.get("generated_queries", {}).get(code, [])[:most]) for r in RECORDS) for code in LANGUAGES
    }


def test_max_queries_without_kept_vectors(stores, tmp_path):
    with pytest.raises(XqgError, match=r"--max-queries 2 cannot be taken from it.*--keep-query-vectors"):
        build(stores / "sums", tmp_path / "index", "--max-queries", 2)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("options", [["--aggregate", "sum"], ["--normalize"], ["--languages", "ja,fi"]])
def test_route(stores, vectors, tmp_path, options):
    build(stores / "kept", tmp_path / "routed", "--route", "--alpha", 0.7, *options)
    languages = ["ja", "fi"] if "--languages" in options else list(LANGUAGES)
    assert sorted(os.listdir(tmp_path / "routed")) == sorted([*languages, "mean", "plain", "xqg.json"])
    for code in languages:
        wanted = expected(
            vectors, 0.7, "sum" if "sum" in options else "mean", [code], normalize="--normalize" in options
        )
        assert_index(tmp_path / "routed" / code, wanted)
        assert read_manifest(tmp_path / "routed" / code)["augmentation"]["languages"] == [code]
    routes = read_manifest(tmp_path / "routed")
    assert routes["layout"] == "routed"
    assert routes["languages"].items() >= {code: code for code in languages}.items()
    assert {f"{code}/{name}" for code in languages for name in ("index", "docid", "xqg.json")} <= set(routes["files"])
    assert routes["files"]["fi/index"] == read_manifest(tmp_path / "routed" / "fi")["files"]["index"]


def test_blocks_of_the_store_do_not_show(stores, tmp_path, monkeypatch):
    build(stores / "kept", tmp_path / "one", "--alpha", 0.4, "--max-queries", 2)
    blocks = EmbeddingStore.blocks
    monkeypatch.setattr(EmbeddingStore, "blocks", lambda *arguments: blocks(*arguments, block_bytes=384))
    build(stores / "kept", tmp_path / "many", "--alpha", 0.4, "--max-queries", 2)
    assert directory_bytes(tmp_path / "one") == directory_bytes(tmp_path / "many")


def test_counts_are_reported(stores, tmp_path, capsys):
    build(stores / "sums", tmp_path / "index", "--alpha", 0.25, "--languages", "fi", "--normalize")
    without = sum(not record.get("generated_queries", {}).get("fi") for record in RECORDS)
    queries = sum(len(record.get("generated_queries", {}).get("fi", [])) for record in RECORDS)
    assert without > 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"{tmp_path / 'index'}: 20 passages x 32, mean, alpha 0.25, unit length; queries: fi {queries}",
        f"{tmp_path / 'index'}: {without} passages have none of these queries and keep their plain vector",
    ]


def test_manifest(stores, tiny_encoder, tmp_path):
    build(stores / "kept", tmp_path / "index", "--alpha", 0.25, "--aggregate", "mean", "--languages", "fi,ar")
    manifest = read_manifest(tmp_path / "index")
    having = [set(record.get("generated_queries", {})) & {"fi", "ar"} for record in RECORDS]
    assert manifest["format"] == "pyserini-xqg index"
    assert (manifest["format_version"], manifest["layout"], manifest["complete"]) == (2, "single", True)
    assert manifest["encoder"]["model"] == tiny_encoder
    assert manifest["encoder"]["pooling"] == "cls"
    assert manifest["dimension"] == 32
    assert manifest["fields"] == ["title", "text"]
    assert (
        manifest["augmentation"].items()
        >= {
            "alpha": 0.25,
            "aggregate": "mean",
            "languages": ["fi", "ar"],
            "max_queries": None,
            "normalize": False,
            "language_removal": 0.0,
        }.items()
    )
    assert manifest["counts"] == {
        "passages": 20,
        "passages_without_queries": sum(not codes for codes in having),
        "queries": {
            code: sum(len(record.get("generated_queries", {}).get(code, [])) for record in RECORDS)
            for code in ("fi", "ar")
        },
    }
    assert manifest["corpus_sha256"] == EmbeddingStore(stores / "kept").manifest["corpus"]["sha256"]
    files = {name: (tmp_path / "index" / name).read_bytes() for name in ("docid", "index")}
    assert manifest["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    assert {"numpy", "torch", "transformers", "faiss-cpu"} <= set(manifest["versions"])
    assert sorted(os.listdir(tmp_path / "index")) == ["docid", "index", "xqg.json"]


def test_same_command_same_bytes(stores, tmp_path):
    for name in ("one", "two"):
        build(stores / "kept", tmp_path / name, "--alpha", 0.4)
    assert directory_bytes(tmp_path / "one") == directory_bytes(tmp_path / "two")
    build(stores / "sums", tmp_path / "three", "--alpha", 0.4)
    assert (tmp_path / "three" / "index").read_bytes() == (tmp_path / "one" / "index").read_bytes()


# What is chosen where nothing is named


@pytest.fixture(scope="module")
def unit_stores(stores, tiny_encoder):
    """Stores of an encoder with --l2-norm: ``unit``, and ``unit-sum`` and ``unit-mean``, fused."""
    for name, options in {"unit": [], "unit-sum": ["--fuse", "sum"], "unit-mean": ["--fuse", "mean"]}.items():
        arguments = ["--corpus", str(stores / "corpus.jsonl"), "--encoder", tiny_encoder, *PLAIN, "--l2-norm"]
        encode.main([*arguments, *options, "--output", str(stores / name)])
    return stores


@pytest.fixture(scope="module")
def unit_vectors(vectors):
    passages, queries = vectors
    unit_queries = [{code: np.array(list(map(unit, rows))) for code, rows in row.items()} for row in queries]
    return np.array(list(map(unit, passages))), unit_queries


DEFAULTS = [
    # store, options, then what they mean: alpha, aggregate, unit length, removal
    ("sums", [], 0.25, "mean", False, 0),
    ("sums", ["--aggregate", "sum"], 0.01, "sum", False, 0),
    ("sums", ["--normalize"], 0.25, "mean", True, 0),
    ("unit", [], 0.25, "mean", True, 0.5),
    ("unit", ["--aggregate", "mean"], 0.25, "mean", True, 0.5),
    ("unit", ["--alpha", "0.8"], 0.8, "mean", True, 0.5),
    ("unit", ["--language-removal", "0"], 0.25, "mean", True, 0),
    ("unit", ["--no-normalize"], 0.25, "mean", False, 0),
    ("unit", ["--no-normalize", "--language-removal", "1"], 0.25, "mean", False, 1),
    ("unit", ["--aggregate", "sum"], 0.01, "sum", False, 0),
    ("unit", ["--aggregate", "sum", "--normalize"], 0.01, "sum", True, 0),
    ("unit", ["--alpha", "0"], 0, "mean", False, 0),
    ("unit-sum", ["--aggregate", "sum"], 0.01, "sum", False, 0),
    ("unit-sum", ["--aggregate", "sum", "--alpha", "0.3", "--normalize"], 0.3, "sum", True, 0),
    ("unit-mean", [], 0.25, "mean", True, 0.5),
    ("unit-mean", ["--no-normalize"], 0.25, "mean", False, 0),
]


@pytest.mark.parametrize(("store", "options", "alpha", "aggregate", "normalize", "removal"), DEFAULTS)
def test_defaults(
    unit_stores, vectors, unit_vectors, tmp_path, capsys, store, options, alpha, aggregate, normalize, removal
):
    build(unit_stores / store, tmp_path / "index", *options)
    shown = (
        f"{aggregate}, alpha {alpha:g}{', unit length' if normalize else ''}" if alpha else "plain: no generated query"
    )
    assert shown in capsys.readouterr().err
    manifest = read_manifest(tmp_path / "index")["augmentation"]
    chosen = {"alpha": alpha, "aggregate": aggregate, "normalize": normalize, "language_removal": removal}
    assert {name: manifest[name] for name in chosen} == chosen
    of_store = vectors if store == "sums" else unit_vectors
    unit_mean = normalize and aggregate == "mean" and store != "sums"
    wanted = expected(of_store, alpha, aggregate, normalize=normalize, removal=removal, unit_mean=unit_mean)
    assert_index(tmp_path / "index", wanted)


def test_default_of_routed_indexes(unit_stores, unit_vectors, tmp_path):
    build(unit_stores / "unit", tmp_path / "routed", "--route")
    for code in LANGUAGES:
        assert_index(tmp_path / "routed" / code, expected(unit_vectors, **DEFAULT, languages=[code]))
    assert_index(tmp_path / "routed" / "mean", expected(unit_vectors, **DEFAULT))
    assert_index(tmp_path / "routed" / "plain", expected(unit_vectors, 0))
    bases = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("language-basis.npy")]
    assert bases == ["routed/language-basis.npy"]  # once, not in every language's index


def test_a_plain_recipe_reads_no_queries(unit_stores, tmp_path):
    """So a plain index can be made of a fused store too, and of one whose arrays of queries are elsewhere."""
    store = shutil.copytree(unit_stores / "unit-sum", tmp_path / "store")
    size = (store / "sum.all.npy").stat().st_size
    (store / "sum.all.npy").write_bytes(bytes(size))
    build(store, tmp_path / "index", "--alpha", 0, "--aggregate", "mean", "--languages", "fi")
    assert read(tmp_path / "index").tobytes() == EmbeddingStore(unit_stores / "unit").array("passages").tobytes()
    assert read_manifest(tmp_path / "index")["counts"]["passages_without_queries"] == 20


def test_defaults_with_a_corpus_are_those_of_its_store(unit_stores, unit_vectors, tiny_encoder, tmp_path):
    arguments = ["--corpus", str(unit_stores / "corpus.jsonl"), "--encoder", tiny_encoder, *PLAIN, "--l2-norm"]
    index.main([*arguments, "--output", str(tmp_path / "index")])
    assert_index(tmp_path / "index", expected(unit_vectors, **DEFAULT))
    index.main([*arguments, "--output", str(tmp_path / "fused"), "--fuse", "sum", "--aggregate", "sum"])
    assert_index(tmp_path / "fused", expected(unit_vectors, 0.01, "sum"))


@pytest.mark.parametrize("store", ["sums", "unit", "unit-mean"])
@pytest.mark.parametrize(
    ("options", "recipe"),
    [
        ([], Recipe()),
        (["--alpha", "0"], Recipe(alpha=0)),
        (["--alpha", "0.3", "--no-normalize"], Recipe(alpha=0.3, normalize=False)),
    ],
    ids=["", "plain", "not normalized"],
)
def test_python_chooses_as_the_command(unit_stores, tmp_path, store, options, recipe):
    build(unit_stores / store, tmp_path / "command", *options)
    build_index(EmbeddingStore(unit_stores / store), tmp_path / "python", recipe)
    assert directory_bytes(tmp_path / "python") == directory_bytes(tmp_path / "command")


def test_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        index.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "0 is no xQG (default: 0.25 with mean, 0.01 with sum)" in shown
    assert "(default: mean)" in shown
    assert "scale the queries' mean and the mixed vectors to unit length (default: with mean and an encoder" in shown


# Outputs that exist


def test_existing_output(stores, vectors, tmp_path, capsys):
    output = tmp_path / "index"
    build(stores / "kept", output, "--alpha", 0.1)
    before = directory_bytes(output)
    capsys.readouterr()
    build(stores / "kept", output, "--alpha", 0.1)
    assert f"{output}: already there, made of this store with these options" in capsys.readouterr().err
    for options in (["--alpha", 0.9], ["--alpha", 0.1, "--shards", 2], ["--alpha", 0.1, "--route"]):
        with pytest.raises(XqgError, match=r"index exists\..*--overwrite"):
            build(stores / "kept", output, *options)
    assert directory_bytes(output) == before
    build(stores / "kept", output, "--alpha", 0.9, "--overwrite")
    assert_index(output, expected(vectors, 0.9))
    build(stores / "kept", output, "--alpha", 0.9, "--overwrite", "--route")
    assert sorted(os.listdir(output)) == ["ar", "fi", "ja", "mean", "plain", "xqg.json"]
    build(stores / "kept", output, "--alpha", 0.9, "--route")  # there already
    (output / "fi" / "run.txt").write_text("precious")
    with pytest.raises(XqgError, match=r"holds fi/run\.txt, which pyserini_xqg\.index did not write"):
        build(stores / "kept", output, "--alpha", 0.1, "--overwrite")
    (output / "fi" / "run.txt").unlink()
    build(stores / "kept", output, "--alpha", 0.1, "--overwrite")
    assert directory_bytes(output) == before
    assert not [name for name in os.listdir(tmp_path) if "partial" in name or "replaced" in name]


@pytest.mark.parametrize("options", [[], ["--route"]])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_failing_build_leaves_the_old_index_or_nothing(stores, tmp_path, monkeypatch, options, error):
    build(stores / "kept", tmp_path / "old", "--alpha", 0.1)
    before = directory_bytes(tmp_path / "old")

    def broken(*arguments):
        yield from list(blocks(*arguments, block_bytes=384))[:2]
        assert directory_bytes(tmp_path / "old") == before  # the old one is replaced at the end only
        raise error

    blocks = EmbeddingStore.blocks
    monkeypatch.setattr(EmbeddingStore, "blocks", broken)
    with pytest.raises(type(error)):
        build(stores / "kept", tmp_path / "old", "--overwrite", *options)
    with pytest.raises(type(error)):
        build(stores / "kept", tmp_path / "new", *options)
    assert directory_bytes(tmp_path / "old") == before
    assert [name for name in sorted(os.listdir(tmp_path)) if not name.endswith(".lock")] == ["old"]


@pytest.mark.parametrize("content", ["thesis.tex", "store.json", "xqg.json", "docid"])
@pytest.mark.parametrize("options", [[], ["--overwrite", "--route"]])
def test_only_our_own_indexes_are_replaced(stores, tmp_path, content, options):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / content).write_text("{}")
    before = directory_bytes(tmp_path)
    with pytest.raises(XqgError, match=r"home exists and is no xQG index|home exists\. Remove it"):
        build(stores / "kept", tmp_path / "home", *options)
    with pytest.raises(XqgError, match="is a file"):
        build(stores / "kept", tmp_path / "home" / content, *options)
    (tmp_path / "empty").mkdir()
    build(stores / "kept", tmp_path / "empty", *options)
    assert {name: data for name, data in directory_bytes(tmp_path).items() if name in before} == before


@pytest.mark.parametrize("output", ["store", "store/index", "."])
@pytest.mark.parametrize("source", ["--store", "--corpus"])
def test_index_and_store_in_one_another(stores, tiny_encoder, tmp_path, monkeypatch, output, source):
    """Otherwise --overwrite would take away hours of encoding, or they would be spent for an output that exists."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stores / "kept", "store")
    arguments = ["--store", "store", "--output", output, "--overwrite"]
    if source == "--corpus":
        arguments += ["--corpus", str(stores / "corpus.jsonl"), "--encoder", tiny_encoder]
    before = directory_bytes(tmp_path)
    with pytest.raises(XqgError, match=r"is what is read \(store\)|lies in store|holds store"):
        index.main(arguments)
    assert directory_bytes(tmp_path) == before


def test_second_build_of_the_same_output(stores, tmp_path):
    from pyserini_xqg.core.output import exclusive

    with (
        exclusive(tmp_path / ".index.lock", tmp_path / "index"),
        pytest.raises(XqgError, match="index: another process is writing it"),
    ):
        build(stores / "kept", tmp_path / "index")


def test_full_disk(stores, vectors, small_disk):
    with open(small_disk / "filler", "wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(4096))
    with pytest.raises(XqgError, match=r"index: the disk is full \(No space left.*Free some space or choose"):
        build(stores / "kept", small_disk / "index")
    assert [name for name in os.listdir(small_disk) if not name.endswith(".lock")] == ["filler"]
    (small_disk / "filler").unlink()
    build(stores / "kept", small_disk / "index")
    assert_index(small_disk / "index", expected(vectors))


# From a corpus in one go


def test_corpus_in_one_go_and_reuse_of_its_store(stores, vectors, tiny_encoder, tmp_path, capsys):
    corpus = stores / "corpus.jsonl"
    arguments = ["--corpus", str(corpus), "--encoder", tiny_encoder, *PLAIN, "--chunk-size", "6"]
    index.main([*arguments, "--output", f"{tmp_path / 'index'}/", "--alpha", "0.4"])
    assert_index(tmp_path / "index", expected(vectors, 0.4))
    store = tmp_path / "index-store"
    assert directory_bytes(store) == directory_bytes(stores / "sums")
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.iterdir()}
    capsys.readouterr()

    index.main([*arguments, "--output", str(tmp_path / "index"), "--alpha", "0.9", "--overwrite"])
    assert f"{store}: already there, a complete store of this corpus and encoder" in capsys.readouterr().err
    assert_index(tmp_path / "index", expected(vectors, 0.9))
    assert {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in store.iterdir()} == before

    index.main([*arguments, "--output", str(tmp_path / "third"), "--store", str(store), "--aggregate", "sum"])
    assert_index(tmp_path / "third", expected(vectors, 0.01, "sum"))
    assert not (tmp_path / "third-store").exists()


def test_nothing_is_encoded_for_an_output_that_exists(stores, tmp_path):
    build(stores / "sums", tmp_path / "index")
    before = directory_bytes(tmp_path)
    arguments = ["--corpus", str(stores / "corpus.jsonl"), "--encoder", "no/encoder"]
    with pytest.raises(XqgError, match=r"index exists\. Remove it"):
        index.main([*arguments, "--output", str(tmp_path / "index")])
    assert directory_bytes(tmp_path) == before


def test_corpus_in_one_go_with_another_store_there(stores, tiny_encoder, tmp_path):
    arguments = ["--corpus", str(stores / "corpus.jsonl"), "--encoder", tiny_encoder, *PLAIN]
    index.main([*arguments, "--output", str(tmp_path / "index")])
    before = directory_bytes(tmp_path)
    with pytest.raises(XqgError) as caught:
        index.main([*arguments, "--output", str(tmp_path / "index"), "--pooling", "mean", "--overwrite"])
    assert f"{tmp_path / 'index'}-store holds a finished embedding store with other settings: " in str(caught.value)
    assert "encoder.pooling is 'cls' there and 'mean' now" in str(caught.value)
    with pytest.raises(XqgError, match=r"corpus\.queries\.fi is \d+ there and None now"):
        index.main([*arguments, "--output", str(tmp_path / "index"), "--languages", "ja", "--overwrite"])
    assert directory_bytes(tmp_path) == before


def test_corpus_in_one_go_with_fewer_queries(stores, vectors, tiny_encoder, tmp_path):
    arguments = ["--corpus", str(stores / "corpus.jsonl"), "--encoder", tiny_encoder, *PLAIN, "--alpha", "0.5"]
    index.main([*arguments, "--output", str(tmp_path / "index"), "--max-queries", "2", "--languages", "ja,fi"])
    assert_index(tmp_path / "index", expected(vectors, 0.5, languages=["ja", "fi"], most=2))
    assert read_manifest(tmp_path / "index")["augmentation"]["max_queries"] == 2


def test_corpus_in_one_go_continues_a_half_done_store(stores, tiny_encoder, tmp_path, monkeypatch):
    arguments = ["--corpus", str(stores / "corpus.jsonl"), "--encoder", tiny_encoder, *PLAIN, "--chunk-size", "6"]
    original, calls = encoding.encode_chunk, []

    def interrupted(*chunk):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*chunk)

    monkeypatch.setattr(encoding, "encode_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.main([*arguments, "--output", str(tmp_path / "index")])
    assert not (tmp_path / "index").exists()
    index.main([*arguments, "--output", str(tmp_path / "index")])
    assert directory_bytes(tmp_path / "index-store") == directory_bytes(stores / "sums")
    assert len(calls) == 2 + 1 + 2  # four chunks, one of which was begun twice


# Faults


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--alpha", "1.5"], r"--alpha 1\.5: must be a number from 0 to 1"),
        (["--alpha", "-0.1"], r"--alpha -0\.1: must be"),
        (["--alpha", "nan"], "--alpha nan: must be"),
        (["--alpha", "inf"], "--alpha inf: must be"),
        (["--languages", "te"], r"no queries in te\. It has ar, fi, ja"),
        (["--languages", "te,ar,ko"], "no queries in te, ko"),
        (["--queries", "q.jsonl"], "--queries goes with --corpus"),
    ],
)
@pytest.mark.parametrize("route", [[], ["--route"]])
def test_bad_options(stores, tmp_path, options, message, route):
    with pytest.raises(XqgError, match=message):
        build(stores / "kept", tmp_path / "index", *options, *route)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("codes", "message"), [("xx", "unknown language code 'xx'"), ("ar,ar", "ar given more than once")]
)
def test_languages_that_are_none(codes, message):
    result = run_command("index", "--store", "s", "--output", "o", "--languages", codes)
    assert result.returncode == 2
    assert f"error: argument --languages: {message}" in result.stderr


def test_nothing_to_build_from(tmp_path, stores):
    with pytest.raises(XqgError, match="nothing to build from: pass --store"):
        index.main(["--output", str(tmp_path / "index")])
    with pytest.raises(XqgError, match="--corpus needs --encoder"):
        index.main(["--output", str(tmp_path / "index"), "--corpus", str(stores / "corpus.jsonl")])
    with pytest.raises(XqgError, match="no embedding store there"):
        build(tmp_path / "none", tmp_path / "index")
    assert os.listdir(tmp_path) == []


def test_route_without_any_query(tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"docid": "a", "text": "stone"}])
    store = str(tmp_path / "store")
    encode.main(["--corpus", str(corpus), "--encoder", tiny_encoder, *PLAIN, "--output", store])
    with pytest.raises(XqgError, match="no generated queries, so there is no language to route by"):
        build(store, tmp_path / "index", "--route")
    build(store, tmp_path / "index")
    assert read_manifest(tmp_path / "index")["counts"] == {"passages": 1, "passages_without_queries": 1, "queries": {}}


def test_unfinished_store(stores, tmp_path):
    store = shutil.copytree(stores / "kept", tmp_path / "store")
    STORE_KIND.write(store, {**STORE_KIND.read(store), "complete": False})
    with pytest.raises(XqgError, match="unfinished, 20 of 20 passages are encoded"):
        build(store, tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["passages.npy", "sum.fi.npy", "count.ja.npy", "vectors.ar.npy", "docids.txt"])
def test_truncated_store(stores, tmp_path, name):
    store = shutil.copytree(stores / "kept", tmp_path / "store")
    size = (store / name).stat().st_size
    os.truncate(store / name, size - 4)
    with pytest.raises(XqgError, match=rf"{name}: has {size - 4:,} bytes, expected {size:,}"):
        build(store, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_bad_input_ends_in_one_line(stores, tmp_path):
    result = run_command("index", "--store", stores / "sums", "--output", tmp_path / "index", "--alpha", "2")
    assert_one_error(result, "--alpha 2: must be a number from 0 to 1")
    assert os.listdir(tmp_path) == []

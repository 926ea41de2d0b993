"""Shards of a corpus: each encodes its own part, and merged they are the store of a single process, byte for byte."""

import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
from helpers import (
    LANGUAGES,
    assert_one_error,
    corpus_records,
    directory_bytes,
    run_command,
    run_module,
    write_jsonl,
)

from pyserini_xqg import encode, index
from pyserini_xqg.core import ray as engines
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.vectors import encoding
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import StoreWriter, merge_shards
from pyserini_xqg.vectors.verify import find_damage

PLAIN = ("--device", "cpu", "--dtype", "float32")
KEPT = {
    "sums": (),
    "vectors": ("--keep-query-vectors",),
    "float16": ("--store-dtype", "float16"),
    "fused sum": ("--fuse", "sum"),
    "fused mean": ("--fuse", "mean"),
}


def encode_main(corpus, encoder, output, *options):
    encode.main(["--corpus", str(corpus), "--encoder", encoder, "--output", str(output), *PLAIN, *map(str, options)])
    return output


def encode_shards(corpus, encoder, directory, number, *options) -> list:
    return [
        encode_main(corpus, encoder, directory / f"shard{shard}", "--shard-id", shard, "--shard-num", number, *options)
        for shard in range(number)
    ]


@pytest.mark.parametrize(
    ("passages", "chunk_size", "number"),
    [(1, 1, 1), (25, 10, 3), (25, 10, 7), (24, 8, 3), (1000, 7, 13), (5, 1024, 2)],
)
def test_rows_are_whole_chunks_and_cover_everything_once(passages, chunk_size, number):
    rows = [Shard(shard, number).rows(passages, chunk_size) for shard in range(number)]
    assert rows[0][0] == 0
    assert rows[-1][1] == passages
    assert all(one[1] == other[0] for one, other in pairwise(rows))
    assert all(first <= last and first % chunk_size == 0 for first, last in rows if first != passages)
    chunks = [-(-(last - first) // chunk_size) for first, last in rows]
    assert max(chunks) - min(chunks) <= 1


@pytest.mark.parametrize("kept", KEPT)
def test_merged_shards_are_the_store_of_one_process(tiny_encoder, tiny_corpus, tmp_path, kept):
    """Centroids too: the chunks' sums are added in their order."""
    options = ("--chunk-size", 4, *KEPT[kept])
    whole = encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole", *options)
    shards = encode_shards(tiny_corpus, tiny_encoder, tmp_path, 4, *options)
    for shard in shards:
        assert list(find_damage(shard)) == []
    merge_shards(shards[::-1], tmp_path / "merged")
    assert directory_bytes(tmp_path / "merged") == directory_bytes(whole)
    both = [EmbeddingStore(tmp_path / name).centroids(LANGUAGES) for name in ("merged", "whole")]
    assert all(np.array_equal(both[0][code], both[1][code]) for code in LANGUAGES)


def test_more_shards_than_chunks(tiny_encoder, tiny_corpus, tmp_path):
    options = ("--chunk-size", 10, "--keep-query-vectors")
    whole = encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole", *options)
    shards = encode_shards(tiny_corpus, tiny_encoder, tmp_path, 5, *options)
    assert [json.loads((shard / "store.json").read_text())["shard"]["rows"] for shard in shards] == [0, 10, 0, 10, 3]
    assert list(find_damage(shards[0])) == []
    merge_shards(shards, tmp_path / "merged")
    assert directory_bytes(tmp_path / "merged") == directory_bytes(whole)


def test_a_shard_is_a_part_of_the_whole(tiny_encoder, tiny_corpus, tmp_path):
    options = ("--chunk-size", 4, "--keep-query-vectors")
    whole = EmbeddingStore(encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole", *options))
    shard = encode_shards(tiny_corpus, tiny_encoder, tmp_path, 3, *options)[1]
    manifest = json.loads((shard / "store.json").read_text())
    counts = {code: np.load(shard / f"count.{code}.npy") for code in LANGUAGES}
    queries = {code: int(count.sum()) for code, count in counts.items()}
    assert manifest["shard"] == {"id": 1, "num": 3, "first": 8, "rows": 8, "queries": queries}
    assert manifest["corpus"] == whole.manifest["corpus"]
    assert np.load(shard / "passages.npy").tobytes() == whole.array("passages")[8:16].tobytes()
    for code in LANGUAGES:
        before = int(whole.array(f"count.{code}")[:8].sum())
        vectors = whole.array(f"vectors.{code}")[before : before + queries[code]]
        assert np.load(shard / f"vectors.{code}.npy").tobytes() == vectors.tobytes()


def test_a_shard_continues_where_it_stopped(tiny_encoder, tmp_path, capsys, monkeypatch):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(40))
    options = ("--chunk-size", 3, "--shard-id", 1, "--shard-num", 2, "--keep-query-vectors")
    undisturbed = encode_main(corpus, tiny_encoder, tmp_path / "undisturbed", *options)
    calls, original = [], encoding.encode_chunk

    def interrupted(*chunk):
        calls.append(chunk[1][0].docid)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return original(*chunk)

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encode_main(corpus, tiny_encoder, tmp_path / "store", *options)
    assert calls == ["p21", "p24", "p27", "p30"]  # nothing of the other shard is encoded
    with pytest.raises(XqgError, match=r"store: shard 1 is unfinished, 9 of 19 passages"):
        merge_shards([tmp_path / "store"], tmp_path / "merged")
    capsys.readouterr()
    encode_main(corpus, tiny_encoder, tmp_path / "store", *options)
    assert "continues after 9 of 19 passages" in capsys.readouterr().err
    assert directory_bytes(tmp_path / "store") == directory_bytes(undisturbed)


# The checking pass, once for all shards on a disk


def test_the_corpus_is_checked_once_until_it_changes(tiny_encoder, tiny_corpus, tmp_path, capsys):
    first, second = encode_shards(tiny_corpus, tiny_encoder, tmp_path, 2, "--chunk-size", 4)
    assert capsys.readouterr().err.count("unchanged since it was checked") == 1
    both = [json.loads((shard / "store.json").read_text())["corpus"] for shard in (first, second)]
    assert both[0] == both[1]
    shutil.rmtree(second)
    records = corpus_records(23)
    records[20]["text"] = records[20]["text"][::-1]  # as many bytes
    write_jsonl(tiny_corpus, records)
    encode_main(tiny_corpus, tiny_encoder, second, "--chunk-size", 4, "--shard-id", 1, "--shard-num", 2)
    assert "unchanged" not in capsys.readouterr().err
    with pytest.raises(XqgError, match=r"shard1: no shard of the same store as .*shard0: corpus\.sha256 is "):
        merge_shards([first, second], tmp_path / "merged")
    encode_main(
        tiny_corpus, tiny_encoder, tmp_path / "fi", "--languages", "fi", "--shard-id", 0, "--shard-num", 2
    )  # fmt: skip
    assert "unchanged" not in capsys.readouterr().err


# What does not make a store


@pytest.fixture
def shards(tiny_encoder, tiny_corpus, tmp_path):
    return encode_shards(tiny_corpus, tiny_encoder, tmp_path, 3, "--chunk-size", 4)


def refused(shards, output) -> str:
    with pytest.raises(XqgError) as caught:
        merge_shards(shards, output)
    assert not output.exists()
    return str(caught.value)


def test_missing_doubled_and_foreign_shards(shards, tiny_encoder, tiny_corpus, tmp_path):
    output = tmp_path / "merged"
    message = refused(shards[:2], output)
    assert message.startswith("shard 2 of 3 is missing")
    assert "encode --shard-id 2 --shard-num 3" in message
    assert refused([shards[1]], output).startswith("shard 0, 2 of 3 is missing")
    shutil.copytree(shards[1], tmp_path / "copy")
    message = refused([*shards, tmp_path / "copy"], output)
    assert message.startswith(f"{tmp_path / 'copy'}: shard 1 again, after {shards[1]}")
    assert refused([], output).startswith("no shards to merge")
    assert "whole: a whole store, not a shard" in refused(
        [shards[0], encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole", "--chunk-size", 4)], output
    )
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    assert "home: no embedding store there (store.json is missing)" in refused([tmp_path / "home"], output)
    with pytest.raises(XqgError, match="home exists and is no embedding store"):
        merge_shards(shards, tmp_path / "home")


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--shard-num", "2"], "shard.num is 3 there and 2 here"),
        (["--chunk-size", "5"], "chunk_size is 4 there and 5 here"),
        (["--pooling", "mean"], "encoder.pooling is 'cls' there and 'mean' here"),
        (["--store-dtype", "float16"], "dtype is 'float32' there and 'float16' here"),
        (["--fuse", "sum"], "fuse is None there and 'sum' here"),
        (["--max-queries", "1"], "max_queries is None there and 1 here"),
        (["--dtype", "bfloat16"], "precision is 'float32' there and 'bfloat16' here"),
    ],
)
def test_shards_of_other_settings(shards, tiny_encoder, tiny_corpus, tmp_path, options, difference):
    other = tmp_path / "other"
    encode_main(
        tiny_corpus, tiny_encoder, other, "--chunk-size", 4, "--shard-num", 3, "--shard-id", 1, *options
    )  # fmt: skip
    message = refused([shards[0], other, shards[2]], tmp_path / "merged")
    assert message.startswith(f"{other}: no shard of the same store as {shards[0]}: ")
    assert difference in message


@pytest.mark.parametrize("name", ["passages.npy", "sum.fi.npy", "docids.txt"])
def test_a_damaged_shard_is_named(shards, tmp_path, name):
    path = shards[1] / name
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(XqgError) as caught:
        merge_shards(shards, tmp_path / "merged")
    assert str(caught.value).startswith(f"{path}: damaged in the chunk of passages 4 to 7")
    data[-1] ^= 1
    path.write_bytes(data)
    merge_shards(shards, tmp_path / "merged")  # continues, for the shards are the same
    assert list(find_damage(tmp_path / "merged")) == []


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_an_interrupted_merge_is_continued(shards, tmp_path, monkeypatch, capsys, stop):
    merge_shards(shards, tmp_path / "undisturbed")
    original, commits = StoreWriter.commit, []

    def interrupted(self, *arguments):
        commits.append(1)
        if len(commits) > stop:
            raise KeyboardInterrupt
        original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(shards, tmp_path / "merged")
    with pytest.raises(XqgError, match=f"unfinished, {4 * stop} of 23 passages"):
        EmbeddingStore(tmp_path / "merged")
    merge_shards(shards, tmp_path / "merged")
    assert directory_bytes(tmp_path / "merged") == directory_bytes(tmp_path / "undisturbed")
    capsys.readouterr()
    merge_shards(shards, tmp_path / "merged")
    assert "merged: already there, made of these shards" in capsys.readouterr().err
    merge_shards(shards, tmp_path / "merged", overwrite=True)
    assert directory_bytes(tmp_path / "merged") == directory_bytes(tmp_path / "undisturbed")


def test_index_of_a_shard_is_refused(shards, tmp_path):
    with pytest.raises(XqgError, match=r"shard1: shard 1 of 3 .*, 8 of 23 passages.*store merge <shards> --output"):
        index.main(["--store", str(shards[1]), "--output", str(tmp_path / "index")])
    assert not (tmp_path / "index").exists()


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard-id", "3", "--shard-num", "3"], "--shard-id 3: with --shard-num 3, shards are numbered 0 to 2"),
        (["--shard-id", "-1", "--shard-num", "3"], "--shard-id -1: with --shard-num 3, shards are numbered 0 to 2"),
        (["--shard-id", "1"], "--shard-id 1: with --shard-num 1, shards are numbered 0 to 0"),
        (["--shard-num", "3"], "--shard-num 3 needs --shard-id, 0 to 2"),
        (["--engine", "ray", "--shard-id", "0", "--shard-num", "3"], "--engine ray works on all shards"),
        (["--ray-address", "10.0.0.1:6379"], "--ray-address goes with --engine ray"),
    ],
)
def test_options_that_make_no_sense(tiny_encoder, tiny_corpus, tmp_path, options, message):
    arguments = ["--corpus", tiny_corpus, "--encoder", tiny_encoder, "--output", tmp_path / "s", *options]
    assert_one_error(run_command("encode", *arguments), message)
    assert not (tmp_path / "s").exists()


def test_shard_zero_of_one_is_the_whole(tiny_encoder, tiny_corpus, tmp_path):
    whole = encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole")
    same = encode_main(tiny_corpus, tiny_encoder, tmp_path / "same", "--shard-id", 0, "--shard-num", 1)
    assert directory_bytes(same) == directory_bytes(whole)


def test_ray_that_is_not_installed(tiny_encoder, tiny_corpus, tmp_path):
    """A module that cannot be imported stands before the real one, if there is one."""
    (tmp_path / "path" / "ray").mkdir(parents=True)
    (tmp_path / "path" / "ray" / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")")
    arguments = ["--corpus", tiny_corpus, "--encoder", tiny_encoder, "--output", tmp_path / "s", "--engine", "ray"]
    paths = os.pathsep.join([str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = run_module("pyserini_xqg.encode", *arguments, PYTHONPATH=paths)
    assert_one_error(result, "--engine ray: Ray cannot be imported", "pip install 'ray>=2.9,<3'")
    assert not (tmp_path / "s").exists()


def test_progress_of_a_worker(monkeypatch, capsys):
    monkeypatch.setattr(engines, "REPORT_SECONDS", 0)
    report = engines.ProgressLines("shard 3 of 8")
    report(1024, 50000, 3000)
    report(2048, 50000, 500)
    lines = capsys.readouterr().err.splitlines()
    assert report.done == 3500
    assert lines[0].startswith("shard 3 of 8: 1,024 of 50,000 passages, ")
    assert lines[1].startswith("shard 3 of 8: 2,048 of 50,000 passages, ")
    assert all(line.endswith(" texts/s") for line in lines)


# One fused vector a passage


@pytest.mark.parametrize("fuse", ["sum", "mean"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_index_of_a_fused_store(tiny_encoder, tiny_corpus, tmp_path, fuse, dtype):
    whole = encode_main(tiny_corpus, tiny_encoder, tmp_path / "whole")
    fused = encode_main(tiny_corpus, tiny_encoder, tmp_path / "fused", "--fuse", fuse, "--store-dtype", dtype)
    kept = {path.name for path in fused.iterdir()} - {".lock"}
    centroids = {f"centroid.{code}.npy" for code in LANGUAGES}
    arrays = {"passages.npy", f"{fuse}.all.npy", "count.all.npy"}
    assert kept == {"store.json", "chunks.jsonl", "docids.txt", *arrays, *centroids}
    assert all(
        np.array_equal(a, b)
        for a, b in zip(*(EmbeddingStore(store).centroids(LANGUAGES).values() for store in (whole, fused)), strict=True)
    )
    counts = sum(EmbeddingStore(whole).array(f"count.{code}") for code in LANGUAGES)
    assert EmbeddingStore(fused).array("count.all").tolist() == counts.tolist()
    vectors, counted = [], []
    for store in (whole, fused):
        output = tmp_path / f"{store.name}-index"
        options = ["--aggregate", fuse, "--alpha", "0.3", "--languages", "ja,ar,fi"]
        index.main(["--store", str(store), "--output", str(output), *options])
        counted.append(json.loads((output / "xqg.json").read_text())["counts"])
        counted[-1]["queries"] = dict(sorted(counted[-1]["queries"].items()))
        vectors.append(np.frombuffer((output / "index").read_bytes()[-23 * 32 * 4 :], dtype=np.float32))
    assert counted[0] == counted[1]
    np.testing.assert_allclose(vectors[1], vectors[0], rtol=0, atol=1e-6 if dtype == "float32" else 5e-3)


@pytest.mark.parametrize(
    ("fuse", "options", "refusal"),
    [
        ("sum", ["--aggregate", "mean"], "--aggregate mean"),
        ("mean", ["--aggregate", "sum"], "--aggregate sum"),
        ("mean", ["--route"], "--route"),
        ("mean", ["--languages", "fi,ja"], "--languages fi,ja"),
        ("mean", ["--aggregate", "mean", "--max-queries", "1"], "--max-queries 1"),
        (
            "mean",
            ["--aggregate", "sum", "--route", "--languages", "ar"],
            "--aggregate sum and --route and --languages ar",
        ),
    ],
)
def test_what_a_fused_store_cannot_give(tiny_encoder, tiny_corpus, tmp_path, fuse, options, refusal):
    fused = encode_main(tiny_corpus, tiny_encoder, tmp_path / "fused", "--fuse", fuse)
    with pytest.raises(XqgError) as caught:
        index.main(["--store", str(fused), "--output", str(tmp_path / "index"), *options])
    assert f"keeps one fused {fuse} over all queries in ar, fi, ja, so {refusal} cannot be had from it" in str(
        caught.value
    )
    assert f"Use --aggregate {fuse} over all languages, or encode again without --fuse" in str(caught.value)
    assert not (tmp_path / "index").exists()


def test_fuse_from_corpus_to_index(tiny_encoder, tiny_corpus, tmp_path):
    arguments = ["--corpus", str(tiny_corpus), "--encoder", tiny_encoder, "--output", str(tmp_path / "index")]
    for refused_ in ([], ["--aggregate", "mean"], ["--aggregate", "sum", "--route"]):  # before anything is encoded
        with pytest.raises(XqgError, match=r"--fuse sum makes a store for --aggregate sum"):
            index.main([*arguments, "--fuse", "sum", *refused_])
    assert not (tmp_path / "index-store").exists()
    index.main([*arguments, "--fuse", "sum", "--aggregate", "sum"])
    assert EmbeddingStore(tmp_path / "index-store").fuse == "sum"
    assert json.loads((tmp_path / "index" / "xqg.json").read_text())["augmentation"]["aggregate"] == "sum"
    with pytest.raises(XqgError, match="--fuse keeps one vector for all queries, --keep-query-vectors each one"):
        index.main([*arguments, "--fuse", "mean", "--keep-query-vectors"])


def test_fuse_without_any_query(tiny_encoder, tmp_path):
    records = [{"docid": str(row), "text": f"stone bread {row}"} for row in range(3)]
    corpus = write_jsonl(tmp_path / "a.jsonl", records)
    store = encode_main(corpus, tiny_encoder, tmp_path / "store", "--fuse", "sum")
    assert list(find_damage(store)) == []
    index.main(["--store", str(store), "--output", str(tmp_path / "index")])
    assert json.loads((tmp_path / "index" / "xqg.json").read_text())["counts"]["passages_without_queries"] == 3


def test_formula_of_the_disk(tiny_encoder, tiny_corpus, tmp_path):
    """N x D x b x (1 + L) + 4 x N x L, and fused N x D x b x 2 + 4 x N, plus centroids, headers and docids."""
    passages, dimension, headers, languages = 23, 32, 128, 3
    for options, arrays, counts in (((), 4, 3), (("--fuse", "sum"), 2, 1)):
        name = f"store{arrays}"
        store = encode_main(tiny_corpus, tiny_encoder, tmp_path / name, "--store-dtype", "float16", *options)
        found = sum(path.stat().st_size for path in store.glob("*.npy"))
        centroids = languages * (dimension * 8 + headers)  # of one chunk
        vectors = passages * dimension * 2 * arrays + 4 * passages * counts + headers * (arrays + counts)
        assert found == vectors + centroids

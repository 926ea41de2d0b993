"""Retrievers in processes of their own: several at once, and in stock Pyserini's classes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_one_error, command_environment, run_module, write_jsonl
from trainings import build_plain_encoder, example_records, record_of

from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig

pytestmark = pytest.mark.integration

OPTIONS = [
    *("--held-out", "0.2", "--steps", "24", "--eval-steps", "3", "--batch-size", "4", "--log-steps", "1"),
    *("--learning-rate", "3e-3", "--max-length", "24", "--device", "cpu", "--dtype", "float32", "--threads", "1"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("pairs") / "data.jsonl", example_records(20))


@pytest.fixture(scope="module")
def plain_encoder(tmp_path_factory):
    return build_plain_encoder(tmp_path_factory.mktemp("plain-encoder"))


def command(pairs, model, output, *options) -> list[str]:
    return list(map(str, ["retriever", "--data", pairs, "--model", model, "--output", output, *OPTIONS, *options]))


@pytest.mark.parametrize("options", [[], ["--device-batch-size", "1"]], ids=str)
def test_two_processes_train_as_one(pairs, plain_encoder, tmp_path, options):
    """Without dropout and hard negatives: questions meet the passages of both processes."""
    data = write_jsonl(tmp_path / "data.jsonl", example_records(12, negatives=0, languages=["fi"]))
    options = [*options, "--batch-size", "4", "--steps", "6", "--held-out", pairs]
    for name, launcher in (("one", []), ("two", ["torch.distributed.run", "--nproc-per-node", "2", "-m"])):
        result = subprocess.run(
            [sys.executable, "-m", *launcher, "pyserini_xqg.train",
             *command(data, plain_encoder, tmp_path / name, *options)],
            capture_output=True, text=True, timeout=400, env=command_environment(OMP_NUM_THREADS="1"),
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("step 6 of 6") == 1
    one, two = record_of(tmp_path / "one"), record_of(tmp_path / "two")
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-3)
    assert two["evaluations"][0] == one["evaluations"][0]


@pytest.fixture(scope="module")
def trained(pairs, tiny_encoder, tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained") / "model"
    options = ["--pooling", "mean", "--l2-norm", "--temperature", "0.1", "--steps", "3"]
    result = run_module("pyserini_xqg.train", *command(pairs, tiny_encoder, directory, *options))
    assert result.returncode == 0, result.stderr
    return directory


TEXTS = ["old stone bridges", "bread and fish and paper by the river"]


def test_stock_pyserini_loads_it(trained, registered):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    ours = Embedder(
        EncoderConfig(str(trained), pooling="mean", l2_norm=True, max_length=24, query_max_length=32), "cpu"
    )
    documents = AutoDocumentEncoder(str(trained), device="cpu", pooling="mean", l2_norm=True)
    queries = AutoQueryEncoder(str(trained), device="cpu", pooling="mean", l2_norm=True)
    titles = ["a town", "the river"]
    np.testing.assert_allclose(
        documents.encode(TEXTS, titles, max_length=24), ours.embed_passages(TEXTS, titles), atol=1e-5
    )
    found = np.array([queries.encode(text) for text in TEXTS])
    np.testing.assert_allclose(found, ours.embed_queries(TEXTS), atol=1e-5)


def test_the_model_goes_through_encode_index_search_and_mine(trained, pairs, tmp_path, registered):
    """And what is mined, from its index and from Lucene's, trains again."""
    passages = {line["positive_passages"][0]["docid"]: line["positive_passages"][0] for line in example_records(20)}
    corpus = write_jsonl(tmp_path / "corpus.jsonl", list(passages.values()))
    result = run_module(
        "pyserini_xqg.index", "--corpus", corpus, "--output", tmp_path / "index", "--encoder", trained, "--pooling",
        "mean", "--l2-norm", "--max-length", "24", "--query-max-length", "32", "--alpha", "0", "--device", "cpu",
        "--dtype", "float32",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    records = example_records(20)
    (tmp_path / "topics.tsv").write_text("".join(f"{one['query_id']}\t{one['query']}\n" for one in records))
    result = run_module(
        "pyserini_xqg.search", "--index", tmp_path / "index", "--topics", tmp_path / "topics.tsv", "--output",
        tmp_path / "run.txt", "--hits", "20", "--device", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rankings: dict[str, list[str]] = {}
    for line in (tmp_path / "run.txt").read_text().splitlines():
        rankings.setdefault(line.split()[0], []).append(line.split()[2])
    found = mined(tmp_path / "mined.jsonl", pairs, corpus, tmp_path / "index")
    for record in found:
        own = {passage["docid"] for passage in record["positive_passages"]}
        ranked = [docid for docid in rankings[record["query_id"]][1:10] if docid not in own]
        assert [passage["docid"] for passage in record["negative_passages"]] == ranked
    assert mined(tmp_path / "again.jsonl", pairs, corpus, tmp_path / "index") == found
    result = run_module(
        "pyserini_xqg.train", *command(tmp_path / "mined.jsonl", trained, tmp_path / "next", "--steps", "1")
    )
    assert result.returncode == 0, result.stderr

    from pyserini.index.lucene import LuceneIndexer
    from pyserini.search.lucene import LuceneSearcher

    indexer = LuceneIndexer(str(tmp_path / "lucene"))
    indexer.add_batch_dict(
        [{"id": one["docid"], "contents": f"{one['title']} {one['text']}"} for one in passages.values()]
    )
    indexer.close()
    english = write_jsonl(
        tmp_path / "english.jsonl", [{**one, "query": one["positive_passages"][0]["text"]} for one in records[:6]]
    )
    searcher = LuceneSearcher(str(tmp_path / "lucene"))
    searcher.set_bm25(0.9, 0.4)
    for record in mined(tmp_path / "bm25.jsonl", english, corpus, tmp_path / "lucene"):
        ranked = [hit.docid for hit in searcher.search(record["query"], 10)]
        own = record["positive_passages"][0]["docid"]
        assert ranked[0] == own
        assert [one["docid"] for one in record["negative_passages"]] == ranked[1:]


def mined(output, data, corpus, index):
    result = run_module(
        "pyserini_xqg.mine", "--data", data, "--corpus", corpus, "--index", index, "--output", output, "--depth", "10",
        "--skip", "1", "--number", "9", "--device", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_routed_indexes_and_others_encoders_are_refused(trained, pairs, built, tmp_path):
    options = ["--data", pairs, "--corpus", tmp_path / "corpus.jsonl", "--output", tmp_path / "out.jsonl"]
    write_jsonl(tmp_path / "corpus.jsonl", [{"docid": "1", "text": "a"}])
    result = run_module("pyserini_xqg.mine", *options, "--index", built.routed)
    assert_one_error(result, "a routed index (ar, fi, ja). Mine each language's questions from its own, such as")
    result = run_module("pyserini_xqg.mine", *options, "--index", built.plain, "--encoder", trained)
    assert result.returncode == 1
    assert "error: " in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out.jsonl").exists()

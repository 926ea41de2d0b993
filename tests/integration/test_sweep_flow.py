"""A sweep killed at random moments, and Pyserini's searcher against the exact search."""

import multiprocessing
import random
import signal
import time

import pytest
from helpers import LANGUAGES, corpus_records, directory_bytes, run_module, sentence, write_jsonl

from pyserini_xqg import encode
from pyserini_xqg.sweep import __main__ as sweep
from pyserini_xqg.text.runs import read_run

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def inputs(tiny_encoder, tmp_path_factory):
    """Options for a store of 120 passages, and 12 topics in three languages."""
    directory = tmp_path_factory.mktemp("sweep-inputs")
    corpus = write_jsonl(directory / "corpus.jsonl", corpus_records(120))
    encode.main(
        [
            *("--corpus", str(corpus), "--encoder", tiny_encoder, "--pooling", "mean", "--l2-norm"),
            *("--output", str(directory / "store"), "--device", "cpu", "--dtype", "float32", "--keep-query-vectors"),
        ]
    )
    chance = random.Random(9)
    lines = [(f"t{row}", LANGUAGES[row % 3], f"p{chance.randrange(120)}") for row in range(12)]
    files = {
        "topics.tsv": [f"{topic}\t{sentence(code, 4, chance)}\n" for topic, code, _ in lines],
        "languages.tsv": [f"{topic}\t{code}\n" for topic, code, _ in lines],
        "qrels.txt": [f"{topic} 0 {docid} 1\n" for topic, _, docid in lines],
    }
    for name, some in files.items():
        (directory / name).write_text("".join(some), encoding="utf-8")
    return [
        *("--store", str(directory / "store"), "--topics", str(directory / "topics.tsv"), "--device", "cpu"),
        *("--topic-languages", str(directory / "languages.tsv"), "--qrels", str(directory / "qrels.txt")),
        *("--measures", "R@10"),
    ]


GRID = ("--alpha", "0:1:0.05", "--max-queries", "1", "2", "all", "--top-fraction", "none", "0.8")


def sweep_in_a_process(inputs, output):
    sweep.main([*inputs, *GRID, "--cross-validate", "alpha", "--output", str(output)])


def test_kill_nine_at_random_moments(inputs, tmp_path):
    sweep_in_a_process(inputs, tmp_path / "whole")
    # Forked from a process that has the libraries already: kills hit the work, not the imports.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["pyserini_xqg.sweep.reporting", "pyserini_xqg.sweep.search", "torch", "faiss", "scipy.stats",
         "transformers.models.bert.modeling_bert", "matplotlib.figure", "ir_measures"]
    )  # fmt: skip
    chance, output = random.Random(7), tmp_path / "sweep"
    total = len(list((tmp_path / "whole" / "runs").iterdir()))
    done = []
    for target in [0, *sorted(chance.sample(range(1, total - 6), 4)), total]:
        process = processes.Process(target=sweep_in_a_process, args=(inputs, output))
        process.start()
        while process.is_alive() and len(list(output.glob("runs/*.txt"))) < target:
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.02)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        for path in output.glob("runs/*.txt"):  # each is whole
            assert path.read_bytes() == (tmp_path / "whole" / "runs" / path.name).read_bytes()
        done.append(len(list(output.glob("runs/*.txt"))))
    assert done == sorted(done) and 0 < done[2] < total
    sweep_in_a_process(inputs, output)
    assert directory_bytes(output) == directory_bytes(tmp_path / "whole")


def test_pyserini_searcher_gives_the_run_of_the_exact_search(inputs, tmp_path):
    grid = ("--alpha", "0.01", "0.6", "--aggregate", "mean", "--route", "no", "yes", "--normalize", "no", "yes",
            "--threshold", "none", "0.5", "--hits", "50")  # fmt: skip
    (tmp_path / "pyserini").mkdir()
    (tmp_path / "pyserini" / ".sweep.json.7.partial").touch()  # what one leaves that was killed on its start
    for searcher in ("pyserini", "faiss", "pyserini"):
        options = [*inputs, *grid, "--output", tmp_path / searcher, "--searcher", searcher]
        result = run_module("pyserini_xqg.sweep", *options)
        assert result.returncode == 0, result.stderr
        if searcher == "faiss":  # what one leaves that was killed while it searched
            (tmp_path / "pyserini" / ".index" / ".index.partial" / "ar").mkdir(parents=True)
            (tmp_path / "pyserini" / "runs" / "none.txt").unlink()
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "pyserini" / ".index").exists()
    names = sorted(path.name for path in (tmp_path / "faiss" / "runs").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "pyserini" / "runs").iterdir()) and len(names) == 18
    for name in names:
        one, other = (read_run(tmp_path / searcher / "runs" / name) for searcher in ("faiss", "pyserini"))
        assert list(one) == list(other)
        for topic, ranking in one.items():
            assert list(ranking.values()) == list(other[topic].values())
            cut = min(ranking.values())  # which of those that tie with the last get a place is FAISS's choice
            assert {d: s for d, s in ranking.items() if s > cut} == {d: s for d, s in other[topic].items() if s > cut}
    assert (tmp_path / "faiss" / "table.csv").read_bytes() == (tmp_path / "pyserini" / "table.csv").read_bytes()

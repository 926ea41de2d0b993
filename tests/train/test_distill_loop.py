"""The parts of a distillation's loop: losses, batches, cut pieces."""

import math

import numpy as np
import pytest
import torch

from pyserini_xqg.train.distill_loop import (
    BatchSampler,
    DistillData,
    PieceSplitter,
    TextCollator,
    Texts,
    distillation_loss,
    pooled,
)
from pyserini_xqg.train.distill_options import LossOptions


def unit(rows, dimension, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reference_loss(x, y, rows, settings, others, scores):
    """The definition, text by text."""
    cosine = contrastive = divergence = 0.0
    for i in range(len(x)):
        cosine += 1 - x[i] @ y[i]
        candidates = [j for j in range(len(x)) if j == i or rows[j] != rows[i]]
        weights = {j: math.exp(settings.scale * (x[i] @ y[j])) for j in candidates}
        rest = sum(math.exp(settings.scale * (x[i] @ other)) for other in others)
        contrastive -= math.log(weights[i] / (sum(weights.values()) + rest))
        expected = {j: math.exp(scores[i][j]) for j in candidates}
        for j in candidates:
            p, q = expected[j] / sum(expected.values()), weights[j] / sum(weights.values())
            divergence += p * math.log(p / q)
    return (
        settings.cosine_weight * cosine + settings.contrastive_weight * contrastive + settings.kl_weight * divergence
    ) / len(x)


def test_the_loss_is_its_definition():
    settings = LossOptions(cosine_weight=1.5, contrastive_weight=0.7, kl_weight=0.3, scale=8.0)
    x, y, others = unit(5, 6, 0), unit(5, 6, 1), unit(3, 6, 2)
    y[3], rows = y[1], np.array([0, 1, 2, 1, 4])  # two texts of the same English side
    scores = np.random.default_rng(3).normal(size=(5, 5))
    found = distillation_loss(
        *(torch.from_numpy(values) for values in (x, y, rows[:, None] == rows[None, :])),
        settings,
        torch.from_numpy(others),
        torch.from_numpy(scores).float(),
    )
    assert found.item() == pytest.approx(reference_loss(x, y, rows, settings, others, scores), rel=1e-5)


def test_vectors_are_pooled_without_padding():
    class Model:
        def __call__(self, input_ids, attention_mask):
            return (torch.stack([input_ids.float(), input_ids.float() ** 2], dim=-1),)

    inputs = {"input_ids": torch.tensor([[3, 1, 9], [2, 2, 4]])}
    inputs["attention_mask"] = torch.tensor([[1, 1, 0], [1, 1, 1]])
    mean = np.array([[2, 5], [8 / 3, 8]])
    np.testing.assert_allclose(
        pooled(Model(), inputs, "mean"), mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-6
    )
    first = np.array([[3, 9], [2, 4]]) / np.sqrt([[90], [20]])
    np.testing.assert_allclose(pooled(Model(), inputs, "cls"), first, rtol=1e-6)


def texts(number, seed):
    chance = np.random.default_rng(seed)
    ids = [np.arange(length, dtype=np.int32) for length in chance.integers(3, 40, number)]
    return Texts(ids, np.arange(number))


def test_an_epoch_is_every_translation_once_in_batches_of_like_lengths():
    data = DistillData(texts(130, 0), texts(90, 1))
    sampler = BatchSampler(data, 8, 0.2, seed=3)
    numbers = list(sampler)
    assert len(numbers) == len(sampler) == (16 + 4) * 8
    batches = [numbers[at : at + 8] for at in range(0, len(numbers), 8)]
    english = [batch for batch in batches if batch[0] >= 130]
    assert len(english) == 4
    assert all(len({number >= 130 for number in batch}) == 1 for batch in batches)
    assert len(set(numbers)) == len(numbers)
    spread = np.mean([np.ptp([len(data[number][0]) for number in batch]) for batch in batches])
    assert spread < 5  # of 37
    assert numbers == list(BatchSampler(data, 8, 0.2, seed=3))
    assert numbers != list(BatchSampler(data, 8, 0.2, seed=4))
    sampler.set_epoch(1)
    assert {number // len(data) for number in sampler} == {1}
    assert [data[number][1] for number in list(sampler)[:3]] != [data[number][1] for number in numbers[:3]]
    assert len(BatchSampler(data, 8, 0.0, seed=3)) == 16 * 8


def test_batches_are_padded():
    batch = TextCollator(7)([(np.array([1, 2, 3]), 5), (np.array([4]), 2)])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 7, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["rows"].tolist() == [5, 2]


def test_cut_pieces_spell_the_same_word():
    pieces = ["[PAD]", "[SEP]", "river", "ri", "##ver", "r", "##iver", "##v", "##er", "bread"]
    splitter = PieceSplitter(pieces, 0.5, 5000, seed=1)
    ids = np.array([2, 9, 4, 1] * 200, dtype=np.int32)
    cut = splitter(ids, 3)

    def spell(tokens):
        return "".join(
            " " * (not pieces[token].startswith("##")) + pieces[token].removeprefix("##") for token in tokens
        )

    assert spell(cut) == spell(ids)
    counts = {piece: int((cut == number).sum()) for number, piece in enumerate(pieces)}
    assert 70 < counts["river"] < 130  # half of 200
    assert counts["ri"] + counts["r"] == 200 - counts["river"]
    assert min(counts["ri"], counts["r"]) > 20
    assert counts["bread"] == counts["[SEP]"] == 200  # no parts in the vocabulary
    assert (splitter(ids, 3) == cut).all()
    assert len(splitter(ids, 4)) != len(cut) or (splitter(ids, 4) != cut).any()
    short = PieceSplitter(pieces, 0.99, 4, seed=1)(np.array([2, 2, 9, 1]), 0)
    assert len(short) == 4
    assert short[-1] == 1

"""The parts of a distillation's loop: losses, batches."""

import math

import numpy as np
import pytest
import torch

from pyserini_xqg.train.distill_loop import BatchSampler, distillation_loss, pooled
from pyserini_xqg.train.distill_options import LossOptions


def unit(rows, dimension, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def reference_loss(x, y, rows, settings, others):
    """The definition, text by text."""
    cosine = contrastive = 0.0
    for i in range(len(x)):
        cosine += 1 - x[i] @ y[i]
        weights = [math.exp(settings.scale * (x[i] @ y[j])) for j in range(len(x)) if j == i or rows[j] != rows[i]]
        rest = sum(math.exp(settings.scale * (x[i] @ other)) for other in others)
        contrastive -= math.log(math.exp(settings.scale * (x[i] @ y[i])) / (sum(weights) + rest))
    return (settings.cosine_weight * cosine + settings.contrastive_weight * contrastive) / len(x)


def test_the_loss_is_its_definition():
    settings = LossOptions(cosine_weight=1.5, contrastive_weight=0.7, scale=8.0)
    x, y, others = unit(5, 6, 0), unit(5, 6, 1), unit(3, 6, 2)
    y[3], rows = y[1], np.array([0, 1, 2, 1, 4])  # two texts of the same English side
    found = distillation_loss(
        *(torch.from_numpy(values) for values in (x, y, rows[:, None] == rows[None, :])),
        settings,
        torch.from_numpy(others),
    )
    assert found.item() == pytest.approx(reference_loss(x, y, rows, settings, others), rel=1e-5)


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


def test_an_epoch_is_every_translation_once_in_batches_of_like_lengths():
    chance = np.random.default_rng(0)
    groups = chance.integers(3, 40, 130), chance.integers(3, 40, 90)
    lengths = np.concatenate(groups)
    sampler = BatchSampler(*groups, 8, 0.2, seed=3)
    numbers = list(sampler)
    assert len(numbers) == len(sampler) == (16 + 4) * 8
    batches = [numbers[at : at + 8] for at in range(0, len(numbers), 8)]
    english = [batch for batch in batches if batch[0] >= 130]
    assert len(english) == 4
    assert all(len({number >= 130 for number in batch}) == 1 for batch in batches)
    assert len(set(numbers)) == len(numbers)
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 5  # of 37
    assert numbers == list(BatchSampler(*groups, 8, 0.2, seed=3))
    assert numbers != list(BatchSampler(*groups, 8, 0.2, seed=4))
    sampler.set_epoch(1)
    assert list(sampler)[:3] != numbers[:3]
    assert len(BatchSampler(*groups, 8, 0.0, seed=3)) == 16 * 8

"""What a retriever's batch holds, and the loss over it: sentence-transformers' trainer, as this package uses it.

Inner products are taken between each question and every passage of the batch, so a passage that answers one question
must not stand there as another one's negative: the sampler is sentence-transformers' own that keeps equal passages out
of a batch, and :func:`choose_texts` keeps hard negatives out that answer another question of the batch.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from transformers import TrainerCallback

QUERY, POSITIVE = "query", "positive"
_DRAWS = 50


def columns(negatives: int) -> list[str]:
    """Names of a batch's columns, the question first."""
    return [QUERY, POSITIVE, *(f"negative_{number}" for number in range(1, negatives + 1))]


def routes(negatives: int) -> dict[str, str]:
    """Column to sentence-transformers' task, which decides the length."""
    return {name: "query" if name == QUERY else "document" for name in columns(negatives)}


def batch_sampler(dataset: Any, **options: Any) -> NoDuplicatesBatchSampler:
    """Batches in which no question and no first positive passage stands twice."""
    return NoDuplicatesBatchSampler(dataset.select_columns([QUERY, POSITIVE]), **options)


def choose_texts(
    rows: Sequence[Mapping[str, Any]], negatives: int, epoch: int, seed: int, draw: Callable[[Any], str]
) -> list[dict[str, str]]:
    """One positive and ``negatives`` others for each question, the next ones in each epoch.

    rows : ``query``, ``positives`` and ``negatives``. draw : a passage of the data at random, which stands in where a
    question has too few negatives; takes a ``numpy`` generator. The same arguments give the same texts.

    A positive that answers another question of the batch too is avoided where the question has another one, and a
    negative that answers another question always is; where hardly any passage is left, negatives are repeated.
    """
    number_of_questions = Counter(text for row in rows for text in row["positives"])
    chosen = []
    for row in rows:
        key = zlib.crc32(row[QUERY].encode("utf-8"))
        positives = _rotated(row["positives"], key + seed + epoch)
        positives.sort(key=lambda text: number_of_questions[text] > 1)
        order = np.random.default_rng([seed, key]).permutation(len(row["negatives"]))
        texts = _rotated([row["negatives"][place] for place in order], epoch * negatives)
        texts = list(dict.fromkeys(text for text in texts if text not in number_of_questions))[:negatives]
        chance = np.random.default_rng([seed, epoch, key])
        for _ in range(_DRAWS):
            if len(texts) == negatives:
                break
            if (text := draw(chance)) not in number_of_questions and text not in texts:
                texts.append(text)
        again = texts or sorted(number_of_questions.keys() - set(row["positives"]))
        texts += [again[chance.integers(len(again))] for _ in range(negatives - len(texts))]
        chosen.append(dict(zip(columns(negatives), (row[QUERY], positives[0], *texts), strict=True)))
    return chosen


def _rotated(texts: Sequence[str], by: int) -> list[str]:
    by = by % len(texts) if texts else 0
    return [*texts[by:], *texts[:by]]


@dataclass
class ExampleCollator(SentenceTransformerDataCollator):
    """sentence-transformers' collator for questions whose passages are chosen anew in each epoch."""

    dataset: Any = None
    negatives: int = 0
    seed: int = 0
    epoch: int = 0

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Token ids of all columns."""
        return super().__call__(choose_texts(features, self.negatives, self.epoch, self.seed, self._draw))

    def _draw(self, chance: Any) -> str:
        return self.dataset[int(chance.integers(len(self.dataset)))][POSITIVE]


class EpochCallback(TrainerCallback):
    """Tells the collator which epoch it is, after a restart too."""

    def __init__(self, collator: ExampleCollator) -> None:
        self._collator = collator

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:
        """Called by the trainer."""
        self._collator.epoch = state.global_step // max(1, len(train_dataloader))


class RetrieverTrainer(SentenceTransformerTrainer):
    """Writes no model card, which would quote the training data."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none."""


def contrastive_loss(model: Any, temperature: float, mini_batch: int, processes: int) -> torch.nn.Module:
    """Cross-entropy of each question's positive passage among all passages of the update, of all ``processes``.

    mini_batch : texts in one pass through the model, by gradient caching (Gao et al. 2021, arXiv 2101.06983), which
    gives the same loss and gradients; 0 for all at once.
    """
    options = {
        "scale": 1 / temperature,
        "similarity_fct": inner_products,
        "gather_across_devices": processes > 1,
    }
    if mini_batch:
        return CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch, **options)
    return MultipleNegativesRankingLoss(model, **options)


def inner_products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Inner products of rows, (one, other), in float32 whatever the arithmetic of the layers.

    >>> inner_products(torch.ones(1, 2), torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[3.0, 1.0]]
    """
    with torch.autocast(one.device.type, enabled=False):
        return one.float() @ other.float().T

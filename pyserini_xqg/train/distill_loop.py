"""Hugging Face's ``Trainer`` with the batches, losses and held-out evaluation of a distillation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize
from torch.utils.data import Sampler
from transformers import Trainer

from pyserini_xqg.train.distill_options import Distillation, LossOptions
from pyserini_xqg.vectors.embedding import batches_by_length, pool

_POOL = 50  # batches that are cut out of as many texts, sorted by length
_EVALUATION_TOKENS = 4096


class BatchSampler(Sampler[int]):
    """An epoch is every translation once and ``share`` of its batches English texts, in batches of like lengths.

    Batches are cut out of random pools of texts sorted by length, and come in random order; one that is not full is
    left out. Yields the texts' numbers, batch after batch of ``size``. Seed and epoch decide.

    translations, english : lengths of the texts; those in English are numbered after the translations.
    """

    def __init__(self, translations: np.ndarray, english: np.ndarray, size: int, share: float, seed: int) -> None:
        self._groups = translations, english
        self._size, self._seed, self._epoch = size, seed, 0
        whole, available = len(translations) // size, len(english) // size
        wanted = max(1, round(whole * share / (1 - share))) if share else 0
        self._batches = whole, min(wanted, available)

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop, after a restart too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(self._batches) * self._size

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._epoch])
        batches: list[np.ndarray] = []
        first = 0
        for lengths, number in zip(self._groups, self._batches, strict=True):
            order = random.permutation(len(lengths))[: number * self._size]
            for start in range(0, len(order), _POOL * self._size):
                pool = order[start : start + _POOL * self._size]
                pool = pool[np.argsort(lengths[pool], kind="stable")]
                batches += [pool[at : at + self._size] + first for at in range(0, len(pool), self._size)]
            first += len(lengths)
        for number in random.permutation(len(batches)):
            yield from batches[number].tolist()


def pooled(model: Any, inputs: Mapping[str, torch.Tensor], pooling: str) -> torch.Tensor:
    """The student's vectors at unit length, float32 (texts, dimension)."""
    mask = inputs["attention_mask"]
    return normalize(pool(model(input_ids=inputs["input_ids"], attention_mask=mask)[0].float(), mask, pooling), dim=-1)


def distillation_loss(
    vectors: torch.Tensor,
    targets: torch.Tensor,
    same: torch.Tensor,
    weights: LossOptions,
    others: torch.Tensor,
) -> torch.Tensor:
    """The loss of :class:`~pyserini_xqg.train.distill_options.Distillation`, all vectors at unit length.

    vectors, targets : (texts, dimension), of the student and the teacher. same : (texts, texts), True where two texts
    have the same English side and so are no negatives of each other. others : (negatives, dimension).
    """
    similar = vectors @ targets.T
    twins = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = torch.cat([similar.masked_fill(twins, -math.inf), vectors @ others.T], dim=1) * weights.scale
    contrastive = cross_entropy(logits, torch.arange(len(vectors), device=vectors.device))
    return weights.cosine_weight * (1 - similar.diagonal()).mean() + weights.contrastive_weight * contrastive


class DistillTrainer(Trainer):
    """Trains a student towards rows of the teacher's vectors, and looks held-out translations up among them.

    Texts are token ids (``input_ids``) and the row of the teacher's vector (``rows``). wanted : what is wanted of the
    student. vectors : (rows, dimension), of the teacher. translations : how many of the texts come before the English
    ones. The held-out texts are by language, with the rows of their English sides.
    """

    def __init__(self, *, wanted: Distillation, vectors: np.ndarray, translations: int, **options: Any) -> None:
        super().__init__(**options)
        self._wanted, self._translations = wanted, translations
        self._vectors = torch.from_numpy(vectors)

    def _get_train_sampler(self, train_dataset: Any = None) -> BatchSampler:
        lengths = np.array([len(text["input_ids"]) for text in self.train_dataset])
        groups = np.split(lengths, [self._translations])
        size = self.args.per_device_train_batch_size
        return BatchSampler(*groups, size, self._wanted.english_share, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Loss of one batch."""
        rows = inputs["rows"].cpu()
        vectors = pooled(model, inputs, self._wanted.vectors.pooling)
        with torch.autocast(vectors.device.type, enabled=False):
            drawn = torch.randint(len(self._vectors), (self._wanted.loss.extra_negatives,))
            others = self._vectors[drawn[~torch.isin(drawn, rows)]].to(vectors.device)
            same = (rows[:, None] == rows[None, :]).to(vectors.device)
            targets = self._vectors[rows].to(vectors.device)
            return distillation_loss(vectors, targets, same, self._wanted.loss, others)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Share of each language's held-out texts whose vector is nearest to that of their own English side."""
        found = self.nearest()
        metrics = {f"{metric_key_prefix}_top1_{language}": share for language, share in found.items()}
        metrics[f"{metric_key_prefix}_top1"] = float(np.mean(list(found.values())))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def nearest(self) -> dict[str, float]:
        """Language to top-1 among that language's held-out English sides; equal English sides count as one."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        training = model.training
        model.eval()
        shares = {}
        with torch.inference_mode(), self.compute_loss_context_manager():
            for language, texts in self.eval_dataset.items():
                rows = np.array([text["rows"] for text in texts])
                candidates = np.unique(rows)
                targets = self._vectors[candidates].to(model.device)
                right = 0
                for batch in batches_by_length([len(text["input_ids"]) for text in texts], _EVALUATION_TOKENS):
                    inputs = self.data_collator([texts[row] for row in batch]).to(model.device)
                    vectors = pooled(model, inputs, self._wanted.vectors.pooling)
                    best = (vectors @ targets.T).argmax(dim=1).cpu().numpy()
                    right += int((candidates[best] == rows[batch]).sum())
                shares[language] = right / len(texts)
        model.train(training)
        return shares

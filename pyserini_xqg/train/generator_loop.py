"""Hugging Face's ``Seq2SeqTrainer`` with this package's sampler and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler
from transformers import Seq2SeqTrainer

IGNORED = -100
"""Label of padding, as everywhere in transformers."""


def token_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross-entropy per token of the whole update, whatever the number of devices and of accumulated batches."""
    number = (labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    return _cross_entropy(outputs.logits, labels, "sum") / number


def row_losses(outputs: Any, labels: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy and number of tokens of each pair, (pairs, 2): all that evaluation keeps of the logits."""
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    losses = _cross_entropy(logits, labels, "none").view(labels.shape).sum(1)
    return torch.stack([losses, (labels != IGNORED).sum(1).to(losses.dtype)], dim=1)


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    return cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction=reduction)


def losses_by_language(rows: np.ndarray, languages: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Cross-entropy per token of all pairs and of those of each language, from :func:`row_losses`."""
    rows = rows[: len(languages)].astype(np.float64)  # several processes repeat some pairs to fill their last batches
    found = {"loss_per_token": float(rows[:, 0].sum() / rows[:, 1].sum())}
    for number, name in enumerate(names):
        chosen = rows[languages == number]
        if len(chosen):
            found[f"loss_{name}"] = float(chosen[:, 0].sum() / chosen[:, 1].sum())
    return found


class PairCollator:
    """Batches of pairs as the model takes them; padding is masked in the input and ignored in the labels."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Inputs, decoder inputs and labels: the target without its last token, and without its first."""
        inputs = [torch.tensor(row["inputs"]) for row in rows]
        targets = [torch.tensor(row["target"]) for row in rows]
        return {
            "input_ids": pad_sequence(inputs, True, self._pad_id),
            "attention_mask": pad_sequence([torch.ones_like(row) for row in inputs], True),
            "decoder_input_ids": pad_sequence([row[:-1] for row in targets], True, self._pad_id),
            "labels": pad_sequence([row[1:] for row in targets], True, IGNORED),
        }


class UpdateSampler(Sampler[int]):
    """Random draws of ``size`` pairs, one an update, the longest of each first.

    What an update learns from is as random as with torch's sampler, but the batches into which the update is cut for
    the devices hold pairs of like lengths, and so little padding.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: int) -> None:
        self._lengths, self._size, self._seed = lengths, size, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop, after a restart too."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng([self._seed, self._epoch]).permutation(len(self))
        for start in range(0, len(order), self._size):
            update = order[start : start + self._size]
            yield from update[np.argsort(-self._lengths[update], kind="stable")].tolist()


class GeneratorTrainer(Seq2SeqTrainer):
    """Draws updates by :class:`UpdateSampler`; the held-out loss is per token, overall and per language."""

    def __init__(self, *, languages: Sequence[str], update_size: int, **options: Any) -> None:
        held_out = options["eval_dataset"]
        of_rows = np.array(held_out["language"]) if held_out else np.zeros(0)
        super().__init__(
            compute_loss_func=token_loss,
            preprocess_logits_for_metrics=row_losses,
            compute_metrics=lambda found: losses_by_language(found.predictions, of_rows, languages),
            **options,
        )
        self._update_size = update_size

    def _get_train_sampler(self, train_dataset: Any = None) -> UpdateSampler:
        return UpdateSampler(np.array(self.train_dataset["length"]), self._update_size, self.args.seed)

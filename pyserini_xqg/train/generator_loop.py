"""Hugging Face's ``Seq2SeqTrainer`` with this package's sampler and losses, and questions written during training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import Seq2SeqTrainer, TrainerCallback

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.files import write_text
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.train.pair_tokens import PairTokens, TokenPairs

PAPER = Sampling()
"""How samples are drawn: as in the paper."""

IGNORED = -100
"""Label of padding, as everywhere in transformers."""

BEST = "loss_per_token"
"""Name of the held-out loss."""


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
    found = {BEST: float(rows[:, 0].sum() / rows[:, 1].sum())}
    for number, name in enumerate(names):
        chosen = rows[languages == number]
        if len(chosen):
            found[f"loss_{name}"] = float(chosen[:, 0].sum() / chosen[:, 1].sum())
    return found


class PairCollator:
    """Batches of pairs as the model takes them; padding is masked in the input and ignored in the labels."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, torch.Tensor]:
        """Inputs, decoder inputs and labels: the target without its last token, and without its first."""
        inputs = _pad([row[0] for row in rows], self._pad_id)
        return {
            "input_ids": inputs,
            "attention_mask": _pad([np.ones_like(row[0]) for row in rows], 0),
            "decoder_input_ids": _pad([row[1][:-1] for row in rows], self._pad_id),
            "labels": _pad([row[1][1:] for row in rows], IGNORED),
        }


def _pad(rows: Sequence[np.ndarray], value: int) -> torch.Tensor:
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded)


class UpdateSampler(Sampler[int]):
    """Random draws of ``size`` pairs, one an update, the longest of each first.

    What an update learns from is as random as with torch's sampler, but the batches into which the update is cut for
    the devices hold pairs of like lengths, and so little padding.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: int) -> None:
        self._lengths, self._size, self._seed = lengths.sum(axis=1), size, seed
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
        held_out: TokenPairs | None = options.get("eval_dataset")
        super().__init__(
            compute_loss_func=token_loss,
            preprocess_logits_for_metrics=row_losses,
            compute_metrics=lambda found: losses_by_language(found.predictions, held_out.languages, languages),
            **options,
        )
        self._update_size = update_size

    def _get_train_sampler(self, train_dataset: Any = None) -> UpdateSampler:
        return UpdateSampler(self.train_dataset.lengths, self._update_size, self.args.seed)


class Samples(TrainerCallback):
    """Questions that the model writes for held-out prompts, at each evaluation: a file, and one per language shown.

    Drawn by torch's generator in a state of its own, so that training goes on as it would have without them.

    Parameters
    ----------
    path : ``samples.jsonl``, a line for each prompt and evaluation.
    prompts : objects of language, docid, prompt and question.
    tokens : makes them the model's input.
    tokenizer : reads the model's output.
    """

    NUMBER = 2
    """Questions for each prompt."""

    def __init__(self, path: Path, prompts: Sequence[dict[str, str]], tokens: PairTokens, tokenizer: Any) -> None:
        self._path, self._prompts, self._tokens, self._tokenizer = path, prompts, tokens, tokenizer

    def on_evaluate(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Generate, write, show."""
        if not state.is_world_process_zero or not self._prompts:
            return
        training = model.training
        model.eval()
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(args.seed)
            records = [
                {"step": state.global_step, **prompt, "generated": self._generate(model, prompt)}
                for prompt in self._prompts
            ]
        model.train(training)
        earlier = []
        if self._path.exists():  # without what a run that was cut off wrote for this step and later ones
            lines = self._path.read_text(encoding="utf-8").splitlines()
            earlier = [line for line in lines if json.loads(line)["step"] < state.global_step]
        lines = [*earlier, *(json.dumps(record, ensure_ascii=False) for record in records)]
        write_text(self._path, "".join(line + "\n" for line in lines))
        for record in {record["language"]: record for record in reversed(records)}.values():
            say(f"  {record['language']}: {record['generated'][0]}")

    def _generate(self, model: Any, prompt: dict[str, str]) -> list[str]:
        ids = self._tokens.encode([Prompt(prompt["prompt"], prompt["language"])])
        generated = model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            decoder_input_ids=torch.tensor([self._tokens.decoder_prefix(prompt["language"])], device=model.device),
            do_sample=True,
            top_k=PAPER.top_k,
            num_return_sequences=self.NUMBER,
            max_new_tokens=PAPER.max_new_tokens,
        )
        return [" ".join(text.split()) for text in self._tokenizer.batch_decode(generated, skip_special_tokens=True)]

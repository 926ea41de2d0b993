"""Hugging Face's ``Trainer`` with the batches, losses and held-out evaluation of a distillation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize, softmax
from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from pyserini_xqg.train.distill_options import Distillation, LossOptions
from pyserini_xqg.train.vocabulary import INSIDE
from pyserini_xqg.vectors.embedding import batches_by_length

_POOL = 50  # batches that are cut out of as many texts, sorted by length
_EVALUATION_TOKENS = 4096


@dataclass(frozen=True)
class Texts:
    """Token ids of texts, and the row of the teacher's vectors that each is to get."""

    ids: Sequence[np.ndarray]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


class DistillData(Dataset):
    """Translations first, then English texts, as (token ids, row of the teacher's vectors).

    Numbers go on behind the last text: number + N * len is the same text in epoch N, where ``splitter`` cuts it
    otherwise.
    """

    def __init__(self, translations: Texts, english: Texts, splitter: PieceSplitter | None = None) -> None:
        self.translations, self.english, self._splitter = translations, english, splitter

    def __len__(self) -> int:
        return len(self.translations) + len(self.english)

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        """Token ids and row of a text."""
        texts, place = self.translations, number % len(self)
        if place >= len(texts):
            texts, place = self.english, place - len(texts)
        ids = texts.ids[place]
        return self._splitter(ids, number) if self._splitter else ids, int(texts.rows[place])


class PieceSplitter:
    """Cuts some word pieces in two, others each time, so that a student knows words by their parts too.

    This is for WordPiece what subword regularisation (Kudo 2018, arXiv 1804.10959) is for Unigram models.
    pieces : the vocabulary's pieces by id. share : of the pieces that can be cut. limit : most tokens of a text.
    """

    def __init__(self, pieces: Sequence[str], share: float, limit: int, seed: int) -> None:
        self._share, self._limit, self._seed = share, limit, seed
        ids = {piece: number for number, piece in enumerate(pieces)}
        self._cuts: dict[int, list[tuple[int, int]]] = {}
        for number, piece in enumerate(pieces):
            if piece.startswith("[") and piece.endswith("]"):
                continue
            head = len(INSIDE) if piece.startswith(INSIDE) else 0
            found = [(ids.get(piece[:at]), ids.get(INSIDE + piece[at:])) for at in range(head + 1, len(piece))]
            if found := [(one, other) for one, other in found if one is not None and other is not None]:
                self._cuts[number] = found

    def __call__(self, ids: np.ndarray, number: int) -> np.ndarray:
        """Token ids, some of them cut; the same ``number`` gives the same cuts."""
        random = np.random.default_rng([self._seed, number])
        cut: list[int] = []
        for token, chance in zip(ids.tolist(), random.random(len(ids)), strict=True):
            if chance < self._share and (choices := self._cuts.get(token)):
                cut += choices[int(chance / self._share * len(choices))]
            else:
                cut.append(token)
        if len(cut) > self._limit:  # the last token ends the text
            cut = [*cut[: self._limit - 1], cut[-1]]
        return np.array(cut, dtype=ids.dtype)


class BatchSampler(Sampler[int]):
    """An epoch is every translation once and ``share`` of its batches English texts, in batches of like lengths.

    Batches are cut out of random pools of texts sorted by length, and come in random order; one that is not full is
    left out. Yields the texts' numbers, batch after batch of ``size``. Seed and epoch decide.
    """

    def __init__(self, data: DistillData, size: int, share: float, seed: int) -> None:
        self._groups = [np.array([len(ids) for ids in texts.ids]) for texts in (data.translations, data.english)]
        self._size, self._seed, self._epoch = size, seed, 0
        whole = len(data.translations) // size
        self._batches = (whole, min(round(whole * share / (1 - share)), len(data.english) // size) if share else 0)
        if share and not self._batches[1] and len(data.english) >= size:
            self._batches = (whole, 1)

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
            # The epoch goes with the number, see DistillData.
            yield from (batches[number] + self._epoch * first).tolist()


class TextCollator:
    """Batches as the student takes them, with the rows of the teacher's vectors."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, texts: Sequence[tuple[np.ndarray, int]]) -> dict[str, torch.Tensor]:
        """Padded ``input_ids``, ``attention_mask``, and ``rows``."""
        return {
            **pad([ids for ids, _ in texts], self._pad_id),
            "rows": torch.tensor([row for _, row in texts], dtype=torch.long),
        }


def pad(ids: Sequence[np.ndarray], pad_id: int) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, int64 (texts, longest)."""
    shape = (len(ids), max(map(len, ids)))
    tokens, mask = np.full(shape, pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for place, row in enumerate(ids):
        tokens[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return {"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)}


def pooled(model: Any, inputs: Mapping[str, torch.Tensor], pooling: str) -> torch.Tensor:
    """The student's vectors at unit length, float32 (texts, dimension)."""
    mask = inputs["attention_mask"]
    hidden = model(input_ids=inputs["input_ids"], attention_mask=mask)[0].float()
    if pooling == "cls":
        return normalize(hidden[:, 0], dim=-1)
    weights = mask.unsqueeze(-1).float()
    return normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def distillation_loss(
    vectors: torch.Tensor,
    targets: torch.Tensor,
    same: torch.Tensor,
    weights: LossOptions,
    others: torch.Tensor | None = None,
    scores: torch.Tensor | None = None,
) -> torch.Tensor:
    """The loss of :class:`~pyserini_xqg.train.distill_options.Distillation`, all vectors at unit length.

    vectors, targets : (texts, dimension), of the student and the teacher. same : (texts, texts), True where two texts
    have the same English side and so are no negatives of each other. others : (negatives, dimension). scores :
    a cross-encoder's, (texts, texts).
    """
    similar = vectors @ targets.T
    loss = weights.cosine_weight * (1 - similar.diagonal()).mean()
    twins = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    logits = (weights.scale * similar).masked_fill(twins, -math.inf)
    if weights.contrastive_weight:
        every = logits if others is None else torch.cat([logits, weights.scale * vectors @ others.T], dim=1)
        labels = torch.arange(len(vectors), device=vectors.device)
        loss = loss + weights.contrastive_weight * cross_entropy(every, labels)
    if scores is not None:
        low = torch.finfo(torch.float32).min
        expected = softmax(scores.masked_fill(twins, low), dim=1)
        found = log_softmax((weights.scale * similar).masked_fill(twins, low), dim=1)
        loss = loss + weights.kl_weight * kl_div(found, expected, reduction="batchmean")
    return loss


class DistillTrainer(Trainer):
    """Trains a student towards rows of the teacher's vectors, and looks held-out translations up among them.

    wanted : what is wanted of the student. vectors : (rows, dimension), of the teacher. held_out : language to texts,
    whose rows are those of their English sides. scorer : gives a cross-encoder's scores of rows for each other.
    """

    def __init__(
        self,
        *,
        wanted: Distillation,
        vectors: np.ndarray,
        held_out: Mapping[str, Texts],
        scorer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._wanted, self._held_out, self._scorer = wanted, held_out, scorer
        self._vectors = torch.from_numpy(vectors)
        self._pad_id = options["processing_class"].pad_token_id

    def _get_train_sampler(self, train_dataset: Any = None) -> BatchSampler:
        size = self.args.per_device_train_batch_size
        return BatchSampler(self.train_dataset, size, self._wanted.english_share, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Loss of one batch."""
        rows = inputs["rows"].cpu()
        vectors = pooled(model, inputs, self._wanted.vectors.pooling)
        with torch.autocast(vectors.device.type, enabled=False):
            targets = self._vectors[rows].to(vectors.device)
            same = (rows[:, None] == rows[None, :]).to(vectors.device)
            others = scores = None
            if number := self._wanted.loss.extra_negatives:
                drawn = torch.randint(len(self._vectors), (number,))
                drawn = drawn[~torch.isin(drawn, rows)]
                others = self._vectors[drawn].to(vectors.device)
            if self._scorer is not None:
                scores = self._scorer(rows).to(vectors.device)
            return distillation_loss(vectors, targets, same, self._wanted.loss, others, scores)

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
            for language, texts in self._held_out.items():
                vectors = embed(model, texts.ids, self._pad_id, self._wanted.vectors.pooling)
                candidates = np.unique(texts.rows)
                best = (vectors @ self._vectors[candidates].numpy().T).argmax(axis=1)
                shares[language] = float(np.mean(candidates[best] == texts.rows))
        model.train(training)
        return shares


def embed(model: Any, ids: Sequence[np.ndarray], pad_id: int, pooling: str) -> np.ndarray:
    """The student's vectors of texts, float32 (texts, dimension), at unit length."""
    device = next(model.parameters()).device
    vectors: np.ndarray | None = None
    for batch in batches_by_length([len(row) for row in ids], _EVALUATION_TOKENS):
        inputs = {name: value.to(device) for name, value in pad([ids[row] for row in batch], pad_id).items()}
        found = pooled(model, inputs, pooling).cpu().numpy()
        if vectors is None:
            vectors = np.empty((len(ids), found.shape[1]), dtype=np.float32)
        vectors[batch] = found
    return vectors

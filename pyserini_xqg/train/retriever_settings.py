"""How a retriever is trained; the defaults are the paper's."""

from __future__ import annotations

from dataclasses import dataclass

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.settings import EncoderConfig

TOWERS = ("shared", "separate")
QUERY_TOWER, PASSAGE_TOWER = "query", "passage"
"""Directories in the output, where the towers are separate."""
HARD_NEGATIVES = 7


@dataclass(frozen=True)
class RetrieverSettings:
    """All that decides what is learned, the data aside.

    The defaults are those of xDR (arXiv 2305.03950, 3.2; trained with Tevatron, whose warm-up over a tenth of the
    updates is kept): one shared encoder, CLS, inner product, passages of 128 and queries of 32 tokens, learning rate
    1e-5, 40 epochs of 128 questions an update, each with one positive passage and seven hard negatives, and all
    passages of the update as candidates of each question.

    towers : ``shared`` (one encoder) or ``separate`` (one for queries, one for passages, both begun from the model).
    pooling, l2_norm, max_length, query_max_length, prefix, query_prefix : as in
    :class:`~pyserini_xqg.vectors.settings.EncoderConfig`.
    negatives : hard negatives a question; None for seven where the data has any, else 0. temperature : what inner
    products are divided by. steps : updates, instead of epochs. warmup : share of the updates in which the learning
    rate rises; then it falls linearly to 0. batch_size : questions in an update, over all devices.
    eval_steps : updates between two evaluations, each with a checkpoint; None for an epoch. early_stopping :
    evaluations without a better value of the first measure after which training ends; None for never.
    """

    towers: str = "shared"
    pooling: str = "cls"
    l2_norm: bool = False
    max_length: int = 128
    query_max_length: int = 32
    prefix: str | None = None
    query_prefix: str | None = None
    negatives: int | None = None
    temperature: float = 1.0
    learning_rate: float = 1e-5
    batch_size: int = 128
    epochs: float = 40
    steps: int | None = None
    warmup: float = 0.1
    weight_decay: float = 0.0
    measures: tuple[str, ...] = ("RR@10", "R@10")
    eval_steps: int | None = None
    eval_passages: int = 10_000
    early_stopping: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        if self.towers not in TOWERS:
            raise XqgError(f"--towers {self.towers}: must be one of {', '.join(TOWERS)}.")
        for name in ("learning_rate", "temperature", "epochs"):
            if not getattr(self, name) > 0:
                raise XqgError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be above 0.")
        if self.weight_decay < 0:
            raise XqgError(f"--weight-decay {self.weight_decay}: must be 0 or more.")
        if not 0 <= self.warmup < 1:
            raise XqgError(f"--warmup {self.warmup}: a share of the updates, at least 0 and below 1.")
        if self.batch_size < 2:
            raise XqgError(
                f"--batch-size {self.batch_size}: must be at least 2, as questions are each other's negatives."
            )
        self.encoder("")  # checks the rest

    def encoder(self, model: str) -> EncoderConfig:
        """The configuration with which other commands read a model that was trained so."""
        return EncoderConfig(
            model,
            pooling=self.pooling,
            l2_norm=self.l2_norm,
            max_length=self.max_length,
            query_max_length=self.query_max_length,
            prefix=self.prefix,
            query_prefix=self.query_prefix,
        )

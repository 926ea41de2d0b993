"""How a student is distilled."""

from __future__ import annotations

from dataclasses import dataclass

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.settings import EncoderConfig


@dataclass(frozen=True)
class DistillSettings:
    """Losses, updates and the student's own settings.

    The loss of a text x with the teacher's vector y of its English side, over an update (all vectors at unit length):
    ``cosine_weight * (1 - cos(x, y))`` (Reimers and Gurevych 2020, arXiv 2004.09813, who take the squared error) plus
    ``contrastive_weight * cross-entropy`` of y among the teacher's vectors of the update and ``extra_negatives`` random
    others at ``scale * cos`` (as DR.DECR, Li et al. 2022, arXiv 2112.08185, trains towards an English retriever), plus
    ``kl_weight * KL`` from a cross-encoder's scores of the update's English sides for each other (QuiCK, Ren et al.
    2022). english_share : of the updates, in which the English sides themselves are the input.

    pooling, l2_norm, max_length, query_max_length : of the student, see ``EncoderConfig``.
    train_length : tokens kept of a text in training. dropout : of the student in training; None for its own.
    piece_dropout : share of the word pieces that are cut in two in training.
    """

    pooling: str = "mean"
    l2_norm: bool = True
    max_length: int = 256
    query_max_length: int = 64
    train_length: int = 64
    steps: int = 4000
    batch_size: int = 128
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    cosine_weight: float = 2.0
    contrastive_weight: float = 0.5
    kl_weight: float = 0.0
    scale: float = 20.0
    extra_negatives: int = 0
    english_share: float = 0.3
    dropout: float | None = None
    piece_dropout: float = 0.0
    eval_steps: int = 500
    seed: int = 42

    def __post_init__(self) -> None:
        self.encoder("student")  # checks pooling and lengths
        if not self.learning_rate > 0:
            raise XqgError(f"--learning-rate {self.learning_rate}: must be above 0.")
        for name in ("weight_decay", "cosine_weight", "contrastive_weight", "kl_weight"):
            if getattr(self, name) < 0:
                raise XqgError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be 0 or more.")
        if not self.cosine_weight + self.contrastive_weight + self.kl_weight > 0:
            raise XqgError(
                "--cosine-weight, --contrastive-weight and --kl-weight are 0. Give one of the losses a weight."
            )
        if not 0 <= self.english_share < 1:
            raise XqgError(f"--english-share {self.english_share}: must be at least 0 and below 1.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise XqgError(f"--dropout {self.dropout}: must be at least 0 and below 1.")
        if not 0 <= self.piece_dropout < 1:
            raise XqgError(f"--piece-dropout {self.piece_dropout}: must be at least 0 and below 1.")
        if not 0 <= self.warmup_steps < self.steps:
            raise XqgError(f"--warmup-steps {self.warmup_steps}: must be 0 or more, and below --steps {self.steps}.")
        if self.batch_size < 2:
            raise XqgError(f"--batch-size {self.batch_size}: must be at least 2, texts to tell apart.")
        if self.train_length < 3:
            raise XqgError(f"--train-length {self.train_length}: must be at least 3, a piece between two special ones.")

    def encoder(self, model: str) -> EncoderConfig:
        """The student's configuration for ``encode`` and ``search``."""
        return EncoderConfig(
            model,
            pooling=self.pooling,
            l2_norm=self.l2_norm,
            max_length=self.max_length,
            query_max_length=self.query_max_length,
        )

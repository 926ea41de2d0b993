"""Options of ``python -m pyserini_xqg.train distill``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.core.options import at_least, given, group, option
from pyserini_xqg.train.options import (
    HardwareOptions,
    TrainingOptions,
    UpdateOptions,
    VectorOptions,
    check_warmup,
    share,
)
from pyserini_xqg.vectors.settings import POOLINGS, EncoderConfig


@dataclass(frozen=True, kw_only=True)
class ParallelOptions:
    """Data"""

    data: tuple[str, ...] = option(
        help="LANG=ENGLISH:TRANSLATION, two files whose lines translate each other; LANG=TSV, lines of "
        "English<TAB>translation; or TSV, with a third column for the language. .gz too. A source that is named twice "
        "counts twice",
        metavar="SOURCE",
        several=True,
        decides=False,
    )
    held_out: int = option(
        0,
        "hold out the last N pairs of each language's first source, and report top-1 among them during training",
        metavar="N",
        check=at_least(0),
        decides=False,
    )
    held_out_languages: tuple[str, ...] | None = option(
        None,
        "of which languages, such as ar,bn,fi (default: all of the data)",
        metavar="CODES",
        read=lambda text: tuple(parse_languages(text)),
        decides=False,
    )
    exclude: tuple[str, ...] = option(
        (),
        "texts to test on later, one a line: pairs with one of them on either side are left out, as those of the "
        "held-out pairs always are",
        metavar="FILE",
        several=True,
        decides=False,
    )

    def __post_init__(self) -> None:
        if self.held_out_languages and not self.held_out:
            raise XqgError("--held-out-languages needs --held-out: how many pairs to hold out.")


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """Teacher"""

    teacher: str = option(help="Hugging Face encoder, name or directory, or xqg-small", metavar="NAME", decides=False)
    teacher_pooling: str | None = option(
        None,
        "how its token vectors become one (default: as a training of this package recorded beside it, else cls)",
        choices=POOLINGS,
        decides=False,
    )
    teacher_max_length: int | None = option(
        None,
        "tokens kept of an English text (default: as recorded, else 256)",
        metavar="TOKENS",
        check=at_least(1),
        decides=False,
    )
    teacher_prefix: str | None = option(None, "put before each English text", metavar="TEXT", decides=False)
    cross_encoder: str | None = option(
        None,
        "sequence classifier with one output, whose scores of an update's English sides for each other are taught as "
        "well (--kl-weight); it scores batch size x batch size pairs an update",
        metavar="NAME",
    )
    cache: str | None = option(
        None,
        "where the teacher's vectors are kept for later trainings (default: pyserini-xqg in the user's cache)",
        metavar="DIR",
        decides=False,
    )

    def config(self) -> EncoderConfig:
        """The teacher's configuration."""
        return EncoderConfig.named(
            self.teacher,
            pooling=self.teacher_pooling,
            max_length=self.teacher_max_length,
            prefix=self.teacher_prefix,
        )


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise XqgError(f"{text} is no list of layers, such as 0,2,5") from error


@dataclass(frozen=True, kw_only=True)
class StudentOptions:
    """Student, one of --student and --student-layers"""

    student: str | None = option(
        None, "encoder to train, Hugging Face name or directory, or xqg-small", metavar="NAME", decides=False
    )
    student_layers: tuple[int, ...] | None = option(
        None,
        "layers of a BERT-shaped teacher to begin from, such as 0,2,5, under a new vocabulary",
        metavar="NUMBERS",
        read=_layers,
        decides=False,
    )
    vocabulary_size: int = option(
        12000, "most pieces of a new vocabulary", metavar="PIECES", check=at_least(1), decides=False
    )
    teacher_pieces: int = option(
        5000,
        "of these, how many are the teacher's first ones in Latin letters (vocabularies begin with the frequent ones); "
        "the others are learned from the data",
        metavar="N",
        check=at_least(0),
        decides=False,
    )
    romanize: bool = option(
        False,
        "a new vocabulary's tokenizer writes Cyrillic, Greek, Arabic, Brahmic scripts, Hangul and kana in Latin "
        "letters first, so that names share pieces across languages",
        decides=False,
    )
    projection: bool = option(
        False,
        "bring the teacher's vectors to the student's dimension where they differ: by their principal components, or "
        "with zeros behind them",
    )
    save_dtype: str = option(
        "float32", "of the weights on the disk; either is read as float32", choices=("float32", "float16")
    )

    def __post_init__(self) -> None:
        if (self.student is None) == (self.student_layers is None):
            raise XqgError("pass one of --student (an encoder) and --student-layers (layers of the teacher).")
        if self.student and (names := given(self, "vocabulary_size", "teacher_pieces", "romanize")):
            raise XqgError(f"{names[0]} is for --student-layers: an encoder has a vocabulary.")
        if self.student_layers and self.teacher_pieces >= self.vocabulary_size:
            raise XqgError(
                f"--teacher-pieces {self.teacher_pieces}: must be below --vocabulary-size {self.vocabulary_size}."
            )

    def shape(self) -> dict[str, Any]:
        """What the record says of a new student."""
        return {
            "layers": list(self.student_layers or ()),
            "vocabulary_size": self.vocabulary_size,
            "teacher_pieces": self.teacher_pieces,
            "romanize": self.romanize,
        }


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Loss"""

    cosine_weight: float = option(2.0, "of 1 - cosine to the teacher's vector", metavar="W", check=at_least(0))
    contrastive_weight: float = option(
        0.5, "of the cross-entropy of the teacher's vector among the update's", metavar="W", check=at_least(0)
    )
    scale: float = option(20.0, "what cosines are multiplied by in it", metavar="S")
    extra_negatives: int = option(
        0,
        "random other vectors of the teacher to tell apart from, besides those of the update",
        metavar="N",
        check=at_least(0),
    )
    kl_weight: float = option(0.0, "of the divergence from the cross-encoder's scores", metavar="W", check=at_least(0))

    def __post_init__(self) -> None:
        if not self.cosine_weight + self.contrastive_weight + self.kl_weight > 0:
            raise XqgError(
                "--cosine-weight, --contrastive-weight and --kl-weight are 0. Give one of the losses a weight."
            )


@dataclass(frozen=True, kw_only=True)
class Distillation(TrainingOptions):
    """How a student is distilled.

    The loss of a text x with the teacher's vector y of its English side, over an update (all vectors at unit length):
    ``cosine_weight * (1 - cos(x, y))`` (Reimers and Gurevych 2020, arXiv 2004.09813, who take the squared error) plus
    ``contrastive_weight * cross-entropy`` of y among the teacher's vectors of the update and ``extra_negatives`` random
    others at ``scale * cos`` (as DR.DECR, Li et al. 2022, arXiv 2112.08185, trains towards an English retriever), plus
    ``kl_weight * KL`` from a cross-encoder's scores of the update's English sides for each other.
    """

    parallel: ParallelOptions = group(ParallelOptions)
    teacher: TeacherOptions = group(TeacherOptions)
    student: StudentOptions = group(StudentOptions)
    vectors: VectorOptions = group(
        VectorOptions,
        without=("prefix", "query_prefix"),
        pooling="mean",
        l2_norm=True,
        max_length=256,
        query_max_length=64,
    )
    loss: LossOptions = group(LossOptions)
    steps: int = option(4000, "updates of the weights", metavar="N", check=at_least(1))
    warmup_steps: int = option(
        100,
        "updates in which the learning rate rises; then it falls linearly to 0",
        metavar="N",
        check=at_least(0),
    )
    updates: UpdateOptions = group(
        UpdateOptions,
        without=("early_stopping",),
        learning_rate=5e-4,
        weight_decay=0.01,
        eval_steps=500,
        log_steps=50,
    )
    train_length: int = option(64, "tokens kept of a text in training", metavar="TOKENS", check=at_least(3))
    english_share: float = option(
        0.3, "share of the updates in which the English sides are the input", metavar="SHARE", check=share
    )
    dropout: float | None = option(
        None, "of the student in training (default: as it is configured)", metavar="P", check=share
    )
    piece_dropout: float = option(
        0.0,
        "share of the word pieces that are cut in two in training, so that unseen words are known by their parts "
        "(WordPiece vocabularies)",
        metavar="P",
        check=share,
    )
    hardware: HardwareOptions = group(HardwareOptions, without=("gradient_checkpointing",))

    def __post_init__(self) -> None:
        check_warmup(self.warmup_steps, self.steps)
        if self.updates.batch_size < 2:
            raise XqgError(f"--batch-size {self.updates.batch_size}: must be at least 2, texts to tell apart.")
        if bool(self.teacher.cross_encoder) != bool(self.loss.kl_weight):
            raise XqgError("--cross-encoder and --kl-weight go together: pass both, or neither.")

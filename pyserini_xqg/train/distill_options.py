"""Options of ``python -m pyserini_xqg.train distill``."""

from __future__ import annotations

from dataclasses import dataclass

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, given, group, option
from pyserini_xqg.train.options import HardwareOptions, TrainingOptions, UpdateOptions, VectorOptions, share
from pyserini_xqg.train.parallel_text import source_files
from pyserini_xqg.vectors.settings import POOLINGS


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
    )
    vocabulary_size: int = option(12000, "most pieces of a new vocabulary", metavar="PIECES", check=at_least(1))
    teacher_pieces: int = option(
        5000,
        "of these, how many are the teacher's first ones in Latin letters (vocabularies begin with the frequent ones); "
        "the others are learned from the data",
        metavar="N",
        check=at_least(0),
    )
    romanize: bool = option(
        False,
        "a new vocabulary's tokenizer writes Cyrillic, Greek, Arabic, Brahmic scripts, Hangul and kana in Latin "
        "letters first, so that names share pieces across languages",
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

    def __post_init__(self) -> None:
        if not self.cosine_weight + self.contrastive_weight > 0:
            raise XqgError("--cosine-weight and --contrastive-weight are 0. Give one of the losses a weight.")


@dataclass(frozen=True, kw_only=True)
class Distillation(TrainingOptions):
    """How a student is distilled.

    The loss of a text x with the teacher's vector y of its English side, over an update (all vectors at unit length):
    ``cosine_weight * (1 - cos(x, y))`` (Reimers and Gurevych 2020, arXiv 2004.09813, who take the squared error) plus
    ``contrastive_weight * cross-entropy`` of y among the teacher's vectors of the update and ``extra_negatives`` random
    others at ``scale * cos`` (as DR.DECR, Li et al. 2022, arXiv 2112.08185, trains towards an English retriever).
    """

    data: tuple[str, ...] = option(
        help="LANG=ENGLISH:TRANSLATION, two files whose lines translate each other, or LANG=TSV, lines of "
        "English<TAB>translation. .gz too. A source that is named twice counts twice",
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
    exclude: tuple[str, ...] = option(
        (),
        "texts to test on later, one a line: pairs with one of them on either side are left out, as those of the "
        "held-out pairs always are",
        metavar="FILE",
        several=True,
        decides=False,
    )
    teacher: str = option(
        help="Hugging Face encoder, name or directory, or xqg-small; its vectors are brought to the student's "
        "dimension where they differ: by their principal components, or with zeros behind them",
        metavar="NAME",
        decides=False,
    )
    teacher_pooling: str | None = option(
        None, "how its token vectors become one (default: as its files say, else cls)", choices=POOLINGS, decides=False
    )
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
    updates: UpdateOptions = group(
        UpdateOptions,
        without=("early_stopping",),
        steps=4000,
        warmup=0.025,
        learning_rate=5e-4,
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
    hardware: HardwareOptions = group(HardwareOptions, without=("gradient_checkpointing",))

    def __post_init__(self) -> None:
        if self.updates.batch_size < 2:
            raise XqgError(f"--batch-size {self.updates.batch_size}: must be at least 2, texts to tell apart.")

    @property
    def inputs(self) -> list[str]:
        """Files and directories that are read."""
        files = [path for source in self.data for path in source_files(source)[1]]
        return [*files, *self.exclude, self.teacher, *([self.student.student] if self.student.student else [])]

"""The options of ``python -m pyserini_xqg.train distill``."""

from __future__ import annotations

import argparse
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.train.distill_settings import DistillSettings
from pyserini_xqg.train.options import add_device_arguments, number_of_at_least_0
from pyserini_xqg.vectors.settings import POOLINGS

DESCRIPTION = r"""Teach an encoder other languages from parallel sentences, by the vectors of their English sides.

The teacher is an encoder that knows English. The student is another encoder (--student), or some of the teacher's
layers under a new multilingual vocabulary (--student-layers), which two CPU cores train in about an hour. What is
cut off continues with the same command from its last checkpoint.

example:
  python -m pyserini_xqg.train distill --teacher sentence-transformers/all-MiniLM-L6-v2 --teacher-pooling mean \
      --data fi=questions.en.txt:questions.fi.txt de=news.tsv --held-out 200 \
      --student-layers 0,2,5 --vocabulary-size 12000 --romanize --output models/student
"""


def add_distill_parser(commands: Any) -> None:
    """The sub-command ``distill``."""
    parser = commands.add_parser(
        "distill",
        help="teach an encoder other languages from parallel sentences",
        description=DESCRIPTION,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=train_distill)
    parser.add_argument("--output", required=True, metavar="DIR", help="directory of the trained encoder")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where the output exists")
    _add_data(parser.add_argument_group("data"))
    _add_teacher(parser.add_argument_group("teacher"))
    _add_student(parser.add_argument_group("student, one of --student and --student-layers"))
    _add_training(parser.add_argument_group("training"))
    _add_machine(parser.add_argument_group("machine"))


def _add_data(group: Any) -> None:
    group.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="SOURCE",
        help="LANG=ENGLISH:TRANSLATION, two files whose lines translate each other; LANG=TSV, lines of "
        "English<TAB>translation; or TSV, with a third column for the language. .gz too. A source that is named twice "
        "counts twice",
    )
    group.add_argument(
        "--held-out",
        type=number_of_at_least_0,
        default=0,
        metavar="N",
        help="hold out the last N pairs of each language's first source, and report top-1 among them during training",
    )
    group.add_argument(
        "--held-out-languages", metavar="CODES", help="of which languages, such as ar,bn,fi (default: all of the data)"
    )
    group.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="FILE",
        help="texts to test on later, one a line: pairs with one of them on either side are left out, as those of the "
        "held-out pairs always are",
    )


def _add_teacher(group: Any) -> None:
    group.add_argument(
        "--teacher", required=True, metavar="NAME", help="Hugging Face encoder, name or directory, or xqg-small"
    )
    group.add_argument(
        "--teacher-pooling",
        choices=POOLINGS,
        help="how its token vectors become one (default: as a training of this package recorded beside it, else cls)",
    )
    group.add_argument(
        "--teacher-max-length",
        type=positive,
        metavar="TOKENS",
        help="tokens kept of an English text (default: as recorded, else 256)",
    )
    group.add_argument("--teacher-prefix", metavar="TEXT", help="put before each English text")
    group.add_argument(
        "--cross-encoder",
        metavar="NAME",
        help="sequence classifier with one output, whose scores of an update's English sides for each other are taught "
        "as well (--kl-weight); it scores batch size x batch size pairs an update",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        help="where the teacher's vectors are kept for later trainings (default: pyserini-xqg in the user's cache)",
    )


def _add_student(group: Any) -> None:
    default = DistillSettings()
    group.add_argument(
        "--student", metavar="NAME", help="encoder to train, Hugging Face name or directory, or xqg-small"
    )
    group.add_argument(
        "--student-layers",
        type=_layers,
        metavar="NUMBERS",
        help="layers of a BERT-shaped teacher to begin from, such as 0,2,5, under a new vocabulary",
    )
    group.add_argument(
        "--vocabulary-size", type=positive, metavar="PIECES", help="most pieces of a new vocabulary (default: 12000)"
    )
    group.add_argument(
        "--teacher-pieces",
        type=number_of_at_least_0,
        metavar="N",
        help="of these, how many are the teacher's first ones in Latin letters; the others are learned from the data "
        "(default: 5000)",
    )
    group.add_argument(
        "--romanize",
        action="store_true",
        help="a new vocabulary's tokenizer writes Cyrillic, Greek, Arabic, Brahmic scripts, Hangul and kana in Latin "
        "letters first, so that names share pieces across languages",
    )
    group.add_argument(
        "--projection",
        action="store_true",
        help="bring the teacher's vectors to the student's dimension where they differ: by their principal components, "
        "or with zeros behind them",
    )
    group.add_argument("--pooling", choices=POOLINGS, default=default.pooling, help="how token vectors become one")
    group.add_argument(
        "--no-l2-norm", dest="l2_norm", action="store_false", help="record that vectors are used without unit length"
    )
    group.add_argument(
        "--max-length",
        type=positive,
        default=default.max_length,
        metavar="TOKENS",
        help="tokens kept of a passage, recorded for encode",
    )
    group.add_argument(
        "--query-max-length",
        type=positive,
        default=default.query_max_length,
        metavar="TOKENS",
        help="tokens kept of a query, recorded for encode",
    )
    group.add_argument(
        "--save-dtype",
        choices=("float32", "float16"),
        default="float32",
        help="of the weights on the disk; either is read as float32",
    )


def _add_training(group: Any) -> None:
    default = DistillSettings()
    group.add_argument("--steps", type=positive, default=default.steps, metavar="N", help="updates of the weights")
    group.add_argument(
        "--batch-size", type=positive, default=default.batch_size, metavar="TEXTS", help="texts in an update"
    )
    group.add_argument(
        "--train-length",
        type=positive,
        default=default.train_length,
        metavar="TOKENS",
        help="tokens kept of a text in training",
    )
    group.add_argument(
        "--learning-rate", type=float, default=default.learning_rate, metavar="RATE", help="at its highest"
    )
    group.add_argument(
        "--warmup-steps",
        type=number_of_at_least_0,
        default=default.warmup_steps,
        metavar="N",
        help="updates in which the learning rate rises; then it falls linearly to 0",
    )
    group.add_argument("--weight-decay", type=float, default=default.weight_decay, metavar="RATE", help="of AdamW")
    group.add_argument(
        "--dropout", type=float, metavar="P", help="of the student in training (default: as it is configured)"
    )
    group.add_argument(
        "--piece-dropout",
        type=float,
        default=default.piece_dropout,
        metavar="P",
        help="share of the word pieces that are cut in two in training, so that unseen words are known by their parts "
        "(WordPiece vocabularies)",
    )
    group.add_argument(
        "--cosine-weight",
        type=float,
        default=default.cosine_weight,
        metavar="W",
        help="of 1 - cosine to the teacher's vector",
    )
    group.add_argument(
        "--contrastive-weight",
        type=float,
        default=default.contrastive_weight,
        metavar="W",
        help="of the cross-entropy of the teacher's vector among the update's",
    )
    group.add_argument(
        "--scale", type=float, default=default.scale, metavar="S", help="what cosines are multiplied by in it"
    )
    group.add_argument(
        "--extra-negatives",
        type=number_of_at_least_0,
        default=default.extra_negatives,
        metavar="N",
        help="random other vectors of the teacher to tell apart from, besides those of the update",
    )
    group.add_argument(
        "--kl-weight",
        type=float,
        default=default.kl_weight,
        metavar="W",
        help="of the divergence from the cross-encoder's scores",
    )
    group.add_argument(
        "--english-share",
        type=float,
        default=default.english_share,
        metavar="SHARE",
        help="of the updates, in which the English sides are the input",
    )
    group.add_argument(
        "--eval-steps",
        type=positive,
        default=default.eval_steps,
        metavar="N",
        help="updates between two evaluations, each with a checkpoint",
    )
    group.add_argument("--log-steps", type=positive, default=50, metavar="N", help="updates between two logged losses")
    group.add_argument(
        "--seed", type=number_of_at_least_0, default=default.seed, metavar="N", help="of all that is random"
    )


def _add_machine(group: Any) -> None:
    add_device_arguments(group)
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")


def _layers(value: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in value.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value} is no list of layers, such as 0,2,5") from error


def train_distill(args: argparse.Namespace) -> None:
    """Run ``train distill``."""
    shape = {name: getattr(args, name) for name in ("vocabulary_size", "teacher_pieces")}
    shape = {name: value for name, value in shape.items() if value is not None}
    if bool(args.student) == bool(args.student_layers):
        raise XqgError("pass one of --student (an encoder) and --student-layers (layers of the teacher).")
    if args.student and (shape or args.romanize):
        option = next(iter(shape), "romanize").replace("_", "-")
        raise XqgError(f"--{option} is for --student-layers: an encoder has a vocabulary.")
    settings = DistillSettings(**{name: getattr(args, name) for name in DistillSettings.__dataclass_fields__})

    from pathlib import Path

    from pyserini_xqg.train import output
    from pyserini_xqg.train.distill import distill
    from pyserini_xqg.train.generator import Hardware
    from pyserini_xqg.train.parallel_text import read_parallel
    from pyserini_xqg.train.student import NewStudent
    from pyserini_xqg.vectors.settings import EncoderConfig

    output.check_output(Path(args.output), args.overwrite)
    held_out = parse_languages(args.held_out_languages, "--held-out-languages") if args.held_out_languages else None
    if held_out and not args.held_out:
        raise XqgError("--held-out-languages needs --held-out: how many pairs to hold out.")
    student = args.student or NewStudent(args.student_layers, romanize=args.romanize, **shape)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    distill(
        read_parallel(args.data, args.held_out, args.exclude, held_out),
        EncoderConfig.named(
            args.teacher, pooling=args.teacher_pooling, max_length=args.teacher_max_length, prefix=args.teacher_prefix
        ),
        student,
        args.output,
        settings,
        Hardware(args.device, args.dtype),
        projection=args.projection,
        cross_encoder=args.cross_encoder,
        cache=args.cache,
        save_dtype=args.save_dtype,
        log_steps=args.log_steps,
        overwrite=args.overwrite,
    )

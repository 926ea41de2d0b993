"""The options of ``python -m pyserini_xqg.train retriever``."""

from __future__ import annotations

import argparse
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.options import (
    add_device_arguments,
    add_memory_arguments,
    held_out_fraction,
    number_of_at_least_0,
)
from pyserini_xqg.train.retriever_settings import TOWERS, RetrieverSettings
from pyserini_xqg.vectors.settings import POOLINGS

DESCRIPTION = r"""Train a dual encoder: questions near the passages that answer them, far from all others of the batch.

The defaults are the paper's: one encoder for both, CLS, inner product, 128 tokens of a passage and 32 of a query, 40
epochs of 128 questions an update, each with a positive passage and seven hard negatives (python -m pyserini_xqg.mine
finds some). Zero-shot is the same command on English questions. What is cut off continues with the same command from
its last checkpoint. On several GPUs: torchrun --nproc-per-node 8 -m pyserini_xqg.train retriever …

example:
  python -m pyserini_xqg.train retriever --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model bert-base-multilingual-cased --output models/retriever
"""


def add_retriever_parser(commands: Any) -> None:
    """The sub-command ``retriever``."""
    parser = commands.add_parser(
        "retriever", help="train a dual encoder", description=DESCRIPTION, formatter_class=HelpFormatter
    )
    parser.set_defaults(run=train_retriever)
    parser.add_argument("--output", required=True, metavar="DIR", help="directory of the trained encoder")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where the output exists")
    _add_data(parser.add_argument_group("data"))
    _add_model(parser.add_argument_group("model"))
    _add_training(parser.add_argument_group("training"))
    _add_evaluation(parser.add_argument_group("evaluation and reports"))
    _add_machine(parser.add_argument_group("machine"))


def _add_data(group: Any) -> None:
    group.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="Tevatron's JSONL (.gz too), directories of it, or irds:<dataset-id> with queries, qrels and docs; lines "
        "of query_id, query, positive_passages, negative_passages, and lang where it is known",
    )
    group.add_argument(
        "--topic-languages",
        metavar="CODE|PATH|irds:ID",
        help="language of the queries that do not say it, for tables by language: a code such as fi, a TSV of "
        "query_id<TAB>language, a JSONL with id and lang, or a dataset such as irds:xor-tydi/train",
    )
    group.add_argument(
        "--held-out",
        default="0.05",
        metavar="FRACTION|PATH",
        help="fraction of the passages to hold out with all their questions (they are no negatives either), 0 for "
        "none, or data of its own",
    )


def _add_model(group: Any) -> None:
    default = RetrieverSettings()
    group.add_argument(
        "--model",
        default="bert-base-multilingual-cased",
        metavar="NAME",
        help="encoder to begin from, Hugging Face name or directory, such as xlm-roberta-base",
    )
    group.add_argument(
        "--towers",
        choices=TOWERS,
        default=default.towers,
        help="one encoder for queries and passages, or one for each (saved as query/ and passage/ in the output; "
        "encode, which embeds generated queries with the encoder of the passages, cannot use these)",
    )
    group.add_argument("--pooling", choices=POOLINGS, default=default.pooling, help="how token vectors become one")
    group.add_argument(
        "--l2-norm", action="store_true", help="scale each vector to unit length (then lower the temperature)"
    )
    group.add_argument(
        "--max-length", type=positive, default=default.max_length, metavar="TOKENS", help="tokens kept of a passage"
    )
    group.add_argument(
        "--query-max-length",
        type=positive,
        default=default.query_max_length,
        metavar="TOKENS",
        help="tokens kept of a query",
    )
    group.add_argument("--prefix", metavar="TEXT", help="put before the text of each passage")
    group.add_argument("--query-prefix", metavar="TEXT", help="put before each query")


def _add_training(group: Any) -> None:
    default = RetrieverSettings()
    group.add_argument(
        "--negatives",
        type=number_of_at_least_0,
        metavar="N",
        help="hard negatives of each question in an update, others in each epoch; 0: only the batch's passages "
        "(default: 7, and 0 where the data has none)",
    )
    group.add_argument(
        "--temperature",
        type=float,
        default=default.temperature,
        metavar="T",
        help="what inner products are divided by; unit-length vectors need a small one, such as 0.05",
    )
    group.add_argument(
        "--learning-rate", type=float, default=default.learning_rate, metavar="RATE", help="at its highest"
    )
    group.add_argument("--epochs", type=float, default=default.epochs, metavar="N", help="passes over the questions")
    group.add_argument("--steps", type=positive, metavar="N", help="updates of the weights, instead of --epochs")
    group.add_argument(
        "--batch-size",
        type=positive,
        default=default.batch_size,
        metavar="QUESTIONS",
        help="questions in an update, over all devices; their passages are each other's negatives",
    )
    group.add_argument(
        "--warmup",
        type=float,
        default=default.warmup,
        metavar="SHARE",
        help="of the updates, in which the learning rate rises; then it falls linearly to 0",
    )
    group.add_argument("--weight-decay", type=float, default=default.weight_decay, metavar="RATE", help="of AdamW")
    group.add_argument(
        "--seed", type=number_of_at_least_0, default=default.seed, metavar="N", help="of all that is random"
    )


def _add_evaluation(group: Any) -> None:
    default = RetrieverSettings()
    group.add_argument(
        "--measures",
        nargs="+",
        default=list(default.measures),
        metavar="MEASURE",
        help="of ir_measures, or R@<k>kt; the first one's mean over the languages decides which checkpoint is kept",
    )
    group.add_argument("--answers", metavar="FILE", help="held-out questions with answers (id, answers), for R@kt")
    group.add_argument(
        "--eval-passages",
        type=positive,
        default=default.eval_passages,
        metavar="N",
        help="passages in which held-out questions are searched: those that answer them, and others of the data",
    )
    group.add_argument(
        "--eval-steps",
        type=positive,
        metavar="N",
        help="updates between two evaluations, each with a checkpoint (default: an epoch)",
    )
    group.add_argument(
        "--early-stopping",
        type=positive,
        metavar="N",
        help="end after N evaluations without a better first measure (default: never)",
    )
    group.add_argument("--log-steps", type=positive, default=10, metavar="N", help="updates between two logged losses")


def _add_machine(group: Any) -> None:
    add_device_arguments(group)
    group.add_argument(
        "--device-batch-size",
        type=positive,
        metavar="TEXTS",
        help="most texts a device takes at a time, by gradient caching: the same losses in less memory, in about a "
        "fifth more time (default: an update at once)",
    )
    add_memory_arguments(group)


def train_retriever(args: argparse.Namespace) -> None:
    """Run ``train retriever``."""
    from pathlib import Path

    from pyserini_xqg.evaluate.scoring import parse_measures
    from pyserini_xqg.text.topics import read_topic_languages
    from pyserini_xqg.train import output, retriever
    from pyserini_xqg.train.examples import ExampleSource
    from pyserini_xqg.train.generator import Hardware
    from pyserini_xqg.train.pairs import Split

    names = RetrieverSettings.__dataclass_fields__
    settings = RetrieverSettings(**{name: getattr(args, name) for name in names} | {"measures": tuple(args.measures)})
    parse_measures(settings.measures)
    output.check_output(Path(args.output), args.overwrite)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    languages = read_topic_languages(args.topic_languages) if args.topic_languages else None
    held_out = held_out_fraction(args.held_out)
    if held_out is None:
        held_out = ExampleSource([args.held_out], languages)
    if held_out == 0:
        for option, given in (("--early-stopping", args.early_stopping), ("--answers", args.answers)):
            if given:
                raise XqgError(f"{option} needs held-out questions: pass --held-out.")
    retriever.train_retriever(
        Split(ExampleSource(args.data, languages), held_out, args.seed),
        args.model,
        args.output,
        settings,
        Hardware(args.device, args.dtype, args.device_batch_size or 0, args.gradient_checkpointing),
        answers=args.answers,
        log_steps=args.log_steps,
        overwrite=args.overwrite,
    )

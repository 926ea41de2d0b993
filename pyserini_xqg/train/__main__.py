r"""Train the models of cross-lingual query generation.

    generator    fine-tune a sequence-to-sequence model on questions and the passages that answer them
    retriever    train a dual encoder on questions, the passages that answer them, and passages that do not
    distill      teach an encoder other languages from parallel sentences

example:
  python -m pyserini_xqg.train generator --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model google/mt5-base --output models/xqg
"""

from __future__ import annotations

import argparse
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive, run
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.sampling import PAPER_PROMPT
from pyserini_xqg.train.distill_command import add_distill_parser
from pyserini_xqg.train.options import (
    add_device_arguments,
    add_memory_arguments,
    held_out_fraction,
    number_of_at_least_0,
)
from pyserini_xqg.train.retriever_command import add_retriever_parser

GENERATOR = r"""Fine-tune a query generator on questions and the passages that answer them, or train a small new one.

The defaults are the paper's. What is cut off continues with the same command from its last checkpoint. On several
GPUs: torchrun --nproc-per-node 8 -m pyserini_xqg.train generator …, or accelerate launch -m pyserini_xqg.train …

example:
  python -m pyserini_xqg.train generator --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model google/mt5-base --output models/xqg
  python -m pyserini_xqg.train generator --data irds:xquad/de irds:xquad/ru --held-out 0.2 --from-scratch \
      --learning-rate 1e-3 --warmup-steps 100 --output models/small
"""


def add_generator_parser(commands: Any) -> None:
    """The sub-command ``generator``."""
    parser = commands.add_parser(
        "generator", help="fine-tune a query generator", description=GENERATOR, formatter_class=HelpFormatter
    )
    parser.set_defaults(run=train_generator)
    parser.add_argument("--output", required=True, metavar="DIR", help="directory of the trained model")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where the output exists")
    _add_data(parser.add_argument_group("data"))
    _add_model(parser.add_argument_group("model, one of --model and --from-scratch"))
    _add_training(parser.add_argument_group("training"))
    _add_reports(parser.add_argument_group("evaluation and reports"))
    _add_machine(parser.add_argument_group("machine"))


def _add_data(group: Any) -> None:
    group.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="Tevatron's JSONL (.gz too), directories of it, or irds:<dataset-id> with queries, qrels and docs; lines "
        "of query_id, query, positive_passages, and lang if --topic-languages does not say it",
    )
    group.add_argument(
        "--topic-languages",
        "--language",
        dest="topic_languages",
        metavar="CODE|PATH|irds:ID",
        help="language of the queries that do not say it: a code such as fi, a TSV of query_id<TAB>language, a JSONL "
        "with id and lang, or a dataset such as irds:xor-tydi/train",
    )
    group.add_argument(
        "--held-out",
        default="0.05",
        metavar="FRACTION|PATH",
        help="fraction of the passages to hold out with all their pairs, 0 for none, or data of its own; the "
        "checkpoint with the lowest loss on it is kept",
    )
    group.add_argument(
        "--prompt",
        default=PAPER_PROMPT,
        metavar="TEXT",
        help="what the model reads; pass the same to generate. {language}: the English name, {language_code}, {title}, "
        "{text}",
    )


def _add_model(group: Any) -> None:
    group.add_argument("--model", metavar="NAME", help="seq2seq checkpoint to fine-tune, name or directory")
    group.add_argument(
        "--from-scratch",
        action="store_true",
        help="a new T5 with random weights and a SentencePiece Unigram vocabulary learned from the training texts",
    )
    group.add_argument("--vocab-size", type=positive, metavar="PIECES", help="of a new model (default: 8000)")
    group.add_argument("--layers", type=positive, metavar="N", help="of a new model's encoder and decoder (default: 4)")
    group.add_argument("--d-model", type=positive, metavar="N", help="a new model's dimensions (default: 256)")
    group.add_argument("--dropout", type=float, metavar="P", help="a new model's dropout (default: 0.1)")


def _add_training(group: Any) -> None:
    group.add_argument("--learning-rate", type=float, default=1e-4, metavar="RATE", help="at its highest")
    group.add_argument("--steps", type=positive, default=2000, metavar="N", help="updates of the weights")
    group.add_argument(
        "--batch-size", type=positive, default=128, metavar="PAIRS", help="pairs in an update, over all devices"
    )
    group.add_argument(
        "--warmup-steps",
        type=number_of_at_least_0,
        default=0,
        metavar="N",
        help="updates in which the learning rate rises; then it falls linearly to 0",
    )
    group.add_argument("--weight-decay", type=float, default=0.0, metavar="RATE", help="of AdamW")
    group.add_argument("--max-input-length", type=positive, default=128, metavar="TOKENS", help="kept of a prompt")
    group.add_argument("--max-target-length", type=positive, default=64, metavar="TOKENS", help="kept of a question")
    group.add_argument("--seed", type=number_of_at_least_0, default=42, metavar="N", help="of all that is random")


def _add_reports(group: Any) -> None:
    group.add_argument(
        "--eval-steps",
        type=positive,
        default=100,
        metavar="N",
        help="updates between two evaluations, each with a checkpoint and samples",
    )
    group.add_argument(
        "--early-stopping",
        type=positive,
        metavar="N",
        help="end after N evaluations without a lower held-out loss (default: never)",
    )
    group.add_argument(
        "--samples",
        type=number_of_at_least_0,
        default=2,
        metavar="N",
        help="held-out prompts of each language to write questions for at each evaluation",
    )
    group.add_argument("--log-steps", type=positive, default=10, metavar="N", help="updates between two logged losses")


def _add_machine(group: Any) -> None:
    add_device_arguments(group)
    group.add_argument(
        "--device-batch-size",
        type=positive,
        default=16,
        metavar="PAIRS",
        help="most pairs a device takes at a time; an update is made of several such batches",
    )
    add_memory_arguments(group)


def train_generator(args: argparse.Namespace) -> None:
    """Run ``train generator``."""
    shape = {name: getattr(args, name) for name in ("vocab_size", "layers", "d_model", "dropout")}
    shape = {name: value for name, value in shape.items() if value is not None}
    if args.from_scratch == bool(args.model):
        raise XqgError("pass one of --model (a checkpoint to fine-tune) and --from-scratch (a new model).")
    if shape and not args.from_scratch:
        raise XqgError(f"--{next(iter(shape)).replace('_', '-')} is for --from-scratch: a checkpoint has a shape.")

    from pathlib import Path

    from pyserini_xqg.text.topics import read_topic_languages
    from pyserini_xqg.train import generator, output
    from pyserini_xqg.train.pairs import PairSource, Split
    from pyserini_xqg.train.seq2seq import NewModel

    settings = generator.GeneratorSettings(
        **{name: getattr(args, name) for name in generator.GeneratorSettings.__dataclass_fields__}
    )
    output.require_packages("accelerate")
    output.check_output(Path(args.output), args.overwrite)
    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    languages = read_topic_languages(args.topic_languages) if args.topic_languages else None
    held_out = held_out_fraction(args.held_out)
    if held_out is None:
        held_out = PairSource([args.held_out], languages)
    if args.early_stopping and held_out == 0:
        raise XqgError("--early-stopping needs held-out pairs: pass --held-out.")
    generator.train_generator(
        Split(PairSource(args.data, languages), held_out, args.seed),
        NewModel(**shape) if args.from_scratch else args.model,
        args.output,
        settings,
        generator.Hardware(args.device, args.dtype, args.device_batch_size, args.gradient_checkpointing),
        samples=args.samples,
        log_steps=args.log_steps,
        overwrite=args.overwrite,
    )


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.train", description=__doc__, formatter_class=HelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_generator_parser(commands)
    add_retriever_parser(commands)
    add_distill_parser(commands)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.train``."""
    args = build_parser().parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run(main)

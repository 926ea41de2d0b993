r"""Encode passages and their generated queries into an embedding store, once; every index is made from it.

The corpus is checked from end to end before the first text is encoded. Work is committed in chunks:
after a crash, the same command continues where it stopped. Several processes or machines encode a shard
each (--shard-id, --shard-num; joined by pyserini_xqg.store merge), or leave that to a Ray cluster (--engine ray).

example:
  python -m pyserini_xqg.encode --corpus passages.jsonl --output stores/mbert \
      --encoder ielabgroup/bert-base-multilingual-cased-xor-tydi --max-length 128 --query-max-length 32
"""

from __future__ import annotations

import argparse

from pyserini_xqg.core.cli import HelpFormatter, positive, run
from pyserini_xqg.core.shards import add_shard_arguments, check_shard_options
from pyserini_xqg.vectors.encoding import (
    add_corpus_arguments,
    add_encoder_arguments,
    add_store_arguments,
    encode_from_args,
)
from pyserini_xqg.vectors.store import check_new_store


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.encode", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the embedding store to make or to continue")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where a store exists")
    add_corpus_arguments(parser, required=True)
    parser.add_argument(
        "--languages", metavar="CODES", help="query languages to encode, such as ar,bn,fi (default: all)"
    )
    parser.add_argument(
        "--max-queries", type=positive, metavar="N", help="first N queries per passage and language (default: all)"
    )
    add_encoder_arguments(parser, required=True)
    add_store_arguments(parser)
    add_shard_arguments(parser, "encode")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.encode``."""
    args = build_parser().parse_args(argv)
    shard = check_shard_options(args, "encode")
    check_new_store(args.output, args.overwrite)
    if args.engine == "ray":
        from pyserini_xqg.vectors.encode_ray import encode_on_ray

        encode_on_ray(args)
        return
    encode_from_args(args, args.output, shard, overwrite=args.overwrite)


if __name__ == "__main__":
    run(main)

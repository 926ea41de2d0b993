"""Options as argparse has them: goes with its last user."""

from __future__ import annotations

import argparse
from typing import Any

from pyserini_xqg.core.cli import positive
from pyserini_xqg.text.corpus import FIELDS
from pyserini_xqg.vectors.layout import DTYPES
from pyserini_xqg.vectors.recipe import AGGREGATES
from pyserini_xqg.vectors.settings import POOLINGS, PRECISIONS, EncoderConfig

Embedder = Any


def add_corpus_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options that say what is encoded."""
    group = parser.add_argument_group("corpus")
    group.add_argument(
        "--corpus",
        required=required,
        metavar="PATH",
        help="JSONL file (.gz too), directory of them, or irds:<dataset-id>; "
        "lines of docid, title, text, generated_queries",
    )
    group.add_argument(
        "--queries",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files with generated queries apart from the passages: lines of docid, generated_queries",
    )
    group.add_argument(
        "--fields", nargs="+", default=list(FIELDS), choices=FIELDS, help="fields of a passage to encode"
    )


def add_encoder_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options that decide the vectors, named as in ``pyserini.encode``."""
    group = parser.add_argument_group(
        "encoder", "settings that pyserini_xqg.train recorded beside a model are its defaults"
    )
    group.add_argument(
        "--encoder",
        required=required,
        metavar="NAME",
        help="Hugging Face encoder, name or directory; xqg-small: the one that comes with the package",
    )
    group.add_argument("--tokenizer", metavar="NAME", help="its tokenizer, if not the encoder's own")
    group.add_argument("--pooling", choices=POOLINGS, help="how token vectors become one (default: cls)")
    group.add_argument(
        "--l2-norm", action=argparse.BooleanOptionalAction, help="scale each vector to unit length (default: no)"
    )
    group.add_argument("--max-length", type=positive, metavar="TOKENS", help="tokens kept of a passage (default: 256)")
    group.add_argument(
        "--query-max-length",
        type=positive,
        metavar="TOKENS",
        help="tokens kept of a query (default: the tokenizer's limit, as in Pyserini's search; the paper: 32)",
    )
    group.add_argument("--prefix", metavar="TEXT", help="put before the text of each passage")
    group.add_argument("--query-prefix", metavar="TEXT", help="put before each query")
    group.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda:0, cuda:1, …")
    group.add_argument(
        "--dtype",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="arithmetic of the model; auto: the fastest of the device that keeps rankings (bfloat16 where it has "
        "units for it); float32 is what pyserini.encode uses",
    )
    group.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="TOKENS",
        help="most tokens in a batch, with padding (default: 2048 on the CPU, 65536 on a GPU)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the model (default: all cores)")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that decide what the store keeps."""
    group = parser.add_argument_group("store")
    group.add_argument("--store-dtype", choices=DTYPES, default="float32", help="precision of the vectors on disk")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--keep-query-vectors",
        action="store_true",
        help="keep each query's vector beside the sums, so that --max-queries can be varied later",
    )
    either.add_argument(
        "--fuse",
        choices=AGGREGATES,
        help="keep one vector a passage for all its queries, their sum or the mean over languages of each language's "
        "mean, instead of one per language: 2/(1 + languages) of the disk, but no choice of languages later",
    )
    group.add_argument(
        "--chunk-size", type=positive, default=1024, metavar="PASSAGES", help="passages between two commits to the disk"
    )


def config_from_args(args: argparse.Namespace) -> EncoderConfig:
    """The encoder's configuration that the options describe."""
    return EncoderConfig.named(
        args.encoder,
        tokenizer=args.tokenizer,
        pooling=args.pooling,
        l2_norm=args.l2_norm,
        max_length=args.max_length,
        query_max_length=args.query_max_length,
        prefix=args.prefix,
        query_prefix=args.query_prefix,
    )


def encoder_from_args(args: argparse.Namespace) -> Embedder:
    """Load the encoder that the options describe."""
    import torch

    from pyserini_xqg.vectors.embedding import Embedder

    if args.threads:
        torch.set_num_threads(args.threads)
    return Embedder(config_from_args(args), args.device, args.batch_tokens, args.dtype)

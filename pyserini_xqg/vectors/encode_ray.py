"""``encode --engine ray``: see :mod:`pyserini_xqg.core.ray_shards`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.core.ray import ProgressLines
from pyserini_xqg.core.ray_shards import ShardedCommand, run_on_ray
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.text.corpus import Corpus, scan_once
from pyserini_xqg.vectors.encoding import encode_from_args
from pyserini_xqg.vectors.merging import merge_shards
from pyserini_xqg.vectors.store import STORE_NAME


def _check(args: argparse.Namespace, directory: Path) -> None:
    languages = parse_languages(args.languages) if args.languages is not None else None
    scan_once(Corpus(args.corpus, args.queries, languages, args.max_queries), directory)


def _settle(args: argparse.Namespace) -> dict[str, str]:
    """What ``--dtype auto`` means on the cluster's workers."""
    from pyserini_xqg.vectors.settings import choose_precision, resolve_device

    return {"dtype": choose_precision(args.dtype, resolve_device(args.device))}


def _encode(args: argparse.Namespace, output: str, number: int, wait: float, report: ProgressLines) -> None:
    encode_from_args(args, output, Shard(number, args.shard_num), reuse=True, wait=wait, report=report)


def _merge(shards: Sequence[Path], output: str, overwrite: bool) -> None:
    merge_shards(shards, output, overwrite=overwrite)


def encode_on_ray(args: argparse.Namespace) -> None:
    """Encode all shards that the options of ``pyserini_xqg.encode`` describe on a Ray cluster, and merge them."""
    command = ShardedCommand(
        "encoding",
        "texts",
        models=("encoder", "tokenizer"),
        check=_check,
        settle=_settle,
        work=_encode,
        merge=_merge,
        joined_by="python -m pyserini_xqg.store merge",
        mark=STORE_NAME,
    )
    run_on_ray(args, command)

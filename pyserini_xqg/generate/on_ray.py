"""``generate --engine ray``: see :mod:`pyserini_xqg.core.ray_shards`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.ray import ProgressLines, ShardedCommand, run_on_ray
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.generate.merge import merge_queries
from pyserini_xqg.generate.options import check_corpus, generate_from_args, generator_from_args, plan_from_args
from pyserini_xqg.generate.pipeline import default_chunk_size
from pyserini_xqg.generate.report import Report


def _check(args: argparse.Namespace, directory: Path) -> None:
    check_corpus(args, plan_from_args(args), args.output, directory)


def _settle(args: argparse.Namespace) -> dict[str, Any]:
    """What ``auto`` means on the cluster's workers; a model that cannot be loaded there is found once."""
    generator = generator_from_args(args)
    described = generator.describe()
    return {
        "dtype": described["dtype"],
        "batch_tokens": described["batch_tokens"],
        "chunk_size": args.chunk_size or default_chunk_size(generator),
    }


def _generate(args: argparse.Namespace, output: str, number: int, wait: float, lines: ProgressLines) -> None:
    generate_from_args(args, output, Shard(number, args.shard_num), reuse=True, wait=wait, report=Report(output, lines))


def _merge(shards: Sequence[Path], output: str, overwrite: bool) -> None:
    merge_queries(shards, output, overwrite=overwrite)


def generate_on_ray(args: argparse.Namespace) -> None:
    """Generate all shards that the options of ``pyserini_xqg.generate`` describe on a Ray cluster, and merge them."""
    command = ShardedCommand(
        "generating",
        "queries",
        models=("model",),
        check=_check,
        settle=_settle,
        work=_generate,
        merge=_merge,
        joined_by="python -m pyserini_xqg.queries merge",
        suffix=".jsonl",
        begins_anew=False,  # shards of the same settings come out the same
    )
    run_on_ray(args, command)

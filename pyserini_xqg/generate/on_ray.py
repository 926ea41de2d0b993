"""``generate --engine ray``: what it does on the workers of a cluster, see :mod:`pyserini_xqg.core.ray`.

A file of its own, for workers import it by name, which the command's ``__main__`` has not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.ray import ProgressLines, ShardedCommand
from pyserini_xqg.generate.merge import merge_queries
from pyserini_xqg.generate.options import GenerateOptions
from pyserini_xqg.generate.pipeline import check_corpus, default_chunk_size, generate_from_options


def _check(options: GenerateOptions, directory: Path) -> None:
    check_corpus(options, options.settled_plan(), options.output, directory)


def _settle(options: GenerateOptions) -> dict[str, Any]:
    """What ``auto`` means on the cluster's workers; a model that cannot be loaded there is found once."""
    generator = options.load()
    described = generator.describe()
    chunk_size = options.chunk_size or default_chunk_size(generator)
    return {"dtype": described["dtype"], "batch_tokens": described["batch_tokens"], "chunk_size": chunk_size}


def _generate_shard(options: GenerateOptions, output: str, wait: float, lines: ProgressLines) -> None:
    generate_from_options(options, output, reuse=True, wait=wait, lines=lines)


def _merge(shards: Sequence[Path], output: str, overwrite: bool) -> None:
    merge_queries(shards, output, overwrite=overwrite)


ON_RAY = ShardedCommand(
    "generating",
    "queries",
    paths=("corpus", "model"),
    check=_check,
    settle=_settle,
    work=_generate_shard,
    merge=_merge,
    joined_by="python -m pyserini_xqg.queries merge",
    suffix=".jsonl",
    begins_anew=False,  # shards of the same settings come out the same
)

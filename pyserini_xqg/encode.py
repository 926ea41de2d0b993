r"""Encode passages and their generated queries into an embedding store, once; every index is made from it.

The corpus is checked from end to end before the first text is encoded. Work is committed in chunks:
after a crash, the same command continues where it stopped. Several processes or machines encode a shard
each (--shard-id, --shard-num; joined by pyserini_xqg.store merge), or leave that to a Ray cluster (--engine ray).

example:
  python -m pyserini_xqg.encode --corpus passages.jsonl --output stores/mbert \\
      --encoder ielabgroup/bert-base-multilingual-cased-xor-tydi --max-length 128 --query-max-length 32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.cli import run
from pyserini_xqg.core.job import check_job
from pyserini_xqg.core.options import group, option, parse
from pyserini_xqg.core.ray import ProgressLines, ShardedCommand, run_on_ray
from pyserini_xqg.core.shards import ShardOptions
from pyserini_xqg.text.corpus import CorpusOptions, QuerySelection, scan_once
from pyserini_xqg.vectors.encoding import StoreOptions, encode
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions, choose_precision, resolve_device
from pyserini_xqg.vectors.store_writer import merge_shards


@dataclass(frozen=True)
class EncodeOptions:
    """Options of ``python -m pyserini_xqg.encode``."""

    output: str = option(help="the embedding store to make or to continue", metavar="DIR")
    overwrite: bool = option(False, "begin anew where a store exists", decides=False)
    corpus: CorpusOptions = group(CorpusOptions, required=("corpus",))
    selection: QuerySelection = group(QuerySelection)
    encoder: EncoderOptions = group(EncoderOptions, required=("encoder",))
    device: DeviceOptions = group(DeviceOptions)
    store: StoreOptions = group(StoreOptions)
    shards: ShardOptions = group(ShardOptions)


def encode_options(options: EncodeOptions, output: str, **how: object) -> None:
    """Encode what the options describe, or the shard that they name, into ``output``."""
    parts = (options.corpus, options.selection, options.encoder, options.device, options.store)
    encode(*parts, output, shard=options.shards.shard, overwrite=options.overwrite, **how)


def _check(options: EncodeOptions, directory: Path) -> None:
    scan_once(options.corpus.open(options.selection), directory)


def _settle(options: EncodeOptions) -> dict[str, str]:
    """What ``--dtype auto`` means on the cluster's workers."""
    device = options.device
    return {"dtype": choose_precision(device.dtype, resolve_device(device.device))}


def _encode_shard(options: EncodeOptions, output: str, wait: float, report: ProgressLines) -> None:
    encode_options(options, output, wait=wait, report=report)


def _merge(shards: Sequence[Path], output: str, overwrite: bool) -> None:
    merge_shards(shards, output, overwrite=overwrite)


ON_RAY = ShardedCommand(
    "encoding",
    "texts",
    paths=("corpus", "queries", "encoder", "tokenizer"),
    check=_check,
    settle=_settle,
    work=_encode_shard,
    merge=_merge,
    joined_by="python -m pyserini_xqg.store merge",
    mark=STORE_KIND.manifest,
)


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.encode``."""
    options = parse(EncodeOptions, "encode", __doc__, argv)
    check_job(options.output, STORE_KIND, None, options.overwrite, options.corpus.inputs)
    if options.shards.engine == "ray":
        run_on_ray(options, ON_RAY)
    else:
        encode_options(options, options.output)


if __name__ == "__main__":
    run(main)

"""``encode --engine ray``: the shards of a corpus as tasks on a Ray cluster, merged at the end.

The shards lie in ``<output>.shards/<number>``, on a disk that all machines share. A task that was lost with its
machine continues its shard where it stopped; shards that are finished stay so, also over runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from pyserini_xqg.cli import progress, say
from pyserini_xqg.corpus import IRDS_PREFIX, Corpus
from pyserini_xqg.encode import encode_from_args
from pyserini_xqg.engines import ProgressLines, Worker, ray_cluster, run_jobs
from pyserini_xqg.errors import XqgError
from pyserini_xqg.languages import parse_languages
from pyserini_xqg.shards import Shard, merge_shards, scan_once
from pyserini_xqg.store import STORE_NAME

LOCK_SECONDS = 180.0
"""A lost machine's lock on its shard ends with its process, on a network file system up to some minutes later."""


def encode_shard(args: argparse.Namespace, number: int) -> dict[str, Any]:
    """One task: encode a shard, or continue it; returns which worker did how much."""
    import socket

    output = str(_shards(args) / str(number))
    report = ProgressLines(f"shard {number} of {args.shard_num}")
    encode_from_args(args, output, Shard(number, args.shard_num), reuse=True, wait=LOCK_SECONDS, report=report)
    return {"worker": f"{socket.gethostname()}:{os.getpid()}", "texts": report.texts, "seconds": report.seconds}


def resolve_precision(device: str, dtype: str) -> str:
    """A task: what ``--dtype auto`` means on the cluster's workers."""
    from pyserini_xqg.embedding import choose_precision, resolve_device

    return choose_precision(dtype, resolve_device(device))


def encode_on_ray(args: argparse.Namespace) -> None:
    """Encode all shards that the options of ``pyserini_xqg.encode`` describe on a Ray cluster, and merge them.

    Raises :class:`XqgError` as encoding and merging do, and if Ray, a cluster or a shared disk is missing. What was
    encoded by then stays, and the same call continues it.
    """
    args = _absolute(args)
    directory = _shards(args)
    with ray_cluster(args.ray_address) as ray:
        gpus = int(args.device.startswith("cuda") or (args.device == "auto" and "GPU" in ray.cluster_resources()))
        if gpus or args.device == "auto":
            args.device = "cuda:0" if gpus else "cpu"  # a task sees no device but its own
        worker = Worker(args.threads or 1, gpus)
        if args.overwrite:
            _clear(directory)
        # Here too, so that a fault in the corpus is found once, and the workers need not look for it again.
        languages = parse_languages(args.languages) if args.languages is not None else None
        scan_once(Corpus(args.corpus, args.queries, languages, args.max_queries), directory)
        # The same for all: shards of unlike arithmetic do not make one store.
        ((_, args.dtype),) = run_jobs(ray, resolve_precision, [(args.device, args.dtype)], worker)
        done = {}
        with progress(total=args.shard_num, unit="shards", description="encoding") as bar:
            calls = [(args, number) for number in range(args.shard_num)]
            for number, result in run_jobs(ray, encode_shard, calls, worker):
                done[number] = result
                bar.update()
                how = f"by {result['worker']}, {result['texts'] / max(result['seconds'], 1e-9):,.0f} texts/s"
                say(
                    f"{len(done)} of {args.shard_num} shards complete: shard {number} "
                    f"{how if result['texts'] else 'was before'}"
                )
    shards = [directory / str(number) for number in range(args.shard_num)]
    for number, shard in enumerate(shards):
        if not (shard / STORE_NAME).exists():
            raise XqgError(
                f"{shard}: is not on this machine's disk; {done[number]['worker']} wrote it to its own. Put --output "
                "on a disk that all machines share, or copy the shards here and join them with python -m "
                "pyserini_xqg.store merge."
            )
    merge_shards(shards, args.output, overwrite=args.overwrite)
    _clear(directory)


def _shards(args: argparse.Namespace) -> Path:
    return Path(f"{args.output.rstrip(os.sep)}.shards")


def _absolute(args: argparse.Namespace) -> argparse.Namespace:
    """The options with paths that mean the same in the workers' directories."""
    args = argparse.Namespace(**vars(args))
    args.output = os.path.abspath(args.output)
    if not args.corpus.startswith(IRDS_PREFIX):
        args.corpus = os.path.abspath(args.corpus)
    args.queries = [os.path.abspath(path) for path in args.queries]
    for name in ("encoder", "tokenizer"):
        if (value := getattr(args, name)) and Path(value).exists():
            setattr(args, name, os.path.abspath(value))
    return args


def _clear(directory: Path) -> None:
    """Remove a directory of shards, if it is one."""
    if not directory.exists():
        return
    for entry in directory.iterdir():
        if not entry.name.isdigit() and not entry.name.lstrip(".").startswith("corpus-"):
            raise XqgError(f"{entry}: no shard, in a directory for shards alone. Move it away.")
    shutil.rmtree(directory)

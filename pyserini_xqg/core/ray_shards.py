"""``--engine ray``: the shards of a corpus as tasks on a Ray cluster, merged at the end.

The shards lie in ``<output>.shards``, on a disk that all machines share. A task that was lost with its machine
continues its shard where it stopped; shards that are finished stay so, also over runs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.ray import ProgressLines, Worker, ray_cluster, run_jobs
from pyserini_xqg.text.corpus import IRDS_PREFIX

LOCK_SECONDS = 180.0
"""A lost machine's lock on its shard ends with its process, on a network file system up to some minutes later."""

_OWN = re.compile(r"\.?(\d+(\..*)?|corpus-.*)")
"""Names in a directory of shards: a number with what belongs to it, and what the check of the corpus found."""


@dataclass(frozen=True)
class ShardedCommand:
    """What a command does with its options ``args``; tasks run ``settle`` and ``work`` on the workers.

    doing : what the command does, for the progress. unit : what its speed is counted in.
    models : options that name a model, which may be a directory.
    check : called once, before any task, with the directory of the shards.
    settle : options that must be the same for all shards, with their values on a worker.
    work : makes one shard (options, its path, its number, seconds to wait for a lock, report) or continues it.
    suffix : ends the name of a shard. mark : the file that a finished shard has, below its path; empty for itself.
    merge : joins the shards (paths, output, overwrite). joined_by : the command that does so.
    begins_anew : whether ``--overwrite`` also discards the shards of a run that was broken off.
    """

    doing: str
    unit: str
    models: tuple[str, ...]
    check: Callable[[argparse.Namespace, Path], None]
    settle: Callable[[argparse.Namespace], dict[str, Any]]
    work: Callable[[argparse.Namespace, str, int, float, ProgressLines], None]
    merge: Callable[[Sequence[Path], str, bool], None]
    joined_by: str
    suffix: str = ""
    mark: str = ""
    begins_anew: bool = True

    def path(self, args: argparse.Namespace, number: int) -> Path:
        """Where a shard lies."""
        return shards_directory(args.output) / f"{number}{self.suffix}"


def shards_directory(output: str) -> Path:
    """The directory of an output's shards."""
    return Path(f"{output.rstrip(os.sep)}.shards")


def make_shard(command: ShardedCommand, args: argparse.Namespace, number: int) -> dict[str, Any]:
    """One task: make a shard, or continue it; returns which worker did how much."""
    report = ProgressLines(f"shard {number} of {args.shard_num}", command.unit)
    command.work(args, str(command.path(args, number)), number, LOCK_SECONDS, report)
    return {"worker": f"{socket.gethostname()}:{os.getpid()}", "done": report.done, "seconds": report.seconds}


def run_on_ray(args: argparse.Namespace, command: ShardedCommand) -> None:
    """Make all shards that the options describe on a Ray cluster, and merge them.

    Raises :class:`XqgError` as the work and the merge do, and if Ray, a cluster or a shared disk is missing. What was
    done by then stays, and the same call continues it.
    """
    args = _absolute(args, command.models)
    directory = shards_directory(args.output)
    with ray_cluster(args.ray_address) as ray:
        gpus = int(args.device.startswith("cuda") or (args.device == "auto" and "GPU" in ray.cluster_resources()))
        if gpus or args.device == "auto":
            args.device = "cuda:0" if gpus else "cpu"  # a task sees no device but its own
        worker = Worker(args.threads or 1, gpus)
        if args.overwrite and command.begins_anew:
            _clear(directory)
        # Here too, so that a fault in the corpus is found once, and the workers need not look for it again.
        command.check(args, directory)
        # The same for all: shards of unlike arithmetic do not make one whole.
        ((_, settled),) = run_jobs(ray, command.settle, [(args,)], worker)
        for name, value in settled.items():
            setattr(args, name, value)
        workers = {}
        with progress(total=args.shard_num, unit="shards", description=command.doing) as bar:
            calls = [(command, args, number) for number in range(args.shard_num)]
            for number, result in run_jobs(ray, make_shard, calls, worker):
                workers[number] = result["worker"]
                bar.update()
                speed = result["done"] / max(result["seconds"], 1e-9)
                how = f"by {result['worker']}, {speed:,.0f} {command.unit}/s" if result["done"] else "was before"
                say(f"{len(workers)} of {args.shard_num} shards complete: shard {number} {how}")
    shards = [command.path(args, number) for number in range(args.shard_num)]
    for number, shard in enumerate(shards):
        if not (shard / command.mark).exists():
            raise XqgError(
                f"{shard}: is not on this machine's disk; {workers[number]} wrote it to its own. Put --output on a "
                f"disk that all machines share, or copy the shards here and join them with {command.joined_by}."
            )
    command.merge(shards, args.output, args.overwrite)
    _clear(directory)


def _absolute(args: argparse.Namespace, models: Sequence[str]) -> argparse.Namespace:
    """The options with paths that mean the same in the workers' directories."""
    args = argparse.Namespace(**vars(args))
    args.output = os.path.abspath(args.output)
    if not args.corpus.startswith(IRDS_PREFIX):
        args.corpus = os.path.abspath(args.corpus)
    if "queries" in args:
        args.queries = [os.path.abspath(path) for path in args.queries]
    for name in models:
        if (value := getattr(args, name)) and Path(value).exists():
            setattr(args, name, os.path.abspath(value))
    return args


def _clear(directory: Path) -> None:
    """Remove a directory of shards, if it is one."""
    if not directory.exists():
        return
    for entry in directory.iterdir():
        if not _OWN.fullmatch(entry.name):
            raise XqgError(f"{entry}: no shard, in a directory for shards alone. Move it away.")
    shutil.rmtree(directory)

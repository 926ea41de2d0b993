"""``--engine ray``: the shards of a corpus as tasks on a Ray cluster, merged at the end.

A task is a call of a function that the workers can import. It must be resumable: it may be killed with its machine at
any moment, and is then run again elsewhere, with the same arguments. The shards lie in ``<output>.shards``, on a disk
that all machines share; those that are finished stay so, also over runs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import changed, values_of
from pyserini_xqg.core.shards import Shard

RETRIES = 10
"""How often Ray runs a job again that was lost with its worker or machine; faults in the input are never retried."""
REPORT_SECONDS = 10.0


def _import_ray() -> ModuleType:
    # Both are read at import. Lines that differ only in their numbers, such as progress, would be held back.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise XqgError(
            f"--engine ray: Ray cannot be imported ({error}). Install it: pip install 'ray>=2.9,<3'."
        ) from error
    return ray


@contextmanager
def ray_cluster(address: str | None = None) -> Iterator[ModuleType]:
    """Connect to the cluster at ``address``, or to one that ``RAY_ADDRESS`` names or that runs here, or start one."""
    ray = _import_ray()
    try:
        _check_reachable(address)
        ray.init(address=address, log_to_driver=True, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise XqgError(
            f"--ray-address {address}: no Ray cluster can be reached there ({reason}). Start one with `ray start "
            "--head`, pass its address, or leave --ray-address out for a cluster on this machine."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()  # ends this program's tasks too


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes, with pages of log, where nothing answers; :class:`OSError` then."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def run_jobs(
    ray: ModuleType, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], cpus: int, gpus: int
) -> Iterator[tuple[int, Any]]:
    """Run ``function(*call)`` for each call, on so many CPU cores and CUDA devices, as many at once as there is room.

    Yields (number of the call, its result) as they end. Raises :class:`XqgError` if the cluster can never run
    them, if a call raises it, and if one was lost more than ``RETRIES`` times.
    """
    _check_room(ray, cpus, gpus)
    task = ray.remote(function).options(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, scheduling_strategy="SPREAD")
    running = {task.remote(*call): number for number, call in enumerate(calls)}
    while running:
        (done,), _ = ray.wait(list(running), num_returns=1)
        try:
            result = ray.get(done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, XqgError):
                raise XqgError(str(error.cause)) from error
            raise
        except ray.exceptions.RayError as error:
            raise XqgError(
                f"part {running[done]}: lost {RETRIES + 1} times with its worker ({str(error).splitlines()[0]}). See "
                "Ray's logs; the same command continues what is there."
            ) from error
        yield running.pop(done), result


def _check_room(ray: ModuleType, cpus: int, gpus: int) -> None:
    """Ray waits for ever where no machine is large enough."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        most = ", ".join(f"{max(node.get(kind, 0) for node in nodes):g} {kind}" for kind in ("CPU", "GPU"))
        raise XqgError(
            f"--engine ray: each part needs {cpus} CPU and {gpus} GPU, and the largest machines of the "
            f"cluster have {most}. Choose another --device or fewer --threads, or add machines."
        )


class ProgressLines:
    """Reports from where there is no terminal: a line every ``REPORT_SECONDS``, or every ``seconds``.

    ``done`` and ``seconds`` tell in the end what this process did itself, in its ``unit``, and in what time.
    """

    def __init__(self, name: str, unit: str = "texts", every: float | None = None) -> None:
        self.name = name
        self.unit = unit
        self.every = every
        self.done = 0
        self._started = self._last = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def __call__(self, passages: int, total: int, more: int, note: str = "") -> None:
        """``passages`` of ``total`` are done; ``more`` units since the last call; ``note`` ends the line."""
        self.done += more
        if time.monotonic() - self._last >= (REPORT_SECONDS if self.every is None else self.every):
            self._last = time.monotonic()
            speed = f"{self.done / self.seconds:,.0f} {self.unit}/s"
            say(f"{self.name}: {passages:,} of {total:,} passages, {speed}{note}")


LOCK_SECONDS = 180.0
"""A lost machine's lock on its shard ends with its process, on a network file system up to some minutes later."""

_OWN = re.compile(r"\.?(\d+(\..*)?|corpus-.*)")
"""Names in a directory of shards: a number with what belongs to it, and what the check of the corpus found."""


@dataclass(frozen=True)
class ShardedCommand:
    """What a command does with its options; tasks run ``settle`` and ``work`` on the workers.

    doing : what the command does, for the progress. unit : what its speed is counted in.
    paths : options that may be paths of files or directories, which workers must find.
    check : called once, before any task, with the directory of the shards.
    settle : options that must be the same for all shards, with their values on a worker.
    work : makes one shard (options, its path, seconds to wait for a lock, report) or continues it.
    suffix : ends the name of a shard. mark : the file that a finished shard has, below its path; empty for itself.
    merge : joins the shards (paths, output, overwrite). joined_by : the command that does so.
    begins_anew : whether ``--overwrite`` also discards the shards of a run that was broken off.
    """

    doing: str
    unit: str
    paths: tuple[str, ...]
    check: Callable[[Any, Path], None]
    settle: Callable[[Any], dict[str, Any]]
    work: Callable[[Any, str, float, ProgressLines], None]
    merge: Callable[[Sequence[Path], str, bool], None]
    joined_by: str
    suffix: str = ""
    mark: str = ""
    begins_anew: bool = True

    def path(self, output: str, number: int) -> Path:
        """Where a shard lies."""
        return shards_directory(output) / f"{number}{self.suffix}"


def shards_directory(output: str) -> Path:
    """The directory of an output's shards."""
    return Path(f"{output.rstrip(os.sep)}.shards")


def make_shard(command: ShardedCommand, options: Any, number: int) -> dict[str, Any]:
    """One task: make a shard, or continue it; returns which worker did how much."""
    values = values_of(options)
    report = ProgressLines(f"shard {number} of {values['shard_num']}", command.unit)
    # It is --engine local that takes a shard's number.
    overwrite = values["overwrite"] and not command.begins_anew
    mine = changed(
        options,
        engine="local",
        ray_address=None,
        shard_id=number,
        part=Shard(number, values["shard_num"]),
        overwrite=overwrite,
    )
    command.work(mine, str(command.path(values["output"], number)), LOCK_SECONDS, report)
    return {"worker": f"{socket.gethostname()}:{os.getpid()}", "done": report.done, "seconds": report.seconds}


def run_on_ray(options: Any, command: ShardedCommand) -> None:
    """Make all shards that a command's options describe on a Ray cluster, and merge them.

    Raises :class:`XqgError` as the work and the merge do, and if Ray, a cluster or a shared disk is missing. What was
    done by then stays, and the same call continues it.
    """
    options = _absolute(options, command.paths)
    values = values_of(options)
    output, shards, overwrite = values["output"], values["shard_num"], values["overwrite"]
    directory = shards_directory(output)
    with ray_cluster(values["ray_address"]) as ray:
        device = values["device"]
        gpus = int(device.startswith("cuda") or (device == "auto" and "GPU" in ray.cluster_resources()))
        if gpus or device == "auto":
            options = changed(options, device="cuda:0" if gpus else "cpu")  # a task sees no device but its own
        room = values["threads"] or 1, gpus
        if overwrite and command.begins_anew:
            _clear(directory)
        # Here too, so that a fault in the corpus is found once, and the workers need not look for it again.
        command.check(options, directory)
        # The same for all: shards of unlike arithmetic do not make one whole.
        ((_, settled),) = run_jobs(ray, command.settle, [(options,)], *room)
        options = changed(options, **settled)
        workers = {}
        with progress(total=shards, unit="shards", description=command.doing) as bar:
            calls = [(command, options, number) for number in range(shards)]
            for number, result in run_jobs(ray, make_shard, calls, *room):
                workers[number] = result["worker"]
                bar.update()
                speed = result["done"] / max(result["seconds"], 1e-9)
                how = f"by {result['worker']}, {speed:,.0f} {command.unit}/s" if result["done"] else "was before"
                say(f"{len(workers)} of {shards} shards complete: shard {number} {how}")
    paths = [command.path(output, number) for number in range(shards)]
    for number, path in enumerate(paths):
        if not (path / command.mark).exists():
            raise XqgError(
                f"{path}: is not on this machine's disk; {workers[number]} wrote it to its own. Put --output on a "
                f"disk that all machines share, or copy the shards here and join them with {command.joined_by}."
            )
    command.merge(paths, output, overwrite)
    _clear(directory)


def _absolute(options: Any, paths: Sequence[str]) -> Any:
    """The options with paths that mean the same in the workers' directories."""

    def absolute(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(absolute, value))
        return os.path.abspath(value) if isinstance(value, str) and Path(value).exists() else value

    values = values_of(options)
    found = {name: absolute(values[name]) for name in paths if name in values}
    return changed(options, **found, output=os.path.abspath(values["output"]))


def _clear(directory: Path) -> None:
    """Remove a directory of shards, if it is one."""
    if not directory.exists():
        return
    for entry in directory.iterdir():
        if not _OWN.fullmatch(entry.name):
            raise XqgError(f"{entry}: no shard, in a directory for shards alone. Move it away.")
    shutil.rmtree(directory)

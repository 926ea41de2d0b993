"""Jobs that can be done anywhere and begun again, on a Ray cluster: the machinery behind ``--engine ray``.

A job is a call of a function that the workers can import. It must be resumable: it may be killed with its machine
at any moment, and is then run again elsewhere, with the same arguments.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError

RETRIES = 10
"""How often Ray runs a job again that was lost with its worker or machine; faults in the input are never retried."""
REPORT_SECONDS = 10.0


@dataclass(frozen=True)
class Worker:
    """What one job takes: CPU cores, and CUDA devices, which it then sees as the only ones."""

    cpus: int = 1
    gpus: int = 0


def _import_ray() -> ModuleType:
    # Both are read at import. Lines that differ only in their numbers, such as progress, would be held back.
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise XqgError(
            f"--engine ray: Ray cannot be imported ({error}). Install it: pip install 'pyserini-xqg[ray]'."
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
    ray: ModuleType, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], worker: Worker
) -> Iterator[tuple[int, Any]]:
    """Run ``function(*call)`` for each call, as many at once as the cluster has room for.

    Yields (number of the call, its result) as they end. Raises :class:`XqgError` if the cluster can never run
    them, if a call raises it, and if one was lost more than ``RETRIES`` times.
    """
    _check_room(ray, worker)
    task = ray.remote(function).options(
        num_cpus=worker.cpus, num_gpus=worker.gpus, max_retries=RETRIES, scheduling_strategy="SPREAD"
    )
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


def _check_room(ray: ModuleType, worker: Worker) -> None:
    """Ray waits for ever where no machine is large enough."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= worker.cpus and node.get("GPU", 0) >= worker.gpus for node in nodes):
        most = ", ".join(f"{max(node.get(kind, 0) for node in nodes):g} {kind}" for kind in ("CPU", "GPU"))
        raise XqgError(
            f"--engine ray: each part needs {worker.cpus} CPU and {worker.gpus} GPU, and the largest machines of the "
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

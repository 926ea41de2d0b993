"""Options that the sub-commands of ``python -m pyserini_xqg.train`` share."""

from __future__ import annotations

import argparse
from typing import Any

from pyserini_xqg.core.cli import positive
from pyserini_xqg.core.errors import XqgError


def number_of_at_least_0(value: str) -> int:
    """An argparse type: a whole number of at least 0."""
    number = int(value)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{value} is not a number of at least 0")
    return number


def held_out_fraction(value: str) -> float | None:
    """The fraction of passages that ``--held-out`` names; None if it names data.

    >>> held_out_fraction("0.2"), held_out_fraction("dev.jsonl")
    (0.2, None)
    """
    try:
        fraction = float(value)
    except ValueError:
        return None
    if not 0 <= fraction < 1:
        raise XqgError(f"--held-out {value}: must be at least 0 and below 1, or a file of pairs.")
    return fraction


def add_device_arguments(group: Any) -> None:
    """``--device`` and ``--dtype``."""
    group.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="cuda: one GPU, or those of the launcher"
    )
    group.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "bfloat16"),
        help="of the arithmetic, weights stay float32; auto: bfloat16 where the device has units for it",
    )


def add_memory_arguments(group: Any) -> None:
    """``--gradient-checkpointing`` and ``--threads``."""
    group.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory, about a third more time: for large models"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")

"""Exact order statistics of float32 values that need not fit in memory: two passes, a megabyte of counters.

A float32 that is no NaN becomes a 32-bit number that sorts as it does. The first pass counts the upper halves of
these numbers, the second the lower halves of those that share the wanted upper half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

_HALF = 1 << 16


def order_statistics(blocks: Callable[[], Iterable[np.ndarray]], ranks: Sequence[int]) -> list[float]:
    """The values that would stand at ``ranks`` (from 0, ascending) if all were sorted; exact, ties included.

    ``blocks`` is called twice and gives the same float32 values each time, in any order, without NaN.
    Raises :class:`IndexError` for a rank that there is no value for.

    >>> order_statistics(lambda: [np.float32([3, -1]), np.float32([2])], [0, 2])
    [-1.0, 3.0]
    """
    upper = np.zeros(_HALF, dtype=np.int64)
    for block in blocks():
        upper += np.bincount(_sortable(block) >> 16, minlength=_HALF)
    ends = np.cumsum(upper)
    for rank in ranks:
        if not 0 <= rank < ends[-1]:
            raise IndexError(f"rank {rank} of {ends[-1]} values")
    halves = [int(np.searchsorted(ends, rank, side="right")) for rank in ranks]
    lower = {half: np.zeros(_HALF, dtype=np.int64) for half in halves}
    for block in blocks():
        numbers = _sortable(block)
        for half, counts in lower.items():
            counts += np.bincount(numbers[numbers >> 16 == half] & (_HALF - 1), minlength=_HALF)
    found = []
    for rank, half in zip(ranks, halves, strict=True):
        before = int(ends[half] - upper[half])
        rest = int(np.searchsorted(np.cumsum(lower[half]), rank - before, side="right"))
        found.append(_value((half << 16) | rest))
    return found


def _sortable(values: np.ndarray) -> np.ndarray:
    """int64 numbers below 2**32 that sort as the float32 ``values`` do."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31, bits ^ 0xFFFFFFFF, bits | 0x80000000)


def _value(number: int) -> float:
    bits = number ^ 0x80000000 if number >> 31 else number ^ 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))

"""Word alignment in parallel sentences: which English pieces a new piece translates, as a start for its embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

LONGEST = 40
"""Pieces of a sentence that are looked at."""

_ROUNDS = 4
_SHARPNESS = 1.5  # of the links: above 1, likely ones count for more


def translation_table(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], source_size: int, target_size: int
) -> Any:
    """IBM model 1: how often each source piece was the translation of each target piece.

    IBM model 1 (Brown et al. 1993) explains every source piece by one of the target pieces of its sentence;
    expectation maximisation finds the probabilities. Returns a SciPy sparse array (source_size, target_size) of
    expected numbers of links after four rounds.

    >>> pieces = [np.array([0, 1]), np.array([0])]
    >>> translation_table(pieces, [np.array([5, 6]), np.array([5])], 2, 7).toarray()[:, 5:].round(1)
    array([[1.8, 0.2],
           [0.1, 0.9]])
    """
    from scipy import sparse

    rows, columns, owners = _links(sources, targets)
    links, which = np.unique(rows * np.int64(target_size) + columns, return_inverse=True)
    source, target = links // target_size, links % target_size
    counts = np.bincount(which, minlength=len(links)).astype(np.float64)
    for _ in range(_ROUNDS):
        probability = counts / np.bincount(target, counts, minlength=target_size)[target]
        weights = probability[which]
        counts = np.bincount(which, weights / np.bincount(owners, weights)[owners], minlength=len(links))
    return sparse.csr_array((counts, (source, target)), shape=(source_size, target_size))


def _links(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of pieces in each pair of sentences, and which occurrence of a source piece each belongs to."""
    rows, columns, owners = [], [], []
    occurrences = 0
    for source, target in zip(sources, targets, strict=True):
        source, target = source[:LONGEST], target[:LONGEST]
        if not len(source) or not len(target):
            continue
        rows.append(np.repeat(source, len(target)))
        columns.append(np.tile(target, len(source)))
        owners.append(np.repeat(np.arange(occurrences, occurrences + len(source)), len(target)))
        occurrences += len(source)
    if not rows:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    return np.concatenate(rows).astype(np.int64), np.concatenate(columns).astype(np.int64), np.concatenate(owners)


def translated_embeddings(table: Any, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the target pieces' embeddings by their links, (source_size, dimension), and which rows have any."""
    sharp = table.copy()
    totals = np.asarray(table.sum(axis=1)).ravel()
    per_link = np.repeat(np.maximum(totals, 1e-12), np.diff(sharp.indptr))
    sharp.data = (sharp.data / per_link) ** _SHARPNESS
    sums = np.asarray(sharp.sum(axis=1)).ravel()
    mean = (sharp @ embeddings.astype(np.float64)) / np.maximum(sums, 1e-12)[:, None]
    return mean.astype(np.float32), totals > 0

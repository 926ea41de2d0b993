"""Cross-validation over topics: a value is chosen on some topics and reported on others."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyserini_xqg.compare.grid import FACTORS, Grid, Point, distinct
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.means import AVERAGE, means_by_language


def related_topics(topics: Iterable[str], qrels: Iterable[Any] | None) -> list[int]:
    """The group of each topic: those that share a relevant passage, directly or through others, are in one.

    Translations of one question are such a group: with one of them among the topics that a value is chosen on, the
    others would not be unseen.

    >>> from ir_measures import Qrel
    >>> related_topics(["a", "b", "c"], [Qrel("a", "d1", 1), Qrel("c", "d1", 1), Qrel("b", "d1", 0)])
    [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = {topic: row for row, topic in enumerate(topics)}
    relevant = [
        (rows[qrel.query_id], qrel.doc_id) for qrel in qrels or () if qrel.relevance > 0 and qrel.query_id in rows
    ]
    nodes = {docid: len(rows) + place for place, docid in enumerate(dict.fromkeys(docid for _, docid in relevant))}
    edges = np.array([(row, nodes[docid]) for row, docid in relevant], dtype=int).reshape(-1, 2)
    size = len(rows) + len(nodes)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1][: len(rows)].tolist()


def split_topics(groups: Mapping[str, int], languages: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """Topic to its fold, from 0; groups stay together, and each language is spread evenly over the folds.

    groups : topic to its group, as :func:`related_topics` has them. Raises :class:`XqgError` for more folds
    than groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    number = len(set(groups.values()))
    if folds > number:
        raise XqgError(f"--folds {folds}: there are {number} topics (related ones taken as one). Use fewer folds.")
    topics = list(groups)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of = {}
    with warnings.catch_warnings():  # about languages with fewer topics than folds
        warnings.simplefilter("ignore", UserWarning)
        split = splitter.split(topics, [languages[topic] for topic in topics], list(groups.values()))
        for fold, (_, rows) in enumerate(split):
            fold_of |= {topics[row]: fold for row in rows}
    return {topic: fold_of[topic] for topic in topics}


@dataclass(frozen=True)
class Validated:
    """One setting of the factors that are not chosen, and what was chosen for each fold.

    point : any point of the setting. chosen : fold to point, chosen on the topics of the other folds.
    scores : fold to the mean over languages there of what was chosen. candidates : what there was to choose from.
    """

    point: Point
    factors: tuple[str, ...]
    candidates: tuple[Point, ...]
    chosen: tuple[Point, ...]
    scores: tuple[float, ...]

    @property
    def name(self) -> str:
        """The name of the run, without the store."""
        kept = [part for factor, part in self.point.name_parts().items() if factor not in self.factors]
        return "-".join([f"cv-{'+'.join(self.factors)}", *kept])


def cross_validate(
    grid: Grid,
    factors: Sequence[str],
    values: Mapping[Point, Mapping[str, float]],
    fold_of: Mapping[str, int],
    languages: Mapping[str, str],
) -> list[Validated]:
    """Choose the values of ``factors`` for each fold on the others, for every setting of the other factors.

    values : point (as searched) to query id to value. The best unweighted mean over languages is taken; among equals
    the first in the order of the grid. Raises :class:`XqgError` where there is nothing to choose.
    """
    check_choice(grid, factors)
    # The length of a plain vector depends on alpha where it is left open, so it is no setting of its own then.
    others = [factor for factor in FACTORS if factor not in factors and (factor == "store" or grid.values[factor])]
    settings: dict[Hashable, list[Point]] = {}
    for point in grid.points:
        settings.setdefault(tuple(point.value(name) for name in others), []).append(point)
    found = []
    for points in settings.values():
        candidates = tuple(dict.fromkeys(point.searched for point in points))
        augmented = next((point for point in points if not point.is_plain), None)
        if augmented is None:  # such as 0 queries, whatever alpha
            continue
        chosen, scores = [], []
        for fold in range(max(fold_of.values()) + 1):
            seen = [topic for topic in values[candidates[0]] if fold_of[topic] != fold]
            if not seen:
                raise XqgError(
                    f"--folds: no topic that counts is outside fold {fold + 1}. Use more topics, or fewer folds."
                )
            means = [
                means_by_language({topic: values[candidate][topic] for topic in seen}, languages)[AVERAGE]
                for candidate in candidates
            ]
            best = int(np.argmax(means))  # the first of equals
            chosen.append(candidates[best])
            scores.append(means[best])
        found.append(Validated(augmented, tuple(factors), candidates, tuple(chosen), tuple(scores)))
    return found


def check_choice(grid: Grid, factors: Sequence[str]) -> None:
    """Raise :class:`XqgError` for a factor that the grid leaves no choice of."""
    for factor in distinct(factors, "--cross-validate"):
        if factor not in grid.varied:
            raise XqgError(f"--cross-validate {factor}: the grid has one value for it. Name at least two.")

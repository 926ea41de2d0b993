"""Search of vectors: exactly, while they are composed from a store; and by Pyserini's own searcher, for the times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.compare.grid import Point
from pyserini_xqg.compare.multi_vector import entries_needed, entry_blocks
from pyserini_xqg.compare.runs import Ranking, best_of_passages, median_milliseconds
from pyserini_xqg.core.files import read_ahead
from pyserini_xqg.vectors.exact import ExactSearch, read_docids
from pyserini_xqg.vectors.layout import FUSED
from pyserini_xqg.vectors.manifest import MEAN_ROUTE, PLAIN_ROUTE
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.vectors.store import Block, Keep

_POINTS_AT_ONCE = 8
_BLOCKS_BYTES = 1 << 28


@dataclass(frozen=True)
class TopicVectors:
    """What is searched for.

    ids : topics, in the order of the runs. vectors : (topics, dimension) float32. languages : topic to language, for
    routed points; empty where they are not known.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    languages: Mapping[str, str]

    def routes(self, recipe: Recipe) -> list[str]:
        """For each topic, the part of a routed index (:meth:`Recipe.routes`) that serves it; "" if it is not routed."""
        if not recipe.route:
            return [""] * len(self.ids)
        others = {recipe.passage_language: PLAIN_ROUTE}
        languages = [self.languages[topic] for topic in self.ids]
        return [code if code in recipe.languages else others.get(code, MEAN_ROUTE) for code in languages]


def passes(points: Iterable[Point]) -> list[list[Point]]:
    """Points that read the same query vectors, together: one pass over the store serves some of them at once."""
    groups: dict[Any, list[Point]] = {}
    for point in points:
        groups.setdefault(point.queries, []).append(point)
    return [
        group[first : first + _POINTS_AT_ONCE]
        for group in groups.values()
        for first in range(0, len(group), _POINTS_AT_ONCE)
    ]


@dataclass
class _Route:
    """One index of a point, composed block by block, and searched for the topics in ``rows``."""

    recipe: Recipe
    basis: np.ndarray | None
    rows: np.ndarray
    search: ExactSearch

    def add(self, block: Block) -> None:
        read = {*self.recipe.languages_read, FUSED}
        sums, counts = ({code: of[code] for code in of if code in read} for of in (block.sums, block.counts))
        self.search.add(self.recipe.apply(block.passages, sums, counts, self.basis))


def search_points(
    store: EmbeddingStore, points: Sequence[Point], topics: TopicVectors, hits: int, bar: Any, keep: Keep | None = None
) -> Iterator[tuple[Point, list[Ranking]]]:
    """Search some points of :func:`passes` in one pass over the store; yields each with its rankings, topic by topic.

    Memory holds a block for each index and the best hits, whatever the number of passages. ``bar`` counts passages;
    ``keep`` says which queries the points' filter keeps.
    """
    recipe = points[0].recipe
    languages = () if points[0].is_plain else recipe.languages or store.languages
    wholes = {point: point.whole(store) for point in points}
    names = {point: np.array(topics.routes(whole)) for point, whole in wholes.items()}
    budget = _BLOCKS_BYTES // sum(len(set(of_point)) for of_point in names.values())
    routes: dict[Point, list[_Route]] = {}
    for point, whole in wholes.items():
        basis, recipes = whole.basis(store), whole.routes() if whole.route else {"": whole}
        routes[point] = []
        for name in np.unique(names[point]):
            rows = np.flatnonzero(names[point] == name)
            search = ExactSearch(topics.vectors[rows], hits, budget)
            routes[point].append(_Route(recipes[name], basis, rows, search))
    for block in read_ahead(store.blocks(languages, recipe.max_queries if languages else None, keep=keep)):
        for route in (route for some in routes.values() for route in some):
            route.add(block)
        bar.update(len(block))
    for point in points:
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for route in routes[point]:
            scores, rows = route.search.result()
            found |= dict(zip(route.rows.tolist(), zip(rows, scores, strict=True), strict=True))
        yield point, _named(store, [found[row] for row in range(len(topics.ids))])


def _named(store: EmbeddingStore, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Ranking]:
    """Rankings from each topic's rows of the store and their scores."""
    names = read_docids(store.docids_path, np.concatenate([rows for rows, _ in found]))
    return [
        [(names[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]
        for rows, scores in found
    ]


def search_entries(store: EmbeddingStore, topics: TopicVectors, hits: int, block_bytes: int = 1 << 22) -> list[Ranking]:
    """The best ``hits`` passages of each topic, each by the best of its vectors: its own and its queries'."""
    search, owners = ExactSearch(topics.vectors, entries_needed(store, hits)), []
    for vectors, owner in entry_blocks(store, block_bytes):
        search.add(vectors)
        owners.append(owner)
    scores, rows = search.result()
    found = []
    for passages, values in zip(np.concatenate(owners)[rows], scores, strict=True):
        _, first = np.unique(passages, return_index=True)
        best = np.sort(first)[:hits]  # of each passage the best entry, which comes first
        found.append((passages[best], values[best]))
    return _named(store, found)


def search_milliseconds(indexes: Sequence[Path], vectors: np.ndarray, hits: int, delimiter: str | None = None) -> float:
    """Median time in which Pyserini searches its index for one topic, with one thread.

    indexes : each topic's. vectors : (topics, dimension). delimiter : between docid and number in the entries' names,
    where passages have several.
    """
    from pyserini_xqg.vectors import fit

    from pyserini.encode import QueryEncoder  # isort: skip
    from pyserini.search.faiss import FaissSearcher  # isort: skip

    fit.guard_searcher()
    encoder = QueryEncoder()  # has no model: the topics come as vectors
    searchers = {path: FaissSearcher(str(path), encoder) for path in set(indexes)}

    def search(row: int) -> Ranking:
        found = searchers[indexes[row]].search(vectors[row][None], hits, threads=1)
        return best_of_passages(found, hits, delimiter)

    return median_milliseconds(search, range(len(vectors)))

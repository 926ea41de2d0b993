"""Search of vectors: exactly, while they are composed from a store; and by Pyserini's own searcher, for the times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.compare.grid import Point
from pyserini_xqg.compare.multi_vector import entry_blocks
from pyserini_xqg.compare.runs import Ranking, median_milliseconds
from pyserini_xqg.core.files import read_ahead
from pyserini_xqg.vectors.exact import ExactSearch, read_docids
from pyserini_xqg.vectors.layout import FUSED
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

    def parts(self, route: bool) -> dict[str | None, np.ndarray]:
        """Rows that are searched together in one index: by language if it is routed, else all (None)."""
        if not route:
            return {None: np.arange(len(self.ids))}
        rows: dict[str | None, list[int]] = {}
        for row, topic in enumerate(self.ids):
            rows.setdefault(self.languages[topic], []).append(row)
        return {language: np.array(rows[language]) for language in sorted(rows)}


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


def search_points(
    store: EmbeddingStore, points: Sequence[Point], topics: TopicVectors, hits: int, bar: Any, keep: Keep | None = None
) -> Iterator[tuple[Point, list[Ranking]]]:
    """Search some points of :func:`passes` in one pass over the store; yields each with its rankings, topic by topic.

    Memory holds a block for each index and the best hits, whatever the number of passages. ``bar`` counts passages;
    ``keep`` says which queries the points' filter keeps.
    """
    recipe = points[0].recipe
    languages = () if points[0].is_plain else recipe.languages or store.languages
    parts = {point: topics.parts(point.recipe.route and not point.is_plain) for point in points}
    number = sum(map(len, parts.values()))
    searches = {
        point: {
            language: ExactSearch(topics.vectors[rows], hits, _BLOCKS_BYTES // number)
            for language, rows in parts[point].items()
        }
        for point in points
    }
    composed = {point: _recipes(store, point, parts[point]) for point in points}
    for block in read_ahead(store.blocks(languages, recipe.max_queries if languages else None, keep=keep)):
        for point, by_language in searches.items():
            for language, search in by_language.items():
                search.add(composed[point][language](block))
        bar.update(len(block))
    for point, by_language in searches.items():
        found: list[Any] = [None] * len(topics.ids)
        for language, search in by_language.items():
            for row, best in zip(parts[point][language], zip(*search.result(), strict=True), strict=True):
                found[row] = best
        names = read_docids(store.docids_path, np.concatenate([rows for _, rows in found]))
        yield (
            point,
            [
                [(names[row], score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]
                for scores, rows in found
            ],
        )


def _recipes(
    store: EmbeddingStore, point: Point, languages: Iterable[str | None]
) -> dict[str | None, Callable[[Block], np.ndarray]]:
    """Language (None for a single index) to what makes the vectors of its index from a block of the store."""
    if point.is_plain:
        whole, basis = point.searched.recipe, None
    else:
        whole = replace(point.recipe, languages=tuple(point.recipe.languages or store.languages))
        basis = whole.basis(store)
    routes = whole.routes() if whole.route else {}
    return {code: partial(_compose, whole if code is None else routes[code], basis) for code in languages}


def _compose(recipe: Recipe, basis: np.ndarray | None, block: Block) -> np.ndarray:
    read = set(recipe.languages_read) | ({FUSED} if FUSED in block.sums else set())
    sums, counts = ({code: rows for code, rows in of.items() if code in read} for of in (block.sums, block.counts))
    return recipe.apply(block.passages, sums, counts, basis)


def search_entries(
    store: EmbeddingStore, topics: TopicVectors, entries: int, hits: int, block_bytes: int = 1 << 22
) -> list[Ranking]:
    """The best ``hits`` passages of each topic, each by the best of its vectors: its own and its queries'.

    entries : how many vectors to look at, :func:`~pyserini_xqg.compare.multi_vector.hits_needed`.
    """
    search, owners = ExactSearch(topics.vectors, entries), []
    for vectors, owner in entry_blocks(store, block_bytes):
        search.add(vectors)
        owners.append(owner)
    scores, rows = search.result()
    owner = np.concatenate(owners)[rows]
    found = []
    for passages, values in zip(owner, scores, strict=True):
        _, first = np.unique(passages, return_index=True)
        best = np.sort(first)[:hits]  # of each passage the best entry, which comes first
        found.append((passages[best], values[best]))
    names = read_docids(store.docids_path, np.concatenate([passages for passages, _ in found]))
    return [
        [(names[row], score) for row, score in zip(passages.tolist(), values.tolist(), strict=True)]
        for passages, values in found
    ]


def search_milliseconds(
    indexes: Mapping[str | None, Path],
    topics: TopicVectors,
    hits: int,
    threads: int,
    repeat: int,
    most: int,
    delimiter: str | None = None,
) -> float:
    """Median time in which Pyserini searches an index for one topic, its vector given.

    Parameters
    ----------
    indexes : language to directory; a single index stands under None.
    hits : vectors to search for. threads : of FAISS.
    repeat, most : each of ``most`` topics is searched so often.
    delimiter : between docid and number in the entries' names, where passages have several.
    """
    from pyserini_xqg.compare.runs import best_of_passages
    from pyserini_xqg.vectors import fit

    from pyserini.encode import QueryEncoder  # isort: skip
    from pyserini.search.faiss import FaissSearcher  # isort: skip

    fit.guard_searcher()
    encoder = QueryEncoder()  # has no model: the topics come as vectors
    searchers = {key: FaissSearcher(str(path), encoder) for key, path in indexes.items()}

    def search(row: int) -> Ranking:
        key = None if None in searchers else topics.languages[topics.ids[row]]
        found = searchers[key].search(topics.vectors[row][None], hits, threads=threads)
        return best_of_passages(found, hits, delimiter)

    return median_milliseconds(search, range(len(topics.ids)), repeat, most)

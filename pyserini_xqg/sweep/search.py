"""Searches grid points: exactly with FAISS in blocks of composed vectors, or with Pyserini's searcher."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.files import read_ahead
from pyserini_xqg.sweep.exact import ExactSearch, read_docids
from pyserini_xqg.sweep.grid import Point
from pyserini_xqg.sweep.outputs import SweepDirectory
from pyserini_xqg.sweep.plan import Sweep
from pyserini_xqg.sweep.stores import reading, score_queries
from pyserini_xqg.sweep.topics import TopicVectors
from pyserini_xqg.vectors.building import build_index
from pyserini_xqg.vectors.recipe import augment
from pyserini_xqg.vectors.store import Block, EmbeddingStore

TAG = "Faiss"  # as in the runs of Pyserini's command
_POINTS_AT_ONCE = 8
_BLOCKS_BYTES = 1 << 28
# As many queries as FAISS multiplies at a time: its products have the same shapes, and rounding, in both searches.
_TOPICS_AT_ONCE = 4096

Ranking = tuple[Sequence[str], Sequence[float]]
"""Docids and scores of one topic, best first."""


@dataclass(frozen=True)
class Topics:
    """What is searched for.

    ids : topics, in the order of the runs. vectors : (topics, dimension). rows : language to the rows of its topics,
    for routed points; empty where there is none.
    """

    ids: Sequence[str]
    vectors: np.ndarray
    rows: Mapping[str, np.ndarray]

    def parts(self, point: Point) -> dict[str | None, np.ndarray]:
        """Rows that are searched together in one index: by language if the point is routed, else all (None)."""
        return dict(self.rows) if point.route else {None: np.arange(len(self.ids))}


def passes(points: Iterable[Point]) -> list[list[Point]]:
    """Points that read the same query vectors, together: one pass over the store serves some of them at once."""
    groups: dict[Any, list[Point]] = {}
    for point in points:
        groups.setdefault((point.queries, point.is_plain), []).append(point)
    return [
        group[first : first + _POINTS_AT_ONCE]
        for group in groups.values()
        for first in range(0, len(group), _POINTS_AT_ONCE)
    ]


def search_exactly(
    store: EmbeddingStore, points: Sequence[Point], topics: Topics, hits: int, bar: Any
) -> Iterator[tuple[Point, Iterator[Ranking]]]:
    """Search some points of :func:`passes` in one pass over the store; yields each with its rankings, topic by topic.

    Memory holds a block for each index and the best hits, whatever the number of passages. ``bar`` counts passages.
    """
    recipe = points[0].recipe
    languages = list(recipe.languages) if recipe.languages is not None else store.languages
    number = sum(len(topics.parts(point)) for point in points)
    searches = {
        point: {
            language: ExactSearch(topics.vectors[rows], hits, _BLOCKS_BYTES // number)
            for language, rows in topics.parts(point).items()
        }
        for point in points
    }
    for block in read_ahead(store.blocks(languages, recipe.max_queries)):
        for point, by_language in searches.items():
            for language, search in by_language.items():
                search.add(_compose(block, point, language))
        bar.update(len(block))
    for point, by_language in searches.items():
        yield point, _rankings(store.docids_path, by_language, topics.parts(point), len(topics.ids))


def _compose(block: Block, point: Point, language: str | None) -> np.ndarray:
    """Vectors of the index of a point; of a routed one, of its index for ``language``."""
    passages, sums, counts = block.passages, block.sums, block.counts
    if language is not None:
        sums, counts = {language: sums[language]}, {language: counts[language]}
    recipe = point.recipe
    return augment(passages, sums, counts, recipe.alpha, recipe.aggregate, recipe.normalize)


def _rankings(
    docids: Path, searches: Mapping[str | None, ExactSearch], parts: Mapping[str | None, np.ndarray], topics: int
) -> Iterator[Ranking]:
    found: list[Any] = [None] * topics
    for language, search in searches.items():
        scores, rows = search.result()
        for place, topic in enumerate(parts[language]):
            found[topic] = rows[place], scores[place]
    names = read_docids(docids, np.concatenate([rows for rows, _ in found]))
    for rows, scores in found:
        yield [names[row] for row in rows.tolist()], scores.tolist()


def search_with_pyserini(
    store: EmbeddingStore, point: Point, topics: Topics, hits: int, directory: Path
) -> Iterator[Ranking]:
    """Build the point's index, search it with Pyserini's ``FaissSearcher``, remove it; yields rankings by topic.

    Queries are searched by their vectors, which Pyserini takes as well as texts, so that they are not encoded for each
    index again.
    """
    import faiss

    from pyserini_xqg.vectors import encoders, fit

    encoders.register_encoders()
    fit.guard_searcher()
    from pyserini.encode import QueryEncoder
    from pyserini.search.faiss import FaissSearcher

    shutil.rmtree(directory, ignore_errors=True)  # what a killed sweep left
    try:
        if point.route:
            build_index(store, directory / "index", replace(point.recipe, languages=tuple(topics.rows), route=True))
        else:
            build_index(store, directory / "index", point.recipe)
        found: list[Any] = [None] * len(topics.ids)
        for language, rows in topics.parts(point).items():
            place = directory / "index" / (language or "")
            searcher = FaissSearcher(str(place), QueryEncoder())  # without a model: nothing is encoded here
            for first in range(0, len(rows), _TOPICS_AT_ONCE):
                some = rows[first : first + _TOPICS_AT_ONCE]
                ids = [topics.ids[row] for row in some]
                hits_of = searcher.batch_search(topics.vectors[some], ids, hits, faiss.omp_get_max_threads())
                for row, topic in zip(some, ids, strict=True):
                    found[row] = [hit.docid for hit in hits_of[topic]], [float(hit.score) for hit in hits_of[topic]]
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    yield from found


def run_lines(topics: Sequence[str], rankings: Iterable[Ranking]) -> Iterator[str]:
    r"""The lines of a TREC run, as Pyserini writes them.

    >>> list(run_lines(["q1"], [(["d7"], [12.5])]))
    ['q1 Q0 d7 1 12.500000 Faiss\n']
    """
    for topic, (docids, scores) in zip(topics, rankings, strict=True):
        for rank, (docid, score) in enumerate(zip(docids, scores, strict=True), start=1):
            yield f"{topic} Q0 {docid} {rank} {score:.6f} {TAG}\n"


def search_missing(
    sweep: Sweep, directory: SweepDirectory, searcher: str, hits: int, device: str, precision: str
) -> None:
    """Write the runs that are not there yet. searcher : ``faiss`` or ``pyserini``."""
    runs = sweep.grid.runs
    todo = [point for point in runs if not directory.is_done(sweep.name(point))]
    say(f"{directory.path}: {len(runs)} runs, {len(runs) - len(todo)} of them done")
    if not todo:
        return
    scores = score_queries(sweep.stores, todo, directory.path / "scores")
    vectors = TopicVectors(sweep.topics, device, precision)
    ids = list(sweep.topics)
    together = passes(todo) if searcher == "faiss" else [[point] for point in todo]
    total = sum(sweep.stores[points[0].store].passages for points in together)
    with progress(total=total, unit="passages", description=f"searching {len(todo)} points") as bar:
        for points in together:
            store = reading(sweep.stores, scores, points[0])
            topics = Topics(ids, vectors.of(sweep.stores[points[0].store]), sweep.rows)
            if searcher == "faiss":
                for point, rankings in search_exactly(store, points, topics, hits, bar):
                    directory.write_run(sweep.name(point), run_lines(ids, rankings))
            else:
                rankings = search_with_pyserini(store, points[0], topics, hits, directory.path / ".index")
                directory.write_run(sweep.name(points[0]), run_lines(ids, rankings))
                bar.update(store.passages)

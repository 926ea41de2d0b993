"""The stores that a sweep reads, what each of them can give, and the queries that a filter leaves in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file
from pyserini_xqg.queries.scores import QueryScores
from pyserini_xqg.queries.scoring import score_store
from pyserini_xqg.queries.selection import Selection, thresholds
from pyserini_xqg.sweep.grid import Point
from pyserini_xqg.vectors.store import EmbeddingStore, sum_first

_BLOCK_BYTES = 1 << 22


def open_stores(named: Sequence[str]) -> dict[str, EmbeddingStore]:
    """Stores by name, from ``NAME=DIR`` or ``DIR`` (its own name is the store's then).

    Raises :class:`XqgError` for a name given twice or not fit for a file, and for stores of other passages.
    """
    stores: dict[str, EmbeddingStore] = {}
    for text in named:
        name, equals, directory = text.partition("=")
        if not equals or "/" in name:
            name, directory = Path(text).resolve().name, text
        if not name or not all(character.isalnum() or character in "._-+" for character in name):
            raise XqgError(f"--store {text}: {name!r} cannot name files. Write NAME=DIR, with letters and digits.")
        if name in stores:
            raise XqgError(f"--store {text}: another store is named {name!r}. Write NAME=DIR with another name.")
        stores[name] = EmbeddingStore(directory)
        if not stores[name].languages:
            raise XqgError(
                f"{directory}: has no generated queries, so nothing can be varied. Encode a corpus that has some."
            )
    digests = {name: sha256_file(store.docids_path) for name, store in stores.items()}
    first = next(iter(stores))
    for name, digest in digests.items():
        if digest != digests[first]:
            raise XqgError(
                f"{stores[name].directory}: other passages than {stores[first].directory}, or in another order, so "
                "their scores cannot be compared. Sweep over stores of one corpus."
            )
    return stores


def check_point(store: EmbeddingStore, point: Point) -> None:
    """Raise :class:`XqgError` for what a store cannot give, with the cure; reads nothing but its manifest."""
    if point.is_plain:
        return
    languages = point.languages
    if missing := [language for language in languages or () if language not in store.languages]:
        raise XqgError(
            f"--languages {','.join(languages)}: {store.directory} has no queries in {', '.join(missing)}. It has "
            f"{', '.join(store.languages)}."
        )
    store.check_use(point.aggregate, languages, point.max_queries, point.route)
    if point.filter:
        point.filter.selection().check(store.languages)
    if store.manifest["keep_query_vectors"]:
        return
    most = max(store.manifest["most_queries"][language] for language in languages or store.languages)
    cure = "Encode again with --keep-query-vectors."
    if point.max_queries is not None and point.max_queries < most:
        raise XqgError(
            f"--max-queries {point.max_queries}: {store.directory} has sums of up to {most} queries a passage and "
            f"language, not each query's vector, so it can give 0 and all of them only. {cure}"
        )
    if point.filter:
        raise XqgError(
            f"--{point.filter.option} {point.filter.value}: {store.directory} has sums of queries, not each query's "
            f"vector, so no query can be left out. {cure}"
        )


def describe_store(store: EmbeddingStore) -> dict[str, Any]:
    """What decides a store's vectors, as JSON; without its place."""
    manifest = store.manifest
    names = ("encoder", "fields", "dimension", "dtype", "precision", "max_queries", "keep_query_vectors", "fuse")
    return {
        **{name: manifest.get(name) for name in names},
        "passages": store.passages,
        "corpus_sha256": manifest["corpus"]["sha256"],
        "manifest_sha256": manifest.get("manifest_sha256"),
    }


class FilteredStore(EmbeddingStore):
    """A store without the queries that a selection drops: what encoding the filtered corpus would give.

    ``scores`` are those of this store's queries (:func:`score_queries`); the store must keep each query's vector.
    Shares of the best are those of all queries in the store, whichever languages are read.
    """

    def __init__(self, directory: str | Path, scores: QueryScores, selection: Selection) -> None:
        super().__init__(directory)
        self._scores = scores
        self._lowest = thresholds(scores, selection)

    def blocks(
        self, languages: Sequence[str], max_queries: int | None = None, block_bytes: int = _BLOCK_BYTES
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """As in :class:`EmbeddingStore`; ``max_queries`` keeps the first so many of those that are left."""
        rows = max(1, block_bytes // (4 * self.dimension))
        passages = self.array("passages")
        given, vectors, scores = (
            {language: source(f"{kind}.{language}") for language in languages}
            for kind, source in (("count", self.array), ("vectors", self.array), ("score", self._scores.array))
        )
        query = dict.fromkeys(languages, 0)
        for first in range(0, self.passages, rows):
            sums, counts = {}, {}
            for language in languages:
                number = np.array(given[language][first : first + rows])
                here = slice(query[language], query[language] + int(number.sum()))
                query[language] = here.stop
                kept = scores[language][here] >= np.float32(self._lowest[language])
                left, _ = sum_first(kept[:, None], number)
                own = np.array(vectors[language][here][kept], dtype=np.float32)
                sums[language], counts[language] = sum_first(own, left.ravel().astype(np.int32), max_queries)
            yield np.array(passages[first : first + rows], dtype=np.float32), sums, counts


def score_queries(stores: Mapping[str, EmbeddingStore], points: Sequence[Point], directory: Path) -> dict[str, Any]:
    """Scores of the queries of every store that a point filters, kept below ``directory``; continued if half done."""
    scores = {}
    for name in dict.fromkeys(point.store for point in points if point.filter and not point.is_plain):
        score_store(stores[name], directory / name)
        scores[name] = QueryScores(directory / name)
    return scores


def reading(stores: Mapping[str, EmbeddingStore], scores: Mapping[str, QueryScores], point: Point) -> EmbeddingStore:
    """The store that a point's index is made of, with its filter."""
    store = stores[point.store]
    if point.filter is None or point.is_plain:
        return store
    return FilteredStore(store.directory, scores[point.store], point.filter.selection())

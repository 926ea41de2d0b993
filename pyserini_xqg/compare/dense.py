"""Search of FAISS indexes in this process, by Pyserini's own searcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.compare.fusing import Ranking
from pyserini_xqg.compare.runs import best_of_passages, median_milliseconds

_BATCH = 64


class DenseSearch:
    """Topics' vectors against an index, or each against the index of its language.

    Parameters
    ----------
    indexes
        Language to directory; a single index stands under None.
    languages
        Topic to language; read where there are several indexes.
    hits
        Passages to return a topic.
    threads
        Of FAISS.
    entries
        Entries to search for, where passages have several; by default ``hits``.
    delimiter
        Between docid and number in the entries' names, where passages have several.
    """

    def __init__(
        self,
        indexes: Mapping[str | None, Path],
        languages: Mapping[str, str],
        hits: int,
        threads: int = 1,
        entries: int | None = None,
        delimiter: str | None = None,
    ) -> None:
        from pyserini_xqg.vectors import fit

        from pyserini.encode import QueryEncoder  # isort: skip
        from pyserini.search.faiss import FaissSearcher  # isort: skip

        fit.guard_searcher()
        encoder = QueryEncoder()  # has no model: the topics come as vectors
        self._searchers = {key: FaissSearcher(str(path), encoder) for key, path in indexes.items()}
        self._languages, self._hits, self._threads = languages, hits, threads
        self._entries, self._delimiter = entries or hits, delimiter

    def _key(self, topic: str) -> str | None:
        return None if None in self._searchers else self._languages[topic]

    def run(self, vectors: Mapping[str, np.ndarray]) -> dict[str, Ranking]:
        """Topic to its ranking, in the order of ``vectors`` (topic to float32 (dimension,))."""
        found: dict[str, Any] = {}
        for key, searcher in self._searchers.items():
            topics = [topic for topic in vectors if self._key(topic) == key]
            for first in range(0, len(topics), _BATCH):
                some = topics[first : first + _BATCH]
                queries = np.stack([vectors[topic] for topic in some])
                hits = searcher.batch_search(queries, some, self._entries, threads=self._threads)
                found |= {topic: self._best(hits[topic]) for topic in some}
        return {topic: found[topic] for topic in vectors}

    def _best(self, hits: Sequence[Any]) -> Ranking:
        return best_of_passages(hits, self._hits, self._delimiter)

    def milliseconds(self, vectors: Mapping[str, np.ndarray], repeat: int, most: int) -> float:
        """Median time of the search of one topic, its vector given."""

        def search(topic: str) -> Ranking:
            searcher = self._searchers[self._key(topic)]
            return self._best(searcher.search(vectors[topic][None], self._entries, threads=self._threads))

        return median_milliseconds(search, list(vectors), repeat, most)

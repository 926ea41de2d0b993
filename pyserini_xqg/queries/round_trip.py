"""Round trip: at which rank does a generated query retrieve the passage it was made from?

Ranks count from 1. Passages that score as the query's own do not stand before it, so a copy of a passage does no
harm and the order of the passages decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.fit import TOLERANCE, check_shards, probe_distance
from pyserini_xqg.vectors.manifest import (
    MANIFEST_NAME,
    SHARDED,
    read_encoder_manifest,
    read_manifest,
)
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

_QUERIES_AT_ONCE = 1024
_PASSAGES_AT_ONCE = 4096


class StoreRanker:
    """Exact ranks among the passages of a store, at any depth, read in blocks.

    Inner products are taken in float64 and compared as float32, so that neither the blocks nor the order of the
    passages decides a tie.
    """

    def __init__(self, store: EmbeddingStore) -> None:
        self.passages = store.array("passages")

    def describe(self) -> dict[str, Any]:
        """What is searched, and ``depth``: how far down ranks are known (None: to the end), as JSON."""
        return {"searched": "the passages of the store", "passages": len(self.passages), "depth": None}

    def rows(self, docids: Sequence[str], first: int) -> np.ndarray:
        """Row numbers of passages of which the first is row ``first`` of the corpus; int64."""
        return np.arange(first, first + len(docids), dtype=np.int64)

    def ranks(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Rank of passage ``rows[i]`` for ``queries[i]`` (queries, dimension); int32."""
        parts = range(0, len(queries), _QUERIES_AT_ONCE)
        found = [self._ranks(queries[at : at + _QUERIES_AT_ONCE], rows[at : at + _QUERIES_AT_ONCE]) for at in parts]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int32)

    def _ranks(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        queries = queries.astype(np.float64)
        own = np.einsum("ij,ij->i", queries, self.passages[rows].astype(np.float64)).astype(np.float32)
        ranks = np.ones(len(queries), dtype=np.int32)
        for first in range(0, len(self.passages), _PASSAGES_AT_ONCE):
            block = self.passages[first : first + _PASSAGES_AT_ONCE].astype(np.float64)
            scores = (queries @ block.T).astype(np.float32)
            here = np.flatnonzero((rows >= first) & (rows < first + len(block)))
            scores[here, rows[here] - first] = -np.inf  # a passage does not stand before itself
            ranks += np.count_nonzero(scores > own[:, None], axis=1).astype(np.int32)
        return ranks


class IndexRanker:
    """Ranks down to ``depth`` in a FAISS index of Pyserini's layout, of any kind: ours, a sharded one, a stock one.

    Which passages get the last place among equal scores there is FAISS's choice.
    Raises :class:`XqgError` for an index that cannot be read, is routed, or was built with another encoder
    (``probe``, as in manifests; an index without a manifest is checked for its dimension alone).
    """

    def __init__(self, directory: str | Path, depth: int, probe: dict[str, Any]) -> None:
        from pyserini_xqg.vectors.faiss_index import open_index

        self.directory, self.depth = Path(directory), depth
        self.index, docids = open_index(directory)
        self._check(probe)
        self._digest = hashlib.sha256("".join(f"{docid}\n" for docid in docids).encode("utf-8")).hexdigest()
        self._row = {docid: row for row, docid in enumerate(docids)}
        if len(self._row) != len(docids):
            raise XqgError(f"{directory}: a docid is in it twice. Build the index from distinct docids.")

    def _check(self, probe: dict[str, Any]) -> None:
        """Refuse an index of another encoder, by its manifest's probe or, without one, by its dimension."""
        cure = "Pass an index of the encoder that scores the queries."
        if self.index.d != probe["dimension"]:
            raise XqgError(
                f"{self.directory}: its vectors have {self.index.d} dimensions, the encoder's {probe['dimension']}. "
                f"{cure}"
            )
        manifest = read_manifest(self.directory)
        if manifest is None:
            return
        if manifest["layout"] == SHARDED:
            check_shards(self.directory, manifest)
        described = read_encoder_manifest(self.directory)
        if (distance := probe_distance(described["probe"], probe)) > TOLERANCE:
            config = EncoderConfig.from_dict(described["encoder"], str(self.directory / MANIFEST_NAME))
            raise XqgError(
                f"{self.directory}: built with another encoder, {config.describe()}: its vector of the probe text "
                f"differs by {distance:.0%}. {cure}"
            )
        alpha = described["augmentation"]["alpha"]
        if alpha > 0 and described["augmentation"]["languages"]:
            say(
                f"{self.directory}: has alpha {alpha:g}, so queries help to retrieve themselves; an index with "
                "--alpha 0 judges them by the passages alone"
            )

    def describe(self) -> dict[str, Any]:
        """As :meth:`StoreRanker.describe`."""
        return {
            "searched": str(self.directory.resolve()),
            "kind": type(self.index).__name__,
            "passages": self.index.ntotal,
            "docids_sha256": self._digest,
            "depth": self.depth,
        }

    def rows(self, docids: Sequence[str], first: int) -> np.ndarray:
        """As :meth:`StoreRanker.rows`; :class:`XqgError` for a passage that is not in the index."""
        try:
            return np.array([self._row[docid] for docid in docids], dtype=np.int64)
        except KeyError as error:
            raise XqgError(
                f"{self.directory}: has no passage with docid {error}. Pass an index that holds the passages of the "
                "queries."
            ) from error

    def ranks(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As :meth:`StoreRanker.ranks`, 0 where it is below the depth."""
        ranks = np.zeros(len(queries), dtype=np.int32)
        for first in range(0, len(queries), _QUERIES_AT_ONCE):
            part = slice(first, first + _QUERIES_AT_ONCE)
            scores, found = self.index.search(np.ascontiguousarray(queries[part], dtype=np.float32), self.depth)
            query, place = np.nonzero(found == rows[part, None])
            better = np.count_nonzero(scores[query] > scores[query, place][:, None], axis=1)
            ranks[first + query] = better + 1
        return ranks


Ranker = StoreRanker | IndexRanker

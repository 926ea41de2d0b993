"""Held-out questions searched by the model in training, and scored as ``pyserini_xqg.evaluate`` scores runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from pyserini_xqg.evaluate.scoring import R_AT_KT, Scorer
from pyserini_xqg.train.retriever_data import HeldOutData
from pyserini_xqg.train.retriever_model import encode

DEPTH = 100
_BLOCK = 256


def depth(measures: Iterable[str]) -> int:
    """How many passages a question's ranking needs for these measures.

    >>> depth(["RR@10", "R@1000"]), depth(["R@2kt"])
    (1000, 200)
    """
    needed = [DEPTH]
    for name in measures:
        if match := R_AT_KT.fullmatch(name):
            needed.append(100 * int(match[1]))  # passages are seldom shorter than ten tokens on the mean
        elif match := re.search(r"@(\d+)$", name):
            needed.append(int(match[1]))
    return max(needed)


def search(
    queries: np.ndarray, query_ids: Sequence[str], passages: np.ndarray, docids: Sequence[str], hits: int
) -> dict[str, dict[str, float]]:
    """Exact search by inner product: query id to docid to score, the ``hits`` best."""
    import faiss

    run: dict[str, dict[str, float]] = {}
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(passages)
    for start in range(0, len(queries), _BLOCK):
        scores, rows = index.search(queries[start : start + _BLOCK], min(hits, len(docids)))
        for query_id, own_scores, own_rows in zip(query_ids[start:], scores, rows, strict=False):
            run[query_id] = {docids[row]: float(score) for row, score in zip(own_rows, own_scores, strict=True)}
    return run


class HeldOutEvaluator(BaseEvaluator):
    """sentence-transformers' hook for an evaluation: measures by language, the first measure's mean decides.

    Results are named as in tables, ``RR@10`` for the mean of the languages and ``RR@10 fi`` for one.
    """

    def __init__(self, data: HeldOutData, scorer: Scorer, batch_size: int) -> None:
        super().__init__()
        self._data, self._scorer, self._batch_size = data, scorer, batch_size
        self._hits = depth(scorer.measures)
        self.primary_metric = scorer.measures[0]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Encode, search, score."""
        data = self._data
        passages = encode(model, [text for _, text in data.passages], "document", self._batch_size)
        queries = encode(model, list(data.queries.values()), "query", self._batch_size)
        run = search(queries, list(data.queries), passages, [docid for docid, _ in data.passages], self._hits)
        means = self._scorer.means(self._scorer.score(run, "held-out questions"))
        return {
            name if language == "avg" else f"{name} {language}": value
            for name, of_measure in means.items()
            for language, value in of_measure.items()
        }


def by_measure(metrics: Mapping[str, float], measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """The trainer's ``eval_…`` metrics as measure to language (``avg`` for their mean) to value."""
    found: dict[str, dict[str, float]] = {}
    for name in measures:
        for key, value in metrics.items():
            measure, _, language = key.removeprefix("eval_").partition(" ")
            if measure == name and key.startswith("eval_"):
                found.setdefault(name, {})[language or "avg"] = value
    return found

"""Two runs made one by Pyserini's own fusion (``pyserini.fusion``)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError

METHODS = ("rrf", "interpolation", "normalize", "average")

Ranking = list[tuple[str, float]]
"""(docid, score), best first."""


@dataclass(frozen=True)
class Fusion:
    """A method of ``pyserini.fusion`` and its parameter.

    method : ``rrf`` (reciprocal rank fusion, Cormack et al., SIGIR 2009), ``interpolation`` (alpha x first +
        (1 - alpha) x second, of the scores as they are), ``normalize`` (sum of min-max-normalised scores), ``average``.
    rrf_k : for ``rrf``. alpha : for ``interpolation``, the weight of the dense run.
    """

    method: str = "rrf"
    rrf_k: int = 60
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise XqgError(f"fusion {self.method!r}: unknown. Use one of {', '.join(METHODS)}.")
        if not 0 <= self.alpha <= 1:
            raise XqgError(f"--fusion-alpha {self.alpha}: outside [0, 1]. It is the weight of the dense run.")

    @property
    def settings(self) -> dict[str, Any]:
        """The method and the parameter that it has, as JSON values."""
        parameter = {"rrf": {"rrf_k": self.rrf_k}, "interpolation": {"alpha": self.alpha}}
        return {"method": self.method, **parameter.get(self.method, {})}

    def describe(self) -> str:
        """For notes below a table.

        >>> Fusion().describe()
        'rrf (rrf_k 60)'
        """
        method, *parameters = self.settings.items()
        return method[1] + "".join(f" ({name} {value:g})" for name, value in parameters)

    def fuse(
        self, first: Mapping[str, Ranking], second: Mapping[str, Ranking], hits: int
    ) -> tuple[dict[str, Ranking], float]:
        """Fuse two runs (topic to ranking), the first ``hits`` of each; returns the run, and the seconds it took.

        Topics come in the order of the first, then those of the second alone. A topic with one ranking is fused with
        an empty one.
        """
        from pyserini import fusion

        runs = [_trec_run(first), _trec_run(second)]
        start = time.perf_counter()
        if self.method == "rrf":
            fused = fusion.reciprocal_rank_fusion(runs, rrf_k=self.rrf_k, depth=hits, k=hits)
        elif self.method == "interpolation":
            fused = fusion.interpolation(runs, alpha=self.alpha, depth=hits, k=hits)
        else:
            fused = getattr(fusion, self.method)(runs, depth=hits, k=hits)
        seconds = time.perf_counter() - start
        result: dict[str, Ranking] = {topic: [] for topic in [*first, *second]}
        data = fused.run_data
        for topic, docid, score in zip(data["topic"], data["docid"], data["score"], strict=True):
            result[topic].append((docid, float(score)))
        return result, seconds


def _trec_run(run: Mapping[str, Ranking]) -> Any:
    """Pyserini's form of a run, from memory: its reader would take ids like 007 for numbers."""
    import pandas as pd
    from pyserini.trectools import TrecRun

    rows = [
        (topic, "Q0", docid, rank, score, "")
        for topic, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking, start=1)
    ]
    trec_run = TrecRun()
    trec_run.run_data = pd.DataFrame(rows, columns=TrecRun.columns).astype({"rank": int, "score": float})
    return trec_run

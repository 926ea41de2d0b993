"""Two runs made one by Pyserini's own fusion (``pyserini.fusion``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.compare.runs import Ranking
from pyserini_xqg.core.options import at_least, between, option

METHODS = ("rrf", "interpolation", "normalize", "average")


@dataclass(frozen=True)
class Fusion:
    """Fusion of two systems, by pyserini.fusion"""

    fusion: str = option(
        "rrf",
        "reciprocal ranks (Cormack et al., SIGIR 2009); the weighted sum of the scores; the sum of scores scaled "
        "from 0 to 1; or their mean",
        choices=METHODS,
    )
    rrf_k: int = option(60, "constant of --fusion rrf", metavar="K", check=at_least(1))
    fusion_alpha: float = option(
        0.5, "weight of the vectors in --fusion interpolation", metavar="WEIGHT", check=between(0, 1)
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The method and the parameter that it has, as JSON values."""
        parameter = {"rrf": {"rrf_k": self.rrf_k}, "interpolation": {"alpha": self.fusion_alpha}}
        return {"method": self.fusion, **parameter.get(self.fusion, {})}

    def fuse(self, first: Mapping[str, Mapping], second: Mapping[str, Mapping], hits: int) -> dict[str, Ranking]:
        """Fuse two runs (topic to docid to score, best first), the first ``hits`` of each.

        Topics come in the order of the first, then those of the second alone. A topic with one ranking is fused with
        an empty one.
        """
        from pyserini import fusion

        method = fusion.reciprocal_rank_fusion if self.fusion == "rrf" else getattr(fusion, self.fusion)
        parameter = {name: value for name, value in self.settings.items() if name != "method"}
        data = method([_trec_run(first), _trec_run(second)], **parameter, depth=hits, k=hits).run_data
        fused: dict[str, Ranking] = {topic: [] for topic in [*first, *second]}
        for topic, docid, score in zip(data["topic"], data["docid"], data["score"], strict=True):
            fused[topic].append((docid, float(score)))
        return fused


def _trec_run(run: Mapping[str, Mapping[str, float]]) -> Any:
    """Pyserini's form of a run, from memory: its reader would take ids like 007 for numbers."""
    import pandas as pd
    from pyserini.trectools import TrecRun

    rows = [
        (topic, "Q0", docid, rank, score, "")
        for topic, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking.items(), start=1)
    ]
    trec_run = TrecRun()
    trec_run.run_data = pd.DataFrame(rows, columns=TrecRun.columns).astype({"rank": int, "score": float})
    return trec_run

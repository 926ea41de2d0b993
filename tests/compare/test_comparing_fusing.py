"""Fusion by Pyserini's own code, against the formulas."""

import random

import pytest

from pyserini_xqg.compare.fusing import Fusion


def two_runs(seed=4):
    chance = random.Random(seed)
    runs = []
    for _ in range(2):
        run = {}
        for topic in ("007", "-12", "b"):
            docids = chance.sample([f"{number:03d}" for number in range(30)], 12)
            scores = sorted((chance.random() * 20 for _ in docids), reverse=True)
            run[topic] = dict(zip(docids, scores, strict=True))
        runs.append(run)
    del runs[1]["b"]  # BM25 finds nothing
    return runs


def by_formula(method, first, second, hits, k=60, alpha=0.5):
    fused = {}
    for weight, ranking in ((alpha, first), (1 - alpha, second)):
        scores = ranking.values()  # normalised over the whole ranking, as Pyserini does
        for rank, (docid, score) in enumerate(list(ranking.items())[:hits], start=1):
            part = {
                "rrf": 1 / (k + rank),
                "interpolation": weight * score,
                "average": score / 2,
                "normalize": (score - min(scores)) / (max(scores) - min(scores)),
            }[method]
            fused[docid] = fused.get(docid, 0) + part
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:hits]


@pytest.mark.parametrize(
    ("fusion", "parameters"),
    [
        (Fusion(), {}),
        (Fusion("rrf", rrf_k=1), {"k": 1}),
        (Fusion("interpolation", fusion_alpha=0.9), {"alpha": 0.9}),
        (Fusion("average"), {}),
        (Fusion("normalize"), {}),
    ],
)
@pytest.mark.parametrize("hits", [8, 100])
def test_formulas(fusion, parameters, hits):
    first, second = two_runs()
    fused = fusion.fuse(first, second, hits)
    assert list(fused) == ["007", "-12", "b"]
    for topic, ranking in fused.items():
        expected = by_formula(fusion.fusion, first[topic], second.get(topic, {}), hits, **parameters)
        assert [docid for docid, _ in ranking] == [docid for docid, _ in expected]
        assert [score for _, score in ranking] == pytest.approx([score for _, score in expected])


def test_a_run_of_nothing():
    first, _ = two_runs()
    fused = Fusion().fuse(first, {}, 5)
    assert [docid for docid, _ in fused["b"]] == list(first["b"])[:5]


def test_settings_name_the_method_and_its_parameter_alone():
    assert Fusion(fusion_alpha=0.3).settings == {"method": "rrf", "rrf_k": 60}
    assert Fusion("interpolation", fusion_alpha=0.3).settings == {"method": "interpolation", "alpha": 0.3}
    assert Fusion("normalize").settings == {"method": "normalize"}

"""Grid points searched exactly, against plain loops in double precision; topics; the lines of a run."""

import numpy as np
import pytest
from vector_stores import vector_store

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.sweep import search, topics
from pyserini_xqg.sweep.grid import Grid, Point

LANGUAGES = ("ar", "de")
NUMBER = 37


class Bar:
    passages = 0

    def update(self, number):
        self.passages += number


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Passages, ragged queries by language (a passage without any), topics, and the store."""
    chance = np.random.default_rng(5)
    passages = chance.standard_normal((NUMBER, 8)).astype(np.float32)
    queries = {
        language: [chance.standard_normal((chance.integers(0, 4), 8)).astype(np.float32) for _ in passages]
        for language in LANGUAGES
    }
    for language in LANGUAGES:
        queries[language][4] = np.zeros((0, 8), dtype=np.float32)
    queries["ar"][0] = chance.standard_normal((3, 8)).astype(np.float32)
    queries["de"][0] = chance.standard_normal((3, 8)).astype(np.float32)
    store = vector_store(tmp_path_factory.mktemp("search") / "store", passages, queries)
    vectors = chance.standard_normal((6, 8)).astype(np.float32)
    ids = [f"q{row}" for row in range(6)]
    rows = {"ar": np.array([0, 3, 5]), "de": np.array([1, 2, 4])}
    return passages, queries, store, search.Topics(ids, vectors, rows)


def composed(passages, queries, point, languages):
    """Vectors of an index with these languages' queries: the method, passage by passage."""
    rows = []
    for number, passage in enumerate(passages.astype(np.float64)):
        chosen = [queries[language][number][: point.max_queries].astype(np.float64) for language in languages]
        chosen = [some for some in chosen if len(some)]
        row = passage
        if chosen and point.alpha > 0 and point.max_queries != 0:
            added = (
                sum(some.sum(axis=0) for some in chosen)
                if point.aggregate == "sum"
                else np.mean([some.mean(axis=0) for some in chosen], axis=0)
            )
            row = (1 - point.alpha) * passage + point.alpha * added
        rows.append(row / np.linalg.norm(row) if point.normalize else row)
    return np.array(rows)


def expected(data, point, hits):
    """Docids and scores of every topic, in double precision."""
    passages, queries, _, wanted = data
    language_of = {row: language for language, rows in wanted.rows.items() for row in rows}
    found = []
    for row, vector in enumerate(wanted.vectors.astype(np.float64)):
        languages = [language_of[row]] if point.route and not point.is_plain else point.languages or LANGUAGES
        scores = composed(passages, queries, point, languages) @ vector
        best = np.argsort(-scores)[:hits]
        found.append(([f"p{number}" for number in best], scores[best]))
    return found


POINTS = Grid(
    {
        "store": ["s"],
        "aggregate": ["sum", "mean"],
        "languages": [None, ("de", "ar")],
        "route": [False, True],
        "normalize": [False, True],
        "max-queries": [None, 0, 2],
        "alpha": [0.0, 0.3, 1.0],
    }
).runs


@pytest.mark.parametrize("hits", [5, 100])
def test_every_point(data, hits):
    store, wanted, bar = data[2], data[3], Bar()
    seen = []
    groups = search.passes([*POINTS, Point("s", languages=("ar",), alpha=0.5)])
    for group in groups:
        for point, rankings in search.search_exactly(store, group, wanted, hits, bar):
            seen.append(point)
            for (docids, scores), (best, numbers) in zip(rankings, expected(data, point, hits), strict=True):
                assert docids == best, point
                np.testing.assert_allclose(scores, numbers, atol=2e-5, err_msg=str(point))
    assert sorted(map(str, seen)) == sorted(map(str, [*POINTS, Point("s", languages=("ar",), alpha=0.5)]))
    assert bar.passages == NUMBER * len(groups)


def test_passes_share_what_is_read():
    points = Grid({"store": ["a", "b"], "max-queries": [1, 2], "alpha": [0.1 * n for n in range(1, 10)]}).runs
    groups = search.passes(points)
    assert sorted(map(str, (point for group in groups for point in group))) == sorted(map(str, points))
    assert [len(group) for group in groups] == [1, 1, 8, 1, 8, 1, 8, 1, 8, 1]
    for group in groups:
        assert len({point.queries for point in group}) == 1


def test_lines_of_a_run():
    lines = list(search.run_lines(["q1", "2"], [(["a", "b"], [1.5, -0.25]), (["c"], [1e-7])]))
    assert lines == ["q1 Q0 a 1 1.500000 Faiss\n", "q1 Q0 b 2 -0.250000 Faiss\n", "2 Q0 c 1 0.000000 Faiss\n"]


def test_memory_does_not_hold_the_composed_vectors(tmp_path):
    """Eight points over 40,000 passages of 64 dimensions: 82 MB of composed vectors, each point's 10 MB."""
    import tracemalloc

    passages = np.random.default_rng(0).standard_normal((40_000, 64)).astype(np.float32)
    store = vector_store(tmp_path / "store", passages, {"ar": [passages[:1]] * len(passages)})
    wanted = search.Topics(["q"], passages[:1], {})
    points = [Point("s", alpha=alpha) for alpha in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    budget, search._BLOCKS_BYTES = search._BLOCKS_BYTES, 1 << 22
    try:
        tracemalloc.start()
        for _, rankings in search.search_exactly(store, points, wanted, 10, Bar()):
            assert len(next(rankings)[0]) == 10
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        search._BLOCKS_BYTES = budget
        tracemalloc.stop()
    assert peak < 20_000_000


# Topics


def test_routes_of_topics():
    languages = {"q1": "de", "q2": "ar"}
    assert {language: rows.tolist() for language, rows in topics.rows_by_language(
        ["q1", "q2"], languages, ["ar", "de", "fi"]).items()} == {"ar": [1], "de": [0]}  # fmt: skip
    with pytest.raises(XqgError, match=r"--route: topic 'q3' has no language\. Name it in --topic-languages"):
        topics.rows_by_language(["q1", "q3"], languages, ["ar", "de"])
    with pytest.raises(XqgError, match="--route: topic 'q1' is in 'de', for which there would be no index"):
        topics.rows_by_language(["q1", "q2"], languages, ["ar"])


def test_vectors_of_topics_are_made_once_an_encoder(tiny_encoder, tmp_path, capsys):
    from helpers import reference_vectors

    from pyserini_xqg.vectors.embedding import Embedder, describe_probe
    from pyserini_xqg.vectors.settings import EncoderConfig

    config = EncoderConfig(tiny_encoder, pooling="mean", l2_norm=True)
    probe = Embedder(config, "cpu").probe()
    rows = np.eye(3, 32)
    made = {"ar": [rows[:1], rows[:0], rows[1:]]}
    same = [vector_store(tmp_path / name, rows, made, encoder=config.to_dict(), probe=probe) for name in ("one", "two")]
    vectors = topics.TopicVectors({"q1": "where is the old bridge", "q2": "joki"}, "cpu")
    found = vectors.of(same[0])
    wanted = reference_vectors(tiny_encoder, ["where is the old bridge", "joki"], "mean", True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert vectors.of(same[1]) is found
    assert capsys.readouterr().err.count("2 topics: ") == 1
    other = vector_store(tmp_path / "other", rows, made, encoder=config.to_dict(), probe=describe_probe(np.arange(32)))
    with pytest.raises(XqgError, match=r"other: made with another encoder than .* differs by"):
        vectors.of(other)

"""Points searched exactly, and the best entries of passages, against plain loops in double precision."""

import numpy as np
import pytest
from compare import points
from vector_stores import vector_store

from pyserini_xqg.compare import search

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
    languages = {topic: "ar" if row in (0, 3, 5) else "de" for row, topic in enumerate(ids)}
    return passages, queries, store, search.TopicVectors(ids, vectors, languages)


def composed(passages, queries, recipe, languages):
    """Vectors of an index with these languages' queries: the method, passage by passage."""
    rows = []
    for number, passage in enumerate(passages.astype(np.float64)):
        chosen = [queries[language][number][: recipe.max_queries].astype(np.float64) for language in languages]
        chosen = [some for some in chosen if len(some)]
        row = passage
        if chosen and recipe.alpha > 0 and recipe.max_queries != 0:
            added = (
                sum(some.sum(axis=0) for some in chosen)
                if recipe.aggregate == "sum"
                else np.mean([some.mean(axis=0) for some in chosen], axis=0)
            )
            row = (1 - recipe.alpha) * passage + recipe.alpha * added
        rows.append(row / np.linalg.norm(row) if recipe.normalize else row)
    return np.array(rows)


def expected(data, point, hits):
    """Docids and scores of every topic, in double precision."""
    passages, queries, _, wanted = data
    found = []
    for row, vector in enumerate(wanted.vectors.astype(np.float64)):
        recipe = point.recipe
        routed = recipe.route and not point.is_plain
        languages = [wanted.languages[f"q{row}"]] if routed else recipe.languages or LANGUAGES
        scores = composed(passages, queries, recipe, languages) @ vector
        best = np.argsort(-scores)[:hits]
        found.append(([f"p{number}" for number in best], scores[best]))
    return found


POINTS = [
    *points.searched(
        points.grid(
            {
                "aggregate": ["sum", "mean"],
                "languages": [None, ("de", "ar")],
                "route": [False, True],
                "normalize": [False, True],
                "max-queries": [None, 0, 2],
                "alpha": [0.0, 0.3, 1.0],
            }
        )
    ),
    points.point(languages=("ar",), alpha=0.5),
]


@pytest.mark.parametrize("hits", [5, 100])
def test_every_point(data, hits):
    store, wanted, bar = data[2], data[3], Bar()
    seen = []
    groups = search.passes(POINTS)
    for group in groups:
        for point, rankings in search.search_points(store, group, wanted, hits, bar):
            seen.append(point)
            for ranking, (best, numbers) in zip(rankings, expected(data, point, hits), strict=True):
                assert [docid for docid, _ in ranking] == best, point
                np.testing.assert_allclose([score for _, score in ranking], numbers, atol=2e-5, err_msg=str(point))
    assert sorted(map(str, seen)) == sorted(map(str, POINTS))
    assert bar.passages == NUMBER * len(groups)


def test_passes_share_what_is_read():
    made = points.grid({"max-queries": [1, 2], "alpha": [0.1 * n for n in range(1, 10)]}, ("a", "b"))
    some = points.searched(made)
    groups = search.passes(some)
    assert sorted(map(str, (one for group in groups for one in group))) == sorted(map(str, some))
    assert [len(group) for group in groups] == [1, 1, 8, 1, 8, 1, 8, 1, 8, 1]
    for group in groups:
        assert len({one.queries for one in group}) == 1


@pytest.mark.parametrize("block_bytes", [1, 100, 1 << 22])
@pytest.mark.parametrize("hits", [3, 100])
def test_best_entries_of_passages(data, hits, block_bytes):
    passages, queries, store, wanted = data
    found = search.search_entries(store, wanted, hits, block_bytes)
    for vector, ranking in zip(wanted.vectors, found, strict=True):
        best = {
            f"p{row}": max(
                entry.astype(float) @ vector for entry in [passage, *queries["ar"][row], *queries["de"][row]]
            )
            for row, passage in enumerate(passages)
        }
        expected = sorted(best, key=best.get, reverse=True)[:hits]
        assert [docid for docid, _ in ranking] == expected
        np.testing.assert_allclose([score for _, score in ranking], [best[docid] for docid in expected], atol=2e-5)


def test_memory_does_not_hold_the_composed_vectors(tmp_path):
    """Eight points over 40,000 passages of 64 dimensions: 82 MB of composed vectors, each point's 10 MB."""
    import tracemalloc

    passages = np.random.default_rng(0).standard_normal((40_000, 64)).astype(np.float32)
    store = vector_store(tmp_path / "store", passages, {"ar": [passages[:1]] * len(passages)}, chunk_size=40_000)
    wanted = search.TopicVectors(["q"], passages[:1], {})
    some = [points.point(alpha=alpha) for alpha in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)]
    budget, search._BLOCKS_BYTES = search._BLOCKS_BYTES, 1 << 22
    try:
        tracemalloc.start()
        for _, rankings in search.search_points(store, some, wanted, 10, Bar()):
            assert len(rankings[0]) == 10
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        search._BLOCKS_BYTES = budget
        tracemalloc.stop()
    assert peak < 20_000_000

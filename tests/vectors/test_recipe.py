"""The equation and its variants against plain Python loops."""

import copy
import math

import numpy as np
import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.recipe import RECIPES, Recipe, aggregate_queries, augment, normalize_rows

DIMENSION = 7


def ragged(rows=11, languages=("ar", "fi", "te"), seed=3):
    """Passages, and per passage and language 0 to 4 query vectors; some passages have none at all."""
    random = np.random.default_rng(seed)
    passages = random.normal(size=(rows, DIMENSION)).astype(np.float32)
    queries = [
        {
            code: [random.normal(size=DIMENSION).astype(np.float32) for _ in range(random.integers(0, 5))]
            for code in languages
        }
        if row % 4
        else {code: [] for code in languages}
        for row in range(rows)
    ]
    queries[1]["fi"] = []
    queries[2] = {"ar": [], "fi": [], "te": [np.ones(DIMENSION, dtype=np.float32)]}
    return passages, queries


def packed(queries, languages=("ar", "fi", "te")):
    """The sums and counts that a store would hold."""
    sums = {
        code: np.array([sum(row[code], np.zeros(DIMENSION, dtype=np.float32)) for row in queries], dtype=np.float32)
        for code in languages
    }
    counts = {code: np.array([len(row[code]) for row in queries], dtype=np.int32) for code in languages}
    return sums, counts


def loop(passages, queries, alpha, aggregate, normalize=False):
    """The method written out, number by number, in double precision."""
    results = []
    for passage, by_language in zip(passages, queries, strict=True):
        present = [texts for texts in by_language.values() if texts]
        result = [float(value) for value in passage]
        if present:
            for position in range(DIMENSION):
                if aggregate == "sum":
                    weight = math.fsum(float(query[position]) for texts in present for query in texts)
                else:
                    weight = math.fsum(
                        math.fsum(float(query[position]) for query in texts) / len(texts) for texts in present
                    ) / len(present)
                result[position] = (1 - alpha) * float(passage[position]) + alpha * weight
        if normalize:
            length = math.sqrt(math.fsum(value * value for value in result))
            result = [value / length for value in result]
        results.append(result)
    return np.array(results)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 0.35, 0.8, 1.0])
def test_equation_with_ragged_counts(alpha, aggregate, normalize):
    passages, queries = ragged()
    result = augment(passages, *packed(queries), alpha, aggregate, normalize)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, loop(passages, queries, alpha, aggregate, normalize), rtol=0, atol=2e-6)


def test_sum_and_mean_differ_where_counts_are_ragged():
    passages, queries = ragged()
    sums, counts = packed(queries)
    assert np.abs(augment(passages, sums, counts, 0.5, "sum") - augment(passages, sums, counts, 0.5, "mean")).max() > 1


def test_some_languages_only():
    passages, queries = ragged()
    sums, counts = packed(queries, ("fi",))
    only = [{"fi": row["fi"]} for row in queries]
    np.testing.assert_allclose(
        augment(passages, sums, counts, 0.6, "mean"), loop(passages, only, 0.6, "mean"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
def test_passages_without_queries_keep_their_plain_vector_bit_for_bit(alpha, aggregate):
    passages, queries = ragged()
    result = augment(passages, *packed(queries), alpha, aggregate)
    plain = [row for row, by_language in enumerate(queries) if not any(by_language.values())]
    assert len(plain) == 3
    assert result[plain].tobytes() == passages[plain].tobytes()
    others = [row for row in range(len(passages)) if row not in plain]
    assert (result[others] != passages[others]).any(axis=1).all()


def test_no_language_at_all_gives_the_plain_vectors():
    passages, _ = ragged()
    assert augment(passages, {}, {}, 0.5, "mean").tobytes() == passages.tobytes()
    lengths = np.linalg.norm(augment(passages, {}, {}, 0.5, "sum", normalize=True), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_mean_of_languages_not_of_queries():
    # ar has 3 queries, fi one: the mean of means is (2 + 6) / 2, the mean of all queries would be 3.
    sums = {"ar": np.array([[6.0]]), "fi": np.array([[6.0]])}
    counts = {"ar": np.array([3]), "fi": np.array([1])}
    vectors, present = aggregate_queries(sums, counts, "mean")
    assert vectors.tolist() == [[4.0]]
    assert present.tolist() == [True]
    assert aggregate_queries(sums, counts, "sum")[0].tolist() == [[12.0]]


@pytest.mark.parametrize("normalize", [False, True])
def test_inputs_are_left_as_they_are(normalize):
    passages, queries = ragged()
    sums, counts = packed(queries)
    before = copy.deepcopy((passages, sums, counts))
    for array in (passages, *sums.values(), *counts.values()):
        array.setflags(write=False)
    for aggregate in ("sum", "mean"):
        result = augment(passages, sums, counts, 0.7, aggregate, normalize)
        assert not np.shares_memory(result, passages)
    assert passages.tobytes() == before[0].tobytes()
    for code in sums:
        assert sums[code].tobytes() == before[1][code].tobytes()
        assert counts[code].tobytes() == before[2][code].tobytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions_come_back_as_float32(dtype):
    passages, queries = ragged()
    sums, counts = packed(queries)
    result = augment(
        passages.astype(dtype), {code: array.astype(dtype) for code, array in sums.items()}, counts, 0.4, "mean"
    )
    assert result.dtype == np.float32
    np.testing.assert_allclose(
        result, loop(passages, queries, 0.4, "mean"), atol=5e-3 if dtype == np.float16 else 1e-6, rtol=0
    )


@pytest.mark.parametrize("alpha", [-1e-9, 1.0000001, 2, -1, float("nan"), float("inf"), float("-inf")])
def test_alpha_out_of_bounds(alpha):
    with pytest.raises(XqgError, match=r"^--alpha .*: must be a number from 0 to 1\."):
        Recipe(alpha=alpha)


@pytest.mark.parametrize("alpha", [0, 0.0, 1, 1.0, 0.01])
def test_alpha_in_bounds(alpha):
    assert Recipe(alpha=alpha).alpha == alpha


def test_recipes():
    with pytest.raises(XqgError, match="--aggregate max: must be one of sum, mean"):
        Recipe(aggregate="max")
    with pytest.raises(TypeError):
        Recipe(0.5)
    assert RECIPES["default"] == Recipe()
    passages, queries = ragged()
    sums, counts = packed(queries)
    recipe = Recipe(alpha=0.3, aggregate="mean", normalize=True, languages=("ar", "fi", "te"), route=True)
    found = recipe.apply(passages, sums, counts)
    np.testing.assert_allclose(found, loop(passages, queries, 0.3, "mean", True), rtol=0, atol=2e-6)
    routes = recipe.routes()
    assert list(routes) == ["ar", "fi", "te", "plain", "mean"]
    assert routes["fi"] == Recipe(alpha=0.3, aggregate="mean", normalize=True, languages=("fi",))
    assert (routes["plain"].alpha, routes["mean"].languages) == (0, ("ar", "fi", "te"))


def test_normalize_rows():
    random = np.random.default_rng(0)
    vectors = random.normal(scale=50, size=(20, 33))
    vectors[4] = 0
    result = normalize_rows(vectors)
    assert result.dtype == np.float32
    assert result[4].tolist() == [0.0] * 33
    expected = np.array([row / math.sqrt(math.fsum(row * row)) for row in np.delete(vectors, 4, 0)])
    np.testing.assert_allclose(np.delete(result, 4, 0), expected, rtol=0, atol=1e-6)

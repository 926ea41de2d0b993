"""Order statistics in two passes against a full sort."""

import numpy as np
import pytest

from pyserini_xqg.queries.order_statistics import order_statistics

CHANCE = np.random.default_rng(1)
VALUES = {
    "normal": CHANCE.normal(size=5000),
    "ties": CHANCE.integers(-3, 4, size=5000),
    "neighbours": np.nextafter(np.float32(0.7), np.float32(1)) + np.arange(3000) * np.float32(2**-24),
    "all kinds": [0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3e38, -3e38, 1.0, 1.0],
    "one": [-2.5],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("blocks", [1, 7])
def test_against_a_sort(name, blocks):
    values = np.asarray(VALUES[name], dtype=np.float32)
    ranks = sorted({0, len(values) // 3, len(values) // 2, len(values) - 1})
    found = order_statistics(lambda: np.array_split(values, blocks), [*ranks, *reversed(ranks)])
    assert found == [*np.sort(values)[ranks], *np.sort(values)[ranks[::-1]]]


def test_every_rank():
    values = np.float32(CHANCE.normal(size=300).round(1))
    assert order_statistics(lambda: [values], range(300)) == np.sort(values).tolist()


@pytest.mark.parametrize("rank", [-1, 3])
def test_rank_without_a_value(rank):
    with pytest.raises(IndexError, match=f"rank {rank} of 3 values"):
        order_statistics(lambda: [np.float32([1, 2, 3])], [rank])

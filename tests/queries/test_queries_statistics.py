"""Samples and distributions of the report, against NumPy and against chance."""

import random
from collections import Counter

import numpy as np
import pytest

from pyserini_xqg.queries.rendering import bin_edges, bin_names, bin_shares
from pyserini_xqg.queries.statistics import RepeatedTexts, Sample, describe_histogram, shorten


@pytest.mark.parametrize("seed", range(5))
def test_histogram_against_numpy(seed):
    values = np.random.default_rng(seed).geometric(0.07, size=1 + 137 * seed)
    found = describe_histogram(Counter(values.tolist()))
    assert found["mean"] == pytest.approx(values.mean())
    assert found["median"] == np.percentile(values, 50, method="inverted_cdf")
    assert found["p95"] == np.percentile(values, 95, method="inverted_cdf")
    assert (found["min"], found["max"]) == (values.min(), values.max())
    assert sum(found["histogram"].values()) == len(values)


def test_sample_is_even():
    counts = Counter()
    for seed in range(3000):
        sample = Sample(2, random.Random(seed))
        for item in range(10):
            sample.offer(item)
        assert len(set(sample.items)) == 2
        counts.update(sample.items)
    # 600 expected each; the standard deviation is 22.
    assert all(500 < counts[item] < 700 for item in range(10)), counts


def test_sample_of_few():
    sample = Sample(5, random.Random(0))
    for item in "abc":
        sample.offer(item)
    assert sample.items == ["a", "b", "c"]


def test_shorten():
    assert shorten("one\n two\tthree") == "one two three"
    assert shorten("x" * 300) == "x" * 279 + "…"


def test_bins_hold_all_values():
    edges = bin_edges({"fi": {"p95": 40, "max": 1000}, "ar": {"p95": 80, "max": 90}}, 28)
    shares = bin_shares({0: 1, 79: 1, 80: 1, 1000: 1}, edges)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == shares[-1] == 0.25
    assert len(shares) <= 28
    assert bin_names(edges)[-1].endswith(" or more")


# Texts that occur more than once


def test_counts_are_those_of_a_counter():
    chance = random.Random(1)
    texts = [f"text {min(chance.randrange(200), chance.randrange(200))}" for _ in range(1000)]
    expected = Counter(texts)
    repeated = RepeatedTexts()
    for text in texts:
        repeated.add(text)
    assert repeated.count() == (len(expected), sum(count for count in expected.values() if count > 1))
    assert repeated.most_frequent(5) == sorted(expected.items(), key=lambda item: (-item[1], item[0]))[:5]


def test_frequent_texts_are_not_forgotten_among_many_others():
    repeated = RepeatedTexts(kept=100)
    for number in range(20_000):
        repeated.add(f"once {number}")
        if number % 40 == 0:
            repeated.add("often")
        if number % 60 == 0:
            repeated.add("less often")
    assert len(repeated._frequent) <= 100
    assert repeated.most_frequent(2) == [("often", 500), ("less often", 334)]
    assert repeated.count() == (20_002, 834)


def test_what_stands_for_a_text():
    repeated = RepeatedTexts()
    repeated.add("whatisit", "What is it?")
    repeated.add("whatisit", "what is it")
    assert repeated.most_frequent(1) == [("What is it?", 2)]

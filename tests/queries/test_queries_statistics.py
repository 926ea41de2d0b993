"""Samples and distributions of the report, against NumPy and against chance."""

import random
from collections import Counter

import numpy as np
import pytest

from pyserini_xqg.queries.histogram_svg import Scale, histogram_svg, length_scale, round_top, share_svg
from pyserini_xqg.queries.statistics import Sample, describe_histogram, shorten


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
    scale = length_scale([{"p95": 40, "max": 1000}, {"p95": 80, "max": 90}], 28)
    shares = scale.shares({0: 1, 79: 1, 80: 1, 1000: 1})
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == shares[-1] == 0.25
    assert scale.bins <= 28
    assert scale.name(scale.bins - 1).endswith(" or more")


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.33, 0.81, 1.0])
def test_bars_stay_inside_the_axis(share):
    top = round_top(share)
    assert share <= top <= 1
    svg = histogram_svg([share, 0, share / 2], Scale(0, 5, 3), top, 'a "title"')
    assert svg.count("<rect") == 2
    assert "a &quot;title&quot;" in svg
    bars = [tuple(float(part.split('"')[0]) for part in bar.split('="')[3:6:2]) for bar in svg.split("<rect")[1:]]
    for y, tall in bars:
        assert y >= 7.9
        assert y + tall <= 112.1


def test_a_trace_of_another_language_is_seen():
    assert 'width="2.0"' in share_svg(0.9999, "")
    assert 'class="other" x="312.0" y="4" width="0.0"' in share_svg(1, "")

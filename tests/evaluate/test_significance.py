"""Paired tests, corrections, intervals: against enumeration, other formulas and SciPy's own, and degenerate samples."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import warnings

import pytest
from scipy import stats

from pyserini_xqg.evaluate import significance
from pyserini_xqg.evaluate.significance import CORRECTIONS, TESTS, TestOptions, correct, mean_interval


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def compare(values: dict, baseline: dict, **options) -> significance.PairedComparison:
    return significance.compare(values, baseline, baseline, TestOptions(**options))


def systems(number: int, seed: int, better: float = 0.0, digits: int = 3) -> tuple[dict, dict]:
    chance = random.Random(seed)
    baseline = {f"q{place}": round(chance.random(), digits) for place in range(number)}
    values = {q: round(min(1.0, value + chance.gauss(better, 0.2)), digits) for q, value in baseline.items()}
    return values, baseline


def differences(values: dict, baseline: dict) -> list[float]:
    return [values[query_id] - baseline[query_id] for query_id in baseline]


# --- tests ---


def two_sided_t(t: float, freedom: int) -> float:
    """P value by numeric integration of Student's density, without SciPy."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps = 20_000
    width = abs(t) / steps
    density = [scale * (1 + (place * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for place in range(steps + 1)]
    inner = width * (sum(density) - (density[0] + density[-1]) / 2)  # trapezoids
    return 1 - 2 * inner


@pytest.mark.parametrize("number", [2, 3, 12, 300])
def test_t_test(number):
    values, baseline = systems(number, seed=number, better=0.1)
    sample = differences(values, baseline)
    result = compare(values, baseline)
    t = statistics.mean(sample) / (statistics.stdev(sample) / math.sqrt(number))
    assert result.p_value == pytest.approx(two_sided_t(t, number - 1), abs=1e-6)
    assert result.questions == number
    assert result.mean_difference == pytest.approx(statistics.mean(sample), abs=1e-12)
    assert result.effect_size == pytest.approx(statistics.mean(sample) / statistics.stdev(sample), rel=1e-9)
    assert result.effect_size == pytest.approx(t / math.sqrt(number), rel=1e-9)


def test_a_published_example_of_the_t_test():
    # Student's own data (Biometrika 1908): extra hours of sleep under two drugs; t = -4.0621, p = 0.002833.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    result = compare(dict(enumerate(first)), dict(enumerate(second)))
    assert result.p_value == pytest.approx(0.002833, abs=5e-7)
    assert (result.low, result.high) == pytest.approx((-2.4598858, -0.7001142), abs=1e-7)
    assert (result.won, result.tied, result.lost) == (0, 1, 9)


@pytest.mark.parametrize("number", [2, 5, 9])
def test_randomisation_equals_enumeration(number):
    for seed in range(5):
        values, baseline = systems(number, seed, better=0.1, digits=1)  # one digit: ties among the sums, and zeros
        sample = [round(10 * difference) for difference in differences(values, baseline)]
        sums = [sum(sign * value for sign, value in zip(signs, sample, strict=True))
                for signs in itertools.product((1, -1), repeat=number)]  # fmt: skip
        expected = sum(abs(one) >= abs(sum(sample)) for one in sums) / len(sums)
        assert compare(values, baseline, test="randomisation").p_value == pytest.approx(expected, abs=1e-12)


def test_randomisation_of_many_questions_is_near_the_t_test_and_repeatable():
    values, baseline = systems(400, seed=3, better=0.03)
    student = compare(values, baseline).p_value
    assert 0.005 < student < 0.3
    first = compare(values, baseline, test="randomisation", seed=5)
    assert first.p_value == pytest.approx(student, abs=0.02)
    assert first == compare(values, baseline, test="randomisation", seed=5)
    assert first.p_value != compare(values, baseline, test="randomisation", seed=6).p_value
    assert first.p_value != compare(values, baseline, test="randomisation", seed=5, permutations=500).p_value
    # The smallest p value that n random permutations can give: 2 (0 + 1) / (n + 1).
    far = {query_id: value + 1 for query_id, value in values.items()}
    assert compare(far, baseline, test="randomisation", permutations=999).p_value == pytest.approx(2 / 1000)


@pytest.mark.parametrize("test", TESTS)
def test_both_sides_are_alike(test):
    values, baseline = systems(40, seed=3, better=0.05)
    one, other = compare(values, baseline, test=test), compare(baseline, values, test=test)
    assert one.p_value == pytest.approx(other.p_value, abs=0.02)
    assert one.mean_difference == pytest.approx(-other.mean_difference)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.won, one.tied, one.lost) == (other.lost, other.tied, other.won)
    assert one.won + one.tied + one.lost == 40


def test_under_the_null_hypothesis_one_test_in_twenty_is_significant():
    chance = random.Random(9)
    found = dict.fromkeys(TESTS, 0)
    for _ in range(300):
        baseline = {place: float(chance.random() < 0.5) for place in range(60)}
        values = {place: float(chance.random() < 0.5) for place in range(60)}
        for test in TESTS:
            found[test] += compare(values, baseline, test=test, permutations=400).p_value < 0.05
    assert all(4 <= number <= 28 for number in found.values()), found


def test_only_the_questions_asked_for_take_part_in_any_order():
    values, baseline = systems(20, seed=2)
    options = TestOptions("randomisation", permutations=99)
    some = significance.compare(values, baseline, ["q7", "q3", "q5"], options)
    assert some == significance.compare(values, baseline, ["q3", "q5", "q7"], options) and some.questions == 3


# --- degenerate samples ---


@pytest.mark.parametrize("test", TESTS)
def test_identical_systems(test):
    _, baseline = systems(30, seed=4)
    result = compare(baseline, dict(baseline), test=test)
    assert (result.p_value, result.effect_size, result.mean_difference) == (1.0, 0.0, 0.0)
    assert (result.low, result.high, result.won, result.tied, result.lost) == (0.0, 0.0, 0, 30, 0)


def test_differences_that_are_all_equal():
    baseline = {str(place): place / 10 for place in range(8)}
    values = {query_id: value + 0.3 for query_id, value in baseline.items()}  # equal but for rounding
    result = compare(values, baseline)
    assert (result.p_value, result.effect_size) == (0.0, math.inf)
    assert result.mean_difference == pytest.approx(0.3) == result.low == result.high
    assert compare(baseline, values).effect_size == -math.inf
    assert compare(values, baseline, test="randomisation").p_value == pytest.approx(2 / 2**8)


@pytest.mark.parametrize("test", TESTS)
def test_one_question_differs_and_gains_that_cancel(test):
    baseline = {str(place): 0.5 for place in range(50)}
    one = compare(baseline | {"7": 1.0}, baseline, test=test)
    assert one.p_value == pytest.approx({"t-test": stats.t.sf(1, 49) * 2, "randomisation": 1.0}[test])
    assert (one.won, one.tied, one.lost) == (1, 49, 0)
    assert compare(baseline | {"7": 1.0, "8": 0.0}, baseline, test=test).p_value == 1.0


# --- corrections ---


def holm_rejects(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure in his own words: reject the smallest while p(i) <= level / (n - i + 1), then stop."""
    rejected = set()
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index]), start=1):
        if p_values[index] > level / (len(p_values) - place + 1):
            break
        rejected.add(index)
    return rejected


def test_corrected_p_values_reject_what_the_procedures_do():
    chance = random.Random(8)
    for _ in range(200):
        p_values = [chance.choice([chance.random() ** 3, 0.01, 0.0, 1.0]) for _ in range(chance.randint(1, 12))]
        holm, bonferroni = correct(p_values, "holm"), correct(p_values, "bonferroni")
        assert correct(p_values) == p_values
        for level in (0.001, 0.01, 0.049, 0.2):
            assert {place for place, p in enumerate(holm) if p <= level} == holm_rejects(p_values, level)
            simple = {place for place, p in enumerate(p_values) if p <= level / len(p_values)}
            assert {place for place, p in enumerate(bonferroni) if p <= level} == simple
        for p, stepped, multiplied in zip(p_values, holm, bonferroni, strict=True):
            assert p <= stepped <= multiplied <= 1


def test_corrections_of_none_and_of_one():
    for method in CORRECTIONS:
        assert correct([], method) == []
        assert correct([0.03], method) == [0.03]


# --- intervals ---


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_interval_holds_the_means_that_a_test_does_not_refuse(confidence):
    sample = differences(*systems(25, seed=6, better=0.1))
    mean, low, high = mean_interval(sample, confidence)
    assert mean == pytest.approx(statistics.mean(sample))
    for end in (low, high):
        assert stats.ttest_1samp(sample, end).pvalue == pytest.approx(1 - confidence, abs=1e-9)
    assert low < mean < high
    result = compare(dict(enumerate(sample)), dict.fromkeys(range(25), 0.0), significance_level=1 - confidence)
    assert (result.low, result.high) == pytest.approx((low, high))
    assert mean_interval([0.25, 0.25, 0.25]) == (0.25, 0.25, 0.25)

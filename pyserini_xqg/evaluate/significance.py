"""Paired tests between two systems on the same questions, corrected for their number, with effect sizes and intervals.

The tests are SciPy's. Formulas: Student's paired t-test; Fisher's randomisation test by sign flips of the differences
(Smucker, Allan and Carterette, CIKM 2007); Cohen's d for paired samples, d_z (Cohen 1988, section 2.3); Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyserini_xqg.core.options import at_least, option

TESTS = ("t-test", "randomisation")
CORRECTIONS = ("none", "bonferroni", "holm")


@dataclass(frozen=True)
class TestOptions:
    """significance"""

    __test__ = False  # no test of pytest's

    test: str = option(
        "t-test",
        "Student's paired t-test, or Fisher's randomisation test: the mean difference against those with random signs; "
        "both are two-sided",
        choices=TESTS,
    )
    correction: str = option(
        "none",
        "of p values for the number of tests; a family is all tests of one measure: runs x (languages and all)",
        choices=CORRECTIONS,
    )
    significance_level: float = option(
        0.05,
        "mark differences with a (corrected) p value below P; intervals are at 1 - P",
        metavar="P",
        check=lambda level: None if 0 < level < 1 else "a number between 0 and 1",
    )
    seed: int = option(42, "of the randomisation test")
    permutations: int = option(
        10_000,
        "random ones of the randomisation test; up to as many, all are taken",
        metavar="N",
        check=at_least(1),
    )


@dataclass(frozen=True)
class PairedComparison:
    """A system against a baseline on the same questions.

    Attributes
    ----------
    questions : their number.
    mean_difference : mean of system minus baseline, in the unit of the values.
    low, high : confidence interval of the mean difference, by Student's t whatever the test.
    p_value : two-sided, not corrected.
    effect_size : d_z, the mean difference in standard deviations of the differences; infinite where all differences
        are equal and not 0.
    won, tied, lost : numbers of questions on which the system is better, equal, worse.
    """

    questions: int
    mean_difference: float
    low: float
    high: float
    p_value: float
    effect_size: float
    won: int
    tied: int
    lost: int


def compare(
    values: Mapping[str, float],
    baseline: Mapping[str, float],
    query_ids: Iterable[str],
    options: TestOptions,
) -> PairedComparison:
    """Compare two systems, query id to value, on two or more questions, two-sided.

    Where all differences are 0, p is 1 and d_z is 0. Where all are equal but not 0 the t statistic is infinite: p is 0.

    >>> result = compare({"1": 0.9, "2": 0.5, "3": 0.7}, {"1": 0.4, "2": 0.3, "3": 0.7}, "123", TestOptions())
    >>> result.questions, round(result.mean_difference, 3), round(result.p_value, 3), round(result.effect_size, 3)
    (3, 0.233, 0.25, 0.927)
    >>> result.won, result.tied, result.lost
    (2, 1, 0)
    """
    questions = sorted(query_ids)  # the random signs must not depend on the order
    pair = np.array([[of[query_id] for query_id in questions] for of in (values, baseline)], dtype=np.float64)
    differences = pair[0] - pair[1]
    mean, low, high = mean_interval(differences, 1 - options.significance_level)
    constant = _constant(differences)
    if constant:
        effect_size = math.copysign(math.inf, mean) if mean else 0.0
    else:
        effect_size = mean / float(differences.std(ddof=1))
    if mean == 0:
        p_value = 1.0
    elif options.test == "randomisation":
        p_value = _randomisation(differences, options.seed, options.permutations)
    elif constant:
        p_value = 0.0
    else:
        from scipy.stats import ttest_rel

        p_value = float(ttest_rel(*pair).pvalue)
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    tied = len(questions) - won - lost
    return PairedComparison(len(questions), mean, low, high, p_value, effect_size, won, tied, lost)


def _constant(differences: np.ndarray) -> bool:
    """Whether the differences are all equal, but for rounding."""
    return float(np.ptp(differences)) <= 1e-12 * float(np.abs(differences).max())


def _randomisation(differences: np.ndarray, seed: int, permutations: int) -> float:
    from scipy.stats import permutation_test

    changing = differences[differences != 0]  # flipping the sign of 0 changes nothing
    if len(changing) == 1:  # nor does that of a single difference change how large the mean is; SciPy wants two
        return 1.0

    def mean(sample: np.ndarray, axis: int) -> Any:
        return sample.sum(axis=axis) / len(differences)

    result = permutation_test(
        (changing,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, 4_000_000 // len(changing)),  # some 32 MB at a time
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def correct(p_values: Sequence[float], method: str = "none") -> list[float]:
    """P values corrected for their number, in the same order; at most 1.

    ``bonferroni`` multiplies by the number of tests, ``holm`` steps down (uniformly more powerful, and as valid under
    any dependence of the tests): the i-th smallest is multiplied by the number of those not smaller, and never falls
    below an earlier one (S. Holm, "A simple sequentially rejective multiple test procedure", 1979).

    >>> correct([0.01, 0.04, 0.03], "holm")
    [0.03, 0.06, 0.06]
    >>> correct([0.01, 0.04, 0.03], "bonferroni")
    [0.03, 0.12, 0.09]
    """
    p, number = np.array(p_values, dtype=np.float64), len(p_values)
    if method == "bonferroni":
        p = np.minimum(p * number, 1)
    elif method == "holm":
        order = np.argsort(p)
        p[order] = np.minimum(np.maximum.accumulate(p[order] * (number - np.arange(number))), 1)
    return p.tolist()


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of two or more values, and its confidence interval's ends by Student's t with n - 1 degrees of freedom.

    >>> [round(end, 3) for end in mean_interval([0.0, 1.0, 1.0, 0.0, 1.0])]
    [0.6, -0.08, 1.28]
    """
    from scipy.stats import sem, t

    sample = np.fromiter(values, dtype=np.float64)
    mean = math.fsum(sample) / len(sample)
    if _constant(sample):
        return mean, mean, mean
    low, high = t.interval(confidence, len(sample) - 1, loc=mean, scale=sem(sample))
    return mean, float(low), float(high)

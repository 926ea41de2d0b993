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

from pyserini_xqg.core.errors import XqgError
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

    def __post_init__(self) -> None:
        _check_name("test", self.test, TESTS)
        _check_name("correction", self.correction, CORRECTIONS)


def _check_name(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise XqgError(f"{what} {name!r}: unknown. Use one of {', '.join(known)}.")


@dataclass(frozen=True)
class PairedComparison:
    """A system against a baseline on the questions that both have values for.

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
    values: Mapping[str, float], baseline: Mapping[str, float], options: TestOptions | None = None
) -> PairedComparison:
    """Compare two systems question by question, two-sided.

    ``values`` and ``baseline`` are query id to value; questions of one alone play no part. Where all differences are 0,
    p is 1 and d_z is 0. Where all are equal but not 0 the t statistic is infinite: p is 0. Raises :class:`XqgError` for
    fewer than two shared questions, and for values that are not finite.

    >>> result = compare({"1": 0.9, "2": 0.5, "3": 0.7}, {"1": 0.4, "2": 0.3, "3": 0.7})
    >>> result.questions, round(result.mean_difference, 3), round(result.p_value, 3), round(result.effect_size, 3)
    (3, 0.233, 0.25, 0.927)
    >>> result.won, result.tied, result.lost
    (2, 1, 0)
    """
    options = options or TestOptions()
    shared = sorted(values.keys() & baseline.keys())
    if len(shared) < 2:
        raise XqgError(
            f"{len(shared)} question{'s' * (len(shared) != 1)} shared with the baseline: a paired test needs two or "
            "more. Compare runs of the same topics."
        )
    pair = np.array([[of[query_id] for query_id in shared] for of in (values, baseline)], dtype=np.float64)
    differences = pair[0] - pair[1]
    if not np.isfinite(differences).all():
        bad = shared[int(np.flatnonzero(~np.isfinite(differences))[0])]
        raise XqgError(f"question {bad!r}: a value that is not a finite number. Leave it out of both systems.")
    mean, low, high = mean_interval(differences, 1 - options.significance_level)
    if _constant(differences):
        p_value, effect_size = (1.0, 0.0) if mean == 0 else (0.0, math.copysign(math.inf, mean))
    else:
        effect_size = mean / float(differences.std(ddof=1))
    if mean == 0:
        p_value = 1.0
    elif options.test == "randomisation":
        p_value = _randomisation(differences, options.seed, options.permutations)
    elif not _constant(differences):
        from scipy.stats import ttest_rel

        p_value = float(ttest_rel(*pair).pvalue)
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedComparison(len(shared), mean, low, high, p_value, effect_size, won, len(shared) - won - lost, lost)


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
    _check_name("correction", method, CORRECTIONS)
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise XqgError(f"p value {p_value!r}: not between 0 and 1.")
    p, number = np.array(p_values, dtype=np.float64), len(p_values)
    if method == "bonferroni":
        p = np.minimum(p * number, 1)
    elif method == "holm":
        order = np.argsort(p)
        p[order] = np.minimum(np.maximum.accumulate(p[order] * (number - np.arange(number))), 1)
    return p.tolist()


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean, and the low and high end of its confidence interval by Student's t with n - 1 degrees of freedom.

    Raises :class:`XqgError` for fewer than two values: they have no interval.

    >>> [round(end, 3) for end in mean_interval([0.0, 1.0, 1.0, 0.0, 1.0])]
    [0.6, -0.08, 1.28]
    """
    if not 0 < confidence < 1:
        raise XqgError(f"confidence {confidence!r}: not between 0 and 1.")
    sample = np.fromiter(values, dtype=np.float64)
    if len(sample) < 2:
        raise XqgError(f"{len(sample)} value{'s' * (len(sample) != 1)}: an interval needs two or more.")
    mean = math.fsum(sample) / len(sample)
    if _constant(sample):
        return mean, mean, mean
    from scipy.stats import t

    half = float(t.ppf((1 + confidence) / 2, len(sample) - 1)) * float(sample.std(ddof=1)) / math.sqrt(len(sample))
    return mean, mean - half, mean + half

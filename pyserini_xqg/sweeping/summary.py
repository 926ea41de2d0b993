"""What the runs of a sweep score: means with intervals, and each against no augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.evaluation.scoring import means_by_language
from pyserini_xqg.evaluation.significance import Comparison, compare, correct, mean_interval
from pyserini_xqg.measures import AVERAGE

Interval = tuple[float, float]


@dataclass(frozen=True)
class System:
    """A run to report. cells : factor to its value, as text. baseline : name of the run it is compared with."""

    name: str
    cells: Mapping[str, str]
    baseline: str


@dataclass(frozen=True)
class Score:
    """A run by one measure. Keys are languages, and ``avg``.

    means : fractions; ``avg`` is the unweighted mean over languages. intervals : 95 % of these means, None where a
    language has one question only. comparisons : with the baseline, question by question, ``avg`` over all questions;
    empty for a baseline itself, and without languages of one question. p_values : corrected.
    """

    system: System
    measure: str
    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    comparisons: Mapping[str, Comparison]
    p_values: Mapping[str, float]

    def is_significant(self, column: str = AVERAGE) -> bool:
        """True if the run differs from its baseline, p < 0.05 after correction."""
        return self.p_values.get(column, 1.0) < 0.05


def summarise(
    systems: Sequence[System],
    values: Mapping[str, Mapping[str, Mapping[str, float]]],
    languages: Mapping[str, str],
    *,
    correction: str = "holm",
    **how: Any,
) -> list[Score]:
    """Score systems measure by measure, in their order.

    Parameters
    ----------
    systems
        Each with the baseline among them.
    values
        Run's name to measure to query id to value.
    languages
        Query id to language.
    correction
        For the number of runs that a measure and column compares with the baseline: ``none``, ``bonferroni``, ``holm``.
    how
        To :func:`~pyserini_xqg.evaluation.significance.compare`: test, seed, …
    """
    scores: list[Score] = []
    for measure in next(iter(values.values())):
        parts = {system.name: _columns(values[system.name][measure], languages) for system in systems}
        comparisons = {
            system.name: {
                column: compare(some, parts[system.baseline][column], **how)
                for column, some in parts[system.name].items()
                if system.name != system.baseline and len(some) > 1
            }
            for system in systems
        }
        corrected = _correct(comparisons, correction)
        for system in systems:
            of_system = parts[system.name]
            means = means_by_language(of_system[AVERAGE], languages)
            intervals = {column: _interval(of_system, column) for column in means}
            scores.append(Score(system, measure, means, intervals, comparisons[system.name], corrected[system.name]))
    return scores


def _columns(values: Mapping[str, float], languages: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Column to query id to value: each language's questions, and all under ``avg``."""
    columns: dict[str, dict[str, float]] = {}
    for query_id, value in values.items():
        columns.setdefault(languages[query_id], {})[query_id] = value
    return {**columns, AVERAGE: dict(values)}


def _interval(columns: Mapping[str, Mapping[str, float]], column: str) -> Interval | None:
    some = [columns[column]] if column != AVERAGE else [part for name, part in columns.items() if name != AVERAGE]
    if any(len(part) < 2 for part in some):
        return None
    if len(some) == 1:
        return mean_interval(some[0].values())[1:]
    return average_interval([list(part.values()) for part in some])


def average_interval(samples: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Confidence interval of the unweighted mean of the samples' means, each of two values or more.

    The variance of that mean is the sum of those of the samples' means over the squared number of samples (stratified
    sampling; Cochran, "Sampling Techniques", 1977, section 5.3), with Student's t at Satterthwaite's degrees of freedom
    (section 5.4).

    >>> [round(end, 3) for end in average_interval([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]])]
    [0.155, 1.095]
    """
    from scipy.stats import t

    means = [math.fsum(sample) / len(sample) for sample in samples]
    variances = [
        math.fsum((value - mean) ** 2 for value in sample) / (len(sample) - 1) / len(sample)
        for sample, mean in zip(samples, means, strict=True)
    ]
    mean, total = math.fsum(means) / len(samples), math.fsum(variances)
    if total == 0:
        return mean, mean
    freedom = total**2 / math.fsum(
        variance**2 / (len(sample) - 1) for sample, variance in zip(samples, variances, strict=True)
    )
    half = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total) / len(samples)
    return mean - half, mean + half


def _correct(comparisons: Mapping[str, Mapping[str, Comparison]], method: str) -> dict[str, dict[str, float]]:
    """Run to column to p value, corrected for the number of runs in that column."""
    corrected: dict[str, dict[str, float]] = {name: {} for name in comparisons}
    for column in dict.fromkeys(column for of_run in comparisons.values() for column in of_run):
        names = [name for name, of_run in comparisons.items() if column in of_run]
        p_values = correct([comparisons[name][column].p_value for name in names], method)
        for name, p_value in zip(names, p_values, strict=True):
            corrected[name][column] = p_value
    return corrected

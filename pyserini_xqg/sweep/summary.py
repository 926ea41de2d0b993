"""What the runs of a sweep score: means with intervals, and each against no augmentation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.comparisons import RunValues, Settings, Tested, compare_runs
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE, means_by_language

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
    language has one question only. tests : against the baseline, question by question, ``avg`` over all questions;
    empty for a baseline itself, and without languages of one question.
    """

    system: System
    measure: str
    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    tests: Mapping[str, Tested]

    def is_significant(self, column: str = AVERAGE) -> bool:
        """True if the run differs from its baseline, after correction."""
        return column in self.tests and self.tests[column].significant


def summarise(
    systems: Sequence[System], values: RunValues, languages: Mapping[str, str], settings: Settings
) -> list[Score]:
    """Score systems measure by measure, in their order, and compare each with its baseline, which is among them.

    Corrected for are the tests of one measure against one baseline: runs x (languages and all), as in
    :func:`~pyserini_xqg.evaluate.comparisons.compare_runs`. Raises :class:`XqgError` for fewer than two questions.
    """
    for measure, some in next(iter(values.values())).items():
        if len(some) < 2:
            raise XqgError(f"{measure}: {len(some)} question counts, and a paired test needs two or more. Add topics.")
    tests: dict[tuple[str, str], dict[str, Tested]] = {}
    for baseline in dict.fromkeys(system.baseline for system in systems):
        names = [baseline, *(system.name for system in systems if system.baseline == baseline != system.name)]
        for tested in compare_runs({name: values[name] for name in names}, baseline, languages, settings):
            of_run = tests.setdefault((tested.run, tested.measure), {})
            of_run[AVERAGE if tested.language == ALL_TOPICS else tested.language] = tested
    scores: list[Score] = []
    for measure in next(iter(values.values())):
        for system in systems:
            columns = _columns(values[system.name][measure], languages)
            means = means_by_language(values[system.name][measure], languages)
            intervals = {column: _interval(columns, column) for column in means}
            found = tests.get((system.name, measure), {})
            if found and len(columns) == 1:  # all questions are of one language
                (only,) = found.values()
                found = dict.fromkeys([*columns, AVERAGE], only)
            scores.append(Score(system, measure, means, intervals, found))
    return scores


def _columns(values: Mapping[str, float], languages: Mapping[str, str]) -> dict[str, list[float]]:
    """Language to the values of its questions."""
    columns: dict[str, list[float]] = {}
    for query_id, value in values.items():
        columns.setdefault(languages[query_id], []).append(value)
    return columns


def _interval(columns: Mapping[str, Sequence[float]], column: str) -> Interval | None:
    some = list(columns.values()) if column == AVERAGE else [columns[column]]
    return None if any(len(sample) < 2 for sample in some) else average_interval(some)


def average_interval(samples: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Confidence interval of the unweighted mean of the samples' means, each of two values or more.

    The variance of that mean is the sum of those of the samples' means over the squared number of samples (stratified
    sampling; Cochran, "Sampling Techniques", 1977, section 5.3), with Student's t at Satterthwaite's degrees of freedom
    (section 5.4). Of one sample this is the usual interval.

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

"""What the systems score: means with intervals, tests against a baseline, sizes and times; the tables of all that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pyserini_xqg.compare.comparison import Cost
from pyserini_xqg.compare.grid import FACTORS
from pyserini_xqg.core.files import write_file, write_json
from pyserini_xqg.core.tables import SIGNIFICANT, Cell, Column, Table, percent, render
from pyserini_xqg.evaluate.comparisons import Tested, compare_runs, write_by_query
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.score_tables import Results
from pyserini_xqg.evaluate.scoring import Scorer, Values
from pyserini_xqg.evaluate.significance import TestOptions

Interval = tuple[float, float]


@dataclass(frozen=True)
class SystemRow:
    """A system to report.

    name : of its run. about : what it is, in a line. cells : factor of the grid to its value, as text. baseline : the
    system that it is tested against; its own name for a baseline. cost : None where it is not known.
    """

    name: str
    about: str
    cells: Mapping[str, str]
    baseline: str
    cost: Cost | None = None


class SystemScores:
    """Scores, tests, sizes and times of the systems, ready to be written.

    Parameters
    ----------
    scorer : that scored ``values``, entered.
    rows : the systems, in the order of the table.
    values : system to measure to query id to value.
    tests : how the systems are tested.
    notes : further facts to stand in front of the tables.
    """

    def __init__(
        self,
        scorer: Scorer,
        rows: Sequence[SystemRow],
        values: Mapping[str, Values],
        tests: TestOptions,
        notes: Sequence[str] = (),
    ) -> None:
        self.measures, self.marked = scorer.measures, scorer.marked
        self.rows = list(rows)
        self._languages = scorer.languages
        self._values = {row.name: values[row.name] for row in rows}
        self._notes = notes
        self._baselines = list(dict.fromkeys(row.baseline for row in rows))
        tested: list[Tested] = []
        for baseline in self._baselines:
            names = [baseline, *(row.name for row in rows if row.baseline == baseline != row.name)]
            if len(names) > 1:
                tested += compare_runs({name: values[name] for name in names}, baseline, self._languages, tests)
        self._results = Results(
            scores={name: scorer.means(of_system) for name, of_system in self._values.items()},
            over_all={name: scorer.over_all(of_system) for name, of_system in self._values.items()},
            marked=scorer.marked,
            tested=tested,
            settings=tests if tested else None,
        )
        # Of one language, or of none that is known, the only column's test is that of all questions.
        self.columns = {code: code for code in self._languages.values()}
        self._whole = ALL_TOPICS if len(self.columns) > 1 else next(iter(self.columns))
        self._tested = {(one.run, one.measure, one.language): one for one in tested}

    def mean(self, system: str, measure: str, column: str = AVERAGE) -> float | None:
        """The mean of a language's questions, or the unweighted mean over languages."""
        return self._results.scores[system][measure].get(column)

    def interval(self, system: str, measure: str, column: str = AVERAGE) -> Interval | None:
        """95 % interval of that mean; None where a language has one question only."""
        of_language: dict[str, list[float]] = {}
        for query_id, value in self._values[system][measure].items():
            of_language.setdefault(self._languages[query_id], []).append(value)
        some = list(of_language.values()) if column == AVERAGE else [of_language.get(column, [])]
        return None if any(len(sample) < 2 for sample in some) else average_interval(some)

    def test(self, system: str, measure: str, column: str = AVERAGE) -> Tested | None:
        """The test that belongs to a column of a table; to ``avg``, the one on all questions."""
        return self._tested.get((system, measure, self._whole if column == AVERAGE else column))

    def is_significant(self, system: str, measure: str, column: str = AVERAGE) -> bool:
        """True if the system differs from its baseline, after correction."""
        test = self.test(system, measure, column)
        return test is not None and test.significant

    def _overview(self) -> Table:
        costs = ["index_bytes", "search_ms", "encode_ms"] if any(row.cost for row in self.rows) else []
        shown = {
            "index_bytes": Column("index MB", lambda size: f"{size / 1e6:.2f}"),
            "search_ms": Column("search ms", ".2f"),
            "encode_ms": Column("encode ms", ".2f"),
        }
        rows = [
            [
                row.name,
                *(
                    Cell(self.mean(row.name, measure), SIGNIFICANT * self.is_significant(row.name, measure))
                    for measure in self.measures
                ),
                *(getattr(row.cost, cost, None) for cost in costs),
            ]
            for row in self.rows
        ]
        scores = [Column(name + "*" * (name in self.marked), percent, best=True) for name in self.measures]
        return Table(["system", *scores, *(shown[cost] for cost in costs)], rows, "Average of the languages")

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        notes = [
            *self._results.notes(),
            f"In the first table {AVERAGE} is shown, and marked by the test on all {len(self._languages):,} questions.",
        ]
        if len(self._baselines) > 1:
            notes.append("Each system of vectors is tested against its own store's baseline.")
        if any(row.cost for row in self.rows):
            notes.append(
                "index MB: files of all indexes that a system searches. search ms: median time of one topic's search, "
                "without encoding it; encode ms: median time of encoding one topic, the same for all dense systems."
            )
        return [*notes, *self._notes]

    def text(self) -> str:
        """The overview for a terminal."""
        return render([self._overview()], notes=self.notes())

    def markdown(self) -> str:
        """Notes, the overview, a table by language and one of tests for each measure, and what each system is."""
        systems = Table(["system", Column("what", left=True)], [[row.name, row.about] for row in self.rows], "Systems")
        return render([self._overview(), *self._results.tables(), systems], "markdown", self.notes())

    def table(self) -> Table:
        """Of ``table.csv``: a line a system, measure and language (and ``avg``), with all digits; then its costs."""
        of_test = ("mean_difference", "low", "high", "effect_size", "p_value", "questions", "won", "tied", "lost")
        rows = []
        for row in self.rows:
            cells = [row.name, *(row.cells[factor] for factor in FACTORS)]
            for measure, means in self._results.scores[row.name].items():
                for column, value in means.items():
                    interval = self.interval(row.name, measure, column) or (None, None)
                    test = self.test(row.name, measure, column)
                    found = [getattr(test.comparison, entry) for entry in of_test] if test else [None] * len(of_test)
                    tested = [test.baseline if test else None, *found, test.p_corrected if test else None]
                    rows.append([*cells, measure, column, value, *interval, *tested])
            for cost, value in (asdict(row.cost) if row.cost else {}).items():
                rows.append([*cells, cost, None, value, None, None, None, *[None] * len(of_test), None])
        names = ["system", *FACTORS, "measure", "language", "value", "value_low", "value_high", "baseline"]
        return Table([*names, *of_test, "p_corrected"], rows)

    def json(self) -> dict[str, Any]:
        """Everything, as JSON values; an infinite effect size is null."""
        systems = {}
        costs = [field.name for field in fields(Cost)]
        for row in self.rows:
            tests: dict[str, dict[str, Any]] = {}
            for one in self._results.tested:
                if one.run == row.name:
                    values = {**asdict(one.comparison), "p_corrected": one.p_corrected, "significant": one.significant}
                    if not math.isfinite(values["effect_size"]):
                        values["effect_size"] = None
                    tests.setdefault(one.measure, {})[one.language] = values
            systems[row.name] = {
                "what": row.about,
                **{cost: getattr(row.cost, cost, None) for cost in costs},
                "baseline": row.baseline,
                "scores": self._results.scores[row.name],
                "tests": tests,
            }
        settings = asdict(self._results.settings) if self._results.settings else None
        return {"notes": self.notes(), "tests": settings, "systems": systems}

    def write(self, directory: Path) -> None:
        """Write ``table.md``, ``table.csv``, ``table.json`` and ``by-query.csv``, each whole or not at all."""
        with write_file(directory / "table.md") as out:
            out.write(self.markdown())
        self.table().write(directory / "table.csv")
        write_by_query(directory / "by-query.csv", self._values, self._languages)
        write_json(directory / "table.json", self.json())


def average_interval(samples: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Confidence interval of the unweighted mean of the samples' means, each of two values or more.

    The variance of that mean is the sum of those of the samples' means over the squared number of samples (stratified
    sampling; Cochran, "Sampling Techniques", 1977, section 5.3), with Student's t at Satterthwaite's degrees of freedom
    (section 5.4). Of one sample this is the usual interval.

    >>> [round(end, 3) for end in average_interval([[0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]])]
    [0.155, 1.095]
    """
    import numpy as np
    from scipy.stats import t

    sizes = np.array([len(sample) for sample in samples])
    mean = float(np.mean([np.mean(sample) for sample in samples]))
    variances = np.array([np.var(sample, ddof=1) for sample in samples]) / sizes
    total = variances.sum()
    if total == 0:
        return mean, mean
    freedom = total**2 / (variances**2 / (sizes - 1)).sum()
    half = float(t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total) / len(samples)
    return mean - half, mean + half

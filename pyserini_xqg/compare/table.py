"""The table of a comparison: measures with tests against a baseline, index size and query time, in every format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyserini_xqg.compare.comparison import Result
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.old_files import write_whole
from pyserini_xqg.core.tables import SIGNIFICANT, Cell, Column, Table, percent, render
from pyserini_xqg.evaluate.comparisons import Settings, Tested, compare_runs, write_by_query, write_rows
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.score_tables import Results
from pyserini_xqg.evaluate.scoring import Scorer, Values

AVERAGE = "avg"
"""As :mod:`pyserini_xqg.evaluate.measures` has it, which is slow to import."""
_COSTS = ["index MB", "search ms", "encode ms"]
_TESTS = ("mean_difference", "low", "high", "effect_size", "p_value")


class Report:
    """Scores, tests, sizes and times of the systems, ready to be written.

    Parameters
    ----------
    scorer
        That scored ``values``, entered.
    values
        System to measure to query id to value.
    costs
        System to size and times.
    described
        System to what it is, with its parameters.
    baseline, settings
        Against which system the others are tested, and how.
    notes
        Further facts to stand in front of the tables.
    """

    def __init__(
        self,
        scorer: Scorer,
        values: Mapping[str, Values],
        costs: Mapping[str, Result],
        described: Mapping[str, str],
        baseline: str,
        settings: Settings,
        notes: Sequence[str] = (),
    ) -> None:
        self._measures, self._languages = scorer.measures, scorer.languages
        self._values, self._costs, self._described, self._notes = values, costs, described, notes
        self._results = Results(
            scores={name: scorer.means(of_system) for name, of_system in values.items()},
            over_all={name: scorer.over_all(of_system) for name, of_system in values.items()},
            marked=scorer.marked,
            tested=compare_runs(values, baseline, scorer.languages, settings) if len(values) > 1 else (),
            settings=settings if len(values) > 1 else None,
        )
        # Of one language, or of none that is known, the only column's test is that of all questions.
        columns = set(scorer.languages.values())
        self._whole = ALL_TOPICS if len(columns) > 1 else next(iter(columns))
        self._tested = {(one.run, one.measure, one.language): one for one in self._results.tested}

    def _test(self, system: str, measure: str, column: str) -> Tested | None:
        """The test that belongs to a column of a table; to ``avg``, the one on all questions."""
        return self._tested.get((system, measure, self._whole if column == AVERAGE else column))

    def _overview(self) -> Table:
        rows = []
        for name, scores in self._results.scores.items():
            tests = [self._test(name, measure, AVERAGE) for measure in self._measures]
            marks = [SIGNIFICANT * bool(test and test.significant) for test in tests]
            means = [scores[measure].get(AVERAGE) for measure in self._measures]
            cost = self._costs[name]
            costs = [cost.index_bytes / 1e6, cost.search_ms, cost.encode_ms]
            rows.append([name, *map(Cell, means, marks), *costs])
        heads = [Column(name + "*" * (name in self._results.marked), percent, "highest") for name in self._measures]
        columns = ["system", *heads, *(Column(name, ".2f") for name in _COSTS)]
        return Table(columns, rows, "Average of the languages")

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        return [
            *self._results.notes(),
            f"In the first table {AVERAGE} is shown, and marked by the test on all {len(self._languages):,} questions.",
            "index MB: files of all indexes that a system searches. search ms: median time of one topic's search, "
            "without encoding it; encode ms: median time of encoding one topic, the same for all dense systems.",
            *self._notes,
        ]

    def text(self) -> str:
        """The overview for a terminal."""
        return render([self._overview()], notes=self.notes())

    def markdown(self) -> str:
        """Notes, the overview, a table by language and one of tests for each measure, and what each system is."""
        described = [[name, self._described[name]] for name in self._values]
        systems = Table(["system", Column("what", left=True)], described, "Systems")
        return render([self._overview(), *self._results.tables(), systems], "markdown", self.notes())

    def rows(self) -> Iterator[list[Any]]:
        """Of ``table.csv``: system, measure, language, value (fractions), the test; then the system's costs."""
        for name, scores in self._results.scores.items():
            for measure, means in scores.items():
                for column, value in means.items():
                    test = self._test(name, measure, column)
                    more = [getattr(test.comparison, entry) for entry in _TESTS] if test else [""] * len(_TESTS)
                    yield [name, measure, column, value, *more, test.p_corrected if test else ""]
            for cost, value in asdict(self._costs[name]).items():
                yield [name, cost, "", "" if value is None else value, *[""] * (len(_TESTS) + 1)]

    def json(self) -> dict[str, Any]:
        """Everything, as JSON values; an infinite effect size is null."""
        systems = {}
        for name, scores in self._results.scores.items():
            tests: dict[str, dict[str, Any]] = {}
            for one in self._results.tested:
                if one.run == name:
                    values = {**asdict(one.comparison), "p_corrected": one.p_corrected, "significant": one.significant}
                    if not math.isfinite(values["effect_size"]):
                        values["effect_size"] = None
                    tests.setdefault(one.measure, {})[one.language] = values
            costs = asdict(self._costs[name])
            systems[name] = {"what": self._described[name], **costs, "scores": scores, "tests": tests}
        settings = asdict(self._results.settings) if self._results.settings else None
        return {"notes": self.notes(), "tests": settings, "systems": systems}

    def write(self, directory: Path) -> None:
        """Write ``table.md``, ``table.csv``, ``table.json`` and ``by-query.csv``, each whole or not at all."""
        with write_whole(directory / "table.md") as out:
            out.write(self.markdown())
        write_rows(
            directory / "table.csv", ["system", "measure", "language", "value", *_TESTS, "p_corrected"], self.rows()
        )
        write_by_query(directory / "by-query.csv", self._values, self._languages)
        write_json(directory / "table.json", self.json())

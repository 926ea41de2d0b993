"""What the systems score: means, tests against a baseline, sizes and times; the tables of all that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pyserini_xqg.compare.comparison import Cost
from pyserini_xqg.compare.grid import FACTORS
from pyserini_xqg.core.files import write_text
from pyserini_xqg.core.tables import SIGNIFICANT, Cell, Column, Table, percent, render
from pyserini_xqg.evaluate.comparisons import Tested, compare_runs, write_by_query
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.score_tables import Results
from pyserini_xqg.evaluate.scoring import Scorer, Values
from pyserini_xqg.evaluate.significance import PairedComparison, TestOptions


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

    scorer : that scored ``values``, entered. values : system to measure to query id to value. notes : further facts to
    stand in front of the tables.
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
        self._languages, self._notes = scorer.languages, notes
        self._values = {row.name: values[row.name] for row in rows}
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
        columns = set(self._languages.values())
        self._whole = ALL_TOPICS if len(columns) > 1 else next(iter(columns))
        self._tested = {(test.run, test.measure, test.language): test for test in tested}

    def mean(self, system: str, measure: str) -> float:
        """The unweighted mean over languages."""
        return self._results.scores[system][measure][AVERAGE]

    def test(self, system: str, measure: str, column: str = AVERAGE) -> Tested | None:
        """The test that belongs to a column of a table; to ``avg``, the one on all questions."""
        return self._tested.get((system, measure, self._whole if column == AVERAGE else column))

    def is_significant(self, system: str, measure: str) -> bool:
        """True if the system differs from its baseline on all questions, after correction."""
        test = self.test(system, measure)
        return test is not None and test.significant

    def _overview(self) -> Table:
        scores = [Column(name + "*" * (name in self.marked), percent, best=True) for name in self.measures]
        costs = [Column("index MB", ".2f"), Column("search ms", ".2f")] if any(row.cost for row in self.rows) else []
        rows = []
        for row in self.rows:
            marks = [SIGNIFICANT * self.is_significant(row.name, measure) for measure in self.measures]
            means = [self.mean(row.name, measure) for measure in self.measures]
            cost = [row.cost.index_bytes / 1e6, row.cost.search_ms] if row.cost else [None] * len(costs)
            rows.append([row.name, *map(Cell, means, marks), *cost])
        return Table(["system", *scores, *costs], rows, "Average of the languages")

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        notes = self._results.notes()
        if len(self._baselines) > 1:
            notes.append("Each system of vectors is tested against its own store's baseline.")
        if any(row.cost for row in self.rows):
            notes.append(
                "index MB: files of all indexes that a system searches. search ms: median time of one topic's search "
                "with one thread, without encoding it."
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
        of_test = [field.name for field in fields(PairedComparison)]
        rows = []
        for row in self.rows:
            cells = [row.name, *(row.cells[factor] for factor in FACTORS)]
            for measure, means in self._results.scores[row.name].items():
                for column, value in means.items():
                    tested = [None] * (len(of_test) + 2)
                    if test := self.test(row.name, measure, column):
                        tested = [test.baseline, *asdict(test.comparison).values(), test.p_corrected]
                    rows.append([*cells, measure, column, value, *tested])
            for cost, value in (asdict(row.cost) if row.cost else {}).items():
                rows.append([*cells, cost, None, value, *[None] * (len(of_test) + 2)])
        return Table(["system", *FACTORS, "measure", "language", "value", "baseline", *of_test, "p_corrected"], rows)

    def write(self, directory: Path) -> None:
        """Write ``table.md``, ``table.csv`` and ``by-query.csv``, each whole or not at all."""
        write_text(directory / "table.md", self.markdown())
        self.table().write(directory / "table.csv")
        write_by_query(directory / "by-query.csv", self._values, self._languages)

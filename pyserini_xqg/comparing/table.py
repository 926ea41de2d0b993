"""The table of a comparison: measures with tests against a baseline, index size and query time, in every format."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pyserini_xqg.comparing.comparison import Result
from pyserini_xqg.evaluation.scoring import Scorer, Values
from pyserini_xqg.evaluation.significance import Comparison, compare, correct
from pyserini_xqg.evaluation.tables import SIGNIFICANT, Cell, Table, render_markdown, render_text, scored_rows
from pyserini_xqg.files import write_json, write_whole

ALL = "all questions"
"""Stands for every language where tests are made."""
LEVEL = 0.05


@dataclass(frozen=True)
class Tests:
    """How systems are tested against a baseline: see :mod:`pyserini_xqg.evaluation.significance`.

    P values of one measure and language (or all questions) are corrected for the number of systems.
    """

    baseline: str
    test: str = "t-test"
    correction: str = "holm"

    def compare(
        self, values: Mapping[str, Values], languages: Mapping[str, str]
    ) -> dict[str, dict[str, dict[str, tuple[Comparison, float]]]]:
        """System to measure to language (or :data:`ALL`) to the comparison and its corrected p value.

        Languages with fewer than two questions that count are left out: nothing can be tested on them.
        """
        others = [name for name in values if name != self.baseline]
        found: dict[str, Any] = {name: {} for name in others}
        if self.baseline not in values or not others:
            return found
        for measure, baseline in values[self.baseline].items():
            groups = {ALL: baseline}
            for query_id, value in baseline.items():
                groups.setdefault(languages[query_id], {})[query_id] = value
            for group, of_baseline in groups.items():
                if len(of_baseline) < 2:
                    continue
                results = [compare(values[name][measure], of_baseline, test=self.test) for name in others]
                corrected = correct([result.p_value for result in results], self.correction)
                for name, result, p_value in zip(others, results, corrected, strict=True):
                    found[name].setdefault(measure, {})[group] = result, p_value
        return found


class Report:
    """Scores, tests, sizes and times of the systems, ready to be written.

    Parameters
    ----------
    scorer
        That scored ``values``, entered.
    values
        System to measure to query id to value.
    results
        System to size and times.
    described
        System to what it is, with its parameters.
    tests
        Against which system, and how.
    notes
        Further facts to stand in front of the tables.
    """

    def __init__(
        self,
        scorer: Scorer,
        values: Mapping[str, Values],
        results: Mapping[str, Result],
        described: Mapping[str, str],
        tests: Tests,
        notes: Sequence[str] = (),
    ) -> None:
        self._scorer, self._values, self._results, self._described = scorer, values, results, described
        self._tests, self._notes = tests, notes
        self._means = {name: scorer.means(of_system) for name, of_system in values.items()}
        self._compared = tests.compare(values, scorer.languages)

    @property
    def _names(self) -> list[str]:
        return list(self._values)

    def _marks(self, measure: str, columns: Sequence[str]) -> list[tuple[int, int]]:
        """(row, column) of the significant differences; ``avg`` is marked by the test on all questions."""
        found = []
        for row, name in enumerate(self._names):
            tests = self._compared.get(name, {}).get(measure, {})
            for place, column in enumerate(columns):
                _, p_value = tests.get(ALL if column == "avg" else column, (None, 1.0))
                if p_value < LEVEL:
                    found.append((row, place))
        return found

    def _overview(self) -> Table:
        measures = self._scorer.measures
        columns = [[self._means[name][measure].get("avg") for name in self._names] for measure in measures]
        marks = [(row, place) for place, one in enumerate(measures) for row, _ in self._marks(one, ["avg"])]
        rows = []
        for name, cells in scored_rows(self._names, columns, marks):
            result = self._results[name]
            encode = "-" if result.encode_ms is None else f"{result.encode_ms:.2f}"
            costs = [f"{result.index_bytes / 1e6:.2f}", f"{result.search_ms:.2f}", encode]
            rows.append((name, [*cells, *map(Cell, costs)]))
        header = [one + "*" * (one in self._scorer.marked) for one in measures]
        return Table("All languages", ["system", *header, "index MB", "search ms", "encode ms"], rows)

    def _by_language(self) -> list[Table]:
        tables = []
        for measure in self._scorer.measures:
            languages = list(self._means[self._names[0]][measure])  # with avg, in the order of tables
            if len(languages) < 3:
                continue
            columns = [[self._means[name][measure].get(code) for name in self._names] for code in languages]
            rows = scored_rows(self._names, columns, self._marks(measure, languages))
            tables.append(Table(measure + "*" * (measure in self._scorer.marked), ["system", *languages], rows))
        return tables

    def _head(self) -> list[str]:
        tests, number = self._tests, len(self._scorer.languages)
        corrected = "" if tests.correction == "none" else f", {tests.correction.capitalize()}-corrected"
        notes = [
            "Values x 100; avg is the unweighted mean over languages.",
            f"{SIGNIFICANT} differs from {tests.baseline} (paired two-sided {tests.test}, p < {LEVEL}{corrected} for "
            f"the number of systems; avg: on all {number:,} questions).",
            "index MB: files of all indexes that the system searches. search ms: median time of one topic's search, "
            "without encoding it; encode ms: median time of encoding one topic, the same for all dense systems.",
            *self._notes,
        ]
        if self._scorer.marked:
            notes.append("* computed without NLTK's punkt_tab data: not quite the official scorer's.")
        return notes

    def text(self) -> str:
        """The overview for a terminal."""
        return render_text([self._overview()], self._head())

    def markdown(self) -> str:
        """Notes, what each system is, the overview, and a table by language for each measure."""
        described = Table(
            "Systems", ["system", "what"], [(name, [Cell(self._described[name])]) for name in self._names]
        )
        systems = render_markdown([described]).replace("|---|---:|", "|---|---|")
        return render_markdown([self._overview(), *self._by_language()], self._head()) + systems

    def csv(self) -> str:
        """A line a system, measure and language (fractions), with the test against the baseline; sizes and times."""
        tests = ("mean_difference", "low", "high", "p_value", "effect_size", "won", "tied", "lost")
        lines: list[list[Any]] = [["system", "measure", "language", "value", *tests, "corrected_p_value"]]
        for name in self._names:
            for measure, means in self._means[name].items():
                compared = self._compared.get(name, {}).get(measure, {})
                for language, value in means.items():
                    group = compared.get(ALL if language == "avg" else language)
                    more = (
                        [*(getattr(group[0], test) for test in tests), group[1]] if group else [""] * (len(tests) + 1)
                    )
                    lines.append([name, measure, language, value, *more])
            for cost, value in asdict(self._results[name]).items():
                lines.append([name, cost, "", "" if value is None else value, *[""] * (len(tests) + 1)])
        return _csv(lines)

    def json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        systems = {}
        for name in self._names:
            tests = {
                measure: {
                    group: {**asdict(_finite(result)), "corrected_p_value": p_value}
                    for group, (result, p_value) in groups.items()
                }
                for measure, groups in self._compared.get(name, {}).items()
            }
            described, costs = self._described[name], asdict(self._results[name])
            systems[name] = {"what": described, **costs, "means": self._means[name], "tests": tests}
        return {"notes": self._head(), **asdict(self._tests), "systems": systems}

    def by_query(self) -> str:
        """A line a system, measure and question: fractions, as CSV."""
        lines: list[list[Any]] = [["system", "measure", "language", "query", "value"]]
        for name, of_system in self._values.items():
            for measure, values in of_system.items():
                lines += [[name, measure, self._scorer.languages[one], one, values[one]] for one in sorted(values)]
        return _csv(lines)

    def write(self, directory: Path) -> None:
        """Write ``table.md``, ``table.csv``, ``table.json`` and ``by-query.csv``, each whole or not at all."""
        texts = {"table.md": self.markdown(), "table.csv": self.csv(), "by-query.csv": self.by_query()}
        for name, text in texts.items():
            with write_whole(directory / name) as out:
                out.write(text)
        write_json(directory / "table.json", self.json())


def _finite(result: Comparison) -> Comparison:
    """JSON has no infinity: the effect size of a constant difference becomes null."""
    infinite = abs(result.effect_size) == float("inf")
    return replace(result, effect_size=None) if infinite else result


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(lines)
    return out.getvalue()

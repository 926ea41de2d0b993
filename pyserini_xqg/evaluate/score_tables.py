"""The tables of ``python -m pyserini_xqg.evaluate``: runs as rows, languages as columns, and comparisons below."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

from pyserini_xqg.core.tables import BEST, SIGNIFICANT, Cell, Column, Table, percent, render
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE
from pyserini_xqg.evaluate.comparisons import Tested, comparison_tables, describe
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE, sort_languages
from pyserini_xqg.evaluate.significance import TestOptions

FORMATS = ("table", "markdown", "latex", "csv", "json")

Scores = dict[str, dict[str, dict[str, float]]]
"""Run to measure to language (and ``avg``) to a fraction, in the order of the table."""


@dataclass
class Results:
    """Scores of runs, and comparisons with a baseline where one was named.

    Attributes
    ----------
    scores : run to measure to language (and ``avg``) to a fraction.
    over_all : run to measure to the mean over all questions, whatever their language.
    marked : measures that are not exactly the official scorer's.
    tested, settings : the comparisons, and how they were made; None without a baseline.
    """

    scores: Scores
    over_all: dict[str, dict[str, float]] = field(default_factory=dict)
    marked: Set[str] = frozenset()
    tested: Sequence[Tested] = ()
    settings: TestOptions | None = None

    def render(self, style: str) -> str:
        """In one of :data:`FORMATS`: values x 100 with notes; as CSV and JSON fractions, with all digits."""
        if style == "json":
            return json.dumps(self.scores, ensure_ascii=False, indent=2) + "\n"
        if style == "csv":
            return self._values().csv()
        first, *others = self.notes()
        first += f" {BEST} best of its column." * (style == "table" and len(self.scores) > 1)
        return render(self.tables(), style, [first, *others])

    def _values(self) -> Table:
        rows = [
            [run, measure, language, value]
            for run, of_run in self.scores.items()
            for measure, values in of_run.items()
            for language, value in values.items()
        ]
        return Table(["run", "measure", "language", "value"], rows)

    def tables(self) -> list[Table]:
        """One table of scores for each measure, then one of comparisons for each."""
        languages = self._languages()
        # The test over all questions compares means over all questions, so these are shown too.
        pooled = [ALL_TOPICS] if any(test.language == ALL_TOPICS != languages[0] for test in self.tested) else []
        columns = [*languages, AVERAGE, *pooled] if languages != [ALL_TOPICS] else languages
        significant = {(test.run, test.measure, test.language) for test in self.tested if test.significant}
        tables = []
        for measure in next(iter(self.scores.values())):
            rows = []
            for run, of_run in self.scores.items():
                means = of_run[measure] | {language: self.over_all[run].get(measure) for language in pooled}
                cells = [
                    Cell(means.get(column), SIGNIFICANT * ((run, measure, column) in significant)) for column in columns
                ]
                rows.append([run, *cells])
            heads = [Column(name, percent, "highest") for name in columns]
            tables.append(Table(["run", *heads], rows, measure + "*" * (measure in self.marked)))
        return tables + (comparison_tables(self.tested, self.settings, self.marked) if self.settings else [])

    def _languages(self) -> list[str]:
        codes = {code for of_run in self.scores.values() for values in of_run.values() for code in values}
        return sort_languages(codes - {AVERAGE})

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        average = f"; {AVERAGE} is the unweighted mean over languages" * (self._languages() != [ALL_TOPICS])
        notes = [f"Values x 100{average}."]
        if self.tested:
            first = self.tested[0]
            number = sum(test.measure == first.measure for test in self.tested)
            notes.append(describe(self.settings, number, first.baseline))
            columns = {test.language for test in self.tested}
            if ALL_TOPICS in columns and len(columns) > 2:
                notes.append(
                    f"{ALL_TOPICS} is the mean over all questions, which its test compares; {AVERAGE} is not tested."
                )
            interval = (
                f"{(1 - self.settings.significance_level) * 100:g}% intervals of the mean difference are Student's"
            )
            notes.append(f"{interval}; d_z is the mean difference in standard deviations of the differences.")
        if self.marked:
            notes.append(
                f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
            )
        return notes

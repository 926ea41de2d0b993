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


@dataclass
class Results:
    """Scores of runs, and comparisons with a baseline where one was named.

    Attributes
    ----------
    scores : run to measure to language (and ``avg``) to a fraction, in the order of the table.
    over_all : run to measure to the mean over all questions, whatever their language.
    marked : measures that are not exactly the official scorer's.
    tested, settings : the comparisons, and how they were made; None without a baseline.
    """

    scores: dict[str, dict[str, dict[str, float]]]
    over_all: dict[str, dict[str, float]] = field(default_factory=dict)
    marked: Set[str] = frozenset()
    tested: Sequence[Tested] = ()
    settings: TestOptions | None = None

    def render(self, style: str) -> str:
        """In one of :data:`FORMATS`: values x 100 with notes; as CSV and JSON fractions, with all digits."""
        if style == "json":
            return json.dumps(self.scores, ensure_ascii=False, indent=2) + "\n"
        if style == "csv":
            rows = (
                [run, measure, language, value]
                for run, of_run in self.scores.items()
                for measure, values in of_run.items()
                for language, value in values.items()
            )
            return Table(["run", "measure", "language", "value"], rows).csv()
        notes = self.notes()
        notes[0] += f" {BEST} best of its column." * (style == "table" and len(self.scores) > 1)
        return render(self.tables(), style, notes)

    def tables(self) -> list[Table]:
        """One table of scores for each measure, then one of comparisons for each."""
        languages, pooled = self._languages(), [ALL_TOPICS] * self._is_pooled()
        columns = [*languages, AVERAGE, *pooled] if languages != [ALL_TOPICS] else languages
        significant = {(test.run, test.measure, test.language) for test in self.tested if test.significant}
        heads = ["run", *(Column(name, percent, best=True) for name in columns)]
        tables = []
        for measure in next(iter(self.scores.values())):
            rows = []
            for run, of_run in self.scores.items():
                means = of_run[measure] | {language: self.over_all[run].get(measure) for language in pooled}
                marks = [SIGNIFICANT * ((run, measure, column) in significant) for column in columns]
                rows.append([run, *map(Cell, map(means.get, columns), marks)])
            tables.append(Table(heads, rows, measure + "*" * (measure in self.marked)))
        return tables + (comparison_tables(self.tested, self.settings, self.marked) if self.settings else [])

    def _languages(self) -> list[str]:
        codes = {code for of_run in self.scores.values() for values in of_run.values() for code in values}
        return sort_languages(codes - {AVERAGE})

    def _is_pooled(self) -> bool:
        """Whether means over all questions are shown too: the test over all questions compares these."""
        return self._languages() != [ALL_TOPICS] and any(test.language == ALL_TOPICS for test in self.tested)

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        average = f"; {AVERAGE} is the unweighted mean over languages" * (self._languages() != [ALL_TOPICS])
        notes = [f"Values x 100{average}."]
        if self.tested:
            first = self.tested[0]
            number = sum(test.measure == first.measure for test in self.tested)
            notes.append(describe(self.settings, number, first.baseline))
            if self._is_pooled():
                notes.append(
                    f"{ALL_TOPICS} is the mean over all questions, which its test compares; {AVERAGE} is not tested."
                )
            notes.append(
                f"{(1 - self.settings.significance_level) * 100:g}% intervals of the mean difference are Student's; "
                "d_z is the mean difference in standard deviations of the differences."
            )
        if self.marked:
            notes.append(
                f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
            )
        return notes

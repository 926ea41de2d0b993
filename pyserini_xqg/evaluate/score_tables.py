"""The tables of ``python -m pyserini_xqg.evaluate``: systems as rows, languages as columns; text, Markdown, LaTeX, CSV
and JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from pyserini_xqg.evaluate.collection import ALL_TOPICS
from pyserini_xqg.evaluate.comparisons import Settings, Tested, comparison_tables, describe
from pyserini_xqg.evaluate.tables import BEST, Table, render_latex, render_markdown, render_text, scored_rows

Scores = dict[str, dict[str, dict[str, float]]]
"""Run to measure to language (and ``avg``) to a fraction, in the order of the table."""


@dataclass
class Results:
    """Scores of runs, and comparisons with a baseline where one was named.

    Attributes
    ----------
    scores
        Run to measure to language (and ``avg``) to a fraction.
    over_all
        Run to measure to the mean over all questions, whatever their language.
    marked
        Measures that are not exactly the official scorer's.
    tested, settings
        The comparisons, and how they were made; None without a baseline.
    """

    scores: Scores
    over_all: dict[str, dict[str, float]] = field(default_factory=dict)
    marked: Set[str] = frozenset()
    tested: Sequence[Tested] = ()
    settings: Settings | None = None

    def tables(self) -> list[Table]:
        """One table of scores for each measure, then one of comparisons for each."""
        from pyserini_xqg.evaluate.measures import AVERAGE, sort_languages

        of_runs = list(self.scores.values())
        languages = sort_languages({code for of in of_runs for values in of.values() for code in values} - {AVERAGE})
        columns = [*languages, AVERAGE]
        # The test over all questions compares means over all questions, so these are shown too.
        pooled = [ALL_TOPICS] if any(one.language == ALL_TOPICS != languages[0] for one in self.tested) else []
        significant = {(one.run, one.measure, one.language) for one in self.tested if one.significant}
        names, tables = list(self.scores), []
        for measure in of_runs[0]:
            values = [[of[measure].get(column) for of in of_runs] for column in columns]
            values += [[self.over_all[name].get(measure) for name in names] for _ in pooled]
            marks = [
                (row, place)
                for row, name in enumerate(names)
                for place, column in enumerate([*columns, *pooled])
                if (name, measure, column) in significant
            ]
            header = ["run", *columns, *pooled]
            tables.append(Table(measure + "*" * (measure in self.marked), header, scored_rows(names, values, marks)))
        return tables + (comparison_tables(self.tested, self.settings, self.marked) if self.settings else [])

    def notes(self) -> list[str]:
        """What a reader of the tables must know."""
        from pyserini_xqg.evaluate.measures import AVERAGE, PUNKT_CURE

        notes = [f"Values x 100; {AVERAGE} is the unweighted mean over languages."]
        if self.tested:
            first = self.tested[0]
            notes.append(describe(self.settings, sum(one.measure == first.measure for one in self.tested),
                                  first.baseline))  # fmt: skip
            if any(one.language == ALL_TOPICS for one in self.tested) and len(self._languages()) > 1:
                notes.append(
                    f"{ALL_TOPICS} is the mean over all questions, which its test compares; {AVERAGE} is not tested."
                )
            interval = f"{(1 - self.settings.level) * 100:g}% intervals of the mean difference are Student's"
            notes.append(f"{interval}; d_z is the mean difference in standard deviations of the differences.")
        if self.marked:
            notes.append(
                f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
            )
        return notes

    def _languages(self) -> set[str]:
        return {one.language for one in self.tested} - {ALL_TOPICS}


def format_table(results: Results) -> str:
    """Aligned columns for a terminal; values x 100."""
    first, *others = results.notes()
    best = f" {BEST} best of its column." * (len(results.scores) > 1)
    return render_text(results.tables(), [first + best, *others])


def format_markdown(results: Results) -> str:
    """Markdown; values x 100."""
    return render_markdown(results.tables(), results.notes())


def format_latex(results: Results) -> str:
    """LaTeX with booktabs; values x 100."""
    return render_latex(results.tables(), results.notes())


def format_csv(results: Results) -> str:
    """Comma-separated values, one line per run, measure and language; fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "measure", "language", "value"])
    for name, of_run in results.scores.items():
        for measure, values in of_run.items():
            writer.writerows([name, measure, language, value] for language, value in values.items())
    return out.getvalue()


def format_json(results: Results) -> str:
    """``{run: {measure: {language: fraction, ..., "avg": fraction}}}``."""
    return json.dumps(results.scores, ensure_ascii=False, indent=2) + "\n"


FORMATS: dict[str, Callable[[Results], str]] = {
    "table": format_table,
    "markdown": format_markdown,
    "latex": format_latex,
    "csv": format_csv,
    "json": format_json,
}

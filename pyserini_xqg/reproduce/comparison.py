"""What was found against what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.reproduce.conditions import SCORES, Condition

Scores = Mapping[str, Mapping[str, float]]
"""Measure to language (and ``avg``) to a fraction."""

_ROUNDING = 0.005
"""Half of the last of the two digits that figures x 100 are published with."""


@dataclass(frozen=True)
class Verdict:
    """One expected figure (x 100) and the one found."""

    measure: str
    language: str
    found: float
    expected: float
    allowed: float
    source: str

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.found - self.expected) <= self.allowed + _ROUNDING

    def __str__(self) -> str:
        """``OK``, or by how many points it is off."""
        return "OK" if self.ok else f"off by {self.found - self.expected:+.2f}"


def read_scores(path: Path) -> Scores:
    """The scores of the one run in a JSON file of ``pyserini_xqg.evaluate``."""
    content = read_json(path)
    if len(content) != 1:
        raise XqgError(f"{path}: scores of {len(content)} runs where one was expected. Correct the step {SCORES}.")
    return next(iter(content.values()))


def compare_scores(condition: Condition, scores: Scores) -> Iterator[Verdict]:
    """One verdict for each expected figure.

    Raises :class:`XqgError` where a measure or a language that is expected was not scored.
    """
    for expected in condition.expected:
        for measure, values in expected.scores.items():
            for language, value in values.items():
                if language not in scores.get(measure, {}):
                    raise XqgError(
                        f"{condition.name}: {measure} of {language} is expected and was not scored. "
                        "Correct the condition's step evaluate, or what it expects."
                    )
                found = scores[measure][language] * 100
                yield Verdict(measure, language, found, value, expected.allowed(language), expected.source)


def render_verdicts(condition: Condition, scores: Scores) -> str:
    """Tables for a terminal: measure, language, found, expected, tolerance, verdict; values x 100."""
    from pyserini_xqg.core.tables import Column, Table

    verdicts = list(compare_scores(condition, scores))
    names = ["measure", Column("language", left=True), Column("found", ".2f")]
    tables = []
    for expected in condition.expected:
        columns = [*names, Column("expected", ".2f"), Column("+/-", "g"), Column("verdict", left=True)]
        rows = [
            [one.measure, one.language, one.found, one.expected, one.allowed, str(one)]
            for one in verdicts
            if one.source == expected.source
        ]
        tables.append(Table(columns, rows, f"expected: {expected.source}"))
    if not condition.expected:
        rows = [[measure, name, score * 100] for measure, values in scores.items() for name, score in values.items()]
        tables.append(Table(names, rows, f"no expected scores: {condition.unknown}"))
    lines = [line for table in tables for line in table.text().splitlines()]
    return "\n".join([f"{condition.name}: {condition.title}", *(f"  {line}" for line in lines)])

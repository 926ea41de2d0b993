"""What was found against what was expected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce.definition import Condition

Scores = Mapping[str, Mapping[str, float]]
"""Measure to language (and ``avg``) to a fraction."""

_ROUNDING = 0.005
"""Half of the last of the two digits that figures x 100 are published with."""


@dataclass(frozen=True)
class Verdict:
    """One expected figure (x 100) and the one found; ``off`` is by how much more than allowed, with its sign."""

    measure: str
    language: str
    found: float
    expected: float
    allowed: float
    source: str

    @property
    def difference(self) -> float:
        """Found minus expected, in points."""
        return self.found - self.expected

    @property
    def ok(self) -> bool:
        """Whether the difference is within the tolerance."""
        return abs(self.difference) <= self.allowed + _ROUNDING

    def __str__(self) -> str:
        """``OK``, or by how many points it is off."""
        return "OK" if self.ok else f"off by {self.difference:+.2f}"


def read_scores(path: Path) -> Scores:
    """The scores of the one run in a JSON file of ``pyserini_xqg.evaluate``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        (scores,) = content.values()
        return {
            measure: {language: float(value) for language, value in values.items()}
            for measure, values in scores.items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise XqgError(
            f"{path}: not the scores of one run as pyserini_xqg.evaluate --format json writes them ({error}). "
            "Remove the file and run the same again."
        ) from error


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
    """A table for a terminal: measure, language, found, expected, tolerance, verdict; values x 100."""
    verdicts = list(compare_scores(condition, scores))
    lines = [f"{condition.name}: {condition.title}"]
    for expected in condition.expected:
        lines.append(f"  expected: {expected.source}")
        rows = [("measure", "", "found", "expected", "+/-", "")]
        rows += [
            (v.measure, v.language, f"{v.found:.2f}", f"{v.expected:.2f}", f"{v.allowed:g}", str(v))
            for v in verdicts
            if v.source == expected.source
        ]
        lines += [f"  {a:<8}{b:<5}{c:>8}{d:>10}{e:>6}  {f}".rstrip() for a, b, c, d, e, f in rows]
    if not condition.expected:
        lines.append(f"  no expected scores: {condition.unknown}")
        for measure, values in scores.items():
            lines += [f"  {measure:<8}{language:<5}{value * 100:>8.2f}" for language, value in values.items()]
    return "\n".join(lines)

"""What a run of hours tells while it lasts and in the end: speed a language, time left, refusals, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.ray import ProgressLines


class GenerationProgress:
    """Follows one output with the bar, or the lines, of :func:`~pyserini_xqg.core.cli.progress`; names it ``name``.

    ``lines`` : those of a worker on a cluster, beside them.
    """

    def __init__(self, name: str, lines: ProgressLines | None = None) -> None:
        self.name = name
        self._lines = lines
        self._cut_named = False
        self._seconds: Counter[str] = Counter()
        self._queries: Counter[str] = Counter()

    def begin(self, languages: Sequence[str], num_queries: int, rows: int, done: int) -> Any:
        """``done`` of ``rows`` passages were there before; returns the bar, a context manager."""
        self._num_queries, self._rows, self._done = num_queries, rows, done
        each = len(languages) * num_queries
        self._bar = progress(total=rows * each, unit="queries", description=f"generating {self.name}")
        self._bar.update(done * each)
        self._bar.initial = self._bar.n  # the rate is that of this process
        return self._bar

    def add(self, language: str, passages: int, queries: int, seconds: float) -> None:
        """So many passages of the chunk got so many queries in a language."""
        self._queries[language] += queries
        self._seconds[language] += seconds
        self._bar.update(passages * self._num_queries)
        if self._lines:
            self._lines(self._done, self._rows, queries)

    def committed(self, rows: int) -> None:
        """So many passages are on the disk."""
        self._done = rows

    def name_cut(self, docids: Sequence[str], limit: int) -> None:
        """Say once, and at once, that inputs are cut."""
        if docids and not self._cut_named:
            self._cut_named = True
            say(
                f"{self.name}: docid {docids[0]}: its prompt is longer than the model's input of {limit:,} tokens and "
                "is cut; such prompts are counted. Another --max-input-length changes that where the model allows."
            )

    def summarize(self, sidecar: Mapping[str, Any]) -> None:
        """The counts of the finished output, and the speed of this process."""
        for line in summary_lines(self.name, sidecar):
            say(line)
        if queries := sum(self._queries.values()):
            speeds = [
                f"{language} {number / max(self._seconds[language], 1e-9):,.1f}"
                for language, number in self._queries.items()
            ]
            speed = queries / max(sum(self._seconds.values()), 1e-9)
            say(f"{self.name}: {speed:,.1f} queries/s ({', '.join(speeds)})")


def summary_lines(name: str, sidecar: Mapping[str, Any]) -> list[str]:
    """What a sidecar's counts say, in lines that begin with ``name``."""
    counts = sidecar["counts"]
    passages = sidecar["corpus"]["passages"]
    kept = ", ".join(f"{language} {number:,}" for language, number in counts["queries"].items())
    part = ""
    if shard := sidecar.get("shard"):
        part, passages = f"shard {shard['id']} of {shard['num']}, ", shard["rows"]
    lines = [f"{name}: {part}{passages:,} passages, queries: {kept}"]
    for language, reasons in counts["refused"].items():
        if refused := sum(reasons.values()):
            why = ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in reasons.items() if number)
            total = counts["candidates"][language]
            lines.append(f"{name}: {language}: {refused:,} of {total:,} candidates refused ({why})")
    wanted = sidecar["num_queries"]
    for what, text in (
        ("passages_with_fewer_queries", f"passages with fewer than {wanted} queries"),
        ("cut_inputs", "prompts were longer than the model's input and cut"),
    ):
        found = {language: number for language, number in counts[what].items() if number}
        if found:
            numbers = ", ".join(f"{language} {number:,}" for language, number in found.items())
            docids = counts["examples"][what]
            lines.append(f"{name}: {text}: {numbers} (docid {', '.join(docids)}{' …' if _more(found, docids) else ''})")
    return lines


def _more(found: Mapping[str, int], docids: Sequence[str]) -> bool:
    return max(found.values()) > len(docids)

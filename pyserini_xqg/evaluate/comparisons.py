"""Runs against a baseline in every column of a table, and the files that hold what came of it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import write_whole
from pyserini_xqg.evaluate.collection import ALL_TOPICS
from pyserini_xqg.evaluate.significance import Comparison, TestOptions, compare, correct
from pyserini_xqg.evaluate.tables import SIGNIFICANT, Cell, Table

TABLE_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

RunValues = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Run to measure to query id to value."""


Settings = TestOptions


@dataclass(frozen=True)
class Tested:
    """A run against the baseline by one measure, on the questions of one language, or ``all``."""

    run: str
    baseline: str
    measure: str
    language: str
    comparison: Comparison
    p_corrected: float
    significant: bool


def compare_runs(
    values: RunValues, baseline: str, languages: Mapping[str, str], settings: Settings | None = None
) -> list[Tested]:
    """Compare every other run with the baseline: per measure, on each language and, of several, on all questions.

    The family of tests that is corrected for is all those of one measure: runs x (languages and all). A language with
    fewer than two questions is not tested, which is said.

    Raises
    ------
    XqgError
        If no test is left.

    >>> values = {"a": {"R@10": {"1": 0.0, "2": 0.5, "3": 0.5}}, "b": {"R@10": {"1": 1.0, "2": 0.5, "3": 1.0}}}
    >>> [tested] = compare_runs(values, "a", {"1": "fi", "2": "fi", "3": "fi"})
    >>> tested.run, tested.language, tested.comparison.won, round(tested.p_corrected, 3), tested.significant
    ('b', 'fi', 2, 0.225, False)
    """
    from pyserini_xqg.evaluate.measures import sort_languages

    settings = settings or Settings()
    tested: list[Tested] = []
    for measure, of_baseline in values[baseline].items():
        questions: dict[str, list[str]] = {}
        for query_id in of_baseline:
            questions.setdefault(languages[query_id], []).append(query_id)
        columns = {language: questions[language] for language in sort_languages(questions)}
        for language in [language for language, of in columns.items() if len(of) < 2]:
            say(
                f"warning: language {language!r} has one question for {measure}: a paired test needs two or more, so "
                "it is not tested on its own"
            )
            del columns[language]
        if len(questions) > 1:
            columns[ALL_TOPICS] = list(of_baseline)
        if not columns:
            raise XqgError(
                f"{measure}: {len(of_baseline)} question counts, and a paired test needs two or more. "
                "Leave --baseline out, or add questions."
            )
        family: list[tuple[str, str, Comparison]] = []
        for run in values:
            if run != baseline:
                for language, query_ids in columns.items():
                    pair = ({query_id: values[name][measure][query_id] for query_id in query_ids}
                            for name in (run, baseline))  # fmt: skip
                    result = compare(
                        *pair,
                        test=settings.test,
                        seed=settings.seed,
                        permutations=settings.permutations,
                        confidence=1 - settings.level,
                    )
                    family.append((run, language, result))
        corrected = correct([result.p_value for _, _, result in family], settings.correction)
        for (run, language, result), p_value in zip(family, corrected, strict=True):
            tested.append(Tested(run, baseline, measure, language, result, p_value, p_value < settings.level))
    return tested


def check_shared_topics(runs: Mapping[str, Iterable[str]], baseline: str, counting: Iterable[str]) -> None:
    """Refuse runs that have fewer than two counting topics in common with the baseline: all others would be 0s."""
    counting = set(counting)
    of_baseline = counting.intersection(runs[baseline])
    for name, topics in runs.items():
        if name != baseline and (number := len(of_baseline.intersection(topics))) < 2:
            raise XqgError(
                f"{name}: {number} topic{'s' * (number != 1)} shared with the baseline {baseline}, and a paired test "
                "needs two or more. Compare runs of the same topics."
            )


def describe(settings: Settings, tests: int, baseline: str) -> str:
    """A sentence about what ``†`` means.

    >>> describe(Settings(correction="holm"), 8, "plain")
    '† p < 0.05 against plain: paired two-sided t-test, Holm-corrected over the 8 tests of a measure.'
    """
    test = "paired two-sided t-test"
    if settings.test == "randomisation":
        test = f"two-sided randomisation test ({settings.permutations:,} permutations, seed {settings.seed})"
    over = f"over the {tests} tests of a measure"
    correction = {"none": f"not corrected for the {tests} tests of a measure"}.get(
        settings.correction, f"{settings.correction.capitalize()}-corrected {over}"
    )
    return f"{SIGNIFICANT} p < {settings.level:g} against {baseline}: {test}, {correction}."


def comparison_tables(tested: Sequence[Tested], settings: Settings, marked: Set[str] = frozenset()) -> list[Table]:
    """A table per measure: difference x 100, interval, effect size, p values, questions won, tied and lost.

    Measures in ``marked`` get a ``*`` behind their name.
    """
    interval = f"{(1 - settings.level) * 100:g}% interval"
    header = ["run", "language", "questions", "difference", interval, "d_z", "p"]
    header += [f"p ({settings.correction})"] * (settings.correction != "none") + ["won", "tied", "lost"]
    tables: dict[str, Table] = {}
    for one in tested:
        result = one.comparison
        cells = [
            Cell(one.language),
            Cell(str(result.questions)),
            Cell(f"{result.mean_difference * 100:+.2f}", mark=SIGNIFICANT * one.significant),
            Cell(f"[{result.low * 100:+.2f}, {result.high * 100:+.2f}]"),
            Cell(f"{result.effect_size:+.3f}"),
            Cell(_p(result.p_value)),
            *([Cell(_p(one.p_corrected))] * (settings.correction != "none")),
            *(Cell(str(number)) for number in (result.won, result.tied, result.lost)),
        ]
        title = f"{one.measure}{'*' * (one.measure in marked)}: difference from {one.baseline}"
        table = tables.setdefault(one.measure, Table(title, header, []))
        table.rows.append((one.run, cells))
    return list(tables.values())


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def write_comparisons(path: str | Path, tested: Sequence[Tested], settings: Settings) -> None:
    """Write all digits: JSON (a list of objects; null for an infinite effect size), CSV or TSV, by the suffix."""
    rows = [
        {
            **{"run": one.run, "baseline": one.baseline, "measure": one.measure, "language": one.language},
            **vars(one.comparison),
            "p_corrected": one.p_corrected,
            "significant": one.significant,
            **{"test": settings.test, "correction": settings.correction, "level": settings.level},
        }
        for one in tested
    ]
    if str(path).endswith(".json"):
        for row in rows:
            row["effect_size"] = row["effect_size"] if math.isfinite(row["effect_size"]) else None
        _write(path, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    else:
        write_rows(path, list(rows[0]), (row.values() for row in rows))


def write_by_query(path: str | Path, values: RunValues, languages: Mapping[str, str]) -> None:
    """Write every value, all digits: columns run, measure, language, qid, value; CSV or TSV, by the file's suffix."""
    rows = (
        (run, measure, languages[query_id], query_id, repr(value))
        for run, of_run in values.items()
        for measure, of_measure in of_run.items()
        for query_id, value in sorted(of_measure.items())
    )
    write_rows(path, ["run", "measure", "language", "qid", "value"], rows)


def write_rows(path: str | Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV or TSV with a header, gzipped if the name ends in ``.gz``; the file appears whole."""
    out = io.StringIO()
    delimiter = "\t" if ".tsv" in Path(path).suffixes else ","
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    _write(path, out.getvalue())


def _write(path: str | Path, text: str) -> None:
    data = text.encode("utf-8")
    with write_whole(path, "wb") as out:
        out.write(gzip.compress(data, mtime=0) if str(path).endswith(".gz") else data)

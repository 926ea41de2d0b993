"""The report on generated queries as text for a terminal: right-aligned figures, a line a language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.queries.statistics import FINDINGS, shorten

COUNTS = [("", 3), ("queries per passage", 3), ("characters per query", 4), ("words per query", 2)]
COUNTS_HEAD = ["language", "passages", "queries", "mean", "min", "max", "mean", "median", "95%", "max", "mean", "95%"]
"""Groups of columns with how many they are, and the columns."""

FINDINGS_HEADS = {
    "duplicate": "duplicate",
    "near_duplicate": "near-duplicate",
    "wrong_language": "other language",
    "copy": "copied",
    "too_long": "too long",
    "empty": "no letters",
}
OVERLAP_HEADS = ["words", "3-grams"]


def count_cells(code: str, entry: Mapping[str, Any]) -> list[str]:
    """A language's row under :data:`COUNTS_HEAD`."""
    each, characters, words = entry["queries_per_passage"], entry["characters"], entry["words"]
    numbers = [entry["passages"], entry["queries"], round(each["mean"], 1), each["min"], each["max"],
               round(characters["mean"], 1), characters["median"], characters["p95"], characters["max"],
               round(words["mean"], 1), words["p95"]]  # fmt: skip
    return [label(code, entry), *(f"{number:,}" for number in numbers)]


def finding_counts(entry: Mapping[str, Any]) -> dict[str, int]:
    """Head of a column to the number of queries, for the findings that were looked for."""
    found = {FINDINGS_HEADS[kind]: entry["findings"][kind] for kind in FINDINGS_HEADS if kind in entry["findings"]}
    return found | {"at several passages": entry["in_several_passages"]}


def text_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report that :func:`pyserini_xqg.queries.report.describe_queries` made."""
    languages = report["languages"]
    yield summary_line(report)
    yield ""
    yield "Counts and lengths"
    yield from table(COUNTS, COUNTS_HEAD, [count_cells(code, entry) for code, entry in languages.items()])
    yield ""
    yield "What was found: share of the queries; one query may be found for several reasons"
    heads = list(finding_counts(next(iter(languages.values()))))
    yield from table(
        [("", 1 + len(heads)), ("share in the passage", 2)],
        ["language", *heads, *OVERLAP_HEADS],
        [
            [
                label(code, entry),
                *(percent(count, entry["queries"]) for count in finding_counts(entry).values()),
                f"{entry['overlap']['words']:.1%}",
                f"{entry['overlap']['ngrams']:.1%}",
            ]
            for code, entry in languages.items()
        ],
    )
    yield ""
    yield language_check_line(report)
    for code, entry in languages.items():
        if entry["found_instead"]:
            yield f"  asked for {label(code, entry)}: {instead_line(entry)}"
    yield ""
    yield "Passages by their number of queries"
    for code, entry in languages.items():
        yield f"  {label(code, entry)}: {histogram_line(entry['queries_per_passage']['histogram'])}"
    yield from generation_lines(report.get("generation") or {})
    for code, entry in languages.items():
        yield ""
        yield label(code, entry)
        yield from example_lines(entry)


def summary_line(report: Mapping[str, Any]) -> str:
    """How much was looked at."""
    part = f" (a sample of {report['corpus']['passages']:,}, seed {report['seed']})" if report["sample"] < 1 else ""
    languages = len(report["languages"])
    return (
        f"{report['source']}: {report['passages']:,} passages{part}, {report['queries']:,} generated queries in "
        f"{languages} language{'s' if languages > 1 else ''}; passages without queries: "
        f"{report['passages_without_queries']:,}"
    )


def language_check_line(report: Mapping[str, Any]) -> str:
    """How the language was told."""
    check = report["rules"]["language_check"]
    how = {
        "model": f"by script, then by {report['rules']['language_model']}",
        "script": "by script alone, which does not tell languages of one script apart",
        "none": "not checked",
    }
    return f"Language: {how[check]}"


def generation_lines(generation: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what was refused when the queries were generated, from the sidecars."""
    for source, counts in generation.items():
        yield ""
        yield f"Refused while {source} was generated"
        for code, reasons in counts["refused"].items():
            why = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in reasons.items() if count)
            candidates = counts.get("candidates", {}).get(code)
            of = f" of {candidates:,}" if candidates is not None else ""
            fewer = counts.get("passages_with_fewer_queries", {}).get(code, 0)
            yield (
                f"  {code}: {sum(reasons.values()):,}{of} candidates{f' ({why})' if why else ''}; "
                f"{fewer:,} passages with fewer queries than asked for"
            )


def example_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield examples of queries, of findings, and what is repeated most."""
    for example in entry["examples"]:
        yield f"  {example['query']}"
        text = f"{example['title']}: {example['text']}" if example["title"] else example["text"]
        yield f"      {example['docid']}: {shorten(text, 90)}"
    for kind, found in entry["found"].items():
        yield f"  {FINDINGS[kind]}, {entry['findings'][kind]:,}:"
        for example in found:
            detail = language_or_script(example["detail"]) if kind == "wrong_language" else example["detail"]
            detail = f"  [{detail}]" if detail not in ("", example["query"]) else ""
            yield f"      {example['docid']}: {example['query']}{detail}"
    if entry["most_repeated"]:
        yield "  at most passages:"
        for example in entry["most_repeated"]:
            yield f"      {example['passages']:,} x {example['query']}"


def instead_line(entry: Mapping[str, Any], most: int = 8) -> str:
    """Languages and scripts found instead of the one asked for, the most frequent first."""
    found = list(entry["found_instead"].items())
    others = sum(count for _, count in found[most:])
    parts = [f"{language_or_script(name)} {count:,}" for name, count in found[:most]]
    return ", ".join([*parts, f"others {others:,}"] if others else parts)


def language_or_script(found: str) -> str:
    """The name of what :func:`pyserini_xqg.text.language_check.found_instead` found.

    >>> language_or_script("la"), language_or_script("Latin"), language_or_script("war")
    ('Latin', 'Latin script', 'war')
    """
    return NAMES.get(found) or (f"{found.replace('_', ' ')} script" if found[0].isupper() else found)


def label(code: str, entry: Mapping[str, Any]) -> str:
    """A language as tables name it."""
    return f"{code} {entry['name']}"


def percent(part: int, whole: int) -> str:
    """A share with one decimal; a trace is not shown as nothing.

    >>> percent(0, 9), percent(1, 3), percent(1, 5000)
    ('0%', '33.3%', '<0.1%')
    """
    if not part:
        return "0%"
    return f"{100 * part / whole:.1f}%" if part / whole >= 0.0005 else "<0.1%"


def histogram_line(histogram: Mapping[int, int], most: int = 12) -> str:
    """Values with their counts; beyond ``most`` values, ranges of equal width.

    >>> histogram_line({1: 4, 5: 1200})
    '1: 4, 5: 1,200'
    """
    return ", ".join(f"{name}: {count:,}" for name, count in ranges(histogram, most))


def ranges(histogram: Mapping[int, int], most: int) -> list[tuple[str, int]]:
    """At most ``most`` names with counts: the values themselves, or ranges of equal width if there are more.

    >>> ranges({1: 2, 2: 1, 3: 5, 6: 1}, 3)
    [('1-2', 3), ('3-4', 5), ('5-6', 1)]
    """
    if len(histogram) <= most:
        return [(str(value), count) for value, count in histogram.items()]
    first = min(histogram)
    width = -(-(max(histogram) - first + 1) // most)
    counts: dict[int, int] = {}
    for value, count in histogram.items():
        start = first + (value - first) // width * width
        counts[start] = counts.get(start, 0) + count
    return [(f"{start}-{start + width - 1}", count) for start, count in sorted(counts.items())]


def table(groups: Sequence[tuple[str, int]], head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines: the first column left-aligned, the others right-aligned; groups of columns are named above them."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    line, column = "", 0
    for name, columns in groups:
        if name:  # the columns under a long name grow
            widths[column] += max(0, len(name) + 6 - sum(widths[column : column + columns]) - 2 * (columns - 1))
        span = sum(widths[column : column + columns]) + 2 * (columns - 1)
        line += "  " + (f" {name} ".center(span, "-") if name else " " * span)
        column += columns
    yield line.rstrip()
    for first, *others in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  " + "  ".join([first.ljust(widths[0]), *cells]).rstrip()

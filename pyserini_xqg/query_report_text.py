"""The report on generated queries as text for a terminal: right-aligned figures, a line a language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyserini_xqg.query_statistics import FINDINGS, shorten

HEADS = {
    "duplicate": "duplicate",
    "near_duplicate": "near-dup.",
    "copy": "copied",
    "wrong_language": "other lang.",
    "too_long": "too long",
    "empty": "empty",
}


def text_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report that :func:`pyserini_xqg.query_report.describe_queries` made."""
    languages = report["languages"]
    yield summary_line(report)
    yield ""
    yield "Counts and lengths"
    yield from table(
        ["", "passages", "queries", "each: mean", "min", "max", "characters: mean", "median", "95%", "max",
         "words: mean", "95%"],
        [
            [label(code, entry), f"{entry['passages']:,}", f"{entry['queries']:,}",
             f"{entry['queries_per_passage']['mean']:.1f}", entry["queries_per_passage"]["min"],
             entry["queries_per_passage"]["max"], f"{entry['characters']['mean']:.1f}", entry["characters"]["median"],
             entry["characters"]["p95"], entry["characters"]["max"], f"{entry['words']['mean']:.1f}",
             entry["words"]["p95"]]
            for code, entry in languages.items()
        ],
    )  # fmt: skip
    yield ""
    yield "Share of the queries that are (in their passage), that stand at several passages, and that overlap"
    kinds = [kind for kind in FINDINGS if kind in next(iter(languages.values()))["findings"]]
    yield from table(
        ["", *(HEADS[kind] for kind in kinds), "sev. passages", "in passage: words", "3-grams"],
        [
            [
                label(code, entry),
                *(percent(entry["findings"][kind], entry["queries"]) for kind in kinds),
                percent(entry["in_several_passages"], entry["queries"]),
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
            others = ", ".join(f"{found} {count:,}" for found, count in entry["found_instead"].items())
            yield f"  asked for {label(code, entry)}: {others}"
    yield ""
    yield "Queries per passage: passages"
    for code, entry in languages.items():
        yield f"  {label(code, entry)}: {histogram_line(entry['queries_per_passage']['histogram'])}"
    yield from generation_lines(report.get("generation") or {})
    for code, entry in languages.items():
        yield ""
        yield label(code, entry)
        yield from example_lines(entry)


def summary_line(report: Mapping[str, Any]) -> str:
    """How much was looked at."""
    part = f" ({report['sample']:.3g} of {report['corpus']['passages']:,}, seed {report['seed']})"
    return (
        f"{report['source']}: {report['passages']:,} passages{part if report['sample'] < 1 else ''}, "
        f"{report['queries']:,} generated queries in {len(report['languages'])} "
        f"language{'s' if len(report['languages']) > 1 else ''}; without any: {report['passages_without_queries']:,}"
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
            detail = f"  [{example['detail']}]" if example["detail"] not in ("", example["query"]) else ""
            yield f"      {example['docid']}: {example['query']}{detail}"
    if entry["most_repeated"]:
        yield "  at most passages:"
        for example in entry["most_repeated"]:
            yield f"      {example['passages']:,} x {example['query']}"


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


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield lines: the first column left-aligned, the others right-aligned under their heads."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  " + "  ".join([first, *others]).rstrip()

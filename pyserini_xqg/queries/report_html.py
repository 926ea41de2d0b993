"""The report on generated queries as one page: no script, no request, light and dark, any writing direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pyserini_xqg.core.pages import figure, page_head, section, table
from pyserini_xqg.queries.histogram_svg import Scale, histogram_svg, length_scale, round_top, share_svg
from pyserini_xqg.queries.report_text import (
    COUNTS,
    COUNTS_HEAD,
    OVERLAP_HEADS,
    count_cells,
    finding_counts,
    instead_line,
    label,
    language_check_line,
    language_or_script,
    percent,
    summary_line,
)
from pyserini_xqg.queries.statistics import FINDINGS, OVERLAP_BINS

MOST_LANGUAGES = 24
"""Languages with figures and examples, those with the most queries; the tables have all."""
MOST_ROWS = 320
"""Examples on the page, at least one of each kind."""

_STYLE = """
.examples { table-layout: fixed; }
.examples th, .examples td { text-align: start; white-space: normal; overflow-wrap: anywhere; }
.examples .id { width: 11rem; color: var(--soft); font-size: .85rem; }
.text { color: var(--soft); font-size: .9rem; } td [dir="auto"] { display: block; text-align: start; }
@media (max-width: 40rem) { .examples .id { width: 6rem; } }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; font-weight: 600; }
"""


def html_page(report: Mapping[str, Any]) -> str:
    """One self-contained page of the report that :func:`pyserini_xqg.queries.report.describe_queries` made."""
    return "".join(_parts(report))


def _parts(report: Mapping[str, Any]) -> Iterator[str]:
    languages = report["languages"]
    shown = dict(sorted(languages.items(), key=lambda item: -item[1]["queries"])[:MOST_LANGUAGES])
    shown = {code: entry for code, entry in languages.items() if code in shown}
    yield page_head(f"Generated queries: {report['source']}", _STYLE)
    yield f"<h1>Generated queries</h1>\n<p>{escape(summary_line(report))}</p>\n"
    yield f'<p class="soft">{escape(language_check_line(report))}. {escape(_rules_line(report["rules"]))}</p>\n'
    yield section(
        "Counts and lengths",
        table(COUNTS, COUNTS_HEAD, [count_cells(code, entry) for code, entry in languages.items()]),
    )
    yield section(
        "What was found",
        '<p class="soft">Share of a language\'s queries, marked from 1% on. One may be found for several reasons.</p>',
        _findings(languages),
    )
    yield from _figures(shown)
    if len(shown) < len(languages):
        yield f'<p class="soft">Figures and examples: the {len(shown)} languages with the most queries.</p>\n'
    yield from _generation(report.get("generation") or {})
    yield section("Examples", *_examples(shown))
    yield "</body></html>\n"


def _rules_line(rules: Mapping[str, Any]) -> str:
    """The thresholds that decided what was found."""
    parts = []
    if rules["near_duplicate"] is not None:
        parts.append(f"near-duplicates share {rules['near_duplicate']:.0%} of their character 3-grams or more")
    if rules["copied"] is not None:
        parts.append(f"copies stand in the passage with {rules['copied']:.0%} of their characters in one run")
    return ("; ".join(parts).capitalize() + ".") if parts else ""


def _findings(languages: Mapping[str, Any]) -> str:
    heads = list(finding_counts(next(iter(languages.values()))))
    rows: list[list[tuple[str, bool] | str]] = []
    for code, entry in languages.items():
        queries = entry["queries"]
        shares = [(percent(count, queries), count * 100 >= queries) for count in finding_counts(entry).values()]
        overlap = [f"{entry['overlap'][name]:.1%}" for name in ("words", "ngrams")]
        rows.append([label(code, entry), *shares, *overlap])
    groups = [("", 1 + len(heads)), ("share in the passage", len(OVERLAP_HEADS))]
    return table(groups, ["language", *heads, *OVERLAP_HEADS], rows)


def _figures(languages: Mapping[str, Any]) -> Iterator[str]:
    entries = list(languages.values())
    each = length_scale([entry["queries_per_passage"] for entry in entries], most_bins=20, first=1)
    characters = length_scale([entry["characters"] for entry in entries], most_bins=28)
    overlap = Scale(0, 10, OVERLAP_BINS, "%", closed=True)
    kinds = [
        ("Queries per passage", "share of passages", each, lambda entry: entry["queries_per_passage"]["histogram"],
         lambda entry: f"mean {entry['queries_per_passage']['mean']:.1f}"),
        ("Length in characters", "share of queries", characters, lambda entry: entry["characters"]["histogram"],
         lambda entry: f"median {entry['characters']['median']}, 95% {entry['characters']['p95']}"),
        ("Overlap: share of a query's character 3-grams that stand in its passage", "share of queries", overlap,
         lambda entry: {place * 10: count for place, count in enumerate(entry["overlap"]["histogram"])},
         lambda entry: f"mean {entry['overlap']['ngrams']:.1%}"),
    ]  # fmt: skip
    for title, unit, scale, histogram, note in kinds:
        shares = {code: scale.shares(histogram(entry)) for code, entry in languages.items()}
        top = round_top(max(max(values) for values in shares.values()))
        figures = [
            figure(label(code, entry), note(entry), histogram_svg(shares[code], scale, top, f"{title}: {code}"))
            for code, entry in languages.items()
        ]
        yield section(title, f'<p class="soft">Height: {unit}.</p>', '<div class="grid">', *figures, "</div>")
    if all("wrong_language" in entry["findings"] for entry in entries):
        figures = []
        for code, entry in languages.items():
            wrong, queries = entry["findings"]["wrong_language"], entry["queries"]
            note = f"{percent(queries - wrong, queries)} in the language"
            others = f'<p class="text">Instead: {escape(instead_line(entry, 4))}</p>' if wrong else ""
            figures.append(
                figure(label(code, entry), note, share_svg(1 - wrong / queries, f"In the language: {code}") + others)
            )
        yield section("Language purity", '<div class="grid">', *figures, "</div>")


def _generation(generation: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for source, counts in generation.items():
        reasons = list(dict.fromkeys(reason for found in counts["refused"].values() for reason in found))
        fewer = counts.get("passages_with_fewer_queries", {})
        rows = []
        for code, found in counts["refused"].items():
            numbers = [counts.get("candidates", {}).get(code, 0), *(found.get(reason, 0) for reason in reasons)]
            rows.append([code, *(f"{number:,}" for number in [*numbers, fewer.get(code, 0)])])
        head = ["Language", "candidates", *(reason.replace("_", " ") for reason in reasons), "passages with fewer"]
        yield section(
            "Refused while they were generated", f'<p class="soft">{escape(source)}</p>', table([], head, rows)
        )


def _examples(languages: Mapping[str, Any]) -> Iterator[str]:
    kinds = sum(1 + bool(entry["most_repeated"]) + len(entry["found"]) for entry in languages.values())
    most = max(1, MOST_ROWS // kinds)
    for number, (code, entry) in enumerate(languages.items()):
        yield f"<details{' open' if number < 3 else ''}><summary>{escape(label(code, entry))}</summary>\n"
        yield from _example_table(
            ["Passage", "Query", "Title and text"],
            [
                (example["docid"], _query(code, example["query"]),
                 f'<span class="text" dir="auto"><b>{escape(example["title"])}</b> {escape(example["text"])}</span>')
                for example in entry["examples"][:most]
            ],
        )  # fmt: skip
        for kind, found in entry["found"].items():
            yield f"<h4>{escape(FINDINGS[kind].capitalize())}: {entry['findings'][kind]:,}</h4>\n"
            name = language_or_script if kind == "wrong_language" else str
            yield from _example_table(
                ["Passage", "Query", {"wrong_language": "Language", "copy": ""}.get(kind, "Found")],
                [
                    (example["docid"], _query(code, example["query"]),
                     f'<span class="text" dir="auto">{escape(name(example["detail"]))}</span>')
                    for example in found[:most]
                ],
            )  # fmt: skip
        if entry["most_repeated"]:
            yield "<h4>At most passages</h4>\n"
            yield from _example_table(
                ["Passages", "Query", ""],
                [
                    (f"{example['passages']:,}", _query(code, example["query"]), "")
                    for example in entry["most_repeated"][:most]
                ],
            )
        yield "</details>\n"


def _query(language: str, text: str) -> str:
    return f'<span lang="{escape(language)}" dir="auto">{escape(text)}</span>'


def _example_table(head: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """The first cell of a row is a text, the others are markup."""
    yield '<table class="examples"><thead><tr>'
    yield f'<th class="id">{escape(head[0])}</th><th>{escape(head[1])}</th><th>{escape(head[2])}</th></tr></thead>\n'
    for docid, query, rest in rows:
        yield f'<tr><td class="id">{escape(docid)}</td><td>{query}</td><td>{rest}</td></tr>\n'
    yield "</table>\n"

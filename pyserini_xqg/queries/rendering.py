"""The report on generated queries as text for a terminal, and as one page: no script, no request, any direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from pyserini_xqg.core.figures import PAGE_COLORS, inline_svg, tooltip
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.core.pages import asset, render_page
from pyserini_xqg.core.tables import Cell, Column, Table
from pyserini_xqg.queries.statistics import FINDINGS, OVERLAP_BINS, shorten

MOST_LANGUAGES = 16
"""Languages with figures and examples on the page, those with the most queries; the tables have all."""

_MEASURED = ("queries_per_passage", "characters")
_HEADS = {
    "duplicate": "duplicate",
    "near_duplicate": "near-duplicate",
    "wrong_language": "other language",
    "copy": "copied",
    "too_long": "too long",
    "empty": "no letters",
}


def share_text(share: float) -> str:
    """A share with one decimal; a trace is not shown as nothing.

    >>> share_text(0), share_text(1 / 3), share_text(1 / 5000)
    ('0%', '33.3%', '<0.1%')
    """
    if not share:
        return "0%"
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def counts_table(languages: Mapping[str, Any]) -> Table:
    """A row a language: passages, queries, and the lengths of these."""
    each, characters, words = "queries per passage", "characters per query", "words per query"
    columns = [
        *(Column("language"), Column("passages", ","), Column("queries", ",")),
        *(Column("mean", ",.1f", group=each), Column("min", ",", group=each), Column("max", ",", group=each)),
        *(Column("mean", ",.1f", group=characters), Column("median", ",", group=characters)),
        *(Column("95%", ",", group=characters), Column("max", ",", group=characters)),
        *(Column("mean", ",.1f", group=words), Column("95%", ",", group=words)),
    ]
    rows = [
        [_label(code, entry), entry["passages"], entry["queries"]]
        + [entry["queries_per_passage"][name] for name in ("mean", "min", "max")]
        + [entry["characters"][name] for name in ("mean", "median", "p95", "max")]
        + [entry["words"][name] for name in ("mean", "p95")]
        for code, entry in languages.items()
    ]
    return Table(columns, rows)


def findings_table(languages: Mapping[str, Any]) -> Table:
    """A row a language: the share of its queries of which each thing was found, tinted from 1% on."""
    kinds = [kind for kind in _HEADS if kind in next(iter(languages.values()))["findings"]]
    overlap, instead = "share in the passage", "wrong_language" in kinds
    columns = [
        Column("language"),
        *(Column(name, share_text) for name in [*(_HEADS[kind] for kind in kinds), "at several passages"]),
        *(Column(name, ".1%", group=overlap) for name in ("words", "3-grams")),
        *([Column("found instead", left=True)] if instead else []),
    ]
    rows = []
    for code, entry in languages.items():
        counts = [*(entry["findings"][kind] for kind in kinds), entry["in_several_passages"]]
        shares = [count / entry["queries"] for count in counts]
        cells = [Cell(share, tint=share >= 0.01) for share in shares]
        row = [_label(code, entry), *cells, entry["overlap"]["words"], entry["overlap"]["ngrams"]]
        rows.append([*row, _instead(entry)] if instead else row)
    return Table(columns, rows)


def summary_line(report: Mapping[str, Any]) -> str:
    """How much was looked at."""
    part = f" (a sample of {report['corpus']['passages']:,}, seed {report['seed']})" if report["sample"] < 1 else ""
    languages = len(report["languages"])
    return (
        f"{report['source']}: {report['passages']:,} passages{part}, {report['queries']:,} generated queries in "
        f"{languages} language{'s' if languages > 1 else ''}; passages without queries: "
        f"{report['passages_without_queries']:,}"
    )


def rules_line(rules: Mapping[str, Any]) -> str:
    """How the language was told, and the thresholds that decided what was found."""
    how = {
        "model": f"by script, then by {rules['language_model']}",
        "script": "by script alone, which does not tell languages of one script apart",
        "none": "not checked",
    }
    return (
        f"Language: {how[rules['language_check']]}. "
        f"Near-duplicates share {rules['near_duplicate']:.0%} of their character 3-grams or more. "
        f"Copies stand in the passage with {rules['copied']:.0%} of their characters in one run."
    )


def text_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the report that :func:`pyserini_xqg.queries.report.describe_queries` made."""
    languages = report["languages"]
    yield from (summary_line(report), "", "Counts and lengths", counts_table(languages).text(), "")
    yield "What was found: share of the queries; one query may be found for several reasons"
    yield from (findings_table(languages).text(), "", rules_line(report["rules"]))
    for code, entry in languages.items():
        yield from ("", _label(code, entry))
        yield from _example_lines(entry)


def _example_lines(entry: Mapping[str, Any]) -> Iterator[str]:
    for example in entry["examples"]:
        yield f"  {example['query']}"
        text = f"{example['title']}: {example['text']}" if example["title"] else example["text"]
        yield f"      {example['docid']}: {shorten(text, 90)}"
    for kind, found in entry["found"].items():
        yield f"  {FINDINGS[kind]}, {entry['findings'][kind]:,}:"
        for example in found:
            detail = _detail(kind, example)
            yield f"      {example['docid']}: {example['query']}" + (f"  [{detail}]" if detail else "")
    if entry["most_repeated"]:
        yield "  at most passages:"
        for example in entry["most_repeated"]:
            yield f"      {example['passages']:,} x {example['query']}"


def html_page(report: Mapping[str, Any]) -> str:
    """One self-contained page of the same report, with plots."""
    languages = report["languages"]
    most = sorted(languages, key=lambda code: -languages[code]["queries"])[:MOST_LANGUAGES]
    shown = {code: entry for code, entry in languages.items() if code in most}
    return render_page(
        "queries/report.html",
        f"Generated queries: {report['source']}",
        style=asset("queries/report.css"),
        summary=summary_line(report),
        rules=rules_line(report["rules"]),
        counts=counts_table(languages),
        findings=findings_table(languages),
        figures=list(_figures(shown)),
        hidden=len(languages) - len(shown),
        languages=shown,
        label=_label,
        detail=_detail,
        titles=FINDINGS,
    )


def _figures(languages: Mapping[str, Any]) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Title, what the height is, and for each language its name, a note, and the plot."""
    each, characters = ({code: entry[name] for code, entry in languages.items()} for name in _MEASURED)
    yield _figure(languages, "Queries per passage", "passages", each, bin_edges(each, 20, 1), "mean {mean:.1f}")
    note = "median {median}, 95% {p95}"
    yield _figure(languages, "Length in characters", "queries", characters, bin_edges(characters, 28), note)
    edges = np.array([*np.arange(OVERLAP_BINS) * 100 // OVERLAP_BINS, np.inf])
    overlap = {}
    for code, entry in languages.items():
        histogram = dict(zip(edges[:-1], entry["overlap"]["histogram"], strict=True))
        overlap[code] = {"mean": entry["overlap"]["ngrams"], "histogram": histogram}
    title = "Overlap: % of a query's character 3-grams that stand in its passage"
    yield _figure(languages, title, "queries", overlap, edges, "mean {mean:.1%}")


def _figure(
    languages: Mapping[str, Any],
    title: str,
    unit: str,
    entries: Mapping[str, Any],
    edges: np.ndarray,
    note: str,
) -> tuple[str, str, list[tuple[str, str, str]]]:
    shares = {code: bin_shares(entry["histogram"], edges) for code, entry in entries.items()}
    top = max(float(values.max()) for values in shares.values())
    plots = []
    for code, entry in entries.items():
        draw = partial(_draw_bars, shares=shares[code], edges=edges, top=top)
        plot = inline_svg(draw, f"{title}: {code}", size=(4.4, 1.6))
        plots.append((_label(code, languages[code]), note.format(**entry), plot))
    return title, unit, plots


def _draw_bars(axes: Any, shares: np.ndarray, edges: np.ndarray, top: float) -> None:
    from matplotlib.ticker import PercentFormatter

    present, names = np.flatnonzero(shares), bin_names(edges)
    # A trace is seen.
    bars = axes.bar(present, np.maximum(shares[present], top / 120), width=0.84, color=PAGE_COLORS["bar"])
    for bar, place in zip(bars, present, strict=True):
        tooltip(bar, f"{names[place]}: {share_text(float(shares[place]))}")
    axes.set_xlim(-0.6, len(shares) - 0.4)
    axes.set_ylim(0, top * 1.04)
    axes.grid(axis="y")
    axes.locator_params(axis="y", nbins=3)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    places = range(0, len(shares), -(-len(shares) // 6))
    axes.set_xticks(places, [f"{edges[place]:.0f}" for place in places])


def bin_edges(entries: Mapping[str, Mapping[str, Any]], most: int, first: int = 0) -> np.ndarray:
    """Edges of about ``most`` bins at most, of a round width, the last one open, so that few values fall into it.

    >>> bin_edges({"fi": {"p95": 90, "max": 400}}, 28)[[0, 1, -2]].tolist()
    [0.0, 5.0, 115.0]
    """
    from matplotlib.ticker import MaxNLocator

    most_frequent = int(max(entry["p95"] for entry in entries.values()) * 1.3) + 3
    top = max(min(max(entry["max"] for entry in entries.values()), most_frequent), first + 9)
    ticks = MaxNLocator(most, steps=[1, 2, 5, 10], integer=True).tick_values(first, top)
    return np.array([*ticks[:-1], np.inf])


def bin_shares(histogram: Mapping[int, int], edges: np.ndarray) -> np.ndarray:
    """Each bin's share of all values.

    >>> bin_shares({1: 1, 4: 1, 7: 1, 99: 1}, np.array([0, 5, 10, np.inf])).tolist()
    [0.5, 0.25, 0.25]
    """
    counts, _ = np.histogram(list(histogram), bins=edges, weights=list(histogram.values()))
    return counts / counts.sum()


def bin_names(edges: np.ndarray) -> list[str]:
    """What the bins hold.

    >>> bin_names(np.array([0, 5, 10, np.inf])), bin_names(np.array([1, 2, np.inf]))
    (['0-4', '5-9', '10 or more'], ['1', '2 or more'])
    """
    starts = [int(edge) for edge in edges[:-1]]
    closed = [f"{start}" if after == start + 1 else f"{start}-{after - 1}" for start, after in pairwise(starts)]
    return [*closed, f"{starts[-1]} or more"]


def _instead(entry: Mapping[str, Any], most: int = 8) -> str:
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


def _detail(kind: str, example: Mapping[str, str]) -> str:
    """What is told of a finding beside the query."""
    detail = example["detail"]
    return language_or_script(detail) if kind == "wrong_language" else "" if detail == example["query"] else detail


def _label(code: str, entry: Mapping[str, Any]) -> str:
    """A language as tables name it."""
    return f"{code} {entry['name']}"

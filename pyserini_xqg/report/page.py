"""The page of ``python -m pyserini_xqg.report``: tables, plots, and the explorer with its data, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from pyserini_xqg.core.pages import figure, page_head, section
from pyserini_xqg.evaluate.means import AVERAGE
from pyserini_xqg.report.figures import bars_svg, gains, gains_svg, is_graded, outcomes_svg
from pyserini_xqg.report.results import ALL_QUESTIONS, Row

_STRONG = ' class="yes"'
_HEAD = ("difference", "95 % interval", "p", "d", "won", "tied", "lost")
_UNREADABLE = (
    "The explorer needs JavaScript and a browser that can unpack gzip (Chrome or Edge 80, Firefox 113, Safari 16.4, or "
    "newer). The tables and plots above need neither."
)
_KEYS = (
    "Keys: <kbd>/</kbd> search, <kbd>↓</kbd> into the list, <kbd>↑</kbd> <kbd>↓</kbd> "
    "<kbd>Page Up</kbd> <kbd>Page Down</kbd> <kbd>Home</kbd> <kbd>End</kbd> through it, <kbd>Enter</kbd> to the "
    "question, <kbd>Esc</kbd> back to the list."
)


@dataclass(frozen=True)
class MeasureResult:
    """One measure of both runs: rows of the table, and values by query id. mark : stands behind its name (``*``)."""

    name: str
    rows: Sequence[Row]
    values: tuple[Mapping[str, float], Mapping[str, float]]
    mark: str = ""


@dataclass(frozen=True)
class Report:
    """What the page says around the explorer's ``packed`` data (:func:`~pyserini_xqg.report.payload.pack`)."""

    collection: str
    runs: tuple[str, str]
    questions: int
    measures: Sequence[MeasureResult]
    packed: str
    significance: str
    notes: Sequence[str] = field(default_factory=list)
    explorer_notes: Sequence[str] = field(default_factory=list)


def html_page(report: Report) -> str:
    """The whole page, self-contained: no request, no script but its own."""
    return "".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    style, script = (_asset(name) for name in ("explorer.css", "explorer.js"))
    first, second = report.runs
    yield page_head(f"{first} against {second}: {report.collection}", style, script)
    yield '<a class="skip" href="#search">Skip to the explorer</a>\n'
    yield f"<h1>{escape(second)} against {escape(first)}</h1>\n"
    yield f"<p>{escape(report.collection)}, {report.questions:,} questions</p>\n"
    yield '<p class="legend">'
    for kind, name, what in (("a", first, "first run, the baseline"), ("b", second, "second run")):
        yield f'<span><i class="{kind}"></i><b>{escape(name)}</b> <span class="soft">{what}</span></span>'
    yield "</p>\n"
    yield section(
        "Measures",
        f'<p class="soft">{escape(report.significance)}</p>',
        *(f'<p class="soft">{escape(note)}</p>' for note in report.notes),
        *(_table(result, report.runs) for result in report.measures),
    )
    yield section("By language", _note_on_bars(), '<div class="plots">', *_bars(report), "</div>")
    yield section(
        "Questions gained and lost",
        '<p class="soft">Questions on which the second run is better (right) and worse (left) than the first; '
        "histograms leave questions without a difference out.</p>",
        '<div class="plots">',
        *_gains(report),
        "</div>",
    )
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in report.explorer_notes)
    yield section("Questions", notes, f'<p class="soft">{_KEYS}</p>', _EXPLORER)
    yield f'<script type="application/octet-stream" id="data">{report.packed}</script>\n'
    yield f"<script>{script}</script>\n</body></html>\n"


def _asset(name: str) -> str:
    return files("pyserini_xqg.report").joinpath(name).read_text(encoding="utf-8")


def _note_on_bars() -> str:
    return (
        f'<p class="soft">Values × 100 with 95 % intervals (Student\'s t); {AVERAGE} is the unweighted mean over '
        "languages. † the difference is significant.</p>"
    )


def _bars(report: Report) -> Iterator[str]:
    for result in report.measures:
        rows = [row for row in result.rows if row.name != ALL_QUESTIONS]
        yield figure(result.name + result.mark, "", bars_svg(rows, report.runs, f"{result.name} by language"))


def _gains(report: Report) -> Iterator[str]:
    for result in report.measures:
        together = next((row.comparison for row in reversed(result.rows) if row.comparison), None)
        if together:
            note = f"won {together.won:,}, tied {together.tied:,}, lost {together.lost:,}"
            yield figure(result.name, note, outcomes_svg(result.rows, f"{result.name}: questions lost and won"))
        differences = gains(*result.values)
        if is_graded(differences):
            changed = sum(map(bool, differences))
            note = f"× 100; {changed:,} of {len(differences):,} questions"
            yield figure(f"Gain in {result.name}", note, gains_svg(differences, f"{result.name}: gain by question"))


def _table(result: MeasureResult, runs: tuple[str, str]) -> str:
    names = ("language", "questions", *runs, *_HEAD)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(_row(row) for row in result.rows)
    return (
        f"<h3>{escape(result.name + result.mark)}</h3>\n"
        f'<div class="wide"><table><thead><tr class="names">{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _row(row: Row) -> str:
    first, second = row.means
    found = row.comparison
    better = [first > second, second > first]
    cells = [
        (f"{row.questions:,}", False),
        *((f"{mean * 100:.2f}", best) for mean, best in zip(row.means, better, strict=True)),
        (f"{row.difference * 100:+.2f}" + ("†" if row.significant else ""), row.significant),
    ]
    if found:
        cells += [
            (f"{found.low * 100:+.2f} to {found.high * 100:+.2f}", False),
            (_p_value(row.p_value), False),
            (f"{found.effect_size:+.2f}" if math.isfinite(found.effect_size) else "∞", False),
            *((f"{count:,}", False) for count in (found.won, found.tied, found.lost)),
        ]
    else:
        cells += [("", False)] * 6
    kind = ' class="total"' if row.name in (AVERAGE, ALL_QUESTIONS) else ""
    data = "".join(f"<td{_STRONG if strong else ''}>{escape(text)}</td>" for text, strong in cells)
    return f'<tr{kind}><th scope="row">{escape(row.name)}</th>{data}</tr>\n'


def _p_value(value: float | None) -> str:
    if value is None:
        return ""
    return "< .001" if value < 0.001 else f"{value:.3f}"


_EXPLORER = f"""<p id="message" role="status">{escape(_UNREADABLE)}</p>
<div id="explorer" hidden>
<div>
<div class="controls">
<label class="search">Search questions, ids, answers, gold passages' titles
<input id="search" type="search" autocomplete="off" spellcheck="false" dir="auto" aria-controls="list"></label>
<label>Language <select id="language" aria-controls="list"></select></label>
<label>Measure <select id="measure" aria-controls="list"></select></label>
<label>Second run <select id="outcome" aria-controls="list"><option value="">any</option>
<option value="won">better</option><option value="lost">worse</option><option value="tied">equal</option>
<option value="uncounted">not counted</option></select></label>
<label>Order <select id="order" aria-controls="list"><option value="gain">gain, largest first</option>
<option value="loss">loss, largest first</option><option value="change">change, largest first</option>
<option value="id">language and id</option></select></label>
</div>
<p id="found" class="soft" role="status"></p>
<div id="list" role="listbox" tabindex="0" aria-label="Questions"><div id="rows" role="presentation"></div></div>
</div>
<section id="detail" tabindex="-1" aria-label="The question"></section>
</div>
"""

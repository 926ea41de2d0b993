"""The report's plots as inline SVG, coloured by the page's style sheet (classes ``bar``, ``other``, ``axis``)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from pyserini_xqg.queries.histogram_svg import Scale, histogram_svg, round_top
from pyserini_xqg.report.results import Row

_HEIGHT, _LEFT, _TOP, _BOTTOM = 190, 34, 10, 20
_GROUP, _BAR = 46, 15
BINS = 20


def bars_svg(rows: Sequence[Row], runs: tuple[str, str], title: str) -> str:
    """Two bars a row, the first and the second run's mean, with their 95 % intervals where they are known."""
    width = _LEFT + _GROUP * len(rows) + 8
    height = _HEIGHT - _TOP - _BOTTOM
    ends = [max(row.means) for row in rows]
    ends += [min(interval[2], 1.0) for row in rows for interval in row.intervals or ()]
    top = round_top(max(ends)) if max(ends) <= 1 else max(ends)
    base = _TOP + height

    def y(value: float) -> float:
        return base - height * min(max(value, 0.0), top) / top

    parts = [f'<svg viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0, top / 2, top):
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{width}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y(share) + 3.5:.1f}" text-anchor="end">{share * 100:.3g}</text>')
    for place, row in enumerate(rows):
        left = _LEFT + place * _GROUP + (_GROUP - 2 * _BAR - 2) / 2
        for number, (mean, kind) in enumerate(zip(row.means, ("other", "bar"), strict=True)):
            x = left + number * (_BAR + 2)
            interval = row.intervals[number] if row.intervals else None
            about = f"{row.name}, {runs[number]}: {mean * 100:.2f}"
            about += f" [{interval[1] * 100:.2f}, {interval[2] * 100:.2f}]" if interval else ""
            parts.append(
                f'<rect class="{kind}" x="{x:.1f}" y="{y(mean):.1f}" width="{_BAR}" height="{base - y(mean):.1f}">'
                f"<title>{escape(about)}</title></rect>"
            )
            if interval:
                middle = x + _BAR / 2
                low, high = y(interval[1]), y(interval[2])
                parts.append(
                    f'<path class="interval" d="M{middle - 3:.1f} {low:.1f}h6M{middle:.1f} {low:.1f}V{high:.1f}'
                    f'M{middle - 3:.1f} {high:.1f}h6"/>'
                )
        middle = _LEFT + place * _GROUP + _GROUP / 2
        name = row.name + ("†" if row.significant else "")
        parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(name)}</text>')
    return "".join(parts) + "</svg>"


def outcomes_svg(rows: Sequence[Row], title: str) -> str:
    """Per row, the share of questions that the second run lost, to the left, and won, to the right."""
    tested = [row for row in rows if row.comparison]
    step, left, right = 22, 62, 320
    middle = (left + right) / 2
    half = (right - left) / 2 - 32
    shares = [max(row.comparison.won, row.comparison.lost) / row.comparison.questions for row in tested]
    top = max([*shares, 1e-9])
    parts = [f'<svg viewBox="0 0 {right} {step * len(tested) + 6}" role="img" aria-label="{escape(title)}">']
    for place, row in enumerate(tested):
        found = row.comparison
        y = place * step + 5
        name = row.name if len(row.name) < 10 else "all"
        parts.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        won, lost = (half * count / found.questions / top for count in (found.won, found.lost))
        about = f"{row.name}: won {found.won:,}, tied {found.tied:,}, lost {found.lost:,} of {found.questions:,}"
        parts.append(
            f"<g><title>{escape(about)}</title>"
            f'<rect class="other" x="{middle - lost:.1f}" y="{y}" width="{lost:.1f}" height="14"/>'
            f'<rect class="bar" x="{middle:.1f}" y="{y}" width="{won:.1f}" height="14"/></g>'
        )
        parts.append(f'<text x="{middle - lost - 4:.1f}" y="{y + 11}" text-anchor="end">{found.lost:,}</text>')
        parts.append(f'<text x="{middle + won + 4:.1f}" y="{y + 11}">{found.won:,}</text>')
    parts.append(f'<line class="axis" x1="{middle}" x2="{middle}" y1="0" y2="{step * len(tested) + 6}"/>')
    return "".join(parts) + "</svg>"


def gains(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """Second minus first run, per question."""
    return [second[query_id] - first[query_id] for query_id in first]


def is_graded(differences: Sequence[float]) -> bool:
    """Whether gains have sizes, not just signs, so that their distribution is worth a plot."""
    return len({round(abs(gain), 9) for gain in differences if gain}) > 1


def gains_svg(differences: Sequence[float], title: str) -> str:
    """Histogram of the gains that are not 0, from -1 to 1."""
    counts = gain_bins(differences)
    shares = [count / max(1, sum(counts)) for count in counts]
    return histogram_svg(shares, GainScale(-100, 10, BINS, closed=True), round_top(max([*shares, 0.01])), title)


def gain_bins(differences: Sequence[float]) -> list[int]:
    """How many gains are in [-1, -0.9), … [-0.1, 0), (0, 0.1], … (0.9, 1]; those beyond count at the ends, 0 nowhere.

    >>> gain_bins([-1.0, -0.05, 0.0, 0.1, 0.11])
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    counts = [0] * BINS
    for gain in differences:
        tenths = round(gain * 10, 6)
        if tenths:
            place = math.ceil(tenths) - 1 if tenths > 0 else math.floor(tenths)
            counts[min(max(place + BINS // 2, 0), BINS - 1)] += 1
    return counts


class GainScale(Scale):
    """Bins of hundredths, from -100 to 100.

    >>> GainScale(-100, 10, 20).name(0)
    '-100 to -90'
    """

    def name(self, place: int) -> str:
        """What a bin holds."""
        start = self.first + place * self.width
        return f"{start} to {start + self.width}"

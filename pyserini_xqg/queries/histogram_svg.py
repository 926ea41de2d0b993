"""Small bar charts as inline SVG, coloured by the page's style sheet (classes ``bar``, ``other``, ``axis``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 320, 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 8, 8, 18


@dataclass(frozen=True)
class Scale:
    """Bins of equal ``width`` from ``first`` on, the same for all languages; the last one holds all that is above.

    closed : the last bin ends where the others would have it end.
    """

    first: int
    width: int
    bins: int
    unit: str = ""
    closed: bool = False

    def shares(self, histogram: Mapping[int, int]) -> list[float]:
        """Each bin's share of all values.

        >>> Scale(0, 5, 3).shares({1: 1, 4: 1, 7: 1, 99: 1})
        [0.5, 0.25, 0.25]
        """
        counts = [0] * self.bins
        for value, count in histogram.items():
            counts[min((value - self.first) // self.width, self.bins - 1)] += count
        return [count / sum(counts) for count in counts]

    def name(self, place: int) -> str:
        """What a bin holds.

        >>> Scale(0, 5, 3).name(0), Scale(1, 1, 3).name(1), Scale(0, 5, 3).name(2)
        ('0-4', '2', '10 or more')
        """
        start = self.first + place * self.width
        if place == self.bins - 1 and not self.closed:
            return f"{start}{self.unit} or more"
        if self.unit:
            return f"{start}-{start + self.width}{self.unit}"
        return str(start) if self.width == 1 else f"{start}-{start + self.width - 1}"


def length_scale(descriptions: Sequence[Mapping[str, Any]], most_bins: int, first: int = 0) -> Scale:
    """Bins of a round width for the histograms of several languages, so that few values fall beyond the last.

    >>> length_scale([{"p95": 90, "max": 400}], 28)
    Scale(first=0, width=5, bins=25, unit='', closed=False)
    """
    top = min(max(entry["max"] for entry in descriptions), int(max(entry["p95"] for entry in descriptions) * 1.3) + 3)
    top = max(top, first + 9)
    width = 1
    for width in (scale * step for scale in (1, 10, 100, 1000, 10_000) for step in (1, 2, 5)):
        if (top - first) // width < most_bins:
            break
    return Scale(first, width, (top - first) // width + 1)


def round_top(share: float) -> float:
    """The share at the top of an axis that reaches ``share``.

    >>> round_top(0.37), round_top(0.08), round_top(0.93)
    (0.4, 0.1, 1.0)
    """
    return next((top for top in (0.02, 0.04, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if share <= top), 1.0)


def histogram_svg(shares: Sequence[float], scale: Scale, top: float, title: str) -> str:
    """Bars of the shares of the bins; ``top`` is the share at full height."""
    inner, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = inner / scale.bins
    base = _TOP + height
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for share in (0, top / 2, top):
        y = base - height * share / top
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{_percent(share)}</text>')
    for place, share in enumerate(shares):
        if share:
            tall = max(height * share / top, 0.8)
            parts.append(
                f'<rect class="bar" x="{_LEFT + place * step + step * 0.08:.1f}" y="{base - tall:.1f}" '
                f'width="{step * 0.84:.1f}" height="{tall:.1f}"><title>{escape(scale.name(place))}: '
                f"{_percent(share)}</title></rect>"
            )
    every = -(-scale.bins // 6)
    for place in range(0, scale.bins, every):
        x = _LEFT + place * step + (step / 2 if scale.width == 1 else 0)
        anchor = "middle" if scale.width == 1 or place else "start"
        name = f"{scale.first + place * scale.width}{scale.unit}"
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 4}" text-anchor="{anchor}">{name}</text>')
    return "".join(parts) + "</svg>"


def share_svg(share: float, title: str) -> str:
    """One bar from 0 to 100 %, the rest in the other colour."""
    inner = _WIDTH - 2 * _RIGHT
    part = inner * share
    other = inner - part
    if 0 < other < 2:  # a trace is seen
        part, other = inner - 2, 2
    return (
        f'<svg viewBox="0 0 {_WIDTH} 22" role="img" aria-label="{escape(title)}">'
        f'<rect class="bar" x="{_RIGHT}" y="4" width="{part:.1f}" height="12"/>'
        f'<rect class="other" x="{_RIGHT + part:.1f}" y="4" width="{other:.1f}" height="12"/></svg>'
    )


def _percent(share: float) -> str:
    return f"{share:.1%}".replace(".0%", "%")

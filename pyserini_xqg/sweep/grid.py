"""The grid: values of each factor, and the points that they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import product
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.queries.selection import Selection, parse_by_language
from pyserini_xqg.vectors.recipe import PAPER_ALPHA, Recipe, check_alpha

ALL, NONE = "all", "none"
FACTORS = ("store", "aggregate", "languages", "filter", "route", "normalize", "max-queries", "alpha")
"""What can be varied, named as the options are, in the order of the points' loops, the last one innermost."""


@dataclass(frozen=True)
class Filter:
    """Which queries are left out before the others are aggregated; see :class:`Selection`.

    option : ``threshold`` or ``top-fraction``. value : a number, or one a language (``ar=0.3,de=0.4``).
    """

    option: str
    value: str
    per_language: bool = False

    def selection(self) -> Selection:
        """What :mod:`pyserini_xqg.queries.selection` takes; :class:`XqgError` for a value that is no number."""
        number = float if self.option == "threshold" else Fraction
        value = parse_by_language(self.value, f"--{self.option}", number)
        each = self.per_language and self.option == "top-fraction" and "=" not in self.value
        return Selection(**{self.option.replace("-", "_"): value}, per_language=each)

    def __str__(self) -> str:
        if self.option == "threshold":
            return f"score ≥ {self.value}"
        return f"best {self.value}" + (" each" if self.per_language else "")

    @property
    def slug(self) -> str:
        """For the names of files."""
        value = self.value.replace("=", "").replace(",", "+")
        return ("score" if self.option == "threshold" else "best") + value + ("each" if self.per_language else "")


@dataclass(frozen=True)
class Point:
    """One point of the grid: a store, and what is made of it.

    languages : None for all of the store. max_queries : a passage and language; None for all, 0 for no augmentation.
    filter : which queries are left out first; None for none.
    """

    store: str
    aggregate: str = "sum"
    languages: tuple[str, ...] | None = None
    filter: Filter | None = None
    route: bool = False
    normalize: bool = False
    max_queries: int | None = None
    alpha: float = PAPER_ALPHA

    @property
    def searched(self) -> Point:
        """The point whose run this one has: itself, or where no query has weight, the one without augmentation."""
        return self.baseline if self.alpha == 0 or self.max_queries == 0 else self

    @property
    def baseline(self) -> Point:
        """No augmentation, of the same store, at unit length if this point is."""
        return Point(self.store, normalize=self.normalize, max_queries=0, alpha=0.0)

    @property
    def is_plain(self) -> bool:
        """True without augmentation."""
        return self.searched == self.baseline

    @property
    def recipe(self) -> Recipe:
        """What :mod:`pyserini_xqg.index` builds; of the filtered store if there is a filter."""
        if self.is_plain:
            return Recipe(alpha=0.0, aggregate="sum", normalize=self.normalize)
        return Recipe(
            alpha=self.alpha,
            aggregate=self.aggregate,
            languages=self.languages,
            max_queries=self.max_queries,
            normalize=self.normalize,
        )

    @property
    def queries(self) -> tuple[Any, ...]:
        """What decides which query vectors are read: points that share it are searched in one pass over the store."""
        return (self.store, self.languages, self.filter, self.max_queries)

    def value(self, factor: str) -> Any:
        """The value of a factor of :data:`FACTORS`."""
        return getattr(self, factor.replace("-", "_"))

    def with_value(self, factor: str, value: Any) -> Point:
        """A copy with another value of a factor."""
        return replace(self, **{factor.replace("-", "_"): value})

    def cell(self, factor: str) -> str:
        """The value of a factor as tables show it.

        >>> Point("s", languages=("ar", "de")).cell("languages"), Point("s").cell("max-queries")
        ('ar,de', 'all')
        """
        value = self.value(factor)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if factor == "languages" and value is not None:
            return ",".join(value)
        if value is None:
            return NONE if factor == "filter" else ALL
        return number_text(value) if isinstance(value, float) else str(value)

    @property
    def name(self) -> str:
        """The point as the name of a run, without the store.

        >>> Point("s", "mean", alpha=0.8, route=True).name, Point("s", alpha=0).name
        ('mean-alpha0.8-routed', 'none')
        """
        return "-".join(self.name_parts().values())

    def name_parts(self) -> dict[str, str]:
        """Factor to its part of the name; without those that are as in the paper."""
        unit = {"normalize": "unit"} if self.normalize else {}
        if self.is_plain:
            return {"aggregate": NONE, **unit}
        parts = {"aggregate": self.aggregate, "alpha": f"alpha{number_text(self.alpha)}"}
        if self.languages is not None:
            parts["languages"] = "+".join(self.languages)
        if self.max_queries is not None:
            parts["max-queries"] = f"{self.max_queries}queries"
        if self.filter is not None:
            parts["filter"] = self.filter.slug
        if self.route:
            parts["route"] = "routed"
        return parts | unit


def number_text(value: float) -> str:
    """The shortest text that is that number, without an empty fraction.

    >>> number_text(0.5), number_text(1.0)
    ('0.5', '1')
    """
    return repr(value).removesuffix(".0")


class Grid:
    """All combinations of some values of each factor.

    Raises :class:`XqgError` for a factor without a value, and for values that a factor cannot have.

    >>> grid = Grid({"store": ["s"], "alpha": [0.0, 0.5], "aggregate": ["sum", "mean"]})
    >>> [point.name for point in grid.runs]
    ['none', 'sum-alpha0.5', 'mean-alpha0.5']
    >>> grid.varied
    ['aggregate', 'alpha']
    """

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self.values = {factor: tuple(values.get(factor, ())) for factor in FACTORS}
        for factor, some in self.values.items():
            if factor in values and not some:
                raise XqgError(f"--{factor}: no value, so the grid is empty. Name at least one.")
        given = [factor for factor in FACTORS if self.values[factor]]
        self.points = [
            Point(**{factor.replace("-", "_"): value for factor, value in zip(given, combination, strict=True)})
            for combination in product(*(self.values[factor] for factor in given))
        ]

    @property
    def varied(self) -> list[str]:
        """Factors with more than one value."""
        return [factor for factor, some in self.values.items() if len(some) > 1]

    @property
    def runs(self) -> list[Point]:
        """The points to search, each once: baselines first, which come even where the grid does not name them."""
        baselines = dict.fromkeys(point.baseline for point in self.points)
        return list(baselines | dict.fromkeys(point.searched for point in self.points))


def distinct(values: Iterable[Any], option: str) -> list[Any]:
    """The values as a list; :class:`XqgError` for one that is given twice."""
    found: list[Any] = []
    for value in values:
        if value in found:
            raise XqgError(f"{option}: {value} is given more than once. Name each value once.")
        found.append(value)
    return found


def parse_numbers(texts: Sequence[str], option: str) -> list[Decimal]:
    """Numbers, and ranges START:STOP:STEP that hold both ends.

    >>> [str(number) for number in parse_numbers(["0.01", "0:1:0.5"], "--alpha")]
    ['0.01', '0', '0.5', '1.0']
    """
    found: list[Decimal] = []
    for text in texts:
        try:
            parts = [Decimal(part) for part in text.split(":")]
            if len(parts) not in (1, 3) or not all(part.is_finite() for part in parts):
                raise InvalidOperation
        except InvalidOperation as error:
            raise XqgError(
                f"{option} {text}: neither a number nor a range START:STOP:STEP, such as 0:1:0.1."
            ) from error
        if len(parts) == 1:
            found += parts
            continue
        start, stop, step = parts
        if step <= 0 or stop < start:
            raise XqgError(f"{option} {text}: a range without a value. Write START:STOP:STEP, such as 0:1:0.1.")
        if (stop - start) / step > 10_000:
            raise XqgError(f"{option} {text}: over 10,000 values. Take a larger step.")
        number = start
        while number <= stop:
            found.append(number)
            number += step
    return distinct(found, option)


def parse_alphas(texts: Sequence[str]) -> list[float]:
    """Weights in [0, 1]."""
    return [check_alpha(float(number)) for number in parse_numbers(texts, "--alpha")]


def parse_max_queries(texts: Sequence[str]) -> list[int | None]:
    """Whole numbers from 0 on, and ``all`` (None)."""
    found: list[int | None] = []
    for text in texts:
        if text == ALL:
            found.append(None)
            continue
        for number in parse_numbers([text], "--max-queries"):
            if number < 0 or number != int(number):
                raise XqgError(f"--max-queries {text}: not a whole number of queries, 0 or more, or {ALL}.")
            found.append(int(number))
    return distinct(found, "--max-queries")


def parse_language_sets(texts: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Sets such as ``ar,de``, and ``all`` (None)."""
    return distinct((None if text == ALL else tuple(parse_languages(text)) for text in texts), "--languages")


def parse_filters(
    thresholds: Sequence[str] | None, fractions: Sequence[str] | None, per_language: bool
) -> list[Filter | None]:
    """Thresholds, then shares of the best; ``none`` among either is no filter. Nothing given: no filter alone."""
    if per_language and not fractions:
        raise XqgError("--per-language goes with --top-fraction.")
    if thresholds is None and fractions is None:
        return [None]
    found: list[Filter | None] = []
    for texts, option in ((thresholds, "threshold"), (fractions, "top-fraction")):
        for text in texts or ():
            chosen = None if text == NONE else Filter(option, text, per_language and option == "top-fraction")
            if chosen is not None:
                chosen.selection()  # refuses what is no number
            if chosen is not None or chosen not in found:
                found.append(chosen)
    return distinct(found, "--threshold and --top-fraction")


def parse_switch(texts: Sequence[str] | None, option: str) -> list[bool]:
    """``yes`` and ``no``; the option alone means yes, and no option no."""
    if texts is None:
        return [False]
    known: dict[str, bool] = {"yes": True, "no": False}
    for text in texts:
        if text not in known:
            raise XqgError(f"{option} {text}: write yes, no, or both.")
    return distinct((known[text] for text in texts or ["yes"]), option)

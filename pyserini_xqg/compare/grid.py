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
from pyserini_xqg.core.options import option
from pyserini_xqg.queries.selection import Selection, parse_by_language
from pyserini_xqg.vectors.recipe import AGGREGATES, Recipe

ALL, NONE = "all", "none"
FACTORS = (
    "store",
    "aggregate",
    "languages",
    "filter",
    "route",
    "normalize",
    "language-removal",
    "max-queries",
    "alpha",
)
"""What can be varied, named as the options are, in the order of the points' loops, the last one innermost."""
_SWITCH = {"yes": True, "no": False}


@dataclass(frozen=True)
class GridOptions:
    """Grid: each combination of these values is one more row, made as pyserini_xqg.index does; ranges are START:STOP:STEP"""  # noqa: E501

    alpha: tuple[str, ...] = option((), "weights of the queries, 0 to 1, or ranges", metavar="WEIGHT", several=True)
    aggregate: tuple[str, ...] = option(
        (), "mean over languages of each language's mean, or sum over all queries", choices=AGGREGATES, several=True
    )
    languages: tuple[str, ...] = option(
        (), "sets of query languages, such as all ar,bn fi", metavar="CODES", several=True
    )
    max_queries: tuple[str, ...] = option(
        (),
        "first N queries per passage and language, 0 or more, or ranges, which need a store made with "
        "--keep-query-vectors; or all",
        metavar="N",
        several=True,
    )
    route: tuple[str, ...] = option(
        (), "one index per language, each topic searched in its own", choices=_SWITCH, several=True
    )
    normalize: tuple[str, ...] = option((), "final vectors at unit length", choices=_SWITCH, several=True)
    language_removal: tuple[str, ...] = option(
        (), "shares of the languages' directions taken out, 0 to 1, or ranges", metavar="SHARE", several=True
    )
    threshold: tuple[str, ...] = option(
        (),
        "leave out queries whose inner product with their passage is lower; none, a number, or one a language "
        "(ar=0.3,de=0.4); needs a store made with --keep-query-vectors",
        metavar="SCORE",
        several=True,
    )
    top_fraction: tuple[str, ...] = option(
        (),
        "keep this share of the store's queries, those with the highest such products; none, above 0 to 1, or one a "
        "language",
        metavar="SHARE",
        several=True,
    )
    per_language: bool = option(False, "--top-fraction is of each language's queries")

    def values(self) -> dict[str, list[Any]]:
        """The values of each factor that was given; empty if there is no grid."""
        found = {
            "aggregate": distinct(self.aggregate, "--aggregate"),
            "languages": parse_language_sets(self.languages),
            "filter": parse_filters(self.threshold, self.top_fraction, self.per_language),
            "route": distinct((_SWITCH[text] for text in self.route), "--route"),
            "normalize": distinct((_SWITCH[text] for text in self.normalize), "--normalize"),
            "language-removal": parse_shares(self.language_removal, "--language-removal"),
            "max-queries": parse_max_queries(self.max_queries),
            "alpha": parse_shares(self.alpha, "--alpha"),
        }
        return {factor: some for factor, some in found.items() if some}


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
    """A store, and what is made of its vectors.

    recipe : resolved for the store, but ``languages`` None for all. filter : which queries are left out first, or None.
    """

    store: str
    recipe: Recipe
    filter: Filter | None = None

    @classmethod
    def of(cls, name: str, store: Any, recipe: Recipe, chosen: Filter | None = None) -> Point:
        """The point of a store; :class:`XqgError` for what the store cannot give."""
        return cls(name, replace(recipe.resolve(store), languages=recipe.languages), chosen)

    @property
    def is_plain(self) -> bool:
        """True without augmentation: no query has a weight."""
        return (self.recipe.alpha == 0 and not self.recipe.language_removal) or self.recipe.max_queries == 0

    @property
    def searched(self) -> Point:
        """The point whose run this one has: itself, or where no query has weight, the one without augmentation."""
        if not self.is_plain:
            return self
        plain = Recipe(alpha=0.0, aggregate="mean", languages=(), normalize=self.recipe.normalize, language_removal=0.0)
        return Point(self.store, plain)

    @property
    def queries(self) -> tuple[Any, ...]:
        """What decides which query vectors are read: points that share it are searched in one pass over the store."""
        if self.is_plain:
            return (self.store, None)
        return (self.store, self.recipe.languages, self.filter, self.recipe.max_queries)

    def value(self, factor: str) -> Any:
        """The value of a factor of :data:`FACTORS`."""
        return getattr(self if factor in ("store", "filter") else self.recipe, factor.replace("-", "_"))

    def with_value(self, factor: str, value: Any) -> Point:
        """A copy with another value of a factor."""
        if factor in ("store", "filter"):
            return replace(self, **{factor: value})
        return replace(self, recipe=replace(self.recipe, **{factor.replace("-", "_"): value}))

    def cell(self, factor: str) -> str:
        """The value of a factor as tables show it."""
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

        >>> Point("s", Recipe(alpha=0.8, aggregate="mean", route=True)).name, Point("s", Recipe(alpha=0.0)).name
        ('mean-alpha0.8-routed', 'plain')
        """
        return "-".join(self.name_parts().values())

    def name_parts(self) -> dict[str, str]:
        """Factor to its part of the name."""
        recipe = self.recipe
        unit = {"normalize": "unit"} if recipe.normalize else {}
        if self.is_plain:
            return {"aggregate": "plain", **unit}
        parts = {"aggregate": recipe.aggregate, "alpha": f"alpha{number_text(recipe.alpha)}"}
        if recipe.languages is not None:
            parts["languages"] = "+".join(recipe.languages)
        if recipe.max_queries is not None:
            parts["max-queries"] = f"{recipe.max_queries}queries"
        if self.filter is not None:
            parts["filter"] = self.filter.slug
        if recipe.route:
            parts["route"] = "routed"
        if recipe.language_removal:
            unit["language-removal"] = f"removal{number_text(recipe.language_removal)}"
        return parts | unit


def number_text(value: float) -> str:
    """The shortest text that is that number, without an empty fraction.

    >>> number_text(0.5), number_text(1.0)
    ('0.5', '1')
    """
    return repr(value).removesuffix(".0")


class Grid:
    """All combinations of some values of each factor; factors without a value are as in a recipe of defaults.

    values : factor to its values, without ``store``; none at all for no grid. stores : name to store.
    Raises :class:`XqgError` for what a store cannot give.
    """

    def __init__(self, values: Mapping[str, Sequence[Any]], stores: Mapping[str, Any]) -> None:
        self.values = {factor: tuple(values.get(factor, ())) for factor in FACTORS} | {"store": tuple(stores)}
        given = [factor for factor in FACTORS[1:] if self.values[factor]]
        self.points = []
        for store, *combination in product(stores, *(self.values[factor] for factor in given)) if given else ():
            chosen = {factor.replace("-", "_"): value for factor, value in zip(given, combination, strict=True)}
            chosen_filter = chosen.pop("filter", None)
            self.points.append(Point.of(store, stores[store], Recipe(**chosen), chosen_filter))

    @property
    def varied(self) -> list[str]:
        """Factors with more than one value."""
        return [factor for factor, some in self.values.items() if len(some) > 1]


def distinct(values: Iterable[Any], where: str) -> list[Any]:
    """The values as a list; :class:`XqgError` for one that is given twice."""
    found: list[Any] = []
    for value in values:
        if value in found:
            raise XqgError(f"{where}: {value} is given more than once. Name each value once.")
        found.append(value)
    return found


def parse_numbers(texts: Sequence[str], where: str) -> list[Decimal]:
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
            raise XqgError(f"{where} {text}: neither a number nor a range START:STOP:STEP, such as 0:1:0.1.") from error
        if len(parts) == 1:
            found += parts
            continue
        start, stop, step = parts
        if step <= 0 or stop < start:
            raise XqgError(f"{where} {text}: a range without a value. Write START:STOP:STEP, such as 0:1:0.1.")
        if (stop - start) / step > 10_000:
            raise XqgError(f"{where} {text}: over 10,000 values. Take a larger step.")
        found += (start + step * number for number in range(int((stop - start) / step) + 1))
    return distinct(found, where)


def parse_shares(texts: Sequence[str], where: str = "--alpha") -> list[float]:
    """Weights in [0, 1]."""
    shares = [float(number) for number in parse_numbers(texts, where)]
    if outside := [share for share in shares if not 0 <= share <= 1]:
        raise XqgError(f"{where} {outside[0]:g}: must be a number from 0 to 1.")
    return shares


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
    return distinct(
        (None if text == ALL else tuple(parse_languages(text, "--languages")) for text in texts), "--languages"
    )


def parse_filters(thresholds: Sequence[str], fractions: Sequence[str], per_language: bool) -> list[Filter | None]:
    """Thresholds, then shares of the best; ``none`` among either is no filter."""
    if per_language and not fractions:
        raise XqgError("--per-language goes with --top-fraction.")
    found: list[Filter | None] = []
    for texts, name in ((thresholds, "threshold"), (fractions, "top-fraction")):
        for text in texts:
            chosen = None if text == NONE else Filter(name, text, per_language and name == "top-fraction")
            if chosen is not None:
                chosen.selection()  # refuses what is no number
            if chosen is not None or chosen not in found:
                found.append(chosen)
    return distinct(found, "--threshold and --top-fraction")

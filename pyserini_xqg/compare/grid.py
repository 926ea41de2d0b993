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
    *("store", "aggregate", "languages", "filter", "route", "normalize", "language-removal"),
    *("max-queries", "alpha"),
)
"""What can be varied, named as the options are, in the order of the points' loops, the last one innermost."""
_SWITCH = {"yes": True, "no": False}
_MOST_STEPS = 10_000


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

    def values(self) -> dict[str, list[Any]]:
        """The values of each factor that was given; empty if there is no grid."""
        found = {
            "aggregate": distinct(self.aggregate, "--aggregate"),
            "languages": parse_language_sets(self.languages),
            "filter": parse_filters(self.threshold, self.top_fraction),
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

    >>> str(Filter("threshold", "ar=0.3,de=0.4")), str(Filter("top-fraction", "0.9"))
    ('scorear0.3+de0.4', 'best0.9')
    """

    option: str
    value: str

    def selection(self) -> Selection:
        """What :mod:`pyserini_xqg.queries.selection` takes; :class:`XqgError` for a value that is no number."""
        number = float if self.option == "threshold" else Fraction
        value = parse_by_language(self.value, f"--{self.option}", number)
        return Selection(**{self.option.replace("-", "_"): value})

    def __str__(self) -> str:
        kind = "score" if self.option == "threshold" else "best"
        return kind + self.value.replace("=", "").replace(",", "+")


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

    def whole(self, store: Any) -> Recipe:
        """The recipe of the index that is searched, with all its languages."""
        recipe = self.searched.recipe
        return recipe if recipe.languages is not None else replace(recipe, languages=tuple(store.languages))

    @property
    def queries(self) -> tuple[Any, ...]:
        """What decides which query vectors are read: points that share it are searched in one pass over the store."""
        if self.is_plain:
            return (self.store, None)
        return (self.store, self.recipe.languages, self.filter, self.recipe.max_queries)

    def value(self, factor: str) -> Any:
        """The value of a factor of :data:`FACTORS`."""
        return getattr(self if factor in ("store", "filter") else self.recipe, factor.replace("-", "_"))

    def cell(self, factor: str) -> str:
        """The value of a factor as tables show it."""
        value = self.value(factor)
        if value is None:
            return NONE if factor == "filter" else ALL
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, tuple):
            return ",".join(value)
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
        plain = {"aggregate": "plain", "normalize": "unit" * bool(recipe.normalize)}
        parts = {
            "aggregate": recipe.aggregate or "",
            "alpha": f"alpha{number_text(recipe.alpha)}",
            "languages": "+".join(recipe.languages or ()),
            "max-queries": "" if recipe.max_queries is None else f"{recipe.max_queries}queries",
            "filter": str(self.filter or ""),
            "route": "routed" * recipe.route,
            "normalize": plain["normalize"],
            "language-removal": f"removal{number_text(recipe.language_removal)}" if recipe.language_removal else "",
        }
        return {factor: part for factor, part in (plain if self.is_plain else parts).items() if part}


def number_text(value: float) -> str:
    """The shortest text that is that number, without an empty fraction."""
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
    ['0.01', '0.0', '0.5', '1.0']
    """
    found: list[Decimal] = []
    for text in texts:
        try:
            start, stop, step = map(Decimal, text.split(":") if ":" in text else (text, text, 1))
            steps = (stop - start) / step
            if not 0 <= steps <= _MOST_STEPS:
                raise InvalidOperation
        except (ArithmeticError, ValueError) as error:
            raise XqgError(
                f"{where} {text}: neither a number nor a range START:STOP:STEP of at most {_MOST_STEPS:,} steps, such "
                "as 0:1:0.1."
            ) from error
        found += (start + step * number for number in range(int(steps) + 1))
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
        numbers = [None] if text == ALL else parse_numbers([text], "--max-queries")
        for number in numbers:
            if number is not None and (number < 0 or number != int(number)):
                raise XqgError(f"--max-queries {text}: not a whole number of queries, 0 or more, or {ALL}.")
            found.append(number if number is None else int(number))
    return distinct(found, "--max-queries")


def parse_language_sets(texts: Sequence[str]) -> list[tuple[str, ...] | None]:
    """Sets such as ``ar,de``, and ``all`` (None)."""
    return distinct(
        (None if text == ALL else tuple(parse_languages(text, "--languages")) for text in texts), "--languages"
    )


def parse_filters(thresholds: Sequence[str], fractions: Sequence[str]) -> list[Filter | None]:
    """Thresholds, then shares of the best; ``none`` among either is no filter, and comes first."""
    found = [Filter("threshold", text) for text in thresholds if text != NONE]
    found += [Filter("top-fraction", text) for text in fractions if text != NONE]
    for chosen in found:
        chosen.selection()  # refuses what is no number
    return distinct([*[None] * (NONE in (*thresholds, *fractions)), *found], "--threshold and --top-fraction")

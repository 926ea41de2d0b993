"""Which generated queries are kept: thresholds on their scores, shares of the best, round trips.

Every answer is exact, and takes the scores in blocks, however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import check_language
from pyserini_xqg.queries.order_statistics import order_statistics
from pyserini_xqg.queries.scores import QueryScores

KEPT, LOW, NOT_RETRIEVED = 0, 1, 2
QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1.0}


@dataclass(frozen=True)
class Selection:
    """Which queries are kept: those that pass all that is not None.

    threshold : lowest score kept, for all languages or by language.
    top_fraction : share of the queries to keep, those with the highest scores: of all, or by language.
    per_language : a single ``top_fraction`` holds in each language by itself.
    round_trip : the query's passage must be among so many first ones.
    """

    threshold: float | Mapping[str, float] | None = None
    top_fraction: Fraction | Mapping[str, Fraction] | None = None
    per_language: bool = False
    round_trip: int | None = None

    def __post_init__(self) -> None:
        if self.threshold is None and self.top_fraction is None and self.round_trip is None:
            raise XqgError("nothing to filter by: pass --threshold, --top-fraction or --round-trip.")
        if self.threshold is not None and self.top_fraction is not None:
            raise XqgError("--threshold and --top-fraction both choose the lowest score. Pass one of them.")
        if self.per_language and (self.top_fraction is None or isinstance(self.top_fraction, Mapping)):
            raise XqgError("--per-language goes with a single --top-fraction, such as 0.7.")

    def check(self, languages: Sequence[str]) -> None:
        """Refuse values by language that are not those of the corpus's ``languages``."""
        for given, option, everything in (
            (self.threshold, "--threshold", "-inf"),
            (self.top_fraction, "--top-fraction", "1"),
        ):
            if not isinstance(given, Mapping):
                continue
            if missing := [language for language in languages if language not in given]:
                raise XqgError(
                    f"{option}: none for {', '.join(missing)}, where there are queries too. Give each language one; "
                    f"{missing[0]}={everything} keeps all."
                )
            if unknown := [language for language in given if language not in languages]:
                raise XqgError(
                    f"{option}: there are no queries in {', '.join(unknown)}. There are some in {', '.join(languages)}."
                )

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; infinite thresholds as strings, which JSON has no numbers for."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {language: plain(one) for language, one in value.items()}
            return json_number(float(value)) if isinstance(value, float | Fraction) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def json_number(value: float | None) -> float | str | None:
    """The number, or its name where JSON has none for it.

    >>> json_number(-math.inf)
    '-inf'
    """
    return str(value) if value is not None and math.isinf(value) else value


def parse_by_language(text: str, option: str, number: type) -> Any:
    """``0.3`` to a number, ``ar=0.3,de=0.4`` to a dict by language; ``number`` is float or Fraction.

    >>> parse_by_language("0.5", "--threshold", float), parse_by_language("ar=1,de=-inf", "--threshold", float)
    (0.5, {'ar': 1.0, 'de': -inf})
    """

    def parse(part: str) -> Any:
        try:
            value = number(part.strip())
        except (ValueError, ZeroDivisionError):
            value = None
        if value is None or value != value:
            raise XqgError(f"{option} {text}: {part.strip()!r} is no number. Pass one, or one a language: ar=…,de=….")
        if number is Fraction and not 0 < value <= 1:
            raise XqgError(f"{option} {text}: {part.strip()} is not above 0 and at most 1. Pass the share to keep.")
        return value

    if "=" not in text:
        return parse(text)
    values: dict[str, Any] = {}
    for pair in text.split(","):
        code, _, part = pair.partition("=")
        code = check_language(code.strip(), option)
        if code in values:
            raise XqgError(f"{option} {text}: {code} is given twice. Name each language once.")
        values[code] = parse(part)
    return values


def thresholds(scores: QueryScores, selection: Selection) -> dict[str, float | None]:
    """The lowest score kept in each language; None where scores decide nothing.

    A fraction F of T queries keeps the ceil(F T) with the highest scores, exactly, and all that tie with the last.
    """
    selection.check(scores.languages)
    if isinstance(selection.threshold, Mapping):
        return {language: selection.threshold[language] for language in scores.languages}
    if selection.top_fraction is None:
        return dict.fromkeys(scores.languages, selection.threshold)
    if isinstance(selection.top_fraction, Mapping) or selection.per_language:
        share = selection.top_fraction
        return {
            language: _lowest_kept(scores, [language], share[language] if isinstance(share, Mapping) else share)
            for language in scores.languages
        }
    return dict.fromkeys(scores.languages, _lowest_kept(scores, scores.languages, selection.top_fraction))


def tied(scores: QueryScores, selection: Selection, passed: Mapping[str, int]) -> int:
    """How many queries a top fraction keeps beyond its share, for they tie with the last; 0 without a top fraction.

    ``passed`` : language -> queries whose score suffices.
    """
    share = selection.top_fraction
    if share is None:
        return 0
    if isinstance(share, Mapping) or selection.per_language:
        wanted = sum(
            math.ceil((share[language] if isinstance(share, Mapping) else share) * total)
            for language, total in scores.queries.items()
        )
    else:
        wanted = math.ceil(share * sum(scores.queries.values()))
    return sum(passed.values()) - wanted


def _lowest_kept(scores: QueryScores, languages: list[str], share: Fraction) -> float:
    total = sum(scores.queries[language] for language in languages)

    def blocks() -> Iterator[np.ndarray]:
        for language in languages:
            for values, _ in scores.blocks(language):
                yield values

    return order_statistics(blocks, [total - math.ceil(share * total)])[0]


def quantiles(scores: QueryScores, language: str) -> dict[str, float]:
    """Exact quantiles of a language's scores, each a score that occurs (the nearest rank)."""
    last = scores.queries[language] - 1
    values = order_statistics(
        lambda: (block for block, _ in scores.blocks(language)), [round(share * last) for share in QUANTILES.values()]
    )
    return dict(zip(QUANTILES, values, strict=True))


def verdicts(scores: QueryScores, language: str, threshold: float | None, round_trip: int | None) -> Iterator[int]:
    """For each query of a language, passage by passage: kept, or why not (the score is asked first)."""
    for values, ranks in scores.blocks(language):
        verdict = np.zeros(len(values), dtype=np.int8)
        if round_trip is not None:
            verdict[(ranks == 0) | (ranks > round_trip)] = NOT_RETRIEVED
        if threshold is not None:
            verdict[~(values >= np.float32(threshold))] = LOW
        yield from verdict.tolist()


def verdicts_by_language(scores: QueryScores, selection: Selection) -> dict[str, Iterator[int]]:
    """Language to :func:`verdicts` of its queries, as a selection has them."""
    return {
        language: verdicts(scores, language, lowest, selection.round_trip)
        for language, lowest in thresholds(scores, selection).items()
    }

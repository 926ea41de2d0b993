"""Which generated queries are kept: thresholds on their scores, shares of the best, round trips; all exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import check_language
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.queries.scores import QueryScores

KEPT, LOW, NOT_RETRIEVED = 0, 1, 2
QUANTILES = {"min": 0.0, "p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "max": 1.0}


def parse_by_language(text: str, name: str, number: type) -> Any:
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
            raise XqgError(f"{name} {text}: {part.strip()!r} is no number. Pass one, or one a language: ar=…,de=….")
        if number is Fraction and not 0 < value <= 1:
            raise XqgError(f"{name} {text}: {part.strip()} is not above 0 and at most 1. Pass the share to keep.")
        return value

    if "=" not in text:
        return parse(text)
    values: dict[str, Any] = {}
    for pair in text.split(","):
        code, _, part = pair.partition("=")
        code = check_language(code.strip(), name)
        if code in values:
            raise XqgError(f"{name} {text}: {code} is given twice. Name each language once.")
        values[code] = parse(part)
    return values


@dataclass(frozen=True)
class Selection:
    """What is kept

    The queries that pass all that is not None. Thresholds and shares may be given by language.
    """

    threshold: float | Mapping[str, float] | None = option(
        None,
        "lowest score kept, for all languages (0.3) or each (ar=0.3,de=0.4)",
        metavar="SCORE",
        read=partial(parse_by_language, name="--threshold", number=float),
    )
    top_fraction: Fraction | Mapping[str, Fraction] | None = option(
        None,
        "keep this share of all queries, above 0 to 1, those with the highest scores, and what ties with the last of "
        "them; 0.7, or for each language by itself ar=0.7,de=0.6",
        metavar="SHARE",
        read=partial(parse_by_language, name="--top-fraction", number=Fraction),
    )
    per_language: bool = option(False, "the share is of each language's queries, not of all together")
    round_trip: int | None = option(
        None,
        "the query must retrieve its passage among the first K: of all passages of --store, searched exactly, or in "
        "--index",
        metavar="K",
        check=at_least(1),
    )

    def __post_init__(self) -> None:
        if self.threshold is None and self.top_fraction is None and self.round_trip is None:
            raise XqgError("nothing to filter by: pass --threshold, --top-fraction or --round-trip.")
        if self.threshold is not None and self.top_fraction is not None:
            raise XqgError("--threshold and --top-fraction both choose the lowest score. Pass one of them.")
        if self.per_language and (self.top_fraction is None or isinstance(self.top_fraction, Mapping)):
            raise XqgError("--per-language goes with a single --top-fraction, such as 0.7.")

    def check(self, languages: Sequence[str]) -> None:
        """Refuse values by language that are not those of the corpus's ``languages``."""
        for given, name, everything in (
            (self.threshold, "--threshold", "-inf"),
            (self.top_fraction, "--top-fraction", "1"),
        ):
            if not isinstance(given, Mapping):
                continue
            if missing := [language for language in languages if language not in given]:
                raise XqgError(
                    f"{name}: none for {', '.join(missing)}, where there are queries too. Give each language one; "
                    f"{missing[0]}={everything} keeps all."
                )
            if unknown := [language for language in given if language not in languages]:
                raise XqgError(
                    f"{name}: there are no queries in {', '.join(unknown)}. There are some in {', '.join(languages)}."
                )

    def shares(self, languages: Sequence[str]) -> list[tuple[list[str], Fraction]]:
        """Which languages' queries a share is taken of, together: all in one, or each by itself."""
        share = self.top_fraction
        if share is None:
            return []
        if isinstance(share, Mapping) or self.per_language:
            return [([language], share[language] if isinstance(share, Mapping) else share) for language in languages]
        return [(list(languages), share)]

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; infinite thresholds as strings, which JSON has no numbers for."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {language: plain(number) for language, number in value.items()}
            return json_number(float(value)) if isinstance(value, float | Fraction) else value

        return {name: plain(value) for name, value in asdict(self).items()}


def json_number(value: float | None) -> float | str | None:
    """The number, or its name where JSON has none for it.

    >>> json_number(-math.inf)
    '-inf'
    """
    return str(value) if value is not None and math.isinf(value) else value


def thresholds(scores: QueryScores, selection: Selection) -> dict[str, float | None]:
    """The lowest score kept in each language; None where scores decide nothing.

    A fraction F of T queries keeps the ceil(F T) with the highest scores, exactly, and all that tie with the last.
    """
    selection.check(scores.languages)
    if isinstance(selection.threshold, Mapping):
        return {language: selection.threshold[language] for language in scores.languages}
    lowest = dict.fromkeys(scores.languages, selection.threshold)
    for languages, share in selection.shares(scores.languages):
        values = np.concatenate([scores.array(f"score.{language}") for language in languages])
        place = len(values) - math.ceil(share * len(values))
        lowest |= dict.fromkeys(languages, float(np.partition(values, place)[place]))
    return lowest


def quantiles(scores: QueryScores, language: str) -> dict[str, float]:
    """Exact quantiles of a language's scores, each a score that occurs (the nearest rank)."""
    values = np.quantile(scores.array(f"score.{language}"), list(QUANTILES.values()), method="nearest")
    return dict(zip(QUANTILES, values.tolist(), strict=True))


def verdicts(scores: QueryScores, language: str, threshold: float | None, round_trip: int | None) -> np.ndarray:
    """For each query of a language, passage by passage: kept, or why not (the score is asked first); int8."""
    values = scores.array(f"score.{language}")
    verdict = np.full(len(values), KEPT, dtype=np.int8)
    if round_trip is not None:
        ranks = scores.array(f"rank.{language}")
        verdict[(ranks == 0) | (ranks > round_trip)] = NOT_RETRIEVED
    if threshold is not None:
        verdict[~(values >= np.float32(threshold))] = LOW
    return verdict


def verdicts_by_language(scores: QueryScores, selection: Selection) -> dict[str, np.ndarray]:
    """Language to :func:`verdicts` of its queries, as a selection has them."""
    return {
        language: verdicts(scores, language, lowest, selection.round_trip)
        for language, lowest in thresholds(scores, selection).items()
    }

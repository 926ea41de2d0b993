"""Rules that a generated query must pass: what is no question at all, what was said before, what is copied, and
what is in another language.

All comparisons are made on a folded form: Unicode NFKC, case folded, punctuation and white space dropped.
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import regex

from pyserini_xqg.core.options import at_least, between, option
from pyserini_xqg.text.language_check import CHECKS, PACKAGE, found_instead, identification_version, resolve_check

REASONS = ("empty", "too_long", "duplicate", "near_duplicate", "copy", "wrong_language")
"""Why a query is refused, in the order in which the rules are tried."""


@dataclass(frozen=True)
class QualityOptions:
    """Quality of the queries

    Which queries are refused. Commands call :meth:`resolved` before they begin.
    """

    max_query_characters: int = option(300, "a query of more characters is too long", metavar="N", check=at_least(1))
    keep_duplicates: bool = option(False, "accept a query that the passage already has")
    near_duplicate: float = option(
        0.8,
        "Jaccard similarity of character 3-grams (above 0.5, at most 1) from which on a query counts as one that the "
        "passage already has, unless their numbers differ",
        metavar="SHARE",
        check=between(0.5, 1, above=True),
    )
    copied: float = option(
        0.95,
        "share of the query (above 0.5, at most 1) that stands in the passage as one run, from which on it is a copy",
        metavar="SHARE",
        check=between(0.5, 1, above=True),
    )
    language_check: str = option(
        "auto",
        f"how the language of a query is checked: model, by scripts and language identification ({PACKAGE}, the "
        "'quality' extra); script, by scripts alone; auto, model if it is installed, else script",
        choices=("auto", *CHECKS),
    )

    def resolved(self, languages: Sequence[str]) -> QualityOptions:
        """The same with the check of the language that will be made; says what it cannot tell of these languages."""
        return replace(self, language_check=resolve_check(self.language_check, languages))

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the fields, and which release of the language identification decides, if one does."""
        model = f"{PACKAGE} {identification_version()}" if self.language_check == "model" else None
        return asdict(self) | {"language_model": model}


def refusal(query: str, language: str, passage_text: str, accepted: Sequence[str], rules: QualityOptions) -> str | None:
    """Why a query is refused, one of :data:`REASONS`, or None if it is good.

    passage_text : what the query was generated from (title and text). accepted : the queries of the same passage and
    language that were accepted before.

    >>> rules = QualityOptions(language_check="script")
    >>> refusal("Missä Helsinki sijaitsee?", "fi", "Helsinki is in Finland.", [], rules)
    >>> refusal("missä  Helsinki sijaitsee", "fi", "Helsinki is in Finland.", ["Missä Helsinki sijaitsee?"], rules)
    'duplicate'
    >>> refusal("Where is Helsinki?", "te", "Helsinki is in Finland.", [], rules)
    'wrong_language'
    """
    folded = fold(query)
    if not folded:
        return "empty"
    if len(query) > rules.max_query_characters:
        return "too_long"
    others = [fold(text) for text in accepted]
    if not rules.keep_duplicates and folded in others:
        return "duplicate"
    if any(near_duplicates(folded, other, rules.near_duplicate) for other in others):
        return "near_duplicate"
    if is_copy(folded, fold(passage_text), rules.copied):
        return "copy"
    if rules.language_check != "none" and found_instead(query, language, rules.language_check):
        return "wrong_language"
    return None


_INVISIBLE = regex.compile(r"\p{Cf}")
_BETWEEN_WORDS = regex.compile(r"[\p{P}\p{Z}\p{C}\p{Sk}]")
_DROPPED_SPACE = regex.compile(r"(?<!\d) | (?!\d)")
_NUMBER = regex.compile(r"\d+")


@functools.lru_cache(maxsize=1024)
def fold(text: str) -> str:
    """The form in which texts are compared: NFKC, case folded, without punctuation and white space.

    What stood between two digits becomes one space (1.5 is not 15). Letters, marks, digits and symbols stay.

    >>> fold("Ｗas  kostet „C++“, 1.5 €?")
    'waskostetc++1 5€'
    """
    return _DROPPED_SPACE.sub("", " ".join(words(text)))


def words(text: str) -> list[str]:
    """The words between white space and punctuation, NFKC and case folded.

    >>> words("L'eau, où?")
    ['l', 'eau', 'où']
    """
    folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold())
    return _BETWEEN_WORDS.sub(" ", folded).split()


def character_ngrams(folded: str, size: int = 3) -> set[str]:
    """The character n-grams of a folded text."""
    return {folded[start : start + size] for start in range(len(folded) - size + 1)}


_query_ngrams = functools.lru_cache(maxsize=256)(character_ngrams)


def near_duplicates(folded: str, other: str, threshold: float) -> bool:
    """Whether two folded texts share at least ``threshold`` of their 3-grams (Jaccard) and all their numbers."""
    first, second = _query_ngrams(folded), _query_ngrams(other)
    if min(len(first), len(second)) < threshold * max(len(first), len(second), 1):
        return False
    shared = len(first & second)
    if shared < threshold * (len(first) + len(second) - shared):
        return False
    return _NUMBER.findall(folded) == _NUMBER.findall(other)


_LEAST_RUN = 20
"""Characters of a run below which nothing is a copy: a name of a few words is none."""


def is_copy(folded: str, folded_passage: str, share: float) -> bool:
    """Whether one run of at least ``share`` (above a half) of the query's characters stands in the passage.

    Such a run holds the query's middle, so one search for that decides nearly every query.
    """
    least = max(math.ceil(share * len(folded)), _LEAST_RUN)
    if least > len(folded):
        return False
    middle = folded[len(folded) - least : least]
    if middle not in folded_passage:
        return False
    return any(folded[start : start + least] in folded_passage for start in range(len(folded) - least + 1))

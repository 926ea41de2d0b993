"""Means by language: the columns of every table of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES

ALL_TOPICS = "all"
"""The one language where the topics' languages are not known."""

AVERAGE = "avg"
"""The key of the unweighted mean over languages."""


def sort_languages(codes: Iterable[str]) -> list[str]:
    """Language codes in the order of tables: XOR-TyDi's seven first, as in its papers, then the alphabet.

    >>> sort_languages(["es", "te", "de", "ar"])
    ['ar', 'te', 'de', 'es']
    """
    first = {code: place for place, code in enumerate(XOR_TYDI_LANGUAGES)}
    return sorted(set(codes), key=lambda code: (first.get(code, len(first)), code))


def means_by_language(
    values: Mapping[str, float], languages: Mapping[str, str], aggregator: Callable[[], Any] | None = None
) -> dict[str, float]:
    """Mean by language, and ``avg``, the unweighted mean of these; a topic whose value is NaN does not count.

    Parameters
    ----------
    values : query id to value.
    languages : query id to language; :class:`XqgError` for a topic without one.
    aggregator : makes an ir_measures aggregator (``add``, ``result``), as some measures are summed; the mean if None.

    Returns
    -------
    Language to mean, in the order of :func:`sort_languages`, then ``avg``; empty where no question counts. A language
    without a question that counts is left out, also of the average.

    >>> means_by_language({"1": 1.0, "2": 0.0, "3": 1.0}, {"1": "fi", "2": "fi", "3": "ar"})
    {'ar': 1.0, 'fi': 0.5, 'avg': 0.75}
    """
    if aggregator is None:
        from ir_measures.measures import MeanAgg as aggregator
    if without := values.keys() - languages.keys():
        raise XqgError(f"topic {min(without)!r} has no language. Give every topic one.")
    means: dict[str, float] = {}
    counting = {query_id: value for query_id, value in values.items() if not math.isnan(value)}
    for language in sort_languages(languages[query_id] for query_id in counting):
        of_language = aggregator()
        for query_id, value in counting.items():
            if languages[query_id] == language:
                of_language.add(value)
        means[language] = float(of_language.result())
    return means | ({AVERAGE: math.fsum(means.values()) / len(means)} if means else {})

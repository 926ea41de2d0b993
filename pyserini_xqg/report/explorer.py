"""The explorer's data: columns of JSON, gzipped, in base64, so that thousands of questions stay a small file."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.evaluate.means import sort_languages
from pyserini_xqg.report.products import Products
from pyserini_xqg.report.rankings import Ranked

DIGITS = 4
"""Significant digits of the largest inner product; the others have as many decimals."""


@dataclass(frozen=True)
class Explorer:
    """All that the explorer shows.

    texts, languages, answers : by query id. values : measure to (first run's, second run's) query id to value.
    ranked : by query id. passages : ``get(docid)`` returns a ``Passage``; None if there are
    no texts. products : (query id, docid) to inner products. used : language of questions to the languages whose
    queries the index holds, and how many of each at most; empty without an index.
    """

    runs: tuple[str, str]
    texts: Mapping[str, str]
    languages: Mapping[str, str]
    answers: Mapping[str, Sequence[str]]
    values: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]
    ranked: Mapping[str, Ranked]
    passages: Any = None
    products: Mapping[tuple[str, str], Products] = field(default_factory=dict)
    used: Mapping[str, tuple[Sequence[str], int | None]] = field(default_factory=dict)


def explorer_data(explorer: Explorer) -> dict[str, Any]:
    """JSON values of the explorer, in columns.

    Questions come by language, so that texts of one script, which compress each other, stand together; passages in the
    order in which they are first needed, each once.
    """
    codes = sort_languages(explorer.languages[query_id] for query_id in explorer.texts)
    order = sorted(explorer.texts, key=lambda query_id: (codes.index(explorer.languages[query_id]), query_id))
    gold = dict.fromkeys(one.docid for query_id in order for one in explorer.ranked[query_id].gold)
    numbers = {docid: number for number, docid in enumerate(gold)}
    tops = [
        [[numbers.setdefault(docid, len(numbers)) for docid in top] for top in explorer.ranked[query_id].top]
        for query_id in order
    ]
    passages = [explorer.passages.get(docid) if explorer.passages is not None else None for docid in numbers]
    generated = [passage.queries if passage else {} for passage in passages[: len(gold)]]
    query_languages = sort_languages({language for queries in generated for language in queries})
    scale = _scale(explorer.products)
    measures = list(explorer.values)
    return {
        "runs": explorer.runs,
        "measures": measures,
        "languages": [[code, NAMES.get(code, "")] for code in codes],
        "queryLanguages": [[code, NAMES.get(code, "")] for code in query_languages],
        "ids": order,
        "language": [codes.index(explorer.languages[query_id]) for query_id in order],
        "texts": [explorer.texts[query_id] for query_id in order],
        "answers": [list(dict.fromkeys(explorer.answers.get(query_id, ()))) for query_id in order],
        "values": [
            [[_rounded(of_run.get(query_id)) for query_id in order] for of_run in explorer.values[measure]]
            for measure in measures
        ],
        "gold": [
            [[numbers[one.docid], *one.ranks] for one in explorer.ranked[query_id].gold] for query_id in order
        ],
        "best": [explorer.ranked[query_id].best for query_id in order],
        "moreGold": [explorer.ranked[query_id].more_gold for query_id in order],
        "retrieved": [explorer.ranked[query_id].retrieved for query_id in order],
        "top": tops,
        "products": [
            [_scaled(explorer.products.get((query_id, one.docid)), query_languages, scale)
             for one in explorer.ranked[query_id].gold]
            for query_id in order
        ],
        "scale": scale,
        "used": [_used(explorer.used.get(code), query_languages) for code in codes],
        "docids": list(numbers),
        "titles": [passage.title if passage else "" for passage in passages],
        "passageTexts": [passage.text if passage else None for passage in passages],
        "goldPassages": len(gold),
        "queries": [[queries.get(language, []) for queries in generated] for language in query_languages],
    }  # fmt: skip


def pack(data: Mapping[str, Any]) -> str:
    """JSON, gzipped (the same bytes every time), in base64.

    >>> unpack(pack({"a": "ä"}))
    {'a': 'ä'}
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 9, mtime=0)).decode("ascii")


def unpack(packed: str) -> Any:
    """What :func:`pack` packed."""
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def _rounded(value: float | None) -> float | int | None:
    if value is None:
        return None
    rounded = round(value, 5)
    return int(rounded) if rounded == int(rounded) else rounded


def _scale(products: Mapping[tuple[str, str], Products]) -> int:
    """What inner products are multiplied with before they are rounded: a power of ten."""
    largest = 0.0
    for one in products.values():
        values = [one.own, one.index or 0.0, *(value for some in one.queries.values() for value in some)]
        largest = max(largest, *map(abs, values))
    return 10 ** max(0, DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else 1


def _scaled(one: Products | None, languages: Sequence[str], scale: int) -> list[Any] | None:
    """[own, index or null, per language the queries']."""
    if one is None:
        return None
    index = None if one.index is None else round(one.index * scale)
    return [round(one.own * scale), index, *([round(value * scale) for value in one.queries.get(language, ())]
                                             for language in languages)]  # fmt: skip


def _used(used: tuple[Sequence[str], int | None] | None, languages: Sequence[str]) -> list[Any] | None:
    """[numbers of the languages whose queries the index holds, how many of each at most]; null without an index."""
    if used is None:
        return None
    return [[number for number, language in enumerate(languages) if language in used[0]], used[1]]

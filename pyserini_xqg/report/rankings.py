"""The gold passages of questions, their ranks in two runs, and the passages at the top of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.answer_tokens import rank
from pyserini_xqg.evaluate.collection import Collection

Run = Mapping[str, Mapping[str, float]]
"""Query id to docid to score."""

MOST_GOLD = 3
"""Gold passages that the page shows of a question."""
NOT_SPANS = ("yes", "no")
"""Answers that no passage is searched for, as in R@kt."""


@dataclass(frozen=True)
class Gold:
    """A gold passage. ``ranks``: in both runs, counted from 1; 0 where a run does not have it."""

    docid: str
    ranks: tuple[int, int]


@dataclass(frozen=True)
class Ranked:
    """What the page shows of a question's rankings.

    gold : the best ranked gold passages. more_gold : how many there are besides. best : rank of the first gold passage
    of each run; 0 where it has none. top : the first docids of both runs. retrieved : how many passages each run ranks.
    """

    gold: tuple[Gold, ...]
    more_gold: int
    best: tuple[int, int]
    top: tuple[tuple[str, ...], tuple[str, ...]]
    retrieved: tuple[int, int]

    def docids(self) -> set[str]:
        """All the passages that are shown."""
        return {gold.docid for gold in self.gold}.union(*self.top)


def judged_gold(collection: Collection) -> dict[str, list[str]]:
    """Query id to the docids that the qrels call relevant, each once.

    >>> from ir_measures import Qrel
    >>> judged_gold(Collection("", {"1"}, qrels=[Qrel("1", "d3", 1), Qrel("1", "d2", 0), Qrel("1", "d1", 2)]))
    {'1': ['d3', 'd1']}
    """
    gold: dict[str, dict[str, None]] = {}
    for qrel in collection.qrels or ():
        if qrel.relevance > 0:
            gold.setdefault(qrel.query_id, {})[qrel.doc_id] = None
    return {query_id: list(docids) for query_id, docids in gold.items()}


def rank_question(
    query_id: str,
    runs: tuple[Run, Run],
    depth: int,
    judged: Sequence[str] | None,
    answers: Sequence[str],
    passages: Any,
) -> Ranked:
    """Find a question's gold passages in both runs.

    ``judged`` are the relevant docids, or None where there are no qrels: gold is then, in each run, the first passage
    whose text holds an answer, case and all; ``passages.text(docid)`` is looked into for that.
    """
    rankings = tuple(rank(run.get(query_id, {})) for run in runs)
    spans = [answer for answer in answers if answer not in NOT_SPANS]
    if judged is None and passages is not None and spans:
        found = [_first_with_answer(ranking, spans, passages, query_id) for ranking in rankings]
        judged = [docid for docid in found if docid is not None]
    places = [{docid: place for place, docid in enumerate(ranking, start=1)} for ranking in rankings]
    gold = [Gold(docid, (places[0].get(docid, 0), places[1].get(docid, 0))) for docid in dict.fromkeys(judged or ())]
    gold.sort(key=lambda one: (min(filter(None, one.ranks), default=1 << 30), one.docid))
    best = tuple(min(filter(None, ranks), default=0) for ranks in zip(*(one.ranks for one in gold), strict=True))
    return Ranked(
        gold=tuple(gold[:MOST_GOLD]),
        more_gold=max(0, len(gold) - MOST_GOLD),
        best=best or (0, 0),
        top=tuple(tuple(ranking[:depth]) for ranking in rankings),
        retrieved=tuple(map(len, rankings)),
    )


def _first_with_answer(ranking: Sequence[str], answers: Sequence[str], passages: Any, query_id: str) -> str | None:
    for docid in ranking:
        text = passages.text(docid)
        if text is None:
            raise _missing(docid, query_id, "ranked for")
        if any(answer in text for answer in answers):
            return docid
    return None


def shown_passage(passages: Any, docid: str, query_id: str, relation: str) -> Any:
    """A passage that has to be there; ``relation`` to the topic is for the message."""
    passage = passages.get(docid)
    if passage is None:
        raise _missing(docid, query_id, relation)
    return passage


def _missing(docid: str, query_id: str, relation: str) -> XqgError:
    return XqgError(
        f"docid {docid!r}, {relation} topic {query_id!r}, is not among the passages. Pass the --passages that the runs "
        "were retrieved from, and qrels of the same collection."
    )

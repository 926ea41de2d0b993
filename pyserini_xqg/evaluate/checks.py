"""Whether a run is of the collection that it is scored against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.collection import Collection

Run = Mapping[str, Mapping[str, float]]
"""Query id to docid to score."""


def check_topics(run: Iterable[str], name: str, collection: Collection) -> None:
    """Refuse a run with a topic that the collection does not have."""
    topics = set(run)
    if unknown := topics - collection.topics:
        such, several = min(unknown), len(unknown) > 1
        if several and 2 * len(unknown) > len(topics):
            raise XqgError(
                f"{name}: {len(unknown):,} of its {len(topics):,} topics, such as {such!r}, are not in "
                f"{collection.name}: a run of another collection. Score it against its own."
            )
        raise XqgError(
            f"{name}: topic {such!r}{f' ({len(unknown):,} such topics)' * several} is not in {collection.name}. Score "
            "the run against its own topics, or name the topic in --topic-languages to leave it out."
        )


def check_docids(run: Run, name: str, known: Set[str]) -> None:
    """Refuse a run with a docid that is not among the passages."""
    unknown: dict[str, str] = {}
    for query_id, ranking in run.items():
        if not ranking.keys() <= known:
            unknown.update({docid: query_id for docid in ranking if docid not in known})
    if unknown:
        docid = min(unknown)
        number = len(set().union(*(ranking.keys() for ranking in run.values())))
        if len(unknown) > 1 and 2 * len(unknown) > number:
            raise XqgError(
                f"{name}: {len(unknown):,} of its {number:,} docids, such as {docid!r} for topic {unknown[docid]!r}, "
                "are not among the passages: a run of another collection. Pass the --passages that it was retrieved "
                "from."
            )
        raise XqgError(
            f"{name}: docid {docid!r}, ranked for topic {unknown[docid]!r}, is not among the passages"
            f"{f' ({len(unknown):,} such docids)' * (len(unknown) > 1)}. Pass the --passages that the run was "
            "retrieved from."
        )


def check_some_docids(run: Run, name: str, passages: Any) -> None:
    """Refuse a run most of whose docids a docs store does not have: a look at a hundred, as each is a look-up."""
    firsts = {next(iter(ranking)): query_id for query_id, ranking in run.items() if ranking}
    some = list(firsts)[:: max(1, len(firsts) // 100)]
    unknown = [docid for docid in some if not _has(passages, docid)]
    if len(unknown) > 1 and 2 * len(unknown) > len(some):
        raise XqgError(
            f"{name}: {len(unknown):,} of {len(some):,} docids looked up, such as {unknown[0]!r} for topic "
            f"{firsts[unknown[0]]!r}, are not among the passages: a run of another collection. Use the passages that "
            "it was retrieved from."
        )


def _has(passages: Any, docid: str) -> bool:
    try:
        return passages.get(docid) is not None
    except KeyError:
        return False

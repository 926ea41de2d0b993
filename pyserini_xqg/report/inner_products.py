"""Inner products of questions with their gold passages: the passage's own vector, each generated query, the index's.

Vectors come from a store that keeps each query's, or are made on the fly with the encoder; questions always are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Passage
from pyserini_xqg.vectors.encoding import encode_chunk
from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.report.index_vectors import IndexVectors
    from pyserini_xqg.vectors.embedding import Embedder

_PASSAGES_AT_ONCE = 64
_ROWS_AT_ONCE = 1 << 20
_CHECKED_PASSAGES = 4


@dataclass(frozen=True)
class Products:
    """Inner products of one question with one passage.

    own : with the passage's own vector. index : with its vector in the index; None without one.
    queries : language to one a generated query, in their order; the store may have fewer than the passage.
    """

    own: float
    index: float | None = None
    queries: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class PassageVectors:
    """own : (D,). queries : language to (number, D)."""

    own: np.ndarray
    queries: Mapping[str, np.ndarray]


def check_encoder(embedder: Embedder, probe: Mapping[str, Any], place: str) -> None:
    """Refuse an encoder that did not make the vectors of ``place``, whose manifest has ``probe``."""
    found = embedder.probe()
    if found["dimension"] != probe["dimension"]:
        reason = f"its vectors have {found['dimension']} dimensions, those of {place} {probe['dimension']}"
    elif (distance := probe_distance(dict(probe), found)) > TOLERANCE:
        reason = f"its vector of the probe text differs by {distance:.0%} of the length"
    else:
        return
    raise XqgError(
        f"{place}: the encoder does not fit: {reason}. The encoder is {embedder.config.describe()}. Leave --encoder "
        f"out to take that of {place}, or pass the one it was made with, with its --pooling and --l2-norm."
    )


def inner_products(
    embedder: Embedder,
    questions: Mapping[str, tuple[str, str]],
    gold: Mapping[str, Sequence[str]],
    passages: Any,
    *,
    fields: Sequence[str],
    store: EmbeddingStore | None = None,
    index: IndexVectors | None = None,
) -> dict[tuple[str, str], Products]:
    """Compare each question with its gold passages.

    Parameters
    ----------
    embedder
        The encoder.
    questions
        Query id to (text, language).
    gold
        Query id to docids.
    passages
        ``get(docid)`` returns a :class:`~pyserini_xqg.text.corpus.Passage`.
    fields
        Fields of a passage that are encoded.
    store
        Takes the vectors of passages and generated queries from here where it keeps the latter's; else they are made.
    index
        Takes the composed vectors from here.

    Returns
    -------
    (query id, docid) to :class:`Products`. Memory holds the questions' vectors, (questions, D), and those of a few
    passages.

    Raises
    ------
    XqgError
        For a store or an index without one of the passages, and a store of other texts.
    """
    asked = [query_id for query_id in questions if gold.get(query_id)]
    if not asked:
        return {}
    vectors = embedder.embed_queries([questions[query_id][0] for query_id in asked])
    askers: dict[str, list[int]] = {}
    for row, query_id in enumerate(asked):
        for docid in gold[query_id]:
            askers.setdefault(docid, []).append(row)
    found: dict[tuple[str, str], Products] = {}
    source = _stored(store, embedder, passages, askers, fields) if store else None
    if source is None:
        source = _encoded(embedder, passages, askers, fields)
    for docid, passage in source:
        for row in askers[docid]:
            question = vectors[row].astype(np.float64)
            query_id = asked[row]
            queries = {language: (some @ question).tolist() for language, some in passage.queries.items()}
            composed = index.inner_product(vectors[row], docid, questions[query_id][1]) if index else None
            found[query_id, docid] = Products(float(passage.own @ question), composed, queries)
    return found


def _encoded(
    embedder: Embedder, passages: Any, docids: Sequence[str] | Mapping[str, Any], fields: Sequence[str]
) -> Iterator[tuple[str, PassageVectors]]:
    """Embed passages with their generated queries, some at a time."""
    remaining = iter(docids)
    with progress(total=len(docids), unit="passages", description="embedding") as bar:
        while some := list(islice(remaining, _PASSAGES_AT_ONCE)):
            chosen: list[Passage] = [passages.get(docid) for docid in some]
            languages = sorted({language for passage in chosen for language in passage.queries})
            chunk = encode_chunk(embedder, chosen, languages, fields, keep_query_vectors=True)
            ends = {language: np.cumsum(chunk.counts[language]) for language in languages}
            for row, passage in enumerate(chosen):
                queries = {}
                for language in passage.queries:
                    end = int(ends[language][row])
                    queries[language] = chunk.vectors[language][end - int(chunk.counts[language][row]) : end]
                yield passage.docid, PassageVectors(chunk.passages[row], queries)
            bar.update(len(some))


def _stored(
    store: EmbeddingStore, embedder: Embedder, passages: Any, docids: Mapping[str, Any], fields: Sequence[str]
) -> Iterator[tuple[str, PassageVectors]] | None:
    """Vectors out of a store; None if it keeps no query's vector, or nobody knows the queries' texts."""
    if not store.manifest["keep_query_vectors"]:
        say(f"{store.directory}: keeps no query's vector, so the generated queries are embedded with its encoder")
        return None
    rows = _rows_of(store.docids_path, docids)
    if missing := next((docid for docid in docids if docid not in rows), None):
        raise XqgError(
            f"{store.directory}: has no passage with docid {missing!r}. Pass the store of the passages that the runs "
            "were retrieved from."
        )
    reader = _StoredVectors(store, sorted(rows.values()))
    if any(passages.get(docid).queries for docid in docids):
        for docid in docids:
            _check_counts(store, reader, passages.get(docid), rows[docid])
    else:
        say(
            f"{store.directory}: the texts of its generated queries are in none of the passages shown, so they are "
            "left out. Pass the corpus that it was encoded from as --passages, or the queries with --queries."
        )
        reader.languages = []
    _check_texts(store, reader, embedder, passages, rows, fields)
    return ((docid, reader.vectors(rows[docid])) for docid in docids)


def _rows_of(path: Path, wanted: Mapping[str, Any]) -> dict[str, int]:
    with open(path, encoding="utf-8", newline="\n") as lines:
        return {docid: row for row, line in enumerate(lines) if (docid := line.rstrip("\n")) in wanted}


class _StoredVectors:
    """The vectors of some rows of a store, which is mapped; ``rows`` in order."""

    def __init__(self, store: EmbeddingStore, rows: Sequence[int]) -> None:
        self.languages = store.languages
        self._passages = store.array("passages")
        self._counts = {language: store.array(f"count.{language}") for language in self.languages}
        self._vectors = {language: store.array(f"vectors.{language}") for language in self.languages}
        self._first = {language: _first_query(self._counts[language], rows) for language in self.languages}

    def count(self, language: str, row: int) -> int:
        """How many queries a passage has."""
        return int(self._counts[language][row])

    def vectors(self, row: int) -> PassageVectors:
        """All vectors of a passage, in float64, which makes inner products independent of their order."""
        queries = {}
        for language in self.languages:
            if number := self.count(language, row):
                first = self._first[language][row]
                queries[language] = np.asarray(self._vectors[language][first : first + number], dtype=np.float64)
        return PassageVectors(np.asarray(self._passages[row], dtype=np.float64), queries)


def _first_query(counts: np.ndarray, rows: Sequence[int]) -> dict[int, int]:
    """Where the queries of each row begin, reading the counts in blocks."""
    first: dict[int, int] = {}
    done, row = 0, 0
    for wanted in rows:
        while row < wanted:
            end = min(wanted, row + _ROWS_AT_ONCE)
            done += int(counts[row:end].sum(dtype=np.int64))
            row = end
        first[wanted] = done
    return first


def _check_counts(store: EmbeddingStore, reader: _StoredVectors, passage: Passage, row: int) -> None:
    most = store.manifest["max_queries"]
    for language in reader.languages:
        there, here = reader.count(language, row), len(passage.queries.get(language, ()))
        if there != (here if most is None else min(here, most)):
            raise XqgError(
                f"{store.directory}: has {there} generated queries in {language!r} for docid {passage.docid!r}, the "
                f"passages {here}. Pass the corpus that it was encoded from as --passages (its queries as --queries)."
            )


def _check_texts(
    store: EmbeddingStore,
    reader: _StoredVectors,
    embedder: Embedder,
    passages: Any,
    rows: Mapping[str, int],
    fields: Sequence[str],
) -> None:
    """Embed a few passages again, for a store of other texts would show numbers that mean nothing."""
    for docid, fresh in _encoded(embedder, passages, list(islice(rows, _CHECKED_PASSAGES)), fields):
        kept = reader.vectors(rows[docid])
        pairs = [("text", fresh.own[None], kept.own[None])]
        for language, vectors in kept.queries.items():
            pairs.append((f"generated queries in {language!r}", fresh.queries[language][: len(vectors)], vectors))
        for what, expected, found in pairs:
            lengths = np.maximum(np.linalg.norm(expected, axis=1), 1e-9)
            if (np.linalg.norm(expected - found, axis=1) > TOLERANCE * lengths).any():
                raise XqgError(
                    f"{store.directory}: its vectors are not those of the {what} of docid {docid!r}. Pass the store "
                    "that was encoded from these passages and queries."
                )

"""Text augmentation: a corpus whose passages have their generated queries appended, doc2query style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from pyserini_xqg.text.corpus import Corpus, CorpusSummary
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.vectors.settings import compose_passages

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder


def append_queries(text: str, passage: Passage, languages: Sequence[str] | None = None) -> str:
    """``text`` and the passage's queries, separated by blanks: each language's first query, then each second one, …

    In this order, so that a limit of tokens does not leave the last languages without any.

    >>> passage = Passage("7", "", "A text.", {"fi": ["Mikä?", "Missä?"], "sv": ["Vad?"]})
    >>> append_queries(passage.text, passage), append_queries(passage.text, passage, ["fi"])
    ('A text. Mikä? Vad? Missä?', 'A text. Mikä? Missä?')
    """
    chosen = [passage.queries.get(code, ()) for code in (passage.queries if languages is None else languages)]
    return " ".join([text, *(query for turn in zip_longest(*chosen) for query in turn if query is not None)])


class ExpandedCorpus(Corpus):
    """A corpus of the same passages with their queries in their text, in the corpus's order, and none beside it."""

    def __init__(self, corpus: Corpus) -> None:
        self.__dict__.update(corpus.__dict__)
        self._corpus = corpus
        self.languages = None  # a scan would look for these beside the text

    def file_state(self) -> list[Any] | None:
        """As the corpus's own."""
        return self._corpus.file_state()

    def scan(self) -> CorpusSummary:
        """As :meth:`Corpus.scan`, of the expanded passages; none of them lacks queries beside its text."""
        return replace(super().scan(), passages_without_queries=0)

    def _select(self, passage: Passage) -> Passage:
        chosen = self._corpus._select(passage)
        return Passage(passage.docid, passage.title, append_queries(passage.text, chosen), {}, passage.where)


def count_truncation(corpus: Corpus, embedder: Embedder, fields: Sequence[str], batch: int = 512) -> dict[str, Any]:
    """What the encoder's limit of tokens cuts off the expanded passages of ``corpus``.

    Returns ``passages``, how many of them are ``cut``, and ``queries_kept``: the share of the queries' tokens that the
    encoder sees.
    """
    passages = cut = appended = kept = 0
    stream = iter(corpus)
    while chunk := list(islice(stream, batch)):
        plain = _inputs(chunk, [passage.text for passage in chunk], embedder, fields)
        expanded = _inputs(chunk, [append_queries(passage.text, passage) for passage in chunk], embedder, fields)
        lengths = [map(len, embedder.tokenizer(texts, verbose=False)["input_ids"]) for texts in (plain, expanded)]
        seen = map(len, embedder.tokenize(expanded, embedder.config.max_length))
        for without, whole, taken in zip(*lengths, seen, strict=True):
            passages += 1
            cut += taken < whole
            appended += whole - without
            kept += max(0, taken - without)
    return {"passages": passages, "cut": cut, "queries_kept": kept / appended if appended else 1.0}


def _inputs(passages: Sequence[Passage], texts: Sequence[str], embedder: Embedder, fields: Sequence[str]) -> list[str]:
    """What the encoder is given for each passage with this text, as in ``encode_chunk``."""
    titles = [passage.title for passage in passages] if "title" in fields else None
    return compose_passages(texts if "text" in fields else [""] * len(texts), titles, embedder.config.prefix)

"""What a comparison is made from: corpus, store, encoder, topics, checked against one another before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pyserini_xqg.compare.systems import System
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus, CorpusSummary
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder


@dataclass(frozen=True)
class Topics:
    """texts : topic to question. languages : topic to language; empty where they are not known."""

    texts: Mapping[str, str]
    languages: Mapping[str, str]

    def __post_init__(self) -> None:
        if not self.texts:
            raise XqgError("no topics to search with. Pass --topics: a TSV of topic<TAB>query, or irds:<dataset-id>.")
        if self.languages and (unknown := next((topic for topic in self.texts if topic not in self.languages), None)):
            raise XqgError(f"topic {unknown!r}: no language given for it. Add it to --topic-languages.")

    @property
    def present_languages(self) -> list[str]:
        """The topics' languages, sorted."""
        return sorted({self.languages[topic] for topic in self.texts}) if self.languages else []

    @cached_property
    def sha256(self) -> str:
        """Identifies texts, languages and their order."""
        rows = [[topic, text, self.languages.get(topic)] for topic, text in self.texts.items()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is loaded: its configuration and what does not decide the vectors' meaning.

    precision is one of :data:`pyserini_xqg.vectors.settings.PRECISIONS`; threads None for all cores.
    """

    config: EncoderConfig
    precision: str
    device: str = "auto"
    batch_tokens: int | None = None
    threads: int | None = None

    def load(self, **changes: Any) -> Embedder:
        """The encoder; ``changes`` are settings of its configuration, and ``precision``."""
        import torch

        from pyserini_xqg.vectors.embedding import Embedder

        if self.threads:
            torch.set_num_threads(self.threads)
        precision = changes.pop("precision", self.precision)
        return Embedder(self.config.replace(**changes), self.device, self.batch_tokens, precision)


class Inputs:
    """Corpus, store, encoder and topics of a comparison.

    Parameters
    ----------
    topics
        What is searched for.
    encoder
        That of the store, or of the one to be made.
    store
        With the passages' vectors and their queries'; None if it is to be made from ``corpus``.
    corpus
        Passages with their queries; None if there is only a store.
    fields
        Those of a passage that count; a store's own go before them.

    Raises
    ------
    XqgError
        If there is neither a store nor a corpus, and if the store was made from another corpus.
    """

    def __init__(
        self,
        topics: Topics,
        encoder: EncoderOptions,
        store: EmbeddingStore | None,
        corpus: Corpus | None,
        fields: Sequence[str],
    ) -> None:
        if store is None and corpus is None:
            raise XqgError("nothing to search: pass --corpus with --encoder, or --store.")
        self.topics, self.encoder, self.store, self.corpus = topics, encoder, store, corpus
        self.fields = list(store.manifest["fields"]) if store else list(fields)
        self.summary: CorpusSummary | None = None
        if corpus is not None:
            self.summary = corpus.scan()
            if store and self.summary.sha256 != store.manifest["corpus"]["sha256"]:
                raise XqgError(
                    f"{store.directory}: made from other passages or queries than --corpus {corpus.source}. Pass the "
                    "corpus (and --queries, --languages, --max-queries) that it was encoded from, or encode again."
                )

    @property
    def languages(self) -> list[str]:
        """Languages that passages have queries in."""
        return self.store.languages if self.store else list(self.summary.queries)

    @property
    def passages(self) -> int:
        """Number of passages."""
        return self.store.passages if self.store else self.summary.passages

    def identity(self) -> dict[str, Any]:
        """What decides the vectors of passages and queries, as JSON values."""
        known = {
            "encoder": self.encoder.config.to_dict(),
            "precision": self.encoder.precision,
            "fields": self.fields,
            "corpus_sha256": self.store.manifest["corpus"]["sha256"] if self.store else self.summary.sha256,
        }
        if self.store:
            known |= {"probe": self.store.manifest["probe"], "dtype": self.store.manifest["dtype"]}
        return known

    def lacking(self, system: System, analysis: str) -> str | None:
        """What is missing for a single system, with the cure; None if nothing is."""
        if system.lexical:
            return self._lacking_lexical(system.lexical, analysis)
        if system.dense == "none":
            return None
        if not self.languages:
            return "the passages have no generated queries. Generate some with pyserini_xqg.generate."
        if system.dense == "text":
            return self._without_corpus("queries are appended to texts")
        if system.dense == "multi-vector":
            if self.store and not self.store.manifest["keep_query_vectors"]:
                return self._without_corpus(f"{self.store.directory} keeps sums of query vectors only")
            return None
        if system.routes:
            return self._lacking_route()
        return self._not_from_store(system.dense)

    def _without_corpus(self, why: str) -> str | None:
        return None if self.corpus is not None else f"{why}, so --corpus is needed."

    def _not_from_store(self, aggregate: str, route: bool = False) -> str | None:
        if self.store:
            try:
                self.store.check_use(aggregate, None, route=route)
            except XqgError as error:
                return str(error)
        return None

    def _lacking_route(self) -> str | None:
        if not self.topics.languages:
            return "the topics' languages are not known. Pass --topic-languages."
        if without := [code for code in self.topics.present_languages if code not in self.languages]:
            return (
                f"topics are in {', '.join(without)}, in which no passage has queries (they have "
                f"{', '.join(self.languages)}). Leave those topics out, or generate queries in that language."
            )
        return self._not_from_store("mean", route=True)

    def _lacking_lexical(self, name: str, analysis: str) -> str | None:
        if missing := self._without_corpus("BM25 searches texts"):
            return missing
        if name == "doc2query":
            if not self.languages:
                return "the passages have no generated queries. Generate some with pyserini_xqg.generate."
            if analysis == "language" and not self.topics.languages:
                return "the topics' languages are not known. Pass --topic-languages, or --bm25-analysis en."
        return None

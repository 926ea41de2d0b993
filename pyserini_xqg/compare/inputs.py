"""What a comparison is made from: corpus, stores, encoder, topics, checked against one another before any work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.stores import NO_QUERIES, PlannedStore, check_point, describe_store, open_stores
from pyserini_xqg.compare.systems import DOC2QUERY, TEXT, System
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.datasets.ids import IRDS_PREFIX
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.text.corpus import Corpus, CorpusSummary
from pyserini_xqg.text.topics import question_texts
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

STORE = "store"
"""The name of the only store, which is encoded from the corpus."""
_NO_LANGUAGES = "the topics' languages are not known. Pass --topic-languages."


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


def read_topics(options: CompareOptions, collection: Collection) -> Topics:
    """The topics to search with: those of the collection, no fewer and no others."""
    dataset, answers = options.collection.dataset, options.collection.answers
    texts = question_texts(dataset, answers, options.topics)
    source = ", ".join(options.topics) or dataset or answers
    for topic in texts:
        if topic not in collection.topics:
            raise XqgError(
                f"{source}: topic {topic!r} is not in {collection.name}. Pass the collection's own --topics, or name "
                "the topic in --topic-languages to leave it out of the scores."
            )
    counting = {qrel.query_id for qrel in collection.qrels or ()} | (collection.answers or {}).keys()
    if texts and (missing := sorted(counting - texts.keys())):
        raise XqgError(
            f"{collection.name}: {len(missing):,} of its topics have no text in {source} (such as {missing[0]}), and "
            "would count 0 in every row. Pass all --topics, or a collection of these alone."
        )
    return Topics(texts, {topic: collection.languages[topic] for topic in texts if topic in collection.languages})


@dataclass
class Inputs:
    """Stores, corpus, encoder and topics of a comparison.

    stores : name to store; a :class:`PlannedStore` until the corpus is encoded. config, device : the first store's
    encoder, and how it is loaded; ``device.dtype`` is a precision, not auto. corpus, summary : passages with their
    queries, and what is in them; None if there are stores only. fields : those of a passage that count.
    is_given : whether the stores were given, not encoded from the corpus.
    """

    topics: Topics
    stores: dict[str, EmbeddingStore | PlannedStore]
    config: EncoderConfig
    device: DeviceOptions
    corpus: Corpus | None
    summary: CorpusSummary | None
    fields: Sequence[str]
    is_given: bool = True

    def store_name(self, system: System) -> str:
        """The name of the store whose vectors a system searches."""
        return system.store or next(iter(self.stores))

    def store_of(self, system: System) -> EmbeddingStore | PlannedStore:
        """The store whose vectors a system searches."""
        return self.stores[self.store_name(system)]

    def config_of(self, store: Any) -> EncoderConfig:
        """The encoder of a store; of the first, and of those made here, from where it is now."""
        others = list(self.stores.values())[1:]
        return store.encoder if any(store is other for other in others) else self.config

    def identity(self, store: EmbeddingStore | PlannedStore | None = None) -> dict[str, Any]:
        """What decides the vectors of a store (default: the first), as JSON values."""
        if self.is_given:
            return describe_store(store or next(iter(self.stores.values())))
        return {
            "encoder": self.config.to_dict(),
            "precision": self.device.dtype,
            "fields": list(self.fields),
            "corpus_sha256": self.summary.sha256,
        }

    def check(self, system: System, analysis: str) -> None:
        """Raise :class:`XqgError` for what a single system lacks, with the cure. analysis : ``--bm25-analysis``."""
        if system.lexical:
            self._check_lexical(system.lexical, analysis)
            return
        store = self.store_of(system)
        if system.point:
            check_point(store, system.point)
            if system.point.recipe.route and not self.topics.languages:
                raise XqgError(_NO_LANGUAGES)
        elif not store.languages:
            raise XqgError(NO_QUERIES)
        elif system.dense == TEXT:
            if len(self.stores) > 1:
                raise XqgError("texts are encoded with one encoder, and there are several stores. Pass one.")
            self._check_corpus("queries are appended to texts")
        elif not store.manifest["keep_query_vectors"]:
            raise XqgError(
                f"{store.directory} keeps sums of query vectors only. Encode again with --keep-query-vectors."
            )

    def _check_corpus(self, why: str) -> None:
        if self.corpus is None:
            raise XqgError(f"{why}, so --corpus is needed.")

    def _check_lexical(self, name: str, analysis: str) -> None:
        from pyserini_xqg.core import java

        if java.find_java() is None:
            raise XqgError(java.NO_JAVA)
        self._check_corpus("BM25 searches texts")
        if name == DOC2QUERY:
            if not self.summary.queries:
                raise XqgError(NO_QUERIES)
            if analysis == "language" and not self.topics.languages:
                raise XqgError(f"{_NO_LANGUAGES.removesuffix('.')}, or --bm25-analysis en.")


def open_inputs(options: CompareOptions, topics: Topics) -> Inputs:
    """Stores, corpus and encoder that the options name, checked against one another.

    Raises :class:`XqgError` if there is neither a store nor a corpus, and if a store was made from another corpus.
    """
    from pyserini_xqg.vectors.settings import choose_precision, resolve_device

    stores: dict[str, Any] = open_stores(options.store)
    first = next(iter(stores.values()), None)
    corpus = _open_corpus(options, first)
    summary = corpus.scan() if corpus is not None else None
    for store in stores.values():
        if summary and summary.sha256 != store.manifest["corpus"]["sha256"]:
            raise XqgError(
                f"{store.directory}: made from other passages or queries than --corpus {corpus.source}. Pass the "
                "corpus (and --queries) that it was encoded from, or encode again."
            )
    device = options.device
    if first:
        config = first.encoder.replace(model=options.encoder.encoder) if options.encoder.encoder else first.encoder
        precision = first.manifest["precision"] if device.dtype == "auto" else device.dtype
    else:
        config = options.encoder.config()
        precision = choose_precision(device.dtype, resolve_device(device.device))
        output = Path(options.output) / "work" / STORE
        stores[STORE] = PlannedStore(output, config, list(summary.queries), summary.passages)
    fields = first.manifest["fields"] if first else list(options.corpus.fields)
    return Inputs(topics, stores, config, replace(device, dtype=precision), corpus, summary, fields, bool(first))


def _open_corpus(options: CompareOptions, store: EmbeddingStore | None) -> Corpus | None:
    """The corpus, if there is one, with the queries that the store was made from."""
    dataset = options.collection.dataset
    source = options.corpus.corpus or (IRDS_PREFIX + dataset if dataset and _has_passages(dataset) else None)
    if source is None:
        if options.corpus.queries:
            raise XqgError("--queries goes with --corpus: a store has its queries already.")
        if store is None:
            raise XqgError("nothing to search: pass --corpus with --encoder, or --store.")
        return None
    if store is None:
        return Corpus(source, options.corpus.queries)
    return Corpus(source, options.corpus.queries, store.languages or None, store.manifest["max_queries"])


def _has_passages(dataset_id: str) -> bool:
    from pyserini_xqg.datasets import load

    return load(dataset_id).has_docs()

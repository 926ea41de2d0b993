"""Makes the runs of a comparison, each of its pieces once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.compare import expanded_text, multi_vector
from pyserini_xqg.compare.fusing import Fusion, Ranking
from pyserini_xqg.compare.inputs import Inputs
from pyserini_xqg.compare.lexical import (
    LexicalSearch,
    LuceneIndex,
    build_lucene_index,
    languages_without_analyzer,
    plan_indexes,
    quiet_lucene,
)
from pyserini_xqg.compare.runs import median_milliseconds, read_ranked, write_run
from pyserini_xqg.compare.systems import NONE, System
from pyserini_xqg.compare.workplace import Workplace, directory_size
from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import write_whole
from pyserini_xqg.vectors.building import build_index
from pyserini_xqg.vectors.recipe import PAPER_ALPHA, Recipe
from pyserini_xqg.vectors.store import EmbeddingStore

TEXT = "text"
MULTI_VECTOR = "multi-vector"


@dataclass(frozen=True)
class Settings:
    """Everything that can be chosen of the systems.

    sum_alpha, mean_alpha, routed_alpha : weight of the queries, 0 to 1.
    text_max_length : tokens kept of a passage with its queries; None for the encoder's own limit of passages.
    delimiter : between docid and number in the names of a multi-vector index's entries.
    analysis, k1, b : of BM25, see :mod:`pyserini_xqg.compare.lexical`.
    hits : passages a topic. threads : of FAISS and of Lucene.
    repeat, timed_topics : each of so many topics is searched so often, one at a time, for the times.
    """

    sum_alpha: float = PAPER_ALPHA
    mean_alpha: float = 0.8
    routed_alpha: float = 0.8
    text_max_length: int | None = None
    delimiter: str = multi_vector.DELIMITER
    analysis: str = "language"
    k1: float = 0.9
    b: float = 0.4
    fusion: Fusion = field(default_factory=Fusion)
    hits: int = 100
    threads: int = 1
    repeat: int = 5
    timed_topics: int = 100

    def recipe(self, dense: str) -> Recipe:
        """How :mod:`pyserini_xqg.index` makes the index of an embedding augmentation."""
        recipes = {
            NONE: Recipe(alpha=0.0, normalize=False),
            "sum": Recipe(alpha=self.sum_alpha, aggregate="sum", normalize=False),
            "mean": Recipe(alpha=self.mean_alpha, aggregate="mean", normalize=False),
            "routed": Recipe(alpha=self.routed_alpha, aggregate="mean", normalize=False, route=True),
            "routed-normalized": Recipe(alpha=self.routed_alpha, aggregate="mean", normalize=True, route=True),
        }
        return recipes[dense]


@dataclass(frozen=True)
class Result:
    """What is remembered of a system: bytes of its indexes, and milliseconds of a topic's search and its encoding."""

    index_bytes: int
    search_ms: float
    encode_ms: float | None


@contextmanager
def _torch_threads(number: int) -> Iterator[None]:
    """Encode with so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Comparison:
    """The systems' runs, made in a :class:`Workplace` from :class:`Inputs`."""

    def __init__(self, place: Workplace, inputs: Inputs, settings: Settings) -> None:
        self._place, self._inputs, self._settings = place, inputs, settings

    # What each piece is made with. Compared before any work is done, so nothing here opens a model.

    def check(self, systems: list[System]) -> None:
        """Refuse to continue a comparison that was begun with other settings."""
        if not self._inputs.store:
            self._place.check("store", self._inputs.identity())
        for system in systems:
            for part in {one.name: one for one in [*system.parts, system]}.values():
                self._place.check(f"run.{part.name}", self._run_settings(part))

    def _run_settings(self, system: System) -> dict[str, Any]:
        settings = self._settings
        if system.is_fused:
            parts = [self._run_settings(part) for part in system.parts]
            return {"dense": parts[0], "lexical": parts[1], "fusion": settings.fusion.settings}
        made = self._lexical_settings(system.lexical) if system.lexical else self._dense_settings(system.dense)
        return {
            **made,
            "topics_sha256": self._inputs.topics.sha256,
            **{name: getattr(settings, name) for name in ("hits", "threads", "repeat", "timed_topics")},
        }

    def _dense_settings(self, dense: str) -> dict[str, Any]:
        settings, vectors = self._settings, self._inputs.identity()
        if dense == TEXT:
            return {"vectors": vectors, "text_max_length": settings.text_max_length}
        if dense == MULTI_VECTOR:
            return {"vectors": vectors, "max_passage_delimiter": settings.delimiter}
        recipe = settings.recipe(dense)
        made = {"alpha": recipe.alpha, "aggregate": recipe.aggregate, "normalize": recipe.normalize}
        return {"vectors": vectors, **made}

    def _lexical_settings(self, lexical: str) -> dict[str, Any]:
        settings, inputs = self._settings, self._inputs
        made = {
            "corpus_sha256": inputs.summary.sha256,
            "fields": inputs.fields,
            "bm25_analysis": settings.analysis,
            "k1": settings.k1,
            "b": settings.b,
        }
        if settings.analysis == "wordpiece":
            made["tokenizer"] = inputs.encoder.config.tokenizer or inputs.encoder.config.model
        return made

    # The pieces.

    def run(self, system: System) -> Result:
        """Make the run of a system, if it is not there yet; returns what was measured."""
        path = self._run_path(system)

        def make() -> dict[str, Any]:
            search = self._fuse if system.is_fused else self._search_lexical if system.lexical else self._search_dense
            run, result = search(system)
            write_run(path, run, system.name, None if system.is_fused else 6)
            say(f"{path}: written")
            return asdict(result)

        return Result(**self._place.piece(f"run.{system.name}", self._run_settings(system), make, path))

    def read(self, system: System) -> dict[str, Ranking]:
        """The run of a system, from its file."""
        return read_ranked(self._run_path(system))

    def _run_path(self, system: System) -> Path:
        return self._place.runs / f"{system.name}.txt"

    @cached_property
    def store(self) -> EmbeddingStore:
        """The store of passages' and queries' vectors, made first if none was given."""
        if self._inputs.store:
            return self._inputs.store
        return self._encoded("store", self._inputs.identity())

    @cached_property
    def _store_with_query_vectors(self) -> EmbeddingStore:
        if self.store.manifest["keep_query_vectors"]:
            return self.store
        return self._encoded("query-vectors", {**self._inputs.identity(), "keep_query_vectors": True})

    def _encoded(self, name: str, settings: dict[str, Any]) -> EmbeddingStore:
        """The corpus's store with each query's vector, under ``work/``; continued if a crash interrupted it."""
        from pyserini_xqg.vectors.encoding import encode_corpus

        inputs, output = self._inputs, self._place.work / name

        def make() -> dict[str, Any]:
            embedder = inputs.encoder.load()
            encode_corpus(inputs.corpus, embedder, output, fields=inputs.fields, keep_query_vectors=True, reuse=True)
            return {}

        self._place.piece(name, settings, make, output)
        return EmbeddingStore(output)

    @cached_property
    def _text_store(self) -> EmbeddingStore:
        from pyserini_xqg.vectors.encoding import encode_corpus

        inputs, output = self._inputs, self._place.work / "text-store"
        limit = self._settings.text_max_length or inputs.encoder.config.max_length

        def make() -> dict[str, Any]:
            embedder = inputs.encoder.load(max_length=limit)
            expanded = expanded_text.ExpandedCorpus(inputs.corpus)
            encode_corpus(expanded, embedder, output, fields=inputs.fields, reuse=True)
            return expanded_text.count_truncation(inputs.corpus, embedder, inputs.fields)

        self._place.piece("text-store", self._dense_settings(TEXT), make, output)
        return EmbeddingStore(output)

    @property
    def truncation(self) -> dict[str, Any] | None:
        """What the encoder's limit cut off the texts with queries, once ``text`` was run: see ``count_truncation``."""
        return self._place.result("text-store")

    @cached_property
    def _topics(self) -> tuple[dict[str, np.ndarray], float]:
        """Topic to vector, float32, and the median milliseconds that encoding one takes."""
        inputs, path = self._inputs, self._place.work / "topics.npy"
        texts = list(inputs.topics.texts.values())

        def make() -> dict[str, Any]:
            embedder = inputs.encoder.load(precision="float32")  # as Pyserini's search encodes queries
            self._check_encoder(embedder)
            with write_whole(path, "wb") as out:
                np.save(out, embedder.embed_queries(texts))
            with _torch_threads(self._settings.threads):
                time = median_milliseconds(
                    lambda text: embedder.embed_queries([text]),
                    texts,
                    self._settings.repeat,
                    self._settings.timed_topics,
                )
            return {"milliseconds": time}

        settings = {
            "encoder": inputs.encoder.config.to_dict(),
            "topics_sha256": inputs.topics.sha256,
            "threads": self._settings.threads,
            "repeat": self._settings.repeat,
            "timed_topics": self._settings.timed_topics,
        }
        noted = self._place.piece("topics", settings, make, path)
        return dict(zip(inputs.topics.texts, np.load(path), strict=True)), noted["milliseconds"]

    def _check_encoder(self, embedder: Any) -> None:
        from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance

        distance = probe_distance(self.store.manifest["probe"], embedder.probe())
        if distance > TOLERANCE:
            raise XqgError(
                f"{self.store.directory}: {embedder.config.describe()} is not its encoder (the vector of a known text "
                f"differs by {distance:.0%}). Pass --encoder the model that the store was made with."
            )

    def _search_dense(self, system: System) -> tuple[dict[str, Ranking], Result]:
        from pyserini_xqg.compare.dense import DenseSearch

        settings, inputs = self._settings, self._inputs
        directory = self._place.work / "indexes" / system.dense
        vectors, encode_ms = self._topics  # first: they find out an encoder that is not the store's
        self._place.piece(
            f"index.{system.dense}",
            self._dense_settings(system.dense),
            lambda: self._build_dense(system.dense, directory),
            directory,
        )
        places, more = self._how_to_search(system, directory)
        search = DenseSearch(places, inputs.topics.languages, settings.hits, settings.threads, **more)
        run = search.run(vectors)
        time = search.milliseconds(vectors, settings.repeat, settings.timed_topics)
        return run, Result(directory_size(directory), time, encode_ms)

    def _build_dense(self, dense: str, directory: Path) -> dict[str, Any]:
        settings = self._settings
        if dense == MULTI_VECTOR:
            store = self._store_with_query_vectors
            multi_vector.build_multi_vector_index(store, directory, settings.delimiter, overwrite=True)
        elif dense == TEXT:
            build_index(self._text_store, directory, settings.recipe(NONE), overwrite=True)
        elif System(dense, None).routes:
            build_index(self.store, directory, settings.recipe(dense), overwrite=True)
        else:
            build_index(self.store, directory, settings.recipe(dense), overwrite=True)
        return {}

    def _how_to_search(self, system: System, directory: Path) -> tuple[dict[str | None, Path], dict[str, Any]]:
        """The index's directories by language, and what a search of it takes beside that."""
        if system.routes:
            return {code: directory / code for code in self._inputs.topics.present_languages}, {}
        if system.dense != MULTI_VECTOR:
            return {None: directory}, {}
        store = self._store_with_query_vectors
        entries = store.passages + sum(store.manifest["corpus"]["queries"].values())
        needed = multi_vector.hits_needed(self._settings.hits, multi_vector.most_entries(store), entries)
        return {None: directory}, {"entries": needed, "delimiter": self._settings.delimiter}

    def _search_lexical(self, system: System) -> tuple[dict[str, Ranking], Result]:
        settings, inputs = self._settings, self._inputs
        directory = self._place.work / "lucene" / system.lexical
        quiet_lucene()
        plan = plan_indexes(
            system.lexical,
            settings.analysis,
            inputs.topics.present_languages,
            inputs.languages,
            self._tokenizer.tokenize if settings.analysis == "wordpiece" else str.split,
        )
        places = {code: directory / (code or "all") for code in plan}
        for code, index in plan.items():
            self._place.piece(
                f"index.{system.lexical}.{places[code].name}",
                self._lexical_settings(system.lexical),
                partial(self._build_lexical, index, places[code]),
                places[code],
            )
        if without := languages_without_analyzer(code for code in plan if code):
            say(f"{system.name}: Lucene has no analysis of {', '.join(without)}; the English one is used")
        indexes = {code: (places[code], index.analysis) for code, index in plan.items()}
        search = LexicalSearch(
            indexes, inputs.topics.languages, settings.hits, settings.threads, settings.k1, settings.b
        )
        run = search.run(inputs.topics.texts)
        time = search.milliseconds(inputs.topics.texts, settings.repeat, settings.timed_topics)
        return run, Result(directory_size(directory), time, None)

    def _build_lexical(self, index: LuceneIndex, directory: Path) -> dict[str, Any]:
        build_lucene_index(self._inputs.corpus, directory, index, self._inputs.fields, self._settings.threads)
        return {}

    @cached_property
    def _tokenizer(self) -> Any:
        return self._inputs.encoder.load().tokenizer

    def _fuse(self, system: System) -> tuple[dict[str, Ranking], Result]:
        dense, lexical = map(self.run, system.parts)
        first, second = map(self.read, system.parts)
        fused, seconds = self._settings.fusion.fuse(first, second, self._settings.hits)
        run = {topic: fused.get(topic, []) for topic in self._inputs.topics.texts}
        time = dense.search_ms + lexical.search_ms + 1e3 * seconds / len(run)
        return run, Result(dense.index_bytes + lexical.index_bytes, time, dense.encode_ms)

"""Makes the runs of a comparison, each of its pieces once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.compare import expanded_text, lexical, multi_vector, search
from pyserini_xqg.compare.grid import Point
from pyserini_xqg.compare.inputs import STORE, Inputs
from pyserini_xqg.compare.runs import Ranking, directory_size, median_milliseconds, read_ranked, write_run
from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.stores import kept_queries
from pyserini_xqg.compare.systems import MULTI_VECTOR, PLAIN, TEXT, System
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.job import Job
from pyserini_xqg.core.kinds import Kind
from pyserini_xqg.vectors.recipe import RECIPES
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyserini_xqg.vectors.embedding import Embedder

COMPARISON_KIND = Kind("comparison", "comparison.json", "pyserini-xqg comparison", 2, "pyserini_xqg.compare")
LISTED = ("pieces/", "runs/", "work/")
"""Directories of a comparison: notes of what is made, the TREC runs, stores and indexes."""


@dataclass(frozen=True)
class Cost:
    """Bytes of the indexes that a system searches, and milliseconds of a topic's search and of its encoding."""

    index_bytes: int
    search_ms: float
    encode_ms: float | None


class SystemRuns:
    """The systems' runs, made in a :class:`Job` from :class:`Inputs`."""

    def __init__(self, job: Job, inputs: Inputs, options: CompareOptions) -> None:
        self._job, self._inputs, self._options = job, inputs, options
        self._work, self._runs = job.directory / "work", job.directory / "runs"
        self._vectors: dict[EncoderConfig, tuple[np.ndarray, dict[str, Any]]] = {}

    @property
    def directory(self) -> Path:
        """Where all of it lies."""
        return self._job.directory

    # What each piece is made with. Compared before any work is done, so nothing here opens a model.

    def check(self, systems: Sequence[System]) -> None:
        """Refuse to continue a comparison that was begun with other settings."""
        if not self._inputs.is_given:
            self._job.check_piece(STORE, self._inputs.identity())
        for part in {part.name: part for system in systems for part in [*system.parts, system]}.values():
            self._job.check_piece(f"run.{part.name}", self._run_settings(part))

    def _run_settings(self, system: System) -> dict[str, Any]:
        if system.is_fused:
            parts = [self._run_settings(part) for part in system.parts]
            return {"dense": parts[0], "lexical": parts[1], "fusion": self._options.fusion.settings}
        made = self._lexical_settings(system.lexical) if system.lexical else self._dense_settings(system)
        return {**made, "topics_sha256": self._inputs.topics.sha256, "hits": self._options.search.hits}

    def _dense_settings(self, system: System) -> dict[str, Any]:
        options = self._options.search
        vectors = self._inputs.identity(self._inputs.stores[self._inputs.store_name(system)])
        if system.kind == TEXT:
            return {"vectors": vectors, "text_max_length": options.text_max_length}
        if system.kind == MULTI_VECTOR:
            return {"vectors": vectors, "max_passage_delimiter": options.max_passage_delimiter}
        point = system.point.searched
        made = {factor: point.cell(factor) for factor in ("aggregate", "languages", "max-queries", "filter", "route")}
        return {
            "vectors": vectors,
            "alpha": point.recipe.alpha,
            "normalize": point.recipe.normalize,
            "language_removal": point.recipe.language_removal,
            **made,
        }

    def _lexical_settings(self, name: str) -> dict[str, Any]:
        options, inputs = self._options.lexical, self._inputs
        made = {"corpus_sha256": inputs.summary.sha256, "fields": list(inputs.fields), **asdict(options)}
        if options.bm25_analysis == "wordpiece":
            made["tokenizer"] = inputs.config.tokenizer or inputs.config.model
        return made

    # The pieces.

    def make(self, systems: Sequence[System]) -> None:
        """Make the runs that are not there yet; check those that are."""
        parts = {part.name: part for system in systems for part in system.parts}
        parts |= {system.name: system for system in systems}
        todo = [part for part in parts.values() if not self._is_made(part)]
        say(f"{self._job.output}: {len(parts)} runs, {len(parts) - len(todo)} of them done")
        for part in parts.values():
            if part not in todo:
                self._piece(part, None)
        self._search_points([part for part in todo if part.point and not part.is_fused])
        for part in todo:
            if part.is_fused:
                dense, other = map(self.read, part.parts)
                fused, seconds = self._options.fusion.fuse(dense, other, self._options.search.hits)
                run = {topic: fused.get(topic, []) for topic in self._inputs.topics.texts}
                self._piece(part, run, {"fusing_ms": 1e3 * seconds / len(run)}, digits=None)
            elif part.lexical:
                self._piece(part, self._lexical_search(part.lexical).run(self._inputs.topics.texts))
            elif part.kind == MULTI_VECTOR:
                self._piece(part, self._by_topic(self._search_entries(part)))
            elif part.kind == TEXT:
                store, plain = self._text_store, Point(STORE, RECIPES[PLAIN]).searched
                with progress(total=store.passages, unit="passages", description=part.name) as bar:
                    ((_, rankings),) = search.search_points(
                        store, [plain], self._topics(store), self._options.search.hits, bar
                    )
                self._piece(part, self._by_topic(rankings))

    def read(self, system: System) -> dict[str, Ranking]:
        """The run of a system, from its file."""
        return read_ranked(self.run_path(system.name))

    def run_path(self, name: str) -> Path:
        """The file of a run."""
        return self._runs / f"{name}.txt"

    def _is_made(self, system: System) -> bool:
        return self._job.noted(f"run.{system.name}") is not None and self.run_path(system.name).exists()

    def _piece(
        self,
        system: System,
        run: Mapping[str, Ranking] | None,
        result: dict[str, Any] | None = None,
        digits: int | None = 6,
    ) -> None:
        path = self.run_path(system.name)

        def make() -> dict[str, Any]:
            write_run(path, run, system.name, digits)
            say(f"{path}: written")
            return result or {}

        self._job.piece(f"run.{system.name}", self._run_settings(system), make, path)

    def _by_topic(self, rankings: Sequence[Ranking]) -> dict[str, Ranking]:
        return dict(zip(self._inputs.topics.texts, rankings, strict=True))

    def _search_points(self, systems: Sequence[System]) -> None:
        """Search what is composed from stores; points that read the same queries share a pass."""
        of_point: dict[Point, list[System]] = {}
        for system in systems:
            of_point.setdefault(system.point.searched, []).append(system)
        together = search.passes(of_point)
        if not together:
            return
        stores = {name: self.store(name) for name in {points[0].store for points in together}}
        total = sum(stores[points[0].store].passages for points in together)
        with progress(total=total, unit="passages", description=f"searching {len(of_point)} points") as bar:
            for points in together:
                name = points[0].store
                keep = kept_queries(stores[name], points[0], self._work / "scores" / name)
                topics, hits = self._topics(stores[name]), self._options.search.hits
                for point, rankings in search.search_points(stores[name], points, topics, hits, bar, keep):
                    for system in of_point[point]:
                        self._piece(system, self._by_topic(rankings))

    def store(self, name: str) -> EmbeddingStore:
        """A store of passages' and queries' vectors, made first if none was given."""
        if self._inputs.is_given:
            return self._inputs.stores[name]
        return self._encoded

    @cached_property
    def _encoded(self) -> EmbeddingStore:
        """The corpus's store with each query's vector; continued if a crash interrupted it."""
        return self._encode(STORE, self._inputs.identity())

    @cached_property
    def _text_store(self) -> EmbeddingStore:
        inputs = self._inputs
        limit = self._options.search.text_max_length or inputs.config.max_length
        settings = {"vectors": inputs.identity(), "text_max_length": self._options.search.text_max_length}
        return self._encode("text-store", settings, limit)

    def _encode(self, name: str, settings: dict[str, Any], limit: int | None = None) -> EmbeddingStore:
        """A store of the corpus, or with a ``limit`` of tokens, of its passages with their queries in the text."""
        from pyserini_xqg.vectors.encoding import StoreOptions, encode_corpus

        inputs, output = self._inputs, self._work / name

        def make() -> dict[str, Any]:
            corpus, config = inputs.corpus, inputs.config
            if limit:
                corpus, config = expanded_text.ExpandedCorpus(corpus), config.replace(max_length=limit)
            from pyserini_xqg.vectors.embedding import load_embedder

            embedder = load_embedder(config, inputs.device)
            kept = StoreOptions(keep_query_vectors=not limit)
            encode_corpus(corpus, embedder, output, fields=inputs.fields, store=kept)
            return expanded_text.count_truncation(inputs.corpus, embedder, inputs.fields) if limit else {}

        self._job.piece(name, settings, make, output / "store.json")
        return EmbeddingStore(output)

    @property
    def truncation(self) -> dict[str, Any]:
        """What the encoder's limit cut off the texts with queries, once ``text`` was searched."""
        return self._job.noted("text-store")["result"]

    def _store_with_query_vectors(self, system: System) -> EmbeddingStore:
        store = self.store(self._inputs.store_name(system))
        if store.manifest["keep_query_vectors"]:
            return store
        return self._encode("query-vectors", {**self._inputs.identity(), "keep_query_vectors": True})

    def _topics(self, store: EmbeddingStore) -> search.TopicVectors:
        """The topics' vectors by the encoder of a store; checked to be the one that made it."""
        from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance

        inputs = self._inputs
        config = inputs.config_of(store)
        if config not in self._vectors:
            self._vectors[config] = self._encode_topics(config)
        vectors, result = self._vectors[config]
        distance = probe_distance(store.manifest["probe"], result["probe"])
        if distance > TOLERANCE:
            raise XqgError(
                f"{store.directory}: {config.describe()} is not its encoder (the vector of a known text differs by "
                f"{distance:.0%}). Pass --encoder the model that the store was made with."
            )
        return search.TopicVectors(list(inputs.topics.texts), vectors, inputs.topics.languages)

    def _encode_topics(self, config: EncoderConfig) -> tuple[np.ndarray, dict[str, Any]]:
        inputs = self._inputs
        settings = {"encoder": config.to_dict(), "topics_sha256": inputs.topics.sha256}
        name = f"topics-{hashlib.sha256(json.dumps(config.to_dict()).encode()).hexdigest()[:8]}"
        path = self._work / f"{name}.npy"

        def make() -> dict[str, Any]:
            embedder = self._query_encoder(config)
            with write_file(path, "wb") as out:
                np.save(out, embedder.embed_queries(list(inputs.topics.texts.values())))
            return {"probe": embedder.probe()}

        result = self._job.piece(name, settings, make, path)
        return np.load(path), result

    def _query_encoder(self, config: EncoderConfig) -> Embedder:
        """In float32, as Pyserini's search encodes queries."""
        from pyserini_xqg.vectors.embedding import load_embedder

        return load_embedder(config, replace(self._inputs.device, dtype="float32"))

    def _search_entries(self, system: System) -> list[Ranking]:
        store = self._store_with_query_vectors(system)
        return search.search_entries(store, self._topics(store), self._entries(store), self._options.search.hits)

    def _entries(self, store: EmbeddingStore) -> int:
        """How many entries of a multi-vector index are searched for."""
        total = multi_vector.number_of_entries(store)
        return multi_vector.hits_needed(self._options.search.hits, multi_vector.most_entries(store), total)

    # Lucene.

    def _lexical_plan(self, name: str) -> dict[str | None, lexical.LuceneIndex]:
        analysis, topics = self._options.lexical.bm25_analysis, self._inputs.topics
        tokenize = self._tokenize if analysis == "wordpiece" else str.split
        return lexical.plan_indexes(
            name, analysis, topics.present_languages, list(self._inputs.summary.queries), tokenize
        )

    def _lexical_search(self, name: str) -> lexical.LexicalSearch:
        """A search of the indexes of ``bm25`` or ``doc2query``, built first."""
        options, inputs = self._options, self._inputs
        lexical.quiet_lucene()
        plan = self._lexical_plan(name)
        indexes = {}
        for code, index in plan.items():
            place = self._work / "lucene" / name / (code or "all")

            def make(index: lexical.LuceneIndex = index, place: Path = place) -> None:
                lexical.build_lucene_index(inputs.corpus, place, index, inputs.fields, options.search.search_threads)

            self._job.piece(f"index.{name}.{place.name}", self._lexical_settings(name), make, place)
            indexes[code] = (place, index.analysis)
        if without := lexical.languages_without_analyzer(code for code in plan if code):
            say(f"{name}: Lucene has no analysis of {', '.join(without)}; the English one is used")
        return lexical.LexicalSearch(
            indexes, inputs.topics.languages, options.search.hits, options.search.search_threads, options.lexical
        )

    @cached_property
    def _tokenize(self) -> Callable[[str], Sequence[str]]:
        from pyserini_xqg.vectors.embedding import load_embedder

        return load_embedder(self._inputs.config, self._inputs.device).tokenizer.tokenize

    # Sizes and times.

    def cost(self, system: System) -> Cost | None:
        """Sizes and times of a system; None for filtered queries, of which no index is built."""
        options = self._options.search
        if system.is_fused:
            dense, other = map(self.cost, system.parts)
            fusing = self._job.noted(f"run.{system.name}")["result"]["fusing_ms"]
            return Cost(
                dense.index_bytes + other.index_bytes, dense.search_ms + other.search_ms + fusing, dense.encode_ms
            )
        if system.point and system.point.filter:
            return None
        timed = {name: getattr(options, name) for name in ("search_threads", "repeat", "timed_topics")}

        def make() -> dict[str, Any]:
            return asdict(self._lexical_cost(system.lexical) if system.lexical else self._dense_cost(system))

        return Cost(**self._job.piece(f"cost.{system.name}", {**self._run_settings(system), **timed}, make))

    def _lexical_cost(self, name: str) -> Cost:
        options = self._options.search
        found = self._lexical_search(name)
        time = found.milliseconds(self._inputs.topics.texts, options.repeat, options.timed_topics)
        return Cost(directory_size(self._work / "lucene" / name), time, None)

    def _dense_cost(self, system: System) -> Cost:
        from pyserini_xqg.vectors.building import build_index

        options, directory = self._options.search, self._work / "indexes" / system.dense
        hits, delimiter, recipe = options.hits, None, RECIPES[PLAIN]
        if system.kind == MULTI_VECTOR:
            store, delimiter = self._store_with_query_vectors(system), options.max_passage_delimiter
            hits = self._entries(store)
        elif system.kind == TEXT:
            store = self._text_store
        else:
            store, recipe = self.store(system.point.store), system.point.searched.recipe
        if delimiter:
            build: Callable[[], Any] = lambda: multi_vector.build_multi_vector_index(  # noqa: E731
                store, directory, delimiter, overwrite=True
            )
        else:
            build = lambda: build_index(store, directory, recipe, overwrite=True)  # noqa: E731
        topics = self._topics(store)
        self._job.piece(
            f"index.{system.dense}", self._dense_settings(system), lambda: build() and None, directory / "xqg.json"
        )
        places = {code: directory / (code or "") for code in topics.parts(recipe.route)}
        times = options.search_threads, options.repeat, options.timed_topics
        time = search.search_milliseconds(places, topics, hits, *times, delimiter)
        return Cost(directory_size(directory), time, self._encode_milliseconds(store))

    def _encode_milliseconds(self, store: EmbeddingStore) -> float:
        """Median time of encoding a topic, the same for all systems with this encoder."""
        options, inputs = self._options.search, self._inputs
        config = inputs.config_of(store)
        if config not in self._times:
            embedder = self._query_encoder(config)
            with _torch_threads(options.search_threads):
                self._times[config] = median_milliseconds(
                    lambda text: embedder.embed_queries([text]),
                    list(inputs.topics.texts.values()),
                    options.repeat,
                    options.timed_topics,
                )
        return self._times[config]

    @cached_property
    def _times(self) -> dict[EncoderConfig, float]:
        return {}


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

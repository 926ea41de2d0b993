"""Makes the runs of a comparison, each of its pieces once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.compare import expanded_text, lexical, multi_vector, search
from pyserini_xqg.compare.grid import Point
from pyserini_xqg.compare.inputs import STORE, Inputs
from pyserini_xqg.compare.runs import Ranking, directory_size
from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.stores import kept_queries
from pyserini_xqg.compare.systems import MULTI_VECTOR, PLAIN, TEXT, System
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.job import Job
from pyserini_xqg.core.kinds import Kind
from pyserini_xqg.text.runs import read_run, write_run
from pyserini_xqg.vectors.manifest import ROUTED, read_manifest, route_directory
from pyserini_xqg.vectors.recipe import RECIPES
from pyserini_xqg.vectors.store import EmbeddingStore

COMPARISON_KIND = Kind("comparison", "comparison.json", "pyserini-xqg comparison", 2, "pyserini_xqg.compare")
LISTED = ("pieces/", "runs/", "work/")
"""Directories of a comparison: notes of what is made, the TREC runs, stores and indexes."""


@dataclass(frozen=True)
class Cost:
    """Bytes of the indexes that a system searches, and milliseconds of a topic's search."""

    index_bytes: int
    search_ms: float


class SystemRuns:
    """The systems' runs, made in a :class:`Job` from :class:`Inputs`."""

    def __init__(self, job: Job, inputs: Inputs, options: CompareOptions) -> None:
        self._job, self._inputs, self._options = job, inputs, options
        self._work = job.directory / "work"
        self.directory = job.directory

    # What each piece is made with. Compared before any work is done, so nothing here opens a model.

    def check(self, systems: Sequence[System]) -> None:
        """Refuse to continue a comparison that was begun with other settings."""
        if not self._inputs.is_given:
            self._job.check_piece(STORE, self._inputs.identity())
        for part in _parts(systems).values():
            self._job.check_piece(f"run.{part.name}", self._run_settings(part))

    def _run_settings(self, system: System) -> dict[str, Any]:
        if system.is_fused:
            dense, other = map(self._run_settings, system.parts)
            return {"dense": dense, "lexical": other, "fusion": self._options.fusion.settings}
        made = self._lexical_settings() if system.lexical else self._dense_settings(system)
        return {**made, "topics_sha256": self._inputs.topics.sha256, "hits": self._options.search.hits}

    def _dense_settings(self, system: System) -> dict[str, Any]:
        store = self._inputs.store_of(system)
        made = {"vectors": self._inputs.identity(store)}
        if system.dense == TEXT:
            return {**made, "text_max_length": self._options.search.text_max_length}
        if system.dense == MULTI_VECTOR:
            return {**made, "max_passage_delimiter": self._options.search.max_passage_delimiter}
        recipe = system.point.whole(store)
        return {**made, **recipe.describe(), "route": recipe.route, "filter": system.point.searched.cell("filter")}

    def _lexical_settings(self) -> dict[str, Any]:
        inputs = self._inputs
        return {"corpus_sha256": inputs.summary.sha256, "fields": list(inputs.fields), **asdict(self._options.lexical)}

    # The pieces.

    def make(self, systems: Sequence[System]) -> None:
        """Make the runs that are not there yet; check those that are."""
        parts = _parts(systems)
        todo = [part for part in parts.values() if not self._is_made(part)]
        say(f"{self._job.output}: {len(parts)} runs, {len(parts) - len(todo)} of them done")
        self._search_points([part for part in todo if part.point and not part.is_fused])
        for part in parts.values():
            self._piece(part, partial(self._search, part))

    def read(self, name: str) -> dict[str, dict[str, float]]:
        """The run of a system, from its file: topic to docid to score; without the topics that found nothing."""
        path = self.run_path(name)
        return read_run(path, check_ranks=False) if path.stat().st_size else {}

    def run_path(self, name: str) -> Path:
        """The file of a run."""
        return self.directory / "runs" / f"{name}.txt"

    def _is_made(self, system: System) -> bool:
        return self._job.noted(f"run.{system.name}") is not None and self.run_path(system.name).exists()

    def _piece(self, system: System, search_all: Callable[[], Mapping[str, Ranking]]) -> None:
        path = self.run_path(system.name)

        def make() -> None:
            # All digits where they are fused, as pyserini.fusion writes them: reciprocal ranks differ little.
            write_run(path, search_all(), system.name, None if system.is_fused else 6)
            say(f"{path}: written")

        self._job.piece(f"run.{system.name}", self._run_settings(system), make, path)

    def _search(self, system: System) -> dict[str, Ranking]:
        """Topic to ranking of a system that is no point."""
        texts, hits = self._inputs.topics.texts, self._options.search.hits
        if system.is_fused:
            fused = self._options.fusion.fuse(*(self.read(part.name) for part in system.parts), hits)
            return {topic: fused.get(topic, []) for topic in texts}
        if system.lexical:
            return self._lexical_search(system.lexical).run(texts)
        if system.dense == MULTI_VECTOR:
            store = self.store(system)
            return self._by_topic(search.search_entries(store, self._topics(store), hits))
        store, plain = self._text_store, Point(STORE, RECIPES[PLAIN]).searched
        with progress(total=store.passages, unit="passages", description=system.name) as bar:
            ((_, rankings),) = search.search_points(store, [plain], self._topics(store), hits, bar)
        return self._by_topic(rankings)

    def _by_topic(self, rankings: Sequence[Ranking]) -> dict[str, Ranking]:
        return dict(zip(self._inputs.topics.texts, rankings, strict=True))

    def _search_points(self, systems: Sequence[System]) -> None:
        """Search what is composed from stores; points that read the same queries share a pass."""
        of_point: dict[Point, list[System]] = {}
        for system in systems:
            of_point.setdefault(system.point.searched, []).append(system)
        stores = {point.store: self.store(systems[0]) for point, systems in of_point.items()}
        total = sum(stores[points[0].store].passages for points in search.passes(of_point))
        with progress(total=total, unit="passages", description=f"searching {len(of_point)} points") as bar:
            for points in search.passes(of_point):
                name = points[0].store
                keep = kept_queries(stores[name], points[0], self._work / "scores" / name)
                topics, hits = self._topics(stores[name]), self._options.search.hits
                for point, rankings in search.search_points(stores[name], points, topics, hits, bar, keep):
                    for system in of_point[point]:
                        self._piece(system, partial(self._by_topic, rankings))

    def store(self, system: System) -> EmbeddingStore:
        """The store whose vectors a system searches, encoded first, or continued, if none was given."""
        if self._inputs.is_given:
            return self._inputs.store_of(system)
        return self._encode(STORE, self._inputs.identity())

    @property
    def _text_store(self) -> EmbeddingStore:
        limit = self._options.search.text_max_length
        settings = {"vectors": self._inputs.identity(), "text_max_length": limit}
        return self._encode("text-store", settings, limit or self._inputs.config.max_length)

    def _encode(self, name: str, settings: dict[str, Any], limit: int | None = None) -> EmbeddingStore:
        """A store of the corpus, or with a ``limit`` of tokens, of its passages with their queries in the text."""
        from pyserini_xqg.vectors.embedding import load_embedder
        from pyserini_xqg.vectors.encoding import StoreOptions, encode_corpus

        inputs, output = self._inputs, self._work / name

        def make() -> dict[str, Any]:
            corpus, config = inputs.corpus, inputs.config
            if limit:
                corpus, config = expanded_text.ExpandedCorpus(corpus), config.replace(max_length=limit)
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

    def _topics(self, store: EmbeddingStore) -> search.TopicVectors:
        """The topics' vectors by the encoder of a store, in float32 as Pyserini's search encodes them; it is checked
        to be the one that made the store.
        """
        from pyserini_xqg.vectors.embedding import load_embedder
        from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance

        topics, config = self._inputs.topics, self._inputs.config_of(store)
        name = f"topics-{hashlib.sha256(json.dumps(config.to_dict()).encode()).hexdigest()[:8]}"
        path = self._work / f"{name}.npy"

        def make() -> dict[str, Any]:
            embedder = load_embedder(config, replace(self._inputs.device, dtype="float32"))
            with write_file(path, "wb") as out:
                np.save(out, embedder.embed_queries(list(topics.texts.values())))
            return {"probe": embedder.probe()}

        made = self._job.piece(name, {"encoder": config.to_dict(), "topics_sha256": topics.sha256}, make, path)
        distance = probe_distance(store.manifest["probe"], made["probe"])
        if distance > TOLERANCE:
            raise XqgError(
                f"{store.directory}: {config.describe()} is not its encoder (the vector of a known text differs by "
                f"{distance:.0%}). Pass --encoder the model that the store was made with."
            )
        return search.TopicVectors(list(topics.texts), np.load(path), topics.languages)

    def _lexical_search(self, name: str) -> lexical.LexicalSearch:
        """A search of the indexes of ``bm25`` or ``doc2query``, built first."""
        options, inputs = self._options, self._inputs
        lexical.quiet_lucene()
        codes, queries = inputs.topics.present_languages, list(inputs.summary.queries)
        searchers = {}
        for code, index in lexical.plan_indexes(name, options.lexical.bm25_analysis, codes, queries).items():
            directory = self._work / "lucene" / name / (code or "all")
            make = partial(index.build, inputs.corpus, directory, inputs.fields)
            self._job.piece(f"index.{name}.{directory.name}", self._lexical_settings(), make, directory)
            searchers[code] = index.searcher(directory, options.lexical)
        if without := lexical.languages_without_analyzer(code for code in searchers if code):
            say(f"{name}: Lucene has no analysis of {', '.join(without)}; the English one is used")
        return lexical.LexicalSearch(searchers, inputs.topics.languages, options.search.hits)

    # Sizes and times.

    def cost(self, system: System) -> Cost | None:
        """Size and time of a system; None for filtered queries, of which no index is built."""
        if system.point and system.point.filter:
            return None
        if system.is_fused:
            dense, other = map(self.cost, system.parts)
            return Cost(dense.index_bytes + other.index_bytes, dense.search_ms + other.search_ms)

        def make() -> dict[str, Any]:
            return asdict(self._lexical_cost(system.lexical) if system.lexical else self._dense_cost(system))

        return Cost(**self._job.piece(f"cost.{system.name}", self._run_settings(system), make))

    def _lexical_cost(self, name: str) -> Cost:
        time = self._lexical_search(name).milliseconds(self._inputs.topics.texts)
        return Cost(directory_size(self._work / "lucene" / name), time)

    def _dense_cost(self, system: System) -> Cost:
        from pyserini_xqg.vectors.building import build_index

        directory, hits, delimiter = self._work / "indexes" / system.vectors, self._options.search.hits, None
        store = self._text_store if system.dense == TEXT else self.store(system)
        recipe = system.point.searched.recipe if system.point else RECIPES[PLAIN]
        build: Callable[..., Any] = partial(build_index, store, directory, recipe)
        if system.dense == MULTI_VECTOR:
            hits, delimiter = multi_vector.entries_needed(store, hits), self._options.search.max_passage_delimiter
            build = partial(multi_vector.build_multi_vector_index, store, directory, delimiter)

        def make() -> None:
            build(overwrite=True)

        self._job.piece(f"index.{system.vectors}", self._dense_settings(system), make, directory / "xqg.json")
        topics, manifest = self._topics(store), read_manifest(directory)
        indexes = [directory] * len(topics.ids)
        if manifest["layout"] == ROUTED:
            indexes = [route_directory(directory, manifest, topics.languages[topic]) for topic in topics.ids]
        time = search.search_milliseconds(indexes, topics.vectors, hits, delimiter)
        return Cost(directory_size(directory), time)


def _parts(systems: Sequence[System]) -> dict[str, System]:
    """Systems by name, with the parts of the fused ones before them."""
    return {part.name: part for system in systems for part in system.parts} | {one.name: one for one in systems}

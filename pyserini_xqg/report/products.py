"""Inner products of questions with their gold passages: the passage's own vector, each generated query, the index's.

Vectors come from a store that keeps each query's, or are made on the fly with the encoder; questions always are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import given, group, option
from pyserini_xqg.report.rankings import Ranked, Run
from pyserini_xqg.text.corpus import FIELDS
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.vectors.encoding import encode_chunk
from pyserini_xqg.vectors.fit import TOLERANCE, check_shards, probe_distance
from pyserini_xqg.vectors.manifest import (
    ROUTED,
    SHARDED,
    manifest_encoder,
    read_encoder_manifest,
    read_manifest,
    route_directory,
)
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder

_PASSAGES_AT_ONCE = 64
_CHECKED_PASSAGES = 4
_DIFFERENT = 0.05
"""Relative difference from which on a run's score is not that of the index."""


@dataclass(frozen=True)
class SourceOptions:
    """inner products: at least one of --store, --index and --encoder"""

    store: str | None = option(
        None, "embedding store of the passages: its encoder, and the vectors that it keeps", metavar="DIR"
    )
    index: str | None = option(
        None, "index that the second run was retrieved from: its encoder and its vectors", metavar="DIR"
    )
    fields: tuple[str, ...] = option(
        (),
        "fields of a passage that are encoded (default: the store's or the index's, else title and text)",
        choices=FIELDS,
        several=True,
    )


@dataclass(frozen=True)
class ProductOptions:
    """Where inner products come from."""

    source: SourceOptions = group(SourceOptions)
    encoder: EncoderOptions = group(EncoderOptions)
    device: DeviceOptions = group(DeviceOptions)

    def __post_init__(self) -> None:
        names = [name for name in vars(self.encoder) if name != "encoder"]
        if not self.encoder.encoder and (lonely := given(self.encoder, *names)):
            raise XqgError(f"{lonely[0]} goes with --encoder. Pass that too, or leave it out.")

    @property
    def wanted(self) -> bool:
        """Whether there are to be any."""
        return bool(self.source.store or self.source.index or self.encoder.encoder)

    def open(self, store: EmbeddingStore | None) -> tuple[Embedder, Sequence[str]]:
        """The encoder, and the fields of a passage that it reads."""
        index = self.source.index
        fields = self.source.fields or (store.manifest["fields"] if store else None)
        if not fields and index and read_manifest(index) is not None:
            fields = read_encoder_manifest(index).get("fields")
        from pyserini_xqg.vectors.embedding import load_embedder

        given = self.encoder.config() if self.encoder.encoder else None
        config = given or (store.encoder if store else manifest_encoder(index))
        return load_embedder(config, self.device), fields or FIELDS


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


def find_products(
    options: ProductOptions,
    questions: Mapping[str, tuple[str, str]],
    ranked: Mapping[str, Ranked],
    passages: Any,
    second: Run,
) -> tuple[Mapping[tuple[str, str], Products], Mapping[str, Any], str]:
    """Inner products, which generated queries the index holds, and a note for the page.

    Parameters
    ----------
    questions : query id to (text, language).
    ranked : query id to its gold passages.
    passages : ``get(docid)`` returns a :class:`~pyserini_xqg.text.passages.Passage`; None without texts.
    second : the second run, whose scores should be those of the index.

    Returns
    -------
    (query id, docid) to :class:`Products`; language of questions to (languages whose queries the index holds, how many
    of each at most); a sentence. Memory holds the questions' vectors, (questions, D), and those of a few passages.
    """
    if not options.wanted:
        return {}, {}, "No inner products: the page was made without --store, --index or --encoder."
    if passages is None:
        raise XqgError("inner products need the passages' texts, and there are none. Pass --passages.")
    source = options.source
    store = EmbeddingStore(source.store) if source.store else None
    embedder, fields = options.open(store)
    if store:
        check_encoder(embedder, store.manifest["probe"], source.store)
    gold = {query_id: [one.docid for one in of_question.gold] for query_id, of_question in ranked.items()}
    index, held = None, {}
    if source.index:
        docids = {docid for some in gold.values() for docid in some}
        languages = {language for _, language in questions.values()}
        index = IndexVectors(source.index, docids, embedder.dimension, languages)
        if index.probe:
            check_encoder(embedder, index.probe, source.index)
        held = {language: index.queries_held(language) for language in languages}
    products = inner_products(embedder, questions, gold, passages, fields=fields, store=store, index=index)
    if index:
        _compare_with_run(source.index, products, second)
    config = embedder.config
    note = f"Inner products with {Path(config.model).name} (pooling {config.pooling}{', l2-norm' * config.l2_norm})"
    note += f", vectors of {Path(source.store).name}" if store and store.manifest["keep_query_vectors"] else ""
    note += f"; index {Path(source.index).name}" if source.index else ""
    return products, {language: what for language, what in held.items() if what is not None}, note + "."


def check_encoder(embedder: Embedder, probe: Mapping[str, Any], name: str) -> None:
    """Refuse an encoder that did not make the vectors of ``name``, whose manifest has ``probe``."""
    ours = embedder.probe()
    if ours["dimension"] != probe["dimension"]:
        reason = f"its vectors have {ours['dimension']} dimensions, those of {name} {probe['dimension']}"
    elif (distance := probe_distance(dict(probe), ours)) > TOLERANCE:
        reason = f"its vector of the probe text differs by {distance:.0%} of the length"
    else:
        return
    raise XqgError(
        f"{name}: the encoder does not fit: {reason}. The encoder is {embedder.config.describe()}. Leave --encoder "
        f"out to take that of {name}, or pass the one it was made with, with its --pooling and --l2-norm."
    )


def _compare_with_run(index: str, products: Mapping[tuple[str, str], Products], second: Run) -> None:
    """Say so where the second run's scores are not the index's."""
    pairs = [
        (found.index, second[query_id][docid])
        for (query_id, docid), found in products.items()
        if docid in second.get(query_id, {})
    ]
    other = sum(abs(ours - theirs) > _DIFFERENT * max(abs(ours), abs(theirs)) for ours, theirs in pairs)
    if other * 2 > len(pairs):
        say(
            f"warning: the second run's scores of {other:,} of {len(pairs):,} gold passages differ from the inner "
            f"products with their vectors in {index} by more than {_DIFFERENT:.0%}. Was the run retrieved from it?"
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
    """Compare each question with its gold passages, query id to docids; (query id, docid) to :class:`Products`.

    Vectors of passages and generated queries are the ``store``'s where it keeps the latter's; else they are made.
    Raises :class:`XqgError` for a store or an index without one of the passages, and a store of other texts.
    """
    asked = [query_id for query_id in questions if gold.get(query_id)]
    if not asked:
        return {}
    vectors = embedder.embed_queries([questions[query_id][0] for query_id in asked])
    askers: dict[str, list[int]] = {}
    for row, query_id in enumerate(asked):
        for docid in gold[query_id]:
            askers.setdefault(docid, []).append(row)
    products: dict[tuple[str, str], Products] = {}
    source = _stored(store, embedder, passages, askers, fields) if store else None
    for docid, passage in source or _encoded(embedder, passages, askers, fields):
        for row in askers[docid]:
            question, query_id = vectors[row].astype(np.float64), asked[row]
            queries = {language: (some @ question).tolist() for language, some in passage.queries.items()}
            composed = index.inner_product(vectors[row], docid, questions[query_id][1]) if index else None
            products[query_id, docid] = Products(float(passage.own @ question), composed, queries)
    return products


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
            split = {code: np.split(chunk.vectors[code], np.cumsum(chunk.counts[code])[:-1]) for code in languages}
            for row, passage in enumerate(chosen):
                queries = {language: split[language][row] for language in passage.queries}
                yield passage.docid, PassageVectors(chunk.passages[row], queries)
            bar.update(len(some))


def _stored(
    store: EmbeddingStore, embedder: Embedder, passages: Any, docids: Mapping[str, Any], fields: Sequence[str]
) -> Iterator[tuple[str, PassageVectors]] | None:
    """Vectors out of a store; None if it keeps no query's vector."""
    if not store.manifest["keep_query_vectors"]:
        say(f"{store.directory}: keeps no query's vector, so the generated queries are embedded with its encoder")
        return None
    with open(store.docids_path, encoding="utf-8", newline="\n") as lines:
        rows = {row: docid for row, line in enumerate(lines) if (docid := line.rstrip("\n")) in docids}
    located = set(rows.values())
    if missing := next((docid for docid in docids if docid not in located), None):
        raise XqgError(
            f"{store.directory}: has no passage with docid {missing!r}. Pass the store of the passages that the runs "
            "were retrieved from."
        )
    with_queries = any(passages.get(docid).queries for docid in docids)
    if not with_queries:
        say(
            f"{store.directory}: the texts of its generated queries are in none of the passages shown, so they are "
            "left out. Pass the corpus that it was encoded from as --passages, or the queries with --queries."
        )
    fresh = dict(_encoded(embedder, passages, list(islice(rows.values(), _CHECKED_PASSAGES)), fields))
    return _checked(store, passages, rows, fresh, with_queries)


def _checked(
    store: EmbeddingStore, passages: Any, rows: Mapping[int, str], fresh: Mapping[str, Any], with_queries: bool
) -> Iterator[tuple[str, PassageVectors]]:
    """A store's vectors of the docids in ``rows``; numbers of queries, and vectors made ``fresh``, must be alike."""
    for block in store.passages_at(list(rows)):
        docid = rows[block.first]
        queries = {}
        if with_queries:
            _check_counts(store, passages.get(docid), block.counts)
            queries = {code: some.astype(np.float64) for code, some in block.vectors.items() if len(some)}
        kept = PassageVectors(block.passages[0].astype(np.float64), queries)
        if docid in fresh:
            _check_texts(store, docid, fresh[docid], kept)
        yield docid, kept


def _check_counts(store: EmbeddingStore, passage: Passage, counts: Mapping[str, np.ndarray]) -> None:
    most = store.manifest["max_queries"]
    for language, (number,) in counts.items():
        expected = len(passage.queries.get(language, ()))
        if number != (expected if most is None else min(expected, most)):
            raise XqgError(
                f"{store.directory}: has {number} generated queries in {language!r} for docid {passage.docid!r}, the "
                f"passages {expected}. Pass the corpus that it was encoded from as --passages (its queries as "
                "--queries)."
            )


def _check_texts(store: EmbeddingStore, docid: str, fresh: PassageVectors, kept: PassageVectors) -> None:
    """Compare vectors with those embedded again, for a store of other texts would show numbers that mean nothing."""
    pairs = [("text", fresh.own[None], kept.own[None])]
    for language, vectors in kept.queries.items():
        pairs.append((f"generated queries in {language!r}", fresh.queries[language][: len(vectors)], vectors))
    for what, expected, stored in pairs:
        lengths = np.maximum(np.linalg.norm(expected, axis=1), 1e-9)
        if (np.linalg.norm(expected - stored, axis=1) > TOLERANCE * lengths).any():
            raise XqgError(
                f"{store.directory}: its vectors are not those of the {what} of docid {docid!r}. Pass the store "
                "that was encoded from these passages and queries."
            )


class IndexVectors:
    """Inner products with the vectors of some docids in an index: ours (routed and sharded ones too), or a stock one.

    dimension : of the encoder's vectors. languages : of the questions; a routed index has one that serves each of them.
    Index files are mapped where FAISS can do that, so memory holds the docids and where the chosen ones lie.

    Raises :class:`XqgError` if it is no index, has another dimension, lacks one of the passages when that is asked for,
    or is of a kind that cannot give its vectors back.
    """

    def __init__(self, directory: str | Path, docids: Set[str], dimension: int, languages: Set[str]) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise XqgError(f"{directory}: no such directory. Pass the directory of an index with --index.")
        manifest = read_manifest(directory)
        routes = dict.fromkeys(languages, self.directory)
        if manifest is not None and manifest["layout"] == ROUTED:
            routes = {language: route_directory(directory, manifest, language) for language in languages}
        opened = {route: (_locate(route, docids, dimension), _describing(route)) for route in set(routes.values())}
        self._rows = {language: opened[route][0] for language, route in routes.items()}
        self._manifests = {language: opened[route][1] for language, route in routes.items()}

    @property
    def probe(self) -> dict[str, Any] | None:
        """The known vector in the manifest, by which an encoder is recognised; None without a manifest."""
        manifest = next(iter(self._manifests.values()))
        return manifest and manifest["probe"]

    def queries_held(self, language: str) -> tuple[Sequence[str], int | None] | None:
        """Languages whose generated queries the vectors for questions in ``language`` hold, and how many of each at
        most (None: all); None for an index without a manifest.
        """
        manifest = self._manifests[language]
        if manifest is None:
            return None
        recipe = manifest["augmentation"]
        return recipe["languages"] if recipe["alpha"] > 0 else [], recipe.get("max_queries")

    def inner_product(self, question: np.ndarray, docid: str, language: str) -> float:
        """A question's vector, (D,), with a passage's in the index that serves its language."""
        rows = self._rows[language]
        if docid not in rows:
            raise XqgError(
                f"{self.directory}: has no passage with docid {docid!r}. Pass the index that the second run was "
                "retrieved from, or one of the same passages."
            )
        index, row = rows[docid]
        try:
            vector = np.asarray(index.reconstruct(row), dtype=np.float64)
        except RuntimeError as error:  # FAISS's, with its own source lines in front
            raise XqgError(
                f"{self.directory}: an index of a kind that cannot give its vectors back ({type(index).__name__}). "
                "Leave --index out, or build the same with --factory Flat."
            ) from error
        return float(vector @ question.astype(np.float64))


def _describing(directory: Path) -> dict[str, Any] | None:
    """The manifest that says how a single or sharded index was made."""
    manifest = read_manifest(directory)
    return check_shards(directory, manifest)[1] if manifest and manifest["layout"] == SHARDED else manifest


def _locate(directory: Path, docids: Set[str], dimension: int) -> dict[str, tuple[Any, int]]:
    """Docid to the FAISS index that holds it and its row there."""
    import faiss

    from pyserini_xqg.vectors.faiss_index import open_index

    index, names = open_index(directory, mapped=hasattr(faiss, "IO_FLAG_MMAP_IFC"))
    if index.d != dimension:
        raise XqgError(
            f"{directory}: its vectors have {index.d} dimensions, the encoder's {dimension}. Pass the encoder of "
            "the index."
        )
    rows, first = {}, 0
    for part in getattr(index, "shards", [index]):
        if ivf := faiss.try_extract_index_ivf(part):
            ivf.make_direct_map()
        rows |= {names[first + row]: (part, row) for row in range(part.ntotal) if names[first + row] in docids}
        first += part.ntotal
    return rows

"""The stores that a comparison reads: their names, what each of them can give, and the queries that a filter leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.compare.grid import Point
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.vectors.store import Keep

NO_QUERIES = "the passages have no generated queries. Generate some with pyserini_xqg.generate."


@dataclass(frozen=True)
class PlannedStore:
    """What is known of a store that is still to be encoded from a corpus, with each query's vector."""

    directory: Path
    encoder: EncoderConfig
    languages: list[str]
    passages: int
    fuse: str | None = None
    manifest: dict[str, Any] = field(default_factory=lambda: {"keep_query_vectors": True})

    def check_use(self, *_: Any, **__: Any) -> None:
        """It can give everything."""


def split_name(text: str) -> tuple[str, str]:
    """Name and directory of ``NAME=DIR``, or of ``DIR``, whose own name is the store's."""
    name, equals, directory = text.partition("=")
    return (name, directory) if equals and "/" not in name else (Path(text).resolve().name, text)


def open_stores(named: Sequence[str]) -> dict[str, EmbeddingStore]:
    """Stores by name, see :func:`split_name`.

    Raises :class:`XqgError` for a name given twice or not fit for a file, and for stores of other passages.
    """
    stores: dict[str, EmbeddingStore] = {}
    for text in named:
        name, directory = split_name(text)
        if not name or not all(character.isalnum() or character in "._-" for character in name):
            raise XqgError(f"--store {text}: {name!r} cannot name files. Write NAME=DIR, with letters and digits.")
        if name in stores:
            raise XqgError(f"--store {text}: another store is named {name!r}. Write NAME=DIR with another name.")
        stores[name] = EmbeddingStore(directory)
    digests = {name: sha256_file(store.docids_path) for name, store in stores.items()} if len(stores) > 1 else {}
    first = next(iter(stores), None)
    for name, digest in digests.items():
        if digest != digests[first]:
            raise XqgError(
                f"{stores[name].directory}: other passages than {stores[first].directory}, or in another order, so "
                "their scores cannot be compared. Compare stores of one corpus."
            )
    return stores


def check_point(store: EmbeddingStore | PlannedStore, point: Point) -> None:
    """Raise :class:`XqgError` for what a store cannot give, with the cure; reads nothing but its manifest."""
    if point.is_plain:
        return
    if not store.languages:
        raise XqgError(NO_QUERIES)
    if point.filter:
        point.filter.selection().check(store.languages)
    if store.manifest["keep_query_vectors"]:
        return
    most_queries = store.manifest["most_queries"]
    most = max(most_queries[language] for language in point.recipe.languages or store.languages)
    wanted = f"--{point.filter.option} {point.filter.value}" if point.filter else ""
    if point.recipe.max_queries is not None and point.recipe.max_queries < most:
        wanted = f"--max-queries {point.recipe.max_queries}"
    if wanted:
        raise XqgError(
            f"{wanted}: {store.directory} has sums of up to {most} queries a passage and language, not each query's "
            "vector, so no query can be left out. Encode again with --keep-query-vectors."
        )


def describe_store(store: EmbeddingStore) -> dict[str, Any]:
    """What decides a store's vectors, as JSON; without its place."""
    manifest = store.manifest
    names = ("encoder", "precision", "fields", "dtype", "probe", "fuse", "max_queries")
    return {**{name: manifest.get(name) for name in names}, "corpus_sha256": manifest["corpus"]["sha256"]}


def kept_queries(store: EmbeddingStore, point: Point, directory: Path) -> Keep | None:
    """Which queries the point's filter keeps, as :meth:`EmbeddingStore.blocks` asks; None for all.

    Their scores are kept in ``directory``, and continued if half done. Shares of the best are those of all queries in
    the store, whichever languages are read.
    """
    if point.filter is None or point.is_plain:
        return None
    from pyserini_xqg.queries.scores import QueryScores
    from pyserini_xqg.queries.scoring import score_store
    from pyserini_xqg.queries.selection import thresholds

    score_store(store, directory)
    scores = QueryScores(directory)
    lowest = thresholds(scores, point.filter.selection())
    arrays = {language: scores.array(f"score.{language}") for language in store.languages}
    return lambda language, first, number: arrays[language][first : first + number] >= np.float32(lowest[language])

"""Stores and scores of chosen numbers, written in the real formats without an encoder."""

import numpy as np

from pyserini_xqg.queries.scores import QueryScores, ScoresWriter
from pyserini_xqg.vectors.embedding import describe_probe
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore, sum_queries
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

CHUNK = 4


def vector_settings(passages, queries, dimension, docids) -> dict:
    """Settings of a store; ``queries`` maps languages to a count a passage."""
    totals = {language: int(sum(counts)) for language, counts in queries.items()}
    corpus = {
        "passages": passages,
        "queries": totals,
        "passages_with_queries": {language: sum(map(bool, counts)) for language, counts in queries.items()},
        "passages_without_queries": 0,
        "sha256": str(len(docids)) * 8,
    }
    return {
        "encoder": EncoderConfig("chosen-numbers").to_dict(),
        "fields": ["title", "text"],
        "dimension": dimension,
        "dtype": "float32",
        "precision": "float32",
        "chunk_size": CHUNK,
        "max_queries": None,
        "keep_query_vectors": True,
        "fuse": None,
        "corpus": corpus,
        "most_queries": {language: max(counts) for language, counts in queries.items()},
        "probe": describe_probe(np.arange(1, dimension + 1)),
    }


def vector_store(directory, passages, queries, docids=None, **changes) -> EmbeddingStore:
    """A store of these vectors: passages (N, D), queries language -> a list of (n, D), one a passage."""
    passages = np.asarray(passages, dtype=np.float32)
    docids = docids or [f"p{row}" for row in range(len(passages))]
    counts = {language: np.array([len(some) for some in lists], np.int32) for language, lists in queries.items()}
    numbers = {language: some.tolist() for language, some in counts.items()}
    settings = vector_settings(len(passages), numbers, passages.shape[1], docids) | changes
    with StoreWriter(directory, settings) as writer:
        for first in range(0, len(passages), settings["chunk_size"]):
            rows = slice(first, first + settings["chunk_size"])
            flat = {code: np.concatenate(lists[rows]).astype(np.float32) for code, lists in queries.items()}
            number = {code: values[rows] for code, values in counts.items()}
            sums = {code: sum_queries(vectors, number[code]) for code, vectors in flat.items()}
            kept = flat if settings["keep_query_vectors"] else {}
            writer.write(Chunk(docids[rows], passages[rows], sums, number, kept, centroids(sums, number)))
        writer.complete()
    return EmbeddingStore(directory)


def chosen_scores(directory, scores, ranks=None, depth=None) -> QueryScores:
    """Scores of one query a passage: language -> (N,) each, all languages of the same length; ranks likewise."""
    number = len(next(iter(scores.values())))
    docids = [f"p{row}" for row in range(number)]
    settings = vector_settings(number, {language: [1] * number for language in scores}, 2, docids)
    round_trip = {"searched": "chosen", "passages": number, "depth": depth} if ranks else None
    ones = {language: np.ones(number, dtype=np.int32) for language in scores}
    with ScoresWriter(directory, settings, round_trip) as writer:
        values = {language: np.asarray(some, dtype=np.float32) for language, some in scores.items()}
        places = {language: np.asarray(some, dtype=np.int32) for language, some in (ranks or {}).items()}
        writer.write(docids, ones, values, places)
        writer.complete()
    return QueryScores(directory)

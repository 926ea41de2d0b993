"""Scores generated queries for their own passages, from an encoder or from a store's vectors, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries.scores import ScoresWriter, corpus_differences, corpus_facts, has_scores, new_scores_manifest
from pyserini_xqg.text.corpus import FIELDS, Corpus, CorpusSummary
from pyserini_xqg.vectors.encoding import encode_chunk
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import Chunk

if TYPE_CHECKING:
    from pyserini_xqg.queries.round_trip import Ranker
    from pyserini_xqg.vectors.embedding import Embedder


def score_corpus(
    corpus: Corpus,
    summary: CorpusSummary,
    embedder: Embedder,
    directory: str | Path,
    *,
    fields: Sequence[str] = FIELDS,
    chunk_size: int = 1024,
    ranker: Ranker | None = None,
) -> None:
    """Encode passages and queries chunk by chunk and keep their scores in ``directory``; continues a half-done one.

    ``summary`` is what :meth:`Corpus.scan` found. Complete scores of the same corpus and encoder are left as they are.
    Raises :class:`XqgError` where ``directory`` holds other scores or something else.
    """
    say(f"{embedder.config.describe()}: {embedder.precision} on {embedder.device}")
    settings = {
        "encoder": embedder.config.to_dict(),
        "fields": list(fields),
        "dimension": embedder.dimension,
        "dtype": "float32",
        "precision": embedder.precision,
        "batch_tokens": embedder.batch_tokens,
        "chunk_size": chunk_size,
        "corpus": corpus_facts(summary),
        "probe": embedder.probe(),
    }

    def chunks(done: int) -> Iterator[Chunk]:
        passages = islice(corpus, done, None)
        while some := list(islice(passages, chunk_size)):
            yield encode_chunk(embedder, some, list(summary.queries), fields, keep_query_vectors=True)

    _score(directory, settings, chunks, ranker)


def score_store(store: EmbeddingStore, directory: str | Path, *, ranker: Ranker | None = None) -> None:
    """The same from the vectors of a store that keeps each query's: nothing is encoded.

    Raises :class:`XqgError` for a store without them, and as :func:`score_corpus` does.
    """
    manifest = store.manifest
    check_query_vectors(store)
    settings = {name: manifest[name] for name in ("encoder", "fields", "dimension", "dtype")}
    settings["precision"] = manifest.get("precision", "float32")
    settings["chunk_size"] = manifest.get("chunk_size", 1024)
    settings |= {"corpus": manifest["corpus"], "probe": manifest["probe"]}
    _score(directory, settings, lambda done: store_chunks(store, done, settings["chunk_size"]), ranker)


def check_query_vectors(store: EmbeddingStore) -> None:
    """Refuse a store that has no vector for each query."""
    if not store.manifest["keep_query_vectors"]:
        raise XqgError(
            f"{store.directory}: keeps sums, not each query's vector. Encode again with --keep-query-vectors, or pass "
            "--encoder instead of --store."
        )


def check_store_corpus(store: EmbeddingStore, summary: CorpusSummary) -> None:
    """Refuse a store of another corpus, naming what differs."""
    if differences := corpus_differences(store.manifest["corpus"], summary):
        raise XqgError(
            f"{store.directory}: a store of another corpus: {'; '.join(differences)}. Pass the corpus it was encoded "
            "from (with the same --languages and --max-queries), or encode this one."
        )


def store_chunks(store: EmbeddingStore, first: int, rows: int) -> Iterator[Chunk]:
    """Yield the vectors of passages and queries, float32, from row ``first`` on, ``rows`` passages at a time."""
    languages = store.languages
    passages = store.array("passages")
    counts = {language: store.array(f"count.{language}") for language in languages}
    vectors = {language: store.array(f"vectors.{language}") for language in languages}
    query = {language: int(counts[language][:first].sum()) for language in languages}
    with open(store.docids_path, encoding="utf-8", newline="\n") as lines:
        docids = islice((line.rstrip("\n") for line in lines), first, None)
        for start in range(first, store.passages, rows):
            here = slice(start, start + rows)
            number = {language: np.array(counts[language][here]) for language in languages}
            own = {}
            for language in languages:
                end = query[language] + int(number[language].sum())
                own[language] = np.array(vectors[language][query[language] : end], dtype=np.float32)
                query[language] = end
            yield Chunk(list(islice(docids, rows)), np.array(passages[here], dtype=np.float32), {}, number, own)


def score_chunk(chunk: Chunk) -> dict[str, np.ndarray]:
    """Language to the inner product of each query with its own passage, float32 (queries,), passage by passage.

    >>> chunk = Chunk(["7"], np.float32([[1, 2]]), {}, {"fi": np.int32([2])}, {"fi": np.float32([[3, 0], [0, 4]])})
    >>> score_chunk(chunk)["fi"].tolist()
    [3.0, 8.0]
    """
    scores = {}
    for language, vectors in chunk.vectors.items():
        own = np.repeat(chunk.passages, chunk.counts[language], axis=0)
        with np.errstate(over="ignore"):  # infinities are refused where scores are written
            scores[language] = np.einsum("ij,ij->i", own, vectors, dtype=np.float64).astype(np.float32)
    return scores


def _score(
    directory: str | Path,
    settings: Mapping[str, Any],
    chunks: Callable[[int], Iterator[Chunk]],
    ranker: Ranker | None,
) -> None:
    """Score what ``chunks(passages done)`` yields, unless ``directory`` has all of it already."""
    manifest = new_scores_manifest(settings, ranker.describe() if ranker else None)
    if has_scores(directory, manifest):
        say(f"{directory}: complete scores of this corpus and encoder, used as they are")
        return
    total = settings["corpus"]["passages"]
    with ExitStack() as stack:
        writer = stack.enter_context(ScoresWriter(directory, manifest))
        bar = stack.enter_context(progress(total=total, unit="passages", description="scoring"))
        row = writer.rows_done
        if row:
            say(f"{directory}: continues after {row:,} of {total:,} passages")
        bar.update(row)
        bar.initial = row  # the rate is that of this process
        for chunk in chunks(row):
            ranks = {}
            if ranker:
                rows = ranker.rows(chunk.docids, row)
                for language, vectors in chunk.vectors.items():
                    ranks[language] = ranker.ranks(vectors, np.repeat(rows, chunk.counts[language]))
            writer.write(chunk, score_chunk(chunk), ranks)
            row += len(chunk.docids)
            bar.update(len(chunk.docids))
        writer.finish()

"""Scores generated queries for their own passages, from an encoder or from a store's vectors, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries.scores import ScoresWriter, corpus_differences, corpus_facts
from pyserini_xqg.text.corpus import FIELDS, Corpus, CorpusSummary
from pyserini_xqg.vectors.encoding import encode_chunk
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import Chunk, centroids

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
    inputs: Sequence[str] = (),
) -> None:
    """Encode passages and queries chunk by chunk and keep their scores in ``directory``; continues unfinished ones.

    ``summary`` is what :meth:`Corpus.scan` found. Complete scores of the same corpus and encoder are left as they are.
    Raises :class:`XqgError` where ``directory`` holds other scores or something else, or is one of ``inputs``.
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
        for passages in chunks_of(islice(corpus, done, None), chunk_size):
            yield encode_chunk(embedder, passages, list(summary.queries), fields, keep_query_vectors=True)

    _score(directory, settings, chunks, ranker, inputs)


def score_store(
    store: EmbeddingStore, directory: str | Path, *, ranker: Ranker | None = None, inputs: Sequence[str] = ()
) -> None:
    """The same from the vectors of a store that keeps each query's: nothing is encoded.

    Raises :class:`XqgError` for a store without them, and as :func:`score_corpus` does.
    """
    store.check_query_vectors()
    names = ("encoder", "fields", "dimension", "dtype", "precision", "chunk_size", "corpus", "probe")
    settings = {name: store.manifest[name] for name in names}
    _score(directory, settings, lambda done: store_chunks(store, done), ranker, [*inputs, str(store.directory)])


def check_store_corpus(store: EmbeddingStore, summary: CorpusSummary) -> None:
    """Refuse a store of another corpus, naming what differs."""
    if differences := corpus_differences(store.manifest["corpus"], summary):
        raise XqgError(
            f"{store.directory}: a store of another corpus: {'; '.join(differences)}. Pass the corpus it was encoded "
            "from (with the same --languages and --max-queries), or encode this one."
        )


def store_chunks(
    store: EmbeddingStore, done: int = 0, languages: Sequence[str] | None = None, keep: Any = None
) -> Iterator[Chunk]:
    """Yield the chunks of a store, with all query vectors, without those of the ``done`` first passages.

    ``languages`` and ``keep`` as :meth:`EmbeddingStore.blocks` has them; all by default.
    """
    rows = store.manifest["chunk_size"]
    chosen = store.languages if languages is None else languages
    with open(store.docids_path, encoding="utf-8", newline="\n") as lines:
        docids = chunks_of((line.rstrip("\n") for line in lines), rows)
        blocks = store.blocks(chosen, vectors=True, keep=keep, block_bytes=4 * store.dimension * rows)
        for names, block in zip(docids, blocks, strict=True):
            if block.first >= done:
                found = centroids(block.sums, block.counts)
                yield Chunk(names, block.passages, block.sums, block.counts, block.vectors, found)


def score_chunk(chunk: Chunk) -> dict[str, np.ndarray]:
    """Language to the inner product of each query with its own passage, float32 (queries,), passage by passage.

    >>> chunk = Chunk(["7"], np.float32([[1, 2]]), {}, {"fi": np.int32([2])}, {"fi": np.float32([[3, 0], [0, 4]])})
    >>> score_chunk(chunk)["fi"].tolist()
    [3.0, 8.0]
    """
    scores = {}
    for language, vectors in chunk.vectors.items():
        passages = np.repeat(chunk.passages, chunk.counts[language], axis=0)
        with np.errstate(over="ignore"):  # infinities are refused where scores are written
            scores[language] = np.einsum("ij,ij->i", passages, vectors, dtype=np.float64).astype(np.float32)
    return scores


def _score(
    directory: str | Path,
    settings: Mapping[str, Any],
    chunks: Callable[[int], Iterator[Chunk]],
    ranker: Ranker | None,
    inputs: Sequence[str],
) -> None:
    """Score what ``chunks(passages done)`` yields, unless ``directory`` has all of it already."""
    total = settings["corpus"]["passages"]
    with ScoresWriter(directory, settings, ranker.describe() if ranker else None, inputs=inputs) as writer:
        if writer.finished:
            say(f"{directory}: complete scores of this corpus and encoder, used as they are")
            return
        row = writer.rows_done
        if row:
            say(f"{directory}: continues after {row:,} of {total:,} passages")
        with progress(total=total, unit="passages", description="scoring") as bar:
            bar.update(row)
            bar.initial = row  # the rate is that of this process
            for chunk in chunks(row):
                ranks = {}
                if ranker:
                    rows = ranker.rows(chunk.docids, row)
                    for language, vectors in chunk.vectors.items():
                        ranks[language] = ranker.ranks(vectors, np.repeat(rows, chunk.counts[language]))
                writer.write(chunk.docids, chunk.counts, score_chunk(chunk), ranks)
                row += len(chunk.docids)
                bar.update(len(chunk.docids))
        writer.complete()

"""Encodes passages and their generated queries into an embedding store, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.text.corpus import FIELDS, Corpus, CorpusOptions, QuerySelection, scan_once
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.vectors.layout import DTYPES, FUSED
from pyserini_xqg.vectors.recipe import AGGREGATES, aggregate_queries
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions
from pyserini_xqg.vectors.store import sum_queries
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder


@dataclass(frozen=True)
class StoreOptions:
    """Store"""

    store_dtype: str = option("float32", "precision of the vectors on disk", choices=DTYPES)
    keep_query_vectors: bool = option(
        False, "keep each query's vector beside the sums, so that --max-queries can be varied later"
    )
    fuse: str | None = option(
        None,
        "keep one vector a passage for all its queries, their sum or the mean over languages of each language's mean, "
        "instead of one per language: 2/(1 + languages) of the disk, but no choice of languages later",
        choices=AGGREGATES,
    )
    chunk_size: int = option(1024, "passages between two commits to the disk", metavar="PASSAGES", check=at_least(1))

    def __post_init__(self) -> None:
        if self.fuse and self.keep_query_vectors:
            raise XqgError(
                "--fuse keeps one vector for all queries, --keep-query-vectors each one. Leave one of them out."
            )


def encode_chunk(
    embedder: Embedder,
    passages: Sequence[Passage],
    languages: Sequence[str],
    fields: Sequence[str] = FIELDS,
    keep_query_vectors: bool = False,
    fuse: str | None = None,
) -> Chunk:
    """Vectors of some passages and of all their queries in ``languages``; equal queries are embedded once.

    ``fuse`` (``sum`` or ``mean``) keeps one query vector a passage, over all languages, instead of one for each.
    """
    titles = [passage.title for passage in passages] if "title" in fields else None
    texts = [passage.text for passage in passages] if "text" in fields else [""] * len(passages)
    vectors = embedder.embed_passages(texts, titles)
    position: dict[str, int] = {}
    for passage in passages:
        for language in languages:
            for query in passage.queries.get(language, ()):
                position.setdefault(query, len(position))
    query_vectors = embedder.embed_queries(list(position))
    sums, counts, kept = {}, {}, {}
    for language in languages:
        queries = [passage.queries.get(language, ()) for passage in passages]
        rows = np.array([position[query] for texts_ in queries for query in texts_], dtype=np.int64)
        counts[language] = np.array([len(texts_) for texts_ in queries], dtype=np.int32)
        sums[language] = sum_queries(query_vectors[rows], counts[language])
        if keep_query_vectors:
            kept[language] = query_vectors[rows]
    docids = [passage.docid for passage in passages]
    middle = centroids(sums, counts)
    if fuse and languages:
        fused, _ = aggregate_queries(sums, counts, fuse)
        number = np.sum(list(counts.values()), axis=0, dtype=np.int32)
        return Chunk(docids, vectors, {FUSED: fused}, {FUSED: number}, {}, middle, fuse)
    return Chunk(docids, vectors, sums, counts, kept, middle)


def encode_corpus(
    corpus: Corpus,
    embedder: Embedder,
    output: str | Path,
    *,
    fields: Sequence[str] = FIELDS,
    store: StoreOptions | None = None,
    shard: Shard | None = None,
    overwrite: bool = False,
    wait: float = 0,
    inputs: Sequence[str] = (),
    report: Callable[[int, int, int], None] | None = None,
) -> None:
    """Fill the store ``output`` from a corpus, or from a ``shard`` of it; continue it if it is unfinished.

    A complete store with the same settings and corpus is left as it is. ``wait`` is for how many seconds another
    process may still hold the store; ``inputs`` are files and directories that are read, which the store must not
    touch. After each chunk, ``report`` gets the store's passages that are done, those there will be, and the number
    of texts in the chunk. Raises :class:`XqgError` for faults in the corpus and for an output that cannot become this
    store.
    """
    store = store or StoreOptions()
    state = corpus.file_state()
    summary = scan_once(corpus, Path(output).parent) if shard else corpus.scan()
    say(f"{embedder.config.describe()}: {embedder.precision} on {embedder.device}")
    if sources := embedder.config.describe_sources():
        say(f"settings from {sources}")
    embedder.check_distinct()
    settings: dict[str, Any] = {
        "encoder": embedder.config.to_dict(),
        "fields": list(fields),
        "dimension": embedder.dimension,
        "dtype": store.store_dtype,
        "precision": embedder.precision,
        "batch_tokens": embedder.batch_tokens,
        "chunk_size": store.chunk_size,
        "max_queries": corpus.max_queries,
        "keep_query_vectors": store.keep_query_vectors,
        "fuse": store.fuse,
        "corpus": {
            "passages": summary.passages,
            "queries": summary.queries,
            "passages_with_queries": summary.passages_with_queries,
            "passages_without_queries": summary.passages_without_queries,
            "sha256": summary.sha256,
        },
        "most_queries": summary.most_queries,
        "probe": embedder.probe(),
    }
    first, last, rows = 0, None, summary.passages
    if shard:
        settings["shard"] = shard.manifest(summary.passages, store.chunk_size)
        first, last = shard.rows(summary.passages, store.chunk_size)
        rows = last - first
    languages = list(summary.queries)
    total = (summary.passages + sum(summary.queries.values())) * rows // summary.passages  # of a shard, about
    with StoreWriter(output, settings, overwrite=overwrite, wait=wait, inputs=inputs) as writer:
        if writer.finished:
            say(f"{output}: already there, a complete store of this corpus and encoder")
            return
        if writer.rows_done:
            say(f"{output}: continues after {writer.rows_done:,} of {rows:,} passages")
        with progress(total=total, unit="texts", description="encoding") as bar:
            for passages in _chunks(islice(corpus, first, last), store.chunk_size, writer.rows_done, bar):
                chunk = encode_chunk(embedder, passages, languages, fields, store.keep_query_vectors, store.fuse)
                writer.write(chunk)
                bar.update(_texts(passages))
                if report:
                    report(writer.rows_done, rows, _texts(passages))
        complete = writer.rows_done == rows  # else the writer names the number
        if complete and corpus.file_state() != state and corpus.scan().sha256 != summary.sha256:
            raise XqgError(
                f"{corpus.source}: its passages were changed while they were encoded, so {output} may hold vectors of "
                "both versions. Leave the files alone and run the command again, with --overwrite."
            )
        writer.complete()
    if shard:
        say(f"{output}: shard {shard.id} of {shard.num}, {rows:,} of {summary.passages:,} passages")
        return
    counts = ", ".join(f"{language} {number:,}" for language, number in summary.queries.items())
    say(f"{output}: {summary.passages:,} passages" + (f", queries: {counts}" if counts else ", no queries"))
    if summary.passages_without_queries:
        say(
            f"{output}: {summary.passages_without_queries:,} passages have no generated query "
            "and keep their plain vector"
        )


def encode(
    corpus: CorpusOptions,
    selection: QuerySelection,
    encoder: EncoderOptions,
    device: DeviceOptions,
    store: StoreOptions,
    output: str,
    *,
    check: Callable[[Embedder], None] | None = None,
    **how: Any,
) -> None:
    """Encode what a command's options describe into the store ``output``.

    ``check`` sees the loaded encoder before the work begins; ``how`` goes to :func:`encode_corpus`.
    """
    from pyserini_xqg.vectors.embedding import load_embedder

    embedder = load_embedder(encoder.config(), device)
    if check:
        check(embedder)
    encode_corpus(
        corpus.open(selection),
        embedder,
        output,
        fields=corpus.fields,
        store=store,
        inputs=corpus.inputs,
        **how,
    )


def _texts(passages: Sequence[Passage]) -> int:
    return len(passages) + sum(len(texts) for passage in passages for texts in passage.queries.values())


def _chunks(passages: Iterator[Passage], size: int, done: int, bar: Any) -> Iterator[list[Passage]]:
    """Chunks of passages, without the ``done`` first ones."""
    bar.update(sum(_texts([passage]) for passage in islice(passages, done)))
    bar.initial = bar.n  # the rate is that of this process
    yield from chunks_of(passages, size)

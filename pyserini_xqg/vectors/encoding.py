"""Encode passages and their generated queries into an embedding store, chunk by chunk."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import positive, progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.text.corpus import FIELDS, Corpus, Passage, scan_once
from pyserini_xqg.vectors.augmentation import AGGREGATES, aggregate_queries
from pyserini_xqg.vectors.settings import POOLINGS, PRECISIONS, EncoderConfig
from pyserini_xqg.vectors.store import DTYPES, FUSED, Chunk, StoreWriter, is_complete, sum_first

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder


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
        number = np.array([len(texts_) for texts_ in queries], dtype=np.int32)
        sums[language], counts[language] = sum_first(query_vectors[rows], number)
        if keep_query_vectors:
            kept[language] = query_vectors[rows]
    docids = [passage.docid for passage in passages]
    if fuse and languages:
        fused, _ = aggregate_queries(sums, counts, fuse)
        number = np.sum(list(counts.values()), axis=0, dtype=np.int32)
        return Chunk(docids, vectors, {FUSED: fused}, {FUSED: number}, {}, fuse)
    return Chunk(docids, vectors, sums, counts, kept)


def encode_corpus(
    corpus: Corpus,
    embedder: Embedder,
    output: str | Path,
    *,
    fields: Sequence[str] = FIELDS,
    dtype: str = "float32",
    keep_query_vectors: bool = False,
    fuse: str | None = None,
    chunk_size: int = 1024,
    shard: Shard | None = None,
    overwrite: bool = False,
    reuse: bool = False,
    wait: float = 0,
    report: Callable[[int, int, int], None] | None = None,
) -> None:
    """Fill the store ``output`` from a corpus, or from a ``shard`` of it; continue it if it is half done.

    With ``reuse``, a complete store with the same settings and corpus is left as it is. ``wait`` is for how many
    seconds another process may still hold the store. After each chunk, ``report`` gets the store's passages that
    are done, those there will be, and the number of texts in the chunk.
    Raises :class:`XqgError` for faults in the corpus and for an output that cannot become this store.
    """
    if fuse and keep_query_vectors:
        raise XqgError("--fuse keeps one vector for all queries, --keep-query-vectors each one. Leave one of them out.")
    state = corpus.file_state()
    summary = scan_once(corpus, Path(output).parent) if shard else corpus.scan()
    say(f"{embedder.config.describe()}: {embedder.precision} on {embedder.device}")
    settings: dict[str, Any] = {
        "encoder": embedder.config.to_dict(),
        "fields": list(fields),
        "dimension": embedder.dimension,
        "dtype": dtype,
        "precision": embedder.precision,
        "batch_tokens": embedder.batch_tokens,
        "chunk_size": chunk_size,
        "max_queries": corpus.max_queries,
        "keep_query_vectors": keep_query_vectors,
        "fuse": fuse,
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
    first, last = 0, None
    rows = summary.passages
    if shard:
        settings["shard"] = shard.manifest(summary.passages, chunk_size)
        first, last = shard.rows(summary.passages, chunk_size)
        rows = last - first
    if reuse and is_complete(output, settings):
        say(f"{output}: a complete store of this corpus and encoder, used as it is")
        return
    languages = list(summary.queries)
    total = (summary.passages + sum(summary.queries.values())) * rows // summary.passages  # of a shard, about
    with (
        StoreWriter(output, settings, overwrite, wait) as writer,
        progress(total=total, unit="texts", description="encoding") as bar,
    ):
        if writer.rows_done:
            say(f"{output}: continues after {writer.rows_done:,} of {rows:,} passages")
        for passages in _chunks(islice(corpus, first, last), chunk_size, writer.rows_done, bar):
            writer.write(encode_chunk(embedder, passages, languages, fields, keep_query_vectors, fuse))
            bar.update(_texts(passages))
            if report:
                report(writer.rows_done, rows, _texts(passages))
        complete = writer.rows_done == rows  # else finish names the number
        if complete and corpus.file_state() != state and corpus.scan().sha256 != summary.sha256:
            raise XqgError(
                f"{corpus.source}: its passages were changed while they were encoded, so {output} may hold vectors of "
                "both versions. Leave the files alone and run the command again, with --overwrite."
            )
        writer.finish()
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


def _texts(passages: Sequence[Passage]) -> int:
    return len(passages) + sum(len(texts) for passage in passages for texts in passage.queries.values())


def _chunks(passages: Iterator[Passage], size: int, done: int, bar: Any) -> Iterator[list[Passage]]:
    """Chunks of passages, without the ``done`` first ones."""
    bar.update(sum(_texts([passage]) for passage in islice(passages, done)))
    bar.initial = bar.n  # the rate is that of this process
    while chunk := list(islice(passages, size)):
        yield chunk


def add_corpus_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options that say what is encoded."""
    group = parser.add_argument_group("corpus")
    group.add_argument(
        "--corpus",
        required=required,
        metavar="PATH",
        help="JSONL file (.gz too), directory of them, or irds:<dataset-id>; "
        "lines of docid, title, text, generated_queries",
    )
    group.add_argument(
        "--queries",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files with generated queries apart from the passages: lines of docid, generated_queries",
    )
    group.add_argument(
        "--fields", nargs="+", default=list(FIELDS), choices=FIELDS, help="fields of a passage to encode"
    )


def add_encoder_arguments(parser: argparse.ArgumentParser, required: bool) -> None:
    """The options that decide the vectors, named as in ``pyserini.encode``."""
    group = parser.add_argument_group(
        "encoder", "settings that pyserini_xqg.train recorded beside a model are its defaults"
    )
    group.add_argument(
        "--encoder",
        required=required,
        metavar="NAME",
        help="Hugging Face encoder, name or directory; xqg-small: the one that comes with the package",
    )
    group.add_argument("--tokenizer", metavar="NAME", help="its tokenizer, if not the encoder's own")
    group.add_argument("--pooling", choices=POOLINGS, help="how token vectors become one (default: cls)")
    group.add_argument(
        "--l2-norm", action=argparse.BooleanOptionalAction, help="scale each vector to unit length (default: no)"
    )
    group.add_argument("--max-length", type=positive, metavar="TOKENS", help="tokens kept of a passage (default: 256)")
    group.add_argument(
        "--query-max-length",
        type=positive,
        metavar="TOKENS",
        help="tokens kept of a query (default: the tokenizer's limit, as in Pyserini's search; the paper: 32)",
    )
    group.add_argument("--prefix", metavar="TEXT", help="put before the text of each passage")
    group.add_argument("--query-prefix", metavar="TEXT", help="put before each query")
    group.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda:0, cuda:1, …")
    group.add_argument(
        "--dtype",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="arithmetic of the model; auto: the fastest of the device that keeps rankings (bfloat16 where it has "
        "units for it); float32 is what pyserini.encode uses",
    )
    group.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="TOKENS",
        help="most tokens in a batch, with padding (default: 2048 on the CPU, 65536 on a GPU)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the model (default: all cores)")


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that decide what the store keeps."""
    group = parser.add_argument_group("store")
    group.add_argument("--store-dtype", choices=DTYPES, default="float32", help="precision of the vectors on disk")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--keep-query-vectors",
        action="store_true",
        help="keep each query's vector beside the sums, so that --max-queries can be varied later",
    )
    either.add_argument(
        "--fuse",
        choices=AGGREGATES,
        help="keep one vector a passage for all its queries, their sum or the mean over languages of each language's "
        "mean, instead of one per language: 2/(1 + languages) of the disk, but no choice of languages later",
    )
    group.add_argument(
        "--chunk-size", type=positive, default=1024, metavar="PASSAGES", help="passages between two commits to the disk"
    )


def config_from_args(args: argparse.Namespace) -> EncoderConfig:
    """The encoder's configuration that the options describe."""
    return EncoderConfig.named(
        args.encoder,
        tokenizer=args.tokenizer,
        pooling=args.pooling,
        l2_norm=args.l2_norm,
        max_length=args.max_length,
        query_max_length=args.query_max_length,
        prefix=args.prefix,
        query_prefix=args.query_prefix,
    )


def encoder_from_args(args: argparse.Namespace) -> Embedder:
    """Load the encoder that the options describe."""
    import torch

    from pyserini_xqg.vectors.embedding import Embedder

    if args.threads:
        torch.set_num_threads(args.threads)
    return Embedder(config_from_args(args), args.device, args.batch_tokens, args.dtype)


def encode_from_args(
    args: argparse.Namespace,
    output: str,
    shard: Shard | None = None,
    *,
    check: Callable[[Embedder], None] | None = None,
    **how: Any,
) -> None:
    """Encode what the options describe, or a shard of it, into the store ``output``.

    ``check`` sees the loaded encoder before the work begins; ``how`` goes to :func:`encode_corpus`.
    """
    languages = parse_languages(args.languages) if args.languages is not None else None
    corpus = Corpus(args.corpus, args.queries, languages, args.max_queries)
    embedder = encoder_from_args(args)
    if check:
        check(embedder)
    encode_corpus(
        corpus,
        embedder,
        output,
        fields=args.fields,
        dtype=args.store_dtype,
        keep_query_vectors=args.keep_query_vectors,
        fuse=args.fuse,
        chunk_size=args.chunk_size,
        shard=shard,
        **how,
    )

"""Which encoder and which vectors the inner products come from: a store's, an index's, or an encoder's on the fly."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.report.gold import Ranked, Run
from pyserini_xqg.report.index_vectors import IndexVectors
from pyserini_xqg.report.inner_products import Products, check_encoder, inner_products
from pyserini_xqg.text.corpus import FIELDS
from pyserini_xqg.text.lookup import PassageLookup
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.manifest import ROUTED, manifest_encoder, read_encoder_manifest, read_manifest
from pyserini_xqg.vectors.old_arguments import encoder_from_args
from pyserini_xqg.vectors.store import EmbeddingStore


def find_inner_products(
    args: argparse.Namespace,
    texts: Mapping[str, str],
    languages: Mapping[str, str],
    ranked: Mapping[str, Ranked],
    passages: PassageLookup | None,
    second: Run,
) -> tuple[Mapping[tuple[str, str], Products], Mapping[str, Any], str]:
    """Inner products, which generated queries the index holds, and a note for the page."""
    if not (args.store or args.index or args.encoder):
        return {}, {}, "No inner products: the page was made without --store, --index or --encoder."
    if passages is None:
        raise XqgError("inner products need the passages' texts, and there are none. Pass --passages.")
    store = EmbeddingStore(args.store) if args.store else None
    embedder, fields = _encoder(args, store)
    if store:
        check_encoder(embedder, store.manifest["probe"], args.store)
    gold = {query_id: [one.docid for one in found.gold] for query_id, found in ranked.items()}
    index = None
    used: dict[str, Any] = {}
    if args.index:
        docids = {docid for some in gold.values() for docid in some}
        index = IndexVectors(args.index, docids, embedder.dimension)
        if probe := index.probe:
            check_encoder(embedder, probe, args.index)
        used = {language: index.queries_held(language) for language in set(languages.values())}
        used = {language: held for language, held in used.items() if held is not None}
    questions = {query_id: (texts[query_id], languages[query_id]) for query_id in texts}
    products = inner_products(embedder, questions, gold, passages, fields=fields, store=store, index=index)
    if index:
        _compare_with_run(args, products, second)
    config = embedder.config
    note = f"Inner products with {Path(config.model).name} (pooling {config.pooling}{', l2-norm' * config.l2_norm})"
    note += f", vectors of {Path(args.store).name}" if store and store.manifest["keep_query_vectors"] else ""
    note += f"; index {Path(args.index).name}" if args.index else ""
    return products, used, note + "."


def _encoder(args: argparse.Namespace, store: Any) -> tuple[Embedder, Sequence[str]]:
    """The encoder, and the fields of a passage that it reads."""
    import torch

    fields: Sequence[str] | None = store.manifest["fields"] if store else None
    if args.index and fields is None and read_manifest(args.index) is not None:
        fields = _index_fields(args.index)
    fields = args.fields or fields or FIELDS
    if args.encoder:
        return encoder_from_args(args), fields
    if args.index and not store:
        read_encoder_manifest(args.index)  # says so where there is none
    if args.threads:
        torch.set_num_threads(args.threads)
    config = store.encoder if store else manifest_encoder(args.index)
    return Embedder(config, args.device, args.batch_tokens, args.dtype), fields


def _index_fields(directory: str) -> Sequence[str] | None:
    manifest = read_encoder_manifest(directory)
    if manifest["layout"] == ROUTED:
        manifest = read_encoder_manifest(Path(directory) / next(iter(manifest["languages"].values())))
    return manifest.get("fields")


def _compare_with_run(args: argparse.Namespace, products: Mapping[tuple[str, str], Products], second: Run) -> None:
    """Say so where the second run's scores are not the index's."""
    pairs = [
        (found.index, second[query_id][docid])
        for (query_id, docid), found in products.items()
        if docid in second.get(query_id, {})
    ]
    other = sum(abs(ours - theirs) > 0.05 * max(abs(ours), abs(theirs)) for ours, theirs in pairs)
    if other * 2 > len(pairs):
        say(
            f"warning: {args.runs[1]}: the scores of {other:,} of {len(pairs):,} gold passages differ from the inner "
            f"products with their vectors in {args.index} by more than 5 %. Was the run retrieved from it?"
        )

"""Build a Pyserini FAISS index from an embedding store, or from a corpus in one go.

Each index is arithmetic on the store, p' = (1 - alpha) p + alpha q, with q the mean over languages of each
language's mean of the passage's query vectors (the default, alpha 0.5, at unit length where the encoder's
vectors are) or their sum (the paper: --aggregate sum, alpha 0.01). --route builds one index per query
language, augmented with that language's queries alone. The result is what pyserini.encode --to-faiss
writes (index, docid), plus xqg.json.

Examples
--------
  python -m pyserini_xqg.index --store stores/mbert --output indexes/mbert.xqg
  python -m pyserini_xqg.index --store stores/mbert --output indexes/mbert.paper --aggregate sum
  python -m pyserini_xqg.index --store stores/mbert --output indexes/mbert.routed --route --alpha 0.8
  python -m pyserini_xqg.index --corpus passages.jsonl --encoder models/mbert --output indexes/mbert.xqg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.vectors.augmentation import (
    AGGREGATES,
    DEFAULT_AGGREGATE,
    DEFAULT_ALPHA,
    check_alpha,
)
from pyserini_xqg.vectors.building import Layout, Recipe, build_index, build_routed_index, check_index_output
from pyserini_xqg.vectors.encoding import (
    add_corpus_arguments,
    add_encoder_arguments,
    add_store_arguments,
    encode_from_args,
)
from pyserini_xqg.vectors.store import EmbeddingStore


def _report(output: Path, manifest: dict[str, Any]) -> None:
    counts, settings = manifest["counts"], manifest["augmentation"]
    queries = ", ".join(f"{language} {number:,}" for language, number in counts["queries"].items()) or "none"
    alpha = f"{settings['alpha']:g}" + (" unless the search says otherwise" if manifest["alpha_at_search"] else "")
    layout = ", normalized" if settings["normalize"] else ""
    layout += f", {manifest['faiss']['factory']}" if manifest["faiss"]["factory"] != "Flat" else ""
    layout += f", {len(manifest['shards'])} shards" if "shards" in manifest else ""
    say(
        f"{output}: {counts['passages']:,} passages x {manifest['dimension']}, alpha {alpha}, "
        f"{settings['aggregate']}{layout}; queries: {queries}"
    )
    if counts["passages_without_queries"]:
        say(
            f"{output}: {counts['passages_without_queries']:,} passages have none of these queries "
            "and keep their plain vector"
        )


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.index", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the index directory to make")
    parser.add_argument("--overwrite", action="store_true", help="replace an index that exists (never a store)")
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="the embedding store to read; with --corpus, where it is made (default there: <output>-store); it is kept",
    )
    group = parser.add_argument_group("augmentation")
    group.add_argument(
        "--alpha",
        type=float,
        help="weight of the generated queries, 0 to 1; 0 is no xQG "
        f"(default: {', '.join(f'{DEFAULT_ALPHA[name]:g} with {name}' for name in reversed(AGGREGATES))})",
    )
    group.add_argument(
        "--aggregate",
        choices=AGGREGATES,
        help="mean over languages of each language's mean, or sum over all queries, which is the paper's formula "
        f"(default: {DEFAULT_AGGREGATE}; of a fused store, as it was fused)",
    )
    group.add_argument("--languages", metavar="CODES", help="query languages to use, such as ar,bn,fi (default: all)")
    group.add_argument(
        "--max-queries", type=positive, metavar="N", help="first N queries per passage and language (default: all)"
    )
    group.add_argument("--route", action="store_true", help="one index per language, in <output>/<language>/")
    group.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        help="scale the final vectors to unit length (default: with mean and an encoder with --l2-norm; not with sum, "
        "--alpha 0 or --alpha-at-search)",
    )
    group.add_argument(
        "--alpha-at-search",
        action="store_true",
        help="keep passages and queries apart in vectors twice as long, so that each search chooses its alpha "
        "(pyserini_xqg.search --alpha, or --encoder xqg@ALPHA:DIR); --alpha is then the default there",
    )
    group = parser.add_argument_group("FAISS")
    group.add_argument(
        "--factory",
        default="Flat",
        metavar="STRING",
        help="kind of index, as FAISS's index_factory has it: Flat (exact), SQfp16, HNSW32, IVF4096,PQ64, …; all but "
        "Flat are built in memory",
    )
    group.add_argument(
        "--faiss-parameters",
        metavar="STRING",
        help="kept in the index, such as nprobe=32 or efConstruction=80,efSearch=64 "
        "(default: FAISS's, but nprobe = square root of the number of lists)",
    )
    group.add_argument(
        "--train-size",
        type=positive,
        metavar="VECTORS",
        help="evenly spread passages to train on, for the kinds that need it (default: 64 a centroid, at least 65536)",
    )
    group.add_argument(
        "--faiss-threads",
        type=positive,
        metavar="N",
        help="threads of FAISS (default: all cores); HNSW gives the same bytes again with 1 only",
    )
    group.add_argument(
        "--shards",
        type=positive,
        default=1,
        metavar="N",
        help="N index files of consecutive passages, searched together as one index",
    )
    add_corpus_arguments(parser, required=False)
    add_encoder_arguments(parser, required=False)
    add_store_arguments(parser)
    return parser


def _store_path(args: argparse.Namespace) -> str:
    return args.store or f"{args.output.rstrip('/')}-store"


def _store_from_corpus(args: argparse.Namespace, recipe: Recipe, layout: Layout) -> str:
    if not args.encoder:
        raise XqgError("--corpus needs --encoder: the Hugging Face encoder, name or directory.")
    store = _store_path(args)
    # The layout is checked before the hours of encoding.
    encode_from_args(args, store, check=lambda embedder: layout.check(recipe.dimension(embedder)), reuse=True)
    return store


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.index``."""
    args = build_parser().parse_args(argv)
    if args.alpha is not None:
        check_alpha(args.alpha)
    languages = parse_languages(args.languages) if args.languages is not None else None
    if not args.corpus and not args.store:
        raise XqgError("nothing to build from: pass --store <embedding store>, or --corpus with --encoder.")
    if not args.corpus and args.queries:
        raise XqgError("--queries goes with --corpus: a store has its queries already.")
    if args.corpus and args.fuse and (args.aggregate not in (None, args.fuse) or args.route):
        raise XqgError(
            f"--fuse {args.fuse} makes a store for --aggregate {args.fuse} without --route. Leave --fuse out, or the "
            "other options."
        )
    check_index_output(args.output, args.overwrite, _store_path(args))
    recipe = Recipe(
        args.alpha,
        args.aggregate,
        tuple(languages) if languages is not None else None,
        args.max_queries,
        args.normalize,
        args.alpha_at_search,
    )
    layout = Layout(args.factory, args.faiss_parameters, args.train_size, args.faiss_threads, args.shards)
    store = EmbeddingStore(_store_from_corpus(args, recipe, layout) if args.corpus else args.store)
    layout.check(recipe.dimension(store))
    output = Path(args.output)
    if args.route:
        for language, manifest in build_routed_index(store, output, recipe, layout, overwrite=args.overwrite).items():
            _report(output / language, manifest)
    else:
        _report(output, build_index(store, output, recipe, layout, overwrite=args.overwrite))


if __name__ == "__main__":
    run(main)

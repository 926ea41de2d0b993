"""Build a Pyserini FAISS index from an embedding store, or from a corpus in one go.

Each index is arithmetic on the store, p' = (1 - alpha) p + alpha q, with q the sum of the passage's query
vectors (the paper) or the mean over languages of each language's mean. --route builds one index per
query language, augmented with that language's queries alone. The result is what pyserini.encode
--to-faiss writes (index, docid), plus xqg.json.

Examples
--------
  python -m pyserini_xqg.index --store stores/mbert --output indexes/mbert.xqg --alpha 0.01
  python -m pyserini_xqg.index --store stores/mbert --output indexes/mbert.routed --route --aggregate mean --alpha 0.8
  python -m pyserini_xqg.index --corpus passages.jsonl --encoder models/mbert --output indexes/mbert.xqg
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.augmentation import AGGREGATES, PAPER_ALPHA, augment, check_alpha
from pyserini_xqg.cli import HelpFormatter, progress, run, say
from pyserini_xqg.encode import (
    add_corpus_arguments,
    add_encoder_arguments,
    add_store_arguments,
    encode_corpus,
    encoder_from_args,
    positive,
)
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import check_output, sha256_file, whole_directory, write_json
from pyserini_xqg.languages import parse_languages
from pyserini_xqg.manifest import INDEX_FORMAT, MANIFEST_NAME, ROUTED_FORMAT, new_manifest
from pyserini_xqg.store import EmbeddingStore


@dataclass(frozen=True)
class Recipe:
    """What turns a store into an index: the knobs of the augmentation.

    alpha : weight of the queries, 0 (plain passages) to 1. aggregate : ``sum`` or ``mean``.
    languages : those whose queries are used; None for all of the store.
    max_queries : first so many queries per passage and language; None for all.
    normalize : scale the final vectors to unit length.
    """

    alpha: float = PAPER_ALPHA
    aggregate: str = "sum"
    languages: tuple[str, ...] | None = None
    max_queries: int | None = None
    normalize: bool = False


def check_index_output(output: str | Path, overwrite: bool, store: str | Path | None = None) -> None:
    """Refuse an output that exists, one that is no index even with ``overwrite``, and one that touches the store."""
    path = Path(output)
    if store is not None:
        here, there = path.resolve(), Path(store).resolve()
        if here.is_relative_to(there) or there.is_relative_to(here):
            raise XqgError(f"{output}: the index and the store {store} would lie in one another. Keep them apart.")
    check_output(path, overwrite)
    if not path.exists():
        return
    held = {entry.name for entry in path.iterdir()} if path.is_dir() else None
    if held is None or (held and MANIFEST_NAME not in held and not held >= {"index", "docid"}):
        what = f"it holds {min(held)}" if held else "it is a file"
        raise XqgError(f"{output} exists and is no index ({what}), so it is not overwritten. Choose another --output.")


def build_index(
    store: EmbeddingStore, output: str | Path, recipe: Recipe, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write one index directory (``index``, ``docid``, ``xqg.json``), whole or not at all; returns the manifest."""
    check_index_output(output, overwrite, store.directory)
    languages = _check_languages(store, recipe.languages)
    with whole_directory(output, overwrite) as directory:
        return _write_index(store, directory, recipe, languages)


def build_routed_index(
    store: EmbeddingStore, output: str | Path, recipe: Recipe, *, overwrite: bool = False
) -> dict[str, dict[str, Any]]:
    """Write one index per language into ``output/<language>``, each with its own queries; returns the manifests."""
    check_index_output(output, overwrite, store.directory)
    languages = _check_languages(store, recipe.languages)
    if not languages:
        raise XqgError(
            f"{store.directory}: has no generated queries, so there is no language to route by. Leave --route out."
        )
    with whole_directory(output, overwrite) as directory:
        manifests = {}
        for language in languages:
            (directory / language).mkdir()
            manifests[language] = _write_index(store, directory / language, recipe, [language])
        routes = new_manifest(
            ROUTED_FORMAT,
            encoder=store.manifest["encoder"],
            probe=store.manifest["probe"],
            dimension=store.dimension,
            languages={language: language for language in languages},
        )
        write_json(directory / MANIFEST_NAME, routes)
        return manifests


def _check_languages(store: EmbeddingStore, languages: Sequence[str] | None) -> list[str]:
    if languages is None:
        return store.languages
    missing = [language for language in languages if language not in store.languages]
    if missing:
        raise XqgError(
            f"{store.directory}: no queries in {', '.join(missing)}. It has {', '.join(store.languages) or 'none'}; "
            "choose --languages among them, or encode again."
        )
    return list(languages)


def _write_index(store: EmbeddingStore, directory: Path, recipe: Recipe, languages: Sequence[str]) -> dict[str, Any]:
    from pyserini_xqg.flat import write_flat_index

    plain = 0
    queries = dict.fromkeys(languages, 0)

    def augmented() -> Iterator[np.ndarray]:
        nonlocal plain
        name = f"index {directory.name}" if directory.name in languages else "index"
        with progress(total=store.passages, unit="passages", description=name) as bar:
            for passages, sums, counts in store.blocks(languages, recipe.max_queries):
                without = np.ones(len(passages), dtype=bool)
                for language in languages:
                    queries[language] += int(counts[language].sum())
                    without &= counts[language] == 0
                plain += int(without.sum())
                yield augment(passages, sums, counts, recipe.alpha, recipe.aggregate, recipe.normalize)
                bar.update(len(passages))

    write_flat_index(directory / "index", store.dimension, store.passages, augmented())
    shutil.copyfile(store.docids_path, directory / "docid")
    manifest = new_manifest(
        INDEX_FORMAT,
        encoder=store.manifest["encoder"],
        probe=store.manifest["probe"],
        dimension=store.dimension,
        fields=store.manifest["fields"],
        augmentation={
            "alpha": recipe.alpha,
            "aggregate": recipe.aggregate,
            "languages": list(languages),
            "max_queries": recipe.max_queries if recipe.max_queries is not None else store.manifest["max_queries"],
            "normalize": recipe.normalize,
        },
        counts={"passages": store.passages, "passages_without_queries": plain, "queries": queries},
        corpus_sha256=store.manifest["corpus"]["sha256"],
        sha256={name: sha256_file(directory / name) for name in ("index", "docid")},
    )
    write_json(directory / MANIFEST_NAME, manifest)
    return manifest


def _report(output: Path, manifest: dict[str, Any]) -> None:
    counts, settings = manifest["counts"], manifest["augmentation"]
    queries = ", ".join(f"{language} {number:,}" for language, number in counts["queries"].items()) or "none"
    say(
        f"{output}: {counts['passages']:,} passages x {manifest['dimension']}, alpha {settings['alpha']:g}, "
        f"{settings['aggregate']}{', normalized' if settings['normalize'] else ''}; queries: {queries}"
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
        "--alpha", type=float, default=PAPER_ALPHA, help="weight of the generated queries, 0 to 1; 0 is no xQG"
    )
    group.add_argument(
        "--aggregate",
        choices=AGGREGATES,
        default="sum",
        help="sum over all queries (the paper), or mean over languages of each language's mean",
    )
    group.add_argument("--languages", metavar="CODES", help="query languages to use, such as ar,bn,fi (default: all)")
    group.add_argument(
        "--max-queries", type=positive, metavar="N", help="first N queries per passage and language (default: all)"
    )
    group.add_argument("--route", action="store_true", help="one index per language, in <output>/<language>/")
    group.add_argument("--normalize", action="store_true", help="scale the final vectors to unit length")
    add_corpus_arguments(parser, required=False)
    add_encoder_arguments(parser, required=False)
    add_store_arguments(parser)
    return parser


def _store_path(args: argparse.Namespace) -> str:
    return args.store or f"{args.output.rstrip('/')}-store"


def _store_from_corpus(args: argparse.Namespace, languages: list[str] | None) -> str:
    from pyserini_xqg.corpus import Corpus

    if not args.encoder:
        raise XqgError("--corpus needs --encoder: the Hugging Face encoder, name or directory.")
    store = _store_path(args)
    corpus = Corpus(args.corpus, args.queries, languages, args.max_queries)
    encode_corpus(
        corpus,
        encoder_from_args(args),
        store,
        fields=args.fields,
        dtype=args.store_dtype,
        keep_query_vectors=args.keep_query_vectors,
        chunk_size=args.chunk_size,
        reuse=True,
    )
    return store


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.index``."""
    args = build_parser().parse_args(argv)
    check_alpha(args.alpha)
    languages = parse_languages(args.languages) if args.languages is not None else None
    if not args.corpus and not args.store:
        raise XqgError("nothing to build from: pass --store <embedding store>, or --corpus with --encoder.")
    if not args.corpus and args.queries:
        raise XqgError("--queries goes with --corpus: a store has its queries already.")
    check_index_output(args.output, args.overwrite, _store_path(args))
    store = EmbeddingStore(_store_from_corpus(args, languages) if args.corpus else args.store)
    recipe = Recipe(
        args.alpha,
        args.aggregate,
        tuple(languages) if languages is not None else None,
        args.max_queries,
        args.normalize,
    )
    output = Path(args.output)
    if args.route:
        for language, manifest in build_routed_index(store, output, recipe, overwrite=args.overwrite).items():
            _report(output / language, manifest)
    else:
        _report(output, build_index(store, output, recipe, overwrite=args.overwrite))


if __name__ == "__main__":
    run(main)

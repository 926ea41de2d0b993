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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import check_job
from pyserini_xqg.core.options import group, option, parse
from pyserini_xqg.core.output import check_apart, check_directory
from pyserini_xqg.text.corpus import CorpusOptions
from pyserini_xqg.vectors.building import Layout, build_index, is_built
from pyserini_xqg.vectors.encoding import StoreOptions, encode
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.manifest import INDEX_KIND, ROUTED
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions
from pyserini_xqg.vectors.store import EmbeddingStore


@dataclass(frozen=True)
class IndexOptions:
    """Options of ``python -m pyserini_xqg.index``."""

    output: str = option(help="the index directory to make", metavar="DIR")
    overwrite: bool = option(False, "replace an index that exists (never a store)", decides=False)
    store: str | None = option(
        None,
        "the embedding store to read; with --corpus, where it is made (default there: <output>-store); it is kept",
        metavar="DIR",
    )
    recipe: Recipe = group(Recipe)
    layout: Layout = group(Layout)
    corpus: CorpusOptions = group(CorpusOptions)
    encoder: EncoderOptions = group(EncoderOptions)
    device: DeviceOptions = group(DeviceOptions)
    kept: StoreOptions = group(StoreOptions)

    def __post_init__(self) -> None:
        source, fuse, recipe = self.corpus.corpus, self.kept.fuse, self.recipe
        if not source and not self.store:
            raise XqgError("nothing to build from: pass --store <embedding store>, or --corpus with --encoder.")
        if not source and self.corpus.queries:
            raise XqgError("--queries goes with --corpus: a store has its queries already.")
        if source and not self.encoder.encoder:
            raise XqgError("--corpus needs --encoder: the Hugging Face encoder, name or directory.")
        if source and fuse and recipe.alpha != 0 and ((recipe.aggregate or "mean") != fuse or recipe.route):
            raise XqgError(
                f"--fuse {fuse} makes a store for --aggregate {fuse} (default: mean) without --route. Pass that, or "
                "leave --fuse out."
            )

    @property
    def store_directory(self) -> str:
        """Where the store is, or is to be made."""
        return self.store or f"{self.output.rstrip('/')}-store"

    def open_store(self) -> EmbeddingStore:
        """The store, made of the corpus if one is named."""
        if self.corpus.corpus:
            encode(
                *(self.corpus, self.recipe, self.encoder, self.device, self.kept, self.store_directory),
                # Before the hours of encoding.
                check=lambda embedder: self.layout.check(embedder.dimension),
            )
        return EmbeddingStore(self.store_directory)


def _report(output: str, manifest: Mapping[str, Any]) -> None:
    """Say what was made; in one line that an index is plain."""
    counts, recipe = manifest["counts"], manifest["augmentation"]
    layout = f", {manifest['faiss']['factory']}" if manifest["faiss"]["factory"] != "Flat" else ""
    layout += f", {len(manifest['shards'])} shards" if "shards" in manifest else ""
    layout += ", one index a language" if manifest["layout"] == ROUTED else ""
    size = f"{output}: {counts['passages']:,} passages x {manifest['dimension']}"
    removal = f", language removal {recipe['language_removal']:g}" if recipe["language_removal"] else ""
    if not any(counts["queries"].values()):
        say(f"{size}, plain: no generated query is used{removal}{layout}")
        return
    queries = ", ".join(f"{language} {number:,}" for language, number in counts["queries"].items())
    unit = ", unit length" if recipe["normalize"] else ""
    say(f"{size}, {recipe['aggregate']}, alpha {recipe['alpha']:g}{unit}{removal}{layout}; queries: {queries}")
    without = counts["passages_without_queries"]
    for language, number in without.items() if isinstance(without, dict) else [("", without)]:
        if number:
            where = f"{output}/{language}" if language else output
            say(f"{where}: {number:,} passages have none of these queries and keep their plain vector")


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.index``."""
    options = parse(IndexOptions, "index", __doc__, argv)
    output, corpus = options.output, options.corpus
    check_apart(output, [options.store_directory])
    if corpus.corpus:
        check_job(options.store_directory, STORE_KIND, None, inputs=corpus.inputs)
    # What was made of a store is compared with it later; without one, nothing is encoded for an output that exists.
    if not INDEX_KIND.is_at(output) or options.overwrite or not STORE_KIND.is_at(options.store_directory):
        check_directory(output, INDEX_KIND, options.overwrite, corpus.inputs)
    store = options.open_store()
    if not options.overwrite and is_built(output, store, options.recipe, options.layout):
        say(f"{output}: already there, made of this store with these options")
        return
    manifest = build_index(store, output, options.recipe, options.layout, overwrite=options.overwrite)
    _report(output, manifest)


if __name__ == "__main__":
    run(main)

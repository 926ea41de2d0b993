"""Builds a Pyserini FAISS index from an embedding store: what a recipe makes of it, in one file or several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import HashedFile, read_ahead, write_file
from pyserini_xqg.core.kinds import seal
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.core.output import write_directory
from pyserini_xqg.vectors.manifest import INDEX_KIND, MEAN_ROUTE, PLAIN_ROUTE, ROUTED, SHARDED, SINGLE, package_versions
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.store import Block, EmbeddingStore


@dataclass(frozen=True)
class Layout:
    """FAISS; every layout holds the same vectors"""

    factory: str = option(
        "Flat",
        "kind of index, as FAISS's index_factory has it: Flat (exact), SQfp16, HNSW32, IVF4096,PQ64, …; all but Flat "
        "are built in memory",
        metavar="STRING",
    )
    faiss_parameters: str | None = option(
        None,
        "kept in the index, such as nprobe=32 or efConstruction=80,efSearch=64 (default: FAISS's, but nprobe = square "
        "root of the number of lists)",
        metavar="STRING",
    )
    train_size: int | None = option(
        None,
        "evenly spread passages to train on, for the kinds that need it (default: 64 a centroid, at least 65536)",
        metavar="VECTORS",
        check=at_least(1),
    )
    faiss_threads: int | None = option(
        None,
        "threads of FAISS (default: all cores); HNSW gives the same bytes again with 1 only",
        metavar="N",
        check=at_least(1),
        decides=False,
    )
    shards: int = option(
        1,
        "N index files of consecutive passages, searched together as one index",
        metavar="N",
        check=at_least(1),
    )

    def check(self, dimension: int) -> None:
        """Raise :class:`XqgError` if FAISS has no such index for vectors of ``dimension`` numbers."""
        if self != Layout(faiss_threads=self.faiss_threads, shards=self.shards):
            from pyserini_xqg.vectors.faiss_index import new_index

            new_index(self.factory, dimension, self.faiss_parameters)


DEFAULT_LAYOUT = Layout()
BASIS_NAME = "language-basis.npy"
_LONG = 2.0
"""A vector so many times as long as the median is warned of."""


def index_settings(store: EmbeddingStore, recipe: Recipe, layout: Layout) -> dict[str, Any]:
    """What decides an index: the store's corpus and vectors, the resolved recipe, the layout."""
    return {
        "encoder": store.manifest["encoder"],
        "probe": store.manifest["probe"],
        "dimension": store.dimension,
        "fields": store.manifest["fields"],
        "augmentation": recipe.describe(),
        "faiss": {
            "factory": layout.factory,
            "parameters": layout.faiss_parameters,
            "train_size": layout.train_size,
        },
        "corpus_sha256": store.manifest["corpus"]["sha256"],
    }


def is_built(output: str | Path, store: EmbeddingStore, recipe: Recipe, layout: Layout) -> bool:
    """Whether the index that a recipe makes of a store lies at ``output`` already."""
    if not INDEX_KIND.is_at(output):
        return False
    try:
        there = INDEX_KIND.read(output)
    except XqgError:
        return False
    recipe = recipe.resolve(store)
    wanted = index_settings(store, recipe, layout)
    found = {name: there.get(name) for name in wanted}
    found["faiss"] = {name: there.get("faiss", {}).get(name) for name in wanted["faiss"]}
    shards = len(there.get("shards", [None]))
    return found == wanted and shards == layout.shards and (there["layout"] == ROUTED) == recipe.route


def build_index(
    store: EmbeddingStore,
    output: str | Path,
    recipe: Recipe | None = None,
    layout: Layout = DEFAULT_LAYOUT,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write an index directory (``index``, ``docid``, ``xqg.json``), whole or not at all; returns the manifest.

    With a routed recipe there is one such directory a language in it. Raises :class:`XqgError` for an output that
    exists (unless ``overwrite``), and for what the store cannot give.
    """
    recipe = (recipe or Recipe()).resolve(store)
    layout.check(store.dimension)
    with write_directory(output, INDEX_KIND, overwrite, [store.directory]) as directory:
        basis = recipe.basis(store)
        if basis is not None:
            with write_file(directory / BASIS_NAME, "wb") as out:
                np.save(out, basis)
        if not recipe.route:
            return _write_index(store, directory, recipe, layout, "index", basis)
        routes, counts = recipe.routes(), {}
        for name, own in routes.items():
            (directory / name).mkdir()
            described = _write_index(store, directory / name, own, layout, f"index {name}", basis)
            counts[name] = described["counts"]
        described = {
            **index_settings(store, recipe, layout),
            "layout": ROUTED,
            "languages": {language: language for language in recipe.languages},
            "passage_language": recipe.passage_language,
            "others": {name: name for name in routes if name in (PLAIN_ROUTE, MEAN_ROUTE)},
            "counts": {
                "passages": store.passages,
                "queries": {language: counts[language]["queries"].get(language, 0) for language in recipe.languages},
                "passages_without_queries": {
                    language: counts[language]["passages_without_queries"] for language in recipe.languages
                },
            },
            "versions": package_versions(),
        }
        return seal(directory, INDEX_KIND, described)


class _Composer:
    """The vectors of an index, composed from the store block by block, and counts of what went into them."""

    def __init__(self, store: EmbeddingStore, recipe: Recipe, basis: np.ndarray | None) -> None:
        self.store, self.recipe, self.basis = store, recipe, basis
        self._longest, self._medians = 0.0, []

    def blocks(self) -> Iterator[Block]:
        """The store's blocks with the queries that the recipe takes."""
        return self.store.blocks(self.recipe.languages_read, self.recipe.max_queries)

    def vectors(self, block: Block) -> np.ndarray:
        """The index's vectors of a block, float32 (rows, dimension)."""
        return self.recipe.apply(block.passages, block.sums, block.counts, self.basis)

    def sample(self, size: int) -> np.ndarray:
        """The vectors of ``size`` passages, evenly spread over the store."""
        from pyserini_xqg.vectors.faiss_index import sample_rows

        wanted = sample_rows(self.store.passages, size)
        vectors = np.empty((size, self.store.dimension), dtype=np.float32)
        with progress(total=self.store.passages, unit="passages", description="sample") as bar:
            for block in self.blocks():
                here = slice(*np.searchsorted(wanted, [block.first, block.first + len(block)]))
                vectors[here] = self.vectors(block.take(wanted[here] - block.first))
                bar.update(len(block))
        return vectors

    def compose(self, blocks: Iterable[Block], counts: dict[str, Any], bar: Any) -> Iterator[np.ndarray]:
        """Yield the blocks' vectors; ``counts`` gains the passages without queries, and the queries by language."""
        for block in blocks:
            without = np.ones(len(block), dtype=bool)
            for language, count in block.counts.items():  # one for all languages in a fused store
                without &= count == 0
                if not self.store.fuse:
                    counts["queries"][language] += int(count.sum())
            counts["passages_without_queries"] += int(without.sum())
            vectors = self.vectors(block)
            if not self.recipe.normalize and self.recipe.alpha > 0:
                lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
                self._longest = max(self._longest, float(lengths.max()))
                self._medians.append(float(np.median(lengths)))
            yield vectors
            bar.update(len(block))

    def warn_of_lengths(self, output: str) -> None:
        """Say where vectors have grown apart: a long one is found for every topic."""
        if self._medians and self._longest > _LONG * (median := float(np.median(self._medians))):
            say(
                f"{output}: warning: the longest vector is {self._longest / max(median, 1e-9):.1f} times as long as "
                "half of them, and would be found for topics of all kinds. Uneven numbers of queries do that with "
                "--aggregate sum: take the default, --aggregate mean."
            )


def shard_sizes(passages: int, shards: int) -> list[int]:
    """Passages of each shard: as equal as can be, in order.

    >>> shard_sizes(10, 3)
    [3, 3, 4]
    """
    if shards > passages:
        raise XqgError(f"--shards {shards:,}: there are {passages:,} passages. Use at most so many shards.")
    bounds = [passages * number // shards for number in range(shards + 1)]
    return [end - first for first, end in pairwise(bounds)]


def cut_blocks(blocks: Iterator[Block], sizes: Sequence[int]) -> Iterator[Iterator[Block]]:
    """Cut consecutive blocks where a shard ends; each shard's blocks must be taken before the next shard's."""
    rest: Block | None = None

    def shard(size: int) -> Iterator[Block]:
        nonlocal rest
        while size and (block := rest or next(blocks, None)):
            number = len(block)
            rest = block.take(slice(size, None)) if number > size else None
            yield block.take(slice(0, size)) if number > size else block
            size -= min(size, number)

    for size in sizes:
        yield shard(size)


def _write_index(
    store: EmbeddingStore,
    directory: Path,
    recipe: Recipe,
    layout: Layout,
    description: str,
    basis: np.ndarray | None,
) -> dict[str, Any]:
    """Write one index, or one of several shards, into an empty directory; returns the manifest."""
    from pyserini_xqg.vectors.faiss_index import index_writer

    composer = _Composer(store, recipe, basis)
    write, trained_on = index_writer(
        layout.factory,
        store.dimension,
        composer.sample,
        store.passages,
        parameters=layout.faiss_parameters,
        train_size=layout.train_size,
        threads=layout.faiss_threads,
    )
    sizes = shard_sizes(store.passages, layout.shards)
    names = [f"{number:0{len(str(layout.shards))}d}" for number in range(1, layout.shards + 1)]
    places = [directory / name for name in names] if layout.shards > 1 else [directory]
    described = index_settings(store, recipe, layout) | {"versions": package_versions()}
    described["faiss"]["trained_on"] = trained_on
    total = _no_counts(recipe) | {"passages": store.passages}
    shards = cut_blocks(read_ahead(composer.blocks()), sizes)
    with (
        progress(total=store.passages, unit="passages", description=description) as bar,
        open(store.docids_path, "rb") as docids,
    ):
        for place, size, blocks in zip(places, sizes, shards, strict=True):
            place.mkdir(exist_ok=True)
            counts = _no_counts(recipe) | {"passages": size}
            checksums = {"index": write(place / "index", size, composer.compose(blocks, counts, bar))}
            with HashedFile(place / "docid") as out:
                lines = islice(docids, size)
                while some := b"".join(islice(lines, 10_000)):
                    out.write(some)
            checksums["docid"] = out.sha256
            total["passages_without_queries"] += counts["passages_without_queries"]
            for language, number in counts["queries"].items():
                total["queries"][language] += number
            if layout.shards > 1:
                counts["queries"] = None if store.fuse else counts["queries"]  # known for the whole store only
                seal(place, INDEX_KIND, {**described, "layout": SINGLE, "counts": counts}, checksums)
    composer.warn_of_lengths(description)
    if store.fuse and recipe.languages_read:
        total["queries"] = dict(store.manifest["corpus"]["queries"])
    if layout.shards > 1:
        return seal(directory, INDEX_KIND, {**described, "layout": SHARDED, "shards": names, "counts": total})
    return seal(directory, INDEX_KIND, {**described, "layout": SINGLE, "counts": total}, checksums)


def _no_counts(recipe: Recipe) -> dict[str, Any]:
    return {"passages": 0, "passages_without_queries": 0, "queries": dict.fromkeys(recipe.languages_read, 0)}

"""Build a Pyserini FAISS index from an embedding store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import HashedFile, read_ahead, write_json
from pyserini_xqg.core.old_files import check_output, whole_directory
from pyserini_xqg.vectors.augmentation import (
    DEFAULT_AGGREGATE,
    DEFAULT_ALPHA,
    augment,
    check_aggregate,
    check_alpha,
    stack_parts,
)
from pyserini_xqg.vectors.manifest import INDEX_FORMAT, MANIFEST_NAME, ROUTED_FORMAT, SHARDED_FORMAT, new_manifest
from pyserini_xqg.vectors.store import EmbeddingStore

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder

# Passages' vectors, and by language the sums of their queries' vectors and how many were summed.
Block = tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Recipe:
    """What turns a store into an index: the knobs of the augmentation.

    alpha : weight of the queries, 0 (plain passages) to 1. aggregate : ``sum`` or ``mean``.
    languages : those whose queries are used; None for all of the store.
    max_queries : first so many queries per passage and language; None for all.
    normalize : scale the final vectors to unit length.
    alpha_at_search : keep passage and queries apart, in vectors twice as long; ``alpha`` is then a default.

    ``alpha``, ``aggregate`` and ``normalize`` may be None: :meth:`resolve` chooses them for a store, when it is built.
    """

    alpha: float | None = None
    aggregate: str | None = None
    languages: tuple[str, ...] | None = None
    max_queries: int | None = None
    normalize: bool | None = None
    alpha_at_search: bool = False

    def __post_init__(self) -> None:
        if self.alpha_at_search and self.normalize:
            raise XqgError(
                "--alpha-at-search with --normalize: the length of the final vector depends on alpha, so it cannot be "
                "left open. Leave one of them out."
            )

    def resolve(self, store: EmbeddingStore) -> Recipe:
        """Choose what this recipe leaves open; every index is built of a recipe that went through here.

        aggregate : as the store was fused, else ``mean``. alpha : ``DEFAULT_ALPHA`` of
        the aggregate. normalize : where a ``mean`` has moved vectors that the encoder scales to unit length. So not
        with ``sum``, which is the paper's formula as it stands; with alpha 0, where vectors stay as they were encoded;
        or with ``alpha_at_search``, where the length is open.
        """
        aggregate = check_aggregate(self.aggregate or store.fuse or DEFAULT_AGGREGATE)
        alpha = check_alpha(float(DEFAULT_ALPHA[aggregate] if self.alpha is None else self.alpha), "alpha")
        normalize = self.normalize
        if normalize is None:
            normalize = store.encoder.l2_norm and aggregate == "mean" and alpha > 0 and not self.alpha_at_search
        return replace(self, alpha=alpha, aggregate=aggregate, normalize=normalize)

    def dimension(self, source: EmbeddingStore | Embedder) -> int:
        """Length of the index's vectors, from what makes them."""
        return source.dimension * (2 if self.alpha_at_search else 1)


@dataclass(frozen=True)
class Layout:
    """What the index files are like; every layout holds the same vectors.

    factory : FAISS's index_factory string. parameters : FAISS's, such as ``nprobe=32``, kept in the file.
    train_size : vectors to train on, for kinds that need it; None for :func:`faiss_index.training_size`'s choice.
    threads : FAISS's; None for all cores. shards : index files, each with consecutive passages.
    """

    factory: str = "Flat"
    parameters: str | None = None
    train_size: int | None = None
    threads: int | None = None
    shards: int = 1

    def check(self, dimension: int) -> None:
        """Raise :class:`XqgError` if FAISS has no such index for vectors of ``dimension`` numbers."""
        if self != Layout(threads=self.threads, shards=self.shards):
            from pyserini_xqg.vectors.faiss_index import new_index

            new_index(self.factory, dimension, self.parameters)


DEFAULT_LAYOUT = Layout()


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
    store: EmbeddingStore,
    output: str | Path,
    recipe: Recipe,
    layout: Layout = DEFAULT_LAYOUT,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write one index directory (``index``, ``docid``, ``xqg.json``), whole or not at all; returns the manifest."""
    check_index_output(output, overwrite, store.directory)
    languages = _check_languages(store, recipe.languages)
    recipe = recipe.resolve(store)
    store.check_use(recipe.aggregate, recipe.languages, recipe.max_queries)
    with whole_directory(output, overwrite) as directory:
        return _write_index(store, directory, recipe, languages, layout)


def build_routed_index(
    store: EmbeddingStore,
    output: str | Path,
    recipe: Recipe,
    layout: Layout = DEFAULT_LAYOUT,
    *,
    overwrite: bool = False,
) -> dict[str, dict[str, Any]]:
    """Write one index per language into ``output/<language>``, each with its own queries; returns the manifests."""
    check_index_output(output, overwrite, store.directory)
    languages = _check_languages(store, recipe.languages)
    recipe = recipe.resolve(store)
    store.check_use(recipe.aggregate, recipe.languages, recipe.max_queries, route=True)
    if not languages:
        raise XqgError(
            f"{store.directory}: has no generated queries, so there is no language to route by. Leave --route out."
        )
    with whole_directory(output, overwrite) as directory:
        manifests = {}
        for language in languages:
            (directory / language).mkdir()
            manifests[language] = _write_index(store, directory / language, recipe, [language], layout)
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


class _Composer:
    """The vectors of an index, composed from the store block by block, and counts of what went into them."""

    def __init__(self, store: EmbeddingStore, recipe: Recipe, languages: Sequence[str]) -> None:
        self.store, self.recipe, self.languages = store, recipe, languages

    def vectors(self, block: Block) -> np.ndarray:
        """The index's vectors of a block, float32 (rows, dimension of the index)."""
        recipe = self.recipe
        if recipe.alpha_at_search:
            return stack_parts(*block, recipe.aggregate)
        return augment(*block, recipe.alpha, recipe.aggregate, recipe.normalize)

    def sample(self, size: int) -> np.ndarray:
        """The vectors of ``size`` passages, evenly spread over the store."""
        from pyserini_xqg.vectors.faiss_index import sample_rows

        wanted, first = sample_rows(self.store.passages, size), 0
        vectors = np.empty((size, self.recipe.dimension(self.store)), dtype=np.float32)
        with progress(total=self.store.passages, unit="passages", description="sample") as bar:
            for block in self.store.blocks(self.languages, self.recipe.max_queries):
                number = len(block[0])
                here = slice(*np.searchsorted(wanted, [first, first + number]))
                vectors[here] = self.vectors(_rows(block, wanted[here] - first))
                first += number
                bar.update(number)
        return vectors

    def compose(self, blocks: Iterable[Block], counts: dict[str, Any], bar: Any) -> Iterator[np.ndarray]:
        """Yield the blocks' vectors; ``counts`` gains the passages without queries, and the queries by language."""
        for block in blocks:
            without = np.ones(len(block[0]), dtype=bool)
            for language, count in block[2].items():  # one for all languages in a fused store
                without &= count == 0
                if not self.store.fuse:
                    counts["queries"][language] += int(count.sum())
            counts["passages_without_queries"] += int(without.sum())
            yield self.vectors(block)
            bar.update(len(block[0]))


def _rows(block: Block, rows: Any) -> Block:
    passages, sums, counts = block
    return passages[rows], {key: s[rows] for key, s in sums.items()}, {key: c[rows] for key, c in counts.items()}


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
            number = len(block[0])
            rest = _rows(block, slice(size, None)) if number > size else None
            yield _rows(block, slice(size)) if number > size else block
            size -= min(size, number)

    for size in sizes:
        yield shard(size)


def _write_index(
    store: EmbeddingStore, directory: Path, recipe: Recipe, languages: Sequence[str], layout: Layout
) -> dict[str, Any]:
    """Write one index, or one of several shards, into an empty directory; returns the manifest."""
    from pyserini_xqg.vectors.faiss_index import index_writer

    composer = _Composer(store, recipe, languages)
    dimension = recipe.dimension(store)
    write, trained_on = index_writer(
        layout.factory,
        dimension,
        composer.sample,
        store.passages,
        parameters=layout.parameters,
        train_size=layout.train_size,
        threads=layout.threads,
    )
    sizes = shard_sizes(store.passages, layout.shards)
    names = [f"{number:0{len(str(layout.shards))}d}" for number in range(1, layout.shards + 1)]
    places = [directory / name for name in names] if layout.shards > 1 else [directory]
    counted = [
        {"passages": size, "passages_without_queries": 0, "queries": dict.fromkeys(languages, 0)} for size in sizes
    ]
    described = {
        "fields": store.manifest["fields"],
        "augmentation": {
            "alpha": recipe.alpha,
            "aggregate": recipe.aggregate,
            "languages": list(languages),
            "max_queries": recipe.max_queries if recipe.max_queries is not None else store.manifest["max_queries"],
            "normalize": recipe.normalize,
        },
        "alpha_at_search": recipe.alpha_at_search,
        "faiss": {"factory": layout.factory, "parameters": layout.parameters, "trained_on": trained_on},
    }
    name = f"index {directory.name}" if directory.name in languages else "index"
    shards = cut_blocks(read_ahead(store.blocks(languages, recipe.max_queries)), sizes)
    with (
        progress(total=store.passages, unit="passages", description=name) as bar,
        open(store.docids_path, "rb") as docids,
    ):
        for place, size, counts, blocks in zip(places, sizes, counted, shards, strict=True):
            place.mkdir(exist_ok=True)
            checksums = {"index": write(place / "index", size, composer.compose(blocks, counts, bar))}
            with HashedFile(place / "docid") as out:
                lines = islice(docids, size)
                while some := b"".join(islice(lines, 10_000)):
                    out.write(some)
            checksums["docid"] = out.sha256
            if store.fuse:  # which knows their number for the whole store only
                counts["queries"] = dict(store.manifest["corpus"]["queries"]) if layout.shards == 1 else None
            manifest = new_manifest(
                INDEX_FORMAT,
                encoder=store.manifest["encoder"],
                probe=store.manifest["probe"],
                dimension=dimension,
                **described,
                counts=counts,
                corpus_sha256=store.manifest["corpus"]["sha256"],
                sha256=checksums,
            )
            write_json(place / MANIFEST_NAME, manifest)
    if layout.shards == 1:
        return manifest
    total = {
        "passages": store.passages,
        "passages_without_queries": sum(counts["passages_without_queries"] for counts in counted),
        "queries": dict(store.manifest["corpus"]["queries"])
        if store.fuse
        else {language: sum(counts["queries"][language] for counts in counted) for language in languages},
    }
    manifest = new_manifest(SHARDED_FORMAT, shards=names, dimension=dimension, **described, counts=total)
    write_json(directory / MANIFEST_NAME, manifest)
    return manifest

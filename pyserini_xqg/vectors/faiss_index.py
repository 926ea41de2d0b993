"""FAISS indexes of any kind: made from a factory string, trained on a sample, read, mapped, searched in shards.

Imports FAISS at once, so it is imported where it is used. The default kind, ``Flat``, is not held in memory at
all: :mod:`pyserini_xqg.vectors.flat` writes it block by block.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_path, sha256_file
from pyserini_xqg.vectors.flat import write_flat_index
from pyserini_xqg.vectors.manifest import MMAP_VARIABLE, ROUTED, SHARDED, index_parts, read_manifest

FLAT = "Flat"
# FAISS's k-means takes 39 to 256 vectors a centroid; fewer make it warn, more it leaves out.
_TRAIN_PER_CENTROID = 64
_TRAIN_AT_LEAST = 65_536


@contextmanager
def _named(what: str, cure: str) -> Iterator[None]:
    """Turn FAISS's errors, which begin with its own source lines, into :class:`XqgError`."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(r"^Error in .* at \S+:\d+: ", "", str(error).strip(), flags=re.DOTALL).split("failed: ")[-1]
        if "No space left on device" in reason:
            raise OSError(errno.ENOSPC, "No space left on device") from error
        raise XqgError(f"{what}: FAISS refuses it ({reason}). {cure}") from error


@contextmanager
def faiss_threads(number: int | None) -> Iterator[None]:
    """Let FAISS use ``number`` threads inside the block; None leaves its own choice, all cores."""
    before = faiss.omp_get_max_threads()
    if number is not None:
        faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def new_index(factory: str, dimension: int, parameters: str | None = None) -> faiss.Index:
    """An empty inner-product index of ``dimension`` numbers a vector, of the kind that ``factory`` names.

    ``parameters`` are FAISS's, such as ``nprobe=32`` or ``efConstruction=80,efSearch=64``; they are kept in the
    index file. Where they do not set it, an IVF index gets nprobe = square root of its number of lists, for
    Pyserini's command has no option for it and FAISS's own 1 finds little.

    Raises :class:`XqgError` for a string that FAISS does not know, that does not fit the dimension, or that
    cannot rank by inner product.

    >>> new_index("IVF64,PQ8", 32).is_trained
    False
    """
    example = "Use one of FAISS's index_factory strings, such as Flat, SQfp16, HNSW32 or IVF4096,PQ64."
    with _named(f"--factory {factory!r} for {dimension} dimensions", example):
        index = faiss.index_factory(dimension, factory, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.try_extract_index_ivf(index)
    if (
        isinstance(index, faiss.IndexIDMap)
        or index.metric_type != faiss.METRIC_INNER_PRODUCT
        or (ivf and not ivf.nlist)
    ):
        raise XqgError(
            f"--factory {factory!r}: FAISS's {type(index).__name__} of this kind cannot number passages in the order "
            f"they come and rank them by inner product. {example}"
        )
    if ivf:
        ivf.nprobe = max(1, math.isqrt(ivf.nlist))
    if parameters:
        with _named(f"--faiss-parameters {parameters!r} for {factory}", "Use such as nprobe=32 or efSearch=64."):
            faiss.ParameterSpace().set_index_parameters(index, parameters)
    return index


def centroids(index: faiss.Index) -> int:
    """The largest number of centroids that training has to find: no fewer vectors can train the index.

    >>> centroids(new_index("OPQ8,IVF1024,PQ8", 32)), centroids(new_index("HNSW32", 32))
    (1024, 0)
    """
    if index.is_trained:
        return 0
    kind = faiss.downcast_index(index)  # not into the same name: that would free the index it points to
    found = max(getattr(kind, "nlist", 1), getattr(getattr(kind, "pq", None), "ksub", 1))
    for inner in ("index", "base_index", "storage", "quantizer"):
        if (part := getattr(kind, inner, None)) is not None:
            found = max(found, centroids(part))
    return found


def training_size(index: faiss.Index, factory: str, count: int, wanted: int | None = None) -> int:
    """How many of ``count`` vectors to train on: ``wanted``, or 64 a centroid and at least 65,536; 0 for none.

    Raises :class:`XqgError` if that is less than one a centroid.
    """
    least = centroids(index)
    if least == 0:
        return 0
    size = min(count, wanted if wanted is not None else max(_TRAIN_AT_LEAST, _TRAIN_PER_CENTROID * least))
    if size < least:
        source = f"--train-size is {size:,}" if size < count else f"there are {count:,}"
        raise XqgError(
            f"--factory {factory!r}: training needs at least {least:,} vectors, one a centroid ({39 * least:,} are "
            f"advised); {source}. "
            + ("Raise --train-size." if least <= count else "Use fewer lists or bits, or a kind without training.")
        )
    return size


def sample_rows(count: int, size: int) -> np.ndarray:
    """``size`` of ``count`` row numbers, evenly spread, in order; the same ones every time.

    >>> sample_rows(10, 4).tolist()
    [0, 2, 5, 7]
    """
    return np.arange(size, dtype=np.int64) * count // size


def train(index: faiss.Index, factory: str, sample: np.ndarray, threads: int | None = None) -> None:
    """Train an index on ``sample``, float32 (vectors, dimension)."""
    advice = "Raise --train-size, or use another --factory."
    with _named(f"--factory {factory!r}, training on {len(sample):,} vectors", advice), faiss_threads(threads):
        index.train(sample)


def write_index(
    path: str | Path, index: faiss.Index, count: int, blocks: Iterable[np.ndarray], threads: int | None = None
) -> str:
    """Add the rows of ``blocks`` (float32, (rows, dimension)), ``count`` in all, to a trained index and write it.

    Returns the SHA-256 of the file.
    """
    with faiss_threads(threads):
        for block in blocks:
            with _named(f"{path}: adding vectors", "Use another --factory."):
                index.add(np.ascontiguousarray(block, dtype=np.float32))
    if index.ntotal != count:
        raise XqgError(f"{path}: {index.ntotal:,} vectors came where {count:,} were expected. Encode the store again.")
    with _named(str(path), "Check the disk, and run the command again."):
        faiss.write_index(index, str(path))
    fsync_path(path)
    return sha256_file(path)


def mapping_wanted() -> bool:
    """True if the environment asks for memory-mapped indexes (``PYSERINI_XQG_MMAP=1``).

    Raises :class:`XqgError` if this FAISS cannot map them.
    """
    if os.environ.get(MMAP_VARIABLE, "0") in ("", "0"):
        return False
    if not hasattr(faiss, "IO_FLAG_MMAP_IFC"):
        raise XqgError(
            f"{MMAP_VARIABLE}: FAISS {faiss.__version__} cannot map indexes. Install faiss-cpu 1.11 or later."
        )
    return True


def read_mapped(path: str | Path) -> faiss.Index:
    """Open an index without reading its vectors: the system loads the pages that a search touches, and drops them.

    Maps every kind but the fast-scan ones (``PQ64x4fs``), whose codes FAISS copies.
    """
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def open_index(directory: str | Path, mapped: bool | None = None) -> tuple[faiss.Index, list[str]]:
    """The index in a directory, ours or Pyserini's, single or sharded, and its docids in the order of the rows.

    mapped : leave vectors on the disk; None for what the environment asks for, see :func:`mapping_wanted`.

    Raises :class:`XqgError` for a routed index, for files that are missing or cannot be read, and for an index whose
    vectors and docids are not as many as each other, or as its manifest says.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest is not None and manifest["layout"] == ROUTED:
        raise XqgError(
            f"{directory}: a routed index ({', '.join(manifest['languages'])}). Name one language's index in it."
        )
    if manifest is not None and manifest["layout"] == SHARDED:
        parts = index_parts(directory, manifest)
        opened = [open_index(part, mapped) for part in parts]
        docids = [docid for _, names in opened for docid in names]
        _check_distinct(docids, parts, np.cumsum([len(names) for _, names in opened]))
        index = Shards([part for part, _ in opened])
    else:
        for name in ("index", "docid"):
            if not (directory / name).is_file():
                raise XqgError(
                    f"{directory}: no FAISS index there ({name} is missing). Pass another, or build it again."
                )
        with _named(str(directory), "Build the index again."):
            mapped = mapping_wanted() if mapped is None else mapped
            index = read_mapped(directory / "index") if mapped else faiss.read_index(str(directory / "index"))
        with open(directory / "docid", encoding="utf-8", newline="\n") as lines:
            docids = [line.rstrip("\r\n") for line in lines]
    expected = (manifest or {}).get("counts", {}).get("passages", index.ntotal)
    dimension = (manifest or {}).get("dimension", index.d)
    if not index.ntotal == len(docids) == expected or index.d != dimension:
        raise XqgError(
            f"{directory}: the index has {index.ntotal:,} vectors of {index.d} dimensions and docid {len(docids):,} "
            f"lines, {expected:,} of {dimension} were expected. Build the index again."
        )
    return index, docids


def _check_distinct(docids: Sequence[str], parts: Sequence[Path], ends: np.ndarray) -> None:
    """Raise :class:`XqgError` for a docid that is in two parts; takes 8 bytes a docid."""
    hashes = np.sort(np.fromiter(map(hash, docids), dtype=np.int64, count=len(docids)))
    if not (hashes[1:] == hashes[:-1]).any():
        return
    rows: dict[str, int] = {}
    for row, docid in enumerate(docids):
        if (first := rows.setdefault(docid, row)) != row:
            places = [parts[np.searchsorted(ends, number, "right")] for number in (first, row)]
            raise XqgError(f"docid {docid!r} is in {places[0]} and in {places[1]}. Keep it in one of them.")


class Shards(faiss.IndexShards):
    """Indexes searched one after the other as if they were one; row numbers run on from one to the next.

    The best k of each are merged, so a kind that is exact stays exact. What Pyserini's searcher asks of a single
    index works here too, vectors of the hits (pseudo-relevance feedback) and ``--ef-search`` included.

    >>> halves = [new_index("Flat", 2) for _ in range(2)]
    >>> for row, half in enumerate(halves):
    ...     half.add(np.array([[row, 1]], dtype=np.float32))
    >>> Shards(halves).search(np.array([[1, 0]], dtype=np.float32), 2)[1].tolist()
    [[1, 0]]
    """

    shards: Sequence[faiss.Index] = ()  # FAISS allows its objects no attribute that their class has not

    def __init__(self, shards: Sequence[faiss.Index]) -> None:
        # Not threaded: FAISS's worker threads would not keep to the number of threads that the user set.
        super().__init__(shards[0].d, False, True)
        self.shards = tuple(shards)  # keeps them alive
        for shard in shards:
            self.add_shard(shard)

    def search_and_reconstruct(self, x: np.ndarray, k: int, **options: Any) -> tuple[np.ndarray, ...]:
        """Scores, row numbers and vectors of the best k of each query: (n, k), (n, k), (n, k, dimension)."""
        found, first = [], 0
        for shard in self.shards:
            scores, rows, vectors = shard.search_and_reconstruct(x, k, **options)
            found.append((scores, np.where(rows >= 0, rows + first, -1), vectors))
            first += shard.ntotal
        scores, rows, vectors = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(scores, best, axis=1),
            np.take_along_axis(rows, best, axis=1),
            np.take_along_axis(vectors, best[:, :, None], axis=1),
        )

    @property
    def hnsw(self) -> _EveryHnsw:
        """Search settings of all shards at once, as ``index.hnsw`` of a single HNSW index."""
        return _EveryHnsw([faiss.downcast_index(shard).hnsw for shard in self.shards])


class _EveryHnsw:
    """Sets an attribute of several HNSW graphs at once."""

    def __init__(self, graphs: Sequence[Any]) -> None:
        object.__setattr__(self, "_graphs", graphs)

    def __setattr__(self, name: str, value: Any) -> None:
        for graph in self._graphs:
            setattr(graph, name, value)


def index_writer(
    factory: str,
    dimension: int,
    sample: Callable[[int], np.ndarray],
    count: int,
    *,
    parameters: str | None = None,
    train_size: int | None = None,
    threads: int | None = None,
) -> tuple[Callable[[Path, int, Iterable[np.ndarray]], str], int]:
    """Prepare an index of some kind; returns the function that writes one, and how many vectors trained it.

    ``sample(size)`` gives that many vectors to train on, float32 (size, dimension); it is called once, for kinds
    that need it. The function takes (path, number of vectors, their blocks), returns the file's SHA-256, and may
    be called again: every index that it writes shares the training. Only one may hold all ``count`` vectors.
    """
    if factory == FLAT and not parameters:
        return lambda path, number, blocks: write_flat_index(path, dimension, number, blocks), 0
    empty = new_index(factory, dimension, parameters)
    size = training_size(empty, factory, count, train_size)
    if size:
        train(empty, factory, sample(size), threads)

    def write(path: Path, number: int, blocks: Iterable[np.ndarray]) -> str:
        # Through its bytes: FAISS can write every kind, but clone only some.
        index = empty if number == count else faiss.deserialize_index(faiss.serialize_index(empty))
        return write_index(path, index, number, blocks, threads)

    return write, size

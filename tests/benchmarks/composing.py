"""Composing a Flat index from a store, against copying the same bytes and against the published fuse step.

Copying reads every byte that composing reads and writes as many bytes as the index has, in blocks of 8 MiB, and
flushes them to the disk as composing does. The published step (ielab/xQG4xDR) loads one pickle of float32 vectors
for each of 7 x 5 queries, adds them up, adds the result to a FAISS index in memory and writes that. All take turns.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown

from pyserini_xqg.vectors.building import build_index
from pyserini_xqg.vectors.embedding import describe_probe
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
QUERIES = 5  # of a passage in a language
ALPHA = 0.01
COPY_BLOCK = 8 << 20


def write_store(directory: Path, passages: int, dimension: int, languages: int, dtype: str) -> None:
    """A store of random vectors in the real format; every passage has its queries in every language."""
    codes = LANGUAGES[:languages]
    chunk_rows = min(passages, 16_384)
    vectors = np.random.default_rng(0).normal(size=(chunk_rows, dimension)).astype(np.float32)
    settings = {
        "encoder": EncoderConfig("random-vectors").to_dict(),
        "fields": ["title", "text"],
        "dimension": dimension,
        "dtype": dtype,
        "chunk_size": chunk_rows,
        "max_queries": None,
        "keep_query_vectors": False,
        "corpus": {"passages": passages, "queries": dict.fromkeys(codes, QUERIES * passages), "sha256": "0" * 64},
        "most_queries": dict.fromkeys(codes, QUERIES),
        "probe": describe_probe(vectors[0]),
    }
    with StoreWriter(directory, settings) as writer:
        for first in range(0, passages, chunk_rows):
            rows = slice(0, min(chunk_rows, passages - first))
            counts = np.full(rows.stop, QUERIES, dtype=np.int32)
            docids = [str(first + row) for row in range(rows.stop)]
            sums, numbers = dict.fromkeys(codes, vectors[rows]), dict.fromkeys(codes, counts)
            writer.write(Chunk(docids, vectors[rows], sums, numbers, {}, centroids(sums, numbers)))
        writer.finish(passages)


def copy(store: Path, output: Path, bytes_out: int) -> None:
    """Read the store's arrays, write ``bytes_out`` of what was read."""
    buffer = memoryview(bytearray(COPY_BLOCK))
    with open(output, "wb", buffering=0) as out:
        for path in sorted(store.glob("*.npy")):
            with open(path, "rb", buffering=0) as stream:
                while number := stream.readinto(buffer):
                    if bytes_out:
                        bytes_out -= out.write(buffer[: min(number, bytes_out)])
        os.fsync(out.fileno())


def write_pickles(directory: Path, passages: int, dimension: int) -> list[Path]:
    """What the published encoding leaves: (vectors, ids) of the passages, and of each of their 35 queries."""
    vectors = np.random.default_rng(0).normal(size=(passages, dimension)).astype(np.float32)
    ids = [str(row) for row in range(passages)]
    paths = [directory / f"{number}.pkl" for number in range(1 + len(LANGUAGES) * QUERIES)]
    for path in paths:
        with open(path, "wb") as out:
            pickle.dump((vectors, ids), out, protocol=4)
    return paths


def published(paths: list[Path], output: Path) -> None:
    """Add up all pickles, then a FAISS index in memory, then its file."""
    import faiss

    total: Any = 0
    for path in paths[1:]:
        with open(path, "rb") as stream:
            vectors, _ = pickle.load(stream)
        total = total + vectors
    with open(paths[0], "rb") as stream:
        passages, _ = pickle.load(stream)
    fused = (1 - ALPHA) * passages + ALPHA * total
    index = faiss.IndexFlatIP(fused.shape[1])
    index.add(fused)
    faiss.write_index(index, str(output))
    with open(output, "rb+") as written:
        os.fsync(written.fileno())


def compose(store: Path, output: Path, aggregate: str) -> None:
    """Ours."""
    build_index(
        EmbeddingStore(store), output, Recipe(alpha=ALPHA, aggregate=aggregate, normalize=False), overwrite=True
    )


def measured(function: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Seconds, and the peak memory (bytes) of a fresh process, whose start is not timed."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (function, arguments))


def _measure(function: Callable[..., None], arguments: tuple[Any, ...]) -> tuple[float, float]:
    import faiss  # noqa: F401

    started = time.perf_counter()
    function(*arguments)
    seconds = time.perf_counter() - started
    # Not getrusage's figure: that one starts from the peak of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return seconds, next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=1_000_000)
    parser.add_argument("--published-passages", type=int, default=20_000, help="of the published step, 36 arrays each")
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--languages", type=int, nargs="+", default=[7, 1])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    parser.add_argument("--aggregates", nargs="+", default=["sum", "mean"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", help="where the stores go (default: a temporary directory)")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        place = Path(name)
        pickles = write_pickles(place, args.published_passages, args.dimension)
        old = [measured(published, pickles, place / "old") for _ in range(args.rounds + 1)][1:]
        old_rate = args.published_passages / statistics.median(seconds for seconds, _ in old)
        print(f"published fuse step, {args.published_passages:,} passages: {old_rate:,.0f} passages/s", flush=True)
        for path in [*pickles, place / "old"]:
            path.unlink()
        for dtype in args.dtypes:
            for languages in args.languages:
                store = place / "store"
                write_store(store, args.passages, args.dimension, languages, dtype)
                bytes_in = sum(path.stat().st_size for path in store.glob("*.npy"))
                bytes_out = args.passages * args.dimension * 4
                for aggregate in args.aggregates:
                    copied, composed = [], []
                    for number in range(args.rounds + 1):
                        pair = (
                            measured(copy, store, place / "copy", bytes_out),
                            measured(compose, store, place / "index", aggregate),
                        )
                        if number:  # the first round warms up the page cache, as far as the store fits in it
                            copied.append(pair[0][0])
                            composed.append(pair[1])
                    seconds = statistics.median(each for each, _ in composed)
                    share = statistics.median(one / two for one, (two, _) in zip(copied, composed, strict=True))
                    size = (bytes_in + bytes_out) / 1e6
                    rows.append(
                        [
                            f"{languages}, {dtype}, {aggregate}",
                            f"{size / 1000:.1f}",
                            f"{size / statistics.median(copied):,.0f}",
                            f"{size / seconds:,.0f}",
                            f"{share:.0%}",
                            f"{args.passages / seconds:,.0f}",
                            f"{args.passages / seconds / old_rate:.1f} x",
                            f"{max(memory for _, memory in composed) / 1e6:.0f}",
                        ]
                    )
                    print(rows[-1], flush=True)
                    (place / "copy").unlink()
                    shutil.rmtree(place / "index")
                shutil.rmtree(store)
    print(f"\n{args.passages:,} passages x {args.dimension}\n")
    header = ["languages", "GB", "copy MB/s", "compose MB/s", "of copy", "passages/s", "of published", "peak MB"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()

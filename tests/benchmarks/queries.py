"""Query encoding at search: ``XqgQueryEncoder.encode_batch`` against stock's one query at a time.

The 2,110 questions of XOR-TyDi's dev split, an mBERT-shaped encoder (12 x 768, random weights), float32 on both
sides, batches of 64 as pyserini_xqg.search makes them; then both sets of vectors search the same index, and the
runs are compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import build_mbert_shape, machine, markdown, ratio, rounds_in_turn, xor_tydi_questions


def run_lines(vectors: np.ndarray, passages: np.ndarray, hits: int = 100) -> list[str]:
    """The lines of a run, scores with the six decimals that Pyserini writes."""
    import faiss

    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(passages)
    scores, rows = index.search(vectors, hits)
    return [
        f"{topic} Q0 {row} {rank} {score:.6f}"
        for topic, (line, values) in enumerate(zip(rows, scores, strict=True))
        for rank, (row, score) in enumerate(zip(line, values, strict=True), start=1)
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2110, help="questions to encode in each round")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds")
    parser.add_argument("--batch-size", type=int, default=64, help="queries in a batch of ours")
    args = parser.parse_args()
    texts = xor_tydi_questions("dev")[: args.texts]
    with tempfile.TemporaryDirectory() as directory:
        model = build_mbert_shape(Path(directory), xor_tydi_questions("train"))
        from pyserini_xqg.encoders import XqgQueryEncoder

        from pyserini.encode import AutoQueryEncoder  # isort: skip (after ours, which picks the Java)

        stock, ours = AutoQueryEncoder(model, pooling="cls"), XqgQueryEncoder(model, pooling="cls")
        vectors: dict[str, np.ndarray] = {}

        def one_at_a_time(texts: list[str]) -> None:
            vectors["stock, one at a time"] = np.array([stock.encode(text) for text in texts])

        def in_batches(texts: list[str]) -> None:
            parts = range(0, len(texts), args.batch_size)
            name = f"ours, batches of {args.batch_size}"
            vectors[name] = np.concatenate([ours.encode_batch(texts[part : part + args.batch_size]) for part in parts])

        systems = {"stock, one at a time": one_at_a_time, f"ours, batches of {args.batch_size}": in_batches}
        print(machine(), flush=True)
        seconds = rounds_in_turn(systems, texts, args.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    first, second = systems
    rows = [
        [name, f"{len(texts) / statistics.median(values):.1f}", f"{ratio(seconds, first, name):.1f}x"]
        for name, values in seconds.items()
    ]
    print(markdown(["system", "queries/s", "to stock"], rows))
    passages = np.random.default_rng(0).standard_normal((20_000, vectors[first].shape[1]), dtype=np.float32)
    one, other = run_lines(vectors[first], passages), run_lines(vectors[second], passages)
    same_ranking = sum(a.split()[:4] == b.split()[:4] for a, b in zip(one, other, strict=True)) / len(one)
    scores = max(abs(float(a.split()[4]) - float(b.split()[4])) for a, b in zip(one, other, strict=True))
    print(
        f"run lines with the same topic, docid and rank: {same_ranking:.4%}; largest difference of scores: {scores:.6f}"
    )


if __name__ == "__main__":
    main()

"""Query encoding at search: ``XqgQueryEncoder.encode_batch`` against stock's one query at a time.

The 2,110 questions of XOR-TyDi's dev split, an mBERT-shaped encoder (12 x 768, random weights), float32, and ours
with --fp16 too (bfloat16 on a CPU that has it), in batches; then each set of vectors searches the same index, and
the runs are compared. The ceiling is what float32 matrix products alone would allow.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from common import build_mbert_shape, machine, markdown, ratio, rounds_in_turn, xor_tydi_questions
from encoding import ceiling

if TYPE_CHECKING:
    from pyserini_xqg.vectors.encoders import XqgQueryEncoder

STOCK = "stock, one at a time"


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
    parser.add_argument("--batch-size", type=int, default=256, help="queries in a batch of ours")
    args = parser.parse_args()
    texts = xor_tydi_questions("dev")[: args.texts]
    with tempfile.TemporaryDirectory() as directory:
        model = build_mbert_shape(Path(directory), xor_tydi_questions("train"))
        from pyserini_xqg.vectors.encoders import XqgQueryEncoder

        from pyserini.encode import AutoQueryEncoder  # isort: skip (after ours, which picks the Java)

        stock = AutoQueryEncoder(model, pooling="cls")
        vectors: dict[str, np.ndarray] = {}

        def one_at_a_time(texts: list[str]) -> None:
            vectors[STOCK] = np.array([stock.encode(text) for text in texts])

        def in_batches(name: str, encoder: XqgQueryEncoder) -> Callable[[list[str]], None]:
            def encode(texts: list[str]) -> None:
                parts = range(0, len(texts), args.batch_size)
                vectors[name] = np.concatenate(
                    [encoder.encode_batch(texts[part : part + args.batch_size]) for part in parts]
                )

            return encode

        systems = {STOCK: one_at_a_time}
        for name, half in (("ours", None), ("ours, --fp16", True)):
            encoder = XqgQueryEncoder(f"{model}", pooling="cls", fp16=half)
            systems[name] = in_batches(name, encoder)
        tokens = sum(map(len, encoder.embedder.tokenize(texts, None)))
        print(machine(), flush=True)
        ceilings = [ceiling("float32")]

        def report(line: str) -> None:
            print(line, file=sys.stderr, flush=True)
            ceilings.append(ceiling("float32"))

        seconds = rounds_in_turn(systems, texts, args.rounds, report)
    passages = np.random.default_rng(0).standard_normal((20_000, vectors[STOCK].shape[1]), dtype=np.float32)
    expected = run_lines(vectors[STOCK], passages)
    rows = []
    for name, values in seconds.items():
        lines = run_lines(vectors[name], passages)
        same = sum(one.split()[:4] == two.split()[:4] for one, two in zip(expected, lines, strict=True)) / len(lines)
        scores = max(abs(float(a.split()[4]) - float(b.split()[4])) for a, b in zip(expected, lines, strict=True))
        rate = len(texts) / statistics.median(values)
        rows.append([name, f"{rate:.1f}", f"{ratio(seconds, STOCK, name):.1f}x", f"{same:.3%}", f"{scores:.6f}"])
    print(f"batches of {args.batch_size}; ceiling {statistics.median(ceilings) * len(texts) / tokens:.1f} queries/s")
    print(
        markdown(["system", "queries/s", "to stock", "same topic, docid, rank", "largest difference of scores"], rows)
    )


if __name__ == "__main__":
    main()

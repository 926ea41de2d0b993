"""Peak memory of ``python -m pyserini_xqg.encode`` over corpora of growing size: it must not grow with them.

Passages of about 2 KB with three generated queries each, and the tests' BERT of two layers and 32 dimensions. Of
a passage, the title's twelve words are encoded; the text is read and checked, and only makes the files far larger than
the memory (--fields title text encodes it too, cut at 16 tokens, which takes several times as long).
The peak is the kernel's count for the process (resident, libraries and mapped files included).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# No torch in this process: the kernel counts a parent's size as its child's.
_BUILD = "import sys; from helpers import build_tiny_encoder; build_tiny_encoder(sys.argv[1])"


def write_corpus(path: Path, passages: int, text_bytes: int, seed: int = 0) -> None:
    """Passages of words that are mostly new (so that a cache of words would grow), queries in three languages."""
    chance = random.Random(seed)
    with open(path, "w", encoding="utf-8") as out:
        for row in range(passages):
            letters = "".join(chance.choices("aehilnoprstu", k=128))
            words = " ".join(letters[first : first + 8] for first in range(0, 96, 8))
            queries = {code: [letters[first : first + 9]] for first, code in enumerate(("ar", "fi", "ja"))}
            filler = letters * (text_bytes // 128)
            record = {"docid": f"passage-{row}", "title": words, "text": filler, "generated_queries": queries}
            out.write(json.dumps(record) + "\n")


def peak_of(command: list[str]) -> tuple[int, float]:
    """Peak resident bytes and seconds of a command; raises if it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss * 1024, time.perf_counter() - started


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="passages")
    parser.add_argument("--text-bytes", type=int, default=2048, help="length of a passage's text")
    parser.add_argument("--fields", nargs="+", default=["title"], help="what is encoded of a passage")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        encoder = str(directory / "encoder")
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        subprocess.run([sys.executable, "-c", _BUILD, encoder], check=True, env=environment)
        for passages in args.sizes:
            corpus, store = directory / "corpus.jsonl", directory / f"store{passages}"
            write_corpus(corpus, passages, args.text_bytes)
            command = ["-m", "pyserini_xqg.encode", "--corpus", corpus, "--encoder", encoder, "--output", store]
            options = ["--max-length", "16", "--query-max-length", "16", "--device", "cpu", "--fields", *args.fields]
            peak, seconds = peak_of([sys.executable, *map(str, command), *options])
            rows.append(
                (f"{passages:,}", f"{corpus.stat().st_size / 1e6:,.0f} MB", f"{peak / 1e6:,.0f} MB", f"{seconds:,.0f}")
            )
            print(rows[-1], file=sys.stderr, flush=True)
            corpus.unlink()
    print("| passages | JSONL | peak RSS | seconds |\n| --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

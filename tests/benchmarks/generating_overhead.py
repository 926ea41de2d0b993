"""What ``pyserini_xqg.generate`` costs beside the model: candidates/s and peak memory, with a model that takes no time.

XQuAD's paragraphs, over and over, are the passages. Published XOR-TyDi questions of the asked language, each with a
number of its own, stand for what a model would generate: prompts are built, every candidate passes all checks (language
identification too, where it is installed), refused ones are drawn again, and each chunk is committed to the disk. The
peak is the process's, and grows with the sizes only if memory does.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import DATA

from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES
from pyserini_xqg.generate import pipeline
from pyserini_xqg.generate.options import GenerateOptions
from pyserini_xqg.generate.sampling import Candidate, Prompt


def questions() -> dict[str, list[str]]:
    """Published questions by language."""
    path = DATA / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    found: dict[str, list[str]] = {language: [] for language in XOR_TYDI_LANGUAGES}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found[record["lang"]].append(record["question"])
    return found


class Published:
    """A generator that has its queries ready."""

    device, max_input_length = "cuda:0", 512

    def __init__(self) -> None:
        self._texts = {language: itertools.cycle(texts) for language, texts in questions().items()}
        self._number = itertools.count()

    def describe(self) -> dict[str, str]:
        return {"model": "published questions", "backend": "none", "dtype": "none"}

    def input_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(prompt.text.split()) for prompt in prompts]

    def generate(self, prompts: Sequence[Prompt], numbers: Sequence[int], seed: int) -> list[list[Candidate]]:
        return [
            [self._next(prompt.language) for _ in range(number)]
            for prompt, number in zip(prompts, numbers, strict=True)
        ]

    def _next(self, language: str) -> Candidate:
        # Numbered, so that no text comes twice and nothing is answered from a cache.
        return Candidate(f"{next(self._texts[language])} {next(self._number)}", True)


def write_corpus(path: Path, passages: int) -> None:
    """So many passages, each with a docid of its own."""
    source = DATA / "xquad-loo" / "passages.jsonl"
    records = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    with open(path, "w", encoding="utf-8") as out:
        for number, record in zip(range(passages), itertools.cycle(records), strict=False):
            out.write(json.dumps({"docid": str(number), "title": record["title"], "text": record["text"]}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[500, 2000, 8000], help="passages")
    sizes = parser.parse_args().sizes
    print("| passages | candidates | refused | candidates/s | of CPU time | peak MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        corpus, output = Path(directory) / "corpus.jsonl", Path(directory) / "queries.jsonl"
        for size in sizes:
            write_corpus(corpus, size)
            options = GenerateOptions(str(corpus), str(output))
            plan = options.settled_plan()
            checked, summary = pipeline.check_corpus(options, plan, output)
            started, cpu = time.perf_counter(), time.process_time()
            sidecar = pipeline.generate_corpus(checked, summary, Published(), plan, output, overwrite=True)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            candidates = sum(sidecar["counts"]["candidates"].values())
            refused = sum(sum(reasons.values()) for reasons in sidecar["counts"]["refused"].values())
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
            print(
                f"| {size:,} | {candidates:,} | {refused:,} | {candidates / seconds:,.0f} | {candidates / cpu:,.0f} "
                f"| {peak:,.0f} |",
                flush=True,
            )
            output.unlink()


if __name__ == "__main__":
    main()

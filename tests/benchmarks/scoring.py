"""R@2kt and R@5kt of XOR-TyDi's development questions with 500 ranked passages each: ours against the official loop.

Questions and answers are the published ones. Passages are windows of 100 words over XQuAD's paragraphs, mixed; one
passage for each question holds its answer, and is ranked for 55 % of them, at rank 12 on average: about the recall of
the paper's systems. The official loop (XORQA's ``eval_xor_retrieve``) tokenises the ranked passages of every question
until the budget is full, once for each budget. CPU seconds in one process, in turns, with the same scores; then the
whole command, files and all, in a process of its own.

    python tests/benchmarks/scoring.py [--passages N] [--questions N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

from common import DATA, markdown

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from official_scorer import add_punkt, forget_tokens

BUDGETS = (2000, 5000)
DEPTH = 500


def questions() -> list[dict]:
    """The published development questions."""
    path = DATA / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def passages_and_rankings(asked: list[dict], number: int) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Docid to text, and question id to docids, best first."""
    chance = random.Random(1)
    articles = json.loads((DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    words = [paragraph["context"].split() for article in articles for paragraph in article["paragraphs"]]

    def window() -> list[str]:
        found: list[str] = []
        while len(found) < 100:
            source = chance.choice(words)
            start = chance.randrange(max(1, len(source) - 50))
            found += source[start : start + chance.randint(15, 50)]
        return found[:100]

    windows = [window() for _ in range(number)]
    gold = {}
    for place, question in enumerate(asked):
        if spans := [answer for answer in question["answers"] if answer not in ("yes", "no")]:
            start = chance.randrange(90)
            windows[place][start : start + len(spans[0].split())] = spans[0].split()
            gold[question["id"]] = str(place)
    rankings = {}
    for question in asked:
        docids = list(map(str, chance.sample(range(number), DEPTH)))
        answering = gold.get(question["id"])
        if answering and chance.random() < 0.55 and answering not in docids:
            docids[min(DEPTH - 1, int(chance.expovariate(1 / 12)))] = answering
        rankings[question["id"]] = docids
    return {str(place): " ".join(text) for place, text in enumerate(windows)}, rankings


def official(asked: list[dict], texts: dict[str, str], rankings: dict[str, list[str]]) -> dict:
    """The official scorer's loop, and its tokeniser; returns budget to question id to hit."""
    from nltk.tokenize import word_tokenize

    from pyserini_xqg.evaluate.answer_tokens import exact_tokens

    whole_lines = not exact_tokens()
    hits: dict[int, dict[str, float]] = {budget: {} for budget in BUDGETS}
    for budget in BUDGETS:
        for question in asked:
            spans = [answer for answer in question["answers"] if answer not in ("yes", "no")]
            if not spans:
                continue
            tokens: list[str] = []
            for docid in rankings[question["id"]]:
                tokens += word_tokenize(texts[docid], preserve_line=whole_lines)
                if len(tokens) >= budget:
                    break
            text = " ".join(tokens[:budget])
            hits[budget][question["id"]] = float(any(span in text for span in spans))
    return hits


def ours(asked: list[dict], texts: dict[str, str], runs: dict[str, dict[str, float]]) -> dict:
    """R@kt through ir_measures, nothing cached beforehand."""
    import ir_measures

    from pyserini_xqg.evaluate import answer_tokens
    from pyserini_xqg.evaluate.measures import InexactTokensWarning, RecallAtKTokens

    warnings.simplefilter("ignore", InexactTokensWarning)
    answer_tokens.joined_tokens.cache_clear()
    recall = RecallAtKTokens({question["id"]: question["answers"] for question in asked}, texts)
    hits: dict[int, dict[str, float]] = {budget: {} for budget in BUDGETS}
    for metric in ir_measures.iter_calc([recall @ (budget // 1000) for budget in BUDGETS], [], runs):
        hits[metric.measure["cutoff"] * 1000][metric.query_id] = metric.value
    return hits


def command(directory: Path) -> tuple[float, float]:
    """CPU seconds and peak memory (MB) of ``python -m pyserini_xqg.evaluate`` on files in ``directory``."""
    answers = DATA / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    arguments = ["--answers", answers, "--passages", directory / "passages.jsonl", "--run", directory / "run.txt"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pyserini_xqg.evaluate", *map(str, arguments)],
        check=True,
        capture_output=True,
        env={**os.environ, "NLTK_DATA": str(directory / "nltk_data")},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1024


def write_files(directory: Path, texts: dict[str, str], rankings: dict[str, list[str]]) -> None:
    """The passages and the run as files."""
    with open(directory / "passages.jsonl", "w", encoding="utf-8") as out:
        out.writelines(json.dumps({"docid": docid, "text": text}) + "\n" for docid, text in texts.items())
    with open(directory / "run.txt", "w", encoding="utf-8") as out:
        for query_id, docids in rankings.items():
            out.writelines(f"{query_id} Q0 {d} {r} {1000 - r:.6f} benchmark\n" for r, d in enumerate(docids, start=1))


def timed(work, *arguments) -> tuple[float, dict]:
    """CPU seconds, and what ``work`` returned."""
    started = time.process_time()
    result = work(*arguments)
    return time.process_time() - started, result


def main() -> None:
    """Measure without and with NLTK's sentence model (here one that knows no abbreviations), and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=20_000, help="distinct passages (default: 20000)")
    parser.add_argument("--questions", type=int, help="the first of them (default: all 2,110)")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    import nltk.data

    asked = questions()[: args.questions]
    texts, rankings = passages_and_rankings(asked, args.passages)
    runs = {query_id: {d: float(-r) for r, d in enumerate(docids)} for query_id, docids in rankings.items()}
    rows = []
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        nltk.data.path[:] = [str(directory / "nltk_data")]
        write_files(directory, texts, rankings)
        for sentences in (False, True):
            if sentences:
                add_punkt(directory / "nltk_data")
            forget_tokens()
            ours(asked[:20], texts, runs)  # imports
            slow, fast = [], []
            for _ in range(args.rounds):
                seconds, expected = timed(official, asked, texts, rankings)
                slow.append(seconds)
                seconds, found = timed(ours, asked, texts, runs)
                fast.append(seconds)
                assert found == expected
            whole, memory = command(directory)
            rows.append(
                [
                    "with punkt_tab" if sentences else "without",
                    f"{statistics.median(slow):.1f}",
                    f"{statistics.median(fast):.1f}",
                    f"{statistics.median(a / b for a, b in zip(slow, fast, strict=True)):.0f}x",
                    f"{whole:.1f}",
                    f"{memory:.0f}",
                ]
            )
    means = ", ".join(f"R@{k // 1000}kt {statistics.mean(hits.values()):.3f}" for k, hits in found.items())
    print(f"{len(asked)} questions x {DEPTH} of {len(texts)} passages; {means}; CPU seconds\n")
    print(markdown(["sentences", "official loop", "ours", "ratio", "whole command", "peak MB"], rows))


if __name__ == "__main__":
    main()

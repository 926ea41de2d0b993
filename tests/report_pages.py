"""A small collection with two runs, and what a report page made of it holds."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from helpers import write_jsonl

from pyserini_xqg.report import __main__ as report
from pyserini_xqg.report.explorer import unpack

ATTACK = "</script><script>window.failed = 'ran'</script><img src=x onerror=alert(1)> & \"q\" 'q' \u2028 ]]> <!--"
PASSAGES = [
    {
        "docid": "lake",
        "title": "Saimaa",
        "text": "Saimaa is the largest lake in Finland, and its seal lives nowhere else.",
        "generated_queries": {"ar": ["أين تقع بحيرة سايما؟", "ما هو طول النهر؟"], "te": ["సరస్సు ఎక్కడ ఉంది?"]},
    },
    {
        "docid": "bridge",
        "title": "The old bridge",
        "text": "The stone bridge was built in 1868 by the people of the town.",
        "generated_queries": {"bn": ["সেতুটি কবে নির্মিত হয়েছিল?"], "ja": ["橋はいつ建てられたか？", "古い橋はどこ？"]},
    },
    {"docid": "bread", "title": "", "text": "Bread and fish are sold in the town, past the bridge."},
    {"docid": "script", "title": ATTACK, "text": ATTACK * 3, "generated_queries": {"te": [ATTACK]}},
    {"docid": "paper", "title": "Paper", "text": "Paper is made by the river. " * 30},
]  # fmt: skip
# id, language, question, answers, gold, the gold's ranks in both runs
QUESTIONS = [
    ("q-ar", "ar", "أين تقع سايما؟", ["Finland"], "lake", 3, 1),
    ("q-bn", "bn", "সেতুটি কবে তৈরি হয়েছিল?", ["1868"], "bridge", 1, 2),
    ("q-te", "te", ATTACK + " సరస్సు", ["nowhere else", "yes"], "script", 0, 4),
    ("q-ja", "ja", "橋はいつできた？", ["1868"], "bridge", 2, 2),
    ("q-ar2", "ar", "ما هو الخبز؟", ["no"], "bread", 4, 3),
    ("q-te2", "te", "వంతెన ఎప్పుడు?", ["1868"], "bridge", 5, 1),
]
DOCIDS = [passage["docid"] for passage in PASSAGES]


def run_lines(which: int) -> list[str]:
    lines = []
    for query_id, *_, gold, first, second in QUESTIONS:
        rank = (first, second)[which]
        ranking = [docid for docid in DOCIDS if docid != gold]
        ranking[max(rank - 1, 0) : max(rank - 1, 0)] = [gold] if rank else []
        lines += [f"{query_id} Q0 {docid} {place} {20 - place} x" for place, docid in enumerate(ranking, start=1)]
    return lines


def write_collection(directory: Path) -> Path:
    """Passages, questions, qrels and runs ``a.txt`` and ``b.txt``."""
    write_jsonl(directory / "passages.jsonl", PASSAGES)
    write_jsonl(
        directory / "questions.jsonl",
        [{"id": q, "question": text, "answers": answers, "lang": code} for q, code, text, answers, *_ in QUESTIONS],
    )
    (directory / "qrels.txt").write_text("".join(f"{q} 0 {gold} 1\n" for q, *_, gold, _, _ in QUESTIONS))
    for which, name in enumerate(("a.txt", "b.txt")):
        (directory / name).write_text("\n".join(run_lines(which)) + "\n")
    return directory


FILES = ["--qrels", "qrels.txt", "--answers", "questions.jsonl", "--passages", "passages.jsonl"]


def make(*options: str, output: str = "page.html", runs=("a.txt", "b.txt"), collection=FILES) -> str:
    """The page's text."""
    report.main([*map(str, [*runs, *collection, *options]), "--output", output])
    return Path(output).read_text(encoding="utf-8")


def explorer_of(page: str) -> dict:
    """The data of a page's explorer."""
    return unpack(re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', page).group(1))


def question_of(page: str, query_id: str) -> dict:
    """What the explorer knows of one question, with docids and inner products in place."""
    data = explorer_of(page)
    at = data["ids"].index(query_id)
    docids = data["docids"]
    products = []
    for one in data["products"][at]:
        if one is None:
            products.append(None)
            continue
        numbers = [[value / data["scale"] for value in some] for some in one[2:]]
        queries = {code: some for (code, _), some in zip(data["queryLanguages"], numbers, strict=True) if some}
        index = None if one[1] is None else one[1] / data["scale"]
        products.append({"own": one[0] / data["scale"], "index": index, "queries": queries})
    return {
        "text": data["texts"][at],
        "language": data["languages"][data["language"][at]][0],
        "gold": [(docids[place], first, second) for place, first, second in data["gold"][at]],
        "top": [[docids[place] for place in top] for top in data["top"][at]],
        "values": {
            name: [run[at] for run in runs] for name, runs in zip(data["measures"], data["values"], strict=True)
        },
        "products": products,
        "used": data["used"][data["language"][at]],
    }


class Tables(HTMLParser):
    """Rows of cells of every table of a page, and its elements' names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables, self.elements, self._cell = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data


def json_bytes(value) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode("utf-8"))

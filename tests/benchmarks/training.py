"""Trains a small query generator from scratch on XQuAD, and measures what its queries do to retrieval.

    python tests/benchmarks/training.py prepare DIR    pairs of XQuAD in Tevatron's format, and the held-out ones
    python tests/benchmarks/training.py measure DIR    losses, purity, and R@10 on xquad-loo with and without its queries

The input is the English sentence that holds the answer, with the paragraph's title; the target is the question in
Arabic, German, Spanish or Russian. A fifth of the paragraphs is held out with all their questions. The first question
of every paragraph is a topic of xquad-loo, and is in neither file.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path

from common import DATA

from pyserini_xqg.datasets.xquad import doc_id, read_paragraphs

LANGUAGES = ("ar", "de", "es", "ru")
SEED = 0
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9])")


def sentence_around(text: str, start: int) -> str:
    """The sentence of a paragraph that holds the character ``start``.

    >>> sentence_around("It rained. The river rose to 3.5 m. It fell.", 20)
    'The river rose to 3.5 m.'
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    bounds = [0, *ends, len(text)]
    return next(text[a:b].strip() for a, b in zip(bounds, bounds[1:], strict=False) if a <= start < b)


def answer_starts(path: Path) -> dict[str, int]:
    """Question id to the place of its first answer in its paragraph."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    questions = (qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"])
    return {qa["id"]: qa["answers"][0]["answer_start"] for qa in questions}


def held_out_paragraphs(number: int) -> set[int]:
    """A fifth of the paragraphs, drawn at random."""
    return set(random.Random(SEED).sample(range(number), number // 5))


def prepare(directory: Path) -> None:
    """Write ``train.jsonl`` and ``held-out.jsonl``."""
    english = read_paragraphs(DATA / "xquad" / "xquad.en.json")
    starts = answer_starts(DATA / "xquad" / "xquad.en.json")
    questions = {
        (language, question.id): question.text
        for language in LANGUAGES
        for paragraph in read_paragraphs(DATA / "xquad" / f"xquad.{language}.json")
        for question in paragraph.questions
    }
    aside = held_out_paragraphs(len(english))
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "train.jsonl", "w") as train, open(directory / "held-out.jsonl", "w") as held_out:
        for number, paragraph in enumerate(english):
            for question in paragraph.questions[1:]:
                passage = {"docid": doc_id(number), "title": paragraph.title}
                passage["text"] = sentence_around(paragraph.text, starts[question.id])
                for language in LANGUAGES:
                    record = {
                        "query_id": f"{language}-{question.id}",
                        "query": questions[language, question.id],
                        "lang": language,
                        "positive_passages": [passage],
                        "negative_passages": [],
                    }
                    (held_out if number in aside else train).write(json.dumps(record, ensure_ascii=False) + "\n")


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    {"prepare": prepare}[args.step](args.directory)


if __name__ == "__main__":
    main()

"""Hard negatives: passages that a retriever ranks high for a question and that do not answer it.

Three passes over the questions and one over the corpus. The rankings and the texts that they name are on the disk:
memory holds, beside the index, a docid and a checksum for each passage that answers a question.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.text.lookup import PassageLookup
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.train.examples import Example, ExampleSource

Search = Callable[[Sequence[str]], list[list[str]]]
"""Queries to docids by falling score, for each."""
_BATCH = 256  # questions encoded and searched together


@dataclass(frozen=True)
class MiningOptions:
    """Which passages"""

    depth: int = option(100, "ranks looked at", metavar="N", check=at_least(1))
    skip: int = option(0, "first ranks not taken, where unknown answers are likeliest", metavar="N", check=at_least(0))
    number: int = option(
        30, "most negatives of a question; of more that are found, a draw is taken", metavar="N", check=at_least(1)
    )
    seed: int = option(42, "of the draw", metavar="N", check=at_least(0))

    def __post_init__(self) -> None:
        if self.skip >= self.depth:
            raise XqgError(f"--skip {self.skip}: leaves nothing of --depth {self.depth}. Skip fewer, or look deeper.")


@dataclass
class MiningCounts:
    """What was found: questions, negatives, and what was left out of the rankings."""

    questions: int = 0
    negatives: int = 0
    positives: int = 0
    answers: int = 0
    fewer: int = 0


class Questions:
    """Questions with their answering passages, read once and checked before anything is searched.

    A question may stand on several lines, by its id or by its text: what answers it on one is no negative on another.
    """

    def __init__(self, examples: ExampleSource, answers: Mapping[str, Sequence[str]] | None = None) -> None:
        self.examples, self.answers, self.number = examples, answers, 0
        self._positives: defaultdict[str, set[str | bytes]] = defaultdict(set)
        with progress(unit="questions", description="checking") as bar:
            for example in examples:
                self.number += 1
                bar.update()
                if answers is not None and example.query_id not in answers:
                    raise XqgError(f"{example.where}: --answers has no line for it. Add one (answers may be empty).")
                for name in (example.query_id, example.query):
                    for passage in example.positives:
                        self._positives[name] |= {passage.docid, _checksum(passage)}
        if not self.number:
            raise XqgError(
                f"{', '.join(examples.sources)}: no question in it. Pass lines of query_id, query and "
                "positive_passages."
            )

    def answered_by(self, example: Example, passage: Passage) -> bool:
        """Whether the passage answers the question, by docid or by text."""
        known = self._positives[example.query_id] | self._positives[example.query]
        return not known.isdisjoint((passage.docid, _checksum(passage)))

    def holds_answer(self, example: Example) -> Callable[[Passage], bool]:
        """Finds passages in which an answer to the question stands; yes and no stand anywhere."""
        answers = self.answers[example.query_id] if self.answers is not None else ()
        patterns = [answer_pattern(answer) for answer in answers if answer not in ("yes", "no")]
        return lambda passage: bool(patterns) and holds_answer(f"{passage.title}\n{passage.text}", patterns)


def _checksum(passage: Passage) -> bytes:
    text = f"{passage.title}\0{passage.text}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def mine(
    questions: Questions, search: Search, corpus: str | Path, options: MiningOptions, counts: MiningCounts
) -> Iterator[dict[str, Any]]:
    """Yield a line of Tevatron's format for each question; ``counts`` is added to.

    The passages that answer the question, by docid or by text, are never negatives; nor are those in which one of the
    answers stands, where there are answers.
    """
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as work, PassageLookup((), with_queries=False) as texts:
        rankings = Path(work) / "rankings.jsonl"
        with (
            write_file(rankings) as out,
            progress(total=questions.number, unit="questions", description="searching") as bar,
        ):
            for batch in chunks_of(questions.examples, _BATCH):
                for docids in search([example.query for example in batch]):
                    out.write(json.dumps(docids[options.skip : options.depth]) + "\n")
                    texts.want(docids[options.skip : options.depth])
                bar.update(len(batch))
        texts.read(corpus)
        number, docid = texts.missing()
        if number:
            raise XqgError(
                f"{corpus}: docid {docid!r}, which the index ranks, is not in it ({number:,} such docids). Pass the "
                "--corpus that the index was built from."
            )
        with open(rankings, encoding="utf-8") as lines:
            for example, line in zip(questions.examples, lines, strict=True):
                ranked = [texts.get(docid) for docid in json.loads(line)]
                yield _line(example, _negatives(example, ranked, questions, options, counts))


def _negatives(
    example: Example, ranked: Sequence[Passage], questions: Questions, options: MiningOptions, counts: MiningCounts
) -> list[Passage]:
    holds_answer = questions.holds_answer(example)
    found = []
    for passage in ranked:
        if questions.answered_by(example, passage):
            counts.positives += 1
        elif holds_answer(passage):
            counts.answers += 1
        else:
            found.append(passage)
    if len(found) > options.number:
        chance = random.Random(f"{options.seed} {zlib.crc32(example.query_id.encode())} {example.query}")
        found = [found[place] for place in sorted(chance.sample(range(len(found)), options.number))]
    counts.questions += 1
    counts.negatives += len(found)
    counts.fewer += len(found) < options.number
    return found


def _line(example: Example, negatives: Sequence[Passage]) -> dict[str, Any]:
    language = {} if example.language is None else {"lang": example.language}
    return {
        "query_id": example.query_id,
        "query": example.query,
        **language,
        "positive_passages": [_record(passage) for passage in example.positives],
        "negative_passages": [_record(passage) for passage in negatives],
    }


def _record(passage: Passage) -> dict[str, str]:
    return {"docid": passage.docid, "title": passage.title, "text": passage.text}


def holds_answer(text: str, patterns: Iterable[re.Pattern[str]]) -> bool:
    """Whether one of the answers stands in a text.

    >>> holds_answer("It burnt down in 1914.", [answer_pattern("1914")])
    True
    >>> holds_answer("Room 19145.", [answer_pattern("1914")])
    False
    """
    normal = _normal(text)
    return any(pattern.search(normal) for pattern in patterns)


def answer_pattern(answer: str) -> re.Pattern[str]:
    """Finds an answer in any case and spacing (NFKC); at Latin letters and digits, whole words only."""
    normal = _normal(answer)
    start = r"(?<![a-z0-9])" if re.match("[a-z0-9]", normal) else ""
    end = r"(?![a-z0-9])" if re.search("[a-z0-9]$", normal) else ""
    return re.compile(start + re.escape(normal) + end)


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())

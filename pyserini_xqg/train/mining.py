"""Hard negatives: passages that a retriever ranks high for a question and that do not answer it.

Two passes over the questions and one over the corpus. The rankings and the texts that they name are on the disk, so
that memory does not grow with the questions nor with the corpus (the index aside).
"""

from __future__ import annotations

import json
import random
import re
import tempfile
import unicodedata
import zlib
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


@dataclass(frozen=True)
class MiningOptions:
    """Which passages"""

    depth: int = option(100, "ranks looked at", metavar="N", check=at_least(1))
    skip: int = option(0, "first ranks not taken, where unknown answers are likeliest", metavar="N", check=at_least(0))
    number: int = option(30, "most negatives found for a question", metavar="N", check=at_least(1))
    top: bool = option(False, "take the highest ranked, instead of a draw from the ranks")
    seed: int = option(42, "of the draw", metavar="N", check=at_least(0))
    keep_negatives: bool = option(False, "keep the data's own negatives, before those found")

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
    none: int = 0
    first_without: str = ""


def mine(
    examples: ExampleSource,
    search: Search,
    corpus: str | Path,
    options: MiningOptions,
    counts: MiningCounts,
    answers: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 256,
    total: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield a line of Tevatron's format for each question; ``counts`` is added to.

    The passages that answer the question, by docid or by text, are never negatives; with ``answers`` (query id to
    texts), neither are passages in which an answer stands.
    """
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as work, PassageLookup((), with_queries=False) as texts:
        rankings = Path(work) / "rankings.jsonl"
        _rank(examples, search, options, batch_size, texts, rankings, total)
        texts.read(corpus)
        number, docid = texts.missing()
        if number:
            raise XqgError(
                f"{corpus}: docid {docid!r}, which the index ranks, is not in it ({number:,} such docids). Pass the "
                "--corpus that the index was built from."
            )
        with open(rankings, encoding="utf-8") as lines:
            for example, line in zip(examples, lines, strict=True):
                expected = answers[example.query_id] if answers is not None else ()
                yield _negatives(example, json.loads(line), texts, options, expected, counts)


def _rank(
    examples: ExampleSource,
    search: Search,
    options: MiningOptions,
    batch_size: int,
    texts: PassageLookup,
    output: Path,
    total: int | None,
) -> None:
    with (
        write_file(output) as out,
        progress(total=total, unit="questions", description="searching") as bar,
    ):
        for batch in chunks_of(examples, batch_size):
            for docids in search([example.query for example in batch]):
                out.write(json.dumps(docids[: options.depth]) + "\n")
                texts.want(docids[options.skip : options.depth])
            bar.update(len(batch))


def _negatives(
    example: Example,
    docids: Sequence[str],
    texts: PassageLookup,
    options: MiningOptions,
    answers: Sequence[str],
    counts: MiningCounts,
) -> dict[str, Any]:
    kept = list(example.negatives) if options.keep_negatives else []
    known = {passage.docid for passage in example.positives}
    known_texts = {(passage.title, passage.text) for passage in example.positives}
    kept_docids = {passage.docid for passage in kept}
    patterns = [answer_pattern(answer) for answer in answers if answer not in ("yes", "no")]
    found = []
    for docid in docids[options.skip :]:
        if docid in kept_docids:
            continue
        passage = texts.get(docid)
        if docid in known or (passage.title, passage.text) in known_texts:
            counts.positives += 1
        elif patterns and holds_answer(f"{passage.title}\n{passage.text}", patterns):
            counts.answers += 1
        else:
            found.append(passage)
    if len(found) > options.number:
        chance = random.Random(f"{options.seed} {zlib.crc32(example.query_id.encode())} {example.query}")
        places = range(options.number) if options.top else sorted(chance.sample(range(len(found)), options.number))
        found = [found[place] for place in places]
    negatives = kept + found
    counts.questions += 1
    counts.negatives += len(negatives)
    counts.fewer += len(found) < options.number
    if not negatives:
        counts.none += 1
        counts.first_without = counts.first_without or example.query_id
    record: dict[str, Any] = {"query_id": example.query_id, "query": example.query}
    if example.language is not None:
        record["lang"] = example.language
    record["positive_passages"] = [_record(passage) for passage in example.positives]
    record["negative_passages"] = [_record(passage) for passage in negatives]
    return record


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

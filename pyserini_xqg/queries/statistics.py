"""What is known about the generated queries of one language after every passage was looked at once."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.text.language_check import found_instead
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.text.quality import QualityOptions, character_ngrams, fold, is_copy, near_duplicates, words

FINDINGS = {
    "duplicate": "the passage has it twice",
    "near_duplicate": "the passage has one much like it",
    "wrong_language": "in another language",
    "copy": "copied from the passage",
    "too_long": "too long",
    "empty": "without a letter or digit",
}
"""Kind of finding to what it means; a query may be found for several reasons."""

OVERLAP_BINS = 10
_MOST_EXAMPLE_CHARACTERS = 280


@dataclass(frozen=True)
class PassageForm:
    """A passage in the forms that its queries are compared with, made once for all of them."""

    passage: Passage
    folded: str
    words: frozenset[str]
    ngrams: set[str]

    @classmethod
    def of(cls, passage: Passage) -> PassageForm:
        """From title and text."""
        text = f"{passage.title} {passage.text}".strip()
        folded = fold(text)
        return cls(passage, folded, frozenset(words(text)), character_ngrams(folded))


@dataclass
class Sample:
    """An even sample of a stream (Vitter's algorithm R), the same for the same seed and stream."""

    size: int
    chance: random.Random
    items: list[Any] = field(default_factory=list)
    seen: int = 0

    def offer(self, item: Any) -> None:
        """Take the next item of the stream."""
        self.seen += 1
        if len(self.items) < self.size:
            self.items.append(item)
        elif (place := self.chance.randrange(self.seen)) < self.size:
            self.items[place] = item


class RepeatedTexts:
    """Counts texts by 64-bit hashes, eight bytes a text in memory.

    The most frequent texts are kept as they are (Misra and Gries, "Finding Repeated Elements", 1982): those that make
    up more than one in ``kept`` are never missed.

    >>> texts = RepeatedTexts()
    >>> for word in "to be or not to be".split():
    ...     texts.add(word)
    >>> texts.count()
    (4, 4)
    >>> texts.most_frequent(2)
    [('be', 2), ('to', 2)]
    """

    def __init__(self, kept: int = 1 << 14) -> None:
        self._kept = kept
        self._hashes = array("Q")
        self._frequent: Counter[str] = Counter()
        self._shown: dict[str, str] = {}

    def add(self, text: str, shown: str | None = None) -> None:
        """Count one text; ``shown`` stands for it in :meth:`most_frequent`."""
        self._hashes.append(_hash(text))
        self._shown.setdefault(text, shown or text)
        self._frequent[text] += 1
        if len(self._frequent) > self._kept:
            self._frequent -= Counter(dict.fromkeys(self._frequent, 1))  # without those that come to nothing
            self._shown = {text: self._shown[text] for text in self._frequent}

    def count(self) -> tuple[int, int]:
        """How many different texts there are, and how many occurrences have another of the same text."""
        counts = self._counts()[1]
        return len(counts), int(counts[counts > 1].sum())

    def most_frequent(self, number: int) -> list[tuple[str, int]]:
        """The texts that occur most often, at least twice, with how often; equally frequent ones by the alphabet."""
        candidates = sorted(self._frequent.items(), key=lambda item: (-item[1], item[0]))[: number * 8]
        hashes, counts = self._counts()
        exact = {text: int(counts[np.searchsorted(hashes, np.uint64(_hash(text)))]) for text, _ in candidates}
        ordered = sorted((item for item in exact.items() if item[1] > 1), key=lambda item: (-item[1], item[0]))
        return [(self._shown[text], count) for text, count in ordered[:number]]

    def _counts(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(np.array(self._hashes, dtype=np.uint64), return_counts=True)


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class LanguageStatistics:
    """Counts, distributions and examples of one language's queries; memory grows by eight bytes a query."""

    def __init__(self, language: str, rules: QualityOptions, examples: int, seed: int) -> None:
        self.language, self._rules = language, rules
        self._per_passage: Counter[int] = Counter()
        self._characters: Counter[int] = Counter()
        self._words: Counter[int] = Counter()
        self._findings: Counter[str] = Counter()
        self._instead: Counter[str] = Counter()
        self._overlap: Counter[int] = Counter()
        self._word_share = self._ngram_share = 0.0
        self._across = RepeatedTexts()
        self._examples, *samples = (
            Sample(examples, random.Random(f"{seed} {language} {kind}")) for kind in ("", *FINDINGS)
        )
        self._samples = dict(zip(FINDINGS, samples, strict=True))

    @property
    def passages(self) -> int:
        """Passages with queries in this language, so far."""
        return self._per_passage.total()

    def add(self, form: PassageForm, queries: Sequence[str]) -> None:
        """Look at the queries of one passage."""
        self._per_passage[len(queries)] += 1
        before: dict[str, str] = {}
        for query in queries:
            folded, query_words = fold(query), words(query)
            self._characters[len(query)] += 1
            self._words[len(query.split())] += 1
            self._measure_overlap(form, folded, query_words)
            for kind, detail in self._found(query, folded, form, before):
                self._findings[kind] += 1
                self._samples[kind].offer((form.passage.docid, query, detail))
            if folded not in before:
                before[folded] = query
                if folded:
                    self._across.add(folded, query)
        chosen = queries[self.passages % len(queries)]
        self._examples.offer((form.passage, chosen))

    def _measure_overlap(self, form: PassageForm, folded: str, query_words: Sequence[str]) -> None:
        ngrams = character_ngrams(folded)
        shared = len(ngrams & form.ngrams) / len(ngrams) if ngrams else 0.0
        self._ngram_share += shared
        self._overlap[min(int(shared * OVERLAP_BINS), OVERLAP_BINS - 1)] += 1
        if query_words:
            self._word_share += sum(word in form.words for word in query_words) / len(query_words)

    def _found(self, query: str, folded: str, form: PassageForm, before: dict[str, str]) -> Iterable[tuple[str, str]]:
        """Yield (kind of finding, detail)."""
        rules = self._rules
        if not folded:
            yield "empty", ""
            return
        if len(query) > rules.max_query_characters:
            yield "too_long", f"{len(query):,} characters"
        if not rules.keep_duplicates and folded in before:
            yield "duplicate", before[folded]
        else:
            for other, text in before.items():
                if near_duplicates(folded, other, rules.near_duplicate):
                    yield "near_duplicate", text
                    break
        if is_copy(folded, form.folded, rules.copied):
            yield "copy", ""
        if rules.language_check != "none" and (found := found_instead(query, self.language, rules.language_check)):
            self._instead[found] += 1
            yield "wrong_language", found

    def to_dict(self) -> dict[str, Any]:
        """JSON values; numbers of queries unless the name says passages, lengths in characters and in words."""
        queries = self._characters.total()
        different, elsewhere = self._across.count()
        kinds = [kind for kind in FINDINGS if self._is_checked(kind)]
        return {
            "name": NAMES[self.language],
            "passages": self.passages,
            "queries": queries,
            "queries_per_passage": describe_histogram(self._per_passage),
            "characters": describe_histogram(self._characters),
            "words": describe_histogram(self._words),
            "findings": {kind: self._findings[kind] for kind in kinds},
            "found_instead": dict(self._instead.most_common()),
            "different": different,
            "in_several_passages": elsewhere,
            "most_repeated": [
                {"query": shorten(text), "passages": count}
                for text, count in self._across.most_frequent(self._examples.size)
            ],
            "overlap": {
                "words": self._word_share / queries,
                "ngrams": self._ngram_share / queries,
                "histogram": [self._overlap[place] for place in range(OVERLAP_BINS)],
            },
            "examples": [
                {"docid": passage.docid, "title": passage.title, "text": shorten(passage.text), "query": query}
                for passage, query in self._examples.items
            ],
            "found": {
                kind: [
                    {"docid": docid, "query": shorten(query), "detail": shorten(detail)}
                    for docid, query, detail in self._samples[kind].items
                ]
                for kind in kinds
                if self._samples[kind].items
            },
        }

    def _is_checked(self, kind: str) -> bool:
        off = {"duplicate": self._rules.keep_duplicates, "wrong_language": self._rules.language_check == "none"}
        return not off.get(kind, False)


def describe_histogram(counts: Counter[int]) -> dict[str, Any]:
    """Mean, and the smallest value that a half, 95 % and all of the values do not exceed (nearest rank).

    >>> describe_histogram(Counter({1: 3, 9: 1}))
    {'mean': 3.0, 'min': 1, 'median': 1, 'p95': 9, 'max': 9, 'histogram': {1: 3, 9: 1}}
    """
    values = sorted(counts)
    weights = [counts[value] for value in values]
    median, p95 = np.quantile(values, [0.5, 0.95], method="inverted_cdf", weights=weights).tolist()
    return {
        "mean": float(np.average(values, weights=weights)),
        "min": values[0],
        "median": int(median),
        "p95": int(p95),
        "max": values[-1],
        "histogram": dict(zip(values, weights, strict=True)),
    }


def shorten(text: str, most: int = _MOST_EXAMPLE_CHARACTERS) -> str:
    """At most ``most`` characters of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"

"""Tokens as the official scorer of R@kt counts them, and the search for answers among the first of them.

Tokenising is nearly the whole cost of R@kt, and for most passages it decides nothing. :class:`AnswerFinder` therefore
looks at characters first; see there why that changes no result.
"""

from __future__ import annotations

import functools
import re
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from pyserini_xqg.core.errors import XqgError

PUNKT_CURE = "python -m nltk.downloader punkt_tab"
"""The command that makes R@kt exact on a machine whose NLTK lacks its sentence model."""

CACHE_CHARACTERS = 100_000_000
"""How many characters of passages and their tokens one process keeps (some 75,000 passages of 100 words), and of
squeezed passages one :class:`AnswerFinder` (some 200,000).
"""


class Passages(Protocol):
    """Where R@kt finds texts: a dict, an ir_datasets docs store, anything with ``get``."""

    def get(self, docid: str) -> Any:
        """A text, or an object with a ``text``; None or KeyError where the docid is unknown."""


@functools.cache
def exact_tokens() -> bool:
    """Whether NLTK finds the data of the official scorer's tokeniser (looked up once per process)."""
    from nltk.tokenize import word_tokenize

    try:
        word_tokenize("One. Two.")
    except (LookupError, OSError):  # OSError: data that is there but cannot be read
        return False
    return True


def tokenize(text: str) -> list[str]:
    """Tokens of a text as the official scorer counts them: ``nltk.word_tokenize``.

    Where NLTK's ``punkt_tab`` data is absent, ``word_tokenize(text, preserve_line=True)`` stands in: it does not
    look for sentences, so only the last full stop of a text becomes a token of its own. See :func:`exact_tokens`.

    >>> tokenize("Tampere, Finland")
    ['Tampere', ',', 'Finland']
    """
    from nltk.tokenize import word_tokenize

    return word_tokenize(text, preserve_line=not exact_tokens())


class CharacterCache(OrderedDict[str, Any]):
    """Values made of keys; the least recently used ones go where more than ``most`` characters would be kept.

    characters : how many a key and its value count.
    """

    def __init__(self, most: int, characters: Callable[[str, Any], int]) -> None:
        super().__init__()
        self.most, self._count, self.characters = most, characters, 0

    def fetch(self, key: str, make: Callable[[], Any]) -> Any:
        """The value of a key, which is made where there is none."""
        if key in self:
            self.move_to_end(key)
            return self[key]
        value = self[key] = make()
        self.characters += self._count(key, value)
        while self.characters > self.most:
            self.characters -= self._count(*self.popitem(last=False))
        return value

    def clear(self) -> None:
        """Forget every key."""
        super().clear()
        self.characters = 0


# Topics, cutoffs and runs share most of their passages. Tokens hold no white space, so one string per text holds them,
# in a tenth of the memory of a list.
_cache = CharacterCache(CACHE_CHARACTERS, lambda text, joined: len(text) + len(joined))


def _tokens(text: str) -> list[str]:
    return _cache.fetch(text, lambda: " ".join(tokenize(text))).split()


def first_tokens(texts: Iterable[str], budget: int) -> list[str]:
    """The first ``budget`` tokens of the texts, one after the other; reads no more texts than that takes.

    >>> first_tokens(["one two", "three four"], 3)
    ['one', 'two', 'three']
    """
    tokens: list[str] = []
    for text in texts:
        tokens += _tokens(text)
        if len(tokens) >= budget:
            break
    return tokens[:budget]


class Squeezed(NamedTuple):
    """A text without white space and quotation marks, and bounds of its number of tokens."""

    characters: str
    fewest: int
    most: int


def squeeze(text: str) -> Squeezed:
    r"""Leave out what the tokeniser may change, and bound the number of tokens from below and above.

    >>> squeeze('the "King\'s" men\n')
    Squeezed(characters='theKingsmen', fewest=3, most=8)
    """
    words = text.split()
    # Tokens end at white space and at punctuation; within a word in "can|not", "gim|me", "gon|na" and their like, and
    # in "do|n't", "'t|is".
    lower = text.lower()
    most = len(_PIECES.findall(text)) + sum(map(lower.count, ("nnot", "mme", "nna", "tta", "'")))
    return Squeezed(_unquoted("".join(words)), len(words), most)


_PIECES = re.compile(r"\w+|[^\w\s]")


def _unquoted(characters: str) -> str:
    return characters.replace('"', "").replace("'", "").replace("`", "")


def _characters(answer: str) -> str:
    return _unquoted("".join(answer.split()))


class AnswerFinder:
    """Tells whether an answer is within the first tokens of ranked passages, tokenising only where that is in question.

    The tokeniser adds spaces, replaces white space, and writes quotation marks in other ways; it changes nothing else.
    So an answer that is a substring of the passages' tokens is a substring of the passages, with white space and
    quotation marks left out of both. Only passages with such an occurrence are tokenised, to see whether it is one. If
    the bounds of the number of tokens do not tell on which side of the budget it lies, so are those before it.

    passages : docid to text: anything with ``get``, returning a string or an object with a string ``text``.
    """

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._squeezed = CharacterCache(CACHE_CHARACTERS, lambda docid, squeezed: len(squeezed.characters))

    def hits(
        self, query_id: str, answers: Sequence[str], ranking: Sequence[str], budgets: Sequence[int]
    ) -> list[float]:
        """For each budget (a number of tokens) 1.0 if an answer is within it, else 0.0.

        Raises :class:`XqgError`, naming the question, for a docid that is not among the passages.

        >>> AnswerFinder({"d1": "in New", "d2": "York, they say"}).hits("q1", ["New York"], ["d1", "d2"], [2, 3])
        [0.0, 1.0]
        """
        reached: list[Squeezed] = []
        fewest, budget = 0, max(budgets)
        for docid in ranking:
            reached.append(squeezed := self._squeeze(docid, query_id))
            fewest += squeezed.fewest
            if fewest >= budget:
                break
        together = "".join([squeezed.characters for squeezed in reached])
        sought = [answer for answer in answers if _characters(answer) in together]
        if not sought:
            return [0.0] * len(budgets)
        found = _Occurrences(sought, reached, together, lambda place: self._text(ranking[place], query_id))
        return [float(found.within(budget)) for budget in budgets]

    def _text(self, docid: str, query_id: str) -> str:
        return text_of(self._passages, docid, query_id)

    def _squeeze(self, docid: str, query_id: str) -> Squeezed:
        return self._squeezed.fetch(docid, lambda: squeeze(self._text(docid, query_id)))


class _Occurrences:
    """Where answers occur in the squeezed passages of a ranking, and whether they do in their tokens."""

    def __init__(
        self, answers: Sequence[str], reached: Sequence[Squeezed], together: str, text: Callable[[int], str]
    ) -> None:
        self._answers, self._reached, self._together, self._text = answers, reached, together, text
        self._ends = list(accumulate(len(squeezed.characters) for squeezed in reached))
        self._fewest = [0, *accumulate(squeezed.fewest for squeezed in reached)]
        self._most = [0, *accumulate(squeezed.most for squeezed in reached)]
        # What a squeezed answer lacks at its edges may lie in passages beside those of its occurrence.
        self._exactly = any(not _characters(edge) for answer in answers for edge in (answer[0], answer[-1]))
        self._confirmed: dict[tuple[int, int], bool] = {}

    def within(self, budget: int) -> bool:
        """Whether an answer is a substring of the first ``budget`` tokens, joined with spaces."""
        if self._exactly:
            return self._among_first(len(self._reached), budget)
        for first, last in self._places():
            if self._fewest[first] < budget and self._is_one(first, last):
                # Those that end later are not within the budget either if this one is not.
                return self._most[last + 1] <= budget or self._among_first(last + 1, budget)
        return False

    def _places(self) -> list[tuple[int, int]]:
        """First and last passage of every occurrence, in the order of their ends."""
        places = set()
        for answer in self._answers:
            characters = _characters(answer)
            start = self._together.find(characters)
            while start >= 0:
                end = start + len(characters)
                places.add((end, bisect_right(self._ends, start), bisect_left(self._ends, end)))
                start = self._together.find(characters, start + 1)
        return list(dict.fromkeys((first, last) for _, first, last in sorted(places)))

    def _is_one(self, first: int, last: int) -> bool:
        if (first, last) not in self._confirmed:
            tokens = (token for place in range(first, last + 1) for token in _tokens(self._text(place)))
            self._confirmed[first, last] = self._in(" ".join(tokens))
        return self._confirmed[first, last]

    def _among_first(self, number: int, budget: int) -> bool:
        return self._in(" ".join(first_tokens(map(self._text, range(number)), budget)))

    def _in(self, text: str) -> bool:
        return any(answer in text for answer in self._answers)


def text_of(passages: Passages, docid: str, query_id: str) -> str:
    """Text of a passage; :class:`XqgError`, naming the question whose ranking holds it, if there is none."""
    try:
        passage = passages.get(docid)
    except KeyError:
        passage = None
    if passage is None:
        raise XqgError(
            f"docid {docid!r}, ranked for topic {query_id!r}, is not among the passages. "
            "Use the passages that the run was retrieved from."
        )
    text = passage if isinstance(passage, str) else getattr(passage, "text", None)
    if not isinstance(text, str):
        raise XqgError(f"passage {docid!r}: a {type(passage).__name__} without a 'text', which R@kt needs.")
    return text


def rank(scores: Mapping[str, float]) -> list[str]:
    """Docids in trec_eval's order: falling score in single precision, then falling docid.

    >>> rank({"d1": 1.0, "d3": 2.0, "d2": 1.0})
    ['d3', 'd2', 'd1']
    """
    # trec_eval keeps scores as C floats, so scores that differ only beyond that are equal to it.
    return [docid for _, docid in sorted(zip(array("f", scores.values()), scores, strict=True), reverse=True)]

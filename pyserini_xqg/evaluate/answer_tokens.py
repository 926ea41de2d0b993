"""Tokens as the official scorer of R@kt counts them, and the search for answers among the first of them."""

from __future__ import annotations

import functools
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pyserini_xqg.core.errors import XqgError

PUNKT_CURE = "python -m nltk.downloader punkt_tab"
"""The command that makes R@kt exact on a machine whose NLTK lacks its sentence model."""


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


@functools.lru_cache(maxsize=50_000)
def joined_tokens(text: str) -> str:
    """The tokens with single spaces between them; they hold no white space themselves."""
    return " ".join(tokenize(text))


def squeeze(text: str) -> str:
    r"""A text without white space and quotation marks: without what the tokeniser may change.

    >>> squeeze('the "King\'s" men\n')
    'theKingsmen'
    """
    return "".join(text.split()).translate(_QUOTATION_MARKS)


_QUOTATION_MARKS = str.maketrans("", "", "\"'`")


class AnswerFinder:
    """Tells how many tokens of ranked passages it takes to hold an answer.

    Tokenising is nearly the whole cost of R@kt. The tokeniser adds spaces, replaces white space, and writes quotation
    marks in other ways; it changes nothing else, and no token spans two words. So an answer that is a substring of the
    first n tokens is, squeezed, a substring of the squeezed passages up to n words: only rankings with such an
    occurrence are tokenised, up to the first answer.

    passages : docid to text: anything with ``get``, returning a string or an object with a string ``text``.
    """

    def __init__(self, passages: Passages) -> None:
        self._passages = passages
        self._squeezed = functools.lru_cache(maxsize=200_000)(self._squeeze)

    def tokens_needed(self, answers: Sequence[str], ranking: Sequence[str], most: int) -> float:
        """The smallest number of tokens, joined with spaces, that have an answer as a substring.

        Infinite where that is more than ``most``. Raises :class:`XqgError` for a docid that is not among the passages.

        >>> AnswerFinder({"d1": "in New", "d2": "York, they say"}).tokens_needed(["New York"], ["d1", "d2"], 1000)
        3
        """
        squeezed, words = "", 0
        for docid in ranking:
            text, number = self._squeezed(docid)
            squeezed += text
            words += number
            if words >= most:
                break
        sought = [answer for answer in answers if squeeze(answer) in squeezed]
        joined = ""
        for docid in ranking if sought else ():
            joined = f"{joined} {joined_tokens(self._text(docid))}".strip(" ")
            starts = {answer: joined.find(answer) for answer in sought}
            if ends := [start + len(answer) for answer, start in starts.items() if start >= 0]:
                needed = joined.count(" ", 0, min(ends)) + 1
                return needed if needed <= most else math.inf
            if joined.count(" ") >= most:
                break
        return math.inf

    def _squeeze(self, docid: str) -> tuple[str, int]:
        """The squeezed text, and its number of words."""
        text = self._text(docid)
        return squeeze(text), len(text.split())

    def _text(self, docid: str) -> str:
        try:
            passage = self._passages.get(docid)
        except KeyError:
            passage = None
        if passage is None:
            raise XqgError(
                f"docid {docid!r} is not among the passages. Use the passages that the run was retrieved from."
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

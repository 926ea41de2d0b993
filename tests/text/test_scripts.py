"""Scripts of characters, against the names that Unicode gives them, and of languages."""

import unicodedata

import pytest

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.text.scripts import (
    ALL_LETTERS,
    count_letters,
    in_script,
    letters_of,
    main_script,
    script_settles,
    scripts_of,
    without_latin,
)

NAMED = {
    "Latin": "LATIN ", "Greek": "GREEK ", "Cyrillic": "CYRILLIC ", "Armenian": "ARMENIAN ", "Hebrew": "HEBREW ",
    "Arabic": "ARABIC ", "Thaana": "THAANA ", "Devanagari": "DEVANAGARI ", "Bengali": "BENGALI ",
    "Gurmukhi": "GURMUKHI ", "Gujarati": "GUJARATI ", "Oriya": "ORIYA ", "Tamil": "TAMIL ", "Telugu": "TELUGU ",
    "Kannada": "KANNADA ", "Malayalam": "MALAYALAM ", "Sinhala": "SINHALA ", "Thai": "THAI ", "Lao": "LAO ",
    "Tibetan": "TIBETAN ", "Myanmar": "MYANMAR ", "Georgian": "GEORGIAN ", "Ethiopic": "ETHIOPIC ",
    "Canadian_Aboriginal": "CANADIAN SYLLABICS ", "Khmer": "KHMER ", "Mongolian": "MONGOLIAN ",
    "Hiragana": "HIRAGANA ", "Katakana": "KATAKANA ", "Han": "CJK UNIFIED IDEOGRAPH", "Hangul": "HANGUL ",
}  # fmt: skip


@pytest.fixture(scope="module")
def letters():
    """Letters of the basic plane with their names; letters of other scripts too."""
    return [
        (character, name)
        for character in map(chr, range(0x10000))
        if unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lo") and (name := unicodedata.name(character, ""))
    ]


@pytest.mark.parametrize("script", NAMED)
def test_letters_have_the_names_of_their_script(script, letters):
    pattern = letters_of(frozenset({script}))
    own = [character for character, name in letters if name.startswith(NAMED[script])]
    assert len(own) > 30
    missed = [hex(ord(character)) for character in own if not pattern.fullmatch(character)]
    assert len(missed) <= 0.01 * len(own), missed  # Unicode gives some letters of one script's name to another
    others = [name for character, name in letters if pattern.fullmatch(character)]
    foreign = {name for name in others if any(name.startswith(NAMED[other]) for other in NAMED if other != script)}
    assert len(foreign) <= 0.01 * len(others), foreign


def test_digits_punctuation_and_symbols_are_no_letters():
    kinds = ("Nd", "Po", "Pd", "Ps", "Pe", "Sm", "Sc", "Zs", "Cc")
    found = []
    for character in map(chr, range(0x10000)):
        if unicodedata.category(character) in kinds:
            found += [character] * bool(ALL_LETTERS.fullmatch(character))
    assert found == []


def test_every_language_has_scripts():
    assert all(scripts_of(code) for code in NAMES)
    assert scripts_of("fi") == {"Latin"}
    assert scripts_of("ru") == {"Cyrillic"}
    assert scripts_of("sr") == {"Cyrillic", "Latin"}


def test_counting():
    assert count_letters("NASA 12 ఎప్పుడు?", "te") == (7, 4, 0)
    assert count_letters("Was heißt 水?", "de") == (8, 0, 1)
    assert count_letters("12 + 3?", "te") == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("2019?", "te", True),
        ("Was bedeutet das Wort Москва?", "de", True),
        ("Москва Москва was?", "de", False),
        ("BBC NEWS అంటే?", "te", True),
        ("What is the capital of భారత్?", "te", False),
        ("漢字", "ja", True),
        ("漢字", "ko", False),
        ("漢字는?", "ko", True),
        ("これは何ですか", "zh", False),
        ("“の”是什么意思？", "zh", True),
        ("Где мој пријатељ живи?", "ru", False),
        ("В каком году родился автор книги «Їжак»?", "ru", True),
        ("অসমৰ ৰাজধানী কি?", "bn", False),
        ("অসমৰ ৰাজধানী কি?", "as", True),
        ("বাংলাদেশের রাজধানী কি?", "as", False),
        ("বাংলাদেশের রাজধানী কি?", "bn", True),
    ],
)
def test_in_script(text, language, expected):
    assert in_script(text, language, 0.3) is expected


def test_what_the_script_settles():
    settled = {code for code in NAMES if script_settles(code)}
    assert {"bn", "el", "ja", "ka", "ko", "ta", "te", "th"} <= settled
    assert settled.isdisjoint({"ar", "fa", "fi", "ru", "uk", "hi", "mr", "zh", "sr"})
    assert script_settles("ja", "川はどこ?")
    assert not script_settles("ja", "東京都知事?")


def test_main_script_and_leaving_latin_out():
    assert main_script("Где BBC?") == "Latin"  # as many letters, and the first by name of the two
    assert main_script("Где находится BBC?") == "Cyrillic"
    assert without_latin("Где BBC?", "ru").split() == ["Где", "?"]
    assert without_latin("Wo ist BBC?", "de") == "Wo ist BBC?"

"""Language codes and their names."""

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES, XOR_TYDI_LANGUAGES, check_language, parse_languages


def test_the_papers_languages_and_prompt_names():
    names = ["Arabic", "Bengali", "Finnish", "Japanese", "Korean", "Russian", "Telugu"]
    assert [NAMES[code] for code in XOR_TYDI_LANGUAGES] == names


def test_codes_are_iso_639_1_in_form_and_names_are_distinct():
    assert all(len(code) == 2 and code.isascii() and code.islower() for code in NAMES)
    assert len(set(NAMES.values())) == len(NAMES)
    assert {"en", "de", "es", "zh", "hi", "vi", "th", "tr", "el", "ro"} <= set(NAMES)  # English and XQuAD's


@pytest.mark.parametrize("code", ["xx", "", "ara", "zh-CN", None, 3])
def test_unknown_code(code):
    with pytest.raises(XqgError) as caught:
        check_language(code, "a.jsonl, line 3")
    assert str(caught.value).startswith(f"a.jsonl, line 3: unknown language code {code!r}.")
    assert "ISO 639-1" in str(caught.value)


@pytest.mark.parametrize(("given", "meant"), [("Finnish", "fi"), ("telugu", "te"), ("AR", "ar")])
def test_hint_for_names_and_capitals(given, meant):
    with pytest.raises(XqgError, match=f"Did you mean '{meant}'"):
        check_language(given)


def test_parse_languages():
    assert parse_languages("te, ar ,fi") == ["te", "ar", "fi"]
    assert parse_languages(("ja", "ko")) == ["ja", "ko"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "--languages: no language given"),
        (" , ", "--languages: no language given"),
        ([], "--languages: no language given"),
        ("fi,ar,fi", "--languages: fi given more than once"),
        ("fi,xx", "--languages: unknown language code 'xx'"),
        ("fi,,ar", "--languages: unknown language code ''"),
    ],
)
def test_bad_lists(value, message):
    with pytest.raises(XqgError, match=f"^{message}"):
        parse_languages(value, "--languages")

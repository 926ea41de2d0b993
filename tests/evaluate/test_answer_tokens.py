"""Tokens of R@kt and the search for answers in them: against the official rules, whatever is left untokenised."""

from __future__ import annotations

import json
import math
import random
import warnings

import ir_measures
import pytest
from ir_measures import RR
from official_scorer import add_punkt, official_hits, official_tokens

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate import answer_tokens
from pyserini_xqg.evaluate.answer_tokens import AnswerFinder, rank, squeeze, tokenize
from pyserini_xqg.evaluate.measures import InexactTokensWarning, RecallAtKTokens

# What the tokeniser treats in its own way, and what it leaves alone.
WORDS = r"""
can cannot Cannot gimme Gonna gotta lemme wanna don't CAN'T he'll King's 'tis 'Twas d'ye more'n o' ''
" "Hey" `` ` « » “quoted” ‘so’ ' '' U.S. e.g. etc. 3.14 1,000 a,b a: b; 50% $5 #1 x@y.org AT&T -- – — ...
( ) [1] {x} <b> ? ! * word_with_score naïve İstanbul gımme 東京 서울 ঢাকা हिन्दी مدينة ½ \ / . .
"""
PIECES = (*WORDS.split(), "cafe\u0301", "\u200b", "\n", "\t", "\u00a0", "\u2003", "\u0085", "\x1c")


def random_text(chance: random.Random, pieces: int) -> str:
    return "".join(chance.choice(PIECES) + chance.choice(("", " ", " ", "  ")) for _ in range(pieces))


@pytest.fixture(params=["punkt", "no punkt"])
def tokeniser(request, nltk_data):
    """With NLTK's sentence model, and without."""
    if request.param == "punkt":
        add_punkt(nltk_data)
    assert answer_tokens.exact_tokens() == (request.param == "punkt")
    return request.param


@pytest.fixture
def tokenised(monkeypatch):
    """The texts that were tokenised, in order."""
    seen, original = [], answer_tokens.tokenize
    answer_tokens.joined_tokens.cache_clear()
    monkeypatch.setattr(answer_tokens, "tokenize", lambda text: seen.append(text) or original(text))
    return seen


# --- what the search relies on ---


def assert_squeezable(text: str) -> None:
    tokens = official_tokens(text)
    unquoted = "".join(character for character in text if not character.isspace() and character not in "\"'`")
    assert squeeze("".join(tokens)) == squeeze(text) == unquoted, repr(text)
    assert len(text.split()) <= len(tokens), repr(text)


def test_tokens_differ_from_texts_in_white_space_and_quotation_marks_alone(tokeniser):
    chance = random.Random(11)
    for _ in range(2000):
        assert_squeezable(random_text(chance, chance.randint(1, 12)))
    for text in (*PIECES, "", " ", "cannotgimme gonnawanna", "wanna\nwanna", "\"'`", "don't.Don't", "a.B. c.D"):
        assert_squeezable(text)


def test_the_same_on_real_texts(tokeniser, shared_data):
    with open(shared_data / "xquad" / "xquad.en.json", encoding="utf-8") as stream:
        articles = json.load(stream)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            assert_squeezable(paragraph["context"])
    for file in sorted((shared_data / "xor-tydi").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[:300]:
            assert_squeezable(json.loads(line)["question"])


# --- the search ---


def test_equals_the_official_rules_on_random_texts_and_small_budgets(tokeniser):
    chance = random.Random(5)
    hits = 0
    for _ in range(700):
        texts = {f"d{number}": random_text(chance, chance.randint(0, 8)) for number in range(chance.randint(1, 6))}
        everything = " ".join(token for text in texts.values() for token in official_tokens(text))
        answers = []
        for source in (everything, " ".join(texts.values()), random_text(chance, 3)):
            start = chance.randrange(len(source) + 1)
            answers.append(source[start : start + chance.randint(1, 12)])
        answers = [answer for answer in answers if answer.strip()] or ["word"]
        budgets = sorted(chance.sample(range(1, 30), 3))
        needed = {budget: AnswerFinder(texts).tokens_needed(answers, list(texts), budget) for budget in budgets}
        expected = [official_hits({"q": answers}, {"q": list(texts)}, texts, budget)["q"] for budget in budgets]
        assert [number <= budget for budget, number in needed.items()] == expected, (answers, texts, budgets)
        hits += sum(expected)
    assert 400 < hits < 1900


@pytest.mark.parametrize(
    ("answer", "texts", "needed"),
    [
        ("can not", ["he cannot"], 3),  # a budget may cut in the middle of a word
        ("cannot", ["he cannot"], None),
        ("``", ['"Hey"'], 1),
        ("''", ['"Hey"'], 3),
        ('"', ['"Hey"'], None),
        ("'' Oslo", ['"Hey"', "Oslo"], 4),  # the quotation mark is the last token of the passage before
        ("New York", ["New Yorker", "in New", "York"], 2),
        ("New York", ["NewYork", "of new York", "in New York"], 7),  # only the third is one
        ("Louis, Missouri", ["St Louis, Missouri", "of Louis,", "Missouri"], None),  # found thrice, never in tokens
        ("Louis , Missouri", ["Louis Missouri", "of Louis,", "Missouri"], 6),
        ("a b c", ["a", "", "b", "c"], 3),
        (" b", ["a", "b"], 2),
        ("a ", ["a"], None),
        ("a ", ["a", "b"], 2),
    ],
)
def test_by_hand(answer, texts, needed):
    passages = {str(number): text for number, text in enumerate(texts)}
    finder = AnswerFinder(passages)
    for most in range(1, 10):
        expected = needed if needed and needed <= most else math.inf
        assert finder.tokens_needed([answer], list(passages), most) == expected


def test_passages_that_decide_nothing_are_not_tokenised(tokenised):
    texts = {f"d{number}": f"word number {number} of many others" for number in range(200)} | {"gold": "in New York ."}
    ranking = [*list(texts)[:100], "gold", *list(texts)[100:200]]
    finder = AnswerFinder(texts)
    assert finder.tokens_needed(["Paris"], ranking, 1000) == math.inf
    assert finder.tokens_needed(["New York"], ranking, 600) == math.inf
    assert tokenised == []
    assert finder.tokens_needed(["New York"], ranking, 2000) == 603
    assert tokenised == [texts[docid] for docid in ranking[:101]]


def test_the_rest_of_a_ranking_is_not_looked_up():
    looked_up = []

    class Passages(dict):
        def get(self, docid):
            looked_up.append(docid)
            return super().get(docid)

    passages = Passages({f"d{number}": "one two three" for number in range(9)})
    assert AnswerFinder(passages).tokens_needed(["four"], list(passages), 6) == math.inf
    assert looked_up == ["d0", "d1"]


def test_unknown_docids_and_passages_without_a_text_are_refused():
    class Store:  # as ir_datasets' docs stores do
        def get(self, docid):
            raise KeyError(docid)

    for passages in ({"d1": "text"}, Store()):
        with pytest.raises(XqgError, match="docid 'd9' is not among the passages"):
            AnswerFinder(passages).tokens_needed(["a"], ["d9"], 1)
    with pytest.raises(XqgError, match="passage 'd1': a dict without a 'text'"):
        AnswerFinder({"d1": {"body": "text"}}).tokens_needed(["a"], ["d1"], 1)


def test_ranking_is_trec_evals():
    chance = random.Random(3)
    for _ in range(200):
        docids = [f"d{chance.randint(0, 99)}" for _ in range(12)] + ["é", "z", "Z", "10", "9"]
        # Scores that differ, that are equal, and that differ only beyond single precision.
        scores = {docid: chance.choice([1.0, 2.0, 90.1234561, 90.1234562, 1e300, -3.5]) for docid in docids}
        qrels = {docid: {docid: 1} for docid in scores}
        reciprocal = {m.query_id: m.value for m in ir_measures.iter_calc([RR], qrels, dict.fromkeys(scores, scores))}
        assert rank(scores) == sorted(scores, key=lambda docid: -reciprocal[docid])


# --- tokens ---


@pytest.mark.parametrize("punkt", [False, True])
def test_tokens_with_and_without_punkt(punkt, nltk_data):
    if punkt:
        add_punkt(nltk_data)
    assert answer_tokens.exact_tokens() == punkt
    # Without, the full stop of the first sentence stays with its word.
    assert tokenize("It rained. It stopped.") == [
        "It",
        *(["rained", "."] if punkt else ["rained."]),
        "It",
        "stopped",
        ".",
    ]
    recall = RecallAtKTokens({"q": ["rained ." if punkt else "rained. It"]}, {"d": "It rained. It stopped."}) @ 1
    with warnings.catch_warnings(record=True) as caught:
        assert ir_measures.calc_aggregate([recall], [], {"q": {"d": 1.0}}) == {recall: 1.0}
    said = [str(warning.message) for warning in caught if warning.category is InexactTokensWarning]
    assert len(said) == (not punkt) and all("python -m nltk.downloader punkt_tab" in text for text in said)


@pytest.mark.filterwarnings("ignore::pyserini_xqg.evaluate.measures.InexactTokensWarning")
def test_each_passage_is_tokenised_once(tokenised):
    texts = {"a": "first text of this test", "b": "second text of this test"}
    answers = {str(number): ["text of this"] for number in range(5)}
    recall = RecallAtKTokens(answers, texts)
    run = {query_id: {"a": 2.0, "b": 1.0} for query_id in answers} | {"0": {"b": 1.0}}
    for _ in range(2):
        ir_measures.calc_aggregate([recall @ 2, recall @ 5, RecallAtKTokens(answers, dict(texts)) @ 2], [], run)
    assert sorted(tokenised) == sorted(texts.values())

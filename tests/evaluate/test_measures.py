"""R@kt: against a second implementation of the official rules on real questions, and case by case by hand."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect_left
from collections import namedtuple
from pathlib import Path

import ir_measures
import pytest
from ir_measures import RR, R
from official_scorer import add_punkt, official_hits, official_tokens

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.measures import RecallAtKTokens, span_answers

pytestmark = pytest.mark.filterwarnings("ignore::pyserini_xqg.evaluate.measures.InexactTokensWarning")


def score(answers: dict, ranking: list[str], texts: dict, k: int = 1) -> float:
    """R@kt of one question "q" whose passages are ranked in this order."""
    run = {"q": {docid: -float(place) for place, docid in enumerate(ranking)}}
    measure = RecallAtKTokens({"q": answers}, texts) @ k
    (metric,) = ir_measures.iter_calc([measure], [], run)
    assert metric.query_id == "q" and metric.measure == measure
    return metric.value


# --- the rules, by hand ---


@pytest.mark.parametrize(
    ("answers", "text", "expected"),
    [
        (["Tampere"], "Nokia is near Tampere.", 1.0),
        (["tampere"], "Nokia is near Tampere.", 0.0),  # case counts
        (["Oslo", "Tampere"], "Nokia is near Tampere.", 1.0),  # one of several
        (["amper"], "Nokia is near Tampere.", 1.0),  # a substring, not a word
        (["Louis, Missouri"], "St Louis, Missouri", 0.0),  # the comma is a token: "Louis , Missouri"
        (["Louis , Missouri"], "St Louis, Missouri", 1.0),
        (["can't"], "He can't.", 0.0),  # "ca n't"
        (['"Hey"'], 'They sang "Hey" twice', 0.0),  # quotes become `` and ''
        (["1,000"], "about 1,000 men", 1.0),  # no token ends within a number
        (["Åbo"], "Turku (Åbo) is old", 1.0),
        (["6½"], "He had 6½ sacks", 1.0),
        (["東京"], "Tokyo, 東京都", 1.0),
        (["two  spaces"], "two  spaces", 0.0),  # joined with single spaces
        (["yes", "Tampere"], "yes, Oslo", 0.0),  # yes is dropped, Tampere is not there
        (["Yes"], "Yes, Oslo", 1.0),  # only exactly "yes" and "no" are dropped
        (["yes "], "oh yes he did", 1.0),
    ],
)
def test_one_passage(answers, text, expected):
    assert score(answers, ["d"], {"d": text}) == expected


@pytest.mark.parametrize(("answer", "expected"), [("New York", 1.0), ("York City", 0.0), ("New York City", 0.0)])
def test_budget_cuts_within_an_answer(answer, expected):
    texts = {"d": " ".join(["word"] * 998 + ["New", "York", "City"])}
    assert score([answer], ["d"], texts, k=1) == expected
    assert score([answer], ["d"], texts, k=2) == 1.0


def test_a_budget_that_the_passages_before_leave_one_token_of():
    texts = {"a": "word " * 400, "b": "word " * 600, "c": "Tampere"}
    assert score(["Tampere"], ["a", "b", "c"], texts, k=1) == 0.0
    assert score(["Tampere"], ["a", "b", "c"], texts, k=2) == 1.0
    texts["b"] = "word " * 599
    assert score(["Tampere"], ["a", "b", "c"], texts, k=1) == 1.0


def test_titles_do_not_count():
    doc = namedtuple("Doc", "doc_id title text")("d", "Tampere", "A city in Finland")
    assert score(["Tampere"], ["d"], {"d": doc}) == 0.0
    assert score(["Finland"], ["d"], {"d": doc}) == 1.0


def test_missing_topics_and_empty_rankings_are_misses_and_yes_no_does_not_count():
    recall = RecallAtKTokens(
        {"hit": ["a"], "miss": ["z"], "absent": ["a"], "empty": ["a"], "polar": ["yes", "no"], "none": []}, {"d": "a"}
    )
    run = {"hit": {"d": 1.0}, "miss": {"d": 1.0}, "empty": {}, "polar": {"d": 1.0}, "unknown": {"nowhere": 1.0}}
    by_query = {metric.query_id: metric.value for metric in ir_measures.iter_calc([recall @ 2], [], run)}
    assert by_query == {"hit": 1.0, "miss": 0.0, "absent": 0.0, "empty": 0.0}
    assert ir_measures.calc_aggregate([recall @ 2], [], run) == {recall @ 2: 0.25}


# --- the rules, on real questions and passages ---


def real_questions(shared_data: Path) -> tuple[list[dict], list[dict]]:
    """XOR-TyDi's development questions, and XQuAD's English paragraphs."""
    path = shared_data / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    questions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    articles = json.loads((shared_data / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    return questions, [paragraph for article in articles for paragraph in article["paragraphs"]]


def cut_ranking(answer: str, budget: int, texts: dict[str, str], chance: random.Random) -> list[str]:
    """Real paragraphs, and last a part of one with ``answer`` at its end, whose last token but one ends the budget."""
    docids = chance.sample([docid for docid in texts if docid.startswith("p")], 80)
    needed, place = budget + 1, 0
    while needed > len(official_tokens(f"{texts[docids[place]]} {answer}")):
        needed -= len(official_tokens(texts[docids[place]]))
        place += 1
    words = texts[docids[place]].split()
    number = bisect_left(range(len(words)), needed, key=lambda n: len(official_tokens(" ".join([*words[:n], answer]))))
    name = f"cut-{len(texts)}"
    texts[name] = " ".join([*words[:number], answer])
    return [*docids[:place], name]


@pytest.mark.parametrize("punkt", [False, True])
def test_equals_the_official_rules_on_real_data(punkt, shared_data, nltk_data):
    if punkt:
        add_punkt(nltk_data)
    questions, paragraphs = real_questions(shared_data)
    texts = {f"p{number:03}": paragraph["context"] for number, paragraph in enumerate(paragraphs)}
    docids_of_paragraphs = list(texts)
    # XOR-TyDi's questions with their own answers (yes and no among them), and XQuAD's, whose answers are in the texts.
    answers = {question["id"]: question["answers"] for question in questions[::5]}
    own = {}
    for docid, paragraph in list(zip(texts, paragraphs, strict=True))[::5]:
        for item in paragraph["qas"]:
            own[item["id"]] = docid
            answers[item["id"]] = [answer["text"] for answer in item["answers"]]

    chance = random.Random(7)
    run, rankings, cut = {}, {}, {}
    for query_id, of_question in answers.items():
        kind = chance.random()
        if kind < 0.05:
            continue  # missing from the run
        docids = chance.sample(docids_of_paragraphs, 0 if kind < 0.1 else chance.randint(1, 70))
        spans = [answer for answer in of_question if answer not in ("yes", "no")]
        if docids and query_id in own and own[query_id] not in docids:
            docids[chance.randrange(len(docids))] = own[query_id]
        elif 0.1 < kind < 0.4 and spans and len(official_tokens(spans[0])) > 1:
            cut[query_id] = chance.choice([1, 2, 5])
            docids = cut_ranking(spans[0], cut[query_id] * 1000, texts, chance)
        elif docids and query_id not in own and spans and kind < 0.8:  # a real answer within a real paragraph
            place = chance.randrange(len(docids))
            words = texts[docids[place]].split()
            words.insert(chance.randrange(len(words)), spans[0])
            docids[place] = f"with-{query_id}"
            texts[docids[place]] = " ".join(words)
        if kind < 0.5 and query_id not in cut:  # some equal scores: trec_eval puts the larger docid first
            run[query_id] = {docid: float(chance.randint(1, 20)) for docid in docids}
            rankings[query_id] = sorted(sorted(docids, reverse=True), key=lambda d: -run[query_id][d])
        else:
            run[query_id] = {docid: 100.0 - place for place, docid in enumerate(docids)}
            rankings[query_id] = docids

    recall = RecallAtKTokens(answers, texts)
    results = ir_measures.calc([recall @ k for k in (1, 2, 5)], [], run)
    expected = {k: official_hits(answers, rankings, texts, k * 1000) for k in (1, 2, 5)}
    for k, hits in expected.items():
        of_measure = {metric.query_id: metric.value for metric in results.per_query if metric.measure == recall @ k}
        assert of_measure == hits
        assert results.aggregated[recall @ k] == pytest.approx(sum(hits.values()) / len(hits), abs=1e-12)

    # Every case that the rules tell apart is among them, as a hit and as a miss.
    assert len(answers) - len(hits) == sum(set(of) <= {"yes", "no"} for of in answers.values()) > 30
    assert sum(query_id in run and not run[query_id] for query_id in hits) > 20
    assert sum(query_id not in run for query_id in hits) > 20
    assert not any(hit for query_id, hit in hits.items() if not run.get(query_id))
    kinds = {
        "punctuation": lambda text: any(character in text for character in ".,'()$%"),
        "beyond ASCII": lambda text: not text.isascii(),
    }
    for name, holds in kinds.items():
        outcomes = [hit for query_id, hit in hits.items() if any(map(holds, answers[query_id]))]
        assert 3 < sum(outcomes) < len(outcomes) - 3, name
    for k in expected:
        of_cut = {query_id: answers[query_id] for query_id, budget in cut.items() if budget == k}
        longer = official_hits(of_cut, rankings, texts, k * 1000 + 1)
        assert sum(longer[query_id] and not expected[k][query_id] for query_id in of_cut) > 5


# --- beside ir_measures' own measures ---


@pytest.fixture
def collection():
    recall = RecallAtKTokens({"1": ["Tampere"], "2": ["Oslo"], "3": ["no"]}, {"a": "Tampere it is", "b": "Paris it is"})
    qrels = {"1": {"a": 1}, "2": {"b": 1}, "3": {"a": 1}, "4": {"a": 1}}
    run = {"1": {"b": 2.0, "a": 1.0}, "2": {"b": 1.0}, "3": {"b": 1.0}}
    return recall, qrels, run


def test_in_one_list_with_other_measures(collection):
    recall, qrels, run = collection
    scores = ir_measures.calc_aggregate([recall @ 2, recall @ 5, R @ 100, RR @ 10], qrels, run)
    # By hand: question 1 hits, 2 misses, 3 and 4 do not count. The qrels' four topics: a found for 1, b for 2.
    assert scores == {recall @ 2: 0.5, recall @ 5: 0.5, R @ 100: 0.5, RR @ 10: (0.5 + 1.0) / 4}
    assert [str(measure) for measure in (recall @ 2, recall @ 5)] == ["R@2kt", "R@5kt"]


def test_the_company_changes_no_value(collection):
    recall, qrels, run = collection
    more = RecallAtKTokens({str(number): ["Tampere"] for number in range(1, 50)}, {"a": "Tampere", "b": "b"})
    alone = ir_measures.calc_aggregate([R @ 100, RR @ 10], qrels, run)
    together = ir_measures.calc_aggregate([R @ 100, RR @ 10, more @ 2, recall @ 2], qrels, run)
    assert {measure: together[measure] for measure in alone} == alone
    assert together[more @ 2] == 1 / 49
    assert together[recall @ 2] == ir_measures.calc_aggregate([recall @ 2], qrels, run)[recall @ 2] == 0.5


def test_values_are_nan_where_a_topic_of_the_qrels_does_not_count(collection):
    recall, qrels, run = collection
    for others in ([], [R @ 100, RR @ 10]):
        metrics = ir_measures.iter_calc([recall @ 2, *others], qrels, run)
        values = {metric.query_id: metric.value for metric in metrics if metric.measure == recall @ 2}
        assert (values.pop("1"), values.pop("2")) == (1.0, 0.0)
        assert values.keys() == {"3", "4"} and all(map(math.isnan, values.values()))


def test_every_entrance_and_input_of_ir_measures(collection):
    recall, qrels, run = collection
    measure = recall @ 2
    as_tuples = [ir_measures.ScoredDoc(q, d, s) for q, docs in run.items() for d, s in docs.items()]
    qrel_tuples = [ir_measures.Qrel(q, d, r) for q, docs in qrels.items() for d, r in docs.items()]
    assert measure.calc_aggregate(qrels, run) == 0.5
    assert measure.evaluator(qrels).calc_aggregate(run) == {measure: 0.5}
    assert measure.calc(qrels, run).aggregated == 0.5
    assert len(list(measure.iter_calc(qrels, run))) == 4
    evaluator = ir_measures.evaluator([measure, R @ 100], iter(qrel_tuples))
    for _ in range(2):
        assert evaluator.calc_aggregate(iter(as_tuples)) == {measure: 0.5, R @ 100: 0.5}
    pandas = pytest.importorskip("pandas")
    frames = pandas.DataFrame(qrel_tuples), pandas.DataFrame(as_tuples)
    assert ir_measures.calc_aggregate([measure, R @ 100], *frames) == {measure: 0.5, R @ 100: 0.5}


def test_two_collections_in_one_call_keep_their_own_results(collection):
    recall, _, run = collection
    other = RecallAtKTokens({"1": ["Paris"], "2": ["Paris"]}, {"a": "Tampere it is", "b": "Paris it is"})
    assert recall @ 2 == recall @ 2 != recall @ 5 and recall @ 2 != other @ 2 and recall @ 2 != R @ 2
    scores = ir_measures.calc_aggregate([recall @ 2, other @ 2], [], run)
    assert (scores[recall @ 2], scores[other @ 2]) == (0.5, 1.0)


# --- faults ---


@pytest.mark.parametrize("answers", ["Tampere", None, [1914], ["Tampere", ""], ["  "], ["Tampere", None]])
def test_answers_that_are_refused(answers):
    with pytest.raises(XqgError, match=r"answers of question 'q7': .* is not a list of strings that are not empty"):
        span_answers({"q7": answers})


@pytest.mark.parametrize("cutoff", [0, -2, 2.5, "2"])
def test_the_cutoff_is_a_positive_integer(cutoff):
    with pytest.raises(XqgError, match="not a positive number"):
        RecallAtKTokens({}, {}) @ cutoff
    with pytest.raises(XqgError, match="measure@2"):
        ir_measures.calc_aggregate([RecallAtKTokens({"q": ["a"]}, {})], [], {})


def test_from_dataset(datasets):
    query = datasets.query("query_id text answers", "q", "Missä?", ("Tampere",))
    datasets["any"] = datasets.make([query], {"d": ("Nokia", "near Tampere")})
    recall = RecallAtKTokens.from_dataset("any") @ 2
    assert ir_measures.calc_aggregate([recall], [], {"q": {"d": 1.0}}) == {recall: 1.0}
    datasets["bare"] = datasets.make([query])
    datasets["no answers"] = datasets.make([datasets.query("query_id text", "q", "Missä?")], {})
    for name, what in (("bare", "it has no passages"), ("no answers", "it has no answers")):
        with pytest.raises(XqgError, match=f"dataset {name}: {what}"):
            RecallAtKTokens.from_dataset(name)

"""Values by question: against ir_measures called directly, and every run and collection that is refused."""

from __future__ import annotations

import json
import math
import random
import re

import ir_measures
import pytest
from ir_measures import Qrel

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.collection import Collection, read_collection
from pyserini_xqg.evaluate.means import means_by_language
from pyserini_xqg.evaluate.scoring import Scorer, parse_measures

LANGUAGES = {f"q{number}": ("te", "fi", "de")[number % 3] for number in range(30)}


@pytest.fixture
def collection() -> Collection:
    chance = random.Random(1)
    qrels = [Qrel(q, f"d{number}", chance.randint(0, 2)) for q in LANGUAGES for number in chance.sample(range(40), 9)]
    return Collection("thirty topics", set(LANGUAGES), dict(LANGUAGES), qrels=qrels)


@pytest.fixture
def run() -> dict:
    chance = random.Random(2)
    return {q: {f"d{number}": float(-number) for number in chance.sample(range(40), 20)} for q in list(LANGUAGES)[:-2]}


MEASURES = ["R@10", "nDCG@10", "RR@10", "NumRet", "AP(rel=2)"]


def test_values_are_those_of_ir_measures(collection, run, capsys):
    with Scorer(collection, MEASURES) as scorer:
        values = scorer.score(run, "mine")
        again = scorer.score(run, "mine")
    assert capsys.readouterr().err.splitlines() == 2 * ["mine: 2 of 30 topics are missing and count 0 (such as q28)"]
    assert list(values) == MEASURES and again == values
    assert scorer.measures == tuple(MEASURES) and scorer.marked == set() and scorer.languages == LANGUAGES
    for name in MEASURES:
        measure = ir_measures.parse_measure(name)
        direct = {m.query_id: m.value for m in ir_measures.iter_calc([measure], collection.qrels, run)}
        assert values[name] == direct and len(direct) == 30
        assert direct["q28"] == direct["q29"] == 0
        for column, found in scorer.means(values)[name].items():
            of = [value for q, value in direct.items() if LANGUAGES[q] == column]
            if column == "avg":
                assert found == pytest.approx(sum(list(scorer.means(values)[name].values())[:-1]) / 3)
            else:
                assert found == pytest.approx(sum(of) if name == "NumRet" else sum(of) / len(of))
        expected = ir_measures.calc_aggregate([measure], collection.qrels, run)[measure]
        assert scorer.over_all(values)[name] == pytest.approx(expected)


def test_two_names_of_one_measure(collection, run):
    with Scorer(collection, ["AP", "MAP"]) as scorer:
        values = scorer.score(run, "mine")
    assert values["AP"] == values["MAP"] and len(values["AP"]) == 30


def test_files_with_and_without_the_docids_known_beforehand(tmp_path):
    with open(tmp_path / "p.jsonl", "w", encoding="utf-8") as out:
        out.writelines(json.dumps({"docid": f"d{number}", "text": f"text {number} ."}) + "\n" for number in range(9))
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"id": "1", "answers": ["text 3"]}\n{"id": "2", "answers": ["no"]}\n')
    collection = read_collection(answers=str(answers), passages=[str(tmp_path / "p.jsonl")])
    run = {"1": {"d1": 2.0, "d3": 1.0}, "2": {"d1": 1.0}}
    for docids in (None, {"d1", "d3"}):
        with Scorer(collection, ["R@1kt"], docids) as scorer:
            assert scorer.score(run, "mine") == {"R@1kt": {"1": 1.0}}
            assert scorer.languages == {"1": "all"}
        with (
            Scorer(collection, ["R@1kt"], docids) as scorer,
            pytest.raises(XqgError, match=r"^mine: docid 'x' is not among the passages \(1 of 2"),
        ):
            scorer.score({"1": {"x": 1.0, "d1": 0.5}}, "mine")


def test_a_run_of_another_collection_is_said_to_be_one(collection, run, capsys):
    with Scorer(collection, ["R@10"]) as scorer:
        for others in (["x1", "x2"], [f"x{number}" for number in range(1, 101)]):
            message = f"mine: {len(others)} of its {len(others)} topics, such as 'x1', are not in thirty topics: a run"
            with pytest.raises(XqgError, match="^" + re.escape(message)):
                scorer.score({query_id: {"d1": 1.0} for query_id in others}, "mine")
        scorer.check({query_id: {"d1": 1.0} for query_id in [*others[:99], "q1"]}, "mine")  # one in a hundred is known
        assert capsys.readouterr().err == ""
        scorer.score({query_id: {"other": 1.0} for query_id in LANGUAGES}, "mine")
        said = capsys.readouterr().err
        assert (
            said.startswith("warning: mine: the qrels of thirty topics know none of its docids")
            and said.count("\n") == 1
        )


def test_nothing_is_said_where_a_run_is_refused(collection, run, capsys, nltk_data):
    store = {f"d{number}": "text" for number in range(39)}  # all but one
    collection.answers, collection.docs_store = {query_id: ["a"] for query_id in LANGUAGES}, lambda: store
    with Scorer(collection, ["R@2kt"]) as scorer:
        assert scorer.marked == {"R@2kt"}
        with pytest.raises(XqgError, match="not in thirty topics"):
            scorer.score({"x": {}}, "mine")
        with pytest.raises(XqgError, match=r"^mine: docid 'd39' is not among the passages"):
            scorer.score(run, "mine")
        assert capsys.readouterr().err == ""


def test_means_by_language():
    values = {"1": 1.0, "2": 0.0, "3": 0.5, "4": 0.0, "5": math.nan, "6": math.nan}
    means = means_by_language(values, {"1": "te", "2": "te", "3": "de", "4": "ar", "5": "de", "6": "fi"})
    assert means == {"ar": 0.0, "te": 0.5, "de": 0.5, "avg": pytest.approx(1 / 3)}
    assert list(means) == ["ar", "te", "de", "avg"]
    assert means_by_language({}, {}) == {}
    with pytest.raises(XqgError, match="topic '4' has no language"):
        means_by_language(values, {"1": "te", "2": "te", "3": "de"})


def test_parse_measures():
    assert parse_measures(["R@3kt", "R@10"]) == {"R@3kt": 3, "R@10": ir_measures.R @ 10}
    names = {"recall.10": "R@10", "recall_10": "R@10", "map": "AP", "ndcg_cut.10": "nDCG@10", "recip_rank": "RR"}
    parsed = parse_measures(names)  # trec_eval's
    assert {name: str(measure) for name, measure in parsed.items()} == names
    with pytest.raises(XqgError, match=r"^--measures recall: not a measure of ir_measures"):  # nine of them
        parse_measures(["recall"])

"""Examples with negatives from Tevatron's JSONL and from datasets, and what is refused."""

import pytest
from helpers import write_jsonl

from pyserini_xqg import datasets
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.pairs import Split

PASSAGE = {"docid": "7", "title": "Bridges", "text": "The bridge is old."}
OTHER = {"docid": 8, "title": None, "text": "A town."}
GOOD = {"query_id": 1, "query": " Onko silta\nvanha? ", "positive_passages": [PASSAGE], "negative_passages": [OTHER]}


def read(tmp_path, *records, **options):
    return list(ExampleSource([write_jsonl(tmp_path / "data.jsonl", records)], **options))


def test_an_example_holds_both_kinds_of_passages(tmp_path):
    (one,) = read(tmp_path, GOOD)
    assert (one.query_id, one.query, one.language, one.docid) == ("1", "Onko silta vanha?", None, "7")
    assert [(passage.docid, passage.title, passage.text) for passage in one.negatives] == [("8", "", "A town.")]
    assert one.content == [
        "1",
        "Onko silta vanha?",
        None,
        [["7", "Bridges", "The bridge is old."]],
        [["8", "", "A town."]],
    ]
    assert [one.language for one in read(tmp_path, GOOD, languages={"1": "fi"})] == ["fi"]
    assert read(tmp_path, {**GOOD, "negative_passages": None})[0].negatives == ()


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"positive_passages": []}, "no positive passage. Give each query one"),
        ({"negative_passages": "8"}, "negative passages: no list"),
        ({"negative_passages": ["8"]}, "negative passage 1 is no JSON object"),
        ({"negative_passages": [OTHER, {"docid": "9"}]}, "negative passage 2 (docid 9)"),
        ({"negative_passages": [OTHER, PASSAGE]}, "negative passage 2 (docid 7) is a positive passage. Remove it from"),
        ({"negative_passages": [{**PASSAGE, "docid": "9"}]}, "(docid 9) has the text of a positive passage"),
    ],
)
def test_faults_are_named_with_line_and_query(tmp_path, change, phrase):
    with pytest.raises(XqgError) as caught:
        read(tmp_path, {**GOOD, "query_id": "0"}, {**GOOD, **change})
    assert f"{tmp_path}/data.jsonl, line 2 (query_id 1)" in str(caught.value)
    assert phrase in str(caught.value)


def test_negatives_that_nobody_asks_for_are_not_read(tmp_path):
    assert read(tmp_path, {**GOOD, "negative_passages": ["broken"]}, negatives=False)[0].negatives == ()


def test_a_dataset_gives_its_judged_queries():
    dataset = datasets.load("xqg-sample/fi")
    found = list(ExampleSource(["irds:xqg-sample/fi"]))
    relevant = {(qrel.query_id, qrel.doc_id) for qrel in dataset.qrels_iter() if qrel.relevance > 0}
    assert {(one.query_id, passage.docid) for one in found for passage in one.positives} == relevant
    assert all(one.language == "fi" and not one.negatives for one in found)


def test_what_is_held_out_goes_by_the_first_passage(tmp_path):
    records = [
        {"query_id": number, "query": "?", "positive_passages": [{**PASSAGE, "docid": str(number)}]}
        for number in range(60)
    ]
    split = Split(ExampleSource([write_jsonl(tmp_path / "data.jsonl", records)]), 0.3, seed=2)
    training, held_out = split.scan()
    assert (training.languages, training.pairs + held_out.pairs) == ({"all": training.pairs}, 60)
    assert [one.query_id for one in split.held_out()] == [str(n) for n in range(60) if split.holds_out(str(n))]
    with pytest.raises(XqgError, match="no question in it"):
        Split(ExampleSource([write_jsonl(tmp_path / "none.jsonl", [])]), 0.3, seed=2).scan()

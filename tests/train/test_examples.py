"""Examples and pairs from Tevatron's JSONL and from datasets, what is held out, and every fault by its place."""

import gzip
import json

import pytest
from helpers import LANGUAGES, write_jsonl
from trainings import pair_records

from pyserini_xqg import datasets
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.pairs import PairSource, Split, is_held_out

PASSAGE = {"docid": "7", "title": "Bridges", "text": "The bridge is old."}
GOOD = {"query_id": "q1", "query": "Onko silta vanha?", "lang": "fi", "positive_passages": [PASSAGE]}


def pairs(source):
    return [(pair.query, pair.language, pair.passage.docid, pair.passage.title, pair.passage.text) for pair in source]


def test_each_positive_passage_makes_a_pair(tmp_path):
    second = {"docid": 8, "title": None, "text": "It was built of stone."}
    records = [
        {**GOOD, "positive_passages": [PASSAGE, second], "negative_passages": [{"docid": "9", "text": "no"}]},
        {"query_id": 2, "query": " Milloin \n silta tehtiin? ", "language": " fi", "positive_passages": [second]},
    ]
    found = pairs(PairSource([write_jsonl(tmp_path / "pairs.jsonl", records)]))
    assert found == [
        ("Onko silta vanha?", "fi", "7", "Bridges", "The bridge is old."),
        ("Onko silta vanha?", "fi", "8", "", "It was built of stone."),
        ("Milloin silta tehtiin?", "fi", "8", "", "It was built of stone."),
    ]


def test_several_sources_in_their_order_gzipped_and_in_directories(tmp_path):
    records = pair_records(4)
    (tmp_path / "folder").mkdir()
    write_jsonl(tmp_path / "folder" / "a.jsonl", records[:5])
    write_jsonl(tmp_path / "folder" / "b.jsonl.gz", records[5:8])
    write_jsonl(tmp_path / "c.jsonl", records[8:])
    found = pairs(PairSource([tmp_path / "folder", tmp_path / "c.jsonl"]))
    assert [pair[0] for pair in found] == [record["query"] for record in records]


def test_languages_from_elsewhere_serve_the_lines_that_say_none(tmp_path):
    silent = {name: value for name, value in GOOD.items() if name != "lang"}
    path = write_jsonl(tmp_path / "pairs.jsonl", [GOOD, {**silent, "query_id": "q2"}])
    assert [pair.language for pair in PairSource([path], "ru")] == ["fi", "ru"]
    assert [pair.language for pair in PairSource([path], {"q1": "ja", "q2": "te"})] == ["fi", "te"]


def test_a_dataset_gives_the_pairs_of_its_judgements():
    sample = datasets.load("xqg-sample/fi")
    queries = {query.query_id: query.text for query in sample.queries_iter()}
    documents = {document.doc_id: document for document in sample.docs_iter()}
    expected = []
    for qrel in sample.qrels_iter():
        if qrel.relevance > 0:
            document = documents[qrel.doc_id]
            expected.append((queries[qrel.query_id], "fi", document.doc_id, document.title, document.text))
    assert expected
    assert pairs(PairSource(["irds:xqg-sample/fi"])) == expected


def examples(tmp_path, *records, **options):
    return list(ExampleSource([write_jsonl(tmp_path / "data.jsonl", records)], **options))


OTHER = {"docid": 8, "title": None, "text": "A town."}
BOTH = {"query_id": 1, "query": " Onko silta\nvanha? ", "positive_passages": [PASSAGE], "negative_passages": [OTHER]}


def test_an_example_holds_both_kinds_of_passages(tmp_path):
    (found,) = examples(tmp_path, BOTH)
    assert (found.query_id, found.query, found.language, found.passage.docid) == ("1", "Onko silta vanha?", None, "7")
    sides = [["7", "Bridges", "The bridge is old."]], [["8", "", "A town."]]
    assert found.content == ["1", "Onko silta vanha?", None, *sides]
    assert [example.language for example in examples(tmp_path, BOTH, languages={"1": "fi"})] == ["fi"]
    assert examples(tmp_path, {**BOTH, "negative_passages": None})[0].negatives == ()
    assert examples(tmp_path, {**BOTH, "negative_passages": ["broken"]}, negatives=False)[0].negatives == ()


FAULTS = [
    ({"query_id": None}, "'query_id' is None"),
    ({"query": "  "}, "'query' is '  '"),
    ({"query": "\ud800"}, "half a surrogate pair"),
    ({"lang": None}, "(query_id q1): no language. Add 'lang' to the line"),
    ({"lang": "Finnish"}, "unknown language code 'Finnish'. Did you mean 'fi'?"),
    ({"positive_passages": []}, "(query_id q1): no positive passage. Give each query one"),
    ({"positive_passages": ["7"]}, "positive passage 1 is no JSON object"),
    ({"positive_passages": [{"text": "a"}]}, "positive passage 1: no docid"),
    ({"positive_passages": [PASSAGE, {"docid": "8"}]}, "positive passage 2 (docid 8)"),
    ({"negative_passages": "8"}, "negative passages: no list"),
    ({"negative_passages": ["8"]}, "negative passage 1 is no JSON object"),
    ({"negative_passages": [OTHER, {"docid": "9"}]}, "negative passage 2 (docid 9)"),
    ({"negative_passages": [OTHER, PASSAGE]}, "negative passage 2 (docid 7) is a positive passage. Remove it from"),
    ({"negative_passages": [{**PASSAGE, "docid": "9"}]}, "(docid 9) has the text of a positive passage"),
]


@pytest.mark.parametrize(("change", "phrase"), FAULTS, ids=[phrase for _, phrase in FAULTS])
def test_a_fault_is_named_with_file_and_line(tmp_path, change, phrase):
    path = write_jsonl(tmp_path / "pairs.jsonl", [GOOD])
    with open(path, "a") as out:
        out.write(json.dumps({**GOOD, **change}) + "\n")
    source = ExampleSource if "negative_passages" in change else PairSource
    with pytest.raises(XqgError) as caught:
        list(source([path]))
    assert str(caught.value).startswith(f"{path}, line 2"), str(caught.value)
    assert phrase in str(caught.value)


def test_malformed_lines_are_named(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() + b'\n{"query_id": \n'))
    with pytest.raises(XqgError, match=r"pairs.jsonl.gz, line 2: malformed JSON"):
        list(PairSource([path]))


def test_datasets_without_judgements_or_documents_are_refused():
    with pytest.raises(XqgError, match=r"irds:xor-tydi/train: this dataset has no qrels.*Tevatron/xor-tydi"):
        list(PairSource(["irds:xor-tydi/train"]))


def test_a_fraction_of_the_passages_is_held_out_with_all_their_pairs(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", pair_records(200))
    split = Split(PairSource([path]), 0.25, seed=5)
    training, held_out = split.scan()
    assert training.pairs + held_out.pairs == 600
    assert 0.15 < held_out.pairs / 600 < 0.35
    assert held_out.languages == dict.fromkeys(LANGUAGES, held_out.pairs // 3)
    sides = [{pair.passage.docid for pair in side} for side in (split.training(), split.held_out())]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[0] | sides[1]) == 200
    other = Split(PairSource([path]), 0.25, seed=6)
    assert {pair.passage.docid for pair in other.held_out()} != sides[1]


def test_which_passages_are_held_out_grows_with_the_fraction():
    chosen = [{number for number in range(2000) if is_held_out(str(number), share, 1)} for share in (0.1, 0.3)]
    assert chosen[0] < chosen[1]
    assert len(chosen[1]) == pytest.approx(600, abs=80)


def test_held_out_data_of_its_own_and_a_warning_for_shared_passages(tmp_path, capsys):
    records = pair_records(6)
    train = PairSource([write_jsonl(tmp_path / "train.jsonl", records[:15])])
    apart = PairSource([write_jsonl(tmp_path / "apart.jsonl", records[15:])])
    training, held_out = Split(train, apart, 0).scan()
    assert (training.pairs, held_out.pairs) == (15, 3)
    assert "warning" not in capsys.readouterr().err
    shared = PairSource([write_jsonl(tmp_path / "shared.jsonl", records[14:])])
    Split(train, shared, 0).scan()
    assert "warning: 3 training pairs are on passages that are held out too" in capsys.readouterr().err


def test_the_checksum_follows_the_content_not_the_files(tmp_path):
    records = pair_records(4)
    whole = PairSource([write_jsonl(tmp_path / "whole.jsonl", records)])
    parts = PairSource([write_jsonl(tmp_path / f"{start}.jsonl.gz", records[start : start + 6]) for start in (0, 6)])
    assert Split(whole, 0.0, 0).scan() == Split(parts, 0.0, 0).scan()
    records[3]["query"] += "?"
    changed = PairSource([write_jsonl(tmp_path / "changed.jsonl", records)])
    assert Split(whole, 0.0, 0).scan()[0].sha256 != Split(changed, 0.0, 0).scan()[0].sha256


@pytest.mark.parametrize(
    ("number", "held_out", "phrase"),
    [
        (0, 0.5, "no pair in it"),
        (1, 0.999999, "--held-out 0.999999 takes all 3 pairs and leaves none to train on"),
        (2, 0.000001, "holds none out. Pass a larger fraction"),
    ],
)
def test_a_side_without_pairs_is_refused(tmp_path, number, held_out, phrase):
    path = write_jsonl(tmp_path / "pairs.jsonl", pair_records(number))
    with pytest.raises(XqgError, match=phrase):
        Split(PairSource([path]), held_out, 0).scan()


def test_an_empty_held_out_file_is_refused(tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", pair_records(1))
    empty = write_jsonl(tmp_path / "empty.jsonl", [])
    with pytest.raises(XqgError, match=r"--held-out .*empty.jsonl: no pair in it"):
        Split(PairSource([path]), PairSource([empty]), 0).scan()


def test_a_dataset_gives_its_judged_queries():
    dataset = datasets.load("xqg-sample/fi")
    found = list(ExampleSource(["irds:xqg-sample/fi"]))
    relevant = {(qrel.query_id, qrel.doc_id) for qrel in dataset.qrels_iter() if qrel.relevance > 0}
    assert {(example.query_id, passage.docid) for example in found for passage in example.positives} == relevant
    assert all(example.language == "fi" and not example.negatives for example in found)


def test_what_is_held_out_goes_by_the_first_passage(tmp_path):
    records = [
        {"query_id": number, "query": "?", "positive_passages": [{**PASSAGE, "docid": str(number)}]}
        for number in range(60)
    ]
    split = Split(ExampleSource([write_jsonl(tmp_path / "data.jsonl", records)]), 0.3, seed=2)
    training, held_out = split.scan()
    assert (training.languages, training.pairs + held_out.pairs) == ({"all": training.pairs}, 60)
    assert [example.query_id for example in split.held_out()] == [str(n) for n in range(60) if split.holds_out(str(n))]
    with pytest.raises(XqgError, match="no question in it"):
        Split(ExampleSource([write_jsonl(tmp_path / "none.jsonl", [])]), 0.3, seed=2).scan()

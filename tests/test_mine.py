"""Hard negatives: which passages of a ranking are taken, and what the command refuses."""

import json

import numpy as np
import pytest
from helpers import assert_one_error, run_module, write_jsonl
from trainings import example_records

from pyserini_xqg import mine as command
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.mining import MiningCounts, MiningOptions, Questions, answer_pattern, holds_answer, mine
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig

RECORDS = example_records(20, negatives=1, languages=["fi", "ja"])


@pytest.fixture
def corpus(tmp_path):
    passages = [record["positive_passages"][0] for record in RECORDS[::2]]
    return write_jsonl(tmp_path / "corpus.jsonl", passages)


@pytest.fixture
def data(tmp_path):
    return write_jsonl(tmp_path / "data.jsonl", RECORDS)


@pytest.fixture(scope="module")
def rankings(tiny_encoder):
    """Every question's whole ranking, by a real encoder."""
    embedder = Embedder(EncoderConfig(tiny_encoder), "cpu")
    passages = [record["positive_passages"][0] for record in RECORDS[::2]]
    vectors = embedder.embed_passages([one["text"] for one in passages], [one["title"] for one in passages])
    scores = embedder.embed_queries([record["query"] for record in RECORDS]) @ vectors.T
    return {
        record["query"]: [passages[place]["docid"] for place in np.argsort(-row, kind="stable")]
        for record, row in zip(RECORDS, scores, strict=True)
    }


def run(data, corpus, rankings, answers=None, **settings):
    def search(queries):
        return [rankings[query] for query in queries]

    counts = MiningCounts()
    questions = Questions(ExampleSource([data], negatives=False), answers)
    return list(mine(questions, search, corpus, MiningOptions(**settings), counts)), counts


def negatives(record):
    return [passage["docid"] for passage in record["negative_passages"]]


def test_all_that_rank_high_and_do_not_answer(data, corpus, rankings):
    found, counts = run(data, corpus, rankings, depth=8, skip=1, number=7)
    assert [record["query_id"] for record in found] == [record["query_id"] for record in RECORDS]
    positives = 0
    for record, given in zip(found, RECORDS, strict=True):
        own = given["positive_passages"][0]["docid"]
        ranked = rankings[given["query"]][1:8]
        positives += own in ranked
        assert negatives(record) == [docid for docid in ranked if docid != own]
        assert record["positive_passages"] == given["positive_passages"]
        assert (record["lang"], record["query"]) == (given["lang"], given["query"])
        texts = {passage["docid"]: passage for passage in (one["positive_passages"][0] for one in RECORDS)}
        assert record["negative_passages"] == [texts[docid] for docid in negatives(record)]
    assert (counts.questions, counts.positives, counts.fewer) == (40, positives, positives)
    assert counts.negatives == 40 * 7 - positives
    assert positives > 0
    # What comes out goes in again.
    assert len(list(ExampleSource([write_jsonl(data.with_name("mined.jsonl"), found)]))) == 40


def test_a_draw_is_the_seeds_and_does_not_hang_on_the_other_questions(data, corpus, rankings, tmp_path):
    first, _ = run(data, corpus, rankings, depth=15, number=5, seed=1)
    again, _ = run(data, corpus, rankings, depth=15, number=5, seed=1)
    other, _ = run(data, corpus, rankings, depth=15, number=5, seed=2)
    assert first == again
    assert first != other
    half, _ = run(write_jsonl(tmp_path / "half.jsonl", RECORDS[10:]), corpus, rankings, depth=15, number=5, seed=1)
    assert half == first[10:]
    places = set()
    for record in first:
        ranked = rankings[record["query"]]
        own = [ranked.index(docid) for docid in negatives(record)]
        assert own == sorted(own) and max(own) < 15
        places |= set(own)
    assert len(places) > 10  # drawn from all ranks


def test_answers_and_texts_that_answer_are_left_out(data, corpus, rankings, tmp_path):
    answers = {record["query_id"]: ["Bridges"] if record["lang"] == "fi" else ["yes"] for record in RECORDS}
    found, counts = run(data, corpus, rankings, answers, depth=20, number=20)
    with_answer = [passage for passage in map(json.loads, corpus.read_text().splitlines())
                   if "bridges" in f"{passage['title']} {passage['text']}".split()]  # fmt: skip
    assert with_answer
    for record in found:
        own = record["positive_passages"][0]["docid"]
        barred = {passage["docid"] for passage in with_answer} if record["lang"] == "fi" else set()
        assert set(negatives(record)) == {f"p{row}" for row in range(20)} - barred - {own}
    assert counts.answers == sum(record["positive_passages"][0]["docid"] != passage["docid"]
                                 for record in RECORDS[::2] for passage in with_answer)  # fmt: skip
    # The text of a positive under another docid.
    twin = {**RECORDS[0]["positive_passages"][0], "docid": "twin"}
    twins = write_jsonl(tmp_path / "twins.jsonl", [*map(json.loads, corpus.read_text().splitlines()), twin])
    found, _ = run(data, twins, {query: ["twin", *ranked] for query, ranked in rankings.items()}, depth=3, number=3)
    assert "twin" not in negatives(found[0])
    assert "twin" in negatives(found[2])


def test_what_answers_a_question_on_another_line_is_no_negative(data, corpus, rankings, tmp_path):
    """The same id, or the same text under another id; by the passage's docid, or by its text."""
    first, second, third = (RECORDS[row] for row in (0, 2, 4))
    same_text = {**second, "query_id": "other", "query": first["query"]}
    renamed = {**third["positive_passages"][0], "docid": "renamed"}
    same_id = {**third, "query_id": first["query_id"], "positive_passages": [renamed]}
    path = write_jsonl(tmp_path / "lines.jsonl", [first, same_text, same_id])
    found, _ = run(path, corpus, rankings, depth=20, number=20)
    assert set(negatives(found[0])) == {f"p{row}" for row in range(3, 20)}
    assert set(negatives(found[1])) == {f"p{row}" for row in range(2, 20)}
    assert set(negatives(found[2])) == {f"p{row}" for row in range(1, 20)} - {"p2"}


def test_answers_are_found_as_whole_words_in_any_case_and_spacing():
    assert holds_answer("Built  in\nＮＥＷ York.", [answer_pattern("new york")])
    assert not holds_answer("Yorkshire", [answer_pattern("York")])
    assert holds_answer("(York)", [answer_pattern("York")])
    assert holds_answer("京都府", [answer_pattern("京都")])
    assert holds_answer("U.S.A", [answer_pattern("u.s.")])


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        (["--index", "plain", "--skip", "5", "--depth", "5"], "--skip 5: leaves nothing of --depth 5"),
        (["--index", "none"], "none: no such directory. Pass --index"),
        (["--index", "folder"], "folder: neither a FAISS index ('index' and 'docid') nor a Lucene index"),
        (["--index", "plain"], "plain: has no xqg.json to take the query encoder from. Pass --encoder"),
        (["--index", "lucene", "--encoder", "m"], "--encoder: lucene is a Lucene index, which has no encoder"),
        (["--index", "plain", "--corpus", "none.jsonl"], "none.jsonl: no such file"),
        (["--index", "plain", "--answers", "answers.jsonl"], "(query_id ja-0): --answers has no line for it"),
        (["--index", "plain", "--data", "empty.jsonl"], "empty.jsonl: no question in it"),
        (["--index", "plain", "--output", "answers.jsonl"], "answers.jsonl exists. Remove it, choose another --output"),
        (["--index", "plain", "--output", "data.jsonl", "--overwrite"], "data.jsonl: is what is read"),
    ],
)
def test_what_is_refused_before_anything_is_searched(data, corpus, tmp_path, monkeypatch, options, phrase):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "index").touch()
    (tmp_path / "lucene").mkdir()
    (tmp_path / "lucene" / "segments_1").touch()
    (tmp_path / "empty.jsonl").touch()
    write_jsonl(tmp_path / "answers.jsonl", [{"id": "fi-0", "answers": []}])
    given = ["--data", str(data), "--corpus", str(corpus), "--output", "out.jsonl", *options]
    with pytest.raises(XqgError) as caught:
        command.main(given)
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_passages_that_the_corpus_lacks(data, corpus, rankings, tmp_path):
    lines = corpus.read_text().splitlines(keepends=True)
    (tmp_path / "less.jsonl").write_text("".join(lines[:15]))
    with pytest.raises(
        XqgError, match=r"less.jsonl: docid 'p15', which the index ranks, is not in it \(5 such docids\)"
    ):
        run(data, tmp_path / "less.jsonl", rankings, depth=20)


def test_data_without_positives_is_one_line(corpus, tmp_path):
    path = write_jsonl(tmp_path / "data.jsonl", [{"query_id": "x", "query": "y", "positive_passages": []}])
    given = ["--data", path, "--corpus", corpus, "--index", tmp_path / "index", "--output", tmp_path / "out.jsonl"]
    result = run_module("pyserini_xqg.mine", *given)
    assert_one_error(result, f"{path}, line 1 (query_id x): no positive passage")

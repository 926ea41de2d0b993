"""What runs are scored against: options, files, datasets, languages."""

from __future__ import annotations

import argparse

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.collection import (
    Collection,
    add_collection_arguments,
    collection_from,
    open_dataset,
    read_collection,
)


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_collection_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels").write_text("q1 0 d1 1\nq2 0 d1 0\n")
    (tmp_path / "answers.jsonl").write_text('{"id": "q1", "answers": ["Oslo"], "lang": "fi"}\n')
    (tmp_path / "languages.tsv").write_text("q1\tte\nq9\tar\n")


def test_from_files(files):
    collection = collection_from(parsed("--qrels", "qrels", "--answers", "answers.jsonl", "--passages", "p", "q"))
    assert collection.name == "qrels, answers.jsonl"
    assert collection.topics == {"q1", "q2"} and collection.languages == {"q1": "fi"}
    assert collection.answers == {"q1": ["Oslo"]} and len(collection.qrels) == 2
    assert collection.passage_files == ["p", "q"] and collection.has_passages
    assert not read_collection(qrels="qrels").has_passages


def test_languages_that_are_given_go_first(files):
    arguments = ["--answers", "answers.jsonl", "--topic-languages"]
    collection = collection_from(parsed(*arguments, "languages.tsv"))
    assert collection.languages == {"q1": "te", "q9": "ar"} and collection.topics == {"q1", "q9"}
    assert collection_from(parsed(*arguments, "de")).languages == {"q1": "de"}


def test_from_a_dataset():
    collection = open_dataset("xqg-sample/fi")
    assert collection.name == "xqg-sample/fi" and len(collection.topics) == 48
    assert set(collection.languages.values()) == {"fi"} and collection.languages.keys() == collection.topics
    assert collection.answers.keys() == collection.topics == {qrel.query_id for qrel in collection.qrels}
    assert collection.has_passages
    with pytest.raises(XqgError, match="--dataset xqg-sample: it has no queries"):
        open_dataset("xqg-sample")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to score against. Pass --dataset, --qrels, or --answers with --passages."),
        (["--passages", "p"], "nothing to score against."),
        (["--dataset", "d", "--answers", "a"], "--dataset and --answers: both name a collection."),
    ],
)
def test_options_that_name_none_or_two(arguments, message):
    with pytest.raises(XqgError) as caught:
        collection_from(parsed(*arguments))
    assert str(caught.value).startswith(message)


def test_a_language_for_all_topics():
    collection = Collection("any", {"1", "2"}, {"1": "fi"})
    collection.set_languages("ru")
    assert collection.languages == {"1": "ru", "2": "ru"}

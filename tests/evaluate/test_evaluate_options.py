"""Options of evaluate: what runs are scored against, files, datasets, languages; names of runs, and the baseline."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.collection import Collection, CollectionOptions, open_dataset, read_collection
from pyserini_xqg.evaluate.settings import named_runs, with_baseline


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("qrels").write_text("q1 0 d1 1\nq2 0 d1 0\n")
    Path("answers.jsonl").write_text('{"id": "q1", "answers": ["Oslo"], "lang": "fi"}\n')
    Path("languages.tsv").write_text("q1\tte\nq9\tar\n")
    for name in ("c.txt", "alpha=0.8.txt"):
        Path(name).write_text("")


# --- the collection ---


def test_from_files():
    options = CollectionOptions(qrels="qrels", answers="answers.jsonl", passages=("p", "q"))
    collection = options.open()
    assert options.files == ["qrels", "answers.jsonl", "p", "q"]
    assert collection.name == "qrels, answers.jsonl"
    assert collection.topics == {"q1", "q2"} and collection.languages == {"q1": "fi"}
    assert collection.answers == {"q1": ["Oslo"]} and len(collection.qrels) == 2
    assert collection.passage_files == ("p", "q") and collection.has_passages
    assert not read_collection(qrels="qrels").has_passages


def test_languages_that_are_given_go_first():
    collection = CollectionOptions(answers="answers.jsonl", topic_languages="languages.tsv").open()
    assert collection.languages == {"q1": "te", "q9": "ar"} and collection.topics == {"q1", "q9"}
    assert CollectionOptions(answers="answers.jsonl", topic_languages="de").open().languages == {"q1": "de"}
    collection = Collection("any", {"1", "2"}, {"1": "fi"})
    collection.set_languages("ru")
    assert collection.languages == {"1": "ru", "2": "ru"}


def test_from_a_dataset():
    collection = open_dataset("xqg-sample/fi")
    assert collection.name == "xqg-sample/fi" and len(collection.topics) == 48
    assert set(collection.languages.values()) == {"fi"} and collection.languages.keys() == collection.topics
    assert collection.answers.keys() == collection.topics == {qrel.query_id for qrel in collection.qrels}
    assert collection.has_passages
    with pytest.raises(XqgError, match="--dataset xqg-sample: it has no queries"):
        open_dataset("xqg-sample")


# --- names of runs ---


def test_names():
    assert named_runs(["a/x.txt", "plain=b/y.txt"]) == {"x.txt": "a/x.txt", "plain": "b/y.txt"}
    # Two files of one name: their paths tell them apart.
    assert list(named_runs(["a/x.txt", "b/x.txt", "b/y.txt"])) == ["a/x.txt", "b/x.txt", "y.txt"]
    # A path with an equals sign, if there is such a file.
    assert named_runs(["alpha=0.8.txt", "a=b=c.txt"]) == {"alpha=0.8.txt": "alpha=0.8.txt", "a": "b=c.txt"}
    for given in (["x=a.txt", "x=b.txt"], ["b.txt=a.txt", "c/b.txt"], ["a.txt", "a.txt"]):
        with pytest.raises(XqgError, match=r"^name '.*': both .*a.txt and .*\.txt have it\. Give every run its own"):
            named_runs(given)


def test_baseline():
    runs = {"one": "a.txt", "two": "b.txt"}
    assert with_baseline(runs, "two") == (runs, "two")
    assert with_baseline(runs, "b.txt") == (runs, "two")
    assert with_baseline(runs, "c.txt") == ({"c.txt": "c.txt", **runs}, "c.txt")
    assert list(with_baseline(runs, "xDR=c.txt")[0]) == ["xDR", "one", "two"]
    assert with_baseline({"one": "a.txt"}, "c.txt")[1] == "c.txt"


@pytest.mark.parametrize(
    ("runs", "baseline", "message"),
    [
        ({"one": "a.txt"}, "one", "there is no other run to compare with it."),
        ({"one": "a.txt"}, "a.txt", "there is no other run to compare with it."),
        ({"one": "a.txt"}, "one=c.txt", "a.txt is named 'one' too. Write --baseline NAME=c.txt."),
    ],
)
def test_faults_of_the_baseline(runs, baseline, message):
    with pytest.raises(XqgError, match="^" + re.escape(f"--baseline {baseline}: {message}")):
        with_baseline(runs, baseline)

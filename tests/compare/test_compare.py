"""The command's options: what is refused before any work is done."""

import pytest
from helpers import assert_one_error, corpus_records, run_module, write_jsonl

from pyserini_xqg import encode
from pyserini_xqg.compare import __main__ as compare
from pyserini_xqg.core.errors import XqgError


@pytest.fixture
def files(tmp_path):
    """Options that name a corpus, topics and qrels of two topics in Finnish and Arabic."""
    corpus = write_jsonl(tmp_path / "corpus.jsonl", corpus_records(9))
    (tmp_path / "topics.tsv").write_text("1\tjoki silta\n2\tنهر قديم\n", encoding="utf-8")
    (tmp_path / "languages.tsv").write_text("1\tfi\n2\tar\n")
    (tmp_path / "qrels.txt").write_text("1 0 p1 1\n2 0 p2 1\n")
    return {
        "--corpus": str(corpus),
        "--topics": str(tmp_path / "topics.tsv"),
        "--topic-languages": str(tmp_path / "languages.tsv"),
        "--qrels": str(tmp_path / "qrels.txt"),
        "--output": str(tmp_path / "out"),
        "--encoder": "a-model-that-is-never-loaded",
        "--device": "cpu",
    }


def refused(options, match, *more, without=()):
    arguments = [word for option, value in options.items() if option not in without for word in (option, value)]
    with pytest.raises(XqgError, match=match):
        compare.main([*arguments, *more])


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--systems", "paper", "median"], "--systems median: no such system"),
        (["--systems", "paper"], "--baseline plain: not among the systems"),
        (["--baseline", "best"], "--baseline best: not among the systems"),
        (["--fusion", "interpolation", "--fusion-alpha", "-1"], "--fusion-alpha -1: must be a number from 0 to 1"),
        (["--b", "2"], "--b 2: must be a number from 0 to 1"),
        (["--k1", "-1"], "--k1 -1: must be a number of at least 0"),
        (["--max-passage-delimiter", ""], "--max-passage-delimiter '': empty"),
        (["--measures", "R@10", "R@10"], "--measures: R@10 is given more than once"),
        (["--measures", "R@2kt"], "--measures R@2kt: needs answers"),
        (["--measures", "nDCG@20", "--hits", "10"], "--measures nDCG@20: looks at 20 passages.*Pass --hits 20"),
        (["--dataset", "xqg-sample/fi"], "--dataset and --qrels: both name a collection"),
        (["--store", "stores/none", "--pooling", "mean"], "--pooling with --store: the store's own setting"),
    ],
)
def test_options(files, more, match):
    refused(files, match, *more)


def test_what_is_missing(files):
    refused(files, "no vectors: pass --store, or --encoder", without=("--encoder",))
    refused(files, "nothing to search: pass --corpus", without=("--corpus",))
    refused(files, "nothing to score against", without=("--qrels",))
    refused(files, "no topics to search with", without=("--topics",))
    refused(
        files,
        r"--systems routed: the topics' languages are not known. Pass --topic-languages",
        *("--systems", "plain", "routed"),
        without=("--topic-languages",),
    )


def test_topics_and_qrels_that_differ(files, tmp_path):
    (tmp_path / "qrels.txt").write_text("1 0 p1 1\n")
    (tmp_path / "languages.tsv").write_text("1\tfi\n")
    refused(files, r"topics.tsv: topic '2' is not in .*qrels.txt")
    (tmp_path / "languages.tsv").write_text("1\tfi\n2\tar\n3\tar\n")
    (tmp_path / "qrels.txt").write_text("1 0 p1 1\n2 0 p1 1\n3 0 p1 1\n")
    refused(files, r"1 of its topics have no text in .*topics.tsv \(such as 3\), and would count 0")


def test_without_java(files, monkeypatch):
    monkeypatch.setattr("pyserini_xqg.core.java.find_java", lambda: None)
    refused(files, "no Java 21 or newer", "--systems", "plain", "bm25")
    refused(files, "no Java 21 or newer", "--systems", "plain", "--timed")


def test_a_store_of_another_corpus(files, tmp_path, tiny_encoder):
    other = write_jsonl(tmp_path / "other.jsonl", corpus_records(9, seed=1))
    store = str(tmp_path / "store")
    encode.main(["--corpus", str(other), "--encoder", tiny_encoder, "--device", "cpu", "--output", store])
    refused(files, "made from other passages or queries than --corpus", "--store", store)


def test_help_and_errors_as_a_user_sees_them(tmp_path):
    shown = run_module("pyserini_xqg.compare", "--help")
    assert shown.returncode == 0
    for phrase in ("multi-vector", "--bm25-analysis", "default: plain", "--fusion"):
        assert phrase in shown.stdout
    result = run_module("pyserini_xqg.compare", "--output", tmp_path / "out", "--encoder", "m", "--dataset", "no/such")
    assert_one_error(result, "unknown dataset 'no/such'")
    assert not (tmp_path / "out").exists()

"""Readers of runs, qrels and answers: what they return, and every fault they refuse; runs written."""

from __future__ import annotations

import gzip
import re

import pytest
from ir_measures import Qrel

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.runs import read_answers, read_qrels, read_run, write_run


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def refused(reader, path, message):
    with pytest.raises(XqgError, match=re.escape(message)) as caught:
        reader(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_run(tmp_path):
    lines = ("q1 Q0 d2 1 1.5 t", "q2\tQ0\td1\t1\t-3e-2\tt", "q1 Q0 d1 2 1.25 t")
    expected = {"q1": {"d2": 1.5, "d1": 1.25}, "q2": {"d1": -0.03}}
    assert read_run(write(tmp_path / "run.txt", *lines)) == expected
    (tmp_path / "run.gz").write_bytes(gzip.compress("\r\n".join(lines).encode()))
    assert read_run(tmp_path / "run.gz") == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 d1 1 2.0 t", "line 2: 5 columns. A line of run has 6: qid Q0 docid rank score tag."),
        ("q1 Q0 d 1 1 2.0 t", "line 2: 7 columns."),
        ("", "line 2: 0 columns."),
        ("q1 Q0 d1 1 high t", "line 2: score 'high' is not a finite number."),
        ("q1 Q0 d1 1 nan t", "line 2: score 'nan' is not a finite number."),
        ("q1 Q0 d1 1 inf t", "line 2: score 'inf' is not a finite number."),
        ("q1 Q0 d1 1 1e999 t", "line 2: score '1e999' is not a finite number."),
        ("q1 Q0 d1 2147483648 0.5 t", "line 2: rank '2147483648' is no whole number of 32 bits"),
        ("q1 Q0 d1 1 1_0 t", "line 2: score '1_0' is not a finite number."),
        ("q0 Q0 d0 9 9.0 t", "line 2: docid 'd0' is already in the ranking of topic 'q0'."),
        (
            "q0 Q0 d1 first 0.5 t",
            "line 2: rank 'first' is no whole number of 32 bits, as trec_eval reads them. Column 4",
        ),
        ("q0 Q0 d1 1 0.5 t", "line 2: topic 'q0' has rank 1 already on line 1. Every passage of a topic needs"),
        ("q0 Q0 d1 2 1.5 t", "line 2: topic 'q0' has a higher score at rank 2 (1.5) than at rank 1 (1, line 1)."),
    ],
)
def test_read_run_refuses(tmp_path, line, message):
    refused(read_run, write(tmp_path / "run.txt", "q0 Q0 d0 1 1.0 t", line), message)


def test_read_run_compares_ranks_and_scores_not_the_order_of_lines(tmp_path):
    lines = ("q1 Q0 d3 3 1.0 t", "q2 Q0 d1 0 5.0 t", "q1 Q0 d1 1 2.0 t", "q1 Q0 d2 2 2.0 t", "q2 Q0 d2 7 5.0 t")
    run = read_run(write(tmp_path / "run.txt", *lines))
    assert run == {"q1": {"d3": 1.0, "d1": 2.0, "d2": 2.0}, "q2": {"d1": 5.0, "d2": 5.0}}
    # Higher only beyond single precision, in which trec_eval ranks: equal.
    equal = write(tmp_path / "equal.txt", "q1 Q0 d1 1 90.1234561 t", "q1 Q0 d2 2 90.1234562 t")
    assert list(read_run(equal)["q1"]) == ["d1", "d2"]
    lines = [*lines, "q1 Q0 d4 4 1.5 t"]
    refused(read_run, write(tmp_path / "higher.txt", *lines), "line 6: topic 'q1' has a higher score at rank 4 (1.5)")
    refused(read_run, write(tmp_path / "twice.txt", *lines[:5], "q1 Q0 d4 3 0.5 t"), "line 6: topic 'q1' has rank 3")


def test_read_run_without_a_check_of_ranks(tmp_path):
    path = write(tmp_path / "run.txt", "q1 Q0 d1 1 1.0 t", "q1 Q0 d2 1 2.0 t", "q1 Q0 d3 none 3.0 t")
    assert read_run(path, check_ranks=False) == {"q1": {"d1": 1.0, "d2": 2.0, "d3": 3.0}}


def test_empty_missing_and_directory(tmp_path):
    (tmp_path / "empty").write_text("")
    for reader in (read_run, read_qrels):
        refused(reader, tmp_path / "empty", "an empty file.")
    refused(read_answers, tmp_path / "empty", "no question in it.")
    for reader in (read_run, read_qrels, read_answers):
        refused(reader, tmp_path / "none", "no such file.")
        refused(reader, tmp_path, "a directory where a file was expected.")


def test_read_qrels(tmp_path, capsys):
    path = write(tmp_path / "qrels", "q1 0 d1 1", "q1 0 d2 -1", "q2 1 d3 1", "q2 2 d3 1")
    expected = [Qrel("q1", "d1", 1), Qrel("q1", "d2", -1), Qrel("q2", "d3", 1, "1"), Qrel("q2", "d3", 1, "2")]
    assert read_qrels(path) == expected
    assert capsys.readouterr().err == ""
    write(path, "q1 0 d1 1", "q2 1 d1 0", "q2 2 d1 3", "q2 3 d1 0", "q2 1 d4 2", "q2 2 d4 1")
    assert [qrel.relevance for qrel in read_qrels(path)] == [1, 0, 3, 0, 2, 1]
    warned = capsys.readouterr().err
    assert warned.startswith(
        f"warning: {path}, line 3: docid 'd1' has another judgement for topic 'q2'; so have 1 more."
    )
    assert warned.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 d1 1", "line 2: 3 columns. A line of qrels has 4: qid 0 docid relevance."),
        ("q1 0 d1 1.0", "line 2: relevance '1.0' is no whole number"),
        ("q1 0 d1 x", "line 2: relevance 'x' is no whole number"),
        ("q1 0 d1 2147483648", "line 2: relevance '2147483648' is no whole number of 32 bits"),
        ("q1 0 d1 1_0", "line 2: relevance '1_0' is no"),
        ("q1 0 d1 " + "9" * 5000, "line 2: relevance '999"),
        ("q0 0 d0 0", "line 2: docid 'd0' is already judged for topic 'q0'."),
    ],
)
def test_read_qrels_refuses(tmp_path, line, message):
    refused(read_qrels, write(tmp_path / "qrels", "q0 0 d0 1", line), message)


def test_read_answers(tmp_path):
    path = write(
        tmp_path / "answers.jsonl",
        '{"id": "7", "question": "Missä?", "answers": ["Åbo", "yes"], "lang": "fi", "split": "dev"}',
        '{"id": "8", "answers": [], "lang": " ar"}',  # as in XOR-TyDi's published training file
        '{"id": "9", "answers": ["no"]}',
    )
    assert read_answers(path) == ({"7": ["Åbo", "yes"], "8": [], "9": ["no"]}, {"7": "fi", "8": "ar"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"answers": ["a"]}', "line 2: id None is not a string without white space."),
        ('{"id": 7, "answers": ["a"]}', "line 2: id 7 is not a string"),
        ('{"id": "a b", "answers": ["a"]}', "line 2: id 'a b' is not a string without white space"),
        ('{"id": "", "answers": ["a"]}', "line 2: id '' is not a string"),
        ('{"id": "q0", "answers": ["a"]}', "line 2: id 'q0' was given before."),
        ('{"id": "q1"}', 'line 2 (id q1): no list of strings under "answers".'),
        ('{"id": "q1", "answers": "Tampere"}', 'line 2 (id q1): no list of strings under "answers".'),
        ('{"id": "q1", "answers": [1914]}', 'line 2 (id q1): no list of strings under "answers".'),
        ('{"id": "q1", "answers": ["a", " "]}', "line 2 (id q1): an empty answer"),
        ('{"id": "q1", "answers": ["a"], "lang": "xx"}', "line 2 (id q1): unknown language code 'xx'."),
        ('{"id": "q1", "answers": ["a"], "lang": ["fi"]}', "line 2 (id q1): unknown language code ['fi']."),
        ('["q1"]', "line 2: a JSON list where an object was expected."),
        ('{"id": "q1", ', "line 2: malformed JSON"),
        ("", "line 2: an empty line"),
    ],
)
def test_read_answers_refuses(tmp_path, line, message):
    refused(read_answers, write(tmp_path / "a.jsonl", '{"id": "q0", "answers": ["a"], "lang": "fi"}', line), message)


def test_write_run(tmp_path):
    run = {"007": [("d2", 0.12345678), ("d1", -1.5)], "b": [("d1", 3)], "none": []}
    write_run(tmp_path / "run.txt", run, "sum")
    assert (tmp_path / "run.txt").read_text() == (
        "007 Q0 d2 1 0.123457 sum\n007 Q0 d1 2 -1.500000 sum\nb Q0 d1 1 3.000000 sum\n"
    )
    write_run(tmp_path / "run.txt.gz", run, "sum", digits=None)
    assert read_run(tmp_path / "run.txt.gz") == {"007": {"d2": 0.12345678, "d1": -1.5}, "b": {"d1": 3.0}}
    packed = (tmp_path / "run.txt.gz").read_bytes()
    write_run(tmp_path / "run.txt.gz", run, "sum", digits=None)
    assert packed == (tmp_path / "run.txt.gz").read_bytes()

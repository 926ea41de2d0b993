"""Names of runs on the command line, and the baseline among them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.settings import named_runs, with_baseline


def test_names():
    assert named_runs(["a/x.txt", "plain=b/y.txt"]) == {"x.txt": "a/x.txt", "plain": "b/y.txt"}
    assert named_runs(["a/x.txt", "plain=b/y.txt"], ["one", "the other"]) == {
        "one": "a/x.txt",
        "the other": "b/y.txt",
    }
    # Two files of one name: their paths tell them apart.
    assert list(named_runs(["a/x.txt", "b/x.txt", "b/y.txt"])) == ["a/x.txt", "b/x.txt", "y.txt"]
    assert named_runs(["a=b=c.txt"]) == {"a": "b=c.txt"}


def test_a_path_with_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("alpha=0.8.txt").write_text("")
    assert named_runs(["alpha=0.8.txt", "mean=alpha=0.5.txt"]) == {
        "alpha=0.8.txt": "alpha=0.8.txt",
        "mean": "alpha=0.5.txt",
    }


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        (["a.txt", "x=a.txt"], [], "--run a.txt: given more than once."),
        (["a.txt", "b.txt"], ["x"], "--names: 1 names for 2 runs."),
        (["x=a.txt", "x=b.txt"], [], "name 'x': both a.txt and b.txt have it."),
        (["a.txt", "b.txt"], ["x", "x"], "name 'x': both a.txt and b.txt have it."),
        (["b.txt=a.txt", "c/b.txt"], [], "name 'b.txt': both a.txt and c/b.txt have it."),
        (["=a.txt"], [], "--run a.txt: its name '' is empty or not printable."),
        (["a.txt"], ["x\ty"], "--run a.txt: its name 'x\\ty' is empty or not printable."),
    ],
)
def test_faults_of_names(given, names, message):
    with pytest.raises(XqgError, match="^" + re.escape(message)):
        named_runs(given, names)


def test_baseline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("")
    runs = {"one": "a.txt", "two": "b.txt"}
    assert with_baseline(runs, "two") == (runs, "two")
    assert with_baseline(runs, "b.txt") == (runs, "two")
    assert with_baseline(runs, "c.txt") == ({"c.txt": "c.txt", **runs}, "c.txt")
    assert list(with_baseline(runs, "xDR=c.txt")[0]) == ["xDR", "one", "two"]
    assert with_baseline({"one": "a.txt"}, "c.txt")[1] == "c.txt"


@pytest.mark.parametrize(
    ("runs", "baseline", "message"),
    [
        ({"one": "a.txt", "two": "b.txt"}, "three", "--baseline three: neither a file nor the name of a run. The runs"),
        ({"one": "a.txt"}, "one", "--baseline one: there is no other run to compare with it."),
        ({"one": "a.txt"}, "a.txt", "--baseline a.txt: there is no other run to compare with it."),
        ({"one": "a.txt"}, "one=c.txt", "--baseline one=c.txt: a.txt is named 'one' too. Write --baseline NAME=c.txt."),
    ],
)
def test_faults_of_the_baseline(runs, baseline, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("c.txt").write_text("")
    with pytest.raises(XqgError, match="^" + re.escape(message)):
        with_baseline(runs, baseline)

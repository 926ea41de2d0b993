"""Runs in files, and times."""

import time

import pytest

from pyserini_xqg.compare.runs import directory_size, median_milliseconds, read_ranked, write_run
from pyserini_xqg.text.runs import read_run


def test_round_trip(tmp_path):
    run = {"007": [("d2", 0.123456789), ("d1", -1.5)], "nothing": [], "b": [("d1", 3.0)]}
    write_run(tmp_path / "run.txt", run, "sum")
    assert (tmp_path / "run.txt").read_text().splitlines()[0] == "007 Q0 d2 1 0.123457 sum"
    assert read_ranked(tmp_path / "run.txt") == {"007": [("d2", 0.123457), ("d1", -1.5)], "b": [("d1", 3.0)]}
    assert read_run(tmp_path / "run.txt")["007"] == {"d2": 0.123457, "d1": -1.5}


def test_all_digits(tmp_path):
    run = {"q": [("a", 1 / 61 + 1 / 900), ("b", 1 / 61 + 1 / 901)]}
    write_run(tmp_path / "run.txt", run, "fused", digits=None)
    assert read_ranked(tmp_path / "run.txt") == run


def test_an_empty_run(tmp_path):
    write_run(tmp_path / "run.txt", {"q": []}, "bm25")
    assert read_ranked(tmp_path / "run.txt") == {}


def test_times_are_medians_of_repeated_searches():
    searched = []

    def search(query):
        searched.append(query)
        time.sleep(0.05 if query == 0 and searched.count(0) == 3 else 0.002)  # one outlier

    found = median_milliseconds(search, list(range(40)), repeat=3, most=4)
    assert found == pytest.approx(2, abs=8)  # and not 50
    assert found < 20
    sample = [0, 10, 20, 30]  # evenly spread
    assert searched == sample + 3 * sample  # a warm-up first


def test_size_of_an_index(tmp_path):
    (tmp_path / "fi").mkdir()
    for name, size in (("index", 100), ("fi/index", 20), ("write.lock", 3), (".lock", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert directory_size(tmp_path) == 120

"""Times and sizes."""

import time

from pyserini_xqg.compare.runs import directory_size, median_milliseconds


def test_times_are_medians_of_repeated_searches():
    searched = []

    def search(query):
        searched.append(query)
        time.sleep(0.05 if query == 0 and searched.count(0) == 3 else 0.0005)  # one outlier

    assert 0.5 <= median_milliseconds(search, list(range(150))) < 20  # and not 50
    sample = [3 * number // 2 for number in range(100)]  # evenly spread
    assert searched == sample[:16] + 5 * sample  # a warm-up first


def test_size_of_an_index(tmp_path):
    (tmp_path / "fi").mkdir()
    for name, size in (("index", 100), ("fi/index", 20), ("write.lock", 3), (".lock", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert directory_size(tmp_path) == 120

"""Counting texts by hashes on disk."""

import random
from collections import Counter

import pytest

from pyserini_xqg.queries.repeated_texts import RepeatedTexts


@pytest.mark.parametrize("block", [7, 64, 1 << 19])
def test_counts_are_those_of_a_counter(block):
    chance = random.Random(1)
    texts = [f"text {min(chance.randrange(200), chance.randrange(200))}" for _ in range(1000)]
    expected = Counter(texts)
    repeated = RepeatedTexts(block=block)
    for text in texts:
        repeated.add(text)
    assert repeated.count() == (len(expected), sum(count for count in expected.values() if count > 1))
    assert repeated.most_frequent(5) == sorted(expected.items(), key=lambda item: (-item[1], item[0]))[:5]


def test_frequent_texts_are_not_forgotten_among_many_others():
    repeated = RepeatedTexts(width=100)
    for number in range(20_000):
        repeated.add(f"once {number}")
        if number % 40 == 0:
            repeated.add("often")
        if number % 60 == 0:
            repeated.add("less often")
    assert len(repeated._frequent) < 1000
    assert repeated.most_frequent(2) == [("often", 500), ("less often", 334)]
    assert repeated.count() == (20_002, 834)


def test_counting_can_go_on_after_looking():
    repeated = RepeatedTexts()
    repeated.add("a")
    assert repeated.count() == (1, 0)
    repeated.add("a")
    assert repeated.count() == (1, 2)


def test_nothing_counted():
    assert RepeatedTexts().count() == (0, 0)
    assert RepeatedTexts().most_frequent(3) == []


def test_what_stands_for_a_text():
    repeated = RepeatedTexts()
    repeated.add("whatisit", "What is it?")
    repeated.add("whatisit", "what is it")
    assert repeated.most_frequent(1) == [("What is it?", 2)]

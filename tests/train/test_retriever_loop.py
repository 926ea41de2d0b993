"""Which questions and passages meet in a batch."""

import numpy as np
import pytest
import torch
from datasets import Dataset

from pyserini_xqg.train.retriever_loop import batch_sampler, choose_texts, columns, inner_products, routes

POOL = [f"spare {number}" for number in range(50)]


def draw(chance):
    return POOL[int(chance.integers(len(POOL)))]


def row(query, positives, negatives=()):
    return {"query": query, "positive": positives[0], "positives": list(positives), "negatives": list(negatives)}


def test_columns_and_their_tasks():
    assert columns(2) == ["query", "positive", "negative_1", "negative_2"]
    assert routes(1) == {"query": "query", "positive": "document", "negative_1": "document"}


def test_epochs_go_through_all_passages_of_a_question():
    rows = [row("a", ["p1", "p2", "p3"], [f"n{number}" for number in range(6)])]
    found = [choose_texts(rows, 2, epoch, 7, draw)[0] for epoch in range(3)]
    assert {one["positive"] for one in found} == {"p1", "p2", "p3"}
    assert sorted(one[name] for one in found for name in ("negative_1", "negative_2")) == [f"n{n}" for n in range(6)]
    assert choose_texts(rows, 2, 3, 7, draw)[0] == found[0]
    assert choose_texts(rows, 2, 0, 7, draw)[0] == found[0]


def test_no_passage_that_answers_one_question_stands_against_another():
    rows = [
        row("a", ["p1"], ["p2", "n1", "p3"]),
        row("b", ["p2", "p3"], ["p1", "n1"]),
        row("c", ["p3", "p1", "p4"], []),
    ]
    for epoch in range(6):
        found = choose_texts(rows, 2, epoch, 0, draw)
        negatives = [[one["negative_1"], one["negative_2"]] for one in found]
        answering = {"p1", "p2", "p3", "p4"}
        assert answering.isdisjoint(text for own in negatives for text in own)
        assert negatives[0][0] == negatives[1][0] == "n1"
        assert all(text.startswith("spare") for text in [negatives[0][1], negatives[1][1], *negatives[2]])
        assert all(len(set(own)) == 2 for own in negatives)
        # Those with a choice take what does not answer another question of the batch.
        assert [one["positive"] for one in found] == ["p1", "p2", "p4"]


def test_where_the_data_has_no_other_passage_one_is_repeated():
    rows = [row("a", ["p1"]), row("b", ["p2"])]
    found = choose_texts(rows, 3, 0, 0, lambda chance: "p1")
    assert [found[0][f"negative_{number}"] for number in (1, 2, 3)] == ["p2"] * 3
    assert [found[1][f"negative_{number}"] for number in (1, 2, 3)] == ["p1"] * 3


@pytest.mark.parametrize("epoch", [0, 3])
def test_no_passage_stands_twice_in_a_batch(epoch):
    chance = np.random.default_rng(1)
    positives = [f"p{number}" for number in chance.integers(0, 30, 200)]
    dataset = Dataset.from_dict(
        {"query": [f"q{n}" for n in range(200)], "positive": positives, "negatives": [[]] * 200}
    )
    sampler = batch_sampler(dataset, batch_size=8, drop_last=True, generator=torch.Generator(), seed=3)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == 25
    assert all(len({positives[place] for place in batch}) == 8 for batch in batches)
    assert list(sampler) == batches


def test_the_arithmetic_of_the_scores_is_float32():
    row = torch.full((1, 4), 200.25)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert inner_products(row, row).item() == 4 * 200.25**2

"""Cross-validation: what is reported on a topic was chosen without it."""

from collections import Counter

import numpy as np
import pytest
from compare import points
from ir_measures import Qrel

from pyserini_xqg.compare.crossvalidation import cross_validate, related_topics, split_topics
from pyserini_xqg.core.errors import XqgError

NUMBERS = {"ar": 23, "fi": 11, "ko": 7}
LANGUAGES = {f"{language}{row}": language for language, number in NUMBERS.items() for row in range(number)}
ALONE = {topic: row for row, topic in enumerate(LANGUAGES)}


@pytest.mark.parametrize("folds", [2, 5, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_stratified_by_language(folds, seed):
    fold_of = split_topics(ALONE, LANGUAGES, folds, seed)
    assert fold_of.keys() == LANGUAGES.keys()
    numbers = Counter((LANGUAGES[topic], fold) for topic, fold in fold_of.items())
    for language, total in NUMBERS.items():
        some = [numbers[language, fold] for fold in range(folds)]
        assert sum(some) == total and max(some) - min(some) <= 1
    sizes = Counter(fold_of.values())
    assert max(sizes.values()) - min(sizes.values()) <= len(NUMBERS)


def test_split_depends_on_the_seed_alone():
    assert split_topics(ALONE, LANGUAGES, 5, 3) == split_topics(ALONE, LANGUAGES, 5, 3)
    assert split_topics(ALONE, LANGUAGES, 5, 3) != split_topics(ALONE, LANGUAGES, 5, 4)


def test_translations_stay_together():
    languages = {f"{code}-{row}": code for code in ("ar", "de", "es") for row in range(40)}
    qrels = [Qrel(topic, f"d{topic.split('-')[1]}", 1) for topic in languages]
    groups = dict(zip(languages, related_topics(languages, qrels), strict=True))
    assert set(Counter(groups.values()).values()) == {3} and len(set(groups.values())) == 40
    fold_of = split_topics(groups, languages, 4, 0)
    for row in range(40):
        assert len({fold_of[f"{code}-{row}"] for code in ("ar", "de", "es")}) == 1
    assert set(Counter((languages[topic], fold) for topic, fold in fold_of.items()).values()) == {10}


def test_related_through_others():
    qrels = [
        Qrel("a", "1", 1),
        Qrel("b", "1", 1),
        Qrel("b", "2", 2),
        Qrel("c", "2", 1),
        Qrel("d", "2", 0),
        Qrel("z", "1", 1),
    ]
    a, b, c, d, e = related_topics("abcde", qrels)
    assert a == b == c and len({a, d, e}) == 3
    assert related_topics("ab", None) == [0, 1]


def test_more_folds_than_topics():
    with pytest.raises(XqgError, match=r"--folds 42: there are 41 topics .* Use fewer"):
        split_topics(ALONE, LANGUAGES, 42, 0)


GRID = points.grid({"aggregate": ["sum", "mean"], "alpha": [0.0, 0.2, 0.4, 0.6]})
POINTS = points.searched(GRID)


def random_values(seed):
    chance = np.random.default_rng(seed)
    return {point: {topic: float(chance.random()) for topic in LANGUAGES} for point in POINTS}


def test_choice_is_the_best_on_the_other_folds():
    values, fold_of = random_values(0), split_topics(ALONE, LANGUAGES, 3, 0)
    found = cross_validate(GRID, ["alpha"], values, fold_of, LANGUAGES)
    assert [one.name for one in found] == ["cv-alpha-sum", "cv-alpha-mean"]
    for one, aggregate in zip(found, ("sum", "mean"), strict=True):
        assert len(one.candidates) == 4 and one.candidates[0].is_plain
        assert {point.recipe.aggregate for point in one.candidates[1:]} == {aggregate}
        for fold, (chosen, score) in enumerate(zip(one.chosen, one.scores, strict=True)):
            means = {}
            for candidate in one.candidates:
                by_language = {
                    code: np.mean([value for topic, value in values[candidate].items()
                                   if LANGUAGES[topic] == code and fold_of[topic] != fold])
                    for code in NUMBERS
                }  # fmt: skip
                means[candidate] = np.mean(list(by_language.values()))
            assert chosen == max(means, key=means.get)
            assert score == pytest.approx(max(means.values()))


def test_a_fold_has_no_say_in_what_is_chosen_for_it():
    fold_of = split_topics(ALONE, LANGUAGES, 5, 0)
    values = random_values(1)
    before = cross_validate(GRID, ["alpha", "aggregate"], values, fold_of, LANGUAGES)
    for fold in range(5):
        for seed in range(20):
            chance = np.random.default_rng(seed)
            changed = {
                point: {topic: 100 * float(chance.random()) if fold_of[topic] == fold else value
                        for topic, value in some.items()}
                for point, some in values.items()
            }  # fmt: skip
            after = cross_validate(GRID, ["alpha", "aggregate"], changed, fold_of, LANGUAGES)
            assert [one.chosen[fold] for one in after] == [one.chosen[fold] for one in before]
            assert [one.scores[fold] for one in after] == [one.scores[fold] for one in before]


def test_among_equals_the_first_of_the_grid():
    same = {point: dict.fromkeys(LANGUAGES, 0.5) for point in POINTS}
    (one,) = cross_validate(GRID, ["alpha", "aggregate"], same, split_topics(ALONE, LANGUAGES, 2, 0), LANGUAGES)
    assert all(point.is_plain for point in one.chosen) and one.name == "cv-alpha+aggregate"


def test_nothing_to_choose():
    fold_of = split_topics(ALONE, LANGUAGES, 2, 0)
    with pytest.raises(XqgError, match="--cross-validate route: the grid has one value for it"):
        cross_validate(GRID, ["route"], random_values(0), fold_of, LANGUAGES)
    with pytest.raises(XqgError, match="--cross-validate: alpha is given more than once"):
        cross_validate(GRID, ["alpha", "alpha"], random_values(0), fold_of, LANGUAGES)
    with pytest.raises(XqgError, match="no topic that counts is outside fold 1"):
        few = {point: {"ar0": 1.0} for point in POINTS}
        cross_validate(GRID, ["alpha"], few, {"ar0": 0, "ar1": 1}, LANGUAGES)

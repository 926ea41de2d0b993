"""Thresholds, shares of the best, and verdicts, against NumPy on all scores at once."""

import math
from fractions import Fraction

import numpy as np
import pytest
from vector_stores import chosen_scores

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries.selection import (
    KEPT,
    LOW,
    NOT_RETRIEVED,
    Selection,
    parse_by_language,
    quantiles,
    thresholds,
    verdicts,
    verdicts_by_language,
)

CHANCE = np.random.default_rng(4)
AR, FI = np.float32(CHANCE.normal(0, 1, size=400)), np.float32(CHANCE.normal(1, 1, size=400).round(1))  # fi has ties


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return chosen_scores(tmp_path_factory.mktemp("selection") / "scores", {"ar": AR, "fi": FI})


def kept(scores, selection):
    return {
        language: np.array([verdict == KEPT for verdict in stream])
        for language, stream in verdicts_by_language(scores, selection).items()
    }


def best(values, share):
    """The highest ceil(share * n) of all values, and what ties with the last: a sort of everything."""
    number = math.ceil(Fraction(share) * len(values))
    return values >= np.sort(values)[::-1][number - 1]


@pytest.mark.parametrize("share", ["0.001", "0.07", "1/3", "0.5", "0.9", "1"])
def test_share_of_all(scores, share):
    expected = best(np.concatenate([AR, FI]), share)
    found = kept(scores, Selection(top_fraction=Fraction(share)))
    np.testing.assert_array_equal(np.concatenate([found["ar"], found["fi"]]), expected)
    assert expected.sum() >= math.ceil(Fraction(share) * 800)


@pytest.mark.parametrize("share", ["0.001", "0.07", "1/3", "0.5", "0.9", "1"])
def test_share_of_each_language(scores, share):
    found = kept(scores, Selection(top_fraction=Fraction(share), per_language=True))
    np.testing.assert_array_equal(found["ar"], best(AR, share))
    np.testing.assert_array_equal(found["fi"], best(FI, share))
    assert found["ar"].sum() == math.ceil(Fraction(share) * 400)  # no ties there


def test_shares_by_language(scores):
    found = kept(scores, Selection(top_fraction={"fi": Fraction("0.2"), "ar": Fraction(1)}))
    assert found["ar"].all()
    np.testing.assert_array_equal(found["fi"], best(FI, "0.2"))


def test_a_share_is_exact_where_floats_are_not(tmp_path):
    scores = chosen_scores(tmp_path / "scores", {"ar": np.arange(100)})
    assert 0.07 * 100 > 7  # in floating point
    assert kept(scores, Selection(top_fraction=parse_by_language("0.07", "", Fraction)))["ar"].sum() == 7


def test_ties_are_kept_together(tmp_path):
    scores = chosen_scores(tmp_path / "scores", {"ar": [1, 2, 2, 2, 3]})
    selection = Selection(top_fraction=Fraction("0.4"))
    assert thresholds(scores, selection) == {"ar": 2.0}
    assert kept(scores, selection)["ar"].tolist() == [False, True, True, True, True]


def test_the_threshold_of_a_share_keeps_the_same(scores):
    share = Selection(top_fraction=Fraction("0.6"), per_language=True)
    again = Selection(
        threshold={language: float(f"{value:.9g}") for language, value in thresholds(scores, share).items()}
    )
    for language, mask in kept(scores, share).items():
        np.testing.assert_array_equal(mask, kept(scores, again)[language])


def test_thresholds(scores):
    assert (kept(scores, Selection(threshold=0.3))["fi"] == (np.float32(0.3) <= FI)).all()  # 0.3 itself is among them
    found = kept(scores, Selection(threshold={"ar": -math.inf, "fi": 2.0}))
    assert found["ar"].all()
    assert (found["fi"] == (FI >= 2)).all()


def test_round_trip_and_score_together(tmp_path):
    scores = chosen_scores(tmp_path / "scores", {"ar": [5, 5, 5, 1, 1]}, {"ar": [1, 3, 0, 1, 9]}, depth=10)
    found = list(verdicts(scores, "ar", 2.0, 2))
    assert found == [KEPT, NOT_RETRIEVED, NOT_RETRIEVED, LOW, LOW]
    assert list(verdicts(scores, "ar", None, 3)) == [KEPT, KEPT, NOT_RETRIEVED, KEPT, NOT_RETRIEVED]
    scores.check_round_trip(10)
    with pytest.raises(XqgError, match="ranks to 10 only, so --round-trip 11 cannot"):
        scores.check_round_trip(11)


def test_quantiles(scores):
    found = quantiles(scores, "ar")
    assert (found["min"], found["max"]) == (AR.min(), AR.max())
    for name, share in (("p10", 0.1), ("p25", 0.25), ("median", 0.5), ("p75", 0.75), ("p90", 0.9)):
        assert found[name] in AR
        assert abs(np.count_nonzero(found[name] >= AR) - share * len(AR)) <= 1


@pytest.mark.parametrize(
    ("text", "number", "phrase"),
    [
        ("high", float, "'high' is no number"),
        ("nan", float, "'nan' is no number"),
        ("ar=0.1,de", float, "'' is no number"),
        ("ar=1,ar=2", float, "ar is given twice"),
        ("xx=1", float, "unknown language code 'xx'"),
        ("1.5", Fraction, "1.5 is not above 0 and at most 1"),
        ("0", Fraction, "0 is not above 0"),
        ("-0.1", Fraction, "is not above 0"),
        ("1/0", Fraction, "'1/0' is no number"),
        ("ar=0.5,de=70", Fraction, "70 is not above 0 and at most 1"),
    ],
)
def test_bad_values(text, number, phrase):
    with pytest.raises(XqgError, match=phrase) as error:
        parse_by_language(text, "--option", number)
    assert "--option" in str(error.value)


def test_values():
    assert parse_by_language("ar=0.3, de=-inf", "", float) == {"ar": 0.3, "de": -math.inf}
    assert parse_by_language("1/3", "", Fraction) == Fraction(1, 3)


def test_languages_must_be_those_of_the_corpus():
    with pytest.raises(XqgError, match=r"--threshold: none for fi, .* fi=-inf keeps all"):
        Selection(threshold={"ar": 0.1}).check(["ar", "fi"])
    with pytest.raises(XqgError, match=r"--top-fraction: none for fi, .* fi=1 keeps all"):
        Selection(top_fraction={"ar": Fraction(1)}).check(["ar", "fi"])
    with pytest.raises(XqgError, match=r"no queries in te. There are some in ar, fi"):
        Selection(threshold={"ar": 0.1, "fi": 1, "te": 1}).check(["ar", "fi"])

"""Means, intervals and comparisons of a sweep's runs, and the tables that show them."""

import csv

import numpy as np
import pytest
from scipy import stats

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.comparisons import Settings
from pyserini_xqg.sweep import tables
from pyserini_xqg.sweep.grid import FACTORS
from pyserini_xqg.sweep.summary import System, average_interval, summarise

LANGUAGES = {f"{language}{row}": language for language, number in (("ar", 12), ("fi", 30)) for row in range(number)}


def test_interval_of_one_sample_is_students():
    sample = np.random.default_rng(0).random(15)
    wanted = stats.t.interval(0.95, 14, loc=sample.mean(), scale=stats.sem(sample))
    np.testing.assert_allclose(average_interval([sample.tolist()]), wanted)


def test_interval_of_two_samples_is_welchs():
    """The mean of two means is half the difference between one and the other's negative."""
    chance = np.random.default_rng(1)
    one, other = chance.random(9), 3 * chance.random(25)
    wanted = stats.ttest_ind(one, -other, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(average_interval([one.tolist(), other.tolist()]), np.array(wanted) / 2)


def test_interval_of_three_samples_covers_as_often_as_it_says():
    chance = np.random.default_rng(2)
    hits = 0
    for _ in range(2000):
        samples = [
            chance.normal(mean, spread, size).tolist() for mean, spread, size in ((0, 1, 8), (1, 3, 12), (2, 0.5, 30))
        ]
        low, high = average_interval(samples)
        hits += low <= 1 <= high
    assert 0.94 < hits / 2000 < 0.965


def test_interval_without_variance():
    assert average_interval([[1.0, 1.0], [0.0, 0.0]]) == (0.5, 0.5)


def system(name, baseline="none", **cells):
    return System(name, dict.fromkeys(FACTORS, "-") | cells, baseline)


@pytest.fixture
def values():
    chance = np.random.default_rng(3)
    base = {query_id: float(chance.random() < 0.4) for query_id in LANGUAGES}
    better = {query_id: max(value, float(chance.random() < 0.5)) for query_id, value in base.items()}
    unlike = {query_id: float(chance.random() < 0.4) for query_id in base}
    return {name: {"R@10": some, "RR@10": {query_id: value / 2 for query_id, value in some.items()}}
            for name, some in (("none", base), ("better", better), ("unlike", unlike))}  # fmt: skip


def test_summary(values):
    systems = [system("none"), system("better"), system("unlike")]
    scores = summarise(systems, values, LANGUAGES, Settings(correction="bonferroni"))
    assert [(score.system.name, score.measure) for score in scores] == [
        (name, measure) for measure in ("R@10", "RR@10") for name in ("none", "better", "unlike")
    ]
    score = scores[1]
    by_language = {
        code: [values["better"]["R@10"][q] for q in LANGUAGES if LANGUAGES[q] == code] for code in ("ar", "fi")
    }
    assert score.means["ar"] == pytest.approx(np.mean(by_language["ar"]))
    assert score.means["avg"] == pytest.approx((np.mean(by_language["ar"]) + np.mean(by_language["fi"])) / 2)
    assert score.intervals["avg"] == average_interval(list(by_language.values()))
    assert score.intervals["fi"] == average_interval([by_language["fi"]])
    base = values["none"]["R@10"]
    for column, chosen in (("avg", list(base)), ("fi", [q for q in base if LANGUAGES[q] == "fi"])):
        wanted = stats.ttest_rel([values["better"]["R@10"][q] for q in chosen], [base[q] for q in chosen])
        tested = score.tests[column]
        assert tested.comparison.p_value == pytest.approx(wanted.pvalue)
        assert tested.p_corrected == pytest.approx(min(1, 6 * wanted.pvalue))  # two runs x (two languages and all)
        assert score.is_significant(column) == (6 * wanted.pvalue < 0.05)
    assert score.is_significant() and not scores[2].is_significant()
    assert scores[0].tests == {} and not scores[0].is_significant()


def test_each_baseline_has_its_own_family(values):
    values = values | {"unit": values["unlike"]}
    systems = [system("none"), system("unit", "unit"), system("better"), system("unlike", "unit")]
    scores = {score.system.name: score for score in summarise(systems, values, LANGUAGES, Settings(correction="holm"))
              if score.measure == "R@10"}  # fmt: skip
    assert scores["unlike"].tests["avg"].baseline == "unit"
    assert scores["unlike"].tests["avg"].comparison.tied == len(LANGUAGES)
    assert scores["unit"].tests == {}


def test_one_language_and_one_question_of_a_language(values, capsys):
    systems = [system("none"), system("better")]
    chosen = {name: {measure: {q: value for q, value in some.items() if LANGUAGES[q] == "fi"}
                     for measure, some in of_run.items()} for name, of_run in values.items()}  # fmt: skip
    score = summarise(systems, chosen, LANGUAGES, Settings())[1]
    assert score.means["fi"] == score.means["avg"] and score.intervals["fi"] == score.intervals["avg"]
    assert score.tests["fi"] == score.tests["avg"]

    few = {name: {measure: {q: value for q, value in some.items() if LANGUAGES[q] == "fi" or q == "ar0"}
                  for measure, some in of_run.items()} for name, of_run in values.items()}  # fmt: skip
    score = summarise(systems, few, LANGUAGES, Settings())[1]
    assert score.intervals["ar"] is None and score.intervals["avg"] is None and score.intervals["fi"] is not None
    assert set(score.tests) == {"fi", "avg"}
    assert "language 'ar' has one question" in capsys.readouterr().err

    one = {name: {"R@10": {"ar0": 1.0}} for name in values}
    with pytest.raises(XqgError, match="R@10: 1 question counts, and a paired test needs two or more"):
        summarise(systems, one, LANGUAGES, Settings())


def test_tables(values, tmp_path):
    systems = [system("none", alpha="0"), system("better", alpha="0.5"), system("unlike", alpha="1")]
    settings = Settings(correction="holm")
    scores = summarise(systems, values, LANGUAGES, settings)
    tables.write_table(tmp_path / "table.csv", scores)
    tables.write_by_language(tmp_path / "by-language.csv", scores)
    with open(tmp_path / "table.csv", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["run"], row["alpha"], row["measure"]) for row in rows[:2]] == [
        ("none", "0", "R@10"),
        ("better", "0.5", "R@10"),
    ]
    assert (
        float(rows[1]["avg"]) == scores[1].means["avg"] and float(rows[1]["avg_low"]) == scores[1].intervals["avg"][0]
    )
    comparison = scores[1].tests["avg"].comparison
    assert float(rows[1]["difference"]) == comparison.mean_difference
    assert float(rows[1]["p_corrected"]) == scores[1].tests["avg"].p_corrected
    assert [int(rows[1][name]) for name in ("questions", "won", "tied", "lost")] == [
        42, comparison.won, comparison.tied, comparison.lost,
    ]  # fmt: skip
    assert (rows[0]["baseline"], rows[0]["p"], rows[1]["baseline"]) == ("", "", "none")
    with open(tmp_path / "by-language.csv", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["language"] for row in rows[:3]] == ["ar", "fi", "avg"]
    assert float(rows[4]["mean"]) == scores[1].means["fi"]

    markdown = tables.table_markdown(scores, ["alpha"], tables.table_notes(scores, settings), {"R@10"})
    assert "| run | alpha | ar | fi | avg | 95 % of avg | won/lost | p |" in markdown
    assert "Holm-corrected over the 6 tests of a measure" in markdown and r"**R@10**\*" in markdown
    (line,) = [line for line in markdown.splitlines() if line.startswith("| better | 0.5 |")][:1]
    assert f"{100 * scores[1].means['avg']:.2f}" in line and f"{comparison.won}/{comparison.lost}" in line
    assert "†" in line

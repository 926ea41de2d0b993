"""Runs against a baseline: which questions each test is over, which tests make a family, and the files written."""

from __future__ import annotations

import csv
import gzip
import json
import random

import pytest
from scipy import stats

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.comparisons import (
    compare_runs,
    comparison_tables,
    describe,
    write_by_query,
    write_comparisons,
)
from pyserini_xqg.evaluate.significance import TestOptions

LANGUAGES = {f"q{number}": ("te", "te", "ar", "fi")[number % 4] for number in range(60)}


@pytest.fixture
def values() -> dict:
    chance = random.Random(4)
    runs = {}
    for run, better in (("none", 0.0), ("sum", 0.05), ("routed", 0.4)):
        runs[run] = {
            measure: {query_id: round(chance.random() * 0.6 + better, 2) for query_id in LANGUAGES}
            for measure in ("R@2kt", "RR@10")
        }
    return runs


def test_each_language_and_all_questions_are_tested(values):
    tested = compare_runs(values, "none", LANGUAGES)
    assert [(one.run, one.measure, one.language) for one in tested] == [
        (run, measure, language)
        for measure in ("R@2kt", "RR@10")
        for run in ("sum", "routed")
        for language in ("ar", "fi", "te", "all")
    ]
    for one in tested:
        query_ids = [query_id for query_id in LANGUAGES if one.language in (LANGUAGES[query_id], "all")]
        pair = [[values[run][one.measure][query_id] for query_id in query_ids] for run in (one.run, "none")]
        assert one.baseline == "none" and one.comparison.questions == len(query_ids) == len(pair[0])
        assert one.comparison.p_value == pytest.approx(stats.ttest_rel(*pair).pvalue)
        assert one.p_corrected == one.comparison.p_value
        assert one.significant == (one.p_corrected < 0.05)
    assert 0 < sum(one.significant for one in tested) < len(tested)


@pytest.mark.parametrize("correction", ["bonferroni", "holm"])
def test_a_family_is_the_tests_of_one_measure(values, correction):
    plain = compare_runs(values, "none", LANGUAGES)
    corrected = compare_runs(values, "none", LANGUAGES, TestOptions(correction=correction))
    for measure in ("R@2kt", "RR@10"):
        before = [one.comparison.p_value for one in plain if one.measure == measure]
        after = [one.p_corrected for one in corrected if one.measure == measure]
        assert len(before) == 8
        assert min(after) == pytest.approx(8 * min(before))
        factor = 8 if correction == "bonferroni" else 1
        assert max(after) >= min(1.0, factor * max(before)) - 1e-12
    assert [one.comparison for one in corrected] == [one.comparison for one in plain]


def test_settings_reach_the_test(values):
    settings = TestOptions("randomisation", "none", 0.2, seed=3, permutations=99)
    for one in compare_runs(values, "none", LANGUAGES, settings):
        result = one.comparison
        assert result.p_value * 100 / 2 == pytest.approx(round(result.p_value * 100 / 2))  # multiples of 2 / (99 + 1)
        assert one.significant == (result.p_value < 0.2)
    narrow = compare_runs(values, "none", LANGUAGES, TestOptions(significance_level=0.2))[0].comparison
    wide = compare_runs(values, "none", LANGUAGES)[0].comparison
    assert wide.low < narrow.low < narrow.high < wide.high


def test_measures_may_count_other_questions(values):
    for run in values:
        for query_id in list(LANGUAGES)[::3]:
            del values[run]["R@2kt"][query_id]
    numbers = {one.measure: one.comparison.questions for one in compare_runs(values, "none", LANGUAGES)}
    assert numbers == {"R@2kt": 40, "RR@10": 60}


def test_one_language_is_tested_once_and_one_question_not_alone(values, capsys):
    languages = dict.fromkeys(LANGUAGES, "fi")
    assert [test.language for test in compare_runs(values, "none", languages)] == ["fi"] * 4
    tested = compare_runs(values, "none", languages | {"q0": "ar"})
    assert {test.language for test in tested} == {"fi", "all"}
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "R@2kt: one question in language 'ar', which is too few for a test" in said[0]


def test_no_test_is_left():
    values = {run: {"R@10": {"q0": 1.0}} for run in ("a", "b")}
    with pytest.raises(XqgError, match="R@10: 1 question counts, and a paired test needs two or more"):
        compare_runs(values, "a", {"q0": "fi"})


def test_tables(values):
    settings = TestOptions(correction="holm", significance_level=0.01)
    tested = compare_runs(values, "none", LANGUAGES, settings)
    first, second = comparison_tables(tested, settings, {"R@2kt"})
    assert (first.title, second.title) == ("R@2kt*: difference from none", "RR@10: difference from none")
    assert [column.name for column in first.columns[4:8]] == ["99% interval", "d_z", "p", "p (holm)"]
    for table, measure in ((first, "R@2kt"), (second, "RR@10")):
        of_measure = [one for one in tested if one.measure == measure]
        for cells, one in zip(table.cells(), of_measure, strict=True):
            texts = [cell.text for cell in cells]
            assert texts[:2] == [one.run, one.language] and len(texts) == len(table.columns)
            assert texts[3] == f"{one.comparison.mean_difference * 100:+.2f}"
            assert (cells[3].mark == "†") == one.significant
            assert [int(text) for text in texts[-3:]] == [one.comparison.won, one.comparison.tied, one.comparison.lost]
    assert "p (holm)" not in [column.name for column in comparison_tables(tested, TestOptions())[0].columns]


def test_describe():
    assert describe(TestOptions(), 8, "none") == (
        "† p < 0.05 against none: paired two-sided t-test, not corrected for the 8 tests of a measure."
    )
    assert describe(TestOptions("randomisation", "bonferroni", 0.01, 7, 2000), 3, "a") == (
        "† p < 0.01 against a: two-sided randomisation test (2,000 permutations, seed 7), Bonferroni-corrected over "
        "the 3 tests of a measure."
    )


# --- files ---


def test_by_query_values_can_be_read_back(tmp_path, values):
    for name, opened, delimiter in (("v.csv", open, ","), ("v.tsv", open, "\t"), ("v.tsv.gz", gzip.open, "\t")):
        write_by_query(tmp_path / name, values, LANGUAGES)
        with opened(tmp_path / name, "rt", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter=delimiter))
        assert len(rows) == 3 * 2 * 60
        read = {(row["run"], row["measure"], row["qid"]): float(row["value"]) for row in rows}
        assert read == {(r, m, q): value for r in values for m in values[r] for q, value in values[r][m].items()}
        assert all(row["language"] == LANGUAGES[row["qid"]] for row in rows)
    assert len(list(tmp_path.iterdir())) == 3


def test_comparisons_can_be_read_back(tmp_path, values):
    values["better"] = {m: {q: value + 0.25 for q, value in of.items()} for m, of in values["none"].items()}
    settings = TestOptions(correction="holm")
    tested = compare_runs(values, "none", LANGUAGES, settings)
    for name in ("c.json", "c.csv", "c.tsv.gz"):
        write_comparisons(tmp_path / name, tested, settings)
    objects = json.loads((tmp_path / "c.json").read_text(), parse_constant=pytest.fail)  # no NaN, no Infinity
    assert [(o["run"], o["measure"], o["language"]) for o in objects] == [
        (one.run, one.measure, one.language) for one in tested
    ]
    with open(tmp_path / "c.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    for one, found, row in zip(tested, objects, rows, strict=True):
        assert found["p_value"] == one.comparison.p_value == float(row["p_value"])
        assert found["effect_size"] == (None if one.run == "better" else one.comparison.effect_size)
        assert float(row["effect_size"]) == one.comparison.effect_size
        assert found["significant"] is one.significant and row["significant"] == str(one.significant)
        assert list(found) == list(row)
    assert (
        gzip.decompress((tmp_path / "c.tsv.gz").read_bytes()).decode().replace("\t", ",")
        == (tmp_path / "c.csv").read_text()
    )

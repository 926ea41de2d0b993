"""Means and tests against baselines, and the table in its formats."""

import csv
import random

import pytest
from ir_measures import Qrel
from scipy import stats

from pyserini_xqg.compare.comparison import Cost
from pyserini_xqg.compare.grid import FACTORS
from pyserini_xqg.compare.report import SystemRow, SystemScores
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.evaluate.significance import TestOptions

MEASURES = ["R@2", "RR@10"]


def ranked(docids):
    return {docid: float(-place) for place, docid in enumerate(docids)}


def report_of(names, baseline="plain", languages=("fi", "te"), settings=None):
    """Systems on 30 questions in the first language and 20 in the second, and one Arabic one; values, languages."""
    chance = random.Random(7)
    of = {f"q{number:02d}": languages[number >= 30] for number in range(50)} | {"q99": "ar" if languages[0] else ""}
    known = of if languages[0] else {}
    collection = Collection("chosen", set(of), known, qrels=[Qrel(one, "right", 1) for one in of])
    values, rows = {}, []
    with Scorer(collection, MEASURES) as scorer:
        for name in names:
            wrong = 1 if name == "sum" else 8
            run = {one: ranked([*(f"d{n}" for n in range(chance.randint(0, wrong))), "right"]) for one in of}
            values[name] = scorer.score(run, name)
            cost = None if name == "bm25" else Cost(1_500_000, 0.25)
            against = baseline if isinstance(baseline, str) else baseline[name]
            rows.append(SystemRow(name, "a system", dict.fromkeys(FACTORS, "") | {"alpha": "0.5"}, against, cost))
        report = SystemScores(scorer, rows, values, settings or TestOptions(), ["A note."])
    return report, values, dict(scorer.languages)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of four systems, in files."""
    report, values, languages = report_of(
        ["plain", "sum", "bm25", "plain+bm25"], settings=TestOptions(correction="holm")
    )
    directory = tmp_path_factory.mktemp("table")
    report.write(directory)
    return report, values, languages, directory


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_every_value_can_be_computed_again(made):
    _, values, _, directory = made
    by_query = rows_of(directory / "by-query.csv")
    assert len(by_query) == 4 * 2 * 51
    for row in by_query:
        assert float(row["value"]) == values[row["run"]][row["measure"]][row["qid"]]
    for row in rows_of(directory / "table.csv"):
        if not row["language"] or row["language"] == "avg":
            continue
        chosen = [
            float(one["value"])
            for one in by_query
            if (one["run"], one["measure"], one["language"]) == (row["system"], row["measure"], row["language"])
        ]
        assert float(row["value"]) == pytest.approx(sum(chosen) / len(chosen))


def test_p_values_are_scipys(made):
    """Of avg, those of the test on all questions; of one Arabic question, none."""
    _, values, languages, directory = made
    for row in rows_of(directory / "table.csv"):
        assert row["alpha"] == "0.5"
        column, name = row["language"], row["system"]
        if not column or name == "plain" or column == "ar":
            assert row["p_value"] == row["p_corrected"] == ""
            continue
        chosen = [one for one, code in languages.items() if column in ("avg", code)]
        pair = [[values[one][row["measure"]][query_id] for query_id in chosen] for one in (name, "plain")]
        p_value = stats.ttest_rel(*pair).pvalue
        assert float(row["p_value"]) == pytest.approx(p_value if p_value == p_value else 1.0)
        assert float(row["p_corrected"]) >= float(row["p_value"])


def test_costs(made):
    *_, directory = made
    costs = {(row["system"], row["measure"]): row["value"] for row in rows_of(directory / "table.csv")}
    assert costs["sum", "index_bytes"] == "1500000" and costs["sum", "search_ms"] == "0.25"
    assert ("bm25", "search_ms") not in costs


def test_markdown(made):
    *_, directory = made
    text = (directory / "table.md").read_text()
    assert "| system | R@2 | RR@10 | index MB | search ms |" in text
    assert "| run | ar | fi | te | avg | all |" in text
    overview = next(line for line in text.splitlines() if line.startswith("| sum "))
    assert "**†" in overview and overview.endswith("| 1.50 | 0.25 |")
    assert next(line for line in text.splitlines() if line.startswith("| bm25 ")).endswith("| - | - |")
    assert "A note." in text and "| plain+bm25 | a system |" in text


def test_one_system_alone():
    report, *_ = report_of(["plain"])
    assert "†" not in report.text() and report.test("plain", "R@2") is None


def test_topics_of_unknown_languages():
    report, *_ = report_of(["plain", "sum"], languages=("", ""))
    assert report.test("sum", "RR@10").language == ALL_TOPICS
    row = next(line for line in report.text().splitlines() if line.startswith("sum "))
    assert "†" in row


def test_another_baseline():
    report, *_ = report_of(["plain", "sum"], baseline="sum", settings=TestOptions("randomisation", "bonferroni"))
    test = report.test("plain", "RR@10")
    assert test.comparison.mean_difference < 0 and test.significant


def test_each_baseline_has_its_own_family():
    baselines = {"a.plain": "a.plain", "b.plain": "b.plain", "a.sum": "a.plain", "b.sum": "b.plain"}
    report, values, languages = report_of(list(baselines), baselines, settings=TestOptions(correction="bonferroni"))
    for name, baseline in baselines.items():
        test = report.test(name, "RR@10")
        assert (test is None) == (name == baseline)
        if test:
            pair = [[values[one]["RR@10"][query_id] for query_id in languages] for one in (name, baseline)]
            wanted = stats.ttest_rel(*pair).pvalue
            assert test.baseline == baseline and test.comparison.p_value == pytest.approx(wanted)
            assert test.p_corrected == pytest.approx(min(1, 3 * wanted))  # two languages of several questions, and all
            assert report.is_significant(name, "RR@10") == (test.p_corrected < 0.05)
    assert "Each system of vectors is tested against its own store's baseline." in report.notes()

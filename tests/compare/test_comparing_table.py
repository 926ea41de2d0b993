"""Tests against a baseline, and the table in its formats."""

import csv
import json
import random

import pytest
from ir_measures import Qrel
from scipy import stats

from pyserini_xqg.compare import table
from pyserini_xqg.compare.comparison import Result
from pyserini_xqg.compare.table import Report
from pyserini_xqg.evaluate import means
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.comparisons import Settings
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.scoring import Scorer

MEASURES = ["R@2", "RR@10"]


def ranked(docids):
    return {docid: float(-place) for place, docid in enumerate(docids)}


def report_of(names, baseline="none", languages=("fi", "te"), settings=None):
    """Systems on 30 questions in the first language and 20 in the second, and one Arabic one; values, languages."""
    chance = random.Random(7)
    of = {f"q{number:02d}": languages[number >= 30] for number in range(50)} | {"q99": "ar" if languages[0] else ""}
    known = of if languages[0] else {}
    collection = Collection("chosen", set(of), known, qrels=[Qrel(one, "right", 1) for one in of])
    values, costs = {}, {}
    with Scorer(collection, MEASURES) as scorer:
        for name in names:
            wrong = 1 if name == "sum" else 8
            run = {one: ranked([*(f"d{n}" for n in range(chance.randint(0, wrong))), "right"]) for one in of}
            values[name] = scorer.score(run, name)
            costs[name] = Result(1_500_000, 0.25, None if name == "bm25" else 3.5)
        report = Report(
            scorer, values, costs, dict.fromkeys(names, "a system"), baseline, settings or Settings(), ["A note."]
        )
    return report, values, dict(scorer.languages)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of four systems, in files."""
    report, values, languages = report_of(["none", "sum", "bm25", "none+bm25"], settings=Settings(correction="holm"))
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
        column, name = row["language"], row["system"]
        if not column or name == "none" or column == "ar":
            assert row["p_value"] == row["p_corrected"] == ""
            continue
        chosen = [one for one, code in languages.items() if column in ("avg", code)]
        pair = [[values[one][row["measure"]][query_id] for query_id in chosen] for one in (name, "none")]
        p_value = stats.ttest_rel(*pair).pvalue
        assert float(row["p_value"]) == pytest.approx(p_value if p_value == p_value else 1.0)
        assert float(row["p_corrected"]) >= float(row["p_value"])


def test_costs(made):
    *_, directory = made
    costs = {(row["system"], row["measure"]): row["value"] for row in rows_of(directory / "table.csv")}
    assert costs["sum", "index_bytes"] == "1500000" and costs["sum", "encode_ms"] == "3.5"
    assert costs["bm25", "encode_ms"] == "" and costs["bm25", "search_ms"] == "0.25"


def test_json_holds_the_same(made):
    report, values, _, directory = made
    held = json.loads((directory / "table.json").read_text())
    json.dumps(held, allow_nan=False)
    assert list(held["systems"]) == list(values)
    for row in rows_of(directory / "table.csv"):
        if row["language"]:
            system = held["systems"][row["system"]]
            assert float(row["value"]) == system["scores"][row["measure"]][row["language"]]
            test = (
                system["tests"].get(row["measure"], {}).get(ALL_TOPICS if row["language"] == "avg" else row["language"])
            )
            assert (row["p_value"] == "") == (test is None)
            assert test is None or float(row["p_corrected"]) == test["p_corrected"]
    assert held["tests"]["correction"] == "holm" and held["notes"] == report.notes()


def test_markdown(made):
    *_, directory = made
    text = (directory / "table.md").read_text()
    assert "| system | R@2 | RR@10 | index MB | search ms | encode ms |" in text
    assert "| run | ar | fi | te | avg | all |" in text
    overview = next(line for line in text.splitlines() if line.startswith("| sum "))
    assert "**†" in overview and overview.endswith("| 1.50 | 0.25 | 3.50 |")
    assert next(line for line in text.splitlines() if line.startswith("| bm25 ")).endswith("| 0.25 | - |")
    assert "A note." in text and "| none+bm25 | a system |" in text


def test_the_average_has_one_name():
    assert table.AVERAGE == means.AVERAGE


def test_one_system_alone():
    report, *_ = report_of(["none"])
    assert "†" not in report.text() and report.json()["tests"] is None


def test_topics_of_unknown_languages():
    report, *_ = report_of(["none", "sum"], languages=("", ""))
    assert report.json()["systems"]["sum"]["tests"]["RR@10"].keys() == {ALL_TOPICS}
    row = next(line for line in report.text().splitlines() if line.startswith("sum "))
    assert "†" in row


def test_another_baseline():
    report, *_ = report_of(["none", "sum"], baseline="sum", settings=Settings("randomisation", "bonferroni"))
    test = report.json()["systems"]["none"]["tests"]["RR@10"][ALL_TOPICS]
    assert test["mean_difference"] < 0 and test["significant"]

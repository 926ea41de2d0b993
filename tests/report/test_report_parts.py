"""What a report page is made of: gold passages and ranks, kept passages, figures of the tables, plots, packing."""

import json
import random
import re
from xml.etree import ElementTree

import pytest
from helpers import write_jsonl
from ir_measures import Qrel

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.significance import TestOptions
from pyserini_xqg.report import results
from pyserini_xqg.report.explorer import Explorer, explorer_data, pack, unpack
from pyserini_xqg.report.products import Products
from pyserini_xqg.report.rankings import Gold, Ranked, judged_gold, rank_question
from pyserini_xqg.text.lookup import PassageLookup
from pyserini_xqg.text.passages import Passage

# --- gold passages ---

RUNS = ({"1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}}, {"1": {"d3": 3.0, "d1": 3.0, "d4": 1.0}})
RECORDS = [
    {"docid": d, "text": text} for d, text in (("d1", "a yes b"), ("d2", "in Oslo"), ("d3", "OSLO"), ("d4", "Oslo"))
]


@pytest.fixture
def texts(tmp_path):
    docids = {record["docid"] for record in RECORDS}
    with PassageLookup(docids, [write_jsonl(tmp_path / "texts.jsonl", RECORDS)]) as passages:
        yield passages


def test_ranks_are_those_of_trec_eval():
    """Equal scores: falling docid."""
    found = rank_question("1", RUNS, 2, ["d1", "d9"], (), None)
    assert found.gold == (Gold("d1", (1, 2)), Gold("d9", (0, 0)))
    assert found.top == (("d1", "d2"), ("d3", "d1"))
    assert found.retrieved == (3, 3)


def test_gold_by_answers_is_the_first_of_each_run(texts):
    found = rank_question("1", RUNS, 2, None, ["Oslo", "yes"], texts)
    assert found.best == (2, 3)
    assert set(found.gold) == {Gold("d2", (2, 0)), Gold("d4", (0, 3))}
    assert rank_question("1", RUNS, 2, None, ["yes"], texts).gold == ()
    assert rank_question("1", RUNS, 2, [], ["Oslo"], texts).gold == ()  # judged, and none is relevant


def test_question_that_a_run_lacks_and_many_gold_passages():
    found = rank_question("2", RUNS, 2, ["d1"], (), None)
    assert found == Ranked((Gold("d1", (0, 0)),), 0, (0, 0), ((), ()), (0, 0))
    found = rank_question("1", RUNS, 2, ["x1", "x2", "d3", "x4", "d1"], (), None)
    assert [one.docid for one in found.gold] == ["d1", "d3", "x1"] and found.more_gold == 2
    assert found.best == (1, 1)
    assert rank_question("1", RUNS, 2, (), (), None).best == (0, 0)


def test_unknown_docid_among_those_looked_into(texts):
    with pytest.raises(XqgError, match=r"docid 'd5', ranked for topic '1', is not among the passages"):
        rank_question("1", ({"1": {"d5": 1.0}}, {}), 2, None, ["Oslo"], texts)


def test_judged_gold_takes_relevant_passages_once():
    from pyserini_xqg.evaluate.collection import Collection

    qrels = [Qrel("1", "d1", 0), Qrel("1", "d2", 2), Qrel("1", "d2", 1, "1"), Qrel("2", "d1", 1)]
    assert judged_gold(Collection("x", {"1", "2"}, qrels=qrels)) == {"1": ["d2"], "2": ["d1"]}


# --- tables ---


def values(number, seed):
    chance = random.Random(seed)
    return {f"{code}{n}": chance.choice([0.0, 0.25, 0.5, 1.0]) for code in ("ar", "fi", "te") for n in range(number)}


def rows_of(first, second, **options):
    from pyserini_xqg.evaluate.means import means_by_language

    languages = {query_id: query_id[:2] for query_id in first}
    means = means_by_language(first, languages), means_by_language(second, languages)
    return {
        row.name: row for row in results.result_rows("RR", (first, second), means, languages, TestOptions(**options))
    }


def test_rows_agree_with_scipy():
    from scipy import stats

    first, second = values(12, 1), values(12, 2)
    rows = rows_of(first, second)
    assert list(rows) == ["ar", "fi", "te", "avg", "all questions"]
    for name in ("ar", "fi", "te", "all questions"):
        chosen = [q for q in first if q.startswith(name) or name == "all questions"]
        a, b = ([of_run[q] for q in chosen] for of_run in (first, second))
        test = stats.ttest_rel(b, a)
        assert rows[name].p_value == pytest.approx(test.pvalue)
        interval = test.confidence_interval(0.95)
        assert (rows[name].comparison.low, rows[name].comparison.high) == pytest.approx(tuple(interval))
        expected = stats.t.interval(0.95, len(a) - 1, loc=sum(a) / len(a), scale=stats.sem(a))
        assert rows[name].intervals[0][1:] == pytest.approx(expected)
        assert rows[name].difference == pytest.approx(sum(b) / len(b) - sum(a) / len(a))
    assert rows["avg"].comparison is None and rows["avg"].p_value is None


def test_correction_is_for_the_languages_and_all_questions():
    first, second = values(12, 1), values(12, 2)
    plain, corrected = rows_of(first, second), rows_of(first, second, correction="bonferroni")
    for name in ("ar", "fi", "te", "all questions"):
        assert corrected[name].p_value == pytest.approx(min(1.0, 4 * plain[name].p_value))


def test_language_of_one_question_is_not_tested():
    rows = rows_of({"ar1": 0.5, "fi1": 0.0, "fi2": 1.0}, {"ar1": 1.0, "fi1": 1.0, "fi2": 1.0})
    assert rows["ar"].comparison is None and rows["ar"].means == (0.5, 1.0) and not rows["ar"].significant
    assert rows["all questions"].comparison.won == 2
    (row,) = rows_of({"ar1": 0.5}, {"ar1": 1.0}).values()
    assert row.means == (0.5, 1.0) and row.comparison is None


# --- plots ---


def shapes(svg):
    """Tooltip to the path of what it is of, and all texts."""
    root = ElementTree.fromstring(svg)
    paths = {
        about.text: group.find(".//path") for group in root.iter("g") if (about := group.find("title")) is not None
    }
    return paths, [text.text for text in root.iter("text")]


def height(path):
    numbers = [float(number) for number in re.findall(r"[-\d.]+", path.get("d"))]
    return max(numbers[1::2]) - min(numbers[1::2])


def test_bars_are_as_tall_as_the_means():
    rows = list(rows_of(values(12, 1), values(12, 2)).values())[:4]
    paths, texts = shapes(results.plot_means(rows, ("a & b", "<c>"), 'a "title"'))
    assert [row.name for row in rows] == [text for text in texts if text in {row.name for row in rows}]
    assert len(paths) == 8
    bars = iter(paths.items())
    scale = None
    for number, color in ((0, "var(--other)"), (1, "var(--bar)")):
        for row in rows:
            about, path = next(bars)
            run = ("a & b", "<c>")[number]
            assert about.startswith(f"{row.name}, {run}: {row.means[number] * 100:.2f}")
            assert ("[" in about) == (row.name != "avg")  # which has no interval
            scale = scale or height(path) / row.means[number]
            assert height(path) == pytest.approx(row.means[number] * scale, rel=1e-3)
            assert path.get("fill") == color


def test_outcomes_and_gains():
    first, second = values(12, 1), values(12, 2)
    rows = list(rows_of(first, second).values())
    _, texts = shapes(results.plot_outcomes(rows, "t"))
    tests = [row.comparison for row in rows if row.comparison]
    assert [int(text) for text in texts if text.isdigit()] == [n for one in tests for n in (one.lost, one.won)]
    differences = results.MeasureResult("R", rows, (first, second)).differences()
    assert results.is_graded(differences) and not results.is_graded([1.0, -1.0, 0.0])
    paths, _ = shapes(results.plot_gains(differences, "t"))
    bins = {about.split(": ")[0]: int(about.split(": ")[1]) for about in paths}
    assert list(bins)[::19] == ["-100 to -90", "90 to 100"] and bins["0 to 10"] == 0
    assert bins["-80 to -70"] == sum(gain == -0.75 for gain in differences)
    assert sum(bins.values()) == sum(bool(gain) for gain in differences)


def test_nothing_changed():
    rows = list(rows_of(dict.fromkeys(values(3, 1), 0.0), dict.fromkeys(values(3, 1), 0.0)).values())
    plots = [
        results.plot_means(rows, ("a", "b"), "t"),
        results.plot_outcomes(rows, "t"),
        results.plot_gains([0.0], "t"),
    ]
    for svg in plots:
        ElementTree.fromstring(svg)
        assert "nan" not in svg.lower() and "inf" not in svg.lower()


# --- packing ---


class Texts:
    def __init__(self, *passages):
        self.by_docid = {passage.docid: passage for passage in passages}

    def get(self, docid):
        return self.by_docid.get(docid)


def explorer(number=30, words=200, **changes):
    chance = random.Random(4)
    passages = [
        Passage(f"p{n}", f"t{n}", " ".join(f"{chance.random():.6f}" for _ in range(words)), {"fi": [f"mikä {n}"]})
        for n in range(number * 3)
    ]
    ids = [f"q{n}" for n in range(number)]
    settings = {
        "runs": ("a", "b"),
        "texts": {query_id: f"text of {query_id}" for query_id in ids},
        "languages": dict.fromkeys(ids, "fi"),
        "answers": {},
        "values": {"R@10": (dict.fromkeys(ids, 0.0), dict.fromkeys(ids, 1.0))},
        "ranked": {
            query_id: Ranked(
                (Gold(f"p{n}", (1, 2)),), 0, (1, 2), ((f"p{n + number}",), (f"p{n + 2 * number}",)), (1, 1)
            )
            for n, query_id in enumerate(ids)
        },
        "passages": Texts(*passages),
    }
    return Explorer(**settings | changes)


def test_packing_is_the_same_every_time_and_small():
    data = explorer_data(explorer())
    assert pack(data) == pack(explorer_data(explorer()))
    assert unpack(pack(data)) == json.loads(json.dumps(data))


def test_inner_products_keep_four_digits():
    for unit in (1.0, 234.5, 0.001):
        products = {("q0", "p0"): Products(0.123456 * unit, -0.9876543 * unit, {"fi": [0.5432109 * unit]})}
        data = explorer_data(explorer(number=2, products=products))
        own, index, queries = data["products"][0][0]
        largest = 0.9876543 * unit
        for found, expected in ((own, 0.123456), (index, -0.9876543), (queries[0], 0.5432109)):
            assert found / data["scale"] == pytest.approx(expected * unit, abs=largest * 1e-3)
        assert data["products"][1] == [None]


def test_questions_of_a_language_stand_together():
    ids = ["q0", "q1", "q2"]
    data = explorer_data(explorer(number=3, languages=dict(zip(ids, ["te", "es", "te"], strict=True))))
    assert [code for code, _ in data["languages"]] == ["te", "es"]
    assert data["ids"] == ["q0", "q2", "q1"] and data["language"] == [0, 0, 1]

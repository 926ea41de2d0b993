"""python -m pyserini_xqg.report: what is on the page, the same bytes every time, and every fault it refuses."""

import json
from pathlib import Path

import pytest
from helpers import assert_one_error, run_module, write_jsonl
from report_pages import ATTACK, DOCIDS, FILES, PASSAGES, QUESTIONS, Tables, explorer_of, make, question_of, run_lines

from report_pages import write_collection  # isort: skip

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate import __main__ as evaluate
from pyserini_xqg.report import __main__ as report


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_collection(tmp_path)


# --- what is on the page ---


def test_questions_with_gold_ranks_and_tops():
    page = make("--top", "3")
    data = explorer_of(page)
    assert data["runs"] == ["a", "b"]
    assert set(data["ids"]) == {query_id for query_id, *_ in QUESTIONS}
    assert data["retrieved"][data["ids"].index("q-te")] == [4, 5]
    for query_id, code, text, _, gold, first, second in QUESTIONS:
        found = question_of(page, query_id)
        assert (found["text"], found["language"]) == (text, code)
        assert found["gold"] == [(gold, first, second)]
        lines = [[line.split()[2] for line in run_lines(which) if line.startswith(query_id + " ")] for which in (0, 1)]
        assert found["top"] == [docids[:3] for docids in lines]
        assert found["values"]["RR@10"] == [round(1 / rank, 5) if rank else 0 for rank in (first, second)]
    assert question_of(page, "q-ar2")["values"]["R@2kt"] == [None, None]  # its one answer is "no"


def test_passages_and_their_generated_queries_are_whole():
    data = explorer_of(make())
    by_docid = {passage["docid"]: passage for passage in PASSAGES}
    for place, docid in enumerate(data["docids"]):
        assert data["titles"][place] == by_docid[docid]["title"]
        assert data["passageTexts"][place] == by_docid[docid]["text"]
    for place, docid in enumerate(data["docids"][: data["goldPassages"]]):
        found = {
            code: data["queries"][at][place]
            for at, (code, _) in enumerate(data["queryLanguages"])
            if data["queries"][at][place]
        }
        assert found == by_docid[docid].get("generated_queries", {})


def test_gold_by_answers_where_there_are_no_qrels():
    page = make(collection=FILES[2:])
    # Both runs rank "bridge", which holds 1868; "no" is not looked for; "nowhere else" stands in another passage.
    assert question_of(page, "q-bn")["gold"] == [("bridge", 1, 2)]
    assert question_of(page, "q-ar2")["gold"] == []
    assert question_of(page, "q-te")["gold"] == [("lake", 1, 1)]
    assert "the first one whose text holds an answer" in page


def test_qrels_without_passages_show_docids():
    (Path("topics.tsv")).write_text("".join(f"{q}\tsome text {n}\n" for n, (q, *_) in enumerate(QUESTIONS)))
    page = make("--topics", "topics.tsv", collection=FILES[:2])
    data = explorer_of(page)
    assert set(data["passageTexts"]) == {None} and set(data["docids"]) == set(DOCIDS)
    assert data["languages"] == [["all", ""]]
    assert question_of(page, "q-bn")["gold"] == [("bridge", 1, 2)]


def test_tables_agree_with_evaluate(capsys):
    page = make()
    evaluate.main([*FILES, "--run", "a.txt", "b.txt", "--format", "json"])
    scores = json.loads(capsys.readouterr().out)
    tables = Tables(page).tables
    assert len(tables) == len(scores["a.txt"]) == 5
    for table, (name, first) in zip(tables, scores["a.txt"].items(), strict=True):
        assert table[0][:4] == ["language", "questions", "a", "b"]
        rows = {row[0]: row for row in table[1:]}
        assert list(rows) == [*first, "all questions"], name
        for language, value in first.items():
            second = scores["b.txt"][name][language]
            expected = [f"{value * 100:.2f}", f"{second * 100:.2f}", f"{(second - value) * 100:+.2f}"]
            assert [cell.removesuffix("†") for cell in rows[language][2:5]] == expected
        assert sum(int(rows[language][1]) for language in first if language != "avg") == int(rows["all questions"][1])


def test_p_values_are_those_of_evaluate(tmp_path):
    options = ["--correction", "holm", "--measures", "RR@10"]
    rows = {row[0]: row for row in Tables(make(*options)).tables[0]}
    evaluate.main([*FILES, "--run", "a.txt", "b.txt", "--baseline", "a.txt", "--comparisons", "found.json", *options])
    tested = json.loads(Path("found.json").read_text())
    assert {one["language"] for one in tested} == {"ar", "te", "all"}
    for one in tested:
        row = rows["all questions" if one["language"] == "all" else one["language"]]
        assert row[6] == f"{one['p_corrected']:.3f}"
        assert [int(cell) for cell in row[8:]] == [one["won"], one["tied"], one["lost"]]


def test_measures_sort_as_given_and_names():
    page = make("--measures", "RR@10", "R@1kt", "--names", "old & <b>", "new", "--correction", "holm")
    assert explorer_of(page)["measures"] == ["RR@10", "R@1kt"]
    assert "old &amp; &lt;b&gt;" in page and "<b> first" not in page
    assert "corrected for the tests of a measure (Holm)" in page


def test_dataset(monkeypatch, tmp_path):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    from pyserini_xqg.datasets import load

    dataset = load("xqg-sample/all")
    gold = {qrel.query_id: qrel.doc_id for qrel in dataset.qrels_iter()}
    docids = [doc.doc_id for doc in dataset.docs_iter()]
    for name, place in (("a.txt", 2), ("b.txt", 0)):
        with open(name, "w") as out:
            for query_id, docid in gold.items():
                others = [other for other in docids if other != docid][:4]
                others[place:place] = [docid]
                out.writelines(f"{query_id} Q0 {other} {at + 1} {9 - at} x\n" for at, other in enumerate(others))
    page = make("--measures", "RR@10", collection=["--dataset", "xqg-sample/all"])
    query = next(dataset.queries_iter())
    assert question_of(page, query.query_id)["text"] == query.text
    assert question_of(page, query.query_id)["gold"] == [(gold[query.query_id], 3, 1)]
    data = explorer_of(page)
    texts = {doc.doc_id: doc for doc in dataset.docs_iter()}
    assert data["queries"][0][0] == list(texts[data["docids"][0]].generated_queries[data["queryLanguages"][0][0]])


def test_queries_in_files_of_their_own():
    write_jsonl("bare.jsonl", [{k: v for k, v in one.items() if k != "generated_queries"} for one in PASSAGES])
    write_jsonl("more.jsonl", [{"docid": "bread", "generated_queries": {"ko": ["빵은 어디?"]}}])
    collection = [*FILES[:-1], "bare.jsonl"]
    data = explorer_of(make("--queries", "more.jsonl", collection=collection))
    assert data["queryLanguages"] == [["ko", "Korean"]]
    assert data["queries"][0][data["docids"].index("bread")] == ["빵은 어디?"]


# --- one file that cannot be broken out of ---


def test_texts_stay_texts():
    page = make("--names", ATTACK, "b")
    scripts = [attributes for name, attributes in Tables(page).elements if name == "script"]
    assert scripts == [{"type": "application/octet-stream", "id": "data"}, {}]
    assert not any(name in ("img", "link", "iframe") for name, _ in Tables(page).elements)
    assert "window.failed" in explorer_of(page)["texts"][explorer_of(page)["ids"].index("q-te")]
    (policy,) = (found["content"] for name, found in Tables(page).elements if found.get("http-equiv"))
    assert "script-src 'sha256-" in policy and "default-src 'none'" in policy and "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in Tables(page).elements)  # which the policy would drop


def test_same_inputs_give_the_same_bytes():
    assert make(output="one.html") == make(output="two.html")


def test_page_is_made_whole_or_not_at_all(monkeypatch):
    with pytest.raises(XqgError):
        make("--measures", "RR@10", runs=("a.txt", "missing.txt"))
    assert not Path("page.html").exists()
    assert not list(Path().glob(".*partial"))


# --- faults ---

UNKNOWN_TOPIC = "other Q0 lake 1 1.0 x\n"
UNKNOWN_DOCID = "q-ar Q0 elsewhere 1 1.0 x\n"


@pytest.mark.parametrize(
    ("arguments", "phrases"),
    [
        (["a.txt"], ["one run (a.txt)", "report RUN_A RUN_B"]),
        ([], ["0 runs"]),
        (["a.txt", "b.txt", "c.txt"], ["3 runs"]),
        (["a.txt", "./a.txt"], ["given twice"]),
        (["a.txt", "copy.txt"], ["the same run"]),
        (["a.txt", "topic.txt"], ["'other', are not in qrels.txt"]),
        (["a.txt", "docid.txt"], ["docid 'elsewhere'", "is not among the passages"]),
        (["a.txt", "empty.txt"], ["empty.txt: an empty file"]),
        (["a.txt", "b.txt", "--output", "there.html"], ["there.html exists", "--overwrite"]),
        (["a.txt", "b.txt", "--output", "."], ["holds a.txt, which is read"]),
        (["a.txt", "b.txt", "--output", "a.txt", "--overwrite"], ["is what is read"]),
        (["a.txt", "b.txt", "--output", "b.txt"], ["is what is read"]),
        (["a.txt", "b.txt", "--measures", "R@10", "R@10"], ["more than once"]),
        (["a.txt", "b.txt", "--measures", "nothing"], ["not a measure"]),
        (["a.txt", "b.txt", "--pooling", "mean"], ["--pooling goes with --encoder"]),
        (["a.txt", "b.txt", "--names", "x", "x"], ["--names x: given twice"]),
        (["a.txt", "b.txt", "--names", "x"], ["--names x: pass two"]),
        (["a.txt", "b.txt", "--store", "nowhere"], ["nowhere: no embedding store"]),
        (["a.txt", "b.txt", "--index", "nowhere"], ["nowhere"]),
        (["a.txt", "b.txt", "--topics", "two.tsv"], ["two.tsv, line 2", "'q-ar' is already at two.tsv, line 1"]),
        (["a.txt", "b.txt", "--topics", "bad.tsv"], ["bad.tsv, line 1", "a topic, a tab"]),
        (["a.txt", "b.txt", "--topics", "few.tsv"], ["topic 'q-ar2': no text of the question (5 such topics)"]),
    ],
)
def test_faults(arguments, phrases):
    Path("copy.txt").write_text("".join(f"{line}\n" for line in reversed(run_lines(0))))
    Path("topic.txt").write_text(UNKNOWN_TOPIC)
    Path("docid.txt").write_text(UNKNOWN_DOCID)
    Path("empty.txt").touch()
    Path("there.html").touch()
    Path("two.tsv").write_text("q-ar\tone\nq-ar\tanother\n")
    Path("bad.tsv").write_text("q-ar one\n")
    Path("few.tsv").write_text("q-ar\tone\n")
    before = sorted(path.name for path in Path().iterdir())
    with pytest.raises(XqgError) as caught:
        report.main([*arguments, *FILES])
    assert "\n" not in str(caught.value)
    for phrase in phrases:
        assert phrase in str(caught.value)
    after = sorted(path.name for path in Path().iterdir() if not path.name.endswith(".lock"))
    assert after == before


def test_gold_passage_that_is_not_there():
    Path("qrels.txt").write_text(Path("qrels.txt").read_text() + "q-ja 0 lost 1\n")
    with pytest.raises(XqgError, match=r"docid 'lost', relevant to topic 'q-ja', is not among the passages"):
        make()


def test_no_text_of_a_question():
    write_jsonl(
        "questions.jsonl", [{"id": q, "answers": answers, "lang": code} for q, code, _, answers, *_ in QUESTIONS]
    )
    with pytest.raises(XqgError, match=r"no text of the question \(6 such topics\)\. Pass .* --topics"):
        make()


def test_ranks_that_contradict_the_scores():
    Path("odd.txt").write_text(
        "".join(f"{line.rsplit(' ', 3)[0]} {line.split()[4]} {line.split()[4]} x\n" for line in run_lines(1))
    )
    with pytest.raises(XqgError, match=r"odd\.txt.*--ignore-ranks"):
        make(runs=("a.txt", "odd.txt"))
    page = make("--ignore-ranks", runs=("a.txt", "odd.txt"))
    assert question_of(page, "q-ar")["gold"] == [("lake", 3, 1)]


def test_nothing_to_score_against():
    with pytest.raises(XqgError, match="nothing to score against"):
        make(collection=[])


def test_a_second_writer_is_refused():
    from pyserini_xqg.core.output import exclusive

    with exclusive(".page.html.lock", "page.html"), pytest.raises(XqgError, match="another process is writing it"):
        make()


def test_command_line(directory):
    assert_one_error(run_module("pyserini_xqg.report", "a.txt", *FILES), "one run (a.txt)")

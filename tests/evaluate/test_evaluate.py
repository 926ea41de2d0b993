"""python -m pyserini_xqg.evaluate: numbers by hand and against pytrec_eval, formats, and every fault it refuses."""

from __future__ import annotations

import csv
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import assert_one_error, run_command, write_jsonl

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate import __main__ as evaluate
from pyserini_xqg.evaluate import answer_tokens, measures, scoring

PASSAGES = {
    "d1": ("Nokia", "Nokia is near Tampere."),
    "d2": ("Oslo", "The capital of Norway."),
    "d3": ("Long", "word " * 2000),
    "d4": ("Kyoto", "It was the capital until 1868."),
}
# id, language, answers, relevant docids
QUESTIONS = [
    ("te1", "te", ["Norway", "Sweden"], ["d2"]),
    ("fi1", "fi", ["Tampere"], ["d1"]),
    ("fi2", "fi", ["1868", "yes"], ["d4", "d1"]),
    ("fi3", "fi", ["no"], ["d3"]),  # yes/no: does not count for R@kt
    ("de1", "de", ["Oslo"], ["d2"]),  # in a title alone: a miss
]
# a: fi1 hit at rank 2; fi2 hit after the long passage (R@5kt only); fi3 ranks d3 first; te1 hit; de1 found, no answer
RUN_A = """\
te1 Q0 d2 1 9.0 a
fi1 Q0 d2 1 9.0 a
fi1 Q0 d1 2 8.0 a
fi2 Q0 d3 1 9.0 a
fi2 Q0 d4 2 8.0 a
fi3 Q0 d3 1 9.0 a
de1 Q0 d2 1 9.0 a
"""
# b: only two topics; its lines are not in the order of ranks and scores
RUN_B = """\
fi1 Q0 d3 2 1.0 b
fi1 Q0 d1 1 2.0 b
de1 Q0 d4 1 1.0 b
"""
R2 = {"fi": 1 / 2, "te": 1.0, "de": 0.0, "avg": 1.5 / 3}
R5 = {"fi": 2 / 2, "te": 1.0, "de": 0.0, "avg": 2 / 3}
R10 = {"fi": (1 + 1 / 2 + 1) / 3, "te": 1.0, "de": 1.0, "avg": (2.5 / 3 + 2) / 3}
RR10 = {"fi": (1 / 2 + 1 / 2 + 1) / 3, "te": 1.0, "de": 1.0, "avg": (2 / 3 + 2) / 3}


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    passages = [{"docid": docid, "title": title, "text": text} for docid, (title, text) in PASSAGES.items()]
    write_jsonl("passages.jsonl", passages)
    write_jsonl("answers.jsonl", [{"id": q, "answers": answers, "lang": code} for q, code, answers, _ in QUESTIONS])
    qrels = [f"{query_id} 0 {docid} 1\n" for query_id, _, _, relevant in QUESTIONS for docid in relevant]
    Path("qrels.txt").write_text("".join(qrels))
    Path("a.txt").write_text(RUN_A)
    Path("b.txt").write_text(RUN_B)


FILES = ["--qrels", "qrels.txt", "--answers", "answers.jsonl", "--passages", "passages.jsonl"]


def scores(capsys, *arguments):
    evaluate.main([*arguments, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def approximately(expected):
    return {key: pytest.approx(value, abs=1e-12) for key, value in expected.items()}


# --- numbers ---


def test_json_by_hand(files, capsys):
    got = scores(capsys, *FILES, "--run", "a.txt", "b.txt")
    assert list(got) == ["a.txt", "b.txt"]
    assert list(got["a.txt"]) == ["R@2kt", "R@5kt", "R@10", "R@100", "RR@10"]
    assert list(got["a.txt"]["R@2kt"]) == ["fi", "te", "de", "avg"]
    for name, expected in {"R@2kt": R2, "R@5kt": R5, "R@10": R10, "R@100": R10, "RR@10": RR10}.items():
        assert got["a.txt"][name] == approximately(expected)
    assert got["b.txt"]["R@2kt"] == approximately({"fi": 1 / 2, "te": 0.0, "de": 0.0, "avg": 1 / 6})
    assert got["b.txt"]["RR@10"] == approximately({"fi": 1 / 3, "te": 0.0, "de": 0.0, "avg": 1 / 9})


def test_agrees_with_pytrec_eval(files, capsys):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    chance = random.Random(5)
    topics = {f"q{number}": chance.choice(["ar", "te", "fi", "es"]) for number in range(80)}
    docids = [f"d{number}" for number in range(200)]
    qrels = {query_id: {docid: chance.randint(0, 1) for docid in chance.sample(docids, 20)} for query_id in topics}
    run = {q: {d: float(chance.randint(0, 30)) for d in chance.sample(docids, 60)} for q in list(topics)[:75]}
    Path("qrels").write_text("".join(f"{q} 0 {d} {r}\n" for q, docs in qrels.items() for d, r in docs.items()))
    with open("run", "w") as out:
        for query_id, docs in run.items():
            ranked = enumerate(sorted(docs.items(), key=lambda pair: -pair[1]), start=1)
            out.writelines(f"{query_id} Q0 {docid} {rank} {score} t\n" for rank, (docid, score) in ranked)
    Path("languages").write_text("".join(f"{q}\t{language}\n" for q, language in topics.items()))
    names = {"R@10": "recall_10", "R@30": "recall_30", "nDCG@10": "ndcg_cut_10", "AP": "map", "P@5": "P_5"}
    got = scores(capsys, "--qrels", "qrels", "--topic-languages", "languages", "--run", "run", "--measures", *names)[
        "run"
    ]
    direct = pytrec_eval.RelevanceEvaluator(qrels, {"recall.10,30", "ndcg_cut.10", "map", "P.5"}).evaluate(run)
    for name, trec_name in names.items():
        means = {}
        for language in ("ar", "fi", "te", "es"):
            values = [direct.get(q, {}).get(trec_name, 0.0) for q, of in topics.items() if of == language]
            means[language] = sum(values) / len(values)
        assert list(got[name]) == ["ar", "fi", "te", "es", "avg"]
        assert got[name] == approximately(means | {"avg": sum(means.values()) / 4})
        assert 0 < got[name]["avg"] < 1


def test_qrels_alone_have_one_column(files, capsys):
    got = scores(capsys, "--qrels", "qrels.txt", "--run", "a.txt")["a.txt"]
    assert list(got) == ["R@10", "R@100", "RR@10"]
    assert got["R@10"] == approximately({"all": 4.5 / 5, "avg": 4.5 / 5})
    evaluate.main(["--qrels", "qrels.txt", "--run", "a.txt", "--measures", "R@10"])
    assert capsys.readouterr().out == "Values x 100.\n\nR@10\nrun      all\na.txt  90.00\n"


def test_answers_and_passages_alone(files, capsys):
    got = scores(capsys, *FILES[2:], "--run", "a.txt")["a.txt"]
    assert got == {"R@2kt": approximately(R2), "R@5kt": approximately(R5)}
    got = scores(capsys, *FILES[2:], "--run", "a.txt", "--measures", "R@1kt", "--measures", "R@3kt")["a.txt"]
    assert list(got) == ["R@1kt", "R@3kt"] and got["R@3kt"] == approximately(R5)
    # Topics beyond the qrels do not dilute them.
    Path("few.txt").write_text("fi1 0 d1 1\n")
    got = scores(capsys, "--qrels", "few.txt", *FILES[2:], "--run", "a.txt")["a.txt"]
    assert got["R@10"] == {"fi": 1.0, "avg": 1.0} and got["R@2kt"] == approximately(R2)


def test_topic_languages_go_before_others_and_may_name_more_topics(files, capsys):
    Path("languages.tsv").write_text("te1\tru\nfi1\tar\nother\tes\n")
    Path("c.txt").write_text(RUN_A + "other Q0 d1 1 1.0 c\n")
    got = scores(capsys, *FILES, "--topic-languages", "languages.tsv", "--run", "c.txt", "--measures", "R@2kt")
    assert got["c.txt"]["R@2kt"] == {"ar": 1.0, "fi": 0.0, "ru": 1.0, "de": 0.0, "avg": 0.5}


def test_topics_of_a_run_beyond_the_collection_are_left_out(files, capsys):
    """As trec_eval does: a run of all topics of a track, of which a part is judged."""
    Path("more.txt").write_text(RUN_A + "".join(f"x{number} Q0 d1 1 9.0 a\n" for number in range(300)))
    evaluate.main([*FILES, "--run", "a.txt", "more.txt", "--format", "json"])
    printed = capsys.readouterr()
    got = json.loads(printed.out)
    assert got["more.txt"] == got["a.txt"]
    left_out = "more.txt: 300 of 305 topics are not in qrels.txt, answers.jsonl and are left out (such as x0)"
    assert left_out in printed.err


def test_missing_topics_are_reported(files, capsys):
    evaluate.main([*FILES, "--run", "a.txt", "b.txt"])
    said = capsys.readouterr().err
    assert "b.txt: 3 of 5 topics are missing and count 0 (such as fi2)" in said and "a.txt:" not in said
    # fi3 is a yes/no question: for R@kt alone nothing is missing but te1 and fi2
    evaluate.main([*FILES, "--run", "b.txt", "--measures", "R@2kt"])
    assert "b.txt: 2 of 4 topics are missing" in capsys.readouterr().err


def test_passages_in_other_forms(files, capsys):
    Path("folder").mkdir()
    for number, (docid, (title, text)) in enumerate(PASSAGES.items()):
        write_jsonl(f"folder/{number}.jsonl", [{"id": docid, "contents": f"{title}\n{text}"}])
    got = scores(capsys, *FILES[2:4], "--passages", "folder", "--run", "a.txt")["a.txt"]
    assert got == {"R@2kt": approximately(R2), "R@5kt": approximately(R5)}


# --- datasets ---


@pytest.fixture
def dataset(datasets):
    queries = [datasets.query("query_id text lang answers", q, "?", lang, tuple(of)) for q, lang, of, _ in QUESTIONS]
    datasets["fake/answers"] = datasets.make(queries, PASSAGES)
    qrels = [(query_id, docid) for query_id, _, _, docids in QUESTIONS for docid in docids]
    datasets["fake/dev"] = datasets.make(queries, PASSAGES, qrels)
    return datasets["fake/dev"]


def test_dataset(files, dataset, capsys):
    assert scores(capsys, "--dataset", "fake/dev", "--run", "a.txt") == scores(capsys, *FILES, "--run", "a.txt")
    assert list(scores(capsys, "--dataset", "fake/answers", "--run", "a.txt")["a.txt"]) == ["R@2kt", "R@5kt"]
    dataset.opened = 0
    scores(capsys, "--dataset", "fake/dev", "--run", "a.txt", "--measures", "R@10")
    assert dataset.opened == 0


def test_dataset_faults(files, dataset):
    Path("bad.txt").write_text("fi1 Q0 d9 1 1.0 t\n")
    with pytest.raises(XqgError, match=r"bad\.txt: docid 'd9' is not among the passages"):
        evaluate.main(["--dataset", "fake/dev", "--run", "bad.txt"])
    with pytest.raises(XqgError, match=r"--measures R@10: needs qrels, and fake/answers has none"):
        evaluate.main(["--dataset", "fake/answers", "--run", "a.txt", "--measures", "R@10"])


def test_bundled_sample(tmp_path, capsys):
    from pyserini_xqg import datasets

    sample = datasets.load("xqg-sample/fi")
    run = tmp_path / "run.txt"
    run.write_text("".join(f"{qrel.query_id} Q0 {qrel.doc_id} 1 1.0 gold\n" for qrel in sample.qrels_iter()))
    got = scores(capsys, "--dataset", "xqg-sample/fi", "--run", str(run), "--measures", "R@2kt", "R@1")["run.txt"]
    assert got["R@1"] == {"fi": 1.0, "avg": 1.0}
    # Not all: by the official rules an answer with a comma followed by a space is never found.
    assert 0.9 < got["R@2kt"]["fi"] <= 1.0


# --- formats ---


@pytest.fixture
def set_exact(monkeypatch):
    def set_exact(exact):
        answer_tokens.joined_tokens.cache_clear()
        for module in (answer_tokens, measures, scoring):
            monkeypatch.setattr(module, "exact_tokens", lambda: exact)

    yield set_exact
    answer_tokens.joined_tokens.cache_clear()


@pytest.fixture
def exact(set_exact, monkeypatch):
    set_exact(True)
    monkeypatch.setattr(answer_tokens, "tokenize", str.split)


def test_table(files, exact, capsys):
    evaluate.main([*FILES, "--run", "a.txt", "b.txt", "--measures", "R@2kt", "R@10"])
    printed = capsys.readouterr()
    assert printed.out == (
        "Values x 100; avg is the unweighted mean over languages. > best of its column.\n"
        "\n"
        "R@2kt\n"
        "run       fi       te    de     avg\n"
        "a.txt  50.00  >100.00  0.00  >50.00\n"
        "b.txt  50.00     0.00  0.00   16.67\n"
        "\n"
        "R@10\n"
        "run        fi       te       de     avg\n"
        "a.txt  >83.33  >100.00  >100.00  >94.44\n"
        "b.txt   33.33     0.00     0.00   11.11\n"
    )
    assert "punkt" not in printed.err


def test_fallback_is_marked(files, set_exact, capsys):
    set_exact(False)
    evaluate.main([*FILES, "--run", "a.txt", "--measures", "R@2kt", "R@10"])
    printed = capsys.readouterr()
    assert printed.err.count("python -m nltk.downloader punkt_tab") == 1
    assert "\n* computed without NLTK's punkt_tab data" in printed.out
    assert "\nR@2kt*\n" in printed.out and "\nR@10\n" in printed.out
    assert list(scores(capsys, *FILES, "--run", "a.txt", "--measures", "R@2kt")["a.txt"]) == ["R@2kt"]
    evaluate.main([*FILES, "--run", "a.txt", "--measures", "R@10"])
    assert "punkt" not in "".join(capsys.readouterr())


FORMATS = {
    "markdown": "Values x 100; avg is the unweighted mean over languages.\n\n**R@2kt**\n\n"
    "| run | fi | te | de | avg |\n"
    "|---|---:|---:|---:|---:|\n| a.txt | 50.00 | 100.00 | 0.00 | 50.00 |\n",
    "csv": "run,measure,language,value\n"
    "a.txt,R@2kt,fi,0.5\na.txt,R@2kt,te,1.0\na.txt,R@2kt,de,0.0\na.txt,R@2kt,avg,0.5\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(files, exact, capsys, name):
    evaluate.main([*FILES, "--run", "a.txt", "--measures", "R@2kt", "--format", name])
    assert capsys.readouterr().out == FORMATS[name]


def test_a_language_without_a_counting_topic_has_a_dash(files, exact, capsys):
    answers = {"fi1": ["Tampere"], "ar1": ["yes"]}
    write_jsonl("answers.jsonl", [{"id": q, "answers": of, "lang": q[:2]} for q, of in answers.items()])
    Path("qrels.txt").write_text("ar1 0 d1 1\n")
    Path("c.txt").write_text("fi1 Q0 d1 1 1.0 c\nar1 Q0 d1 1 1.0 c\n")
    evaluate.main([*FILES, "--run", "c.txt", "--measures", "R@2kt", "R@10"])
    out = capsys.readouterr().out
    assert "run    ar      fi     avg\nc.txt   -  100.00  100.00\n" in out
    assert "run        ar  fi     avg\nc.txt  100.00   -  100.00\n" in out


def test_output_is_a_file_and_whole(files, capsys):
    evaluate.main([*FILES, "--run", "a.txt", "--format", "json", "--output", "new/scores.json"])
    assert capsys.readouterr().out == ""
    assert json.loads(Path("new/scores.json").read_text()) == scores(capsys, *FILES, "--run", "a.txt")
    with pytest.raises(XqgError, match=r"new/scores\.json exists"):
        evaluate.main([*FILES, "--run", "a.txt", "--output", "new/scores.json"])
    evaluate.main([*FILES, "--run", "a.txt", "--output", "new/scores.json", "--overwrite"])
    assert Path("new/scores.json").read_text().startswith("Values x 100")
    assert [path.name for path in Path("new").iterdir()] == ["scores.json"]


# --- names of runs ---


def test_rows_are_named_by_file_or_as_asked(files, capsys):
    Path("more").mkdir()
    Path("more/a.txt").write_text(RUN_B)
    assert list(scores(capsys, *FILES, "--run", "a.txt", "xQG=b.txt", "--run", "more/a.txt")) == [
        *("a.txt", "xQG", "more/a.txt")
    ]


# --- against a baseline ---


@pytest.fixture
def many(files):
    """Forty topics in two languages, three runs: none, alike (the same), better (finds more)."""
    chance = random.Random(6)
    with open("qrels.txt", "w") as qrels, open("languages.tsv", "w") as languages:
        for number in range(40):
            qrels.write(f"q{number} 0 d{number} 1\n")
            languages.write(f"q{number}\t{'fi' if number < 15 else 'te'}\n")
    for name, found in (("none", 0.3), ("better", 0.8)):
        with open(f"{name}.txt", "w") as out:
            for number in range(40):
                docid = f"d{number}" if chance.random() < found else "other"
                out.write(f"q{number} Q0 {docid} 1 1.0 {name}\n")
    Path("alike.txt").write_text(Path("none.txt").read_text())
    return ["--qrels", "qrels.txt", "--topic-languages", "languages.tsv", "--measures", "R@10"]


ALL_RUNS = ["--run", "none=none.txt", "alike=alike.txt", "better=better.txt", "--baseline", "none"]


def test_significance(many, capsys):
    from scipy import stats

    evaluate.main([*many, *ALL_RUNS, "--correction", "holm", "--by-query", "v.csv", "--comparisons", "c.json"])
    printed = capsys.readouterr()
    assert printed.err == ""
    found = {(one["run"], one["language"]): one for one in json.loads(Path("c.json").read_text())}
    assert list(found) == [(run, language) for run in ("alike", "better") for language in ("fi", "te", "all")]
    with open("v.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * 40
    p_values = []
    for (run, language), one in found.items():
        of = {
            name: [float(row["value"]) for row in rows if row["run"] == name and language in (row["language"], "all")]
            for name in (run, "none")
        }
        p_values.append(1.0 if run == "alike" else stats.ttest_rel(of[run], of["none"]).pvalue)
        assert one["p_value"] == pytest.approx(p_values[-1])
        assert one["questions"] == len(of[run]) == {"fi": 15, "te": 25, "all": 40}[language]
        assert one["won"] == sum(a > b for a, b in zip(of[run], of["none"], strict=True))
    smallest = min(found.values(), key=lambda one: one["p_value"])
    assert smallest["p_corrected"] == pytest.approx(6 * min(p_values)) and smallest["significant"]
    assert found["alike", "all"]["p_corrected"] == 1.0 and not found["alike", "all"]["significant"]
    scored = printed.out.split("\n\n")[1].splitlines()
    assert scored[1].split() == ["run", "fi", "te", "avg", "all"]
    better = scored[4].split()
    mean = sum(float(row["value"]) for row in rows if row["run"] == "better") / 40
    assert better[0] == "better" and better[-1] == f">{mean * 100:.2f}†" and "†" not in better[-2]
    assert "†" not in scored[3]
    assert "R@10: difference from none" in printed.out and "Holm-corrected over the 6 tests" in printed.out


def test_csv_and_json_keep_their_shape(many, capsys):
    for name in ("csv", "json"):
        evaluate.main([*many, *ALL_RUNS, "--format", name])
        with_baseline = capsys.readouterr().out
        evaluate.main([*many, *ALL_RUNS[:-2], "--format", name])
        assert capsys.readouterr().out == with_baseline


def test_randomisation_and_latex(many, capsys):
    options = ["--test", "randomisation", "--permutations", "500", "--seed", "3", "--significance-level", "0.2"]
    evaluate.main([*many, *ALL_RUNS, *options, "--format", "latex"])
    out = capsys.readouterr().out
    assert "% † p < 0.2 against none: two-sided randomisation test (500 permutations, seed 3), not corrected" in out
    assert r"\begin{tabular}{lrrrr}" in out and r"\textbf{" in out and r"$^{\dagger}$" in out
    assert out.count(r"\toprule") == out.count(r"\bottomrule") == 2  # scores, and differences
    assert "80% interval" in out.replace("\\", "")
    evaluate.main([*many, *ALL_RUNS, *options, "--format", "latex"])
    assert capsys.readouterr().out == out


def test_the_baseline_may_be_one_more_run(many, capsys):
    evaluate.main([*many, "--run", "better.txt", "--baseline", "none.txt", "--comparisons", "c.csv"])
    with open("c.csv", newline="") as lines:
        assert {(row["run"], row["baseline"]) for row in csv.DictReader(lines)} == {("better.txt", "none.txt")}


# --- faults ---


def test_ranks_may_be_ignored(files, capsys):
    Path("c.txt").write_text("fi1 Q0 d2 1 1.0 c\nfi1 Q0 d1 1 2.0 c\n")
    with pytest.raises(XqgError, match=r"^c\.txt, line 2: topic 'fi1' has rank 1 already on line 1"):
        evaluate.main([*FILES, "--run", "c.txt"])
    got = scores(capsys, *FILES, "--run", "c.txt", "--ignore-ranks", "--measures", "RR@10")["c.txt"]
    assert got["RR@10"]["fi"] == pytest.approx(1 / 3)


# Options instead of "--run a.txt", and what is said. What the readers refuse is in tests/text/test_runs.py.
BAD_ARGUMENTS = [
    ("{files}", "no run to score. Pass one or more with --run."),
    ("{files} --run a.txt --run a.txt", "name 'a.txt': both a.txt and a.txt have it."),
    ("{files} --run none.txt", "none.txt: no such file."),
    ("--run a.txt", "nothing to score against. Pass --dataset, --qrels, or --answers with --passages."),
    ("--run a.txt --passages passages.jsonl", "nothing to score against."),
    ("--run a.txt --dataset x --qrels qrels.txt", "--dataset and --qrels: both name a collection."),
    ("--run a.txt --answers answers.jsonl", "answers.jsonl: nothing can be measured."),
    ("--run a.txt --qrels qrels.txt --measures R@2kt", "--measures R@2kt: needs answers, and qrels.txt has none."),
    ("--run a.txt --answers answers.jsonl --measures R@2kt", "--measures R@2kt: needs passages, and answers.jsonl has"),
    (
        "--run a.txt --answers answers.jsonl --measures R@10",
        "--measures R@10: needs qrels, and answers.jsonl has none.",
    ),
    *(
        (f"{{files}} --run a.txt --measures {name}", f"--measures {name}: {what}")
        for name, what in [
            *((name, "not a measure of ir_measures") for name in ("Foo@2", "R@2kT", "P", "nDCG(x=1)@5")),
            ("R@0", "cutoff 0 is not a positive number."),
            ("R@True", "cutoff True is not a positive number."),
            ("R@0kt", "a budget of no tokens."),
            ("RBP(p=2.0)", "ir_measures cannot compute it"),
        ]
    ),
    ("{files} --run a.txt --output .", ".: holds a.txt, which is read."),
    ("{files} --run a.txt --output a.txt --overwrite", "a.txt: is what is read (a.txt)."),
    ("{files} --run a.txt --output qrels.txt --overwrite", "qrels.txt: is what is read (qrels.txt)."),
    ("{runs} --overwrite --output link.csv", "link.csv: is what is read (b.txt)."),
    ("{runs} --by-query v.csv --output ./v.csv", "./v.csv, v.csv: two outputs have one name."),
    ("{runs} --by-query exists.csv", "exists.csv exists."),
    ("{runs} --by-query v.json", "v.json: unknown kind of file. Use a name that ends in .csv, .tsv,"),
    ("{runs} --comparisons c.txt", "c.txt: unknown kind of file."),
    ("{runs} --significance-level 0", "--significance-level 0: must be a number between 0 and 1."),
    ("{runs} --significance-level 5", "--significance-level 5: must be a number between 0 and 1."),
    ("{runs} --permutations 0", "--permutations 0: must be a number of at least 1."),
    ("{runs} --baseline no", "--baseline no: neither a file nor the name of a run. The runs are a.txt, b.txt."),
    ("{files} --run a.txt --correction holm", "no run to compare with. Name one with --baseline."),
    ("{files} --run a.txt --comparisons c.json", "no run to compare with. Name one with --baseline."),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_bad_arguments(files, arguments, message):
    Path("exists.csv").write_text("")
    Path("link.csv").symlink_to("b.txt")
    runs = "{files} --run a.txt b.txt --baseline a.txt"
    with pytest.raises(XqgError, match="^" + re.escape(message)) as caught:
        evaluate.main(arguments.format(runs=runs, files="{files}").format(files=" ".join(FILES)).split())
    assert "\n" not in str(caught.value) and not Path("v.csv").exists()


BAD_FILES = [
    ("qrels.txt", "fi1 d1 1\n", "qrels.txt, line 1: 3 columns."),
    ("qrels.txt", "fi9 0 d1 1\n", "--measures R@2kt: topic 'fi9' is in the qrels, but has no answers."),
    ("answers.jsonl", '{"answers": ["a"]}\n', "answers.jsonl, line 1: id None is not a string"),
    ("passages.jsonl", '{"docid": "d1"}\n', "passages.jsonl, line 1 (docid d1): no text."),
    ("passages.jsonl", '{"docid": "d1", "text": "a"}\n' * 2, "passages.jsonl, line 2: docid 'd1' was given before."),
    ("b.txt", "te1 Q0 d2 1 9.0\n", "b.txt, line 1: 5 columns."),
    ("b.txt", "te1 Q0 d9 1 9.0 b\n", "b.txt: docid 'd9' is not among the passages (1 of 1 docids are not)."),
    ("b.txt", "te1 Q0 d3 1 9.0 b\nte1 Q0 d9 2 8.0 b\n", "b.txt: docid 'd9' is not among the passages (1 of 2"),
    (
        *("b.txt", "xx Q0 d1 1 9.0 b\nyy Q0 d1 1 9.0 b\n"),
        "b.txt: 2 of its 2 topics, such as 'xx', are not in qrels.txt, answers.jsonl: a run of another collection.",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_files(files, name, content, message):
    Path(name).write_text(content)
    with pytest.raises(XqgError, match="^" + re.escape(message)):
        evaluate.main([*FILES, "--run", "a.txt", "b.txt"])


def test_no_topic_counts_and_topics_without_a_language(files):
    Path("qrels.txt").write_text("fi1 0 d1 1\nxx1 0 d1 1\n")
    Path("c.txt").write_text("fi1 Q0 d1 1 1.0 c\n")
    with pytest.raises(XqgError, match="topic 'xx1' has no language"):
        evaluate.main([*FILES, "--run", "c.txt", "--measures", "R@10"])
    Path("answers.jsonl").write_text('{"id": "fi1", "answers": ["yes"], "lang": "fi"}\n')
    with pytest.raises(XqgError, match="no topic counts"):
        evaluate.main([*FILES[2:], "--run", "c.txt"])


def test_faults_are_one_line_and_status_1_and_leave_no_output(files):
    Path("bad.txt").write_text("te1 Q0 d2 1 9.0\n")
    before = sorted(Path().iterdir())
    result = run_command("evaluate", *FILES, "--run", "bad.txt", "--output", "scores.txt")
    assert_one_error(result, "bad.txt, line 1: 5 columns.")
    assert sorted(Path().iterdir()) == before


def test_command_and_what_it_does_not_import(files):
    code = (
        f"import sys, runpy; sys.argv[1:] = {[*FILES, '--run', 'a.txt', '--format', 'json']!r};"
        "runpy.run_module('pyserini_xqg.evaluate', run_name='__main__');"
        "sys.exit(str([m for m in ('torch', 'pyserini', 'jnius', 'faiss') if m in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert json.loads(result.stdout)["a.txt"]["R@2kt"] == approximately(R2)
    assert result.stderr.splitlines()[-1] == "[]"

"""The sweep command on a real store of a tiny encoder: runs, tables, resuming, cross-validation, bad input."""

import csv
import json
import os
import random
from collections import Counter

import faiss
import ir_measures
import numpy as np
import pytest
from helpers import LANGUAGES, assert_one_error, corpus_records, directory_bytes, run_module, sentence, write_jsonl

from pyserini_xqg import encode, index
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import exclusive
from pyserini_xqg.sweep import __main__ as sweep
from pyserini_xqg.text.runs import read_qrels, read_run
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.store import EmbeddingStore

RECORDS = corpus_records(30, most=4)
ENCODER = ("--pooling", "mean", "--l2-norm", "--device", "cpu", "--dtype", "float32", "--chunk-size", "7")


@pytest.fixture(scope="module")
def data(tiny_encoder, tmp_path_factory):
    """Stores (each query's vector, sums alone, one fused sum, another corpus), topics in three languages, qrels."""
    directory = tmp_path_factory.mktemp("sweep")
    corpus = write_jsonl(directory / "corpus.jsonl", RECORDS)
    given = ["--corpus", str(corpus), "--encoder", tiny_encoder, *ENCODER]
    encode.main([*given, "--output", str(directory / "kept"), "--keep-query-vectors"])
    encode.main([*given, "--output", str(directory / "sums")])
    encode.main([*given, "--output", str(directory / "fused"), "--fuse", "sum"])
    encode.main([*given, "--output", str(directory / "half"), "--store-dtype", "float16"])
    bare = write_jsonl(directory / "bare.jsonl", [{"docid": "p0", "text": "stone"}])
    encode.main([*given[2:], "--corpus", str(bare), "--output", str(directory / "bare")])
    chance = random.Random(1)
    topics, qrels, languages = [], [], []
    for row in range(24):
        code, docid = LANGUAGES[row % 3], f"p{row % 15}"
        topics.append(f"t{row}\t{sentence(code, 3, chance)}\n")
        qrels.append(f"t{row} 0 {docid} 1\n")
        languages.append(f"t{row}\t{code}\n")
    for name, lines in (("topics.tsv", topics), ("qrels.txt", qrels), ("languages.tsv", languages)):
        (directory / name).write_text("".join(lines), encoding="utf-8")
    return directory


def command(data, output, *options, store="kept"):
    return [
        *("--store", str(data / store), "--topics", str(data / "topics.tsv"), "--qrels", str(data / "qrels.txt")),
        *("--topic-languages", str(data / "languages.tsv"), "--measures", "R@3", "RR@10", "--output", str(output)),
        *("--device", "cpu"),
        *map(str, options),
    ]


def run(data, output, *options, store="kept"):
    sweep.main(command(data, output, *options, store=store))
    return output


def names(output):
    return sorted(path.stem for path in (output / "runs").iterdir())


@pytest.fixture(scope="module")
def topic_vectors(data):
    texts = [line.split("\t")[1] for line in (data / "topics.tsv").read_text(encoding="utf-8").splitlines()]
    return Embedder(EmbeddingStore(data / "kept").encoder, "cpu").embed_queries(texts)


POINTS = {
    "none": ["--alpha", "0"],
    "sum-alpha0.5": ["--alpha", "0.5", "--aggregate", "sum"],
    "mean-alpha0.5": ["--alpha", "0.5", "--aggregate", "mean", "--no-normalize"],
    "mean-alpha0.5-unit": ["--alpha", "0.5", "--aggregate", "mean", "--normalize"],
    "sum-alpha0.5-2queries": ["--alpha", "0.5", "--aggregate", "sum", "--max-queries", "2"],
    "mean-alpha0.5-2queries-routed-unit": [
        *("--alpha", "0.5", "--aggregate", "mean", "--max-queries", "2", "--route", "--normalize"),
    ],
}


@pytest.fixture(scope="module")
def swept(data, tmp_path_factory):
    """A sweep over five factors."""
    output = tmp_path_factory.mktemp("swept") / "sweep"
    return run(data, output, "--alpha", "0.5", "1", "--aggregate", "sum", "mean", "--route", "no", "yes",
               "--normalize", "no", "yes", "--max-queries", "all", "2", "0")  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_runs_are_those_of_the_indexes(data, swept, topic_vectors, tmp_path, name):
    """Each point against the index that pyserini_xqg.index builds with the same options, read by FAISS."""
    index.main(["--store", str(data / "kept"), "--output", str(tmp_path / "index"), *POINTS[name]])
    run_ = read_run(swept / "runs" / f"{name}.txt")
    assert list(run_) == [f"t{row}" for row in range(24)]
    for row, (topic, ranking) in enumerate(run_.items()):
        place = tmp_path / "index" / (LANGUAGES[row % 3] if "routed" in name else "")
        scores, rows = faiss.read_index(str(place / "index")).search(topic_vectors[row : row + 1], 30)
        docids = (place / "docid").read_text(encoding="utf-8").splitlines()
        wanted = {docids[at]: score for at, score in zip(rows[0], scores[0], strict=True)}
        assert ranking.keys() == wanted.keys(), topic
        np.testing.assert_allclose([ranking[docid] for docid in wanted], list(wanted.values()), atol=2e-6)
        assert list(ranking.values()) == sorted(ranking.values(), reverse=True)


def test_table_holds_what_ir_measures_computes(data, swept):
    with open(swept / "table.csv", encoding="utf-8") as lines:
        table = list(csv.DictReader(lines))
    assert len(names(swept)) == 2 + 2 * 2 * 2 * 2 * 2
    assert [row["run"] for row in table] == 2 * [row["run"] for row in table[: len(names(swept))]]
    assert sorted(row["run"] for row in table[: len(names(swept))]) == names(swept)
    qrels = read_qrels(data / "qrels.txt")
    with open(swept / "by-query.csv", encoding="utf-8") as lines:
        by_query = {(row["run"], row["measure"], row["qid"]): float(row["value"]) for row in csv.DictReader(lines)}
    for row in table:
        run_ = read_run(swept / "runs" / f"{row['run']}.txt")
        measure = ir_measures.parse_measure(row["measure"])
        found = {metric.query_id: metric.value for metric in ir_measures.iter_calc([measure], qrels, run_)}
        assert {topic: by_query[row["run"], row["measure"], topic] for topic in found} == found
        means = [np.mean([found[f"t{at}"] for at in range(24) if LANGUAGES[at % 3] == code]) for code in LANGUAGES]
        np.testing.assert_allclose([float(row[code]) for code in LANGUAGES], means)
        assert float(row["avg"]) == pytest.approx(np.mean(means))
        base = "none-unit" if row["normalize"] == "yes" else "none"
        assert row["baseline"] == ("" if row["run"].startswith("none") else base)
        if row["baseline"]:
            difference = np.mean([found[topic] - by_query[base, row["measure"], topic] for topic in found])
            assert float(row["difference"]) == pytest.approx(difference, abs=1e-12)
    markdown = (swept / "table.md").read_text(encoding="utf-8")
    assert "| run | aggregate | route | normalize | max-queries | alpha | ar | fi | ja | avg |" in markdown
    assert (swept / "figure.png").read_bytes()[:4] == (swept / "figure-by-language.png").read_bytes()[:4] == b"\x89PNG"


def test_same_inputs_same_bytes(data, tmp_path):
    options = ["--alpha", "0:1:0.5", "--route", "no", "yes", "--threshold", "none", "0.5", "--cross-validate", "alpha"]
    options += ["--figure-format", "svg"]
    first, second = (run(data, tmp_path / name, *options) for name in ("a", "b"))
    assert directory_bytes(first) == directory_bytes(second)
    assert {"runs", "scores", "table.md", "table.csv", "by-language.csv", "by-query.csv", "cross-validation.json",
            "figure.svg", "figure-by-language.svg", "sweep.json"} <= set(os.listdir(first))  # fmt: skip


def state(output):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (output / "runs").iterdir()}


def test_finished_points_are_not_searched_again_and_the_grid_may_grow(data, tmp_path, capsys):
    output = run(data, tmp_path / "sweep", "--alpha", "0.1", "0.5")
    before = state(output)
    table = (output / "table.csv").read_bytes()
    capsys.readouterr()
    run(data, output, "--alpha", "0.1", "0.5")
    assert "3 runs, 3 of them done" in capsys.readouterr().err
    assert state(output) == before and (output / "table.csv").read_bytes() == table

    (output / "runs" / "sum-alpha0.1.txt").unlink()
    (output / "runs" / ".sum-alpha0.1.txt.77.partial").write_text("t0 Q0")
    (output / ".table.md.77.partial").write_text("|")
    run(data, output, "--alpha", "0.1", "0.5", "0.9")
    assert "4 runs, 2 of them done" in capsys.readouterr().err
    after = state(output)
    assert {name for name in after if after[name] == before.get(name)} == {"none.txt", "sum-alpha0.5.txt"}
    assert sorted(after) == ["none.txt", "sum-alpha0.1.txt", "sum-alpha0.5.txt", "sum-alpha0.9.txt"]
    assert not list(output.rglob("*.partial"))


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("begun") / "sweep", "--alpha", "0.1")


@pytest.mark.parametrize(
    ("options", "store", "difference"),
    [
        (["--hits", "5"], "kept", "hits is 1000 there and 5 now"),
        (["--searcher", "pyserini"], "kept", "searcher is 'faiss' there and 'pyserini' now"),
        (["--dtype", "auto"], "kept", "dtype is 'float32' there and 'auto' now"),
        ([], "sums", r"stores\.kept\.encoder\.model is .* there and None now"),
        (["--topic-languages", "fi"], "kept", r"topics\.languages_sha256 is"),
    ],
)
def test_other_settings_are_refused(data, begun, options, store, difference):
    before = directory_bytes(begun)
    with pytest.raises(XqgError, match=f"holds a sweep of other settings: .*{difference}.*Choose another --output"):
        run(data, begun, "--alpha", "0.1", *options, store=store)
    assert directory_bytes(begun) == before


def test_output_that_is_something_else(data, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    with pytest.raises(XqgError, match=r"thesis exists and is no sweep \(it holds thesis\.tex\)"):
        run(data, tmp_path / "thesis")
    with pytest.raises(XqgError, match=r"thesis\.tex is a file"):
        run(data, tmp_path / "thesis" / "thesis.tex")
    assert os.listdir(tmp_path / "thesis") == ["thesis.tex"]


def test_second_process(data, tmp_path):
    with (
        exclusive(tmp_path / "sweep" / ".lock", tmp_path / "sweep"),
        pytest.raises(XqgError, match="sweep: another process is writing it"),
    ):
        run(data, tmp_path / "sweep")


def test_precision_and_store_names(data, tmp_path):
    output = run(data, tmp_path / "sweep", "--store", f"fp16={data / 'half'}", "--alpha", "0.5", "--route")
    assert names(output) == ["fp16.none", "fp16.sum-alpha0.5-routed", "kept.none", "kept.sum-alpha0.5-routed"]
    with open(output / "table.csv", encoding="utf-8") as lines:
        rows = {row["run"]: row for row in csv.DictReader(lines) if row["measure"] == "R@3"}
    assert rows["fp16.sum-alpha0.5-routed"]["baseline"] == "fp16.none"
    assert [row["store"] for row in rows.values()] == ["kept", "fp16", "kept", "fp16"]
    exact, half = (read_run(output / "runs" / f"{name}.none.txt")["t0"] for name in ("kept", "fp16"))
    differences = np.array([half[docid] - exact[docid] for docid in exact])
    assert 0 < np.abs(differences).max() < 1e-3


def test_fused_store_gives_what_it_has(data, tmp_path):
    fused = run(data, tmp_path / "fused", "--alpha", "0.1", "0.5", store="fused")
    whole = run(data, tmp_path / "whole", "--alpha", "0.1", "0.5", store="sums")
    for name in names(whole):
        one, other = (read_run(output / "runs" / f"{name}.txt") for output in (fused, whole))
        for topic, ranking in one.items():
            np.testing.assert_allclose([other[topic][docid] for docid in ranking], list(ranking.values()), atol=2e-6)
    with pytest.raises(XqgError, match="--aggregate mean and --route cannot be had from it"):
        run(data, tmp_path / "other", "--aggregate", "mean", "--route", store="fused")


def test_cross_validation(data, tmp_path):
    output = run(data, tmp_path / "sweep", "--alpha", "0:1:0.25", "--aggregate", "sum", "mean",
                 "--cross-validate", "alpha", "--folds", "3", "--seed", "5", "--choose-by", "RR@10")  # fmt: skip
    split = json.loads((output / "cross-validation.json").read_text(encoding="utf-8"))
    assert split["folds"] == 3 and split["seed"] == 5 and split["measure"] == "RR@10"
    fold_of = split["fold_of_topic"]
    assert sorted(fold_of) == sorted(f"t{row}" for row in range(24))
    relevant = {qrel.query_id: qrel.doc_id for qrel in read_qrels(data / "qrels.txt")}
    for one in fold_of:
        assert all(fold_of[one] == fold_of[other] for other in fold_of if relevant[one] == relevant[other])
    assert set(Counter(fold_of.values())) == {0, 1, 2}
    assert list(split["runs"]) == ["cv-alpha-sum", "cv-alpha-mean"]
    qrels = read_qrels(data / "qrels.txt")
    for name, described in split["runs"].items():
        found = read_run(output / "runs" / f"{name}.txt")
        assert list(found) == [f"t{row}" for row in range(24)]
        values = {}
        for candidate in described["candidates"]:
            run_ = read_run(output / "runs" / f"{candidate}.txt")
            values[candidate] = {metric.query_id: metric.value for metric in ir_measures.iter_calc(
                [ir_measures.RR @ 10], qrels, run_)}  # fmt: skip
        for fold in described["folds"]:
            seen = [topic for topic in fold_of if fold_of[topic] != fold["reported_on"]]
            means = {
                candidate: np.mean(
                    [np.mean([of[topic] for topic in seen if int(topic[1:]) % 3 == row]) for row in range(3)]
                )
                for candidate, of in values.items()
            }
            best = max(means, key=means.get)
            assert fold["run"] == best
            chosen = read_run(output / "runs" / f"{best}.txt")
            for topic in fold_of:
                if fold_of[topic] == fold["reported_on"]:
                    assert found[topic] == chosen[topic]
    with open(output / "table.csv", encoding="utf-8") as lines:
        rows = {row["run"]: row for row in csv.DictReader(lines) if row["measure"] == "RR@10"}
    assert rows["cv-alpha-mean"]["alpha"] == "cv" and rows["cv-alpha-mean"]["baseline"] == "none"
    metrics = ir_measures.iter_calc([ir_measures.RR @ 10], qrels, read_run(output / "runs" / "cv-alpha-mean.txt"))
    assert float(rows["cv-alpha-mean"]["avg"]) == pytest.approx(np.mean([metric.value for metric in metrics]))


def test_topics_without_languages(data, tmp_path):
    options = [*command(data, tmp_path / "sweep", "--alpha", "0.5", "--max-queries", "0:4:1")]
    del options[options.index("--topic-languages") : options.index("--topic-languages") + 2]
    sweep.main(options)
    assert "| run | max-queries | all | avg |" in (tmp_path / "sweep" / "table.md").read_text(encoding="utf-8")
    with pytest.raises(XqgError, match="--route: topic 't0' has no language"):
        sweep.main([*options, "--route"])


@pytest.mark.parametrize(
    ("options", "store", "message"),
    [
        (["--alpha", "1.5"], "kept", r"--alpha 1\.5: outside \[0, 1\]"),
        (["--alpha", "1:0:1"], "kept", "a range without a value"),
        (["--languages", "te"], "kept", r"--languages te: .*kept has no queries in te\. It has ar, fi, ja"),
        (["--measures", "R@0"], "kept", "cutoff 0 is not a positive number"),
        (["--measures", "Fame"], "kept", "--measures Fame: not a measure of ir_measures"),
        (["--measures", "R@3", "R@3"], "kept", "--measures: R@3 is given more than once"),
        (["--measures", "R@2kt"], "kept", "--measures R@2kt: needs answers"),
        (["--max-queries", "2"], "sums", "--max-queries 2: .* Encode again with --keep-query-vectors"),
        (["--threshold", "0.3"], "sums", r"--threshold 0\.3: .* Encode again with --keep-query-vectors"),
        (["--threshold", "ar=0.3"], "kept", "--threshold: none for fi, ja"),
        ([], "bare", "bare: has no generated queries, so nothing can be varied"),
        ([], "nowhere", "no embedding store there"),
        (["--store", "{data}/kept"], "kept", "another store is named 'kept'"),
        (["--cross-validate", "alpha"], "kept", "--cross-validate alpha: the grid has one value for it"),
        (["--cross-validate", "alpha", "--alpha", "0", "1", "--folds", "1"], "kept", "--folds 1: "),
        (["--choose-by", "RR@5"], "kept", r"--choose-by RR@5: not among the measures\. It has to be one of R@3, RR@10"),
        (["--topics", "{data}/nothing.tsv"], "kept", "no such file"),
        (["--route", "perhaps"], "kept", "--route perhaps: write yes, no, or both"),
        (["--topic-languages", "ru", "--route"], "kept", "topic 't0' is in 'ru', for which there would be no index"),
        (["--dataset", "xqg-sample/all"], "kept", "--dataset and --qrels: both name a collection"),
    ],
)
def test_bad_input(data, tmp_path, options, store, message):
    with pytest.raises(XqgError, match=message):
        run(data, tmp_path / "sweep", *(option.format(data=data) for option in options), store=store)
    assert os.listdir(tmp_path) == []


def test_topics_that_do_not_fit_the_judgements(data, tmp_path):
    lines = (data / "topics.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.tsv").write_text("".join(lines[:20]), encoding="utf-8")
    with pytest.raises(XqgError, match=r"few\.tsv: lacks 4 of the 24 questions .* \(such as t20\)"):
        run(data, tmp_path / "sweep", "--topics", tmp_path / "few.tsv")
    (tmp_path / "more.tsv").write_text("".join([*lines, "other\tmissä\n"]), encoding="utf-8")
    with pytest.raises(XqgError, match=r"topic 'other' is not in .*qrels\.txt"):
        run(data, tmp_path / "sweep", "--topics", tmp_path / "more.tsv")
    some = (data / "languages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "languages.tsv").write_text("".join(some[:-1]), encoding="utf-8")
    with pytest.raises(XqgError, match="topic 't23' has no language"):
        run(data, tmp_path / "sweep", "--topic-languages", tmp_path / "languages.tsv")


def test_one_line_for_an_error(data, tmp_path):
    result = run_module("pyserini_xqg.sweep", *command(data, tmp_path / "sweep", "--alpha", "2"))
    assert_one_error(result, "--alpha 2.0: outside [0, 1]")


def test_help_names_every_default():
    text = sweep.build_parser().format_help()
    for phrase in ("(default: 0.01, the paper's)", "(default: sum, the paper's)", "(default: 1000)", "(default: holm)",
                   "(default: faiss)", "(default: 5)", "(default: float32)", "(default: png)"):  # fmt: skip
        assert phrase in " ".join(text.split())

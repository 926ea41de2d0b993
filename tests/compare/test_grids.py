"""Grids on real stores of a tiny encoder: runs, tables, resuming, cross-validation, bad input."""

import csv
import json
import os
import random
from collections import Counter

import faiss
import ir_measures
import numpy as np
import pytest
from helpers import LANGUAGES, corpus_records, directory_bytes, sentence, write_jsonl

from pyserini_xqg import encode, index
from pyserini_xqg.compare import __main__ as compare
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.runs import read_qrels, read_run
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.manifest import read_manifest, route_directory
from pyserini_xqg.vectors.store import EmbeddingStore

RECORDS = corpus_records(30, most=4)
ENCODER = ("--pooling", "mean", "--l2-norm", "--device", "cpu", "--dtype", "float32", "--chunk-size", "7")


@pytest.fixture(scope="module")
def data(tiny_encoder, tmp_path_factory):
    """Stores (each query's vector, sums alone, one fused sum, another corpus), topics in three languages, qrels."""
    directory = tmp_path_factory.mktemp("grids")
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
        *("--device", "cpu", "--hits", "1000"),
        *map(str, options),
    ]


def run(data, output, *options, store="kept"):
    compare.main(command(data, output, *options, store=store))
    return output


def names(output):
    return sorted(path.stem for path in (output / "runs").iterdir())


@pytest.fixture(scope="module")
def topic_vectors(data):
    texts = [line.split("\t")[1] for line in (data / "topics.tsv").read_text(encoding="utf-8").splitlines()]
    return Embedder(EmbeddingStore(data / "kept").encoder, "cpu").embed_queries(texts)


POINTS = {
    "plain": ["--alpha", "0"],
    "paper": ["--aggregate", "sum"],
    "default": [],
    "sum-alpha0.6": ["--alpha", "0.6", "--aggregate", "sum"],
    "mean-alpha0.6": ["--alpha", "0.6", "--aggregate", "mean", "--no-normalize"],
    "mean-alpha0.6-unit-removal0.5": ["--alpha", "0.6", "--aggregate", "mean", "--normalize"],
    "sum-alpha0.6-2queries": ["--alpha", "0.6", "--aggregate", "sum", "--max-queries", "2"],
    "mean-alpha0.6-2queries-routed-unit-removal0.5": [
        *("--alpha", "0.6", "--aggregate", "mean", "--max-queries", "2", "--route", "--normalize"),
    ],
}


@pytest.fixture(scope="module")
def swept(data, tmp_path_factory):
    """A grid over five factors."""
    output = tmp_path_factory.mktemp("swept") / "grid"
    return run(data, output, "--alpha", "0.6", "1", "--aggregate", "sum", "mean", "--route", "no", "yes",
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


def test_routed_topics_in_other_languages(data, topic_vectors, tmp_path):
    """English ones go to the plain index, those without queries of their own to the mean's, as with search --route."""
    codes = ["en", "ko", *LANGUAGES]
    lines = "".join(f"t{row}\t{codes[row % 5]}\n" for row in range(24))
    (path := tmp_path / "languages.tsv").write_text(lines)
    output = run(data, tmp_path / "out", "--systems", "plain", "routed", "--topic-languages", path)
    directory = tmp_path / "index"
    index.main(["--store", str(data / "kept"), "--output", str(directory), "--route"])
    found, manifest = read_run(output / "runs" / "routed.txt"), read_manifest(directory)
    for row in range(24):
        route = route_directory(directory, manifest, codes[row % 5])
        assert route.name == {"en": "plain", "ko": "mean"}.get(codes[row % 5], codes[row % 5])
        scores, rows = faiss.read_index(str(route / "index")).search(topic_vectors[row : row + 1], 30)
        docids = (route / "docid").read_text(encoding="utf-8").splitlines()
        wanted = {docids[at]: score for at, score in zip(rows[0], scores[0], strict=True)}
        np.testing.assert_allclose([found[f"t{row}"][docid] for docid in wanted], list(wanted.values()), atol=2e-6)


def table(output):
    """Rows of table.csv by system, measure and language."""
    with open(output / "table.csv", encoding="utf-8") as lines:
        return {(row["system"], row["measure"], row["language"]): row for row in csv.DictReader(lines)}


def test_table_holds_what_ir_measures_computes(data, swept):
    rows = table(swept)
    assert len(names(swept)) == 3 + 1 + 2 * 2 * 2 * 2 * 2  # named systems, plain-unit, the others
    assert sorted({system for system, *_ in rows}) == names(swept)
    qrels = read_qrels(data / "qrels.txt")
    with open(swept / "by-query.csv", encoding="utf-8") as lines:
        by_query = {(row["run"], row["measure"], row["qid"]): float(row["value"]) for row in csv.DictReader(lines)}
    for system, name in {(system, name) for system, name, _ in rows}:
        run_ = read_run(swept / "runs" / f"{system}.txt")
        measure = ir_measures.parse_measure(name)
        found = {metric.query_id: metric.value for metric in ir_measures.iter_calc([measure], qrels, run_)}
        assert {topic: by_query[system, name, topic] for topic in found} == found
        means = [np.mean([found[f"t{at}"] for at in range(24) if LANGUAGES[at % 3] == code]) for code in LANGUAGES]
        np.testing.assert_allclose([float(rows[system, name, code]["value"]) for code in LANGUAGES], means)
        average = rows[system, name, "avg"]
        assert float(average["value"]) == pytest.approx(np.mean(means))
        assert average["baseline"] == ("" if system == "plain" else "plain")
        if average["baseline"]:
            difference = np.mean([found[topic] - by_query["plain", name, topic] for topic in found])
            assert float(average["mean_difference"]) == pytest.approx(difference, abs=1e-12)
    markdown = (swept / "table.md").read_text(encoding="utf-8")
    assert "| run | ar | fi | ja | avg | all |" in markdown and "index MB" not in markdown
    row = rows["mean-alpha0.6-2queries-routed-unit-removal0.5", "R@3", "avg"]
    wanted = {"aggregate": "mean", "alpha": "0.6", "max-queries": "2", "route": "yes", "normalize": "yes"}
    assert {factor: row[factor] for factor in wanted} == wanted
    assert (swept / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_same_inputs_same_bytes(data, tmp_path):
    options = ["--alpha", "0:1:0.5", "--route", "no", "yes", "--threshold", "none", "0.5", "--cross-validate", "alpha"]
    options += ["--figure-format", "svg"]
    first, second = (run(data, tmp_path / name, *options) for name in ("a", "b"))
    assert directory_bytes(first) == directory_bytes(second)
    assert set(os.listdir(first)) - {".lock"} == {
        *("runs", "work", "pieces", "comparison.json", "table.md", "table.csv", "by-query.csv"),
        *("cross-validation.json", "figure.svg"),
    }


def state(output):
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (output / "runs").iterdir()}


def test_finished_points_are_not_searched_again_and_the_grid_may_grow(data, tmp_path, capsys):
    output = run(data, tmp_path / "out", "--alpha", "0.1", "0.5")
    before = state(output)
    rows = (output / "table.csv").read_bytes()
    capsys.readouterr()
    run(data, output, "--alpha", "0.1", "0.5")
    assert "5 runs, 5 of them done" in capsys.readouterr().err
    assert state(output) == before and (output / "table.csv").read_bytes() == rows

    (output / "runs" / "mean-alpha0.1-unit-removal0.5.txt").unlink()
    (output / ".table.md.77.partial").write_text("|")
    run(data, output, "--alpha", "0.1", "0.5", "0.9")
    assert "6 runs, 4 of them done" in capsys.readouterr().err
    after = state(output)
    unchanged = {name for name in after if after[name] == before.get(name)}
    assert unchanged == {*before} - {"mean-alpha0.1-unit-removal0.5.txt"}
    assert sorted(after) == sorted([*before, "mean-alpha0.9-unit-removal0.5.txt"])
    assert not list(output.rglob("*.partial"))
    with open(output / "runs" / "plain.txt", "a", encoding="utf-8") as out:
        out.write("t0 Q0 p0 1 9.0 mine\n")
    with pytest.raises(XqgError, match=r"plain\.txt: was changed since it was made. Remove it"):
        run(data, output, "--alpha", "0.1", "0.5")


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("begun") / "out", "--systems", "plain")


@pytest.mark.parametrize(
    ("options", "store", "difference"),
    [
        (["--hits", "15"], "kept", "run.plain was made otherwise: hits is 1000 there and 15 now"),
        ([], "half", "run.plain was made otherwise: vectors.dtype is 'float32' there and 'float16' now"),
        (["--topic-languages", "fi"], "kept", "run.plain was made otherwise: topics_sha256 is"),
    ],
)
def test_other_settings_are_refused(data, begun, options, store, difference):
    before = directory_bytes(begun)
    with pytest.raises(XqgError, match=f"{difference}.*Choose another --output, or pass --overwrite"):
        run(data, begun, "--systems", "plain", *options, store=store)
    assert directory_bytes(begun) == before


def test_output_that_is_something_else(data, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("precious")
    for overwrite in ([], ["--overwrite"]):
        with pytest.raises(XqgError, match=r"thesis exists and is no comparison .*it holds thesis\.tex"):
            run(data, tmp_path / "thesis", *overwrite)
        with pytest.raises(XqgError, match=r"thesis\.tex: is a file"):
            run(data, tmp_path / "thesis" / "thesis.tex", *overwrite)
    assert os.listdir(tmp_path / "thesis") == ["thesis.tex"]
    with pytest.raises(XqgError, match=r"lies in .*kept, which is read"):
        run(data, data / "kept" / "out")


def test_overwrite_begins_anew(data, tmp_path):
    output = run(data, tmp_path / "out", "--alpha", "0.1")
    run(data, output, "--systems", "plain", "--hits", "20", "--overwrite")
    assert names(output) == ["plain"] and not (output / "figure.png").exists()


def test_precision_and_store_names(data, tmp_path):
    output = run(data, tmp_path / "out", "--store", f"fp16={data / 'half'}", "--alpha", "0.4", "--route", "yes",
                 "--systems", "plain")  # fmt: skip
    point = "mean-alpha0.4-routed-unit-removal0.5"
    assert names(output) == [f"fp16.{point}", "fp16.plain", f"kept.{point}", "kept.plain"]
    rows = {system: row for (system, name, column), row in table(output).items() if (name, column) == ("R@3", "avg")}
    assert rows[f"fp16.{point}"]["baseline"] == "fp16.plain" and rows[f"kept.{point}"]["baseline"] == "kept.plain"
    assert {row["store"] for row in rows.values()} == {"kept", "fp16"}
    exact, half = (read_run(output / "runs" / f"{name}.plain.txt")["t0"] for name in ("kept", "fp16"))
    differences = np.array([half[docid] - exact[docid] for docid in exact])
    assert 0 < np.abs(differences).max() < 1e-3


def test_fused_store_gives_what_it_has(data, tmp_path):
    options = ("--alpha", "0.1", "0.5", "--aggregate", "sum")
    fused, whole = (run(data, tmp_path / store, *options, store=store) for store in ("fused", "sums"))
    assert set(names(whole)) - set(names(fused)) == {"default"}  # a mean, which a fused sum cannot give
    for name in names(fused):
        one, other = (read_run(output / "runs" / f"{name}.txt") for output in (fused, whole))
        for topic, ranking in one.items():
            np.testing.assert_allclose([other[topic][docid] for docid in ranking], list(ranking.values()), atol=2e-6)
    with pytest.raises(XqgError, match="--aggregate mean and --route cannot be had from it"):
        run(data, tmp_path / "other", "--aggregate", "mean", "--route", "yes", store="fused")


def test_cross_validation(data, tmp_path):
    output = run(data, tmp_path / "out", "--alpha", "0:1:0.25", "--aggregate", "sum", "mean",
                 "--normalize", "no", "--cross-validate", "alpha", "--folds", "3", "--seed", "5",
                 "--measures", "RR@10", "R@3")  # fmt: skip
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
    row = table(output)["cv-alpha-mean", "RR@10", "avg"]
    assert (row["alpha"], row["aggregate"], row["baseline"]) == ("cv", "mean", "plain")
    metrics = ir_measures.iter_calc([ir_measures.RR @ 10], qrels, read_run(output / "runs" / "cv-alpha-mean.txt"))
    assert float(row["value"]) == pytest.approx(np.mean([metric.value for metric in metrics]))


def test_topics_without_languages(data, tmp_path):
    options = [*command(data, tmp_path / "out", "--alpha", "0.5", "--max-queries", "0:4:1")]
    del options[options.index("--topic-languages") : options.index("--topic-languages") + 2]
    compare.main(options)
    assert "| run | all |" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    with pytest.raises(XqgError, match=r"mean-alpha0\.5.*routed.*: the topics' languages are not known"):
        compare.main([*options, "--max-queries", "all", "--route", "yes"])


@pytest.mark.parametrize(
    ("options", "store", "message"),
    [
        (["--alpha", "1.5"], "kept", r"--alpha 1\.5: must be a number from 0 to 1"),
        (["--alpha", "1:0:1"], "kept", "neither a number nor a range"),
        (["--languages", "te"], "kept", r"kept: no queries in te\. It has ar, fi, ja"),
        (["--measures", "R@0"], "kept", "cutoff 0 is not a positive number"),
        (["--measures", "Fame"], "kept", "--measures Fame: not a measure of ir_measures"),
        (["--max-queries", "2"], "sums", "--max-queries 2: .* Encode again with --keep-query-vectors"),
        (["--threshold", "0.3"], "sums", r"--threshold 0\.3: .* Encode again with --keep-query-vectors"),
        (["--threshold", "ar=0.3"], "kept", "--threshold: none for fi, ja"),
        (["--alpha", "0.5", "--systems", "plain"], "bare", "the passages have no generated queries"),
        (["--systems", "default"], "bare", "--systems default: the passages have no generated queries"),
        ([], "nowhere", "no embedding store there"),
        (["--store", "{data}/kept"], "kept", "another store is named 'kept'"),
        (["--cross-validate", "alpha"], "kept", "--cross-validate alpha: the grid has one value for it"),
        (["--cross-validate", "alpha", "--alpha", "0", "1", "--folds", "1"], "kept", "--folds 1: must be"),
        (["--topics", "{data}/nothing.tsv"], "kept", "no such file"),
    ],
)
def test_bad_input(data, tmp_path, options, store, message):
    with pytest.raises(XqgError, match=message):
        run(data, tmp_path / "out", *(option.format(data=data) for option in options), store=store)
    assert os.listdir(tmp_path) == []

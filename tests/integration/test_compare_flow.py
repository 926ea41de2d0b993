"""Whole comparisons with real Lucene and FAISS: every run is what stock Pyserini makes of the same indexes."""

import csv
import json
import random
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from helpers import (
    LANGUAGES,
    command_environment,
    corpus_records,
    run_command,
    run_module,
    sentence,
    write_jsonl,
)
from integration import flows

from pyserini_xqg.compare.systems import ALL, System
from pyserini_xqg.text.runs import read_run

pytestmark = pytest.mark.integration
HITS = 10


def read_ranked(path):
    """Topic to (docid, score), as the run's lines stand; scores of equal ranks may stand in any order."""
    return {topic: list(of_topic.items()) for topic, of_topic in read_run(path, check_ranks=False).items()}


def table(output):
    """System to measure to language (and ``avg``) to value; sizes and times stand without a language."""
    found = {}
    with open(output / "table.csv", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            of_measure = found.setdefault(row["system"], {}).setdefault(row["measure"], {})
            of_measure[row["language"]] = float(row["value"])
    return found


@pytest.fixture(scope="module")
def material(tmp_path_factory, tiny_encoder):
    """40 passages; 24 topics in three languages, whole numbers among their ids, each about the words of a passage."""
    directory = tmp_path_factory.mktemp("compare")
    records = corpus_records(40, seed=5)
    corpus = write_jsonl(directory / "corpus.jsonl", records)
    chance = random.Random(3)
    topics = {f"{row}" if row % 2 else f"t{row}": sentence(LANGUAGES[row % 3], 4, chance) for row in range(24)}
    topics["t0"] += " town?"  # an English word, which bm25 finds
    flows.write_topics(directory / "topics.tsv", topics)
    languages = {topic: LANGUAGES[row % 3] for row, topic in enumerate(topics)}
    flows.write_topics(directory / "languages.tsv", languages)
    qrels = "".join(f"{topic} 0 p{chance.randrange(40)} 1\n" for topic in topics)
    (directory / "qrels.txt").write_text(qrels)
    options = [
        *("--corpus", corpus, "--topics", directory / "topics.tsv", "--qrels", directory / "qrels.txt"),
        *("--topic-languages", directory / "languages.tsv", "--encoder", tiny_encoder, "--pooling", "mean"),
        *("--device", "cpu", "--dtype", "float32", "--hits", HITS),
        *("--text-max-length", 64, "--measures", "R@5", "RR@10"),
    ]
    return SimpleNamespace(directory=directory, topics=topics, languages=languages, options=options, corpus=corpus)


@pytest.fixture(scope="module")
def compared(material):
    """A comparison of all systems, through the command."""
    output = material.directory / "all"
    result = run_module("pyserini_xqg.compare", *material.options, "--timed", "--output", output, timeout=600)
    assert result.returncode == 0, result.stderr
    return SimpleNamespace(output=output, stdout=result.stdout, stderr=result.stderr)


def settled(directory) -> dict[str, bytes]:
    """What the same inputs give again: the runs and scores, not the times."""
    found = {path.name: path.read_bytes() for path in (directory / "runs").iterdir()}
    found["by-query.csv"] = (directory / "by-query.csv").read_bytes()
    lines = (directory / "table.csv").read_text().splitlines()
    found["table.csv"] = "\n".join(line for line in lines if "_ms," not in line).encode()
    return found


def assert_same_rankings(path, other):
    """Scores to 1e-5, and the docids but for ties; Pyserini orders topics its own way."""
    ours, theirs = read_ranked(path), read_ranked(other)
    assert ours.keys() == theirs.keys()
    for topic, ranking in ours.items():
        scores = dict(theirs[topic])
        assert [score for _, score in ranking] == pytest.approx([score for _, score in theirs[topic]], abs=1e-5)
        assert all(scores[docid] == pytest.approx(score, abs=1e-5) for docid, score in ranking if docid in scores)
        assert len({docid for docid, _ in ranking} - scores.keys()) <= 1  # a tie at the end


def test_every_system_is_there(compared):
    names = [System(*pair).name for pair in ALL]
    assert sorted(path.stem for path in (compared.output / "runs").iterdir()) == sorted(names)
    scores = table(compared.output)
    assert list(scores) == names
    rows = [line.split()[0] for line in compared.stdout.split("Average of the languages")[1].splitlines()[2:] if line]
    assert rows == names
    assert scores["routed"]["index_bytes"][""] > 2.5 * scores["plain"]["index_bytes"][""]
    assert "passages with their queries are cut at 64 tokens" in compared.stdout


def test_dense_runs_are_those_of_stock_commands(compared, material, active_python, tmp_path):
    """The routed one through our search command, which stock Pyserini has no counterpart for."""
    indexes = compared.output / "work" / "indexes"
    topics = ("--topics", material.directory / "topics.tsv", "--hits", HITS, "--batch-size", 8)
    for name in ("plain", "paper", "default", "text"):
        result = flows.stock(
            active_python,
            *("--index", indexes / name, "--encoder", f"xqg:{indexes / name}", *topics),
            *("--output", tmp_path / name),
        )
        assert result.returncode == 0, result.stderr
        assert_same_rankings(compared.output / "runs" / f"{name}.txt", tmp_path / name)
    routing = ("--route", "--topic-languages", material.directory / "languages.tsv")
    searched = run_command("search", "--index", indexes / "routed", *routing, *topics, "--output", tmp_path / "routed")
    assert searched.returncode == 0, searched.stderr
    assert_same_rankings(compared.output / "runs" / "routed.txt", tmp_path / "routed")


def test_multi_vector_is_stock_max_passage(compared, material, active_python, tmp_path):
    index = compared.output / "work" / "indexes" / "multi-vector"
    entries = len((index / "docid").read_text().splitlines())
    result = flows.stock(
        active_python,
        *("--index", index, "--encoder", f"xqg:{index}", "--topics", material.directory / "topics.tsv"),
        *("--hits", entries, "--max-passage", "--max-passage-hits", HITS, "--output", tmp_path / "run.txt"),
    )
    assert result.returncode == 0, result.stderr
    assert_same_rankings(compared.output / "runs" / "multi-vector.txt", tmp_path / "run.txt")


def queries(record, languages):
    return [query for code in languages for query in record.get("generated_queries", {}).get(code, [])]


def test_bm25_is_stock_lucene_on_a_stock_index(compared, material, active_python, tmp_path):
    """Indexed and searched by Pyserini's commands from JSON files, in each way of analysis that applies."""
    records = [json.loads(line) for line in material.corpus.read_text(encoding="utf-8").splitlines()]

    def searched(name, language, languages, topics):
        write_topics = flows.write_topics(tmp_path / f"{name}.tsv", topics)
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "documents.jsonl", [
            {"id": one["docid"], "contents": " ".join([one["title"], one["text"], *queries(one, languages)])}
            for one in records
        ])  # fmt: skip
        index = tmp_path / f"{name}.index"
        indexing = ("--collection", "JsonCollection", "--input", tmp_path / name, "--index", index, "--threads", 1)
        searching = ("--index", index, "--topics", write_topics, "--bm25", "--hits", HITS)
        for command in (
            ("pyserini.index.lucene", *indexing, "--generator", "DefaultLuceneDocumentGenerator"),
            ("pyserini.search.lucene", *searching, "--output", tmp_path / f"{name}.txt"),
        ):
            result = flows.run(active_python, "-m", *command, "--language", language)
            assert result.returncode == 0, result.stderr
        return read_ranked(tmp_path / f"{name}.txt")

    assert read_ranked(compared.output / "runs" / "bm25.txt") == searched("bm25", "en", [], material.topics)
    found = {}
    for code in LANGUAGES:
        topics = {topic: text for topic, text in material.topics.items() if material.languages[topic] == code}
        found |= searched(code, code, [code], topics)
    ours = read_ranked(compared.output / "runs" / "doc2query.txt")
    assert ours == found
    assert len(ours) > 20


def test_fused_runs_are_those_of_stock_fusion(compared, active_python, tmp_path):
    runs = compared.output / "runs"
    for dense in ("plain", "multi-vector"):
        result = flows.run(
            active_python,
            *("-m", "pyserini.fusion", "--runs", runs / f"{dense}.txt", runs / "doc2query.txt"),
            *("--output", tmp_path / dense, "--depth", HITS, "--k", HITS),
        )
        assert result.returncode == 0, result.stderr
        stock = read_ranked(tmp_path / dense)
        for topic, ranking in read_ranked(runs / f"{dense}+doc2query.txt").items():
            assert sorted(ranking) == sorted(stock[topic])


def test_the_scores_are_those_of_evaluate(compared, material):
    runs = [compared.output / "runs" / f"{name}.txt" for name in ("plain", "routed", "bm25", "paper+bm25")]
    names = {run: run.stem for run in runs}
    result = run_command(
        "evaluate",
        *("--qrels", material.directory / "qrels.txt", "--topic-languages", material.directory / "languages.tsv"),
        *("--run", *(f"{names[run]}={run}" for run in runs), "--measures", "R@5", "RR@10", "--format", "json"),
    )
    assert result.returncode == 0, result.stderr
    scores, evaluated = table(compared.output), json.loads(result.stdout)
    for run in runs:
        assert {measure: scores[run.stem][measure] for measure in ("R@5", "RR@10")} == evaluated[names[run]]


def test_from_a_store_and_again(compared, material, tmp_path):
    """A store gives what encoding gives; a second command makes nothing anew, and a system that is added, alone."""
    store = compared.output / "work" / "store"
    dropped = {"--encoder": 2, "--pooling": 2}
    options = list(material.options)
    for option, number in dropped.items():
        at = options.index(option)
        del options[at : at + number]
    command = [*options, "--store", store, "--output", tmp_path / "out"]
    first = run_command("compare", *command, "--systems", "plain", "default", "default+bm25", "bm25")
    assert first.returncode == 0, first.stderr
    for name in ("plain", "default", "bm25", "default+bm25"):
        ours, theirs = (place / "runs" / f"{name}.txt" for place in (tmp_path / "out", compared.output))
        assert ours.read_bytes() == theirs.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "work").rglob("*") if path.is_file()}
    grid = ("--alpha", "0.3", "--systems", "plain", "default", "paper", "mean-alpha0.3+bm25")
    second = run_command("compare", *command, *grid)
    assert second.returncode == 0, second.stderr
    assert "runs/paper.txt: written" in second.stderr and "default.txt: written" not in second.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert read_ranked(tmp_path / "out" / "runs" / "paper.txt") == read_ranked(compared.output / "runs" / "paper.txt")
    assert list(table(tmp_path / "out")) == [*("plain", "paper", "default", "mean-alpha0.3+bm25", "mean-alpha0.3")]
    other = run_command("compare", *command, "--systems", "plain", "bm25", "--k1", "0.8")
    assert_one_error_at_end(other, "run.bm25 was made otherwise: k1 is 0.9 there and 0.8 now")


def assert_one_error_at_end(result, phrase):
    assert result.returncode == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        line for line in result.stderr.splitlines() if phrase in line
    ]


def test_killed_and_continued(compared, material, tmp_path):
    """Killed at random moments, then run to the end: the same runs and scores as undisturbed ones."""
    output, chance = tmp_path / "out", random.Random(8)
    options = [*map(str, material.options), "--timed", "--output", str(output)]
    command = [sys.executable, "-m", "pyserini_xqg.compare", *options]
    ends = []
    for pieces in (0, 9, 20):
        process = subprocess.Popen(
            command, env=command_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and len(list((output / "pieces").glob("*.json"))) < pieces + 1:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.kill()
        ends.append(process.wait())
    assert ends[0] == -signal.SIGKILL
    result = run_command("compare", *options)
    assert result.returncode == 0, result.stderr
    assert settled(output) == settled(compared.output)


def test_other_weights_under_the_same_name(compared, material, tiny_encoder, tmp_path):
    other = flows.build_other(tiny_encoder, tmp_path / "other")
    options = list(material.options)
    at = options.index("--pooling")
    del options[at : at + 2]
    options[options.index("--encoder") + 1] = other
    result = run_command(
        "compare",
        *(*options, "--store", compared.output / "work" / "store", "--output", tmp_path / "out", "--systems", "plain"),
    )
    assert_one_error_at_end(result, "is not its encoder")


def test_english_analysis(material, tmp_path):
    """One index, in which topics of all languages find passages by their queries."""
    result = run_command(
        "compare",
        *(*material.options, "--output", tmp_path / "out", "--systems", "doc2query", "--baseline", "doc2query"),
        *("--bm25-analysis", "en"),
    )
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "out" / "work" / "lucene" / "doc2query").iterdir()] == ["all"]
    found = {material.languages[topic] for topic in read_ranked(tmp_path / "out" / "runs" / "doc2query.txt")}
    assert found == set(LANGUAGES)

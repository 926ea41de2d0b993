"""``python -m pyserini_xqg.search``: Pyserini's command with the index's own encoder, batches and routing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers import LANGUAGES, assert_one_error, command_environment, directory_bytes
from integration import flows

from pyserini_xqg import search
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.manifest import INDEX_KIND

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("registered")]


def write_map(path, languages) -> Path:
    """A map of topics to languages, TSV or JSONL by its name."""
    if path.suffix == ".jsonl":
        lines = [json.dumps({"id": topic, "question": "…", "lang": code}) for topic, code in languages.items()]
    else:
        lines = [f"{topic}\t{code}" for topic, code in languages.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def searched(output, index, topics, *options) -> Path:
    search.main(["--index", str(index), "--topics", str(topics), "--output", str(output), *map(str, options)])
    return Path(output)


@pytest.fixture(scope="module")
def stock_runs(plain_python, built, tmp_path_factory):
    """Runs of stock Pyserini with its own encoder class, xQG not activated: augmented, and each language's topics."""
    directory = tmp_path_factory.mktemp("stock-runs")
    jobs = {"augmented": (built.augmented, built.topics)}
    for language in LANGUAGES:
        topics = {topic: text for topic, text in built.queries.items() if built.languages[topic] == language}
        path = flows.write_topics(directory / f"{language}.tsv", topics)
        jobs[language] = (built.routed / language, path)
    auto = ["--encoder", built.encoder, "--encoder-class", "auto", "--pooling", "mean", "--l2-norm", "--hits", "15"]
    commands = [
        ["--index", index, "--topics", topics, "--output", directory / f"{name}.txt", *auto]
        for name, (index, topics) in jobs.items()
    ]
    assert flows.stock_many(plain_python, commands) == [None] * 4
    return directory


@pytest.mark.parametrize(
    "options", [(), ("--batch-size", 1), ("--batch-size", 5), ("--batch-size", 3, "--threads", 2)], ids=str
)
def test_encoder_from_the_manifest(built, stock_runs, tmp_path, options):
    output = searched(tmp_path / "runs" / "run.txt", built.augmented, built.topics, "--hits", 15, *options)
    flows.assert_runs_agree(output, stock_runs / "augmented.txt")
    assert [path.name for path in output.parent.iterdir()] == ["run.txt"]


def test_other_ways_to_name_the_encoder(built, stock_runs, tmp_path):
    for number, chosen in enumerate(
        [
            ["--encoder", f"xqg:{built.plain}"],
            ["--encoder-class", "xqg"],
            ["--encoder-class", "xqg", "--encoder", built.plain],
            ["--encoder", built.encoder, "--encoder-class", "auto", "--pooling", "mean", "--l2-norm"],
        ]
    ):
        output = searched(tmp_path / f"{number}.txt", built.augmented, built.topics, "--hits", 15, *chosen)
        flows.assert_runs_agree(output, stock_runs / "augmented.txt")


def test_pre_encoded_queries(built, stock_runs, tmp_path):
    from pyserini.encode import AutoQueryEncoder

    encoder = AutoQueryEncoder(built.encoder, pooling="mean", l2_norm=True)
    rows = [(topic, text, encoder.encode(text)) for topic, text in built.queries.items()]
    pd.DataFrame(rows, columns=["id", "text", "embedding"]).to_pickle(tmp_path / "embedding.pkl")
    output = searched(tmp_path / "run.txt", built.augmented, built.topics, "--hits", 15, "--encoded-queries", tmp_path)
    flows.assert_runs_agree(output, stock_runs / "augmented.txt")


@pytest.mark.parametrize("name", ["languages.tsv", "languages.jsonl"])
def test_routed_is_the_stock_runs_of_each_language_in_pyserinis_order(built, stock_runs, tmp_path, name):
    languages = write_map(tmp_path / name, built.languages)
    output = searched(
        tmp_path / "run.txt", built.routed, built.topics, "--hits", 15, "--route", "--topic-languages", languages
    )
    order = list(flows.read_run(stock_runs / "augmented.txt"))  # Pyserini's, of all topics together
    assert len(order) == 12
    parts = "".join((stock_runs / f"{language}.txt").read_text() for language in LANGUAGES).splitlines(keepends=True)
    assert [line.split()[0] for line in parts[::15]] != order  # merging does reorder
    merged = tmp_path / "merged.txt"
    merged.write_text("".join(line for topic in order for line in parts if line.split()[0] == topic))
    flows.assert_runs_agree(output, merged)
    assert len(output.read_text().splitlines()) == 12 * 15


def test_routed_with_one_language_for_all_topics(built, stock_runs, tmp_path):
    output = searched(
        tmp_path / "run.txt", built.routed, stock_runs / "fi.tsv", "--hits", 15, "--route", "--topic-languages", "fi"
    )
    flows.assert_runs_agree(output, stock_runs / "fi.txt")


def test_whole_numbers_as_topics_keep_pyserinis_order(built, tmp_path):
    topics = flows.write_topics(tmp_path / "topics.tsv", {"10": "missä joki", "9": "نهر", "101": "川", "2": "kala"})
    languages = write_map(tmp_path / "languages.tsv", {"10": "fi", "9": "ar", "101": "ja", "2": "fi"})
    plain = searched(tmp_path / "plain.txt", built.augmented, topics)
    routed = searched(tmp_path / "routed.txt", built.routed, topics, "--route", "--topic-languages", languages)
    assert list(flows.read_run(plain)) == list(flows.read_run(routed)) == ["2", "9", "10", "101"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory, built):
    """Routed index of the bundled sample, which has topics in seven languages."""
    from pyserini_xqg import index

    directory = tmp_path_factory.mktemp("sample")
    index.main(
        [
            *("--corpus", "irds:xqg-sample", "--encoder", built.encoder, "--pooling", "mean", "--device", "cpu"),
            *("--route", "--aggregate", "mean", "--alpha", "0.8", "--output", str(directory / "routed")),
        ]
    )
    return directory / "routed"


def test_topics_and_languages_of_ir_datasets(sample, tmp_path):
    import ir_datasets

    routed = flows.read_run(searched(tmp_path / "routed.txt", sample, "irds:xqg-sample/all", "--route"))
    queries = list(ir_datasets.load("xqg-sample/all").queries_iter())
    assert routed.keys() == {query.query_id for query in queries}
    topics = flows.write_topics(tmp_path / "t.tsv", {query.query_id: query.text for query in queries})
    named = searched(tmp_path / "named.txt", sample, topics, "--route", "--topic-languages", "irds:xqg-sample/all")
    flows.assert_runs_agree(named, tmp_path / "routed.txt")
    for language in ("fi", "ja"):
        alone = flows.read_run(searched(tmp_path / "one.txt", sample / language, f"irds:xqg-sample/{language}"))
        assert alone.keys() == {query.query_id for query in queries if query.lang == language}
        for topic, ranked in alone.items():
            assert [score for _, score in ranked] == pytest.approx([score for _, score in routed[topic]], abs=1e-5)
            assert dict(ranked).keys() == dict(routed[topic]).keys()


def refused(tmp_path, *arguments) -> str:
    """The message that ends a search; no run file is left."""
    output = tmp_path / "out" / "run.txt"
    with pytest.raises(XqgError) as caught:
        search.main([*map(str, arguments), "--output", str(output)])
    assert not output.parent.exists() or not list(output.parent.iterdir())
    return str(caught.value)


def test_topics_are_checked_before_anything_is_loaded(built, tmp_path):
    topics = tmp_path / "topics.tsv"
    topics.write_text("1\tjoki\n2 silta\n", encoding="utf-8")
    assert refused(tmp_path, "--index", built.augmented, "--topics", topics).startswith(f"{topics}, line 2: no tab.")
    missing = tmp_path / "missing.tsv"
    assert refused(tmp_path, "--index", built.augmented, "--topics", missing).startswith(f"{missing}: no such file")
    message = refused(tmp_path, "--index", built.augmented, "--topics", "irds:xqg-sample/xx")
    assert "unknown dataset 'xqg-sample/xx'" in message


def test_routing_and_the_index_must_match(built, tmp_path):
    topics = ["--topics", built.topics]
    message = refused(tmp_path, "--index", built.augmented, *topics, "--route", "--topic-languages", "fi")
    assert message.startswith(f"{built.augmented}: not a routed index")
    message = refused(tmp_path, "--index", built.routed, *topics)
    assert message.startswith(f"{built.routed}: a routed index (ar, fi, ja). Pass --route")
    assert str(built.routed / "ar") in message
    assert "goes with --route" in refused(tmp_path, "--index", built.augmented, *topics, "--topic-languages", "fi")


def test_every_topic_needs_a_language_with_an_index(built, tmp_path):
    command = ["--index", built.routed, "--topics", built.topics, "--route"]
    assert "pass --topic-languages" in refused(tmp_path, *command)
    languages = dict(built.languages)
    del languages["b"]
    message = refused(tmp_path, *command, "--topic-languages", write_map(tmp_path / "l.tsv", languages))
    assert message.startswith("topic 'b': no language given")
    # A language without an index of its own is served by the index of all languages, the passages' by the plain one.
    for code, place in ("ko", "mean"), ("en", "plain"):
        other = searched(tmp_path / f"{code}.txt", built.routed, built.topics, "--route", "--topic-languages", code)
        flows.assert_runs_agree(other, searched(tmp_path / f"{place}.txt", built.routed / place, built.topics))
    assert "neither a language code nor a file" in refused(tmp_path, *command, "--topic-languages", "nowhere.tsv")
    message = refused(tmp_path, *command, "--topic-languages", "fi", "--topics-format", "kilt")
    assert "only the default format can be routed" in message


def test_output_that_cannot_be_merged_is_refused(built, tmp_path):
    command = ["--index", built.routed, "--topics", built.topics, "--route", "--topic-languages", "fi"]
    assert "--output-format kilt" in refused(tmp_path, *command, "--output-format", "kilt")


def test_msmarco_output_is_routed_too(built, tmp_path):
    languages = write_map(tmp_path / "l.tsv", built.languages)
    command = [built.routed, built.topics, "--route", "--topic-languages", languages, "--hits", 2]
    trec = searched(tmp_path / "trec.txt", *command)
    msmarco = searched(tmp_path / "msmarco.txt", *command, "--output-format", "msmarco")
    expected = [line.split()[0:4:2] for line in trec.read_text().splitlines()]
    assert [line.split("\t")[:2] for line in msmarco.read_text().splitlines()] == expected


def test_a_failing_search_leaves_the_old_run(built, tmp_path):
    output = searched(tmp_path / "run.txt", built.augmented, built.topics)
    before = output.read_bytes()
    with pytest.raises(XqgError, match="does not fit"):
        searched(output, built.augmented, built.topics, "--encoder", built.encoder, "--encoder-class", "auto")
    assert output.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.txt"]


def test_missing_indexes_are_named(built, tmp_path):
    gone = tmp_path / "gone"
    assert refused(tmp_path, "--index", gone, "--topics", built.topics).startswith(f"{gone}: no such directory")
    message = refused(tmp_path, "--index", gone, "--topics", built.topics, "--encoder", f"xqg:{built.augmented}")
    assert message.startswith(f"{gone}: neither a directory nor a prebuilt index")
    message = refused(tmp_path, "--index", gone, "--topics", built.topics, "--encoder", f"xqg:{gone}")
    assert message.startswith(f"{gone}: no xqg.json there")
    bare = tmp_path / "bare"
    shutil.copytree(built.augmented, bare)
    (bare / "xqg.json").unlink()
    message = refused(tmp_path, "--index", bare, "--topics", built.topics)
    assert message == f"{bare}: has no xqg.json to take the query encoder from. Pass --encoder."


def test_a_routed_index_that_lost_a_language(built, tmp_path):
    routed = tmp_path / "routed"
    shutil.copytree(built.routed, routed)
    shutil.rmtree(routed / "ja")
    languages = write_map(tmp_path / "l.tsv", built.languages)
    message = refused(tmp_path, "--index", routed, "--topics", built.topics, "--route", "--topic-languages", languages)
    assert message.startswith(f"{routed / 'ja'}: no such directory")
    path = routed / "xqg.json"
    path.write_text(path.read_text().replace('"fi": "fi"', '"fi": "../../idx"'))
    message = refused(tmp_path, "--index", routed, "--topics", built.topics, "--route", "--topic-languages", "fi")
    assert message.startswith(f"{path}: was changed after it was written")
    INDEX_KIND.write(routed, {**INDEX_KIND.read(built.routed), "languages": {"fi": "../../idx"}})
    message = refused(tmp_path, "--index", routed, "--topics", built.topics, "--route", "--topic-languages", "fi")
    assert message.startswith(f"{path}: '../../idx' leads out of its directory")


def test_outputs_that_are_inputs(built, tmp_path):
    topics = shutil.copy(built.topics, tmp_path / "topics.tsv")
    index = shutil.copytree(built.augmented, tmp_path / "index")
    (tmp_path / "link").symlink_to(topics)
    before = directory_bytes(tmp_path)
    for output in (topics, tmp_path / "link", index, index / "index", index / "run.txt", tmp_path):
        with pytest.raises(XqgError, match=r"is what is read|lies in .*, which is read|holds .*, which is read"):
            searched(output, index, topics)
    assert directory_bytes(tmp_path) == before


def test_a_device_is_written_to(built):
    searched("/dev/null", built.augmented, built.topics)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--hits", "many"], "argument --hits: invalid int value: 'many'"),
        (["--encoder", "x", "--encoder-class", "nonsense"], "argument --encoder-class: invalid choice: 'nonsense'"),
    ],
)
def test_unknown_options_are_pyserinis_errors(built, tmp_path, capsys, options, message):
    output = tmp_path / "out" / "run.txt"
    with pytest.raises(SystemExit) as caught:
        searched(output, built.augmented, built.topics, *options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(output.parent.iterdir())


def test_required_options(capsys):
    with pytest.raises(SystemExit) as caught:
        search.main(["--index", "somewhere"])
    assert caught.value.code == 2
    assert "the following arguments are required: --topics, --output" in capsys.readouterr().err


def test_command_line(plain_python, built, tmp_path):
    """As a user types it, activated or not: one line on standard error, status 1."""
    result = flows.run(
        plain_python, "-m", "pyserini_xqg.search", "--index", built.routed, "--topics", built.topics, "--output", "r"
    )
    assert_one_error(result, f"{built.routed}: a routed index (ar, fi, ja)")


@pytest.fixture(scope="module")
def many_topics(tmp_path_factory):
    """So many topics that their search takes some seconds."""
    path = tmp_path_factory.mktemp("many") / "topics.tsv"
    return flows.write_topics(path, {topic: f"joki silta {topic} kala" for topic in range(30_000)})


def start(python, output, built, topics) -> subprocess.Popen:
    command = [python, "-m", "pyserini_xqg.search", "--index", built.augmented, "--topics", topics, "--output", output]
    return subprocess.Popen(
        [*map(str, command), "--hits", "5"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(),
        # A job in the background is begun with interrupts ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_lines(directory, process) -> None:
    """Until the process has written part of its run."""
    end = time.monotonic() + 120
    while not any(path.name.startswith(".") and path.stat().st_size for path in directory.iterdir()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="signals as in POSIX")
def test_interrupted_search_leaves_nothing(plain_python, built, tmp_path, many_topics):
    process = start(plain_python, tmp_path / "run.txt", built, many_topics)
    wait_for_lines(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_two_searches_that_write_the_same_run(plain_python, built, tmp_path):
    processes = [start(plain_python, tmp_path / "run.txt", built, built.topics) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    searched(tmp_path / "alone.txt", built.augmented, built.topics, "--hits", 5)
    flows.assert_runs_agree(tmp_path / "run.txt", tmp_path / "alone.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.txt", "run.txt"]


def test_runs_are_the_same_in_a_second_search(built, tmp_path):
    first = searched(tmp_path / "first.txt", built.augmented, built.topics)
    argv = list(sys.argv)
    second = searched(tmp_path / "second.txt", built.augmented, built.topics)
    assert first.read_bytes() == second.read_bytes()
    assert sys.argv == argv

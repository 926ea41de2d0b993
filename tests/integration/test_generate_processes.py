"""Query generation by processes that are killed, that meet on one output, and on a Ray cluster."""

import multiprocessing
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from generation import FAST, generate, passages, read
from helpers import assert_one_error, command_environment, run_module, write_jsonl

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate import __main__ as command

pytestmark = pytest.mark.integration


def test_killed_twice(tiny_t5, tmp_path):
    """Kills spread over the whole work; what is then finished is what an undisturbed process writes."""
    corpus = write_jsonl(tmp_path / "c.jsonl", passages(90))
    more = (*FAST, "--chunk-size", "1", "--languages", "fi")
    whole, output = tmp_path / "whole" / "q.jsonl", tmp_path / "q.jsonl"
    generate(corpus, tiny_t5, whole, *more)
    arguments = ["--corpus", corpus, "--model", tiny_t5, "--output", output, *more]
    # Forked from a process that has torch already: kills hit the work, not the imports.
    processes = multiprocessing.get_context("forkserver")
    models = [f"transformers.models.{name}" for name in ("auto.modeling_auto", "auto.tokenization_auto")]
    processes.set_forkserver_preload(
        ["pyserini_xqg.generate.pipeline", "torch", *models, "transformers.models.mt5.modeling_mt5"]
    )
    chance, log, ends = random.Random(2305), tmp_path / "q.jsonl.work" / "chunks.jsonl", []
    for target in sorted(chance.sample(range(85), 2)):
        process = processes.Process(target=command.main, args=([str(argument) for argument in arguments],))
        process.start()
        while process.is_alive() and (log.read_bytes().count(b"\n") if log.exists() else -1) < target:
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.02)  # about a chunk's time
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        ends.append(log.read_bytes().count(b"\n") if log.exists() else 0)
    assert not output.exists()
    assert ends[-1] > 0, ends
    result = run_module("pyserini_xqg.generate", *arguments)
    assert result.returncode == 0, result.stderr
    assert "continues after" in result.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert Path(f"{output}.json").read_bytes() == Path(f"{whole}.json").read_bytes()


def test_second_process_is_refused(tiny_t5, tmp_path):
    """Two real commands at once: one writes the output, the other ends with an error and changes nothing."""
    corpus = write_jsonl(tmp_path / "c.jsonl", passages(60))
    output, more = tmp_path / "q.jsonl", (*FAST, "--chunk-size", "1")
    arguments = ["--corpus", corpus, "--model", tiny_t5, "--output", output, *more]
    with subprocess.Popen(
        [sys.executable, "-m", "pyserini_xqg.generate", *arguments],
        stderr=subprocess.PIPE,
        env=command_environment(),
    ) as first:
        log = tmp_path / "q.jsonl.work" / "chunks.jsonl"
        while not (log.exists() and log.stat().st_size):
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.001)
        try:
            first.send_signal(signal.SIGSTOP)  # holds the lock until we let it go on
            with pytest.raises(XqgError, match=r"q\.jsonl\.work: another process is writing it"):
                generate(corpus, tiny_t5, output, *more)
        finally:
            first.send_signal(signal.SIGCONT)
        errors = first.communicate()[1]
    assert first.returncode == 0, errors
    assert len(read(output)) == 60


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


def on_ray(cluster, corpus, model, output, *more) -> subprocess.CompletedProcess:
    arguments = ["--corpus", corpus, "--model", model, "--output", output, *FAST, *more]
    address = cluster.address
    return run_module("pyserini_xqg.generate", *arguments, "--engine", "ray", "--ray-address", address)


def contents(output) -> tuple[bytes, bytes]:
    return Path(output).read_bytes(), Path(f"{output}.json").read_bytes()


def test_ray_makes_the_file_of_one_process(cluster, tiny_t5, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", passages(20))
    generate(corpus, tiny_t5, tmp_path / "whole.jsonl", *FAST)
    output, shards = tmp_path / "q.jsonl", tmp_path / "q.jsonl.shards"
    # As a first run that was broken off leaves them.
    generate(corpus, tiny_t5, shards / "1.jsonl", *FAST, "--shard-id", 1, "--shard-num", 3)
    (shards / "0.jsonl.work").mkdir()
    result = on_ray(cluster, corpus, tiny_t5, output, "--shard-num", 3)
    assert result.returncode == 0, result.stderr
    assert contents(output) == contents(tmp_path / "whole.jsonl")
    ends = [line for line in result.stderr.splitlines() if " of 3 shards complete: shard " in line]
    assert len(ends) == 3
    assert [line.split("shard ")[1] for line in ends if "was before" in line] == ["1 was before"]
    assert not shards.exists()
    before = contents(output)
    assert_one_error(on_ray(cluster, corpus, tiny_t5, output, "--shard-num", 2), "q.jsonl exists")
    assert contents(output) == before
    result = on_ray(cluster, corpus, tiny_t5, output, "--shard-num", 2, "--seed", 3, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert contents(output) != before


def test_faults_on_ray_are_one_line(cluster, tiny_t5, tmp_path):
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"docid": "a", "text": "A."}\n{"docid": "b"}\n')
    assert_one_error(on_ray(cluster, corpus, tiny_t5, tmp_path / "q.jsonl"), f"{corpus}, line 2 (docid b): no text")
    corpus.write_text('{"docid": "a", "text": "A."}\n')
    assert_one_error(on_ray(cluster, corpus, tmp_path / "none", tmp_path / "q.jsonl"), "none: not a directory")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".shards") == ["c.jsonl"]

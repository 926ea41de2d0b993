"""Encoding on a Ray cluster: the same store as in one process, also when a machine is lost in the middle."""

import subprocess
import sys
import time

import pytest
from helpers import assert_one_error, command_environment, corpus_records, directory_bytes, run_module, write_jsonl

from pyserini_xqg import encode

ray = pytest.importorskip("ray", reason="Ray is not installed")

pytestmark = pytest.mark.integration

OPTIONS = ("--device", "cpu", "--dtype", "float32", "--threads", "1", "--keep-query-vectors")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core each on this machine."""
    from ray.cluster_utils import Cluster

    # Lost nodes are noticed within a second, not within half a minute.
    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": health})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    yield nodes
    nodes.shutdown()


def command(corpus, encoder, output, *options) -> list[str]:
    return list(map(str, ["--corpus", corpus, "--encoder", encoder, "--output", output, *OPTIONS, *options]))


def start(cluster, *arguments) -> subprocess.Popen:
    options = ["--engine", "ray", "--ray-address", cluster.address]
    return subprocess.Popen(
        [sys.executable, "-m", "pyserini_xqg.encode", *arguments, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )


def chunks_done(output, number) -> int:
    path = output.with_name(f"{output.name}.shards") / str(number) / "chunks.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_until(process, condition) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_node_is_killed_in_the_middle(cluster, tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(4800))
    encode.main(command(corpus, tiny_encoder, tmp_path / "whole", "--chunk-size", 2))
    output = tmp_path / "store"
    process = start(cluster, *command(corpus, tiny_encoder, output, "--chunk-size", 2, "--shard-num", 2))
    # One shard on each node, of 1,200 chunks: long enough that the node that begins later finds the other at work.
    wait_until(process, lambda: all(chunks_done(output, shard) >= 10 for shard in range(2)))
    cluster.remove_node(cluster.list_all_nodes()[1], allow_graceful=False)
    at_kill = [chunks_done(output, shard) for shard in range(2)]
    assert max(at_kill) < 1200
    _, errors = process.communicate(timeout=300)
    cluster.add_node(num_cpus=1)
    assert process.returncode == 0, errors
    assert directory_bytes(output) == directory_bytes(tmp_path / "whole")
    # The lost shard was continued, not begun anew, and the other one never stopped.
    (continued,) = [line for line in errors.splitlines() if "continues after" in line]
    assert int(continued.split("continues after ")[1].split()[0].replace(",", "")) >= 20
    assert not output.with_name("store.shards").exists()


def test_finished_shards_are_not_encoded_again(cluster, tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(61))
    options = ("--chunk-size", 4)
    encode.main(command(corpus, tiny_encoder, tmp_path / "whole", *options))
    for shard in (0, 2):  # as a first run that was broken off leaves them
        output = tmp_path / "store.shards" / str(shard)
        encode.main(command(corpus, tiny_encoder, output, *options, "--shard-num", 3, "--shard-id", shard))
    process = start(cluster, *command(corpus, tiny_encoder, tmp_path / "store", *options, "--shard-num", 3))
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert directory_bytes(tmp_path / "store") == directory_bytes(tmp_path / "whole")
    ends = [line for line in errors.splitlines() if " of 3 shards complete: shard " in line]
    assert len(ends) == 3
    assert sorted(line.split("shard ")[1] for line in ends if "was before" in line) == ["0 was before", "2 was before"]


def test_shards_of_other_settings_are_refused(cluster, tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(20))
    shard = tmp_path / "store.shards" / "0"
    encode.main(command(corpus, tiny_encoder, shard, "--shard-num", 2, "--shard-id", 0, "--chunk-size", 4))
    before = directory_bytes(shard)
    process = start(cluster, *command(corpus, tiny_encoder, tmp_path / "store", "--shard-num", 2, "--chunk-size", 5))
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith(
        f"error: {shard} holds a finished embedding store with other settings: chunk_size is 4 there and 5 now"
    )
    assert directory_bytes(shard) == before
    assert not (tmp_path / "store").exists()


def test_a_fault_in_the_corpus_is_one_line(cluster, tiny_encoder, tmp_path):
    corpus = tmp_path / "a.jsonl"
    corpus.write_text('{"docid": "a", "text": "A."}\n{"docid": "b"}\n')
    arguments = command(corpus, tiny_encoder, tmp_path / "store", "--engine", "ray", "--ray-address", cluster.address)
    assert_one_error(run_module("pyserini_xqg.encode", *arguments), f"{corpus}, line 2 (docid b): no text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_what_no_machine_can_run_is_refused(cluster, tiny_encoder, tiny_corpus, tmp_path):
    arguments = command(tiny_corpus, tiny_encoder, tmp_path / "store", "--ray-address", cluster.address)
    result = run_module("pyserini_xqg.encode", *arguments, "--engine", "ray", "--threads", "64")
    assert_one_error(result, "needs 64 CPU and 0 GPU, and the largest machines of the cluster have 1 CPU, 0 GPU")


def test_no_cluster_at_the_address(tiny_encoder, tiny_corpus, tmp_path):
    arguments = command(tiny_corpus, tiny_encoder, tmp_path / "store", "--ray-address", "127.0.0.1:1")
    result = run_module("pyserini_xqg.encode", *arguments, "--engine", "ray")
    assert_one_error(result, "--ray-address 127.0.0.1:1: no Ray cluster can be reached there", "Connection refused")


def test_overwrite_begins_anew_and_keeps_what_is_not_ours(cluster, tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(20))
    encode.main(command(corpus, tiny_encoder, tmp_path / "whole"))
    output, shards = tmp_path / "store", tmp_path / "store.shards"
    encode.main(command(corpus, tiny_encoder, output, "--languages", "fi"))
    (shards / "0").mkdir(parents=True)  # as a task that was lost right at its beginning leaves it
    (shards / "thesis.tex").write_text("precious")
    arguments = command(corpus, tiny_encoder, output, "--overwrite", "--ray-address", cluster.address)
    result = run_module("pyserini_xqg.encode", *arguments, "--engine", "ray")
    assert_one_error(result, f"{shards / 'thesis.tex'}: no shard, in a directory for shards alone")
    (shards / "thesis.tex").unlink()
    result = run_module("pyserini_xqg.encode", *arguments, "--engine", "ray")
    assert result.returncode == 0, result.stderr
    assert directory_bytes(output) == directory_bytes(tmp_path / "whole")
    assert not shards.exists()

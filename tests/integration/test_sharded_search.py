"""Stock search of every kind of index: sharded, mapped, compressed."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import assert_one_error, run_module, write_jsonl
from integration import flows

from pyserini_xqg import index, search
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.manifest import INDEX_KIND, index_parts, read_manifest

pytestmark = pytest.mark.integration

KINDS = ("SQfp16", "HNSW16", "IVF4,Flat", "IVF4,PQ4x4", "PCA8,SQ8")
MEAN = ("--aggregate", "mean", "--alpha", "0.5", "--no-normalize")


def build(store, output, *options):
    index.main(["--store", str(store), "--output", str(output), *map(str, options)])
    return output


@pytest.fixture(scope="module")
def ties(built, tmp_path_factory):
    """Every passage three times under different docids: ties within shards and between them."""
    from pyserini_xqg import encode

    directory = tmp_path_factory.mktemp("ties")
    records = [{**record, "docid": f"{copy}{record['docid']}"} for copy in "abc" for record in flows.corpus()]
    corpus = write_jsonl(directory / "corpus.jsonl", records)
    encode.main(
        [
            *("--corpus", str(corpus), "--encoder", built.encoder, "--pooling", "mean", "--l2-norm"),
            *("--output", str(directory / "store"), "--device", "cpu", "--dtype", "float32"),
        ]
    )
    return directory / "store"


@pytest.fixture(scope="module")
def places(built, ties, tmp_path_factory):
    directory = tmp_path_factory.mktemp("indexes")
    made = {
        "shards": build(built.store, directory / "shards", *MEAN, "--shards", 3),
        "many": build(built.store, directory / "many", *MEAN, "--shards", 40),
        "ties": build(ties, directory / "ties", *MEAN),
        "ties-shards": build(ties, directory / "ties-shards", *MEAN, "--shards", 4),
        "ivf": build(built.store, directory / "ivf", *MEAN, "--factory", "IVF4,Flat"),
        "ivf-shards": build(built.store, directory / "ivf-shards", *MEAN, "--factory", "IVF4,Flat", "--shards", 3),
        "hnsw-shards": build(built.store, directory / "hnsw-shards", *MEAN, "--factory", "HNSW16", "--shards", 3),
        "routed-shards": build(
            built.store, directory / "routed-shards", *MEAN, "--route", "--normalize", "--shards", 2
        ),
    }
    for kind in KINDS:
        made[kind] = build(built.store, directory / kind.replace(",", "-"), *MEAN, "--factory", kind)
    return SimpleNamespace(directory=directory, augmented=built.augmented, **{"made": made})


def common(built, place, output):
    return ["--index", place, "--topics", built.topics, "--output", output, "--hits", "15"]


@pytest.fixture(scope="module")
def runs(active_python, built, places, tmp_path_factory):
    """Every index searched by stock Pyserini in one process; the name of a run to its file."""
    directory = tmp_path_factory.mktemp("runs")
    made = {"augmented": built.augmented, **places.made}
    jobs = {name: (place, f"xqg:{place}", []) for name, place in made.items() if name != "routed-shards"}
    jobs["fi"] = built.routed / "fi", f"xqg:{built.routed / 'fi'}", []
    jobs["fi-shards"] = made["routed-shards"] / "fi", f"xqg:{made['routed-shards'] / 'fi'}", []
    for name in ("augmented", "shards"):
        place = made[name]
        jobs[f"{name} auto"] = place, built.encoder, ["--encoder-class", "auto", "--pooling", "mean", "--l2-norm"]
        jobs[f"{name} batch"] = place, f"xqg:{place}", ["--batch-size", "5", "--threads", "2"]
        jobs[f"{name} prf"] = place, f"xqg:{place}", ["--prf-depth", "3", "--prf-method", "avg"]
        prf = ["--prf-depth", "6", "--prf-method", "rocchio", "--rocchio-topk", "3", "--batch-size", "4"]
        jobs[f"{name} rocchio"] = place, f"xqg:{place}", prf
    jobs["hnsw-shards ef"] = made["hnsw-shards"], f"xqg:{made['hnsw-shards']}", ["--ef-search", "64"]
    jobs["plain"] = built.plain, f"xqg:{built.plain}", []
    outputs = {name: directory / f"{name}.txt" for name in jobs}
    commands = [
        [*common(built, place, outputs[name]), "--encoder", encoder, *options]
        for name, (place, encoder, options) in jobs.items()
    ]
    assert flows.stock_many(active_python, commands) == [None] * len(commands)
    return outputs


@pytest.mark.parametrize(
    ("sharded", "whole"),
    [
        ("shards", "augmented"),
        ("many", "augmented"),
        ("shards auto", "augmented auto"),
        ("shards auto", "augmented"),
        ("shards batch", "augmented batch"),
        ("shards prf", "augmented prf"),
        ("shards rocchio", "augmented rocchio"),
        ("ivf-shards", "ivf"),
        ("hnsw-shards ef", "augmented"),  # graphs of 13 passages with 64 candidates are exact
        ("fi-shards", "fi"),
    ],
)
def test_runs_are_those_of_the_whole_index(runs, sharded, whole):
    flows.assert_runs_agree(runs[sharded], runs[whole])


def test_the_comparison_can_fail(runs):
    for one, other in [("augmented", "plain"), ("augmented prf", "augmented")]:
        with pytest.raises(AssertionError):
            flows.assert_runs_agree(runs[one], runs[other])


def test_ties(runs):
    """The same scores; where three passages tie, any of them may be cut off, but none comes twice."""
    whole, sharded = flows.read_run(runs["ties"]), flows.read_run(runs["ties-shards"])
    assert list(whole) == list(sharded)
    for topic, ranked in whole.items():
        scores = [score for _, score in ranked]
        assert scores == pytest.approx([score for _, score in sharded[topic]], abs=flows.TOLERANCE)
        assert len(scores) == len({docid for docid, _ in sharded[topic]}) == 15
        assert max(abs(one - other) for one, other in zip(scores[::3], scores[2::3], strict=True)) < flows.TOLERANCE
        certain = {docid for docid, score in ranked if score > scores[-1] + 2 * flows.TOLERANCE}
        assert certain == {docid for docid, score in sharded[topic] if score > scores[-1] + 2 * flows.TOLERANCE}


@pytest.mark.parametrize(("kind", "least"), [("SQfp16", 0.95), ("HNSW16", 0.9), ("IVF4,Flat", 0.5), ("PCA8,SQ8", 0.4)])
def test_other_kinds_find_most_of_it(runs, kind, least):
    whole, found = flows.read_run(runs["augmented"]), flows.read_run(runs[kind])
    assert list(found) == list(whole)
    shared = [len({d for d, _ in found[topic]} & {d for d, _ in ranked}) / 15 for topic, ranked in whole.items()]
    assert sum(shared) / len(shared) >= least


def test_product_quantisation_is_searched(runs):
    found = flows.read_run(runs["IVF4,PQ4x4"])
    assert len(found) == 12
    assert all(ranked for ranked in found.values())


def test_mapped_indexes_in_the_stock_command(active_python, built, places, runs, tmp_path):
    names = ["augmented", "shards", "IVF4,PQ4x4", "HNSW16"]
    made = {"augmented": built.augmented, **places.made}
    commands = [[*common(built, made[name], tmp_path / name), "--encoder", f"xqg:{made[name]}"] for name in names]
    assert flows.stock_many(active_python, commands, PYSERINI_XQG_MMAP="1") == [None] * len(names)
    for name in names:
        flows.assert_runs_agree(tmp_path / name, runs[name])


def searched(output, built, *options):
    search.main(["--topics", str(built.topics), "--output", str(output), "--hits", "15", *map(str, options)])
    return output


@pytest.mark.usefixtures("registered")
def test_several_indexes_in_our_command(built, places, runs, tmp_path):
    made = places.made
    single = index_parts(made["shards"], read_manifest(made["shards"]))
    for number, options in enumerate(
        [
            ["--index", *single],
            ["--index", *single, "--mmap", "--batch-size", 1],
            ["--index", single[2], single[0], single[1], "--encoder", f"xqg:{made['shards']}"],
            ["--index", made["shards"]],
        ]
    ):
        flows.assert_runs_agree(searched(tmp_path / f"{number}.txt", built, *options), runs["augmented"])
    # Shards of a sharded index and a single index beside it; without manifests too, as stock Pyserini writes them.
    ties = index_parts(made["ties-shards"], read_manifest(made["ties-shards"]))
    flows.assert_runs_agree(
        searched(tmp_path / "mixed.txt", built, "--index", ties[3], ties[0], ties[2], ties[1], "--hits", 9),
        searched(tmp_path / "whole.txt", built, "--index", made["ties-shards"], "--hits", 9),
    )
    for number, shard in enumerate(single):
        shutil.copytree(shard, tmp_path / f"bare{number}")
        (tmp_path / f"bare{number}" / "xqg.json").unlink()
    bare = [tmp_path / f"bare{number}" for number in range(3)]
    auto = ["--encoder", built.encoder, "--encoder-class", "auto", "--pooling", "mean", "--l2-norm"]
    flows.assert_runs_agree(searched(tmp_path / "bare.txt", built, "--index", *bare, *auto), runs["augmented"])
    with pytest.raises(XqgError, match=r"bare0: has no xqg\.json"):
        searched(tmp_path / "never.txt", built, "--index", *bare)


# Faults


@pytest.mark.usefixtures("registered")
def test_shards_that_do_not_belong_together(built, tmp_path):
    for options, message in [
        ([built.augmented, built.augmented], r"docid 'p0' is in .*augmented and in .*augmented\. Keep it in one"),
        ([built.augmented, built.plain], "were built otherwise .alpha differ"),
        ([built.augmented, built.routed], "routed: a routed index, which is searched alone"),
        ([built.augmented, tmp_path / "none"], "none: no such directory"),
        ([built.routed, built.routed, "--route", "--topic-languages", "fi"], "--route with several --index"),
    ]:
        with pytest.raises(XqgError, match=message):
            searched(tmp_path / "never.txt", built, "--index", *options)
    assert not (tmp_path / "never.txt").exists()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda place: shutil.rmtree(place / "2"), "its shard .*2 is missing"),
        (lambda place: (place / "2" / "index").unlink(), "2: no FAISS index there .index is missing."),
        (lambda place: (place / "2" / "docid").write_text("a\n"), "and docid 1 lines, .* were expected"),
        (
            lambda place: (place / "xqg.json").write_text((place / "xqg.json").read_text().replace('"2",', "")),
            r"xqg\.json: was changed after it was written",
        ),
        (
            lambda place: INDEX_KIND.write(place, {**read_manifest(place), "shards": ["1", "3"]}),
            "has 27 vectors of 32 dimensions and docid 27 lines, 40 of 32 were expected",
        ),
        (
            lambda place: shutil.copy(place / "xqg.json", place / "2" / "xqg.json"),
            "its shard .*2 is a sharded index",
        ),
    ],
    ids=["shard gone", "index gone", "docid cut", "edited", "shard left out", "shards in a shard"],
)
def test_a_damaged_sharded_index_is_named(built, places, tmp_path, damage, message):
    place = tmp_path / "index"
    shutil.copytree(places.made["shards"], place)
    searched(tmp_path / "run.txt", built, "--index", place)
    damage(place)
    with pytest.raises(XqgError, match=message) as caught:
        searched(tmp_path / "never.txt", built, "--index", place)
    assert str(place) in str(caught.value)


def test_a_misfit_is_refused_in_one_line(built, places, tmp_path):
    result = run_module(
        "pyserini_xqg.search",
        *("--index", places.made["shards"], "--topics", built.topics, "--output", tmp_path / "run.txt"),
        *("--encoder", built.encoder, "--encoder-class", "auto"),
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.returncode == 1
    assert len(lines) == 1
    assert "the query encoder does not fit" in lines[0]
    assert_one_error(run_module("pyserini_xqg.search", "--index", built.plain, places.directory / "none",
                                "--topics", built.topics, "--output", tmp_path / "run.txt"),
                     "none: no such directory")  # fmt: skip


# Memory

_MEMORY = """
import resource, sys
import faiss, numpy
from pyserini_xqg.vectors.faiss_index import Shards, read_mapped

def own():  # bytes of memory that no file backs: what mapping is to save
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))

read = read_mapped if sys.argv[1] == "map" else faiss.read_index
query = numpy.ones((1, int(sys.argv[2])), dtype="float32")
faiss.IndexFlatIP(len(query[0])).search(query, 1)  # threads and buffers are there before the measurement
before = own()
shards = Shards([read(path) for path in sys.argv[3:]])
rows = shards.search(query, 5)[1]
print(own() - before, *rows[0])
"""


def test_mapped_flat_shards_take_no_memory(tmp_path):
    """300 MB of vectors, all of them searched."""
    import numpy as np

    from pyserini_xqg.vectors.flat import write_flat_index

    dimension, number = 768, 51_200
    random = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("a", "b")]
    for path in paths:
        blocks = (random.normal(size=(1024, dimension)).astype(np.float32) for _ in range(number // 1024))
        write_flat_index(path, dimension, number, blocks)
    size = sum(path.stat().st_size for path in paths)
    assert size > 300e6
    found = {}
    for way in ("map", "read"):
        command = [sys.executable, "-c", _MEMORY, way, str(dimension), *map(str, paths)]
        taken, *rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found[way] = int(taken), rows
    assert found["read"][0] > 0.95 * size
    assert found["map"][0] < 0.05 * size
    assert found["map"][1] == found["read"][1]

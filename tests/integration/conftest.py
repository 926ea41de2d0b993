"""Scratch environments and indexes for the whole-flow tests; built once a session."""

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import LANGUAGES, sentence, write_jsonl
from integration import flows


@pytest.fixture(scope="session", autouse=True)
def ir_datasets_home(tmp_path_factory):
    """Neither these tests nor the commands they start write to the user's home or ask the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def plain_python(tmp_path_factory) -> Path:
    """Python of an environment where nobody ran pyserini_xqg.activate."""
    return flows.scratch_environment(tmp_path_factory.mktemp("plain-environment"))


@pytest.fixture(scope="session")
def active_python(tmp_path_factory) -> Path:
    """Python of an activated environment."""
    python = flows.scratch_environment(tmp_path_factory.mktemp("active-environment"))
    result = flows.run(python, "-m", "pyserini_xqg.activate")
    assert result.returncode == 0, result.stderr
    return python


@pytest.fixture(scope="session")
def registered():
    """This process with xQG registered; starts the Java virtual machine."""
    import pyserini_xqg

    pyserini_xqg.register()


def _topics() -> dict[str, str]:
    """Twelve topics in three languages; whole numbers, a huge one and a word as ids, so that Pyserini's order shows."""
    chance = random.Random(3)
    ids = ("9", "-1018987027025691298", "10", "101", "a7", "2", "33", "b", "1", "100", "20", "3")
    return {topic: sentence(LANGUAGES[row % 3], 4, chance) for row, topic in enumerate(ids)}


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_encoder) -> SimpleNamespace:
    """A corpus, its store with mean pooling and unit length, and a plain, an augmented and a routed index of it."""
    from pyserini_xqg import encode, index

    directory = tmp_path_factory.mktemp("built")
    corpus = write_jsonl(directory / "corpus.jsonl", flows.corpus())
    store = directory / "store"
    encode.main(
        [
            *("--corpus", str(corpus), "--encoder", tiny_encoder, "--pooling", "mean", "--l2-norm"),
            *("--output", str(store), "--device", "cpu", "--dtype", "float32"),
        ]
    )
    options = {"plain": ["--alpha", "0"], "augmented": ["--aggregate", "mean", "--alpha", "0.5", "--no-normalize"]}
    options["routed"] = ["--aggregate", "mean", "--alpha", "0.5", "--route", "--normalize"]
    for name, chosen in options.items():
        index.main(["--store", str(store), "--output", str(directory / name), *chosen])
    topics = _topics()
    return SimpleNamespace(
        directory=directory,
        encoder=tiny_encoder,
        corpus=corpus,
        store=store,
        plain=directory / "plain",
        augmented=directory / "augmented",
        routed=directory / "routed",
        topics=flows.write_topics(directory / "topics.tsv", topics),
        queries=topics,
        languages={topic: LANGUAGES[row % 3] for row, topic in enumerate(topics)},
    )

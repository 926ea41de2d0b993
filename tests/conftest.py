"""What several test modules need: tiny models, corpora, stores and indexes, built once a session."""

import os
import random
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

# Before anything imports the libraries that read these. Nothing asks a hub, which would cost half a minute of retries;
# the encoders here are tiny: a second thread costs more than it brings.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
os.environ.setdefault("OMP_NUM_THREADS", "1")

from generation import passages
from generators import build_tiny_t5
from helpers import LANGUAGES, build_tiny_encoder, corpus_records, run_command, sentence, write_jsonl
from integration import flows
from official_scorer import forget_tokens

# Read now, before any test changes the environment.
_DATA = Path(os.environ.get("PYSERINI_XQG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


# Minutes each: begun first, so that no process is left with one at the end.
_SLOW_FILES = (
    "test_reproduce_flow.py",
    "test_readme.py",
    "test_compare_flow.py",
    "test_retriever_flow.py",
    "test_training_flow.py",
    "test_ray.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Units before whole flows, and of these the slow ones first."""

    def order(item: pytest.Item) -> int:
        if item.get_closest_marker("integration") is None:
            return 0
        return 1 + (_SLOW_FILES.index(item.path.name) if item.path.name in _SLOW_FILES else len(_SLOW_FILES))

    items.sort(key=order)


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory):
    """Neither the tests nor the commands they start write to the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def shared_data() -> Path:
    """The published data, which is no part of the repository: tests that need it are skipped where it is absent."""
    if not _DATA.is_dir():
        pytest.skip("no published data: set PYSERINI_XQG_DATA to the directory that holds xor-tydi/ and xquad/")
    return _DATA


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> str:
    """Directory of a real BERT with two layers of 32 dimensions."""
    return build_tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def tiny_xlm_roberta(tmp_path_factory) -> str:
    """Directory of a real XLM-RoBERTa of the same size, with a Unigram tokenizer."""
    return flows.build_model("xlm-roberta", tmp_path_factory.mktemp("tiny-xlm-roberta"))


@pytest.fixture
def tiny_corpus(tmp_path) -> Path:
    """A JSONL of 23 passages with ragged queries in three languages."""
    return write_jsonl(tmp_path / "tiny.jsonl", corpus_records(23))


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory) -> str:
    """Directory of a real mT5 with two layers of 32 dimensions, which writes words of four languages in no order."""
    return build_tiny_t5(tmp_path_factory.mktemp("tiny-t5"))


@pytest.fixture(scope="session")
def built(tmp_path_factory, tiny_encoder) -> SimpleNamespace:
    """What the commands make of one corpus, to read and never to change (copy what a test changes).

    ``corpus`` (JSONL of ``records``), ``store`` (mean pooling, unit length) and ``kept`` (with its query vectors); the
    indexes ``plain``, ``augmented``, ``routed``; ``topics`` (TSV of ``queries``: topic to text), ``languages`` (topic
    to code), ``questions`` (JSONL with languages and answers) and ``qrels``; ``encoder`` and ``options`` for it.
    """
    directory = tmp_path_factory.mktemp("built")
    records = flows.corpus()
    corpus = write_jsonl(directory / "corpus.jsonl", records)
    options = ["--encoder", tiny_encoder, "--pooling", "mean", "--l2-norm", "--device", "cpu", "--dtype", "float32"]
    _run("encode", "--corpus", corpus, *options, "--output", directory / "store")
    _run("encode", "--corpus", corpus, *options, "--output", directory / "kept", "--keep-query-vectors")
    mean = ["--aggregate", "mean", "--alpha", "0.5"]
    recipes = {
        "plain": ["--alpha", "0"],
        "augmented": [*mean, "--no-normalize"],
        "routed": [*mean, "--route", "--normalize"],
    }
    for name, recipe in recipes.items():
        _run("index", "--store", directory / "store", "--output", directory / name, *recipe)
    topics = _topics()
    languages = {topic: LANGUAGES[row % 3] for row, topic in enumerate(topics)}
    gold = {topic: records[3 * row + 1] for row, topic in enumerate(topics)}
    questions = [
        {"id": topic, "question": text, "lang": languages[topic], "answers": gold[topic]["text"].split()[:1]}
        for topic, text in topics.items()
    ]
    qrels = directory / "qrels.txt"
    qrels.write_text("".join(f"{topic} 0 {record['docid']} 1\n" for topic, record in gold.items()), encoding="utf-8")
    return SimpleNamespace(
        directory=directory,
        encoder=tiny_encoder,
        options=options,
        records=records,
        corpus=corpus,
        **{name: directory / name for name in ("store", "kept", *recipes)},
        topics=flows.write_topics(directory / "topics.tsv", topics),
        queries=topics,
        languages=languages,
        questions=write_jsonl(directory / "questions.jsonl", questions),
        qrels=qrels,
    )


def _run(command, *arguments) -> None:
    result = run_command(command, *arguments)
    assert result.returncode == 0, result.stderr


def _topics() -> dict[str, str]:
    """Twelve topics in three languages; whole numbers, a huge one and a word as ids, so that Pyserini's order shows."""
    chance = random.Random(3)
    ids = ("9", "-1018987027025691298", "10", "101", "a7", "2", "33", "b", "1", "100", "20", "3")
    return {topic: sentence(LANGUAGES[row % 3], 4, chance) for row, topic in enumerate(ids)}


@pytest.fixture
def bare_corpus(tmp_path) -> Path:
    """A JSONL of 11 passages without queries."""
    return write_jsonl(tmp_path / "bare.jsonl", passages(11))


@pytest.fixture
def nltk_data(monkeypatch, tmp_path):
    """A place for NLTK's data, alone on its path; the caches that remember what was found are emptied."""
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    forget_tokens()
    yield tmp_path / "nltk_data"
    monkeypatch.undo()
    forget_tokens()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, or a skipped test where mounting is not permitted."""
    directory = tmp_path / "disk"
    directory.mkdir()
    try:
        options = ["-t", "tmpfs", "-o", "size=128k", "tmpfs"]
        mounted = subprocess.run(["mount", *options, directory], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", directory], check=True)

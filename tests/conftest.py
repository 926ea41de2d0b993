"""What several test modules need."""

import os
import subprocess
from pathlib import Path

import pytest
from generation import passages
from generators import build_tiny_t5
from helpers import build_tiny_encoder, corpus_records, write_jsonl
from official_scorer import forget_tokens

# The encoders here are tiny: a second thread costs more than it brings.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Read now, before any test changes the environment.
_DATA = Path(os.environ.get("PYSERINI_XQG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


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


@pytest.fixture
def tiny_corpus(tmp_path) -> Path:
    """A JSONL of 23 passages with ragged queries in three languages."""
    return write_jsonl(tmp_path / "tiny.jsonl", corpus_records(23))


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory) -> str:
    """Directory of a real mT5 with two layers of 32 dimensions, which writes words of four languages in no order."""
    return build_tiny_t5(tmp_path_factory.mktemp("tiny-t5"))


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

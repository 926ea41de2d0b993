"""What several test modules need."""

import os
from pathlib import Path

import pytest

# Read now, before any test changes the environment.
_DATA = Path(os.environ.get("PYSERINI_XQG_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


@pytest.fixture
def shared_data() -> Path:
    """The published data, which is no part of the repository: tests that need it are skipped where it is absent."""
    if not _DATA.is_dir():
        pytest.skip("no published data: set PYSERINI_XQG_DATA to the directory that holds xor-tydi/ and xquad/")
    return _DATA

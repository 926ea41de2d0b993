"""Scratch environments for the whole-flow tests; built once a session."""

from pathlib import Path

import pytest
from integration import flows


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

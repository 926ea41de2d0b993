"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest
from helpers import command_environment

import pyserini_xqg

# Importing these, or running their examples, starts Pyserini and with it a Java virtual machine.
NEEDS_PYSERINI = {"pyserini_xqg", "pyserini_xqg.vectors.encoders"}
MODULES = sorted(
    {"pyserini_xqg"}
    | {
        module.name
        for module in pkgutil.walk_packages(pyserini_xqg.__path__, "pyserini_xqg.")
        if not module.name.endswith("__main__")
    }
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", [name for name in MODULES if name not in NEEDS_PYSERINI])
def test_examples(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_examples_are_found():
    """So that a module whose examples are no longer collected does not pass unseen."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), {}
    for name in MODULES:
        if name not in NEEDS_PYSERINI:
            found[name] = sum(len(test.examples) for test in finder.find(importlib.import_module(name)))
    for name in (
        "augmentation",
        "corpus",
        "embedding",
        "demo",
        "errors",
        "faiss_index",
        "files",
        "flat",
        "index",
        "languages",
        "store",
        "topics",
    ):
        assert found[f"pyserini_xqg.{name}"] > 0


@pytest.mark.integration
@pytest.mark.parametrize("name", sorted(NEEDS_PYSERINI))
def test_examples_that_need_pyserini(name):
    code = f"import doctest, importlib, sys; sys.exit(doctest.testmod(importlib.import_module({name!r})).failed)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=command_environment())
    assert result.returncode == 0, result.stdout + result.stderr

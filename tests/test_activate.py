"""``python -m pyserini_xqg.activate`` in scratch environments."""

import os
from pathlib import Path

import pytest
from helpers import assert_one_error
from integration import flows

from pyserini_xqg.activate import PTH_LINE, PTH_NAME

_KNOWS = "import sys; print([name for name in sys.modules if name.startswith('pyserini_xqg')], end='')"
LOADED = "['pyserini_xqg', 'pyserini_xqg._startup']"


@pytest.fixture
def python(tmp_path) -> Path:
    return flows.scratch_environment(tmp_path / "environment")


@pytest.fixture
def pth(python) -> Path:
    return flows.purelib(python) / PTH_NAME


def activate(python, *options):
    return flows.run(python, "-m", "pyserini_xqg.activate", *options)


def test_activate_status_remove(python, pth):
    status = activate(python, "--status")
    assert status.returncode == 1
    assert f"not active in {pth}" in status.stdout
    assert flows.run(python, "-c", _KNOWS).stdout == "[]"

    first = activate(python)
    assert first.returncode == 0, first.stderr
    assert pth.read_text() == PTH_LINE
    assert f"xQG:    active in {pth}" in first.stdout
    assert "Java:" in first.stdout
    assert flows.run(python, "-c", _KNOWS).stdout == LOADED

    again = activate(python)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    status = activate(python, "--status")
    assert (status.returncode, status.stdout) == (0, first.stdout)
    assert [path.name for path in pth.parent.glob("*xqg*.pth")] == [PTH_NAME]

    removed = activate(python, "--remove")
    assert (removed.returncode, removed.stdout) == (0, f"removed {pth}\n")
    assert not pth.exists()
    assert flows.run(python, "-c", _KNOWS).stdout == "[]"
    removed = activate(python, "--remove")
    assert (removed.returncode, removed.stdout) == (0, f"nothing to remove: no {pth}\n")
    assert activate(python, "--status").returncode == 1


def test_a_file_of_another_version_is_not_active_and_is_replaced(python, pth):
    pth.write_text("# of an older version\n")
    assert activate(python, "--status").returncode == 1
    assert activate(python).returncode == 0
    assert pth.read_text() == PTH_LINE


def test_status_and_remove_exclude_each_other(python):
    assert_one_error(activate(python, "--status", "--remove"), "--status changes nothing, --remove does")


def test_an_environment_that_cannot_be_written(python, pth):
    pth.mkdir()  # root may write anywhere, but not a file where a directory is
    cure = "python3 -m venv .venv && .venv/bin/python -m pyserini_xqg.activate"
    assert_one_error(activate(python), f"{pth}: cannot be written", cure)
    assert_one_error(activate(python, "--remove"), f"{pth}: cannot be removed")
    pth.rmdir()
    if os.geteuid() == 0:
        pytest.skip("root may write read-only directories: only half of this was tested")
    pth.parent.chmod(0o555)
    try:
        assert_one_error(activate(python), f"{pth}: cannot be written (Permission denied)", cure)
    finally:
        pth.parent.chmod(0o755)


def test_a_forgotten_file_without_the_package_is_harmless(tmp_path):
    python = flows.scratch_environment(tmp_path / "environment", packages=False)
    assert flows.run(python, "-c", "import pyserini_xqg").returncode == 1  # it is not installed there
    (flows.purelib(python) / PTH_NAME).write_text(PTH_LINE)
    result = flows.run(python, "-c", "print('started')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "started\n", "")


@pytest.mark.integration
def test_stock_pyserini_knows_xqg_only_while_it_is_active(python):
    keys = f"{flows.JAVA_ALONE}from pyserini.encode import query_encoder_class_map as m; print(*m)"
    activate(python)
    assert "xqg" in flows.run(python, "-c", keys).stdout.split()
    activate(python, "--remove")
    result = flows.run(python, "-c", keys)
    assert "auto" in result.stdout.split(), result.stderr
    assert "xqg" not in result.stdout.split()

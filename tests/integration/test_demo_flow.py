"""The demo from end to end, as a user runs it."""

import re

import pytest
from helpers import assert_one_error
from integration import flows
from integration.pages import ROOT

pytestmark = pytest.mark.integration

LANGUAGES = ["ar", "bn", "fi", "ja", "ko", "ru", "te"]


def table(text: str, measure: str) -> dict[str, dict[str, float]]:
    """The printed table of one measure: run to column to value."""
    lines = text.splitlines()
    start = lines.index(measure)
    columns = lines[start + 1].split()
    assert columns[0] == "run"
    rows = {}
    for line in lines[start + 2 :]:
        if not line.strip():
            break
        name, *values = line.replace(">", " ").split()  # > marks the best of a column
        rows[name.rsplit("/", 1)[-1]] = dict(zip(columns[1:], map(float, values), strict=True))
    return rows


def documented() -> list[dict[str, float]]:
    """The rows of README's table."""
    rows = re.search(
        r"^\| run \| ar .*?\n\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    cells = [[cell.strip() for cell in row.split("|")[2:-1]] for row in rows.group().splitlines() if row.strip()]
    return [dict(zip(cells[0], map(float, row), strict=True)) for row in cells[2:]]


def test_demo(active_python, tmp_path):
    result = flows.run(active_python, "-m", "pyserini_xqg.demo", "--output", tmp_path / "demo", timeout=600)
    assert result.returncode == 0, result.stderr
    for command in ("pyserini_xqg.encode", "pyserini_xqg.index", "pyserini.search.faiss", "pyserini_xqg.evaluate"):
        assert f"$ python -m {command} " in result.stdout
    scores = table(result.stdout, "RR@10")
    assert list(scores) == ["plain.txt", "paper.txt", "default.txt", "routed.txt"]
    plain, mean, routed = (scores[f"{name}.txt"] for name in ("plain", "default", "routed"))
    assert list(plain) == [*LANGUAGES, "avg"]
    for language in LANGUAGES:
        assert routed[language] > plain[language], language
        assert mean[language] > plain[language], language
    assert routed["avg"] > mean["avg"] > plain["avg"] > 40  # a random order of 48 passages: 6
    for printed, shown in zip(scores.values(), documented(), strict=True):
        assert printed == pytest.approx(shown, abs=0.05)  # README shows what the demo prints
    assert len(flows.read_run(tmp_path / "demo" / "runs" / "routed.txt")) == 7 * 48


def test_demo_where_nobody_activated(plain_python, tmp_path):
    result = flows.run(plain_python, "-m", "pyserini_xqg.demo", "--output", tmp_path / "demo")
    assert_one_error(result, "Run: python -m pyserini_xqg.activate")
    assert not (tmp_path / "demo").exists()

"""Runs README's commands as they stand, on the bundled sample."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from generators import build_tiny_t5

from pyserini_xqg import activate, datasets, default_encoder
from pyserini_xqg.text.corpus import Corpus

pytestmark = pytest.mark.integration

README = Path(__file__).resolve().parents[2] / "README.md"
SAMPLE = Path(datasets.__file__).parent / "sample"
# What CI runs as it stands: a fresh environment, and both commands of "Try it".
RUN_BY_CI = {"make demo", "make test", 'pip install ".[java]"'}


def commands(language: str) -> list[str]:
    """The code blocks of a language; for ``sh``, one string a command, without comments."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if language != "sh":
        return blocks
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [stripped for line in lines if (stripped := re.sub(r"\s+#.*$", "", line).strip())]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the files that README's commands name."""
    directory = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE / "passages.jsonl", directory / "passages.jsonl")
    shutil.copy(SAMPLE / "queries.jsonl", directory / "questions.jsonl")
    shutil.copy(SAMPLE / "qrels.txt", directory / "qrels.txt")
    questions = [json.loads(line) for line in (SAMPLE / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    for name, field in (("topics.tsv", "question"), ("topic-languages.tsv", "lang")):
        rows = (f"{question['id']}\t{question[field]}\n" for question in questions)
        (directory / name).write_text("".join(rows), encoding="utf-8")
    with open(directory / "texts.jsonl", "w", encoding="utf-8") as out:
        for line in (SAMPLE / "passages.jsonl").read_text(encoding="utf-8").splitlines():
            passage = json.loads(line)
            passage.pop("generated_queries")
            out.write(json.dumps(passage, ensure_ascii=False) + "\n")
    passages = {passage.docid: passage for passage in Corpus(str(SAMPLE / "passages.jsonl"))}
    answered = dict(line.split()[:3:2] for line in (SAMPLE / "qrels.txt").read_text(encoding="utf-8").splitlines())
    with open(directory / "pairs.jsonl", "w", encoding="utf-8") as out:
        for question in questions:
            passage = passages[answered[question["id"]]]
            pair = {"query_id": question["id"], "query": question["question"], "lang": question["lang"]}
            pair["positive_passages"] = [{"docid": passage.docid, "title": passage.title, "text": passage.text}]
            out.write(json.dumps(pair, ensure_ascii=False) + "\n")
    for name, word in (("english.txt", "house"), ("estonian.txt", "maja")):
        (directory / name).write_text("".join(f"{word} number {number}\n" for number in range(60)), encoding="utf-8")
    # The hub's checkpoints cannot be loaded everywhere: directories of their names take their place.
    mbert = directory / "ielabgroup" / "bert-base-multilingual-cased-xor-tydi"
    mbert.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(default_encoder.directory(), name), mbert / name)
    build_tiny_t5(directory / "ielabgroup" / "xor-tydi-docTquery-mt5-base")
    return directory


def run(arguments: list[str] | str, workplace: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        arguments, shell=isinstance(arguments, str), cwd=workplace, env=environment, capture_output=True, text=True
    )


def test_commands_run(workplace: Path):
    if not activate.is_active():
        pytest.fail("this environment is not activated: run python -m pyserini_xqg.activate")
    found = commands("sh")
    assert set(found) >= RUN_BY_CI
    ours = [command for command in found if command not in RUN_BY_CI]
    assert all(command.startswith(("python -m pyserini_xqg.", "python -m pyserini.")) for command in ours), ours
    for command in ours:
        result = run(command, workplace)
        assert result.returncode == 0, f"{command}\n{result.stderr}"
    assert len(ours) >= 12

    paper, auto = (
        [line.split()[:3] for line in (workplace / "runs" / name).read_text().splitlines()]
        for name in ("paper.txt", "paper.auto.txt")
    )
    agree = sum(one == other for one, other in zip(paper, auto, strict=True))
    assert agree >= 0.97 * len(paper)  # all 48 passages are ranked, and bfloat16 against float32 swaps near ties


def test_python_example(workplace: Path):
    (example,) = commands("python")
    result = run([sys.executable, "-c", example], workplace)
    assert result.returncode == 0, result.stderr
    scores = result.stdout.strip().splitlines()[-1]
    assert "R@2kt" in scores and "RR@10" in scores


def test_demo_table(tmp_path: Path):
    """The table in README is the one that the demo prints."""
    result = run([sys.executable, "-m", "pyserini_xqg.demo", "--output", str(tmp_path / "demo")], tmp_path)
    assert result.returncode == 0, result.stderr
    table = result.stdout.split("\nRR@10\n")[1].split("\n\n")[0].splitlines()[1:]
    printed = [[float(value) for value in line.replace(">", " ").split()[1:]] for line in table]
    rows = re.search(r"^\| run \| ar .*?\n\n", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    documented = [[float(cell) for cell in row.split("|")[2:-1]] for row in rows.group().strip().splitlines()[2:]]
    assert len(printed) == len(documented) == 4
    for found, expected in zip(printed, documented, strict=True):
        assert found == pytest.approx(expected, abs=0.05)

"""Runs the commands and examples of every page as they stand, with tiny models for the hub's: see pages.py."""

import json
import re
import shutil
from pathlib import Path

import pytest
from generators import build_tiny_t5
from integration import pages
from integration.pages import PAGES, ROOT, Step

from pyserini_xqg import datasets, default_encoder
from pyserini_xqg.text.corpus import Corpus

pytestmark = pytest.mark.integration

SAMPLE = Path(datasets.__file__).parent / "sample"


def encoder(directory: Path) -> None:
    """The default encoder's weights without its settings, as a hub's plain checkpoint has none."""
    directory.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(default_encoder.directory(), name), directory / name)


def generator(directory: Path) -> None:
    directory.mkdir(parents=True)
    build_tiny_t5(directory)


# What takes the place of the hub's models.
MODELS = {
    "ielabgroup/bert-base-multilingual-cased-xor-tydi": encoder,
    "intfloat/multilingual-e5-small": encoder,
    "BAAI/bge-m3": encoder,
    "Qwen/Qwen3-Embedding-0.6B": encoder,
    "google/embeddinggemma-300m": encoder,
    "Snowflake/snowflake-arctic-embed-l-v2.0": encoder,
    "Alibaba-NLP/gte-multilingual-base": encoder,
    "sentence-transformers/LaBSE": encoder,
    "sentence-transformers/all-MiniLM-L6-v2": encoder,
    "ielabgroup/xor-tydi-docTquery-mt5-base": generator,
    "ielabgroup/xor-tydi-docTquery-mt5-large": generator,
}
_MODEL_OPTION = re.compile(r"--(?:encoder|model|teacher|student)[ =](?!xqg)([A-Za-z][\w.-]*/[\w.-]+)(?=\s|$)")
_MADE_HERE = ("models/", "indexes/", "stores/")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds the files that the pages' commands name, made of the bundled sample."""
    directory = tmp_path_factory.mktemp("pages")
    for name, ours in (("passages.jsonl", None), ("queries.jsonl", "questions.jsonl"), ("qrels.txt", None)):
        shutil.copy(SAMPLE / name, directory / (ours or name))
    questions = [json.loads(line) for line in (SAMPLE / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    for name, field in (("topics.tsv", "question"), ("topic-languages.tsv", "lang")):
        rows = (f"{question['id']}\t{question[field]}\n" for question in questions)
        (directory / name).write_text("".join(rows), encoding="utf-8")
    passages = {passage.docid: passage for passage in Corpus(str(SAMPLE / "passages.jsonl"))}
    answered = dict(line.split()[:3:2] for line in (SAMPLE / "qrels.txt").read_text(encoding="utf-8").splitlines())
    texts = [{"docid": passage.docid, "title": passage.title, "text": passage.text} for passage in passages.values()]
    pairs = [
        {
            "query_id": question["id"],
            "query": question["question"],
            "lang": question["lang"],
            "positive_passages": [text for text in texts if text["docid"] == answered[question["id"]]],
        }
        for question in questions
    ]
    # Few to generate for: the generator's words are of no language, so that each query is drawn several times.
    for name, records in (("texts.jsonl", texts[:6]), ("pairs.jsonl", pairs)):
        lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (directory / name).write_text("".join(lines), encoding="utf-8")
    for name, word in (("english.txt", "house"), ("estonian.txt", "maja")):
        (directory / name).write_text("".join(f"{word} number {number}\n" for number in range(60)), encoding="utf-8")
    for name, build in MODELS.items():
        build(directory / name)
    return directory


@pytest.fixture(scope="module")
def results(workplace) -> dict[Path, list[pages.Result]]:
    """Page to how its steps ended; README.md's are run first, for the others build on them."""
    done: set[str] = set()
    results = {}
    for page in PAGES:
        todo = [step for step in pages.steps(page.read_text(encoding="utf-8")) if step.text not in done]
        done |= {step.text for step in todo}
        results[page] = pages.run_steps(todo, workplace) if todo else []
    return results


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_runs(page, results):
    for result in sorted(results[page], key=lambda result: -result.seconds)[:5]:
        print(f"{result.seconds:5.1f} s  {result.step.text.splitlines()[0][:120]}")
    assert not pages.failures(results[page]), "\n\n".join(pages.failures(results[page]))


def test_pages_name_only_models_that_have_a_place_here():
    named = {
        name
        for page in PAGES
        for step in pages.steps(page.read_text(encoding="utf-8"))
        for name in _MODEL_OPTION.findall(step.text)
        if not name.startswith(_MADE_HERE)
    }
    assert named <= MODELS.keys()


def test_what_a_page_says_is_found():
    page = """
```sh
make demo
python -m pyserini_xqg.index --store a \\
  --output b     # a comment
python -m pyserini_xqg.store info b
```
<!-- printed -->
```text
passages   48
… 7 languages
```
<!-- not run: asks the hub -->
```sh
python -m pyserini_xqg.encode
```
```python
print("x")
```
```text
python -m pyserini_xqg.search
```
"""
    index, info, example = pages.steps(page)
    assert index.text == "python -m pyserini_xqg.index --store a --output b"
    assert info == Step("python -m pyserini_xqg.store info b", printed=["passages   48", "… 7 languages"])
    assert example == Step('print("x")\n', python=True)
    assert pages.Result(info, 0, "passages 48\nqueries in 7 languages\n", 1.0).missing() == []
    assert pages.Result(info, 0, "in 7 languages\npassages 48", 1.0).missing() == ["… 7 languages"]
    assert Step("python -m pyserini_xqg.store info *").arguments is None


def test_steps_end_as_processes_do(tmp_path):
    """All kinds of steps: ours with its output in a file, a shell's, an example, a failure, the end of it all."""
    todo = [
        Step("python -m pyserini_xqg.datasets export xqg-sample/fi queries --fields query_id text > topics.tsv"),
        Step("wc -l < topics.tsv"),
        Step("import os\nos.environ['X'] = '1'\nos.chdir('/')\nprint('done')\n", python=True),
        Step('test -z "$X" && ls topics.tsv'),
        Step("python -m pyserini_xqg.store info nowhere"),
        Step("ls topics.tsv"),
        Step("import os\nos._exit(3)\n", python=True),
        Step("ls"),
    ]
    results = pages.run_steps(todo, tmp_path)
    assert [result.status for result in results] == [0, 0, 0, 0, 1, 0, 3]
    assert (results[0].text, results[1].text.strip(), results[2].text) == ("", "48", "done\n")
    shown, last = pages.failures(results)
    assert "nowhere" in shown.splitlines()[0] and "error: " in shown and "status 3" in last

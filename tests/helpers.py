"""Builders of tiny corpora and of a tiny real encoder, reference vectors, and commands run as a user runs them."""

import contextlib
import gzip
import importlib
import importlib.util
import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np

LANGUAGES = ("ar", "fi", "ja")
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
MAX_POSITIONS = 64
_WORDS = {
    "en": "the river runs past old stone bridges and a quiet town where people sell bread fish and paper",
    "ar": "نهر قديم جسر مدينة خبز سمك ورق أين متى لماذا",
    "fi": "joki silta kaupunki leipä kala paperi missä milloin miksi vanha",
    "ja": "川 橋 町 パン 魚 紙 どこ いつ なぜ 古い",
}


def sentence(language: str, words: int, chance: random.Random) -> str:
    return " ".join(chance.choice(_WORDS[language].split()) for _ in range(words))


def corpus_records(number: int, languages=LANGUAGES, most: int = 3, seed: int = 0) -> list[dict]:
    """Passages of uneven length with 0 to ``most`` queries a language; every fifth has no query at all."""
    chance = random.Random(seed)
    records = []
    for row in range(number):
        record = {
            "docid": f"p{row}",
            "title": sentence("en", 2, chance) if row % 3 else "",
            "text": sentence("en", chance.randint(1, 30), chance),
        }
        generated = {code: [sentence(code, chance.randint(1, 6), chance) for _ in range(chance.randint(0, most))]
                     for code in languages}  # fmt: skip
        if row % 5:
            record["generated_queries"] = {code: texts for code, texts in generated.items() if texts}
        records.append(record)
    # Every language occurs, and its largest number of queries too.
    records[1]["generated_queries"] = {code: [sentence(code, 4, chance) for _ in range(most)] for code in languages}
    return records


def write_jsonl(path, records) -> Path:
    """Write records as JSON lines, gzipped if the name ends in ``.gz``."""
    path = Path(path)
    data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def build_tiny_encoder(directory) -> str:
    """A real two-layer BERT of 32 dimensions with a WordPiece tokenizer, the same in every process."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    # Not trained: the trainer breaks ties as its hash tables fall, in another order in every process.
    words = sorted({word for text in _WORDS.values() for word in text.split()})
    letters = sorted(set("".join(words)))
    pieces = dict.fromkeys([*SPECIAL_TOKENS, *words[::2], *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_POSITIONS,
    )
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.3,  # wide enough that every word moves the vector
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        BertModel(config).save_pretrained(directory)
    fast.save_pretrained(directory)
    return str(directory)


def reference_vectors(directory, texts, pooling="cls", l2_norm=False, max_length=MAX_POSITIONS) -> np.ndarray:
    """Vectors from transformers alone: one text at a time, no padding, float64 pooling."""
    import torch
    from transformers import BertModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
    model = BertModel.from_pretrained(directory).eval()
    rows = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state[0].double().numpy()
        row = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
        rows.append(row / np.sqrt((row**2).sum()) if l2_norm else row)
    return np.array(rows)


def run_command(command: str, *arguments, **environment) -> subprocess.CompletedProcess:
    """What ``python -m pyserini_xqg.<command>`` does, in this process: its status, standard output and standard error.

    Seconds cheaper than :func:`run_module`. What child processes print is not in it, nor Python's own warnings, which
    pytest collects. An exception that a user would see as a traceback is raised.
    """
    from pyserini_xqg.core import cli

    module = f"pyserini_xqg.{command}"
    if importlib.util.find_spec(module).submodule_search_locations is not None:
        module += ".__main__"
    main = importlib.import_module(module).main
    arguments = list(map(str, arguments))
    outputs = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True) for _ in range(2)]
    terminated = signal.getsignal(signal.SIGTERM)
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(outputs[0]),
        contextlib.redirect_stderr(outputs[1]),
    ):
        try:
            status = _status(lambda: cli.run(lambda: main(arguments)))
        finally:
            signal.signal(signal.SIGTERM, terminated)
    out, err = (output.buffer.getvalue().decode("utf-8") for output in outputs)
    return subprocess.CompletedProcess([module, *arguments], status, out, err)


def _status(call) -> int:
    """The exit status that Python ends with after ``call``, which may be ``sys.exit``'s message."""
    try:
        call()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


def run_module(module: str, *arguments, timeout=240, **environment) -> subprocess.CompletedProcess:
    """Run ``python -m module`` as a user would, without a network: one test a command, the others in the process."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        env=command_environment(**environment),
    )


def command_environment(**changes) -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8", **changes}


def assert_one_error(result: subprocess.CompletedProcess, *phrases: str) -> None:
    """The command ended with status 1 and one line ``error: …`` on standard error, which holds all the phrases."""
    lines = result.stderr.splitlines()
    assert result.returncode == 1, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: "), result.stderr
    assert result.stdout == ""
    for phrase in phrases:
        assert phrase in lines[0], result.stderr


def directory_bytes(directory, ignore=(".lock",)) -> dict[str, bytes]:
    """Name to content of every file below a directory."""
    directory = Path(directory)
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in ignore
    }

"""The whole job on the bundled sample: encode, build indexes, search with stock Pyserini, score.

48 English passages, hand-written questions in the seven XOR-TyDi languages in place of generated queries,
and held-out questions as topics. The encoder is the one that comes with the package, xqg-small: small, but
trained on human translations, so that it finds English passages for questions in other languages.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyserini_xqg import default_encoder
from pyserini_xqg.core.cli import HelpFormatter, run
from pyserini_xqg.core.errors import XqgError

DATASET = "xqg-sample"
_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_VOCABULARY = 4000
_DIMENSION = 384
_FREQUENT = 0.03  # share of the texts from which on a piece counts as a function word


def sample_texts() -> Iterator[str]:
    """The sample's passages and generated queries, never its topics."""
    from pyserini_xqg.text.corpus import Corpus

    for passage in Corpus(f"irds:{DATASET}"):
        yield f"{passage.title} {passage.text}"
        for queries in passage.queries.values():
            yield from queries


def build_encoder(directory: str | Path, texts: Iterable[str] | None = None, seed: int = 0) -> str:
    """Make a BERT without layers whose vectors are a bag of word pieces, for tests; returns the directory.

    The vocabulary is trained on ``texts`` (the sample by default); each piece gets a random vector from
    ``seed``, pieces that occur in over 3 % of the texts (function words, punctuation) and the special
    tokens get zero. Use it with mean pooling. The same texts and seed give the same files.

    >>> build_encoder("/tmp/xqg-doctest-encoder")
    '/tmp/xqg-doctest-encoder'
    """
    import torch
    from transformers import BertConfig, BertModel

    texts = list(texts if texts is not None else sample_texts())
    tokenizer = _train_tokenizer(texts)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=_DIMENSION,
        num_hidden_layers=0,
        num_attention_heads=12,
        intermediate_size=1,
        max_position_embeddings=tokenizer.model_max_length,
    )
    model = BertModel(config, add_pooling_layer=False)
    occurs_in = Counter(piece for text in texts for piece in set(tokenizer(text)["input_ids"]))
    frequent = [piece for piece, number in occurs_in.items() if number > _FREQUENT * len(texts)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        vectors = torch.randn(len(tokenizer), _DIMENSION, generator=torch.Generator().manual_seed(seed))
        vectors[: len(_SPECIAL_TOKENS)] = 0
        vectors[frequent] = 0
        model.embeddings.word_embeddings.weight.copy_(vectors)
        model.embeddings.LayerNorm.weight.fill_(1)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def _train_tokenizer(texts: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def untrained(model: Any) -> Any:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.Sequence(
            # Accents carry meaning in Finnish, vowel signs in Bengali and Telugu: they stay.
            [normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False, lowercase=True)]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            # Japanese has no blanks: names written in katakana become words of their own.
            [pre_tokenizers.Split(Regex(r"[\u30A0-\u30FF]+"), "isolated"), pre_tokenizers.BertPreTokenizer()]
        )
        return tokenizer

    tokenizer = untrained(models.WordPiece(unk_token="[UNK]"))
    words = [
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    ]
    # The trainer numbers pieces inside words as its hash tables fall, and breaks ties by number: given
    # beforehand, in order, they make the same vocabulary in every process.
    inside = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY, min_frequency=1, special_tokens=[*_SPECIAL_TOKENS, *inside], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Built anew, so that those pieces are ordinary ones.
    tokenizer = untrained(models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    )


def _command(module: str, *options: str, stdout: Path | None = None) -> None:
    """Print a command and run it, as the user could; stop at the first that fails."""
    shown = shlex.join(["python", "-m", module, *options])
    print(f"\n$ {shown}" + (f" > {stdout}" if stdout else ""), flush=True)
    arguments = [sys.executable, "-m", module, *options]
    if stdout:
        with open(stdout, "wb") as out:
            status = subprocess.run(arguments, stdout=out).returncode
    else:
        status = subprocess.run(arguments).returncode
    if status:
        raise XqgError(f"the command above ended with status {status}.")


def run_demo(directory: Path) -> None:
    """Run every step into ``directory``, printing each command."""
    from pyserini_xqg.activate import is_active

    if not is_active():
        raise XqgError("stock Pyserini does not know xQG yet. Run: python -m pyserini_xqg.activate")
    directory.mkdir(parents=True, exist_ok=True)
    store, topics = directory / "store", directory / "topics.tsv"
    _command(
        "pyserini_xqg.datasets", "export", f"{DATASET}/all", "queries", "--fields", "query_id", "text", stdout=topics
    )
    _command(
        *("pyserini_xqg.encode", "--corpus", f"irds:{DATASET}", "--encoder", default_encoder.NAME),
        *("--dtype", "float32", "--output", str(store), "--overwrite"),
    )
    indexes = {
        "without-xqg": ["--alpha", "0"],
        "xqg-sum-0.01": ["--aggregate", "sum", "--alpha", "0.01"],
        "xqg-mean-0.5": ["--aggregate", "mean", "--alpha", "0.5"],
        "xqg-routed-0.5": ["--aggregate", "mean", "--alpha", "0.5", "--route"],
    }
    runs = []
    for name, options in indexes.items():
        index, run_file = directory / "indexes" / name, directory / "runs" / f"{name}.txt"
        _command("pyserini_xqg.index", "--store", str(store), *options, "--output", str(index), "--overwrite")
        if "--route" in options:
            routing = ["--route", "--topic-languages", f"irds:{DATASET}/all"]
            _command(
                *("pyserini_xqg.search", "--index", str(index), *routing),
                *("--topics", str(topics), "--output", str(run_file)),
            )
        else:
            _command(
                *("pyserini.search.faiss", "--index", str(index), "--encoder", f"xqg:{index}"),
                *("--topics", str(topics), "--output", str(run_file), "--batch-size", "64"),
            )
        runs += ["--run", str(run_file)]
    _command(*("pyserini_xqg.evaluate", "--dataset", f"{DATASET}/all", *runs, "--measures", "RR@10", "R@5", "R@2kt"))
    print(
        "\nWhat this shows: a small trained encoder without and with xQG. Passages, topics and the queries that stand\n"
        "in for generated ones were all written by hand for this project: see README."
    )


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.demo", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument("--output", default="demo", metavar="DIR", help="where store, indexes and runs are put")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.demo``."""
    run_demo(Path(build_parser().parse_args(argv).output))


if __name__ == "__main__":
    run(main)

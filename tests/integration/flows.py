"""What the whole-flow tests share: scratch environments, tiny models of three architectures, stock commands, runs."""

import json
import random
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from helpers import command_environment, corpus_records, sentence

import pyserini_xqg

SEARCH = "pyserini.search.faiss"
TOLERANCE = 1e-5
_SITE_FOLDERS = ("site-packages", "dist-packages")


def scratch_environment(directory: Path, packages: bool = True) -> Path:
    """Make a virtual environment, returning its Python.

    With ``packages`` it sees those of this one, but not its ``.pth`` files: it is not activated even if this one is.
    """
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    if packages:
        places = [path for path in sys.path if Path(path).name in _SITE_FOLDERS]
        places.append(str(Path(pyserini_xqg.__file__).resolve().parents[1]))
        (purelib(python) / "a_packages.pth").write_text("\n".join(places) + "\n", encoding="utf-8")
    return python


def purelib(python: Path) -> Path:
    """The site-packages of a scratch environment."""
    variables = {"base": str(python.parents[1]), "platbase": str(python.parents[1])}
    return Path(sysconfig.get_path("purelib", "venv", variables))


def run(python, *arguments, timeout=240, cwd=None, **environment) -> subprocess.CompletedProcess:
    """Run ``python arguments`` offline, text in and out; a value None takes a variable out of the environment.

    Not in the current directory, whose packages Python would see before the environment's.
    """
    env = {name: value for name, value in command_environment(**environment).items() if value is not None}
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        cwd=cwd or Path(python).parent,
        env=env,
    )


def stock(python, *arguments, **keywords) -> subprocess.CompletedProcess:
    """Run Pyserini's own search command."""
    return run(python, "-m", SEARCH, *arguments, **keywords)


# Chooses a Java that Pyserini starts on, and nothing else: for stock code in an environment that is not activated.
JAVA_ALONE = "from pyserini_xqg.core import java; java.configure()\n"

_MANY = """
import json, runpy, sys
ends = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = [sys.argv[0], *arguments]
    try:
        runpy.run_module("pyserini.search.faiss", run_name="__main__", alter_sys=True)
        ends.append(None)
    except BaseException as error:
        ends.append(f"{type(error).__name__}: {error}")
print(json.dumps(ends))
"""


def unactivated(python, module, *arguments, **keywords) -> subprocess.CompletedProcess:
    """Run a stock module where xQG is not activated."""
    code = (
        JAVA_ALONE + "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], None, '__main__', True)"
    )
    return run(python, "-c", code, module, *arguments, **keywords)


def stock_many(python, commands, **keywords) -> list[str | None]:
    """Run Pyserini's own search command several times in one process, which saves its start.

    Returns, for each, None or ``exception: message``.
    """
    commands = [[str(argument) for argument in command] for command in commands]
    result = run(python, "-c", JAVA_ALONE + _MANY, json.dumps(commands), **keywords)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def read_run(path) -> dict[str, list[tuple[str, float]]]:
    """Topics in the order of the file, each with its (docid, score) in order of rank."""
    run_: dict[str, list[tuple[str, float]]] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        topic, q0, docid, rank, score, tag = line.split(" ")
        ranked = run_.setdefault(topic, [])
        ranked.append((docid, float(score)))
        assert (q0, tag, int(rank)) == ("Q0", "Faiss", len(ranked))
    return run_


def assert_runs_agree(path, other) -> None:
    """Same topics in the same order; scores to 1e-5; the same docids but for ties of 1e-5."""
    first, second = read_run(path), read_run(other)
    assert list(first) == list(second)
    for topic, ranked in first.items():
        scores = dict(second[topic])
        assert dict(ranked).keys() == scores.keys(), topic
        for (docid, score), (_, other_score) in zip(ranked, second[topic], strict=True):
            assert abs(score - other_score) <= TOLERANCE, (topic, docid)
            assert abs(score - scores[docid]) <= TOLERANCE, (topic, docid)


def write_topics(path, topics) -> Path:
    path = Path(path)
    path.write_text("".join(f"{topic}\t{text}\n" for topic, text in topics.items()), encoding="utf-8")
    return path


def corpus(number: int = 40, seed: int = 5) -> list[dict]:
    """The tiny corpus with a title everywhere (Pyserini encodes an empty one as 'None'), one passage far too long."""
    records = corpus_records(number, seed=seed)
    for record in records:
        record["title"] = record["title"] or "old bridges"
    records[4]["text"] = sentence("en", 100, random.Random(seed))
    return records


def build_model(kind: str, directory, seed: int = 11) -> str:
    """A real two-layer ``distilbert`` or ``xlm-roberta`` of 32 dimensions and 64 positions with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import (
        DistilBertConfig,
        DistilBertModel,
        PreTrainedTokenizerFast,
        XLMRobertaConfig,
        XLMRobertaModel,
    )

    texts = [f"{record['title']} {record['text']}" for record in corpus()]
    texts += [query for record in corpus() for each in record.get("generated_queries", {}).values() for query in each]
    if kind == "xlm-roberta":  # SentencePiece's unigram model, padding at position 1
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        trainer = trainers.UnigramTrainer(
            vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    else:
        special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    first, pad, last, unknown = special
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(name, tokenizer.token_to_id(name)) for name in (first, last)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=first,
        pad_token=pad,
        sep_token=last,
        unk_token=unknown,
        model_max_length=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "xlm-roberta":
            model = XLMRobertaModel(
                XLMRobertaConfig(
                    vocab_size=len(fast),
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    intermediate_size=64,
                    max_position_embeddings=64 + 2,
                    pad_token_id=fast.pad_token_id,
                    initializer_range=0.3,
                )
            )
        else:
            model = DistilBertModel(
                DistilBertConfig(
                    vocab_size=len(fast),
                    dim=32,
                    n_layers=2,
                    n_heads=4,
                    hidden_dim=64,
                    max_position_embeddings=64,
                    pad_token_id=fast.pad_token_id,
                    initializer_range=0.3,
                )
            )
    model.save_pretrained(directory)
    fast.save_pretrained(directory)
    return str(directory)


def build_other(encoder: str, directory, hidden: int = 32, seed: int = 8) -> str:
    """The tiny BERT with other weights, or another width, and the same tokenizer."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    config = BertConfig.from_pretrained(encoder)
    config.hidden_size = hidden
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(directory)
    return str(directory)

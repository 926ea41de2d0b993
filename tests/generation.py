"""Query generation as tests run it: options, passages, and a run that is broken off."""

import json
from pathlib import Path

import pytest
from helpers import corpus_records

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate import __main__ as command
from pyserini_xqg.generate import pipeline

LANGUAGES = ("fi", "ar")
PLAIN = ("--device", "cpu", "--dtype", "float32", "--threads", "1", "--max-new-tokens", "6", "--languages", "fi,ar")
FAST = (*PLAIN, "--num-queries", "2", "--quality-check", "off", "--chunk-size", "3")


def passages(number, seed=0):
    """Passages without queries, some without a title."""
    records = corpus_records(number, seed=seed)
    return [{name: record[name] for name in ("docid", "title", "text")} for record in records]


def generate(corpus, model, output, *more) -> list[dict]:
    command.main(["--corpus", str(corpus), "--model", str(model), "--output", str(output), *map(str, more)])
    return read(output)


def read(output) -> list[dict]:
    return [json.loads(line) for line in Path(output).read_text(encoding="utf-8").splitlines()]


def interrupt_after(chunks, monkeypatch, *arguments):
    """Run the command and break it off, as Ctrl-C would, when so many chunks are written."""
    calls, original = [], pipeline.generate_language

    def interrupted(*chunk):
        calls.append(1)
        if len(calls) > chunks * len(LANGUAGES) + 1:  # after the first language of the next one
            raise KeyboardInterrupt
        return original(*chunk)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "generate_language", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(*arguments)


def refused(run, capsys) -> str:
    """What a command says that ends with an error: in argparse's words, or in its own."""
    with pytest.raises((XqgError, SystemExit)) as caught:
        run()
    return str(caught.value) if isinstance(caught.value, XqgError) else capsys.readouterr().err

"""The encoder that comes with the package, ``xqg-small``: see README.md beside it for what it is and is not good for.

``--encoder xqg-small`` names it in every command of this package, and in stock Pyserini's where the environment is
activated (``pyserini.encode … encoder … --dimension 384``). ``python -m pyserini_xqg.activate --status`` prints its
directory, for other programs that take a Hugging Face or sentence-transformers encoder.
"""

from __future__ import annotations

from pathlib import Path

NAME = "xqg-small"
"""What names it as an ``--encoder``; a directory of that name in the working directory goes first."""


def directory() -> str:
    """Its directory: configuration, weights, tokenizer, settings and model card.

    >>> Path(directory(), "tokenizer.json").is_file()
    True
    """
    return str(Path(__file__).resolve().parent)


def place(model: str) -> str:
    """The name or directory that transformers loads for an encoder's name.

    >>> place("bert-base-multilingual-cased"), place(NAME) == directory()
    ('bert-base-multilingual-cased', True)
    """
    return directory() if model == NAME else model

"""XOR-TyDi's XOR-Retrieve task: questions in seven languages, to be answered from English Wikipedia.

Sources: Asai et al. 2021 (arXiv 2010.11856) and https://github.com/AkariAsai/XORQA. Sizes and SHA-256 of the
question files as in Hugging Face's ``datasets/xor_tydi_qa/dataset_infos.json`` (which names the same addresses).
"""

from __future__ import annotations

import csv
import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ir_datasets.datasets.base import Dataset

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import open_text, read_jsonl
from pyserini_xqg.core.languages import NAMES, XOR_TYDI_LANGUAGES
from pyserini_xqg.datasets.components import Docs, Documentation, Queries
from pyserini_xqg.datasets.published import PublishedFile
from pyserini_xqg.datasets.records import XorTydiQuery, XqgDoc

NAME = "xor-tydi"
URL = "https://nlp.cs.washington.edu/xorqa/XORQA_site/data/"

QUESTIONS: dict[str, PublishedFile] = {
    "train": PublishedFile(
        NAME,
        "xor_train_retrieve_eng_span.jsonl",
        URL + "xor_train_retrieve_eng_span.jsonl",
        size=2_912_848,
        sha256="f0c8202eebcef9fc129c9bb8e7a12fae1a7648163b249dc0a06df4318923f70b",
    ),
    "dev": PublishedFile(
        NAME,
        "xor_dev_retrieve_eng_span_v1_1.jsonl",
        URL + "xor_dev_retrieve_eng_span_v1_1.jsonl",
        size=426_987,
        sha256="cfe569e4c6d3539c2111d97249f900318f9273b246a61fff95216ce2a2e1505c",
    ),
}

COUNTS: dict[str, dict[str, tuple[int, int]]] = {
    "train": {
        "ar": (2574, 2311), "bn": (2582, 2476), "fi": (2088, 1859), "ja": (2288, 1933), "ko": (2469, 2403),
        "ru": (1941, 1746), "te": (1308, 1308),
    },
    "dev": {
        "ar": (350, 309), "bn": (312, 304), "fi": (360, 314), "ja": (296, 241), "ko": (299, 285),
        "ru": (255, 237), "te": (238, 238),
    },
}  # fmt: skip
"""Questions, and those of them with an answer other than yes or no, counted in the published files."""


def read_questions(path: str | Path) -> list[XorTydiQuery]:
    """Read a question file in XOR-TyDi's schema; what is in a published one, its checksum vouches for.

    Texts stay as published. The one thing put right is blanks around the language code: all 2,574 Arabic training
    questions are published with ``"lang": " ar"``.
    """
    try:
        return [
            XorTydiQuery(record["id"], record["question"], record["lang"].strip(), tuple(record["answers"]))
            for _, record in read_jsonl(path)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise XqgError(f"{path}: not in XOR-TyDi's format ({error!r}). Fetch the file again.") from error


class _Repeats:
    """Tells whether an id came up before: a bit for each number, so that 18 million passages take a few megabytes."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._others: set[str] = set()

    def __call__(self, doc_id: str) -> bool:
        if not (doc_id.isdecimal() and len(doc_id) <= 9 and str(int(doc_id)) == doc_id):
            repeated = doc_id in self._others
            self._others.add(doc_id)
            return repeated
        byte, bit = divmod(int(doc_id), 8)
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        repeated = bool(self._bits[byte] >> bit & 1)
        self._bits[byte] |= 1 << bit
        return repeated


def read_passages(path: str | Path) -> Iterator[XqgDoc]:
    """Stream the passages of a TSV or JSONL file, plain or ``.gz``, and check every record.

    TSV: columns ``id``, ``text``, ``title``, with or without a header, quoted as Python's ``csv`` does, which is how
    DPR's and XORQA's code write and read it. JSONL: ``docid``, ``title``, ``text``.
    """
    repeated = _Repeats()
    empty = True
    jsonl = Path(path).name.removesuffix(".gz").endswith(".jsonl")
    for number, doc in _passages_jsonl(path) if jsonl else _passages_tsv(path):
        if not doc.doc_id or doc.doc_id.split() != [doc.doc_id]:
            raise XqgError(f"{path}, line {number}: the id is {doc.doc_id!r}. It must be a text without blanks.")
        if not doc.text.strip():
            raise XqgError(f"{path}, line {number} (id {doc.doc_id}): the text is empty. Remove the passage.")
        if repeated(doc.doc_id):
            raise XqgError(f"{path}, line {number}: id {doc.doc_id!r} came up before. Ids must be unique.")
        empty = False
        yield doc
    if empty:
        raise XqgError(f"{path}: no passages. Fetch the file again.")


def _passages_tsv(path: str | Path) -> Iterator[tuple[int, XqgDoc]]:
    with open_text(path) as lines:
        rows = csv.reader(lines, delimiter="\t", strict=True)
        try:
            for row in rows:
                if rows.line_num == 1 and row[:1] == ["id"]:
                    continue
                # A quotation mark left open swallows the lines after it, tabs and all; the texts themselves have none.
                if len(row) != 3 or any("\t" in column for column in row):
                    raise XqgError(
                        f"{path}, line {rows.line_num}: {len(row)} columns, or a quotation mark left open before it. "
                        "Every line must hold id, text and title, separated by tabs and quoted as in CSV."
                    )
                yield rows.line_num, XqgDoc(row[0], row[2], row[1])
        except (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
            raise XqgError(f"{path}, after line {rows.line_num}: {error}. Fetch the file again.") from error


def _passages_jsonl(path: str | Path) -> Iterator[tuple[int, XqgDoc]]:
    for number, record in read_jsonl(path):
        values = [record.get(key) for key in ("docid", "title", "text")]
        if not all(isinstance(value, str) for value in values):
            raise XqgError(f"{path}, line {number}: 'docid', 'title' and 'text' are needed, each of them a text.")
        yield number, XqgDoc(*values)


def _check_passages(path: Path) -> None:
    """Refuse a download that does not begin like the passages, such as a web page."""
    next(read_passages(path))


PASSAGES = PublishedFile(
    NAME,
    "enwiki_20190201_w100.tsv",
    # https://github.com/AkariAsai/XORQA/issues/7: "should be the version we used for the XOR-retrieval task".
    URL + "models/enwiki_20190201_w100.tsv",
    # "Collection (13G)", https://github.com/MiuLab/UMR; no checksum is published.
    size=13_000_000_000,
    alternatives=("enwiki_20190201_w100.tsv.gz", "passages.jsonl", "passages.jsonl.gz"),
    check=_check_passages,
)


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(PASSAGES, read_passages, XqgDoc, NAME)
    datasets = {NAME: Dataset(docs, Documentation("xor-tydi.yaml", "docs"))}
    for split in QUESTIONS:
        read = functools.partial(_read, split)
        for lang in (None, *XOR_TYDI_LANGUAGES):
            counts = COUNTS[split].values() if lang is None else [COUNTS[split][lang]]
            questions, spans = (sum(column) for column in zip(*counts, strict=True))
            figures: dict[str, Any] = {"questions": f"{questions:,}", "spans": f"{spans:,}"}
            if lang is not None:
                figures["language"] = NAMES[lang]
            datasets[f"{NAME}/{split}" + (f"/{lang}" if lang else "")] = Dataset(
                docs,
                Queries(read, XorTydiQuery, NAME, lang, questions),
                Documentation("xor-tydi.yaml", f"{split}/language" if lang else split, **figures),
            )
    return datasets


# One parse of a file for its eight datasets. The path is key enough: what lies there has passed its checksum.
_parsed = functools.lru_cache(maxsize=4)(read_questions)


def _read(split: str) -> list[XorTydiQuery]:
    return _parsed(QUESTIONS[split].path())

"""XOR-TyDi's XOR-Retrieve task: questions in seven languages, to be answered from English Wikipedia.

Sources: Asai et al. 2021 (arXiv 2010.11856) and https://github.com/AkariAsai/XORQA. SHA-256 of the question files as in
Hugging Face's ``datasets/xor_tydi_qa/dataset_infos.json`` (which names the same addresses).
"""

from __future__ import annotations

import csv
import functools
import zlib
from collections.abc import Iterator
from pathlib import Path

from ir_datasets.datasets.base import Dataset

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import open_text, read_jsonl
from pyserini_xqg.core.languages import NAMES, XOR_TYDI_LANGUAGES
from pyserini_xqg.datasets.components import Docs, Documentation, Queries, counted
from pyserini_xqg.datasets.published import PublishedFile
from pyserini_xqg.datasets.records import XorTydiQuery, XqgDoc

NAME = "xor-tydi"
URL = "https://nlp.cs.washington.edu/xorqa/XORQA_site/data/"

QUESTIONS: dict[str, PublishedFile] = {
    "train": PublishedFile(
        NAME,
        "xor_train_retrieve_eng_span.jsonl",
        URL + "xor_train_retrieve_eng_span.jsonl",
        sha256="f0c8202eebcef9fc129c9bb8e7a12fae1a7648163b249dc0a06df4318923f70b",
    ),
    "dev": PublishedFile(
        NAME,
        "xor_dev_retrieve_eng_span_v1_1.jsonl",
        URL + "xor_dev_retrieve_eng_span_v1_1.jsonl",
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
    return [
        XorTydiQuery(record["id"], record["question"], record["lang"].strip(), tuple(record["answers"]))
        for _, record in read_jsonl(path)
    ]


def read_passages(path: str | Path) -> Iterator[XqgDoc]:
    """Stream the passages of a TSV, plain or ``.gz``: ``id``, ``text``, ``title``, with or without a header.

    Quoted as Python's ``csv`` does, which is how DPR's and XORQA's code write and read it.
    """
    row: list[str] = []
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
                yield XqgDoc(row[0], row[2], row[1])
        except (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
            raise XqgError(f"{path}, after line {rows.line_num}: {error}. Fetch the file again.") from error
    if rows.line_num < 1 or row[:1] == ["id"]:
        raise XqgError(f"{path}: no passages. Fetch the file again.")


PASSAGES = PublishedFile(
    NAME,
    "enwiki_20190201_w100.tsv",
    # https://github.com/AkariAsai/XORQA/issues/7: "should be the version we used for the XOR-retrieval task". 13 GB; no
    # checksum is published.
    URL + "models/enwiki_20190201_w100.tsv",
    alternatives=("enwiki_20190201_w100.tsv.gz",),
    check=lambda path: next(read_passages(path)),
)


@functools.cache  # one parse for a file's eight datasets; what lies at the path has passed its checksum
def _parsed(path: Path) -> list[XorTydiQuery]:
    return read_questions(path)


def _queries(split: str, lang: str | None) -> list[XorTydiQuery]:
    return [query for query in _parsed(QUESTIONS[split].path()) if lang in (None, query.lang)]


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(PASSAGES, read_passages, XqgDoc, NAME)
    datasets = {NAME: counted(NAME, docs, Documentation("xor-tydi.yaml", "docs"))}
    for split in QUESTIONS:
        for lang in (None, *XOR_TYDI_LANGUAGES):
            counts = COUNTS[split].values() if lang is None else [COUNTS[split][lang]]
            questions, spans = map(sum, zip(*counts, strict=True))
            name, key = (f"{NAME}/{split}/{lang}", f"{split}/language") if lang else (f"{NAME}/{split}", split)
            datasets[name] = counted(
                name,
                docs,
                Queries(functools.partial(_queries, split, lang), XorTydiQuery, NAME, lang),
                Documentation(
                    "xor-tydi.yaml", key, questions=f"{questions:,}", spans=f"{spans:,}", language=NAMES.get(lang)
                ),
                queries=questions,
            )
    return datasets

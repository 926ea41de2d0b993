"""The sample that comes with the package: English passages with queries in XOR-TyDi's seven languages.

Written by hand for this project (``sample/README.md``); the queries stand in for generated ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrel, TrecQrels
from ir_datasets.util import LocalDownload

from pyserini_xqg.core.files import read_jsonl
from pyserini_xqg.core.languages import NAMES, XOR_TYDI_LANGUAGES
from pyserini_xqg.datasets.components import Docs, Documentation, Qrels, Queries, counted
from pyserini_xqg.datasets.records import AugmentedDoc, XorTydiQuery
from pyserini_xqg.datasets.xor_tydi import read_questions

NAME = "xqg-sample"
PASSAGE_COUNT = 48


def read_docs(path: str | Path) -> Iterator[AugmentedDoc]:
    """The passages with their queries."""
    for _, record in read_jsonl(path):
        yield AugmentedDoc(record["docid"], record["title"], record["text"], record["generated_queries"])


def _file(name: str) -> LocalDownload:
    return LocalDownload(str(files("pyserini_xqg.datasets") / "sample" / name), mkdir=False)


def _queries(lang: str | None) -> list[XorTydiQuery]:
    return [query for query in read_questions(_file("queries.jsonl").path()) if lang in (None, query.lang)]


def _qrels(lang: str | None) -> list[TrecQrel]:
    """The ids of questions begin with their language."""
    return [qrel for qrel in TrecQrels(_file("qrels.txt"), {}).qrels_iter() if qrel.query_id.startswith(lang or "")]


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(_file("passages.jsonl"), read_docs, AugmentedDoc, NAME)
    datasets = {NAME: counted(NAME, docs, Documentation("xqg-sample.yaml", "docs"), docs=PASSAGE_COUNT)}
    for lang in (None, *XOR_TYDI_LANGUAGES):
        name = f"{NAME}/{lang or 'all'}"
        number = PASSAGE_COUNT * (1 if lang else len(XOR_TYDI_LANGUAGES))
        datasets[name] = counted(
            name,
            docs,
            Queries(functools.partial(_queries, lang), XorTydiQuery, NAME, lang),
            Qrels(functools.partial(_qrels, lang), "the question was written for this passage, which answers it"),
            Documentation("xqg-sample.yaml", "language" if lang else "all", language=NAMES[lang] if lang else ""),
            docs=PASSAGE_COUNT,
            queries=number,
            qrels=number,
        )
    return datasets

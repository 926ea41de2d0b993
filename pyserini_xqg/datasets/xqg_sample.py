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
from pyserini_xqg.datasets.components import Docs, Documentation, Qrels, Queries
from pyserini_xqg.datasets.records import AugmentedDoc, XorTydiQuery
from pyserini_xqg.datasets.xor_tydi import read_questions

NAME = "xqg-sample"
PASSAGE_COUNT = 48


class SampleFile:
    """A file of the package."""

    def __init__(self, name: str):
        self._name = name

    def path(self, force: bool = True) -> Path:
        """Where the package is installed."""
        return Path(str(files("pyserini_xqg.datasets") / "sample" / self._name))

    def local(self) -> Path:
        """Always there."""
        return self.path()


PASSAGES, QUERIES, QRELS = SampleFile("passages.jsonl"), SampleFile("queries.jsonl"), SampleFile("qrels.txt")


def read_docs(path: str | Path) -> Iterator[AugmentedDoc]:
    """The passages with their queries."""
    for _, record in read_jsonl(path):
        yield AugmentedDoc(record["docid"], record["title"], record["text"], record["generated_queries"])


@functools.cache
def _queries() -> list[XorTydiQuery]:
    return read_questions(QUERIES.path())


def _qrels() -> Iterator[TrecQrel]:
    return TrecQrels(LocalDownload(QRELS.path(), mkdir=False), {}).qrels_iter()


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(PASSAGES, read_docs, AugmentedDoc, NAME, PASSAGE_COUNT)
    datasets = {NAME: Dataset(docs, Documentation("xqg-sample.yaml", "docs"))}
    for lang in (None, *XOR_TYDI_LANGUAGES):
        number = PASSAGE_COUNT * (1 if lang else len(XOR_TYDI_LANGUAGES))
        queries = Queries(_queries, XorTydiQuery, NAME, lang, number)
        datasets[f"{NAME}/{lang or 'all'}"] = Dataset(
            docs,
            queries,
            Qrels(_qrels, "the question was written for this passage, which answers it", queries.queries_iter, number),
            Documentation("xqg-sample.yaml", "language" if lang else "all", language=NAMES[lang] if lang else ""),
        )
    return datasets

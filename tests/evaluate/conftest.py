"""Datasets as ir_datasets has them, without ir_datasets."""

import sys
import types
from collections import namedtuple

import pytest

Qrel = namedtuple("Qrel", "query_id doc_id relevance iteration")
Document = namedtuple("Document", "doc_id title text")


class FakeDataset:
    """Queries (namedtuples), docs (docid to title and text, or None), qrels (query id and docid, or None).

    opened : how often its docs store was.
    """

    def __init__(self, queries, docs=None, qrels=None):
        self.queries, self.docs, self.qrels, self.opened = queries, docs, qrels, 0

    def has_queries(self):
        return True

    def has_docs(self):
        return self.docs is not None

    def has_qrels(self):
        return self.qrels is not None

    def queries_cls(self):
        return type(self.queries[0])

    def queries_iter(self):
        return iter(self.queries)

    def qrels_iter(self):
        return (Qrel(query_id, docid, 1, "0") for query_id, docid in self.qrels)

    def docs_store(self):
        self.opened += 1
        return {docid: Document(docid, title, text) for docid, (title, text) in self.docs.items()}


@pytest.fixture
def datasets(monkeypatch):
    """The datasets there are, by id; queries are made as ``datasets.query(fields, *values)``."""

    class Datasets(dict):
        make = FakeDataset

        @staticmethod
        def query(fields, *values):
            return namedtuple("Query", fields)(*values)

    known = Datasets()
    module = types.ModuleType("pyserini_xqg.datasets")
    module.load = known.__getitem__
    monkeypatch.setitem(sys.modules, "pyserini_xqg.datasets", module)
    return known

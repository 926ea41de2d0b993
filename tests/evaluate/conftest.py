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
        self.has_queries = lambda: True
        self.has_docs = lambda: docs is not None
        self.has_qrels = lambda: qrels is not None
        self.queries_cls = lambda: type(queries[0])
        self.queries_iter = lambda: iter(queries)
        self.qrels_iter = lambda: (Qrel(query_id, docid, 1, "0") for query_id, docid in qrels)

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
    monkeypatch.setitem(sys.modules, "pyserini_xqg.datasets", types.SimpleNamespace(load=known.__getitem__))
    return known

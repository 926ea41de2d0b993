"""Training examples, streamed and checked: a question, the passages that answer it, and passages that do not.

Sources: Tevatron's JSONL (``query_id``, ``query``, ``positive_passages``, ``negative_passages``; ``.gz`` and
directories too), or ``irds:<dataset-id>`` with queries, qrels and documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import check_language
from pyserini_xqg.datasets import load
from pyserini_xqg.datasets.ids import dataset_of
from pyserini_xqg.text.passages import Passage, corpus_files, document_record, parse_passage, read_records

Languages = Mapping[str, str] | str | None
"""Query id to language, or one language for all, or None where every line says its own."""


@dataclass(frozen=True)
class Example:
    """A question with its passages.

    language : ISO 639-1, None where nothing says it. negatives : passages that do not answer the question; of a
    dataset, those judged so. where : file, line and query, for messages.
    """

    query_id: str
    query: str
    language: str | None
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    where: str = ""

    @property
    def passage(self) -> Passage:
        """The first that answers the question; it decides whether the example is held out."""
        return self.positives[0]

    @property
    def content(self) -> list[Any]:
        """All that training depends on."""
        sides = [
            [[passage.docid, passage.title, passage.text] for passage in side]
            for side in (self.positives, self.negatives)
        ]
        return [self.query_id, self.query, self.language, *sides]


class ExampleSource:
    """Examples of several sources, which can be iterated any number of times.

    ``languages`` serves the lines that do not say their query's language themselves. ``negatives`` False leaves the
    negative passages unread. Every fault raises :class:`XqgError` with file, line and query.

    >>> import json, pathlib
    >>> path = pathlib.Path("/tmp/xqg-doctest-examples.jsonl")
    >>> line = {"query_id": "1", "query": "Which?"}
    >>> line["positive_passages"] = [{"docid": "7", "text": "Yes."}]
    >>> line["negative_passages"] = [{"docid": "8", "text": "No."}]
    >>> _ = path.write_text(json.dumps(line))
    >>> [(one.query, one.positives[0].text, one.negatives[0].text) for one in ExampleSource([path])]
    [('Which?', 'Yes.', 'No.')]
    """

    noun: ClassVar[str] = "questions"

    def __init__(self, sources: Sequence[Any], languages: Languages = None, negatives: bool = True) -> None:
        self.sources = [str(source) for source in sources]
        self._languages, self._negatives = languages, negatives
        self._datasets = {source: dataset_of(source) for source in self.sources}
        for source, dataset in self._datasets.items():
            if dataset is None:
                corpus_files(source)  # refuses one that is not there

    def __iter__(self) -> Iterator[Example]:
        for source in self.sources:
            if dataset := self._datasets[source]:
                yield from _read_dataset(dataset, self._languages, self._negatives)
                continue
            for where, record in read_records(source):
                yield parse_example(record, self._languages, where, self._negatives)


def parse_example(record: Mapping[str, Any], languages: Languages, where: str, negatives: bool = True) -> Example:
    """One line of Tevatron's format."""
    query_id = record.get("query_id")
    if isinstance(query_id, bool) or not isinstance(query_id, str | int) or query_id == "":
        raise XqgError(f"{where}: 'query_id' is {query_id!r}. Every line needs one, a string or a whole number.")
    query_id = str(query_id)
    where = f"{where} (query_id {query_id})"
    query = _question(record.get("query"), where)
    language = _language(record, query_id, languages, where)
    given = record.get("positive_passages")
    if not isinstance(given, list) or not given:
        raise XqgError(f"{where}: no positive passage. Give each query one in 'positive_passages', or remove its line.")
    example = Example(
        query_id,
        query,
        language,
        _passages(given, f"{where}, positive passage"),
        _passages(record.get("negative_passages") or (), f"{where}, negative passage") if negatives else (),
        where,
    )
    refuse_both(example)
    return example


def refuse_both(example: Example) -> None:
    """:class:`XqgError` where a passage is said to answer the question and not to answer it."""
    docids = {passage.docid for passage in example.positives}
    texts = {(passage.title, passage.text) for passage in example.positives}
    for number, passage in enumerate(example.negatives, start=1):
        if passage.docid in docids or (passage.title, passage.text) in texts:
            same = "is" if passage.docid in docids else "has the text of"
            raise XqgError(
                f"{example.where}: negative passage {number} (docid {passage.docid}) {same} a positive passage. Remove "
                "it from one of the two, or mine the negatives with python -m pyserini_xqg.mine, which leaves such out."
            )


def _passages(values: Any, where: str) -> tuple[Passage, ...]:
    if not isinstance(values, list | tuple):
        raise XqgError(f"{where}s: no list. Pass a list of objects with docid, title and text.")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise XqgError(f"{where} {number} is no JSON object with docid, title and text.")
    return tuple(parse_passage(value, f"{where} {number}") for number, value in enumerate(values, start=1))


def _question(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise XqgError(f"{where}: 'query' is {value!r}. It must be a text that is not empty.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise XqgError(f"{where}: 'query' holds half a surrogate pair. Remove or mend that character.") from error
    return " ".join(value.split())


def _language(record: Mapping[str, Any], query_id: str, languages: Languages, where: str) -> str | None:
    for name in ("lang", "language"):
        if record.get(name) is not None:
            value = record[name]
            # XOR-TyDi's Arabic training questions are published with " ar".
            return check_language(value.strip() if isinstance(value, str) else value, f"{where}, {name!r}")
    language = languages if isinstance(languages, str) or languages is None else languages.get(query_id)
    return None if language is None else check_language(language, "--topic-languages")


def _read_dataset(dataset_id: str, languages: Languages, negatives: bool) -> Iterator[Example]:
    """The queries of a dataset that have a relevant passage, in the order of its judgements."""
    dataset, source = load(dataset_id), f"irds:{dataset_id}"
    for part in ("queries", "qrels", "docs"):
        if not getattr(dataset, f"has_{part}")():
            raise XqgError(
                f"{source}: this dataset has no {part}. Training pairs need queries, qrels and docs: name a dataset "
                "with all three, or pass Tevatron's JSONL (for XOR-TyDi that of Tevatron/xor-tydi, with "
                "--topic-languages irds:xor-tydi/train)."
            )
    queries = {query.query_id: query for query in dataset.queries_iter()}
    judged: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for qrel in dataset.qrels_iter():
        judged.setdefault(qrel.query_id, ({}, {}))[qrel.relevance <= 0].setdefault(qrel.doc_id)
    documents = dataset.docs_store()
    for query_id, (relevant, others) in judged.items():
        if not relevant:
            continue
        where = f"{source}, query {query_id}"
        if (query := queries.get(query_id)) is None:
            raise XqgError(f"{where}: it has judgements, but is none of the queries. Pass --data as files instead.")
        code = getattr(query, "lang", None) or dataset.queries_lang()
        record = {"lang": code} if code and not isinstance(languages, str) else {}
        language = _language(record, query_id, languages, where)
        sides = [
            tuple(_document(documents, docid, where) for docid in docids)
            for docids in (relevant, [docid for docid in others if negatives and docid not in relevant])
        ]
        yield Example(query_id, _question(query.default_text(), where), language, *sides, where)


def _document(documents: Any, docid: str, where: str) -> Passage:
    try:
        document = documents.get(docid)
    except KeyError as error:
        raise XqgError(f"{where}: document {docid!r} is judged, but none of the documents.") from error
    return parse_passage(document_record(document), where)

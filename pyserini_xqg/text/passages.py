"""Passages: how they stand in files and datasets, each line checked.

A source is a JSONL file (plain or ``.gz``), a directory of them, or a dataset's id (``irds:<dataset-id>``).
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl
from pyserini_xqg.core.languages import check_language
from pyserini_xqg.datasets import load
from pyserini_xqg.datasets.ids import dataset_of

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
DOCID_FIELDS = ("docid", "id", "_id", "doc_id")


@dataclass(frozen=True)
class Passage:
    """One unit of retrieval. ``queries`` maps a language code to that language's generated queries."""

    docid: str
    title: str
    text: str
    queries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    where: str = ""
    """File and line, or dataset, for messages."""


def corpus_files(source: str | Path) -> list[Path]:
    """The files of a corpus in the order they are read: the file itself, or a directory's by name.

    The descriptions that generation puts beside its outputs (``a.jsonl.json`` beside ``a.jsonl``) are no part of it.
    Raises :class:`XqgError` for a path that does not exist, an empty directory, and a file of another kind.
    """
    path = Path(source)
    if not path.exists():
        raise XqgError(
            f"{source}: no such file or directory. Pass a JSONL file, a directory of them, or irds:<dataset-id>."
        )
    if not path.is_dir():
        return [path]
    files = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    names = {entry.name for entry in files}
    files = [entry for entry in files if entry.suffix != ".json" or not _describes(entry.stem, names)]
    if not files:
        raise XqgError(f"{source}: an empty directory. Pass one that holds {', '.join(SUFFIXES)} files.")
    for entry in files:
        if entry.is_dir() or not entry.name.endswith(SUFFIXES):
            raise XqgError(f"{entry}: not a corpus file ({', '.join(SUFFIXES)}). Move it out of the corpus directory.")
    return files


def _describes(name: str, names: Container[str]) -> bool:
    """Whether ``<name>.json`` describes a file of JSON lines in the same directory."""
    return name.endswith(".jsonl") and name in names


def read_records(source: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where it stands, record) of a source, unchecked: :func:`parse_passage` makes a passage of a record."""
    dataset_id = dataset_of(str(source))
    if dataset_id is None:
        for path in corpus_files(source):
            for number, record in read_jsonl(path):
                yield f"{path}, line {number}", record
        return
    for number, document in enumerate(load_passages(dataset_id).docs_iter(), start=1):
        yield f"{source}, document {number}", document_record(document)


def load_passages(dataset_id: str) -> Any:
    """A dataset that has passages."""
    dataset = load(dataset_id)
    if not dataset.has_docs():
        raise XqgError(f"irds:{dataset_id}: this dataset has no documents. Use one that has, see `ir_datasets list`.")
    return dataset


def document_record(document: Any) -> dict[str, Any]:
    """What a document of ir_datasets has, under the names of a corpus file."""
    record: dict[str, Any] = {"docid": document.doc_id}
    if hasattr(document, "text"):
        record |= {"title": getattr(document, "title", None), "text": document.text}
    else:
        record |= {"text": document.default_text()}
    if generated := getattr(document, "generated_queries", None):
        record["generated_queries"] = {language: list(texts) for language, texts in dict(generated).items()}
    return record


def parse_docid(record: Mapping[str, Any], where: str) -> str:
    """The docid of a record, from ``docid``, ``id`` or ``_id``; a string without white space, or a whole number."""
    for name in DOCID_FIELDS:
        if record.get(name) is not None:
            value = record[name]
            break
    else:
        raise XqgError(f"{where}: no docid. Every line needs one, as 'docid', 'id' or '_id'.")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise XqgError(f"{where}: {name!r} is a {_kind(value)}. Use a string or a whole number.")
    docid = str(value)
    _check_unicode(docid, repr(name), where)
    if not docid or docid.split() != [docid]:
        raise XqgError(
            f"{where}: docid {docid!r} is empty or holds white space, which run files cannot carry. Use another docid."
        )
    return docid


def parse_passage(record: Mapping[str, Any], where: str) -> Passage:
    """Check one record and make it a :class:`Passage`.

    Takes ``title`` and ``text``, or Pyserini's ``contents`` (title and text split at the first newline).
    """
    docid = parse_docid(record, where)
    where = f"{where} (docid {docid})"
    if "text" in record:
        title, text = record.get("title"), record["text"]
        name = "text"
    elif "contents" in record:
        name, text, title = "contents", record["contents"], ""
        if isinstance(text, str) and "\n" in text:
            title, text = text.split("\n", 1)
    else:
        raise XqgError(f"{where}: no text. Every passage needs 'text', or Pyserini's 'contents'.")
    title = "" if title is None else title
    for field_name, value in (("title", title), (name, text)):
        if not isinstance(value, str):
            raise XqgError(f"{where}: {field_name!r} is a {_kind(value)} where a string was expected.")
        _check_unicode(value, repr(field_name), where)
    if not text.strip() and not title.strip():
        raise XqgError(f"{where}: title and text are empty. Remove the passage, or give it its text.")
    generated = record.get("generated_queries")
    queries = parse_queries(generated, where) if generated is not None else {}
    return Passage(docid, title, text, queries, where)


def parse_queries(value: Any, where: str) -> dict[str, list[str]]:
    """Check ``{language: [query, …]}``; languages without a query are left out."""
    if not isinstance(value, Mapping):
        raise XqgError(
            f'{where}: \'generated_queries\' is a {_kind(value)}. Use an object such as {{"fi": ["…", "…"]}}.'
        )
    queries: dict[str, list[str]] = {}
    for language, texts in value.items():
        check_language(language, where)
        if not isinstance(texts, list):
            raise XqgError(f"{where}: generated queries in {language!r} are a {_kind(texts)}. Use a list of strings.")
        for number, text in enumerate(texts, start=1):
            if not isinstance(text, str):
                raise XqgError(f"{where}: generated query {number} in {language!r} is a {_kind(text)}, not a string.")
            if not text.strip():
                raise XqgError(f"{where}: generated query {number} in {language!r} is empty. Remove it.")
            _check_unicode(text, f"generated query {number} in {language!r}", where)
        if texts:
            queries[language] = texts
    return queries


def _check_unicode(text: str, what: str, where: str) -> None:
    """Refuse lone surrogates, which JSON's escapes can write and neither UTF-8 nor a tokenizer can take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise XqgError(
            f"{where}: {what} holds {half}, half a surrogate pair. Remove or mend that character."
        ) from error


def _kind(value: Any) -> str:
    """JSON's word for a Python value."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "JSON object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)

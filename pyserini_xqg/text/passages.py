"""Passages: how they stand in files and datasets, each line checked.

A source is a JSONL file (plain or ``.gz``), a directory of them, or a dataset's id (``irds:<dataset-id>``).
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
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
QUERIES, NEAR_QUERIES = "generated_queries", "queries"
"""The field of the generated queries, and the one that is taken for it by mistake."""


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
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    described = {f"{name}.json" for name in names if name.endswith(".jsonl")}
    files = [path / name for name in sorted(names - described)]
    if not files:
        raise XqgError(f"{source}: an empty directory. Pass one that holds {', '.join(SUFFIXES)} files.")
    for entry in files:
        if entry.is_dir() or not entry.name.endswith(SUFFIXES):
            raise XqgError(f"{entry}: not a corpus file ({', '.join(SUFFIXES)}). Move it out of the corpus directory.")
    return files


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
    has_text = hasattr(document, "text")
    return {
        "docid": document.doc_id,
        "title": getattr(document, "title", None) if has_text else None,
        "text": document.text if has_text else document.default_text(),
        QUERIES: {code: list(texts) for code, texts in getattr(document, QUERIES, {}).items() if texts},
    }


def parse_docid(record: Mapping[str, Any], where: str) -> str:
    """The docid of a record, from ``docid``, ``id`` or ``_id``; a string without white space, or a whole number."""
    name = next((name for name in DOCID_FIELDS if record.get(name) is not None), None)
    if name is None:
        raise XqgError(f"{where}: no docid. Every line needs one, as 'docid', 'id' or '_id'.")
    docid = record[name]
    if isinstance(docid, int) and not isinstance(docid, bool):
        docid = str(docid)
    _check_text(docid, repr(name), where)
    if docid.split() != [docid]:
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
        title = "" if title is None else title
        _check_text(title, "'title'", where)
        _check_text(text, "'text'", where)
    elif "contents" in record:
        _check_text(record["contents"], "'contents'", where)
        title, newline, text = record["contents"].partition("\n")
        title, text = (title, text) if newline else ("", title)
    else:
        raise XqgError(f"{where}: no text. Every passage needs 'text', or Pyserini's 'contents'.")
    if not text.strip() and not title.strip():
        raise XqgError(f"{where}: title and text are empty. Remove the passage, or give it its text.")
    generated = record.get(QUERIES)
    if generated is None and isinstance(record.get(NEAR_QUERIES), Mapping):
        raise XqgError(f"{where}: {NEAR_QUERIES!r} where {QUERIES!r} is read. Rename it.")
    return Passage(docid, title, text, {} if generated is None else parse_queries(generated, where), where)


def parse_queries(value: Any, where: str) -> dict[str, list[str]]:
    """Check ``{language: [query, …]}``; languages without a query are left out."""
    if not isinstance(value, Mapping):
        raise XqgError(f'{where}: {QUERIES!r} is {reprlib.repr(value)}. Use an object such as {{"fi": ["…", "…"]}}.')
    for language, texts in value.items():
        check_language(language, where)
        if not isinstance(texts, list):
            raise XqgError(
                f"{where}: generated queries in {language!r} are {reprlib.repr(texts)}. Use a list of strings."
            )
        for number, text in enumerate(texts, start=1):
            what = f"generated query {number} in {language!r}"
            _check_text(text, what, where)
            if not text.strip():
                raise XqgError(f"{where}: {what} is empty. Remove it.")
    return {language: texts for language, texts in value.items() if texts}


def _check_text(value: Any, what: str, where: str) -> None:
    """Refuse what is no string, and lone surrogates, which JSON can write and neither UTF-8 nor tokenizers can take."""
    if not isinstance(value, str):
        raise XqgError(f"{where}: {what} is {reprlib.repr(value)} where a string was expected.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise XqgError(
            f"{where}: {what} holds {half}, half a surrogate pair. Remove or mend that character."
        ) from error

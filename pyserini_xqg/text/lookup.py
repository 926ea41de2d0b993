"""Passages that the page may show, with their generated queries: one pass over the corpus, then lookups on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl
from pyserini_xqg.text.corpus import Passage, corpus_files, parse_docid, parse_passage, parse_queries


class ShownPassages:
    r"""Some passages of a collection, by docid. Use as a context manager.

    Memory holds a position for each docid asked for, whatever the size of the corpus; the passages themselves are in
    a temporary file, or stay in the dataset's docs store.

    Parameters
    ----------
    docids
        The passages to keep.
    files
        JSONL files of passages, plain or ``.gz``, and directories of them (:mod:`pyserini_xqg.text.corpus`).
    docs_store
        Opens an ir_datasets docs store, in place of ``files``.
    query_files
        Files, or directories of files, with generated queries apart from the passages: lines of ``docid`` and
        ``generated_queries``.

    Raises
    ------
    XqgError
        For a malformed line, and for two passages with one of these docids, or two sources of its queries in a
        language.

    >>> _ = Path("/tmp/xqg-doctest.jsonl").write_text('{"id": "7", "contents": "Tampere\\nA city."}\n{"id": "8", "text": "B"}\n')
    >>> with ShownPassages({"7", "9"}, files=["/tmp/xqg-doctest.jsonl"]) as passages:
    ...     passages.get("7").text, passages.get("8"), passages.get("9")
    ('A city.', None, None)
    """  # noqa: E501

    def __init__(
        self,
        docids: Set[str],
        *,
        files: Sequence[str | Path] = (),
        docs_store: Callable[[], Any] | None = None,
        query_files: Sequence[str | Path] = (),
    ) -> None:
        self._docids = docids
        self._store = docs_store() if docs_store and not files else None
        self._positions: dict[str, tuple[int, int]] = {}
        self._queries: dict[str, list[tuple[int, int]]] = {}
        self._kept = tempfile.TemporaryFile(prefix="pyserini-xqg-")  # noqa: SIM115 (closed by close)
        try:
            self._read_passages([file for source in files for file in corpus_files(source)])
            self._read_queries([file for source in query_files for file in corpus_files(source)])
        except BaseException:
            self.close()
            raise

    def _read_passages(self, files: Iterable[Path]) -> None:
        with progress(unit="passages", description="looking up passages") as bar:
            for file in files:
                for number, record in read_jsonl(file):
                    bar.update()
                    where = f"{file}, line {number}"
                    docid = parse_docid(record, where)
                    if docid not in self._docids:
                        continue
                    if docid in self._positions:
                        raise XqgError(f"{where}: docid {docid!r} was given before. Give each passage its own.")
                    passage = parse_passage(record, where)
                    self._positions[docid] = self._keep([passage.title, passage.text])
                    if passage.queries:
                        self._queries[docid] = [self._keep([where, passage.queries])]

    def _read_queries(self, files: Iterable[Path]) -> None:
        with progress(unit="lines", description="reading queries") as bar:
            for file in files:
                for number, record in read_jsonl(file):
                    bar.update()
                    where = f"{file}, line {number}"
                    docid = parse_docid(record, where)
                    if docid not in self._docids:
                        continue
                    if "generated_queries" not in record:
                        raise XqgError(f"{where} (docid {docid}): no 'generated_queries'. Each line needs them.")
                    queries = parse_queries(record["generated_queries"], f"{where} (docid {docid})")
                    self._queries.setdefault(docid, []).append(self._keep([where, queries]))

    def _keep(self, value: Any) -> tuple[int, int]:
        data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        position = self._kept.tell(), len(data)
        self._kept.write(data)
        return position

    def _kept_value(self, position: tuple[int, int]) -> Any:
        start, length = position
        self._kept.seek(start)
        return json.loads(self._kept.read(length).decode("utf-8", "surrogatepass"))

    def get(self, docid: str) -> Passage | None:
        """A passage with all its generated queries; None if it was not asked for, or is not in the collection."""
        found = self._find(docid)
        if found is None:
            return None
        title, text, own = found
        queries = dict(own)
        for position in self._queries.get(docid, ()):
            where, more = self._kept_value(position)
            if twice := sorted(queries.keys() & more.keys()):
                raise XqgError(
                    f"{where} (docid {docid}): queries in {twice[0]!r} were given before, by the passage itself or by "
                    "another file. Give each language once."
                )
            queries |= more
        return Passage(docid, title, text, dict(sorted(queries.items())))

    def text(self, docid: str) -> str | None:
        """A passage's text, without reading its queries; None as in :meth:`get`."""
        found = self._find(docid)
        return None if found is None else found[1]

    def _find(self, docid: str) -> tuple[str, str, Mapping[str, Sequence[str]]] | None:
        """Title, text, and the queries that a dataset has with them."""
        if docid not in self._docids:
            return None
        if self._store is not None:
            return self._from_store(docid)
        if docid not in self._positions:
            return None
        title, text = self._kept_value(self._positions[docid])
        return title, text, {}

    def _from_store(self, docid: str) -> tuple[str, str, Mapping[str, Sequence[str]]] | None:
        try:
            document = self._store.get(docid)
        except KeyError:
            return None
        if document is None:
            return None
        text = document.text if hasattr(document, "text") else document.default_text()
        generated = getattr(document, "generated_queries", None) or {}
        queries = {language: list(texts) for language, texts in dict(generated).items() if texts}
        return getattr(document, "title", None) or "", text, queries

    def close(self) -> None:
        """Give the temporary file back."""
        self._kept.close()

    def __enter__(self) -> ShownPassages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

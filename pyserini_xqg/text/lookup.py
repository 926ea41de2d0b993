"""Look-ups by docid in SQLite tables on the disk: passages of a corpus, and queries that stand in other files."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl
from pyserini_xqg.text.passages import (
    Passage,
    corpus_files,
    document_record,
    parse_docid,
    parse_passage,
    parse_queries,
    read_records,
)


class _Table:
    """A temporary table, on the disk until it is closed; memory does not grow with it."""

    def __init__(self, *definitions: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pyserini-xqg-")
        self._database = sqlite3.connect(Path(self._directory.name) / "table.sqlite")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        for definition in definitions:
            self._database.execute(definition)

    def _row(self, query: str, *values: Any) -> Any:
        return self._database.execute(query, values).fetchone()

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """Close the table if filling it fails; a full disk is named."""
        try:
            yield
        except sqlite3.OperationalError as error:
            self.close()
            raise XqgError(
                f"{self._directory.name}: {error}. Free some space there, or set TMPDIR to another directory."
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the table."""
        self._database.close()
        self._directory.cleanup()


class QueryFiles(_Table):
    """Generated queries in files of their own, by docid; in any order.

    files : lines of ``docid`` and ``generated_queries``, or directories of such files. wanted : whether the queries of
    a docid are kept; all are, if it is not given.
    """

    def __init__(self, files: Sequence[str | Path], wanted: Callable[[str], bool] | None = None) -> None:
        self._files = [path for source in files for path in corpus_files(source)]
        if not self._files:
            return
        super().__init__("CREATE TABLE queries (docid TEXT, line INTEGER, file INTEGER, value TEXT, used INTEGER)")
        with self._filling(), progress(unit="lines", description="reading queries") as bar:
            for file, path in enumerate(self._files):
                for line, record in read_jsonl(path):
                    bar.update()
                    where = f"{path}, line {line}"
                    docid = parse_docid(record, where)
                    if wanted is not None and not wanted(docid):
                        continue
                    where = f"{where} (docid {docid})"
                    if "generated_queries" not in record:
                        raise XqgError(f"{where}: no 'generated_queries'. Each line needs them, see README.")
                    value = json.dumps(parse_queries(record["generated_queries"], where), ensure_ascii=False)
                    self._database.execute("INSERT INTO queries VALUES (?, ?, ?, ?, 0)", (docid, line, file, value))
            self._database.execute("CREATE INDEX by_docid ON queries (docid)")
            twice = self._row(
                "SELECT docid, file, min(line), max(line) FROM queries GROUP BY docid, file HAVING count(*) > 1 LIMIT 1"
            )
            if twice is not None:
                docid, file, first, last = twice
                raise XqgError(
                    f"{self._files[file]}, line {last}: docid {docid!r} is already on line {first}. Keep one of them."
                )

    def add_to(self, passage: Passage) -> Passage:
        """The passage with its queries from the files added to those that it has."""
        if not self._files:
            return passage
        rows = self._database.execute(
            "SELECT file, line, value FROM queries WHERE docid = ? ORDER BY file", (passage.docid,)
        ).fetchall()
        queries = dict(passage.queries)
        for file, line, value in rows:
            more = json.loads(value)
            if twice := queries.keys() & more.keys():
                raise XqgError(
                    f"{self._files[file]}, line {line} (docid {passage.docid}): queries in {min(twice)!r} were given "
                    "before, by the passage itself or by another file. Give each language once."
                )
            queries |= more
        return Passage(passage.docid, passage.title, passage.text, queries, passage.where)

    def mark_used(self, docid: str) -> None:
        """Note that the queries of a docid belong to a passage."""
        if self._files:
            self._database.execute("UPDATE queries SET used = 1 WHERE docid = ?", (docid,))

    def refuse_unknown(self, source: str) -> None:
        """After :meth:`mark_used` for each passage: :class:`XqgError` if some queries belong to no passage."""
        if not self._files or not (unused := self._row("SELECT count(*) FROM queries WHERE used = 0")[0]):
            return
        docid, file, line = self._row("SELECT docid, file, line FROM queries WHERE used = 0 ORDER BY file, line")
        raise XqgError(
            f"{self._files[file]}, line {line}: generated queries for docid {docid!r}, which is not in {source} "
            f"({unused} such lines in all). Pass the corpus they were generated for, or remove them."
        )

    def close(self) -> None:
        """Remove the table."""
        if self._files:
            super().close()


class PassageLookup(_Table):
    r"""Some passages of a corpus, by docid; on the disk until it is closed. Use as a context manager.

    Parameters
    ----------
    docids
        The passages to keep, see also :meth:`want`; None keeps all.
    sources
        Where they are (:mod:`pyserini_xqg.text.passages`), read at once; or later, by :meth:`read`.
    query_files
        Files of generated queries apart from the passages.
    docs_store
        Opens an ir_datasets docs store, which is used where there are no ``sources``.
    with_queries
        Check and keep the generated queries in the passages.

    Raises
    ------
    XqgError
        For a malformed line, for two passages with one of these docids, and for two sources of a passage's queries in
        a language.

    >>> _ = Path("/tmp/xqg-doctest.jsonl").write_text('{"id": "7", "contents": "Tampere\\nA city."}\n')
    >>> with PassageLookup({"7", "9"}, ["/tmp/xqg-doctest.jsonl"]) as passages:
    ...     passages.get("7").text, passages.get("9")
    ('A city.', None)
    """

    def __init__(
        self,
        docids: Iterable[str] | None,
        sources: Sequence[str | Path] = (),
        *,
        query_files: Sequence[str | Path] = (),
        docs_store: Callable[[], Any] | None = None,
        with_queries: bool = True,
    ) -> None:
        super().__init__("CREATE TABLE passages (docid TEXT PRIMARY KEY, title TEXT, text TEXT, queries TEXT)")
        self._keeps_all, self._with_queries = docids is None, with_queries
        self._queries = QueryFiles(())
        with self._filling():
            self._store = docs_store() if docs_store is not None and not sources else None
            self.want(docids or ())
            for source in sources:
                self.read(source)
            self._queries = QueryFiles(query_files, None if self._keeps_all else self._is_wanted)

    def want(self, docids: Iterable[str]) -> None:
        """Name more passages to keep, before they are read."""
        with self._filling():
            rows = ((docid,) for docid in docids)
            self._database.executemany("INSERT OR IGNORE INTO passages (docid) VALUES (?)", rows)

    def _is_wanted(self, docid: str) -> bool:
        return self._row("SELECT 1 FROM passages WHERE docid = ?", docid) is not None

    def read(self, source: str | Path) -> None:
        """Read a corpus once, and keep what is wanted of it."""
        with self._filling(), progress(unit="passages", description="looking up passages") as bar:
            for where, record in read_records(source):
                bar.update()
                docid = parse_docid(record, where)
                row = self._row("SELECT text IS NULL FROM passages WHERE docid = ?", docid)
                if row is None and not self._keeps_all:
                    continue
                if row == (0,):
                    raise XqgError(f"{where}: docid {docid!r} was given before. Give each passage its own.")
                if not self._with_queries:
                    record.pop("generated_queries", None)
                passage = parse_passage(record, where)
                queries = json.dumps(passage.queries, ensure_ascii=False) if passage.queries else None
                self._database.execute(
                    "INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?)",
                    (docid, passage.title, passage.text, queries),
                )

    @property
    def docids(self) -> set[str]:
        """The passages that are there."""
        return {docid for (docid,) in self._database.execute("SELECT docid FROM passages WHERE text IS NOT NULL")}

    def missing(self) -> tuple[int, str | None]:
        """How many of the passages asked for are not there, and the first of these docids."""
        return self._row("SELECT count(*), min(docid) FROM passages WHERE text IS NULL")

    def get(self, docid: str) -> Passage | None:
        """A passage with all its generated queries; None if it was not asked for, or is not in the corpus."""
        if self._store is not None:
            return self._from_store(docid)
        row = self._row("SELECT title, text, queries FROM passages WHERE docid = ? AND text IS NOT NULL", docid)
        if row is None:
            return None
        title, text, stored = row
        queries: Mapping[str, Sequence[str]] = json.loads(stored) if stored else {}
        complete = self._queries.add_to(Passage(docid, title, text, queries))
        return Passage(docid, title, text, dict(sorted(complete.queries.items())))

    def _from_store(self, docid: str) -> Passage | None:
        try:
            document = self._store.get(docid)
        except KeyError:
            return None
        if document is None:
            return None
        record = document_record(document)
        queries = {language: texts for language, texts in record.get("generated_queries", {}).items() if texts}
        passage = Passage(docid, record.get("title") or "", record["text"], queries)
        return self._queries.add_to(passage)

    def text(self, docid: str) -> str | None:
        """A passage's text; None as in :meth:`get`."""
        passage = self.get(docid)
        return None if passage is None else passage.text

    def close(self) -> None:
        """Remove the tables."""
        self._queries.close()
        super().close()

    def __enter__(self) -> PassageLookup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

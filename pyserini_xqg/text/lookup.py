"""Look-ups by docid in SQLite tables on the disk: passages of a corpus, and queries that stand in other files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl
from pyserini_xqg.text.passages import (
    NEAR_QUERIES,
    QUERIES,
    Passage,
    corpus_files,
    document_record,
    parse_docid,
    parse_passage,
    parse_queries,
    read_records,
)


def _open_table(definition: str) -> sqlite3.Connection:
    """A table in a file without a name, gone when it is closed or the process ends; memory does not grow with it."""
    table = sqlite3.connect("")
    for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", f"CREATE TABLE {definition}"):
        table.execute(statement)
    return table


@contextmanager
def _full_disk_named() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise XqgError(
            f"the directory for temporary files: {error}. Free some space there, or set TMPDIR to another directory."
        ) from error


class QueryFiles:
    """Generated queries in files of their own, by docid; in any order.

    sources : files of lines of ``docid`` and ``generated_queries``, or directories of such files. wanted : whether the
    queries of a docid are kept; all are, if it is not given.
    """

    def __init__(self, sources: Sequence[str | Path], wanted: Callable[[str], bool] | None = None) -> None:
        self.paths = [path for source in sources for path in corpus_files(source)]
        if not self.paths:
            return
        self._table = _open_table("queries (docid, line, file, value, used DEFAULT 0)")
        with _full_disk_named(), progress(unit="lines", description="reading queries") as bar:
            for file, path in enumerate(self.paths):
                for line, record in read_jsonl(path):
                    bar.update()
                    docid = parse_docid(record, f"{path}, line {line}")
                    if wanted is not None and not wanted(docid):
                        continue
                    where = f"{path}, line {line} (docid {docid})"
                    if QUERIES not in record:
                        raise XqgError(f"{where}: no '{QUERIES}'. Each line needs them, see README.")
                    row = (docid, line, file, json.dumps(parse_queries(record[QUERIES], where), ensure_ascii=False))
                    self._table.execute("INSERT INTO queries (docid, line, file, value) VALUES (?, ?, ?, ?)", row)
            self._table.execute("CREATE INDEX by_docid ON queries (docid)")
            twice = self._table.execute(
                "SELECT docid, file, min(line), max(line) FROM queries GROUP BY docid, file HAVING count(*) > 1 LIMIT 1"
            )
            for docid, file, first, last in twice:
                raise XqgError(
                    f"{self.paths[file]}, line {last}: docid {docid!r} is already on line {first}. Keep one of them."
                )

    def add_to(self, passage: Passage) -> Passage:
        """The passage with its queries from the files added to those that it has."""
        if not self.paths:
            return passage
        queries = dict(passage.queries)
        select = "SELECT file, line, value FROM queries WHERE docid = ? ORDER BY file"
        for file, line, value in self._table.execute(select, (passage.docid,)):
            more = json.loads(value)
            if twice := queries.keys() & more.keys():
                raise XqgError(
                    f"{self.paths[file]}, line {line} (docid {passage.docid}): queries in {min(twice)!r} were given "
                    "before, by the passage itself or by another file. Give each language once."
                )
            queries |= more
        return replace(passage, queries=queries)

    def mark_used(self, docid: str) -> None:
        """Note that the queries of a docid belong to a passage."""
        if self.paths:
            self._table.execute("UPDATE queries SET used = 1 WHERE docid = ?", (docid,))

    def refuse_unknown(self, source: str) -> None:
        """After :meth:`mark_used` for each passage: :class:`XqgError` if some queries belong to no passage."""
        if not self.paths:
            return
        unused = "SELECT docid, file, line, count(*) OVER () FROM queries WHERE used = 0 ORDER BY file, line LIMIT 1"
        for docid, file, line, number in self._table.execute(unused):
            raise XqgError(
                f"{self.paths[file]}, line {line}: generated queries for docid {docid!r}, which is not in {source} "
                f"({number} such lines in all). Pass the corpus they were generated for, or remove them."
            )


class PassageLookup:
    r"""Some passages of a corpus, by docid; on the disk until it is closed. Use as a context manager.

    docids : the passages to keep, see also :meth:`want`; None keeps all. sources : where they are, read at once; or
    later, by :meth:`read`. query_files : generated queries apart from the passages. docs_store : opens an ir_datasets
    docs store, which is used where there are no ``sources``. with_queries : check and keep the queries in the passages.

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
        self._table = _open_table("passages (docid PRIMARY KEY, title, text, queries)")
        self._keeps_all, self._with_queries = docids is None, with_queries
        self._store = docs_store() if docs_store is not None and not sources else None
        self.want(docids or ())
        for source in sources:
            self.read(source)
        self._queries = QueryFiles(query_files, None if self._keeps_all else self._is_wanted)

    def want(self, docids: Iterable[str]) -> None:
        """Name more passages to keep, before they are read."""
        with _full_disk_named():
            rows = ((docid,) for docid in docids)
            self._table.executemany("INSERT OR IGNORE INTO passages (docid) VALUES (?)", rows)

    def _row(self, query: str, *values: Any) -> Any:
        return self._table.execute(query, values).fetchone()

    def _is_wanted(self, docid: str) -> bool:
        return self._row("SELECT 1 FROM passages WHERE docid = ?", docid) is not None

    def read(self, source: str | Path) -> None:
        """Read a corpus once, and keep what is wanted of it."""
        with _full_disk_named():
            for where, record in progress(read_records(source), unit="passages", description="looking up passages"):
                docid = parse_docid(record, where)
                row = self._row("SELECT text IS NULL FROM passages WHERE docid = ?", docid)
                if row is None and not self._keeps_all:
                    continue
                if row == (0,):
                    raise XqgError(f"{where}: docid {docid!r} was given before. Give each passage its own.")
                if not self._with_queries:
                    record = {key: value for key, value in record.items() if key not in (QUERIES, NEAR_QUERIES)}
                passage = parse_passage(record, where)
                self._table.execute(
                    "INSERT OR REPLACE INTO passages VALUES (?, ?, ?, ?)",
                    (docid, passage.title, passage.text, json.dumps(passage.queries, ensure_ascii=False)),
                )

    @property
    def docids(self) -> set[str]:
        """The passages that are there."""
        return {docid for (docid,) in self._table.execute("SELECT docid FROM passages WHERE text IS NOT NULL")}

    def missing(self) -> tuple[int, str | None]:
        """How many of the passages asked for are not there, and the first of these docids."""
        return self._row("SELECT count(*), min(docid) FROM passages WHERE text IS NULL")

    def get(self, docid: str) -> Passage | None:
        """A passage with all its generated queries; None if it was not asked for, or is not in the corpus."""
        if self._store is not None:
            try:
                record = document_record(self._store.get(docid))
            except KeyError:
                return None
            passage = Passage(docid, record["title"] or "", record["text"], record.get(QUERIES, {}))
        else:
            row = self._row("SELECT title, text, queries FROM passages WHERE docid = ? AND text IS NOT NULL", docid)
            if row is None:
                return None
            passage = Passage(docid, row[0], row[1], json.loads(row[2]))
        passage = self._queries.add_to(passage)
        return replace(passage, queries=dict(sorted(passage.queries.items())))

    def text(self, docid: str) -> str | None:
        """A passage's text; None as in :meth:`get`."""
        passage = self.get(docid)
        return None if passage is None else passage.text

    def close(self) -> None:
        """Remove the tables."""
        self._table.close()

    def __enter__(self) -> PassageLookup:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

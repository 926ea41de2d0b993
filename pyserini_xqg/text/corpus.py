"""Passages with their generated queries, streamed and checked; nothing holds the corpus.

Sources: a JSONL file (plain or ``.gz``), a directory of them, or ``irds:<dataset-id>``. Generated
queries may stand in the passage's own line or in files of their own, keyed by the same docid.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, read_jsonl, write_json
from pyserini_xqg.core.languages import check_language, parse_languages
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.datasets import IRDS_PREFIX

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
DOCID_FIELDS = ("docid", "id", "_id")
FIELDS = ("title", "text")


@dataclass(frozen=True)
class CorpusOptions:
    """Corpus"""

    corpus: str | None = option(
        None,
        "JSONL file (.gz too), directory of them, or irds:<dataset-id>; lines of docid, title, text, generated_queries",
        metavar="PATH",
    )
    queries: tuple[str, ...] = option(
        (),
        "files with generated queries apart from the passages: lines of docid, generated_queries",
        metavar="PATH",
        several=True,
    )
    fields: tuple[str, ...] = option(FIELDS, "fields of a passage to encode", choices=FIELDS, several=True)

    @property
    def inputs(self) -> list[str]:
        """The files and directories that are read."""
        named = [self.corpus, *self.queries]
        return [source for source in named if source and not source.startswith(IRDS_PREFIX)]

    def open(self, selection: QuerySelection | None = None) -> Corpus:
        """The corpus, with the generated queries that ``selection`` leaves."""
        chosen = selection or QuerySelection()
        return Corpus(self.corpus, self.queries, chosen.languages, chosen.max_queries)


@dataclass(frozen=True, kw_only=True)
class QuerySelection:
    """Generated queries

    languages : those whose queries are used; None for all. max_queries : first so many per passage and language.
    """

    languages: tuple[str, ...] | None = option(
        None,
        "query languages to use, such as ar,bn,fi (default: all)",
        metavar="CODES",
        read=lambda text: tuple(parse_languages(text)),
    )
    max_queries: int | None = option(
        None, "first N queries per passage and language (default: all)", metavar="N", check=at_least(1)
    )


@dataclass(frozen=True)
class Passage:
    """One unit of retrieval. ``queries`` maps a language code to that language's generated queries."""

    docid: str
    title: str
    text: str
    queries: Mapping[str, Sequence[str]] = field(default_factory=dict)
    where: str = ""
    """File and line, or dataset, for messages."""


@dataclass(frozen=True)
class CorpusSummary:
    """What a checking pass over a corpus found.

    sha256 identifies the content (docids, texts, queries in their order), whatever files hold it.
    """

    passages: int
    queries: dict[str, int]
    passages_with_queries: dict[str, int]
    passages_without_queries: int
    most_queries: dict[str, int]
    """Language to the largest number of queries that one passage has."""
    sha256: str


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


class Corpus:
    """A corpus that can be iterated any number of times, each time as a checked stream of :class:`Passage`.

    Parameters
    ----------
    source : file, directory, or ``irds:<dataset-id>``.
    query_files : files of ``{"docid": …, "generated_queries": {language: [query, …]}}`` lines, or directories of
        them; in any order, and a passage may have its languages in different files.
    languages : languages to keep, in this order; None for all that occur.
    max_queries : most queries kept per passage and language, the first ones; None for all.

    Every fault in the input raises :class:`XqgError` with file, line and docid.

    >>> import json, pathlib
    >>> path = pathlib.Path("/tmp/xqg-doctest.jsonl")
    >>> _ = path.write_text(json.dumps({"docid": "7", "text": "A text.", "generated_queries": {"fi": ["Mikä?"]}}))
    >>> [(passage.docid, dict(passage.queries)) for passage in Corpus(path)]
    [('7', {'fi': ['Mikä?']})]
    """

    def __init__(
        self,
        source: str | Path,
        query_files: Sequence[str | Path] = (),
        languages: Sequence[str] | None = None,
        max_queries: int | None = None,
    ) -> None:
        self.source = str(source)
        self.languages = list(languages) if languages is not None else None
        self.max_queries = max_queries
        self._is_irds = self.source.startswith(IRDS_PREFIX)
        self._files = [] if self._is_irds else corpus_files(source)
        self._dataset = _load_irds(self.source) if self._is_irds else None
        self._query_files = [file for path in query_files for file in corpus_files(path)]
        self._query_index = _QueryIndex(self._query_files)

    def file_state(self) -> list[Any] | None:
        """All that decides the content as long as no file is changed in secret; None for a corpus that is no files.

        Options, then name, size in bytes and time of change in nanoseconds of each file.
        """
        if self._is_irds:
            return None
        states = [
            [[path.name, (stat := path.stat()).st_size, stat.st_mtime_ns] for path in files]
            for files in (self._files, self._query_files)
        ]
        return [self.languages, self.max_queries, *states]

    def __iter__(self) -> Iterator[Passage]:
        return map(self._select, self._read())

    def _read(self) -> Iterator[Passage]:
        """All passages with all their queries, from wherever they come."""
        records = self._read_irds() if self._is_irds else self._read_files()
        return map(self._query_index.add_to, records)

    def scan(self) -> CorpusSummary:
        """Check the whole corpus before any expensive work; returns what it holds.

        Beyond each line's form: no docid twice, no generated queries for an unknown docid, at least one passage.
        """
        from pyserini_xqg.core.cli import progress

        digest = hashlib.sha256()
        passages = without = 0
        queries: dict[str, int] = {}
        with_queries: dict[str, int] = {}
        most: dict[str, int] = {}
        available: set[str] = set()
        with tempfile.TemporaryFile() as hashes, progress(unit="passages", description="checking") as bar:
            for complete in self._read():
                passages += 1
                bar.update()
                available.update(complete.queries)
                passage = self._select(complete)
                hashes.write(_hash64(passage.docid))
                self._query_index.mark_used(passage.docid)
                content = [passage.docid, passage.title, passage.text, [list(item) for item in passage.queries.items()]]
                digest.update(json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass"))
                without += not passage.queries
                for language, texts in passage.queries.items():
                    queries[language] = queries.get(language, 0) + len(texts)
                    with_queries[language] = with_queries.get(language, 0) + 1
                    most[language] = max(most.get(language, 0), len(texts))
            if passages == 0:
                raise XqgError(f"{self.source}: no passage in it. Pass a corpus with at least one.")
            self._refuse_duplicates(_repeated(hashes, passages))
        self._query_index.refuse_unknown(self.source)
        order = self.languages if self.languages is not None else sorted(queries)
        missing = [language for language in order if language not in queries]
        if missing:
            raise XqgError(
                f"{self.source}: no generated queries in {', '.join(missing)}. "
                f"It has {', '.join(sorted(available)) or 'none at all'}; choose --languages among them."
            )
        return CorpusSummary(
            passages,
            {language: queries[language] for language in order},
            {language: with_queries[language] for language in order},
            without,
            {language: most[language] for language in order},
            digest.hexdigest(),
        )

    def _select(self, passage: Passage) -> Passage:
        order = self.languages if self.languages is not None else sorted(passage.queries)
        chosen = {
            language: list(passage.queries[language][: self.max_queries])
            for language in order
            if passage.queries.get(language)
        }
        return Passage(passage.docid, passage.title, passage.text, chosen, passage.where)

    def _read_files(self) -> Iterator[Passage]:
        for path in self._files:
            for number, record in read_jsonl(path):
                yield parse_passage(record, f"{path}, line {number}")

    def _read_irds(self) -> Iterator[Passage]:
        for number, document in enumerate(self._dataset.docs_iter(), start=1):
            record: dict[str, Any] = {"docid": document.doc_id}
            if hasattr(document, "text"):
                record |= {"title": getattr(document, "title", None), "text": document.text}
            else:
                record |= {"text": document.default_text()}
            if getattr(document, "generated_queries", None):
                generated = document.generated_queries
                record["generated_queries"] = {key: list(texts) for key, texts in dict(generated).items()}
            yield parse_passage(record, f"{self.source}, document {number}")

    def _refuse_duplicates(self, suspects: set[int]) -> None:
        """A second pass, only if two docids share a hash: name the docid and both places."""
        if not suspects:
            return
        places: dict[str, str] = {}
        for passage in self:
            if int.from_bytes(_hash64(passage.docid), "little") in suspects:
                if passage.docid in places:
                    raise XqgError(
                        f"{passage.where}: docid {passage.docid!r} is already at {places[passage.docid]}. "
                        "Give every passage its own docid."
                    )
                places[passage.docid] = passage.where


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


def _load_irds(source: str) -> Any:
    from pyserini_xqg import datasets

    dataset = datasets.load(source.removeprefix(IRDS_PREFIX))
    if not dataset.has_docs():
        raise XqgError(f"{source}: this dataset has no documents. Use one that has, see `ir_datasets list`.")
    return dataset


def _hash64(docid: str) -> bytes:
    return hashlib.blake2b(docid.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _repeated(hashes: IO[bytes], count: int, block: int = 1 << 19) -> set[int]:
    """Which of ``count`` 64-bit hashes in a file occur more than once, with ``block`` of them in memory.

    The hash space is cut into parts small enough to sort, one pass over the file for each.
    """
    parts = max(1, -(-count // block) * 2)
    repeated: set[int] = set()
    for part in range(parts):
        hashes.seek(0)
        chosen = []
        while data := hashes.read(8 * block):
            values = np.frombuffer(data, dtype="<u8")
            chosen.append(values[values % np.uint64(parts) == part] if parts > 1 else values)
        ordered = np.sort(np.concatenate(chosen))
        repeated.update(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    return repeated


class _QueryIndex:
    """Generated queries in files of their own: a temporary SQLite table from docid to the queries, on disk."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._database: sqlite3.Connection | None = None
        self._files = [str(path) for path in files]
        if files:
            self._directory = tempfile.TemporaryDirectory(prefix="pyserini-xqg-")
            self._database = sqlite3.connect(Path(self._directory.name) / "queries.sqlite")
            self._fill(files)

    def _fill(self, files: Sequence[Path]) -> None:
        from pyserini_xqg.core.cli import progress

        database = self._database
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE queries (docid TEXT, line INTEGER, file INTEGER, value TEXT, used INTEGER)")
        with progress(unit="lines", description="reading queries") as bar:
            for file, path in enumerate(files):
                for line, record in read_jsonl(path):
                    where = f"{path}, line {line}"
                    docid = parse_docid(record, where)
                    where = f"{where} (docid {docid})"
                    if "generated_queries" not in record:
                        raise XqgError(f"{where}: no 'generated_queries'. Each line needs them, see README.")
                    value = json.dumps(parse_queries(record["generated_queries"], where), ensure_ascii=False)
                    database.execute("INSERT INTO queries VALUES (?, ?, ?, ?, 0)", (docid, line, file, value))
                    bar.update()
        database.execute("CREATE INDEX by_docid ON queries (docid)")
        with closing(
            database.execute(
                "SELECT docid, file, min(line), max(line) FROM queries GROUP BY docid, file HAVING count(*) > 1 LIMIT 1"
            )
        ) as rows:
            for docid, file, first, last in rows:
                raise XqgError(
                    f"{files[file]}, line {last}: docid {docid!r} is already on line {first}. Keep one of them."
                )

    def add_to(self, passage: Passage) -> Passage:
        """The passage with its queries from the files added to its own."""
        if self._database is None:
            return passage
        rows = self._database.execute(
            "SELECT file, line, value FROM queries WHERE docid = ? ORDER BY file", (passage.docid,)
        ).fetchall()
        queries = dict(passage.queries)
        for file, line, value in rows:
            for language, texts in json.loads(value).items():
                if language in queries:
                    raise XqgError(
                        f"{self._files[file]}, line {line} (docid {passage.docid}): queries in {language!r} were given "
                        "before, by the passage itself or by another file. Give each language once."
                    )
                queries[language] = texts
        return Passage(passage.docid, passage.title, passage.text, queries, passage.where)

    def mark_used(self, docid: str) -> None:
        """Note that the queries of a docid belong to a passage."""
        if self._database is not None:
            self._database.execute("UPDATE queries SET used = 1 WHERE docid = ?", (docid,))

    def refuse_unknown(self, source: str) -> None:
        """After :meth:`mark_used` for each passage: :class:`XqgError` if some queries belong to no passage."""
        if self._database is None:
            return
        unused = self._database.execute("SELECT count(*) FROM queries WHERE used = 0").fetchone()[0]
        if unused:
            docid, file, line = self._database.execute(
                "SELECT docid, file, line FROM queries WHERE used = 0 ORDER BY file, line LIMIT 1"
            ).fetchone()
            raise XqgError(
                f"{self._files[file]}, line {line}: generated queries for docid {docid!r}, which is not in {source} "
                f"({unused} such lines in all). Pass the corpus they were generated for, or remove them."
            )


def scan_once(corpus: Corpus, directory: str | Path) -> CorpusSummary:
    """What :meth:`Corpus.scan` found, kept in ``directory`` for the other shards of the same files.

    The name of the file that keeps it says all that the result depends on: options, and each input file's name,
    size and time of change. Corpora that are no files are scanned every time.
    """
    from pyserini_xqg.text.corpus import CorpusSummary

    state = corpus.file_state()
    if state is None:
        return corpus.scan()
    key = json.dumps([state, [field.name for field in fields(CorpusSummary)]])
    path = Path(directory) / f".corpus-{hashlib.sha256(key.encode('utf-8')).hexdigest()[:24]}.json"
    if path.exists():
        say(f"{corpus.source}: unchanged since it was checked for another shard ({path})")
        return CorpusSummary(**read_json(path))
    summary = corpus.scan()
    if corpus.file_state() == state:
        write_json(path, asdict(summary))
    return summary

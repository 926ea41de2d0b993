"""Passages with their generated queries, streamed and checked; nothing holds the corpus.

Sources: a JSONL file (plain or ``.gz``), a directory of them, or ``irds:<dataset-id>``. Generated
queries may stand in the passage's own line or in files of their own, keyed by the same docid.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.datasets.ids import dataset_of
from pyserini_xqg.text.lookup import QueryFiles
from pyserini_xqg.text.passages import Passage, corpus_files, load_passages, parse_passage, read_records

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
        return [source for source in named if source and dataset_of(source) is None]

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
class CorpusSummary:
    """What a checking pass over a corpus found.

    sha256 identifies the content (docids, texts, queries in their order), whatever files hold it.
    """

    passages: int
    queries: dict[str, int]
    passages_with_queries: dict[str, int]
    most_queries: dict[str, int]
    """Language to the largest number of queries that one passage has."""
    passages_without_queries: int
    sha256: str


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
        self._dataset_id = dataset_of(self.source)
        if self._dataset_id is None:
            self._files = corpus_files(source)
        else:
            load_passages(self._dataset_id)
        self._query_files = QueryFiles(query_files)

    def file_state(self) -> list[Any] | None:
        """All that tells whether the content is the same; None for a corpus that is no files.

        Options, then of each file what changes when anybody writes to it or puts another in its place: inode, size,
        time of change (which, unlike that of modification, nobody can set) and of modification, in nanoseconds.
        """
        if self._dataset_id is not None:
            return None

        def state(path: Path) -> list[Any]:
            stat = path.stat()
            return [path.name, stat.st_ino, stat.st_size, stat.st_ctime_ns, stat.st_mtime_ns]

        files = [[state(path) for path in some] for some in (self._files, self._query_files.paths)]
        return [self.languages, self.max_queries, *files]

    def __iter__(self) -> Iterator[Passage]:
        return map(self._select, self._read())

    def _read(self) -> Iterator[Passage]:
        """All passages with all their queries, from wherever they come."""
        for where, record in read_records(self.source):
            yield self._query_files.add_to(parse_passage(record, where))

    def scan(self) -> CorpusSummary:
        """Check the whole corpus before any expensive work; returns what it holds. Memory: 16 bytes a passage.

        Beyond each line's form: no docid twice, no generated queries for an unknown docid, at least one passage.
        """
        digest, hashes = hashlib.sha256(), array("q")
        without = 0
        queries: Counter[str] = Counter()
        with_queries: Counter[str] = Counter()
        most: dict[str, int] = {}
        available: set[str] = set()
        for complete in progress(self._read(), unit="passages", description="checking"):
            available.update(complete.queries)
            passage = self._select(complete)
            hashes.append(hash(passage.docid))
            self._query_files.mark_used(passage.docid)
            content = [passage.docid, passage.title, passage.text, [list(item) for item in passage.queries.items()]]
            digest.update(json.dumps(content, ensure_ascii=False).encode())
            without += not passage.queries
            for language, texts in passage.queries.items():
                queries[language] += len(texts)
                with_queries[language] += 1
                most[language] = max(most.get(language, 0), len(texts))
        if not hashes:
            raise XqgError(f"{self.source}: no passage in it. Pass a corpus with at least one.")
        ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
        self._refuse_duplicates({int(value) for value in ordered[1:][ordered[1:] == ordered[:-1]]})
        self._query_files.refuse_unknown(self.source)
        order = self.languages if self.languages is not None else sorted(queries)
        if missing := [language for language in order if language not in queries]:
            raise XqgError(
                f"{self.source}: no generated queries in {', '.join(missing)}. "
                f"It has {', '.join(sorted(available)) or 'none at all'}; choose --languages among them."
            )
        counts = ({language: number[language] for language in order} for number in (queries, with_queries, most))
        return CorpusSummary(len(hashes), *counts, without, digest.hexdigest())

    def _select(self, passage: Passage) -> Passage:
        order = self.languages if self.languages is not None else sorted(passage.queries)
        chosen = {
            language: list(passage.queries[language][: self.max_queries])
            for language in order
            if passage.queries.get(language)
        }
        return replace(passage, queries=chosen)

    def _refuse_duplicates(self, suspects: set[int]) -> None:
        """A second pass, only if two docids share a hash: name the docid and both lines."""
        known: dict[str, str] = {}
        for passage in self if suspects else ():
            if hash(passage.docid) not in suspects:
                continue
            if passage.docid in known:
                raise XqgError(
                    f"{passage.where}: docid {passage.docid!r} is already at {known[passage.docid]}. "
                    "Give every passage its own docid."
                )
            known[passage.docid] = passage.where


def scan_once(corpus: Corpus, directory: str | Path) -> CorpusSummary:
    """What :meth:`Corpus.scan` found, kept in ``directory`` for the other shards of the same files.

    The name of the file that keeps it says all that the result depends on (:meth:`Corpus.file_state`). Corpora that
    are no files are scanned every time.
    """
    state = corpus.file_state()
    if state is None:
        return corpus.scan()
    key = json.dumps([state, [field.name for field in fields(CorpusSummary)]])
    path = Path(directory) / f".corpus-{hashlib.sha256(key.encode('utf-8')).hexdigest()[:24]}.json"
    if path.exists():
        with suppress(XqgError, TypeError):  # damaged: checked again
            summary = CorpusSummary(**read_json(path))
            say(f"{corpus.source}: unchanged since it was checked for another shard ({path})")
            return summary
    summary = corpus.scan()
    if corpus.file_state() == state:
        write_json(path, asdict(summary))
    return summary

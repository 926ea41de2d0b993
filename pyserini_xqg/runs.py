"""Readers of what an evaluation needs: TREC runs and qrels, answers, topics' languages, passages by docid.

Every reader checks all it reads, and names file, line and cause in an :class:`~pyserini_xqg.errors.XqgError`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import read_jsonl, read_lines
from pyserini_xqg.languages import check_language


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    r"""Read a TREC run, plain or ``.gz``: query id to docid to score, in the order of the file.

    Six columns separated by white space, ``qid Q0 docid rank score tag``. As in trec_eval, the score alone ranks; Q0,
    rank and tag are not read.

    Raises
    ------
    XqgError
        For another number of columns, a score that is not a finite number, a docid twice for one topic, and
        a file without lines.

    >>> _ = Path("/tmp/xqg-doctest.txt").write_text("q1 Q0 d7 1 12.5 bm25\n")
    >>> read_run("/tmp/xqg-doctest.txt")
    {'q1': {'d7': 12.5}}
    """
    run: dict[str, dict[str, float]] = {}
    for where, (query_id, _, docid, _, score, _) in _columns(path, "run", "qid Q0 docid rank score tag"):
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise XqgError(f"{where}: score {score!r} is not a finite number. Column 5 of a run is the score.")
        ranking = run.setdefault(query_id, {})
        if docid in ranking:
            raise XqgError(f"{where}: docid {docid!r} is already in the ranking of topic {query_id!r}. Keep one.")
        ranking[docid] = value
    return run


def read_qrels(path: str | Path) -> list[Any]:
    r"""Read TREC qrels, plain or ``.gz``, as ``ir_measures.Qrel`` tuples: ``qid iteration docid relevance``.

    Raises
    ------
    XqgError
        For another number of columns, a relevance that is not a whole number, a line given twice, and a file
        without lines.

    >>> _ = Path("/tmp/xqg-doctest.txt").write_text("q1 0 d7 1\n")
    >>> read_qrels("/tmp/xqg-doctest.txt")
    [Qrel(query_id='q1', doc_id='d7', relevance=1, iteration='0')]
    """
    from ir_measures import Qrel

    qrels: dict[tuple[str, str, str], Any] = {}
    for where, (query_id, iteration, docid, relevance) in _columns(path, "qrels", "qid 0 docid relevance"):
        try:
            value = int(relevance)
        except ValueError as error:
            raise XqgError(f"{where}: relevance {relevance!r} is not a whole number.") from error
        # Diversity qrels judge a passage once per subtopic, in the iteration column.
        key = query_id, iteration, docid
        if key in qrels:
            raise XqgError(f"{where}: docid {docid!r} is already judged for topic {query_id!r}. Keep one judgement.")
        qrels[key] = Qrel(query_id, docid, value, iteration)
    return list(qrels.values())


def read_answers(path: str | Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    r"""Read questions with answers in the schema XOR-TyDi is published in, JSONL, plain or ``.gz``.

    ``{"id": "…", "question": "…", "answers": ["…"], "lang": "te"}``; ``lang`` may be absent, other fields are not read.

    Returns
    -------
    query id to answers, and query id to language.

    Raises
    ------
    XqgError
        For a missing or repeated id, answers that are not a list of strings or hold an empty one (every text
        contains it), an unknown language code, and a file without lines.

    >>> _ = Path("/tmp/xqg-doctest.jsonl").write_text('{"id": "7", "answers": ["Tampere"], "lang": "fi"}\n')
    >>> read_answers("/tmp/xqg-doctest.jsonl")
    ({'7': ['Tampere']}, {'7': 'fi'})
    """
    answers: dict[str, list[str]] = {}
    languages: dict[str, str] = {}
    for number, record in read_jsonl(_file(path)):
        where = f"{path}, line {number}"
        query_id = record.get("id")
        if not isinstance(query_id, str) or query_id.split() != [query_id]:
            problem = "no 'id'" if "id" not in record else f"id {query_id!r} is not a string without white space"
            raise XqgError(f"{where}: {problem}. Every question needs the id that the runs use.")
        if query_id in answers:
            raise XqgError(f"{where}: id {query_id!r} was given before. Give each question one line.")
        texts = record.get("answers")
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            problem = "no 'answers'" if "answers" not in record else "'answers' is not a list of strings"
            raise XqgError(f'{where} (id {query_id}): {problem}. Write "answers": ["…", "…"].')
        if not all(text.strip() for text in texts):
            raise XqgError(f"{where} (id {query_id}): an empty answer, which every text contains. Remove it.")
        answers[query_id] = texts
        if (language := record.get("lang")) is not None:
            # XOR-TyDi's published training file has " ar" for "ar".
            language = language.strip() if isinstance(language, str) else language
            languages[query_id] = _language(language, f"{where} (id {query_id})")
    if not answers:
        raise XqgError(f"{path}: no question in it. Pass a file with one JSON object per question.")
    return answers, languages


class PassageTexts:
    r"""The texts of some passages of a corpus, by docid: one pass over the corpus, then lookups in a temporary file.

    Memory holds a position for each docid asked for, whatever the size of the corpus; the texts are on disk until
    :meth:`close`. Works as ``passages`` of :class:`~pyserini_xqg.measures.RecallAtKTokens`.

    Parameters
    ----------
    sources
        JSONL files, plain or ``.gz``, and directories of them, in the formats of :mod:`pyserini_xqg.corpus`:
        ``docid``, ``id`` or ``_id``; ``text``, or ``contents`` (title, newline, text).
    docids
        The passages to keep; None keeps all.

    Raises
    ------
    XqgError
        For a malformed line, and for two passages with one of these docids.

    >>> _ = Path("/tmp/xqg-doctest.jsonl").write_text('{"id": "7", "contents": "Tampere\\nA city in Finland."}\n')
    >>> with PassageTexts(["/tmp/xqg-doctest.jsonl"], {"7", "8"}) as texts:
    ...     texts.get("7"), texts.get("8")
    ('A city in Finland.', None)
    """

    def __init__(self, sources: Iterable[str | Path], docids: Set[str] | None) -> None:
        from pyserini_xqg.cli import progress
        from pyserini_xqg.corpus import corpus_files, parse_docid, parse_passage

        files = [file for source in sources for file in corpus_files(source)]
        self._positions: dict[str, tuple[int, int]] = {}
        self._texts = tempfile.TemporaryFile(prefix="pyserini-xqg-")  # noqa: SIM115 (closed by close)
        try:
            with progress(unit="passages", description="looking up texts") as bar:
                for file in files:
                    for number, record in read_jsonl(file):
                        bar.update()
                        where = f"{file}, line {number}"
                        docid = parse_docid(record, where)
                        if docids is not None and docid not in docids:
                            continue
                        if docid in self._positions:
                            raise XqgError(f"{where}: docid {docid!r} was given before. Give each passage its own.")
                        record.pop("generated_queries", None)  # not needed here, so not checked either
                        text = parse_passage(record, where).text.encode("utf-8", "surrogatepass")
                        self._positions[docid] = self._texts.tell(), len(text)
                        self._texts.write(text)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._positions)

    def __contains__(self, docid: str) -> bool:
        return docid in self._positions

    def get(self, docid: str) -> str | None:
        """The text (without the title) of a passage; None if the docid was not asked for or is not in the corpus."""
        if docid not in self._positions:
            return None
        start, length = self._positions[docid]
        self._texts.seek(start)
        return self._texts.read(length).decode("utf-8", "surrogatepass")

    def close(self) -> None:
        """Give the temporary file back."""
        self._texts.close()

    def __enter__(self) -> PassageTexts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _file(path: str | Path) -> str | Path:
    if Path(path).is_dir():
        raise XqgError(f"{path}: a directory where a file was expected.")
    return path


def _columns(path: str | Path, kind: str, names: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (file and line, columns); a file without lines is refused."""
    expected = len(names.split())
    where = ""
    for number, line in read_lines(_file(path)):
        where = f"{path}, line {number}"
        columns = line.split()
        if len(columns) != expected:
            raise XqgError(f"{where}: {len(columns)} columns. A line of {kind} has {expected}: {names}.")
        yield where, columns
    if not where:
        raise XqgError(f"{path}: an empty file. A line of {kind} has {expected} columns: {names}.")


def _language(code: Any, where: str) -> str:
    if not isinstance(code, str):
        raise XqgError(f"{where}: language {code!r} is not a string. Use two-letter ISO 639-1 codes such as fi.")
    return check_language(code, where)

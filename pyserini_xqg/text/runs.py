"""What an evaluation needs: TREC runs and qrels, and answers.

Every reader checks all it reads, and names file, line and cause in an :class:`~pyserini_xqg.core.errors.XqgError`.
"""

from __future__ import annotations

import gzip
import math
import re
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl, read_lines, write_file
from pyserini_xqg.core.languages import check_language


def read_run(path: str | Path, check_ranks: bool = True, *, may_be_empty: bool = False) -> dict[str, dict[str, float]]:
    r"""Read a TREC run, plain or ``.gz``: query id to docid to score, in the order of the file.

    Six columns separated by white space, ``qid Q0 docid rank score tag``; lines in any order. As in trec_eval, the
    score alone ranks; Q0 and tag are not read.

    Parameters
    ----------
    path
        The run.
    check_ranks
        Refuse a rank that a topic has twice, and a higher score at a lower rank: it is then unclear which of the two
        columns says how the passages were ranked. (Equal scores may have any ranks.)
    may_be_empty
        Take a file without lines, such as a search writes that finds nothing.

    Raises
    ------
    XqgError
        For another number of columns, a score that is not a finite number, a docid twice for one topic, ranks as
        above, and a file without lines.

    >>> _ = Path("/tmp/xqg-doctest.txt").write_text("q1 Q0 d7 1 12.5 bm25\n")
    >>> read_run("/tmp/xqg-doctest.txt")
    {'q1': {'d7': 12.5}}
    """
    run: dict[str, dict[str, float]] = {}
    topic, number = None, 0
    ranking: dict[str, float] = {}
    in_order = True
    last_rank, last_score = -math.inf, math.inf
    for number, line in read_lines(path):
        columns = line.split()
        if len(columns) != len(_RUN_COLUMNS):
            raise _wrong_columns(path, number, len(columns), "run", _RUN_COLUMNS)
        query_id, _, docid, rank, score, _ = columns
        if query_id != topic:
            topic, ranking = query_id, run.setdefault(query_id, {})
            in_order = in_order and not ranking
            last_rank, last_score = -math.inf, math.inf
        value = _number(score)
        if not -math.inf < value < math.inf:
            raise XqgError(
                f"{path}, line {number}: score {score!r} is not a finite number. Column 5 of a run is the score."
            )
        if docid in ranking:
            raise XqgError(
                f"{path}, line {number}: docid {docid!r} is already in the ranking of topic {query_id!r}. Keep one."
            )
        # Topics and runs share their docids: one string for each.
        ranking[sys.intern(docid)] = value
        if check_ranks:
            if rank.isascii() and rank.isdigit() and len(rank) < 10:  # as good as always
                position = int(rank)
            else:
                cure = f" Column 4 of a run is the rank; {_RANKS_CURE}"
                position = _whole_number(rank, f"{path}, line {number}: rank", cure)
            in_order = in_order and position > last_rank and value <= last_score
            last_rank, last_score = position, value
    if not number and not may_be_empty:
        raise _empty(path, "run", _RUN_COLUMNS)
    if not in_order and check_ranks:
        _check_ranks(path)
    return run


def write_run(
    path: str | Path, run: Mapping[str, Iterable[tuple[str, float]]], tag: str, digits: int | None = 6
) -> None:
    """Write a TREC run, whole or not at all; a name that ends in ``.gz`` is gzipped, to the same bytes each time.

    run : topic to (docid, score), the best first. digits : of the scores, behind the point, 6 as Pyserini's commands
    write them; None for all, where scores differ little.
    """
    lines = (
        f"{topic} Q0 {docid} {rank} {repr(float(score)) if digits is None else f'{score:.{digits}f}'} {tag}\n".encode()
        for topic, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking, start=1)
    )
    with write_file(path, "wb") as out:
        if str(path).endswith(".gz"):
            with gzip.GzipFile("", "wb", 9, out, mtime=0) as packed:
                packed.writelines(lines)
        else:
            out.writelines(lines)


_RUN_COLUMNS = ("qid", "Q0", "docid", "rank", "score", "tag")
_QRELS_COLUMNS = ("qid", "0", "docid", "relevance")


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)  # Python reads 1_0 as 10
    except ValueError:
        return math.nan


def _whole_number(text: str, what: str, cure: str = "") -> int:
    """A number of 32 bits, all that trec_eval reads. what : where it stands, and what it is."""
    if re.fullmatch("[+-]?[0-9]+", text) is None:
        raise XqgError(f"{what} {text!r} is not a whole number.{cure}")
    if len(text) > 11 or not -(2**31) <= int(text) < 2**31:
        raise XqgError(f"{what} {text[:40]} is beyond 32 bits, which is all that trec_eval reads.{cure}")
    return int(text)


_RANKS_CURE = (
    "rank anew by falling score, or let pyserini_xqg.evaluate --ignore-ranks rank by score, as trec_eval does."
)


def _check_ranks(path: str | Path) -> None:
    """Compare ranks and scores of a run whose lines are not in their order, topic by topic."""
    topics: dict[str, list[tuple[int, int, float]]] = {}
    for number, line in read_lines(path):
        query_id, _, _, rank, score, _ = line.split()
        # In single precision, as trec_eval ranks.
        topics.setdefault(query_id, []).append((int(rank), number, array("f", [float(score)])[0]))
    for query_id, lines in topics.items():
        lines.sort()
        for (rank, number, score), (next_rank, next_number, next_score) in pairwise(lines):
            if rank == next_rank:
                raise XqgError(
                    f"{path}, line {next_number}: topic {query_id!r} has rank {rank} already on line {number}. Every "
                    f"passage of a topic needs a rank of its own: {_RANKS_CURE}"
                )
            if score < next_score:
                raise XqgError(
                    f"{path}, line {next_number}: topic {query_id!r} has a higher score at rank {next_rank} "
                    f"({next_score:g}) than at rank {rank} ({score:g}, line {number}). If scores are distances, negate "
                    f"them; else {_RANKS_CURE}"
                )


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
    for number, line in read_lines(path):
        where, columns = f"{path}, line {number}", line.split()
        if len(columns) != len(_QRELS_COLUMNS):
            raise _wrong_columns(path, number, len(columns), "qrels", _QRELS_COLUMNS)
        query_id, iteration, docid, relevance = columns
        # Diversity qrels judge a passage once per subtopic, in the iteration column.
        key = query_id, iteration, docid
        if key in qrels:
            raise XqgError(f"{where}: docid {docid!r} is already judged for topic {query_id!r}. Keep one judgement.")
        qrels[key] = Qrel(query_id, docid, _whole_number(relevance, f"{where}: relevance"), iteration)
    if not qrels:
        raise _empty(path, "qrels", _QRELS_COLUMNS)
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
    for number, record in read_jsonl(path):
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


def _wrong_columns(path: str | Path, number: int, found: int, kind: str, expected: Sequence[str]) -> XqgError:
    return XqgError(
        f"{path}, line {number}: {found} columns. A line of {kind} has {len(expected)}: {' '.join(expected)}."
    )


def _empty(path: str | Path, kind: str, columns: Sequence[str]) -> XqgError:
    return XqgError(f"{path}: an empty file. A line of {kind} has {len(columns)} columns: {' '.join(columns)}.")


def _language(code: Any, where: str) -> str:
    if not isinstance(code, str):
        raise XqgError(f"{where}: language {code!r} is not a string. Use two-letter ISO 639-1 codes such as fi.")
    return check_language(code, where)

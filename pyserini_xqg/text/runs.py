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
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl, read_lines, write_file
from pyserini_xqg.core.languages import check_language


def read_run(path: str | Path, check_ranks: bool = True) -> dict[str, dict[str, float]]:
    r"""Read a TREC run, plain or ``.gz``: query id to docid to score, in the order of the file.

    Six columns separated by white space, ``qid Q0 docid rank score tag``; lines in any order. As in trec_eval, the
    score alone ranks; Q0 and tag are not read.

    check_ranks : refuse a rank that a topic has twice, and a higher score at a lower rank: it is then unclear which of
    the two columns says how the passages were ranked. (Equal scores may have any ranks.)

    >>> _ = Path("/tmp/xqg-doctest.txt").write_text("q1 Q0 d7 1 12.5 bm25\n")
    >>> read_run("/tmp/xqg-doctest.txt")
    {'q1': {'d7': 12.5}}
    """
    run: dict[str, dict[str, float]] = {}
    numbers: dict[str, int] = {}
    topics, ranks, scores = array("l"), array("i"), array("f")  # of each line; single precision, as trec_eval ranks
    for number, line in read_lines(path):
        query_id, _, docid, rank, score, _ = _split(line, path, number, *_RUN)
        try:
            value = math.nan if "_" in score else float(score)  # Python reads 1_0 as 10
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise XqgError(
                f"{path}, line {number}: score {score!r} is not a finite number. Column 5 of a run is the score."
            )
        ranking = run.setdefault(query_id, {})
        if docid in ranking:
            raise XqgError(
                f"{path}, line {number}: docid {docid!r} is already in the ranking of topic {query_id!r}. Keep one."
            )
        # Topics and runs share their docids: one string for each.
        ranking[sys.intern(docid)] = value
        if check_ranks:
            topics.append(numbers.setdefault(query_id, len(numbers)))
            ranks.append(_whole_number(rank, path, number, "rank", _RANK_CURE))
            scores.append(value)
    if not run:
        raise _empty(path, *_RUN)
    if check_ranks:
        _check_ranks(path, list(run), np.array(topics), np.array(ranks), np.array(scores))
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


_RUN = ("run", 6, "qid Q0 docid rank score tag")
_QRELS = ("qrels", 4, "qid 0 docid relevance")


def _split(line: str, path: str | Path, number: int, kind: str, columns: int, names: str) -> list[str]:
    parts = line.split()
    if len(parts) != columns:
        raise XqgError(f"{path}, line {number}: {len(parts)} columns. A line of {kind} has {columns}: {names}.")
    return parts


def _empty(path: str | Path, kind: str, columns: int, names: str) -> XqgError:
    return XqgError(f"{path}: an empty file. A line of {kind} has {columns} columns: {names}.")


_WHOLE_NUMBER = re.compile("[+-]?[0-9]{1,10}")


def _whole_number(text: str, path: str | Path, number: int, what: str, cure: str = "") -> int:
    """A number of 32 bits, all that trec_eval reads."""
    if _WHOLE_NUMBER.fullmatch(text) is None or not -(2**31) <= (value := int(text)) < 2**31:
        where = f"{path}, line {number}"
        raise XqgError(f"{where}: {what} {text[:40]!r} is no whole number of 32 bits, as trec_eval reads them.{cure}")
    return value


_RANKS_CURE = (
    "rank anew by falling score, or let pyserini_xqg.evaluate --ignore-ranks rank by score, as trec_eval does."
)
_RANK_CURE = f" Column 4 of a run is the rank; {_RANKS_CURE}"


def _check_ranks(
    path: str | Path, names: Sequence[str], topics: np.ndarray, ranks: np.ndarray, scores: np.ndarray
) -> None:
    """Refuse a run whose ranks and scores contradict each other. topics, ranks, scores : of each line."""
    order = np.lexsort((ranks, topics))
    first, second = order[:-1], order[1:]
    wrong = (topics[first] == topics[second]) & ((ranks[first] == ranks[second]) | (scores[first] < scores[second]))
    if not wrong.any():
        return
    before, after = first[wrong.argmax()], second[wrong.argmax()]
    where = f"{path}, line {after + 1}: topic {names[topics[after]]!r} has"
    if ranks[before] == ranks[after]:
        raise XqgError(
            f"{where} rank {ranks[before]} already on line {before + 1}. Every passage of a topic needs a rank of its "
            f"own: {_RANKS_CURE}"
        )
    raise XqgError(
        f"{where} a higher score at rank {ranks[after]} ({scores[after]:g}) than at rank {ranks[before]} "
        f"({scores[before]:g}, line {before + 1}). If scores are distances, negate them; else {_RANKS_CURE}"
    )


def read_qrels(path: str | Path) -> list[Any]:
    r"""Read TREC qrels, plain or ``.gz``, as ``ir_measures.Qrel`` tuples: ``qid iteration docid relevance``.

    A passage that is judged differently for two subtopics (the iteration) is warned of.

    >>> _ = Path("/tmp/xqg-doctest.txt").write_text("q1 0 d7 1\n")
    >>> read_qrels("/tmp/xqg-doctest.txt")
    [Qrel(query_id='q1', doc_id='d7', relevance=1, iteration='0')]
    """
    from ir_measures import Qrel

    qrels: dict[tuple[str, str, str], Any] = {}
    grades: dict[tuple[str, str], int] = {}
    contradictory: dict[tuple[str, str], int] = {}
    for number, line in read_lines(path):
        query_id, iteration, docid, grade = _split(line, path, number, *_QRELS)
        relevance = _whole_number(grade, path, number, "relevance")
        # Diversity qrels judge a passage once per subtopic, in the iteration column.
        key = query_id, iteration, docid
        if key in qrels:
            raise XqgError(
                f"{path}, line {number}: docid {docid!r} is already judged for topic {query_id!r}. Keep one judgement."
            )
        qrels[key] = Qrel(query_id, docid, relevance, iteration)
        if grades.setdefault((query_id, docid), relevance) != relevance:
            contradictory.setdefault((query_id, docid), number)
    if not qrels:
        raise _empty(path, *_QRELS)
    for (query_id, docid), number in list(contradictory.items())[:1]:
        say(
            f"warning: {path}, line {number}: docid {docid!r} has another judgement for topic {query_id!r}; so have "
            f"{len(contradictory) - 1:,} more. Measures without subtopics take the last judgement of each."
        )
    return list(qrels.values())


def read_answers(path: str | Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    r"""Read questions with answers in the schema XOR-TyDi is published in, JSONL, plain or ``.gz``.

    ``{"id": "…", "question": "…", "answers": ["…"], "lang": "te"}``; ``lang`` may be absent, other fields are not read.

    Returns query id to answers, and query id to language.

    >>> _ = Path("/tmp/xqg-doctest.jsonl").write_text('{"id": "7", "answers": ["Tampere"], "lang": "fi"}\n')
    >>> read_answers("/tmp/xqg-doctest.jsonl")
    ({'7': ['Tampere']}, {'7': 'fi'})
    """
    answers: dict[str, list[str]] = {}
    languages: dict[str, str] = {}
    for number, record in read_jsonl(path):
        where = f"{path}, line {number}"
        query_id, texts, language = (record.get(name) for name in ("id", "answers", "lang"))
        if not isinstance(query_id, str) or query_id.split() != [query_id]:
            raise XqgError(
                f"{where}: id {query_id!r} is not a string without white space. Give each question the runs' id."
            )
        if query_id in answers:
            raise XqgError(f"{where}: id {query_id!r} was given before. Give each question one line.")
        where += f" (id {query_id})"
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise XqgError(f'{where}: no list of strings under "answers". Write "answers": ["…", "…"].')
        if not all(text.strip() for text in texts):
            raise XqgError(f"{where}: an empty answer, which every text contains. Remove it.")
        answers[query_id] = texts
        if language is not None:
            # XOR-TyDi's published training file has " ar" for "ar".
            languages[query_id] = check_language(language.strip() if isinstance(language, str) else language, where)
    if not answers:
        raise XqgError(f"{path}: no question in it. Pass a file with one JSON object per question.")
    return answers, languages

"""The texts of questions, from a dataset, a topics file, or the questions with answers themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl, read_lines
from pyserini_xqg.text.corpus import IRDS_PREFIX
from pyserini_xqg.text.topics import irds_topics


def question_texts(dataset: str | None, answers: str | None, topics: Sequence[str] = ()) -> dict[str, str]:
    r"""Query id to the text of the question.

    Parameters
    ----------
    dataset
        An ir_datasets id, whose queries are read unless ``topics`` are given.
    answers
        A JSONL of questions with ``id`` and ``question``, read unless ``topics`` are given.
    topics
        TSVs of ``topic<TAB>text``, JSONLs of ``id`` and ``question``, ``irds:<dataset-id>``.

    Raises
    ------
    XqgError
        For a malformed line, and for a topic with two texts.

    >>> with open("/tmp/xqg-doctest.tsv", "w") as out:
    ...     _ = out.write("7\tWhere is Tampere?\n")
    >>> question_texts(None, None, ["/tmp/xqg-doctest.tsv"])
    {'7': 'Where is Tampere?'}
    """
    sources = list(topics) or [IRDS_PREFIX + dataset if dataset else answers]
    texts: dict[str, str] = {}
    for source in filter(None, sources):
        for where, query_id, text in _read(source):
            if texts.setdefault(query_id, text) != text:
                raise XqgError(f"{where}: topic {query_id!r} has another text before. Keep one.")
    return texts


def _read(source: str) -> Iterator[tuple[str, str, str]]:
    """Yield (place, query id, text)."""
    if source.startswith(IRDS_PREFIX):
        for query_id, topic in irds_topics(source).items():
            yield source, query_id, topic["title"]
    elif source.endswith((".jsonl", ".jsonl.gz")):
        for number, record in read_jsonl(source):
            where = f"{source}, line {number}"
            query_id, text = record.get("id"), record.get("question")
            if text is None:  # answers alone: the runs can be scored, and the page says what is missing
                continue
            if not isinstance(query_id, str | int) or not isinstance(text, str):
                raise XqgError(f'{where}: no topic, or a question that is no string. Write {{"id": …, "question": …}}.')
            yield where, str(query_id), text
    else:
        for number, line in read_lines(source):
            where = f"{source}, line {number}"
            query_id, tab, text = line.partition("\t")
            if not tab or not query_id.strip() or not text.strip():
                raise XqgError(f"{where}: no topic, or no text. Every line must be topic<TAB>question.")
            yield where, query_id.strip(), text.strip()

"""Topics and their languages, from TSV, JSON lines, Pyserini's JSON or a dataset: one set of rules for all commands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import json_object, read_lines
from pyserini_xqg.core.languages import NAMES, check_language
from pyserini_xqg.datasets import load
from pyserini_xqg.datasets.ids import IRDS_PREFIX, dataset_of

ID_FIELDS = ("id", "_id", "query_id", "qid")
TEXT_FIELDS = ("question", "text", "query")
TOPICS_SUFFIXES = (".tsv", ".txt", ".json", ".jsonl", ".gz", ".trec")
_TSV_SUFFIXES = (".tsv", ".tsv.gz", ".txt", ".txt.gz")
_FORMS = (
    "topic<TAB>text lines, JSON lines with id and question (or _id and text, query_id and query), irds:<dataset-id>"
)


def read_topics(sources: str | Sequence[str], *, skip_without_text: bool = False) -> dict[str, str]:
    r"""Topic to text, in the order of the sources; texts without white space at their ends, as Pyserini reads them.

    sources : each a TSV of ``topic<TAB>text`` lines; JSON lines with ``id`` and ``question`` (XOR-TyDi), ``_id`` and
    ``text`` (BEIR), ``query_id`` and ``query`` (Tevatron); Pyserini's JSON, ``{topic: {"title": text}}``; all of them
    plain or gzipped; or a dataset's id, with or without ``irds:``. skip_without_text : pass over JSON lines without a
    text, such as questions' answers alone.

    >>> _ = Path("/tmp/xqg-doctest.tsv").write_text("q1\tMikä on Tampere?\n")
    >>> read_topics("/tmp/xqg-doctest.tsv")
    {'q1': 'Mikä on Tampere?'}
    """
    topics: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in [sources] if isinstance(sources, str) else sources:
        before = len(topics)
        for where, topic, text in _read(source, TEXT_FIELDS):
            if text is None and skip_without_text:
                continue
            if not isinstance(topic, str | int) or isinstance(topic, bool) or not isinstance(text, str):
                raise XqgError(f"{where}: no topic or no text. A source of topics has {_FORMS}.")
            topic, text = str(topic).strip(), text.strip()
            if not topic or not text:
                raise XqgError(f"{where}: the topic or its text is empty.")
            if topic.split() != [topic]:
                raise XqgError(f"{where}: topic {topic!r} has white space in its id, which no run can hold. Rename it.")
            if topic in topics:
                raise XqgError(f"{where}: topic {topic!r} is already at {places[topic]}. Name each topic once.")
            topics[topic], places[topic] = text, where
        if len(topics) == before and not skip_without_text:
            raise XqgError(f"{source}: no topic in it. A source of topics has {_FORMS}.")
    return topics


def question_texts(dataset: str | None, answers: str | None, topics: Sequence[str] = ()) -> dict[str, str]:
    """Topic to text: from ``topics`` if they are given, else the dataset's, else those beside the answers, if any."""
    if topics or dataset:
        return read_topics(topics or IRDS_PREFIX + dataset)
    return read_topics(answers, skip_without_text=True) if answers else {}


def _read(source: str, fields: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """Yield (where it stands, topic, text or what else ``fields`` name), as they are written."""
    if (dataset_id := dataset_of(source)) is not None:
        dataset = load(dataset_id)
        if not dataset.has_queries():
            raise XqgError(f"{source}: this dataset has no queries. Name one that has, such as xor-tydi/dev.")
        for query in dataset.queries_iter():
            text = query.default_text() if fields is TEXT_FIELDS else getattr(query, "lang", dataset.queries_lang())
            yield f"{source}, query {query.query_id}", query.query_id, text
        return
    if not Path(source).exists():
        raise XqgError(f"{source}: no such file, and no dataset. Pass a file of {_FORMS}.")
    lines = list(read_lines(source))
    begin = lines[0][1].lstrip() if lines else ""
    if begin.startswith(("<top", "<num", "<?xml")):
        raise XqgError(f"{source}: topics in TREC's own format. Make them {_FORMS}.")
    json_lines = Path(source).name.removesuffix(".gz").endswith(".jsonl")
    if json_lines or begin.startswith(("{", "[")):
        yield from _read_json(source, lines, fields, json_lines)
        return
    for number, line in lines:
        where = f"{source}, line {number}"
        topic, tab, text = line.partition("\t")
        if not tab:
            raise XqgError(f"{where}: no tab. Every line must be a topic, a tab, and its text or language.")
        if "\t" in text:
            raise XqgError(f"{where}: more than one tab, and Pyserini would drop what follows the second.")
        yield where, topic, text


def _read_json(
    source: str, lines: Sequence[tuple[int, str]], fields: Sequence[str], json_lines: bool
) -> Iterator[tuple[str, Any, Any]]:
    """JSON lines, or Pyserini's one object, which may stand on several lines."""
    try:
        value = None if json_lines else json.loads("\n".join(line for _, line in lines))
    except (ValueError, RecursionError) as error:
        value = None
        if lines[0][1].strip() == "{":
            raise XqgError(f"{source}: malformed JSON ({error}). Pass a file of {_FORMS}.") from error
    if isinstance(value, dict) and _first(value, (*ID_FIELDS, *fields)) is None:
        for topic, entry in value.items():
            yield f"{source}, topic {topic!r}", topic, entry.get("title") if isinstance(entry, dict) else entry
        return
    for number, line in lines:
        record = json_object(line, source, number)
        yield f"{source}, line {number}", _first(record, ID_FIELDS), _first(record, fields)


def _first(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def stock_reads(source: str) -> bool:
    """Whether Pyserini reads a topics file by itself, and as :func:`read_topics` does: a TSV, by its name.

    Raises :class:`XqgError` for a topic that Pyserini would rename, since it takes it for a number.
    """
    if dataset_of(source) is not None or not source.endswith(_TSV_SUFFIXES):
        return False
    with open(source, "rb") as stream:
        head = stream.read(3)
    if head == b"\xef\xbb\xbf" or head.startswith(b"\x1f\x8b") != source.endswith(".gz") or head.startswith(b"{"):
        return False
    topics = [line.partition("\t")[0] for _, line in read_lines(source)]
    whole_numbers = all(_is_java_integer(topic) for topic in topics)
    for number, topic in enumerate(topics, start=1):
        if (whole_numbers or re.fullmatch("[0-9]+", topic)) and str(int(topic)) != topic:
            raise XqgError(
                f"{source}, line {number}: Pyserini would make topic {topic!r} {int(topic)}, which matches no qrels "
                "and language maps. Write it without leading zeros, blanks or a sign."
            )
    return True


def _is_java_integer(topic: str) -> bool:
    """True for what Pyserini's first topic reader takes, which reads a file whose topics are all such numbers."""
    return re.fullmatch(r"[+-]?[0-9]{1,10}", topic.strip()) is not None and -(2**31) <= int(topic) < 2**31


def read_topic_languages(source: str) -> Mapping[str, str] | str:
    """Topic to language, from a map or from a dataset; or one language that holds for all topics.

    source : a language code; a TSV of ``topic<TAB>language`` lines; JSON lines of ``id`` (or another of
        :data:`ID_FIELDS`) and ``lang``, such as the published XOR-TyDi files; or a dataset's id (the queries' field
        ``lang``).

    >>> read_topic_languages("fi")
    'fi'
    """
    if source in NAMES:
        return source
    if dataset_of(source) is None and not Path(source).exists():
        raise XqgError(
            f"--topic-languages {source}: neither a language code nor a file. Pass a code such as fi, a TSV of "
            "topic<TAB>language lines, a JSONL with id and lang, or irds:<dataset-id>."
        )
    languages: dict[str, str] = {}
    for where, topic, language in _read(source, ("lang",)):
        if not isinstance(topic, str | int) or topic == "" or not isinstance(language, str) or not language:
            raise XqgError(f"{where}: no topic or no language. Every topic needs a code such as fi.")
        code = check_language(language.strip(), where)
        if languages.setdefault(str(topic), code) != code:
            raise XqgError(f"{where}: topic {topic!r} is in {languages[str(topic)]!r} on an earlier line. Keep one.")
    if not languages:
        raise XqgError(f"{source}: no topic in it. Every line must be topic<TAB>language.")
    return languages


def split_by_language(
    topics: Mapping[Any, Any], languages: Mapping[str, str] | str, available: Mapping[str, str], where: str
) -> dict[str, dict[Any, Any]]:
    """Topics of each language, languages in the order of ``available``.

    Raises :class:`XqgError` for a topic without a language, and for a language that no index serves.
    """
    routed: dict[str, dict[Any, Any]] = {language: {} for language in available}
    for topic, value in topics.items():
        language = languages if isinstance(languages, str) else languages.get(str(topic))
        if language is None:
            raise XqgError(f"topic {topic!r}: no language given for it. Add it to --topic-languages.")
        if language not in available:
            raise XqgError(
                f"topic {topic!r} is in {language!r}, for which {where} has no index. It has {', '.join(available)}; "
                "build the routed index with that language, or search an index without --route."
            )
        routed[language][topic] = value
    return {language: part for language, part in routed.items() if part}

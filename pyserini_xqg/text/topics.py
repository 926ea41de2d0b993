"""Topics and their languages: Pyserini's topic files checked line by line, ir_datasets queries, language maps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl, read_lines
from pyserini_xqg.core.languages import NAMES, check_language
from pyserini_xqg.text.corpus import IRDS_PREFIX

TSV_SUFFIXES = (".tsv", ".tsv.gz", ".txt", ".txt.gz")


def check_topics_file(path: str | Path) -> None:
    """Check a TSV of ``topic<TAB>text`` lines, which Pyserini reads without naming the faulty line.

    Raises :class:`XqgError`, naming file and line, for a line without a tab, an empty topic or text, a
    topic that occurs twice, and for an empty file.
    """
    seen: dict[str, int] = {}
    for number, line in read_lines(path):
        topic, tab, text = line.partition("\t")
        if not tab:
            raise XqgError(f"{path}, line {number}: no tab. Every line must be topic<TAB>query.")
        if "\t" in text:
            raise XqgError(
                f"{path}, line {number}: more than one tab, and Pyserini would drop what follows the second."
            )
        if not topic.strip() or not text.strip():
            raise XqgError(
                f"{path}, line {number}: the topic or the query is empty. Every line must be topic<TAB>query."
            )
        if topic in seen:
            raise XqgError(
                f"{path}, line {number}: topic {topic!r} is already on line {seen[topic]}. Name each topic once."
            )
        seen[topic] = number
    if not seen:
        raise XqgError(f"{path}: no topic in it. Pass a file of topic<TAB>query lines.")
    all_numbers = all(_is_java_integer(topic) for topic in seen)
    for topic, number in seen.items():
        if (topic.isdigit() or all_numbers) and str(int(topic)) != topic:
            raise XqgError(
                f"{path}, line {number}: Pyserini would make topic {topic!r} {int(topic)}, which matches no qrels "
                "and language maps. Write it without leading zeros, blanks or a sign."
            )


def _is_java_integer(topic: str) -> bool:
    """True for what Pyserini's first topic reader takes, which reads a file whose topics are all such numbers."""
    return re.fullmatch(r"[+-]?[0-9]+", topic.strip()) is not None and -(2**31) <= int(topic) < 2**31


def irds_queries(source: str) -> Any:
    """The queries handler of ``irds:<dataset-id>``; :class:`XqgError` if the dataset has none."""
    from pyserini_xqg import datasets

    dataset = datasets.load(source.removeprefix(IRDS_PREFIX))
    if not dataset.has_queries():
        raise XqgError(f"{source}: this dataset has no queries. Name one that has, such as xor-tydi/dev.")
    return dataset


def irds_topics(source: str) -> dict[str, dict[str, str]]:
    """Queries of an ir_datasets dataset in the form of Pyserini's JSON topics: ``{id: {"title": text}}``."""
    return {query.query_id: {"title": query.default_text()} for query in irds_queries(source).queries_iter()}


def read_topic_languages(source: str) -> Mapping[str, str] | str:
    """Topic to language, from a map or from a dataset; or one language that holds for all topics.

    source : a language code; a TSV of ``topic<TAB>language`` lines; a JSONL of ``id`` and ``lang`` (the
        published XOR-TyDi files); or ``irds:<dataset-id>`` (the queries' field ``lang``).

    >>> read_topic_languages("fi")
    'fi'
    """
    if source in NAMES:
        return source
    if source.startswith(IRDS_PREFIX):
        return _irds_languages(source)
    if not Path(source).exists():
        raise XqgError(
            f"--topic-languages {source}: neither a language code nor a file. Pass a code such as fi, a TSV of "
            "topic<TAB>language lines, a JSONL with id and lang, or irds:<dataset-id>."
        )
    languages: dict[str, str] = {}
    if source.endswith((".jsonl", ".jsonl.gz")):
        pairs = ((number, record.get("id"), record.get("lang")) for number, record in read_jsonl(source))
        form = '{"id": topic, "lang": language}'
    else:
        pairs = ((number, *line.partition("\t")[::2]) for number, line in read_lines(source))
        form = "topic<TAB>language"
    for number, topic, language in pairs:
        where = f"{source}, line {number}"
        if topic in (None, "") or not isinstance(topic, str | int) or not language or not isinstance(language, str):
            raise XqgError(f"{where}: no topic or no language. Every line must be {form}.")
        code = check_language(language.strip(), where)
        if languages.setdefault(str(topic), code) != code:
            raise XqgError(f"{where}: topic {topic!r} is in {languages[str(topic)]!r} on an earlier line. Keep one.")
    if not languages:
        raise XqgError(f"{source}: no topic in it. Every line must be {form}.")
    return languages


def _irds_languages(source: str) -> dict[str, str]:
    handler = irds_queries(source)
    languages = {}
    for query in handler.queries_iter():
        language = getattr(query, "lang", None) or handler.queries_lang()
        if not language:
            raise XqgError(f"{source}: query {query.query_id} has no language. Pass --topic-languages another way.")
        languages[query.query_id] = check_language(language, f"{source}, query {query.query_id}")
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

"""XQuAD as cross-lingual retrieval, and xquad-loo, which has queries in its passages.

XQuAD: 240 English paragraphs, 1,190 questions in each of twelve languages; Artetxe et al. 2020 (arXiv 1910.11856),
https://github.com/google-deepmind/xquad. SHA-256 as in Hugging Face's ``datasets/xquad/dataset_infos.json``
(TensorFlow Datasets' ``url_checksums/xquad.txt`` has the same for all but Romanian).

xquad-loo, one question left out: each paragraph's first question is a topic, its others stand in for generated
queries, but for near copies of the topic (:func:`near_copies`), by which it would find its passage. Made from XQuAD's
published files in their order, so the same files give the same topics and passages everywhere. 240 passages, of which
three have no query, and 0 to 15 queries a passage and language: the unequal numbers that real generated queries have
after filtering.
"""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrel

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.datasets.components import Docs, Documentation, Qrels, Queries, counted
from pyserini_xqg.datasets.ids import XQUAD_LOO_LANGUAGES, XQUAD_LOO_QUERY_LANGUAGES
from pyserini_xqg.datasets.published import PublishedFile
from pyserini_xqg.datasets.records import AugmentedDoc, XqgDoc, XquadQuery

NAME, LOO = "xquad", "xquad-loo"
URL = "https://raw.githubusercontent.com/google-deepmind/xquad/master/"
PARAGRAPHS, QUESTIONS = 240, 1190
"""As its README and ``dataset_infos.json`` say, and as counted in the files of ar, de, en, es and ru."""
NEAR_COPY = 0.6
"""Similarity of two questions' texts from which on they are near copies."""

_SHA256: dict[str, str] = {
    "ar": "abdabd7afed5c635d99cca0f3f0d0c9d9ed0bc77451e963c2e4e0638c29e486d",
    "de": "990b5d746746ed65ed4702ea5f35f99ffa4e2f1c390c07d003642acd937916f9",
    "el": "821cf0f88e73fa258fd2f548b19b6ec39f7025059e16f6f9fc8cd797c9c3663e",
    "en": "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
    "es": "dcbae93ec3a9f4b9e78fd834a171d6f96c1a875e10e15b7530b7e4ef4971e37e",
    "hi": "df2cce3532b37e9beb8979704b5c9a4bf874358f105395a298b89427b43b9d24",
    "ro": "94f8d54e93ad2b7dd2e76dd921a666b5b8eff2d4379df9f179c42b445f09643f",
    "ru": "208d5b1aa154c52b1b5c5eda16281e455e8fd198cdb9af3f469f0d6037d973bf",
    "th": "5cdda11d0e1e075f7872abf4e6ae830388ce7f617964d542308e9ae4257e0f43",
    "tr": "92179a564774b7696100d144c1e10870d0a966b6fccbdd254a65b9d2ab1971cc",
    "vi": "f619a1eb11fb42d3ab0834259e488a65f585447ef6154437bfb7199d85161a04",
    "zh": "691d0b3359bc6b8faa8de931dfdfe21d50a65861ae348e32a0d1a0190b0c8835",
}

FILES: dict[str, PublishedFile] = {
    lang: PublishedFile(NAME, f"xquad.{lang}.json", f"{URL}xquad.{lang}.json", sha256)
    for lang, sha256 in _SHA256.items()
}
"""Each language's file."""


class Paragraph(NamedTuple):
    """A paragraph as it stands in a file; its questions have SQuAD's ``id``, ``question`` and ``answers``."""

    title: str
    text: str
    questions: list[dict[str, Any]]


def read_paragraphs(path: str | Path) -> list[Paragraph]:
    """Read a file in SQuAD's format; what is in a published one, its checksum vouches for."""
    return [
        # Titles are names of Wikipedia pages as in addresses: "Super_Bowl_50".
        Paragraph(article["title"].replace("_", " "), paragraph["context"], paragraph["qas"])
        for article in json.loads(Path(path).read_bytes())["data"]
        for paragraph in article["paragraphs"]
    ]


def doc_id(number: int) -> str:
    """The id of the ``number``-th paragraph (from 0) of the English file.

    >>> doc_id(7)
    'xquad-007'
    """
    return f"xquad-{number:03d}"


def read_docs(path: str | Path) -> Iterator[XqgDoc]:
    """The English paragraphs as passages, in the order of the file."""
    for number, paragraph in enumerate(read_paragraphs(path)):
        yield XqgDoc(doc_id(number), paragraph.title, paragraph.text)


@functools.cache  # one parse for questions and qrels; what lies at the paths has passed its checksum
def align(english: Path, other: Path, lang: str) -> list[tuple[XquadQuery, str]]:
    """A language's questions with the English answers, and the id of the passage that each was written for, by id."""
    originals = {
        question["id"]: (doc_id(number), _answers(question))
        for number, paragraph in enumerate(read_paragraphs(english))
        for question in paragraph.questions
    }
    aligned = []
    for paragraph in read_paragraphs(other):
        for question in paragraph.questions:
            passage, answers = originals[question["id"]]
            query = XquadQuery(f"{lang}-{question['id']}", question["question"], lang, answers, _answers(question))
            aligned.append((query, passage))
    return aligned


def _answers(question: dict[str, Any]) -> tuple[str, ...]:
    return tuple(answer["text"] for answer in question["answers"])


def questions_of(lang: str) -> list[tuple[XquadQuery, str]]:
    """:func:`align` on the published files, which are fetched if need be."""
    return align(FILES["en"].path(), FILES[lang].path(), lang)


def by_passage(lang: str) -> dict[str, list[XquadQuery]]:
    """Passage id to all its questions in a language, in the order of the files."""
    questions: dict[str, list[XquadQuery]] = {}
    for question, passage in questions_of(lang):
        questions.setdefault(passage, []).append(question)
    return questions


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of two texts' character 3-grams, after NFKC and case folding, of letters and digits alone.

    >>> similarity("Who won it?", "WHO WON IT"), similarity("Who won it?", "Who won them?")
    (1.0, 0.4)
    """
    first, second = map(_trigrams, (first, second))
    return len(first & second) / len(first | second)


def _trigrams(text: str) -> set[str]:
    text = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
    return {text[start : start + 3] for start in range(len(text) - 2)} or {text}


def _shared_id(query: XquadQuery) -> str:
    return query.query_id.removeprefix(f"{query.lang}-")


def near_copies() -> set[str]:
    """XQuAD's ids of the questions that repeat their passage's topic, or nearly, in any language of the topics."""
    return {
        _shared_id(query)
        for lang in XQUAD_LOO_LANGUAGES
        for topic, *others in by_passage(lang).values()
        for query in others
        if similarity(topic.text, query.text) >= NEAR_COPY
    }


def read_augmented(path: str | Path) -> Iterator[AugmentedDoc]:
    """The paragraphs of the English file with all questions but the first and its near copies, in the languages of
    xquad-loo's queries.

    Texts of queries are without the blanks that some of the published ones begin or end with.
    """
    questions, dropped = {lang: by_passage(lang) for lang in XQUAD_LOO_QUERY_LANGUAGES}, near_copies()
    for doc in read_docs(path):
        queries = {
            lang: [query.text.strip() for query in of[doc.doc_id][1:] if _shared_id(query) not in dropped]
            for lang, of in questions.items()
        }
        yield AugmentedDoc(doc.doc_id, doc.title, doc.text, queries)


def topics_of(lang: str | None) -> list[tuple[XquadQuery, str]]:
    """xquad-loo's topics of a language (None: of all languages of the queries), and the passage of each.

    Texts are on one line, without blanks at their ends, so that they can be exported as a TSV.
    """
    return [
        (questions[0]._replace(text=questions[0].default_text()), passage)
        for code in ([lang] if lang else XQUAD_LOO_QUERY_LANGUAGES)
        for passage, questions in by_passage(code).items()
    ]


def build() -> dict[str, Dataset]:
    """The datasets of XQuAD and of xquad-loo, by id."""
    topics = {None: PARAGRAPHS * len(XQUAD_LOO_QUERY_LANGUAGES)} | dict.fromkeys(XQUAD_LOO_LANGUAGES, PARAGRAPHS)
    return {
        **_build(NAME, read_docs, XqgDoc, questions_of, dict.fromkeys(FILES, QUESTIONS)),
        **_build(LOO, read_augmented, AugmentedDoc, topics_of, topics),
    }


def _build(
    family: str, read: Callable[[Path], Iterator[Any]], cls: type, pairs: _Pairs, numbers: Mapping[Any, int]
) -> dict[str, Dataset]:
    """The datasets of a family; numbers : of its questions, by language."""
    docs = Docs(FILES["en"], read, cls, family)
    datasets = {family: counted(family, docs, Documentation(f"{family}.yaml", "docs"), docs=PARAGRAPHS)}
    for lang, number in numbers.items():
        name = f"{family}/{lang or 'all'}"
        datasets[name] = counted(
            name,
            docs,
            Queries(functools.partial(_queries, pairs, lang), XquadQuery, family, lang),
            Qrels(functools.partial(_qrels, pairs, lang), "the question was written for this paragraph"),
            Documentation(f"{family}.yaml", "language" if lang else "all", language=NAMES.get(lang)),
            docs=PARAGRAPHS,
            queries=number,
            qrels=number,
        )
    return datasets


_Pairs = Callable[[Any], list[tuple[XquadQuery, str]]]
"""Of a language: questions, each with the id of its passage."""


def _queries(pairs: _Pairs, lang: str | None) -> list[XquadQuery]:
    return [query for query, _ in pairs(lang)]


def _qrels(pairs: _Pairs, lang: str | None) -> list[TrecQrel]:
    return [TrecQrel(query.query_id, passage, 1, "0") for query, passage in pairs(lang)]

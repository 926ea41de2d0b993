"""XQuAD as cross-lingual retrieval: 240 English paragraphs, 1,190 questions in each of twelve languages.

Source: Artetxe et al. 2020 (arXiv 1910.11856), https://github.com/google-deepmind/xquad. Sizes and SHA-256 as in
Hugging Face's ``datasets/xquad/dataset_infos.json`` (TensorFlow Datasets' ``url_checksums/xquad.txt`` has the same
for all but Romanian); the MD5, which ir_datasets checks downloads with, are of files that have those SHA-256.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrel

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.datasets import XQUAD_LANGUAGES
from pyserini_xqg.datasets.components import Docs, Documentation, Qrels, Queries
from pyserini_xqg.datasets.published import PublishedFile
from pyserini_xqg.datasets.records import XqgDoc, XquadQuery

NAME = "xquad"
URL = "https://raw.githubusercontent.com/google-deepmind/xquad/master/"
PARAGRAPHS, QUESTIONS = 240, 1190
"""As its README and ``dataset_infos.json`` say, and as counted in the files of ar, de, en, es and ru."""

_SHA256: dict[str, tuple[int, str]] = {
    "ar": (1_582_988, "abdabd7afed5c635d99cca0f3f0d0c9d9ed0bc77451e963c2e4e0638c29e486d"),
    "de": (669_810, "990b5d746746ed65ed4702ea5f35f99ffa4e2f1c390c07d003642acd937916f9"),
    "el": (1_918_889, "821cf0f88e73fa258fd2f548b19b6ec39f7025059e16f6f9fc8cd797c9c3663e"),
    "en": (609_383, "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29"),
    "es": (684_322, "dcbae93ec3a9f4b9e78fd834a171d6f96c1a875e10e15b7530b7e4ef4971e37e"),
    "hi": (1_680_538, "df2cce3532b37e9beb8979704b5c9a4bf874358f105395a298b89427b43b9d24"),
    "ro": (661_158, "94f8d54e93ad2b7dd2e76dd921a666b5b8eff2d4379df9f179c42b445f09643f"),
    "ru": (1_896_368, "208d5b1aa154c52b1b5c5eda16281e455e8fd198cdb9af3f469f0d6037d973bf"),
    "th": (1_809_143, "5cdda11d0e1e075f7872abf4e6ae830388ce7f617964d542308e9ae4257e0f43"),
    "tr": (729_506, "92179a564774b7696100d144c1e10870d0a966b6fccbdd254a65b9d2ab1971cc"),
    "vi": (911_401, "f619a1eb11fb42d3ab0834259e488a65f585447ef6154437bfb7199d85161a04"),
    "zh": (808_652, "691d0b3359bc6b8faa8de931dfdfe21d50a65861ae348e32a0d1a0190b0c8835"),
}
"""Size in bytes and SHA-256 of each language's file."""

_MD5: dict[str, str] = {
    "ar": "13cc04a060e8849c823b7930e2c77446",
    "de": "c8f1da41f1190031fb53e691df4005c2",
    "en": "4d2e89c8b72688ab8648d3e581809091",
    "es": "28c8bdabc7a3bee2ca0e6f5a711653eb",
    "ru": "839fd57a4b13acd6e2281852701368e8",
}
"""The MD5 of those that were at hand."""

FILES: dict[str, PublishedFile] = {
    lang: PublishedFile(NAME, f"xquad.{lang}.json", f"{URL}xquad.{lang}.json", size, _MD5.get(lang), sha256)
    for lang, (size, sha256) in _SHA256.items()
}
"""Each language's file."""


class Question(NamedTuple):
    """A question as it stands in a file: SQuAD's id, the text, the answers in the same language."""

    id: str
    text: str
    answers: tuple[str, ...]


class Paragraph(NamedTuple):
    """A paragraph as it stands in a file, with its questions."""

    title: str
    text: str
    questions: tuple[Question, ...]


def read_paragraphs(path: str | Path) -> list[Paragraph]:
    """Read a file in SQuAD's format, and check every part of it."""
    data = Path(path).read_bytes()
    try:
        articles = json.loads(data)["data"]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise XqgError(f"{path}: malformed JSON ({error}). Fetch the file again.") from error
    except (KeyError, TypeError) as error:
        raise XqgError(f"{path}: no 'data' at its top. Fetch the file again; it must be in SQuAD's format.") from error
    paragraphs: list[Paragraph] = []
    seen: dict[str, str] = {}
    for a, article in _items(articles, f"{path}, data"):
        title = _text(article, "title", f"{path}, data[{a}]")
        for p, paragraph in _items(article.get("paragraphs"), f"{path}, data[{a}].paragraphs"):
            where = f"{path}, data[{a}].paragraphs[{p}]"
            text = _text(paragraph, "context", where)
            questions = []
            for q, entry in _items(paragraph.get("qas"), f"{where}.qas"):
                at = f"{where}.qas[{q}]"
                question_id = _text(entry, "id", at)
                if question_id.split() != [question_id]:
                    raise XqgError(f"{at}: 'id' is {question_id!r}. It must be a text without blanks.")
                if (earlier := seen.setdefault(question_id, at)) != at:
                    raise XqgError(f"{at}: id {question_id!r} was used by {earlier} already. Ids must be unique.")
                answers = tuple(
                    _text(x, "text", f"{at}.answers[{n}]") for n, x in _items(entry.get("answers"), f"{at}.answers")
                )
                questions.append(Question(question_id, _text(entry, "question", at), answers))
            # Titles are names of Wikipedia pages as in addresses: "Super_Bowl_50".
            paragraphs.append(Paragraph(title.replace("_", " "), text, tuple(questions)))
    return paragraphs


def _items(value: Any, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, numbered; an error for anything else, or an empty one."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise XqgError(f"{where}: a list of one or more objects was expected. Fetch the file again.")
    return enumerate(value)


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise XqgError(f"{where}: {key!r} is {value!r}. It must be a text that is not empty. Fetch the file again.")
    return value


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


def align(english: str | Path, other: str | Path, lang: str) -> list[tuple[XquadQuery, str]]:
    """A language's questions with the English answers, and the id of the passage that each was written for.

    Aligned by question id. :class:`XqgError` unless both files have the same ids and group them alike.
    """
    home: dict[str, int] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for number, paragraph in enumerate(read_paragraphs(english)):
        for question in paragraph.questions:
            home[question.id], answers[question.id] = number, question.answers
    aligned: list[tuple[XquadQuery, str]] = []
    for paragraph in read_paragraphs(other):
        ids = [question.id for question in paragraph.questions]
        if unknown := [i for i in ids if i not in home]:
            raise XqgError(f"{other}: question {unknown[0]} is not in {english}. Fetch both files again.")
        if len({home[i] for i in ids}) > 1:
            raise XqgError(
                f"{other}: questions {ids[0]} and {next(i for i in ids if home[i] != home[ids[0]])} share a paragraph, "
                f"but not in {english}. Fetch both files again."
            )
        for question in paragraph.questions:
            query = XquadQuery(f"{lang}-{question.id}", question.text, lang, answers[question.id], question.answers)
            aligned.append((query, doc_id(home[question.id])))
    if missing := home.keys() - {query.query_id.removeprefix(f"{lang}-") for query, _ in aligned}:
        raise XqgError(
            f"{other}: {len(missing)} of the {len(home)} questions of {english} are missing, such as {min(missing)}. "
            "Fetch both files again."
        )
    return aligned


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(FILES["en"], read_docs, XqgDoc, NAME, PARAGRAPHS)
    datasets = {NAME: Dataset(docs, Documentation("xquad.yaml", "docs"))}
    for lang in XQUAD_LANGUAGES:
        datasets[f"{NAME}/{lang}"] = Dataset(
            docs,
            Queries(functools.partial(_queries, lang), XquadQuery, NAME, lang, QUESTIONS),
            Qrels(functools.partial(_qrels, lang), "the question was written for this paragraph"),
            Documentation("xquad.yaml", "language", language=NAMES[lang]),
        )
    return datasets


def questions_of(lang: str) -> list[tuple[XquadQuery, str]]:
    """:func:`align` on the published files, which are fetched if need be."""
    return _aligned(FILES["en"].path(), FILES[lang].path(), lang)


# One parse for questions and qrels. The paths are key enough: what lies there has passed its checksum.
_aligned = functools.lru_cache(maxsize=16)(align)


def _queries(lang: str) -> list[XquadQuery]:
    return [query for query, _ in questions_of(lang)]


def _qrels(lang: str) -> list[TrecQrel]:
    return [TrecQrel(query.query_id, passage, 1, "0") for query, passage in questions_of(lang)]

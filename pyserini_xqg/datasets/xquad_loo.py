"""XQuAD, one question left out: each paragraph's first question is a topic, its others stand in for generated queries.

Made from XQuAD's published files for the languages that are at hand in full, in the order of those files, so the same
files give the same topics and passages everywhere. 240 passages, of which three have no query (their only question is
the topic), and 0 to 16 queries a passage and language: the unequal numbers that real generated queries have after
filtering.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrel

from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.datasets import XQUAD_LOO_LANGUAGES, XQUAD_LOO_QUERY_LANGUAGES
from pyserini_xqg.datasets.components import Docs, Documentation, Qrels, Queries
from pyserini_xqg.datasets.records import AugmentedDoc, XquadQuery
from pyserini_xqg.datasets.xquad import FILES, PARAGRAPHS, questions_of, read_docs

NAME = "xquad-loo"


def by_passage(lang: str) -> dict[str, list[XquadQuery]]:
    """Passage id to all its questions in a language, in the order of the files."""
    found: dict[str, list[XquadQuery]] = {}
    for question, passage in questions_of(lang):
        found.setdefault(passage, []).append(question)
    return found


def read_augmented(path: str | Path) -> Iterator[AugmentedDoc]:
    """The paragraphs of the English file with all questions but the first, in the languages of the queries.

    Texts of queries are without the blanks that some of the published ones begin or end with.
    """
    questions = {lang: by_passage(lang) for lang in XQUAD_LOO_QUERY_LANGUAGES}
    for doc in read_docs(path):
        queries = {lang: [one.text.strip() for one in of[doc.doc_id][1:]] for lang, of in questions.items()}
        yield AugmentedDoc(doc.doc_id, doc.title, doc.text, queries)


def topics_of(lang: str | None) -> list[tuple[XquadQuery, str]]:
    """The topics of a language (None: of all languages of the queries), and the passage that each was written for.

    Texts are on one line, without blanks at their ends, so that they can be exported as a TSV.
    """
    return [
        (questions[0]._replace(text=questions[0].default_text()), passage)
        for code in ([lang] if lang else XQUAD_LOO_QUERY_LANGUAGES)
        for passage, questions in by_passage(code).items()
    ]


def build() -> dict[str, Dataset]:
    """The datasets, by id."""
    docs = Docs(FILES["en"], read_augmented, AugmentedDoc, NAME, PARAGRAPHS)
    datasets = {NAME: Dataset(docs, Documentation("xquad-loo.yaml", "docs"))}
    for lang in (None, *XQUAD_LOO_LANGUAGES):
        number = PARAGRAPHS * (1 if lang else len(XQUAD_LOO_QUERY_LANGUAGES))
        datasets[f"{NAME}/{lang or 'all'}"] = Dataset(
            docs,
            Queries(functools.partial(_queries, lang), XquadQuery, NAME, lang, number),
            Qrels(functools.partial(_qrels, lang), "the question was written for this paragraph"),
            Documentation("xquad-loo.yaml", "language" if lang else "all", language=NAMES[lang] if lang else ""),
        )
    return datasets


def _queries(lang: str | None) -> list[XquadQuery]:
    return [query for query, _ in topics_of(lang)]


def _qrels(lang: str | None) -> list[TrecQrel]:
    return [TrecQrel(query.query_id, passage, 1, "0") for query, passage in topics_of(lang)]

"""What runs are scored against, a dataset or files, and the options with which commands name it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import option
from pyserini_xqg.evaluate.means import ALL_TOPICS


@dataclass
class Collection:
    """What runs are scored against.

    Parameters
    ----------
    name : the dataset's id, or the files, for messages.
    topics : query ids that a run may hold.
    languages : query id to language; may be empty.
    answers : query id to answers, for R@kt; None if there are none.
    qrels : ``ir_measures.Qrel`` tuples, None if there are none.
    passage_files : files and directories of passages; every docid of a run must be in them.
    docs_store : opens a dataset's docs store, in which R@kt looks up the passages that its budget reaches.
    """

    name: str
    topics: set[str]
    languages: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Sequence[str]] | None = None
    qrels: list[Any] | None = None
    passage_files: Sequence[str] = ()
    docs_store: Callable[[], Any] | None = None

    @property
    def has_passages(self) -> bool:
        """Whether there are passages, in files or in a dataset."""
        return bool(self.passage_files or self.docs_store)

    def set_languages(self, languages: Mapping[str, str] | str) -> None:
        """Let these languages, or this one for every topic, go before the collection's own; may name more topics."""
        if isinstance(languages, str):
            languages = dict.fromkeys(self.topics, languages)
        self.languages |= languages
        self.topics |= self.languages.keys()


@dataclass(frozen=True)
class CollectionOptions:
    """collection: a dataset or files

    Raises :class:`XqgError` for options that name no collection, or two.
    """

    dataset: str | None = option(None, "ir_datasets id, such as xor-tydi/dev or xqg-sample/all", metavar="ID")
    qrels: str | None = option(None, "TREC qrels: qid 0 docid relevance", metavar="FILE")
    answers: str | None = option(
        None,
        'questions with answers, JSONL as XOR-TyDi is published: {"id": …, "answers": […], "lang": …}',
        metavar="FILE",
    )
    passages: tuple[str, ...] = option(
        (),
        "passages, JSONL files or directories of them: docid (or id, _id), and text, or contents with the title on its "
        "first line; one pass reads them, and only texts that the runs name are kept, on disk",
        metavar="PATH",
        several=True,
    )
    topic_languages: str | None = option(
        None,
        "topics' languages, as in pyserini_xqg.search: one code for all, a TSV of topic<TAB>language, a JSONL with id "
        "and lang, or irds:<dataset-id>; goes before the dataset's and the answers' languages. Where no language is "
        f"known there is one column, {ALL_TOPICS!r}",
        metavar="SOURCE",
    )

    def __post_init__(self) -> None:
        files = {"--qrels": self.qrels, "--answers": self.answers, "--passages": self.passages}
        given = [name for name, value in files.items() if value]
        if self.dataset and given:
            raise XqgError(f"--dataset and {given[0]}: both name a collection. Pass the dataset, or files.")
        if not self.dataset and not (self.qrels or self.answers):
            raise XqgError("nothing to score against. Pass --dataset, --qrels, or --answers with --passages.")

    @property
    def files(self) -> list[str]:
        """The files and directories that are read."""
        return [path for path in (self.qrels, self.answers, *self.passages, self.topic_languages) if path]

    def open(self) -> Collection:
        """The collection; :class:`XqgError` for every fault in its files."""
        if self.dataset:
            collection = open_dataset(self.dataset)
        else:
            collection = read_collection(self.qrels, self.answers, self.passages)
        if self.topic_languages:
            from pyserini_xqg.text.topics import read_topic_languages

            collection.set_languages(read_topic_languages(self.topic_languages))
        return collection


def read_collection(qrels: str | None = None, answers: str | None = None, passages: Sequence[str] = ()) -> Collection:
    """A collection from files: TREC qrels, questions with answers (JSONL), passages (read when runs are scored)."""
    from pyserini_xqg.text.runs import read_answers, read_qrels

    collection = Collection(", ".join(filter(None, (qrels, answers))), set(), passage_files=passages)
    if qrels:
        collection.qrels = read_qrels(qrels)
        collection.topics |= {qrel.query_id for qrel in collection.qrels}
    if answers:
        collection.answers, collection.languages = read_answers(answers)
        collection.topics |= collection.answers.keys()
    return collection


def open_dataset(dataset_id: str) -> Collection:
    """A collection from an ir_datasets dataset with queries; their ``lang`` and ``answers`` are used if they exist."""
    from pyserini_xqg.datasets import load

    dataset = load(dataset_id)
    if not dataset.has_queries():
        raise XqgError(f"--dataset {dataset_id}: it has no queries. Use one with queries, such as xor-tydi/dev.")
    queries = {query.query_id: query for query in dataset.queries_iter()}
    languages = {query_id: getattr(query, "lang", None) for query_id, query in queries.items()}
    collection = Collection(dataset_id, set(queries), {query: code for query, code in languages.items() if code})
    if "answers" in dataset.queries_cls()._fields:
        collection.answers = {query_id: query.answers for query_id, query in queries.items()}
    if dataset.has_qrels():
        collection.qrels = list(dataset.qrels_iter())
    if dataset.has_docs():
        collection.docs_store = dataset.docs_store
    return collection

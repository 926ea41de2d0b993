"""A retriever's examples on the disk, as sentence-transformers' trainer reads them, and its held-out questions: the
passages in which the model in training searches them, scored as ``pyserini_xqg.evaluate`` scores runs.

Of the data, memory holds a hash for each passage that answers a question, the held-out questions, and the passages they
are searched in.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_file, write_json
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.scoring import R_AT_KT, Scorer
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.train.examples import Example
from pyserini_xqg.train.options import RetrieverTraining
from pyserini_xqg.train.pairs import Split
from pyserini_xqg.train.retriever_model import encode, passage_texts, query_texts

HARD_NEGATIVES = 7
DEPTH = 100
"""Passages of a ranking that are scored, unless a measure looks deeper."""
_BATCH = 512
_EXAMPLES, _QUESTIONS, _PASSAGES = "examples.arrow", "questions.json", "passages.jsonl"


@dataclass(frozen=True)
class ExampleCounts:
    """What was written. passages : different first positives. with_negatives : examples that have a negative; fewer :
    that have fewer than wanted. most_negatives : that one example has.
    """

    examples: int
    passages: int
    with_negatives: int
    most_negatives: int
    negatives: int
    fewer: int


def write_examples(directory: Path, split: Split, options: RetrieverTraining) -> ExampleCounts:
    """Write the training examples; passages that are held out are left out of their negatives.

    Raises :class:`XqgError` where the data cannot fill an update.
    """
    import pyarrow as pa

    fields = {"query": pa.string(), "positive": pa.string()}
    fields |= dict.fromkeys(("positives", "negatives"), pa.list_(pa.string()))
    schema = pa.schema(fields.items())
    seen: set[bytes] = set()
    numbers: Counter[int] = Counter()
    rows = (_row(example, split, options) for example in split.training())
    with pa.OSFile(str(directory / _EXAMPLES), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in chunks_of(rows, _BATCH):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
            for row in batch:
                seen.add(_hash(row["positive"]))
                numbers[len(row["negatives"])] += 1
    most = max(numbers)
    wanted = options.negatives
    if wanted is None:
        wanted = HARD_NEGATIVES if most else 0
    if wanted and not most:
        raise XqgError(
            f"--negatives {wanted}: the data has no negative passage. Find some with python -m pyserini_xqg.mine, or "
            "pass --negatives 0 to train on those of the batch alone."
        )
    if len(seen) < options.updates.batch_size:
        if len(seen) == 1:
            raise XqgError("all questions to train on have the same passage. Pass more data, to tell it from others.")
        raise XqgError(
            f"--batch-size {options.updates.batch_size}: the questions to train on have {len(seen)} different "
            f"passages, and no passage stands twice in a batch. Pass --batch-size {len(seen)} or less."
        )
    total = numbers.total()
    fewer = sum(count for number, count in numbers.items() if number < wanted)
    return ExampleCounts(total, len(seen), total - numbers[0], most, wanted, fewer)


def _row(example: Example, split: Split, options: RetrieverTraining) -> dict[str, Any]:
    positives = _texts(example.positives, options)
    negatives = [passage for passage in example.negatives if not split.holds_out(passage.docid)]
    return {
        "query": query_texts([example.query], options)[0],
        "positive": positives[0],
        "positives": positives,
        "negatives": _texts(negatives, options),
    }


def _texts(passages: Iterable[Passage], options: RetrieverTraining) -> list[str]:
    passages = list(passages)
    texts = passage_texts([passage.text for passage in passages], [passage.title for passage in passages], options)
    return list(dict.fromkeys(texts))


def open_examples(directory: Path) -> Any:
    """The examples as a ``datasets.Dataset``, mapped into memory."""
    from datasets import Dataset

    return Dataset.from_file(str(directory / _EXAMPLES))


def write_held_out(directory: Path, split: Split, options: RetrieverTraining) -> None:
    """Write the held-out questions, and the passages in which they are searched.

    These are the passages that answer them, then their negatives, then others of the data, up to
    ``options.eval_passages`` in all; which of the others, a hash of the docid decides.
    """
    questions: dict[str, dict[str, Any]] = {}
    for example in split.held_out():
        if example.query_id in questions:
            raise XqgError(f"{example.where}: another held-out question has this query_id. Give each question its own.")
        relevant = list(dict.fromkeys(passage.docid for passage in example.positives))
        questions[example.query_id] = {"query": example.query, "lang": example.language, "relevant": relevant}
    write_json(directory / _QUESTIONS, questions)
    passages = choose_passages(split, options.eval_passages)
    with write_file(directory / _PASSAGES) as out:
        for passage in passages:
            record = {"docid": passage.docid, "title": passage.title, "text": passage.text}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def choose_passages(split: Split, most: int) -> list[Passage]:
    """All passages that answer held-out questions, and others up to ``most`` in all, by docid."""
    answers = {passage.docid: passage for example in split.held_out() for passage in example.positives}
    room = max(0, most - len(answers))
    others: dict[str, tuple[tuple[int, bytes], Passage]] = {}
    for rank, passage in _others(split):
        if passage.docid in answers:
            continue
        key = rank, _hash(passage.docid)
        if passage.docid not in others or key < others[passage.docid][0]:
            others[passage.docid] = key, passage
        if len(others) > 2 * room + _BATCH:
            others = _best(others, room)
    chosen = answers | {docid: passage for docid, (_, passage) in _best(others, room).items()}
    return [chosen[docid] for docid in sorted(chosen)]


def _others(split: Split) -> Iterator[tuple[int, Passage]]:
    """Passages that do not answer a held-out question, the ones with the lowest numbers wanted most."""
    for example in split.held_out():
        yield from ((1, passage) for passage in example.negatives)
    for example in split.training():
        yield from ((2, passage) for passage in example.positives)
        yield from ((3, passage) for passage in example.negatives)


def _best(passages: dict[str, Any], number: int) -> dict[str, Any]:
    return dict(heapq.nsmallest(number, passages.items(), key=lambda item: item[1][0]))


@dataclass(frozen=True)
class HeldOutData:
    """Held-out questions by query id, the passages, and both as a collection that runs are scored against."""

    queries: dict[str, str]
    passages: list[tuple[str, str]]
    """Docid, and what the encoder reads."""
    collection: Collection


def open_held_out(directory: Path, options: RetrieverTraining) -> HeldOutData:
    """What :func:`write_held_out` wrote, with the answers that the options name."""
    from ir_measures import Qrel

    from pyserini_xqg.text.corpus import Corpus
    from pyserini_xqg.text.runs import read_answers

    questions = read_json(directory / _QUESTIONS)
    collection = Collection(
        "the held-out questions",
        set(questions),
        {query_id: entry["lang"] for query_id, entry in questions.items() if entry["lang"]},
        qrels=[Qrel(query_id, docid, 1) for query_id, entry in questions.items() for docid in entry["relevant"]],
        passage_files=[str(directory / _PASSAGES)],
    )
    if options.answers:
        found = read_answers(options.answers)[0]
        collection.answers = {query_id: texts for query_id, texts in found.items() if query_id in questions}
    passages = list(Corpus(directory / _PASSAGES))
    texts = passage_texts([passage.text for passage in passages], [passage.title for passage in passages], options)
    queries = query_texts([entry["query"] for entry in questions.values()], options)
    return HeldOutData(
        dict(zip(questions, queries, strict=True)),
        [(passage.docid, text) for passage, text in zip(passages, texts, strict=True)],
        collection,
    )


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def depth(measures: Iterable[str]) -> int:
    """How many passages a question's ranking needs for these measures.

    >>> depth(["RR@10", "R@1000"]), depth(["R@2kt"])
    (1000, 200)
    """
    needed = [DEPTH]
    for name in measures:
        if match := R_AT_KT.fullmatch(name):
            needed.append(100 * int(match[1]))  # passages are seldom shorter than ten tokens on the mean
        elif match := re.search(r"@(\d+)$", name):
            needed.append(int(match[1]))
    return max(needed)


def search(
    queries: np.ndarray, query_ids: Sequence[str], passages: np.ndarray, docids: Sequence[str], hits: int
) -> dict[str, dict[str, float]]:
    """Exact search by inner product: query id to docid to score, the ``hits`` best."""
    import faiss

    run: dict[str, dict[str, float]] = {}
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(passages)
    for start in range(0, len(queries), _BATCH):
        scores, rows = index.search(queries[start : start + _BATCH], min(hits, len(docids)))
        for query_id, own_scores, own_rows in zip(query_ids[start:], scores, rows, strict=False):
            run[query_id] = {docids[row]: float(score) for row, score in zip(own_rows, own_scores, strict=True)}
    return run


class HeldOutEvaluator(BaseEvaluator):
    """sentence-transformers' hook for an evaluation: measures by language, the first measure's mean decides.

    Results are named as in tables, ``RR@10`` for the mean of the languages and ``RR@10 fi`` for one.
    """

    def __init__(self, data: HeldOutData, scorer: Scorer, batch_size: int) -> None:
        super().__init__()
        self._data, self._scorer, self._batch_size = data, scorer, batch_size
        self._hits = depth(scorer.measures)
        self.primary_metric = scorer.measures[0]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Encode, search, score."""
        data = self._data
        passages = encode(model, [text for _, text in data.passages], "document", self._batch_size)
        queries = encode(model, list(data.queries.values()), "query", self._batch_size)
        run = search(queries, list(data.queries), passages, [docid for docid, _ in data.passages], self._hits)
        means = self._scorer.means(self._scorer.score(run, "held-out questions"))
        return {
            name if language == "avg" else f"{name} {language}": value
            for name, of_measure in means.items()
            for language, value in of_measure.items()
        }


def by_measure(metrics: Mapping[str, float], measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """The trainer's ``eval_…`` metrics as measure to language (``avg`` for their mean) to value."""
    found: dict[str, dict[str, float]] = {}
    for name in measures:
        for key, value in metrics.items():
            measure, _, language = key.removeprefix("eval_").partition(" ")
            if measure == name and key.startswith("eval_"):
                found.setdefault(name, {})[language or "avg"] = value
    return found

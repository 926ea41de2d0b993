"""A retriever's examples on the disk, as sentence-transformers' trainer reads them, and its held-out questions: the
passages in which the model in training searches them, scored as ``pyserini_xqg.evaluate`` scores runs.

Of the data, memory holds a hash for each passage that answers a question, the held-out questions, and the passages they
are searched in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentence_transformers.base.evaluation import BaseEvaluator

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_file, write_json
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.train.encoder_model import encode
from pyserini_xqg.train.options import RetrieverTraining
from pyserini_xqg.train.pairs import Split, write_rows
from pyserini_xqg.vectors.exact import ExactSearch
from pyserini_xqg.vectors.settings import EncoderConfig

HARD_NEGATIVES = 7
DEPTH = 100
"""Passages of a ranking that are scored, unless a measure looks deeper."""
_EXAMPLES, _QUESTIONS, _PASSAGES = "examples.arrow", "questions.json", "passages.jsonl"


def write_examples(directory: Path, split: Split, options: RetrieverTraining) -> dict[str, int]:
    """Write the training examples; passages that are held out are left out of their negatives.

    Returns how many there are, how many negatives each gets in an update, and how many have fewer.

    Raises :class:`XqgError` where the data cannot fill an update.
    """
    config = options.vectors.config(options.model)
    seen: set[bytes] = set()
    numbers: Counter[int] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for example in split.training():
            positives = _inputs(config, example.positives)
            negatives = _inputs(config, (one for one in example.negatives if not split.holds_out(one.docid)))
            seen.add(hashlib.blake2b(positives[0].encode("utf-8", "surrogatepass"), digest_size=8).digest())
            numbers[len(negatives)] += 1
            query = config.queries([example.query])[0]
            yield {"query": query, "positive": positives[0], "positives": positives, "negatives": negatives}

    columns = {"query": "string", "positive": "string", "positives": "list<string>", "negatives": "list<string>"}
    write_rows(directory / _EXAMPLES, columns, rows())
    wanted = options.negatives
    if wanted is None:
        wanted = HARD_NEGATIVES if max(numbers) else 0
    if wanted and not max(numbers):
        raise XqgError(
            f"--negatives {wanted}: the data has no negative passage. Find some with python -m pyserini_xqg.mine, or "
            "pass --negatives 0 to train on those of the batch alone."
        )
    if len(seen) == 1:
        raise XqgError("all questions to train on have the same passage. Pass more data, to tell it from others.")
    if len(seen) < options.updates.batch_size:
        raise XqgError(
            f"--batch-size {options.updates.batch_size}: the questions to train on have {len(seen)} different "
            f"passages, and no passage stands twice in a batch. Pass --batch-size {len(seen)} or less."
        )
    fewer = sum(number for have, number in numbers.items() if have < wanted)
    return {"examples": numbers.total(), "negatives": wanted, "fewer": fewer}


def _inputs(config: EncoderConfig, passages: Iterable[Passage]) -> list[str]:
    """What the encoder reads of passages, each text once."""
    passages = list(passages)
    texts = config.passages([passage.text for passage in passages], [passage.title for passage in passages])
    return list(dict.fromkeys(texts))


def open_examples(directory: Path) -> Any:
    """The examples as a ``datasets.Dataset``, mapped into memory."""
    from datasets import Dataset

    return Dataset.from_file(str(directory / _EXAMPLES))


def write_held_out(directory: Path, split: Split, options: RetrieverTraining) -> None:
    """Write the held-out questions, and the passages in which they are searched (:func:`choose_passages`)."""
    questions: dict[str, dict[str, Any]] = {}
    for example in split.held_out():
        if example.query_id in questions:
            raise XqgError(f"{example.where}: another held-out question has this query_id. Give each question its own.")
        relevant = list(dict.fromkeys(passage.docid for passage in example.positives))
        questions[example.query_id] = {"query": example.query, "lang": example.language, "relevant": relevant}
    write_json(directory / _QUESTIONS, questions)
    with write_file(directory / _PASSAGES) as out:
        for passage in choose_passages(split, options.eval_passages):
            record = {"docid": passage.docid, "title": passage.title, "text": passage.text}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def choose_passages(split: Split, most: int) -> list[Passage]:
    """All passages that answer held-out questions, then their negatives and the training's, up to ``most`` in all."""
    chosen = {passage.docid: passage for example in split.held_out() for passage in example.positives}
    for passage in _others(split):
        if len(chosen) >= most:
            break
        chosen.setdefault(passage.docid, passage)
    return [chosen[docid] for docid in sorted(chosen)]


def _others(split: Split) -> Iterator[Passage]:
    for example in split.held_out():
        yield from example.negatives
    for example in split.training():
        yield from (*example.positives, *example.negatives)


class HeldOutEvaluator(BaseEvaluator):
    """sentence-transformers' hook for an evaluation, on what :func:`write_held_out` wrote.

    Results are named as in tables, ``RR@10`` for the mean of the languages and ``RR@10 fi`` for one. The mean of the
    first measure decides.
    """

    def __init__(self, directory: Path, options: RetrieverTraining) -> None:
        from ir_measures import Qrel

        super().__init__()
        config = options.vectors.config(options.model)
        questions = read_json(directory / _QUESTIONS)
        self._query_ids = list(questions)
        self._queries = config.queries([entry["query"] for entry in questions.values()])
        passages = list(Corpus(directory / _PASSAGES))
        self._docids = [passage.docid for passage in passages]
        self._passages = config.passages([one.text for one in passages], [one.title for one in passages])
        collection = Collection(
            "the held-out questions",
            set(questions),
            {query_id: entry["lang"] for query_id, entry in questions.items() if entry["lang"]},
            qrels=[Qrel(query_id, docid, 1) for query_id, entry in questions.items() for docid in entry["relevant"]],
        )
        self._scorer = Scorer(collection, options.measures)
        self._batch_size = options.device_batch_size or 64
        deepest = [int(match[1]) for name in options.measures if (match := re.search(r"@(\d+)$", name))]
        self._hits = min(max(DEPTH, *deepest), len(passages))
        self.primary_metric = self._scorer.measures[0]

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Encode, search, score."""
        passages = encode(model, self._passages, "document", self._batch_size)
        queries = encode(model, self._queries, "query", self._batch_size)
        search = ExactSearch(queries, self._hits)
        search.add(passages)
        scores, rows = search.result()
        run = {
            query_id: {self._docids[row]: float(score) for row, score in zip(found, values, strict=True)}
            for query_id, found, values in zip(self._query_ids, rows, scores, strict=True)
        }
        with self._scorer as scorer:
            means = scorer.means(scorer.score(run, "held-out questions"))
        return {
            name if language == "avg" else f"{name} {language}": value
            for name, of_measure in means.items()
            for language, value in of_measure.items()
        }


def by_measure(metrics: Mapping[str, float], measures: Sequence[str]) -> dict[str, dict[str, float]]:
    """The trainer's ``eval_…`` metrics as measure to language (``avg`` for their mean) to value."""
    found: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        measure, _, language = key.removeprefix("eval_").partition(" ")
        if measure in measures and key.startswith("eval_"):
            found.setdefault(measure, {})[language or "avg"] = value
    return found

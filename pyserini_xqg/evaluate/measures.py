"""R@kt, the measure of XOR-Retrieve, as an ir_measures measure.

Importing this module adds R@kt to ir_measures' default pipeline, so that it is computed in one call together with
ir_measures' own measures::

    from ir_measures import R, RR, calc_aggregate
    from pyserini_xqg.evaluate.measures import RecallAtKTokens

    Rkt = RecallAtKTokens.from_dataset("xor-tydi/dev")
    calc_aggregate([Rkt@2, Rkt@5, R@100, RR@10], qrels, run)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ir_measures
from ir_measures.measures import MeanAgg, Measure, ParamInfo
from ir_measures.providers import Evaluator, Provider
from ir_measures.util import Metric, QrelsConverter, RunConverter

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE, AnswerFinder, Passages, exact_tokens, rank


class InexactTokensWarning(UserWarning):
    """R@kt was computed without NLTK's ``punkt_tab`` data, so it can differ from the official scorer's."""


def span_answers(answers: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Question id to its answers but for "yes" and "no"; questions without another answer do not count.

    Raises :class:`XqgError` for what is not a list of strings, or holds an empty one, which every text contains.
    """
    spans: dict[str, list[str]] = {}
    for query_id, texts in answers.items():
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise XqgError(f"answers of question {query_id!r}: {texts!r} is not a list of strings that are not empty.")
        if others := [text for text in texts if text not in ("yes", "no")]:
            spans[query_id] = others
    return spans


class _CountedMean(MeanAgg):
    """The mean over the questions that count; the others' value is NaN."""

    def add(self, value: float) -> None:
        if not math.isnan(value):
            super().add(value)


class RecallAtKTokens(Measure):
    """R@kt, "recall at k thousand tokens": is an answer within the first k * 1000 tokens of the ranked passages?

    Per question: answers that are exactly "yes" or "no" are dropped; a question without another answer does not
    count. The texts (without titles) of the ranked passages are tokenised in order until there are k * 1000 tokens,
    cut to exactly that many and joined with single spaces. The question scores 1.0 if one of its answers is a
    substring of that, case and all, else 0.0. The aggregate is the mean over the questions that count.

    Which questions count is said by ``answers``, not by the qrels, which are not read and may be empty (``[]``).

    * A counting question that the run lacks scores 0. (The official scorer averages over what it finds in the
      predictions, and so would reward leaving hard questions out; for complete runs there is no difference.)
    * A question that does not count has no per-query result, or NaN where it is in the qrels: ir_measures gives every
      measure a value for every topic of the qrels. Aggregates leave it out.
    * Passages are ranked as trec_eval ranks them, hence as R@10 and ir_measures' other pytrec_eval measures do: by
      falling score in single precision, equal scores by falling docid. The rank column plays no part. (RR@10 comes from
      ir_measures' MS MARCO provider, which puts equal scores in order of rising docid.)
    * Without NLTK's ``punkt_tab`` data the tokens are nearly, not quite, the official ones: an
      :class:`InexactTokensWarning` says so, see :func:`~pyserini_xqg.evaluate.answer_tokens.tokenize`.

    Source: Asai et al., "XOR QA: Cross-lingual Open-Retrieval Question Answering", NAACL 2021, and its official
    ``eval_xor_retrieve``.

    Raises :class:`XqgError` for a cutoff that is not a positive integer and, while scoring, for answers as
    :func:`span_answers` and for a docid that ``passages`` does not know.

    Parameters
    ----------
    answers : question id to its answers.
    passages : docid to text: anything with ``get``, returning a string or an object with a string ``text``. Looked up
        are the first k * 1000 words of a ranking: what the token budget reaches, and a little more.
    cutoff : k, thousands of tokens; usually given as ``measure @ k``.

    >>> import ir_measures
    >>> Rkt = RecallAtKTokens(
    ...     answers={"q1": ["Tampere"], "q2": ["1914"], "q3": ["yes"]},
    ...     passages={"d1": "Nokia lies near Tampere, Finland", "d2": "It began in 1915"},
    ... )
    >>> run = {"q1": {"d1": 2.0, "d2": 1.0}, "q2": {"d2": 1.5}, "q3": {"d1": 1.0}}
    >>> ir_measures.calc_aggregate([Rkt@2], [], run)
    {R@2kt: 0.5}
    """

    __name__ = NAME = "R@kt"
    PRETTY_NAME = "Recall at k thousand tokens"
    SHORT_DESC = "The share of questions with an answer in the first k * 1000 tokens of the ranked passages."
    SUPPORTED_PARAMS = {  # noqa: RUF012 (as in every ir_measures measure)
        "answers": ParamInfo(required=True, desc="question id to answers"),
        "passages": ParamInfo(required=True, desc="docid to text"),
        "cutoff": ParamInfo(dtype=int, required=True, desc="thousands of tokens"),
    }
    # ir_measures gives this value to topics of the qrels that the provider leaves out: those that do not count.
    DEFAULT = math.nan

    def __init__(self, answers: Mapping[str, Sequence[str]], passages: Passages, cutoff: int | None = None) -> None:
        params: dict[str, Any] = {"answers": answers, "passages": passages}
        if cutoff is not None:
            params["cutoff"] = cutoff
            if not isinstance(cutoff, int) or cutoff < 1:
                raise XqgError(f"R@kt: cutoff {cutoff!r} is not a positive number of thousands of tokens.")
        super().__init__(**params)

    @classmethod
    def from_dataset(cls, dataset_id: str) -> RecallAtKTokens:
        """R@kt over the answers and passages of an ir_datasets dataset, such as ``xor-tydi/dev``.

        Raises :class:`XqgError` if the dataset has no passages, or its queries have no ``answers``.
        """
        from pyserini_xqg.evaluate.collection import open_dataset

        collection = open_dataset(dataset_id)
        if collection.answers is None or collection.docs_store is None:
            lacking = "passages" if collection.docs_store is None else "answers"
            raise XqgError(f"dataset {dataset_id}: it has no {lacking}, which R@kt needs.")
        return cls(collection.answers, collection.docs_store())

    def validate_params(self) -> None:
        """Refuse the measure without a cutoff."""
        if "cutoff" not in self.params:
            raise XqgError("R@kt needs a number of thousands of tokens: write measure@2 for R@2kt.")

    def aggregator(self) -> _CountedMean:
        """The mean over the questions that count."""
        return _CountedMean()

    def __repr__(self) -> str:
        return f"R@{self.params.get('cutoff', 'k')}kt"

    # ir_measures compares measures by their names, but the R@2kt of two collections are two measures.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecallAtKTokens) and self.params == other.params

    def __hash__(self) -> int:
        return hash(self.params.get("cutoff"))


class RecallAtKTokensProvider(Provider):
    """Computes :class:`RecallAtKTokens` for ir_measures."""

    NAME = "xqg"

    def supports(self, measure: Measure) -> bool:
        """Whether ``measure`` is R@kt with a cutoff."""
        measure.validate_params()
        return isinstance(measure, RecallAtKTokens)

    def _evaluator(self, measures: Iterable[RecallAtKTokens], qrels: Any) -> RecallAtKTokensEvaluator:
        return RecallAtKTokensEvaluator(measures, qrels)


class RecallAtKTokensEvaluator(Evaluator):
    """Scores runs with R@kt at one or more cutoffs, tokenising each passage at most once."""

    def __init__(self, measures: Iterable[RecallAtKTokens], qrels: Any) -> None:
        # The qrels' topics, as in every evaluator: where several providers work together, ir_measures takes the topics
        # of all measures from one of them.
        super().__init__(measures, {qrel.query_id for qrel in QrelsConverter(qrels).as_namedtuple_iter()})
        self._answers = {measure: span_answers(measure.params["answers"]) for measure in measures}
        every = {id(passages): passages for passages in (measure.params["passages"] for measure in measures)}
        self._finders = {key: AnswerFinder(passages) for key, passages in every.items()}

    def _iter_calc(self, run: Any) -> Iterator[Metric]:
        if not exact_tokens():
            warnings.warn(
                "R@kt without NLTK's punkt_tab data: tokens, and so the scores, can differ a little from the official "
                f"scorer's. To make them exact: {PUNKT_CURE}",
                InexactTokensWarning,
                stacklevel=1,
            )
        run = RunConverter(run).as_dict_of_dict()
        for measure, answers in self._answers.items():
            finder, budget = self._finders[id(measure.params["passages"])], measure["cutoff"] * 1000
            for query_id, texts in answers.items():
                needed = finder.tokens_needed(texts, rank(run.get(query_id, {})), budget)
                yield Metric(query_id, measure, float(needed <= budget))


PROVIDER = RecallAtKTokensProvider()
ir_measures.providers.register(PROVIDER)
# The default pipeline has a fixed list of providers and no way to add one. At its end, R@kt cannot hide any measure.
ir_measures.DefaultPipeline.providers.append(PROVIDER)

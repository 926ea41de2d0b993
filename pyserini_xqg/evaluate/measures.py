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
import operator
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


class _SpanAnswers(dict[str, tuple[str, ...]]):
    """Question id to its span answers, checked; questions that do not count are left out."""

    @classmethod
    def check(cls, answers: Mapping[str, Sequence[str]]) -> _SpanAnswers:
        if isinstance(answers, cls):
            return answers
        checked = cls()
        for query_id, texts in answers.items():
            if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
                raise XqgError(f"answers of question {query_id!r}: {texts!r} is not a list of strings.")
            if not all(text.strip() for text in texts):
                raise XqgError(
                    f"answers of question {query_id!r}: an empty answer, which every text contains. Remove it."
                )
            if span_answers := tuple(text for text in texts if text not in ("yes", "no")):
                checked[query_id] = span_answers
        return checked


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

    Measures are equal if cutoff, answers and passages are the same, the last two by identity.

    Source: Asai et al., "XOR QA: Cross-lingual Open-Retrieval Question Answering", NAACL 2021, and its official
    ``eval_xor_retrieve``.

    Raises :class:`XqgError` for empty answers, answers that are not lists of strings, a cutoff that is not a positive
    integer and, while scoring, for a docid that ``passages`` does not know.

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
        params: dict[str, Any] = {"answers": _SpanAnswers.check(answers), "passages": passages}
        if cutoff is not None:
            try:
                params["cutoff"] = operator.index(cutoff)
            except TypeError:
                params["cutoff"] = 0
            if params["cutoff"] < 1:
                raise XqgError(f"R@kt: cutoff {cutoff!r} is not a positive number of thousands of tokens.")
        super().__init__(**params)

    @classmethod
    def from_dataset(cls, dataset_id: str) -> RecallAtKTokens:
        """R@kt over the answers and passages of an ir_datasets dataset, such as ``xor-tydi/dev``.

        Raises :class:`XqgError` if the dataset has no passages, or its queries have no ``answers``.
        """
        from pyserini_xqg.datasets import load

        dataset = load(dataset_id)
        if not dataset.has_queries() or "answers" not in dataset.queries_cls()._fields:
            raise XqgError(f"dataset {dataset_id}: its queries have no answers, which R@kt needs.")
        if not dataset.has_docs():
            raise XqgError(f"dataset {dataset_id}: it has no passages, which R@kt needs.")
        return cls({query.query_id: query.answers for query in dataset.queries_iter()}, dataset.docs_store())

    @property
    def questions(self) -> Mapping[str, tuple[str, ...]]:
        """The questions that count: id to span answers."""
        return self.params["answers"]

    def validate_params(self) -> None:
        """Refuse the measure without a cutoff."""
        if "cutoff" not in self.params:
            raise XqgError("R@kt needs a number of thousands of tokens: write measure@2 for R@2kt.")
        super().validate_params()

    def aggregator(self) -> _CountedMean:
        """The mean over the questions that count."""
        return _CountedMean()

    def __repr__(self) -> str:
        return f"R@{self.params.get('cutoff', 'k')}kt"

    # ir_measures compares measures by their names. Here that is not enough: two collections' R@2kt are two measures.
    def _identity(self) -> tuple[Any, ...]:
        return self.params.get("cutoff"), id(self.params["answers"]), id(self.params["passages"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecallAtKTokens) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())


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
        self._groups: dict[tuple[int, int], list[RecallAtKTokens]] = {}
        for measure in self.measures:
            key = id(measure.params["answers"]), id(measure.params["passages"])
            self._groups.setdefault(key, []).append(measure)
        self._finders = {key: AnswerFinder(of[0].params["passages"]) for key, of in self._groups.items()}

    def _iter_calc(self, run: Any) -> Iterator[Metric]:
        if not exact_tokens():
            warnings.warn(
                "R@kt without NLTK's punkt_tab data: tokens, and so the scores, can differ a little from the official "
                f"scorer's. To make them exact: {PUNKT_CURE}",
                InexactTokensWarning,
                stacklevel=1,
            )
        run = RunConverter(run).as_dict_of_dict()
        for key, measures in self._groups.items():
            budgets = [measure["cutoff"] * 1000 for measure in measures]
            for query_id, answers in measures[0].questions.items():
                ranking = rank(run.get(query_id, {}))
                hits = self._finders[key].hits(query_id, answers, ranking, budgets)
                for measure, hit in zip(measures, hits, strict=True):
                    yield Metric(query_id, measure, hit)


PROVIDER = RecallAtKTokensProvider()
ir_measures.providers.register(PROVIDER)
# The default pipeline has a fixed list of providers and no way to add one. At its end, R@kt cannot hide any measure.
ir_measures.DefaultPipeline.providers.append(PROVIDER)

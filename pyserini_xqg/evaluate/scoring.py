"""Values per question: runs scored with R@kt and any measure of ir_measures, and their means by language."""

from __future__ import annotations

import re
import subprocess
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE, exact_tokens
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.means import ALL_TOPICS, means_by_language

ANSWER_MEASURES = ("R@2kt", "R@5kt")
QRELS_MEASURES = ("R@10", "R@100", "RR@10")
R_AT_KT = re.compile(r"R@(\d+)kt")

Run = Mapping[str, Mapping[str, float]]
"""Query id to docid to score."""

Values = dict[str, dict[str, float]]
"""Measure's name to query id to value, a fraction."""


class Scorer:
    """Scores runs against a collection, question by question. Use as a context manager.

    Raises :class:`XqgError` for an unknown measure, and where the collection lacks what one needs.

    Parameters
    ----------
    collection : what to score against.
    measures : ``R@<k>kt`` (k thousand tokens) and names of ir_measures. Empty: :func:`default_measures`.
    docids : the passages that the runs rank, if all are known: of files only their texts are kept, on disk. None keeps
        all the texts, and some 200 bytes of memory a passage.

    Attributes
    ----------
    measures : names of the measures, in their order.
    languages : language of every question that counts for one of the measures, by query id.
    marked : names of measures that are not exactly the official scorer's, as NLTK's punkt_tab data is missing.

    >>> from ir_measures import Qrel
    >>> qrels = [Qrel("q1", "d1", 1), Qrel("q2", "d1", 1)]
    >>> collection = Collection("two topics", {"q1", "q2"}, {"q1": "fi", "q2": "te"}, qrels=qrels)
    >>> with Scorer(collection, ["R@10"]) as scorer:
    ...     scorer.score({"q1": {"d1": 2.0}, "q2": {"d2": 1.0}}, "my run")
    {'R@10': {'q1': 1.0, 'q2': 0.0}}
    """

    def __init__(self, collection: Collection, measures: Sequence[str] = (), docids: Set[str] | None = None) -> None:
        self.collection = collection
        self._parsed = parse_measures(measures or default_measures(collection))
        self._docids = docids
        self.measures = tuple(self._parsed)
        self._thousands = {name: measure for name, measure in self._parsed.items() if isinstance(measure, int)}
        _check_needs(self._parsed, collection)
        self.marked = set() if exact_tokens() else self._thousands.keys()
        # R@kt does not need qrels, and would only be given the topics that do not count.
        self._qrels = collection.qrels if len(self._thousands) < len(self._parsed) else []
        self._known: Set[str] | None = None
        self._stack = ExitStack()
        self._warned = False

    def __enter__(self) -> Scorer:
        import ir_measures

        from pyserini_xqg.evaluate.measures import RecallAtKTokens, span_answers
        from pyserini_xqg.text.lookup import PassageLookup

        collection = self.collection
        counting: set[str] = {qrel.query_id for qrel in self._qrels}
        if self._thousands:
            counting |= span_answers(collection.answers).keys()
        self.languages = _languages_of(counting, collection)
        passages: Any = None
        if collection.passage_files:
            lookup = PassageLookup(self._docids, collection.passage_files, with_queries=False)
            passages = self._stack.enter_context(lookup)
            self._known = passages.docids
        elif self._thousands:
            passages = collection.docs_store()
        at_kt = {name: RecallAtKTokens(collection.answers, passages, k) for name, k in self._thousands.items()}
        self._of_names = {**self._parsed, **at_kt}
        self._evaluator = ir_measures.evaluator(set(self._of_names.values()), self._qrels)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def score(self, run: Run, name: str) -> Values:
        """Values of every question that counts, by measure; a question that the run lacks has 0, which is said.

        A question that does not count for a measure (R@kt: without an answer beyond yes and no; others: without qrels)
        has no value. As in trec_eval, topics that the collection does not have are left out, which is said. ``name`` is
        the run's, for messages. Raises :class:`XqgError` as :meth:`check`.
        """
        from pyserini_xqg.evaluate.measures import InexactTokensWarning

        self.check(run, name)
        left_out = sorted(run.keys() - self.collection.topics)
        run = {query_id: ranking for query_id, ranking in run.items() if query_id in self.collection.topics}
        by_measure: dict[Any, dict[str, float]] = defaultdict(dict)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InexactTokensWarning)  # said below
                for metric in self._evaluator.iter_calc(run):
                    if metric.value == metric.value:  # not NaN: the question counts
                        by_measure[metric.measure][metric.query_id] = float(metric.value)
        except XqgError as error:
            raise XqgError(f"{name}: {error}") from error
        except (ArithmeticError, RuntimeError, TypeError, ValueError, subprocess.SubprocessError) as error:
            raise XqgError(f"{name}: ir_measures could not compute {', '.join(self.measures)}: {error}") from error
        if self.marked and not self._warned:  # not of runs that were refused
            self._warned = True
            say(
                "warning: NLTK's punkt_tab data is not installed, so R@kt (marked *) can differ a little from the "
                f"official scorer's. To make it exact: {PUNKT_CURE}"
            )
        if left_out:
            say(
                f"{name}: {len(left_out):,} of {len(left_out) + len(run):,} topics are not in "
                f"{self.collection.name} and are left out (such as {left_out[0]})"
            )
        if missing := sorted(self.languages.keys() - run.keys()):
            say(
                f"{name}: {len(missing):,} of {len(self.languages):,} topics are missing and count 0 "
                f"(such as {missing[0]})"
            )
        judged = {qrel.doc_id for qrel in self._qrels}
        if judged and all(judged.isdisjoint(ranking) for ranking in run.values()):
            say(
                f"warning: {name}: the qrels of {self.collection.name} know none of its docids, so every measure that "
                "reads them is 0. Was it retrieved from another collection?"
            )
        return {given: by_measure[measure] for given, measure in self._of_names.items()}

    def check(self, run: Run, name: str) -> None:
        """Refuse a run of another collection: hardly a topic is of this one, or a docid is not among the passages."""
        check_topics(run, name, self.collection)
        if self._known is None:
            return
        docids = set().union(*run.values())
        if unknown := docids - self._known:
            raise XqgError(
                f"{name}: docid {min(unknown)!r} is not among the passages ({len(unknown):,} of {len(docids):,} docids "
                "are not). Pass the --passages that the run was retrieved from."
            )

    def means(self, values: Values) -> dict[str, dict[str, float]]:
        """Measure's name to language to mean, and ``avg``: :func:`means_by_language` with each measure's own
        aggregation (ir_measures sums some).
        """
        return {
            name: means_by_language(of_measure, self.languages, self._of_names[name].aggregator)
            for name, of_measure in values.items()
        }

    def over_all(self, values: Values) -> dict[str, float]:
        """Measure's name to mean over all questions that count, whatever their language."""
        together = dict.fromkeys(self.languages, ALL_TOPICS)
        return {
            name: means_by_language(of_measure, together, self._of_names[name].aggregator)[ALL_TOPICS]
            for name, of_measure in values.items()
            if of_measure
        }


def check_topics(run: Iterable[str], name: str, collection: Collection) -> None:
    """Refuse a run of which the collection knows hardly any topic: fewer than one in a hundred, or none."""
    topics = set(run)
    if (unknown := topics - collection.topics) and 100 * (len(topics) - len(unknown)) < len(topics):
        raise XqgError(
            f"{name}: {len(unknown):,} of its {len(topics):,} topics, such as {min(unknown)!r}, are not in "
            f"{collection.name}: a run of another collection. Score it against its own."
        )


def parse_measures(names: Iterable[str]) -> dict[str, Any]:
    """Name as given to k (an integer) for R@kt, to an ir_measures measure for the others.

    These may have trec_eval's names too, such as ``recall.10`` or ``map``.
    """
    import ir_measures

    measures: dict[str, Any] = {}
    for name in names:
        if match := R_AT_KT.fullmatch(name):
            measures[name] = int(match[1])
            if measures[name] < 1:
                raise XqgError(f"--measures {name}: a budget of no tokens. Use R@1kt or more.")
            continue
        try:
            try:
                measure = ir_measures.parse_measure(name)
            except (NameError, ValueError):
                (measure,) = ir_measures.parse_trec_measure(name)  # ValueError: unknown, or several
            supported = ir_measures.DefaultPipeline.supports(measure)
        except (NameError, ValueError, AssertionError, TypeError) as error:
            raise XqgError(
                f"--measures {name}: not a measure of ir_measures. Use names such as R@10, RR@10, nDCG@10, or R@2kt."
            ) from error
        if not supported:
            raise XqgError(
                f"--measures {name}: ir_measures cannot compute it with the packages installed here. "
                "See https://ir-measur.es/en/latest/measures.html for those it needs."
            )
        cutoff = measure.params.get("cutoff", 1)
        if cutoff < 1 or isinstance(cutoff, bool):  # trec_eval would end the whole process
            raise XqgError(f"--measures {name}: cutoff {cutoff} is not a positive number.")
        measures[name] = measure
    return measures


def default_measures(collection: Collection) -> list[str]:
    """R@2kt and R@5kt where there are answers and passages, R@10, R@100 and RR@10 where there are qrels."""
    with_answers = collection.answers is not None and collection.has_passages
    names = [*ANSWER_MEASURES * with_answers, *QRELS_MEASURES * (collection.qrels is not None)]
    if not names:
        raise XqgError(
            f"{collection.name}: nothing can be measured. R@kt needs --answers and --passages, other measures need "
            "--qrels."
        )
    return names


def _check_needs(measures: Mapping[str, Any], collection: Collection) -> None:
    given = {
        "answers": collection.answers is not None,
        "passages": collection.has_passages,
        "qrels": collection.qrels is not None,
    }
    for name, measure in measures.items():
        at_kt = isinstance(measure, int)
        for what in ("answers", "passages") if at_kt else ("qrels",):
            if not given[what]:
                raise XqgError(f"--measures {name}: needs {what}, and {collection.name} has none. Pass --{what}.")
        judged = {qrel.query_id for qrel in collection.qrels or ()}
        if at_kt and (without := judged - collection.answers.keys()):
            raise XqgError(
                f"--measures {name}: topic {min(without)!r} is in the qrels, but has no answers. "
                "Add it to --answers, or leave R@kt out."
            )


def _languages_of(topics: set[str], collection: Collection) -> dict[str, str]:
    if not topics:
        raise XqgError(f"{collection.name}: no topic counts. R@kt counts questions with an answer beyond yes and no.")
    if not collection.languages:
        return dict.fromkeys(topics, ALL_TOPICS)
    if unknown := topics - collection.languages.keys():
        raise XqgError(
            f"{collection.name}: topic {min(unknown)!r} has no language ({len(unknown)} such topics), while others "
            "have. Name the languages in --topic-languages."
        )
    return {query_id: collection.languages[query_id] for query_id in topics}

"""Makes the page of two runs: reads, checks, scores, ranks, compares, draws, packs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.pages import asset, render_page
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE, rank
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.scoring import Scorer, Values, check_topics
from pyserini_xqg.report.explorer import Explorer, explorer_data, pack
from pyserini_xqg.report.products import find_products
from pyserini_xqg.report.rankings import Ranked, Run, judged_gold, rank_question, shown_passage
from pyserini_xqg.report.results import (
    ALL_QUESTIONS,
    MeasureResult,
    is_graded,
    plot_gains,
    plot_means,
    plot_outcomes,
    result_rows,
    result_table,
)
from pyserini_xqg.text.lookup import PassageLookup
from pyserini_xqg.text.runs import read_run
from pyserini_xqg.text.topics import question_texts

if TYPE_CHECKING:
    from pyserini_xqg.report.__main__ import PageOptions


def make_report(options: PageOptions) -> str:
    """The page that checked options ask for.

    Raises :class:`XqgError` for every fault in the runs, the collection, the store and the index.
    """
    collection = options.collection.open()
    runs = _read_runs(options, collection)
    texts, languages = _questions(options, collection)
    docids = {docid for content in runs for ranking in content.values() for docid in ranking}
    with Scorer(collection, options.scoring.measures, docids) as scorer:
        for path, content in zip(options.runs, runs, strict=True):
            scorer.check(content, path)
        values = tuple(scorer.score(content, path) for path, content in zip(options.runs, runs, strict=True))
        results = _results(scorer, values, options)
    judged = judged_gold(collection) if collection.qrels is not None else None
    if judged is not None:  # else answers are looked for in all
        docids = {docid for some in judged.values() for docid in some}
        docids |= {docid for content in runs for ranking in content.values() for docid in rank(ranking)[: options.top]}
    with PassageLookup(
        docids, collection.passage_files, docs_store=collection.docs_store, query_files=options.queries
    ) as kept:
        passages = kept if collection.has_passages else None
        answers = collection.answers or {}
        ranked = {
            query_id: rank_question(
                query_id, runs, options.top, None if judged is None else judged.get(query_id, ()),
                answers.get(query_id, ()), passages,
            )
            for query_id in texts
        }  # fmt: skip
        if passages is not None:
            _check_passages(ranked, passages)
        questions = {query_id: (texts[query_id], languages[query_id]) for query_id in texts}
        products, used, note = find_products(options.products, questions, ranked, passages, runs[1])
        explorer = Explorer(
            options.run_names,
            texts,
            languages,
            answers,
            {result.name: result.values for result in results},
            ranked,
            passages,
            products,
            used,
        )
        return _page(options, explorer, results, [_gold_note(judged, passages), note])


def _read_runs(options: PageOptions, collection: Collection) -> tuple[Run, Run]:
    runs = tuple(read_run(path, not options.scoring.ignore_ranks) for path in options.runs)
    if runs[0] == runs[1]:
        raise XqgError(f"{options.runs[0]} and {options.runs[1]}: the same run. A report compares two different runs.")
    for path, content in zip(options.runs, runs, strict=True):
        check_topics(content, path, collection)
    return runs


def _questions(options: PageOptions, collection: Collection) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and languages of the collection's questions, all that have answers or judgements."""
    asked = sorted({qrel.query_id for qrel in collection.qrels or ()} | (collection.answers or {}).keys())
    known = question_texts(options.collection.dataset, options.collection.answers, options.topics)
    if without := [query_id for query_id in asked if query_id not in known]:
        raise XqgError(
            f"topic {without[0]!r}: no text of the question ({len(without)} such topics). Pass their files with "
            "--topics."
        )
    languages = {query_id: collection.languages.get(query_id, ALL_TOPICS) for query_id in asked}
    if collection.languages and ALL_TOPICS in languages.values():
        unknown = next(query_id for query_id in asked if query_id not in collection.languages)
        raise XqgError(f"topic {unknown!r} has no language, while others have. Name it in --topic-languages.")
    return {query_id: known[query_id] for query_id in asked}, languages


def _results(scorer: Scorer, values: tuple[Values, Values], options: PageOptions) -> list[MeasureResult]:
    means = tuple(map(scorer.means, values))
    results = []
    for name in values[0]:
        both = values[0][name], values[1][name]
        if not both[0]:
            say(f"{name}: no question counts, so it is left out")
            continue
        rows = result_rows(name, both, (means[0][name], means[1][name]), scorer.languages, options.tests)
        results.append(MeasureResult(name, rows, both, "*" * (name in scorer.marked)))
    return results


def _check_passages(ranked: Mapping[str, Ranked], passages: PassageLookup) -> None:
    for query_id, of_question in ranked.items():
        for gold in of_question.gold:
            shown_passage(passages, gold.docid, query_id, "relevant to")
        for docid in (docid for top in of_question.top for docid in top):
            shown_passage(passages, docid, query_id, "ranked for")


def _gold_note(judged: Mapping[str, Any] | None, passages: Any) -> str:
    if judged is not None:
        return "Gold passages are those that the qrels call relevant."
    if passages is None:
        return "No gold passages: there are no qrels, and no passages to look for answers in."
    return "Gold passages are, in each run, the first one whose text holds an answer; yes and no are not looked for."


def _page(options: PageOptions, explorer: Explorer, results: Sequence[MeasureResult], notes: list[str]) -> str:
    files = (Path(path).name for path in (options.collection.qrels, options.collection.answers) if path)
    star = f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
    page = {
        **{"runs": explorer.runs, "questions": len(explorer.texts)},
        "collection": options.collection.dataset or ", ".join(files),
        "notes": [_significance(options.tests), *[star] * any(result.mark for result in results)],
        "tables": [result_table(result, explorer.runs) for result in results],
        "totals": (AVERAGE, ALL_QUESTIONS),
        "average": AVERAGE,
        "means": [_means_figure(result, explorer.runs) for result in results],
        "gains": [figure for result in results for figure in _gain_figures(result)],
    }
    style, script = asset("report/explorer.css"), asset("report/explorer.js")
    title = f"{page['runs'][0]} against {page['runs'][1]}: {page['collection']}"
    packed = pack(explorer_data(explorer))
    return render_page(
        "report/page.html", title, style=style, script=script, explorer_notes=notes, packed=packed, **page
    )


def _means_figure(result: MeasureResult, runs: tuple[str, str]) -> tuple[str, str, str]:
    """Title, note, plot."""
    rows = [row for row in result.rows if row.name != ALL_QUESTIONS]
    return result.name + result.mark, "", plot_means(rows, runs, f"{result.name} by language")


def _gain_figures(result: MeasureResult) -> list[tuple[str, str, str]]:
    """Title, note, plot: of the questions won and lost, and of how much."""
    figures = []
    if together := next((row.comparison for row in reversed(result.rows) if row.comparison), None):
        note = f"won {together.won:,}, tied {together.tied:,}, lost {together.lost:,}"
        plot = plot_outcomes(result.rows, f"{result.name}: questions lost and won")
        figures.append((result.name, note, plot))
    differences = result.differences()
    if is_graded(differences):
        note = f"× 100; {sum(map(bool, differences)):,} of {len(differences):,} questions"
        plot = plot_gains(differences, f"{result.name}: gain by question")
        figures.append((f"Gain in {result.name}", note, plot))
    return figures


def _significance(tests: Any) -> str:
    corrected = "not corrected"
    if tests.correction != "none":
        corrected = f"corrected for the tests of a measure ({tests.correction.capitalize()})"
    return (
        f"Paired two-sided {'t-test' if tests.test == 't-test' else 'randomisation test'}, p values {corrected}. "
        f"† p < {tests.significance_level:g}. Values × 100; {AVERAGE} is the unweighted mean over languages; the "
        "interval is that of the mean difference; d is Cohen's d of paired samples."
    )

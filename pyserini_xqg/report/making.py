"""Makes the page of two runs from the command's options: reads, checks, scores, ranks, compares, packs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE, rank
from pyserini_xqg.evaluate.collection import Collection, collection_from
from pyserini_xqg.evaluate.comparisons import Settings
from pyserini_xqg.evaluate.means import ALL_TOPICS, AVERAGE
from pyserini_xqg.evaluate.scoring import Scorer, Values, check_topics
from pyserini_xqg.report.encoder_choice import find_inner_products
from pyserini_xqg.report.gold import Ranked, judged_gold, rank_question, shown
from pyserini_xqg.report.page import MeasureResult, Report, html_page
from pyserini_xqg.report.payload import Explorer, pack_within
from pyserini_xqg.report.results import result_rows
from pyserini_xqg.text.lookup import PassageLookup
from pyserini_xqg.text.runs import read_run
from pyserini_xqg.text.topics import question_texts

Run = dict[str, dict[str, float]]
_NOTE_BYTES = 400
"""Room for the note that says what was left out."""


def make_report(args: argparse.Namespace) -> str:
    """The page that checked options ask for.

    Raises :class:`XqgError` for every fault in the runs, the collection, the store and the index.
    """
    collection = collection_from(args)
    names = _names(args)
    runs = _read_runs(args.runs, collection, not args.ignore_ranks)
    texts, languages = _questions(args, collection)
    docids = {docid for content in runs for ranking in content.values() for docid in ranking}
    with Scorer(collection, args.measures or (), docids) as scorer:
        for path, content in zip(args.runs, runs, strict=True):
            scorer.check(content, path)
        values = tuple(scorer.score(content, path) for path, content in zip(args.runs, runs, strict=True))
        results = _results(scorer, values, args)
    judged = judged_gold(collection) if collection.qrels is not None else None
    wanted = _docids_to_read(runs, judged, args.top)
    answers = collection.answers or {}
    with PassageLookup(
        wanted, collection.passage_files, docs_store=collection.docs_store, query_files=args.queries
    ) as kept:
        passages = kept if collection.has_passages else None
        ranked = {
            query_id: rank_question(
                query_id, runs, args.top, None if judged is None else judged.get(query_id, ()),
                answers.get(query_id, ()), passages,
            )
            for query_id in texts
        }  # fmt: skip
        if passages is not None:
            _check_gold(ranked, passages)
        products, used, note = find_inner_products(args, texts, languages, ranked, passages, runs[1])
        explorer = Explorer(
            names,
            texts,
            languages,
            answers,
            {result.name: result.values for result in results},
            ranked,
            passages,
            products,
            used,
        )
        return _page(args, explorer, results, scorer.marked, [_gold_note(judged, passages), note])


def _names(args: argparse.Namespace) -> tuple[str, str]:
    if args.names:
        return tuple(args.names)
    first, second = (Path(path).name.removesuffix(".gz").removesuffix(".txt") for path in args.runs)
    return (first, second) if first != second else tuple(args.runs)


def _read_runs(paths: Sequence[str], collection: Collection, check_ranks: bool) -> tuple[Run, Run]:
    runs = tuple(read_run(path, check_ranks) for path in paths)
    if runs[0] == runs[1]:
        raise XqgError(f"{paths[0]} and {paths[1]}: the same run. A report compares two different runs.")
    for path, content in zip(paths, runs, strict=True):
        check_topics(content, path, collection)
    return runs


def _questions(args: argparse.Namespace, collection: Collection) -> tuple[dict[str, str], dict[str, str]]:
    """Texts and languages of the collection's questions, all that have answers or judgements."""
    asked = {qrel.query_id for qrel in collection.qrels or ()} | (collection.answers or {}).keys()
    known = question_texts(args.dataset, args.answers, args.topics)
    if without := sorted(asked - known.keys()):
        raise XqgError(
            f"topic {without[0]!r}: no text of the question ({len(without)} such topics). Pass their files with "
            "--topics."
        )
    if collection.languages and (unknown := sorted(asked - collection.languages.keys())):
        raise XqgError(f"topic {unknown[0]!r} has no language, while others have. Name it in --topic-languages.")
    order = sorted(asked)
    languages = {query_id: collection.languages.get(query_id, ALL_TOPICS) for query_id in order}
    return {query_id: known[query_id] for query_id in order}, languages


def _results(scorer: Scorer, values: tuple[Values, Values], args: argparse.Namespace) -> list[MeasureResult]:
    means = tuple(map(scorer.means, values))
    results = []
    for name in values[0]:
        both = values[0][name], values[1][name]
        if not both[0]:
            say(f"{name}: no question counts, so it is left out")
            continue
        rows = result_rows(
            name, both, (means[0][name], means[1][name]), scorer.languages, test=args.test, correction=args.correction
        )
        results.append(MeasureResult(name, rows, both, "*" * (name in scorer.marked)))
    return results


def _docids_to_read(runs: tuple[Run, Run], judged: Mapping[str, Sequence[str]] | None, depth: int) -> set[str]:
    """Docids whose texts may be shown; where no qrels tell the gold passages, answers are looked for in all."""
    if judged is None:
        return {docid for content in runs for ranking in content.values() for docid in ranking}
    gold = {docid for docids in judged.values() for docid in docids}
    return gold.union(*(rank(ranking)[:depth] for content in runs for ranking in content.values()))


def _check_gold(ranked: Mapping[str, Ranked], passages: PassageLookup) -> None:
    for query_id, found in ranked.items():
        for gold in found.gold:
            shown(passages, gold.docid, query_id, "relevant to")
        for docid in (docid for top in found.top for docid in top):
            shown(passages, docid, query_id, "ranked for")


def _gold_note(judged: Mapping[str, Any] | None, passages: Any) -> str:
    if judged is not None:
        return "Gold passages are those that the qrels call relevant."
    if passages is None:
        return "No gold passages: there are no qrels, and no passages to look for answers in."
    return "Gold passages are, in each run, the first one whose text holds an answer; yes and no are not looked for."


def _page(
    args: argparse.Namespace, explorer: Explorer, results: Sequence[MeasureResult], marked: Set[str], notes: list[str]
) -> str:
    """The page, with as much of the passages that are not gold as ``--max-size`` lets in."""
    files = (Path(path).name for path in (args.qrels, args.answers) if path)
    star = f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
    empty = Report(
        collection=args.dataset or ", ".join(files),
        runs=explorer.runs,
        questions=len(explorer.texts),
        measures=results,
        packed="",
        significance=_significance_note(args.test, args.correction),
        notes=[star] if marked else [],
        explorer_notes=notes,
    )
    most = int(args.max_size * 1e6) - len(html_page(empty).encode("utf-8")) - _NOTE_BYTES
    packed, depth, excerpt = pack_within(explorer, args.top, most)
    left_out = [f"{depth} passages shown of each run"] if depth < args.top else []
    if excerpt is not None:
        what = f"cut to {excerpt} characters" if excerpt else "left out"
        left_out.append(f"texts of passages that are not gold {what}")
    if left_out:
        note = f"to keep the page under {args.max_size:g} MB (--max-size): {', '.join(left_out)}"
        notes = [*notes, f"{note[0].upper()}{note[1:]}."]
        say(f"{args.output}: {note}")
    if len(packed) > most:
        say(
            f"warning: {args.output}: larger than --max-size {args.max_size:g} MB, of questions, gold passages and "
            "their generated queries alone. Raise --max-size, or make one page a language."
        )
    return html_page(replace(empty, packed=packed, explorer_notes=notes))


def _significance_note(test: str, correction: str) -> str:
    corrected = (
        "not corrected" if correction == "none" else f"corrected for the tests of a measure ({correction.capitalize()})"
    )
    return (
        f"Paired two-sided {'t-test' if test == 't-test' else 'randomisation test'}, p values {corrected}. "
        f"† p < {Settings().level:g}. Values × 100; {AVERAGE} is the unweighted mean over languages; the interval is "
        "that of the mean difference; d is Cohen's d of paired samples."
    )

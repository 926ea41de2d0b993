"""A whole comparison: what is compared is chosen and checked, searched, scored, and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.compare.comparison import COMPARISON_KIND, LISTED, SystemRuns
from pyserini_xqg.compare.crossvalidation import check_choice, cross_validate, related_topics, split_topics
from pyserini_xqg.compare.grid import FACTORS, Grid, Point
from pyserini_xqg.compare.inputs import Inputs, open_inputs, read_topics
from pyserini_xqg.compare.runs import read_ranked, write_run
from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.systems import BESIDE_A_GRID, TEXT, System, choose_systems, grid_systems
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.job import Job
from pyserini_xqg.datasets.ids import IRDS_PREFIX
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.scoring import Scorer, Values, parse_measures


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared. systems : rows, in their order. grid : further ones. names : point as searched to its row."""

    systems: Sequence[System]
    grid: Grid
    names: Mapping[Point, str]
    fold_of: Mapping[str, int]


def compare(options: CompareOptions) -> None:
    """Make or continue the comparison, and print its table."""
    collection = options.collection.open()
    measures = _check_measures(options, collection)
    inputs = open_inputs(options, read_topics(options, collection))
    plan = _plan(options, inputs, collection)
    files = [*options.collection.files, *options.corpus.inputs, *options.topics, *map(_directory, options.store)]
    read = [path for path in files if not path.startswith(IRDS_PREFIX)]
    with Job(options.output, COMPARISON_KIND, {}, overwrite=options.overwrite, inputs=read, listed=LISTED) as job:
        comparison = SystemRuns(job, inputs, options)
        comparison.check(plan.systems)
        _set_up_java(options, plan.systems)
        comparison.make(plan.systems)
        docids = None
        if collection.passage_files:
            rankings = (ranking for system in plan.systems for ranking in comparison.read(system).values())
            docids = {docid for ranking in rankings for docid, _ in ranking}
        with Scorer(collection, measures, docids) as scorer:
            values = {}
            bar = progress(plan.systems, total=len(plan.systems), unit="runs", description="scoring")
            for system in bar:  # one run at a time in memory
                content = {topic: dict(ranking) for topic, ranking in comparison.read(system).items()}
                values[system.name] = scorer.score(content, system.name)
            text = _report(options, plan, comparison, inputs, scorer, values)
        job.finish(listed=LISTED)
    print(text, end="", flush=True)
    say(f"{options.output}: table.md, table.csv, table.json, by-query.csv and {len(plan.systems)} runs")


def _directory(store: str) -> str:
    name, equals, directory = store.partition("=")
    return directory if equals and "/" not in name else store


def _check_measures(options: CompareOptions, collection: Collection) -> tuple[str, ...]:
    """Refuse measures that the collection has nothing for, and those that look deeper than the runs reach."""
    measures, hits = Scorer(collection, options.measures).measures, options.search.hits
    for name, measure in parse_measures(measures).items():
        cutoff = 0 if isinstance(measure, int) else measure.params.get("cutoff", 0)
        if cutoff > hits:
            raise XqgError(
                f"--measures {name}: looks at {cutoff:,} passages, and runs have {hits:,} (--hits). "
                f"Pass --hits {cutoff}."
            )
    chosen = options.cross_validation.choose_by
    if chosen and chosen not in measures:
        raise XqgError(f"--choose-by {chosen}: not among the measures. It has to be one of {', '.join(measures)}.")
    return measures


def _plan(options: CompareOptions, inputs: Inputs, collection: Collection) -> ComparisonPlan:
    grid = Grid(options.grid.values(), inputs.stores)
    names = options.systems if options.systems or not grid.points else BESIDE_A_GRID
    analysis = options.lexical.bm25_analysis
    searched = dict.fromkeys(point.searched for point in grid.points)
    systems, left_out = choose_systems(
        names, inputs.stores, lambda one: inputs.lacking(one, analysis), [*searched], bool(options.systems)
    )
    for reason in dict.fromkeys(left_out.values()):
        some = [name for name, why in left_out.items() if why == reason]
        say(f"left out: {', '.join(some)}: {reason}")
    points = grid_systems(grid, systems)
    for point in grid.points:
        if reason := inputs.lacking(System("point", point=point), analysis):
            raise XqgError(f"{point.name}: {reason}")
    systems = list({system.name: system for system in [*systems, *points.values()]}.values())
    known = {system.name for system in systems}
    for store in inputs.stores:
        if _baseline(options.baseline, store, known) is None:
            raise XqgError(
                f"--baseline {options.baseline}: not among the systems. Add it to --systems, or name another."
            )
    of_point = {
        system.point.searched: system.name for system in reversed(systems) if system.point and not system.lexical
    }
    fold_of: dict[str, int] = {}
    if options.cross_validation.cross_validate:
        check_choice(grid, options.cross_validation.cross_validate)
        groups = dict(zip(inputs.topics.texts, related_topics(inputs.topics.texts, collection.qrels), strict=True))
        languages = {topic: inputs.topics.languages.get(topic, ALL_TOPICS) for topic in groups}
        fold_of = split_topics(groups, languages, options.cross_validation.folds, options.tests.seed)
    if grid.points:
        from pyserini_xqg.compare.curves import choose_axis

        choose_axis(grid, options.report.x)
    return ComparisonPlan(systems, grid, of_point, fold_of)


def _baseline(name: str, store: str | None, known: set[str]) -> str | None:
    """The system that those of a store are tested against: of that store, or for all."""
    return next((one for one in (f"{store}.{name}", name) if one in known), None)


def _set_up_java(options: CompareOptions, systems: Sequence[System]) -> None:
    """Point Pyserini at a Java that it starts on, where Pyserini is needed; refuse to begin without one."""
    if options.search.timed or any(system.lexical for system in systems):
        from pyserini_xqg.core import java

        if java.find_java() is None:
            raise XqgError(java.NO_JAVA)
        java.configure()


def _report(
    options: CompareOptions,
    plan: ComparisonPlan,
    comparison: SystemRuns,
    inputs: Inputs,
    scorer: Scorer,
    values: dict[str, Values],
) -> str:
    """Write tables, figures and cross-validation; returns the overview."""
    from pyserini_xqg.compare.report import SystemRow, SystemScores

    known, stores = set(values), list(inputs.stores)
    rows = []
    for system in plan.systems:
        cost = comparison.cost(system) if options.search.timed else None
        baseline = _baseline(options.baseline, inputs.store_name(system), known)
        rows.append(SystemRow(system.name, system.describe(), system.cells(), baseline, cost))
    directory = comparison.directory
    if plan.fold_of:
        for point, row in _cross_validate(options, plan, comparison, inputs, scorer, values):
            baseline = _baseline(options.baseline, point.store, known)
            rows.append(SystemRow(row["name"], row["about"], row["cells"], baseline))
    report = SystemScores(scorer, rows, values, options.tests, _notes(options, plan.systems, comparison, inputs))
    report.write(directory)
    if plan.grid.points:
        from pyserini_xqg.compare.curves import choose_axis, draw_grid

        corrected = "" if options.tests.correction == "none" else f", {options.tests.correction.capitalize()}"
        test = f"paired {options.tests.test}{corrected}, p < {options.tests.significance_level:g}"
        for suffix, by_language in (("", False), ("-by-language", True)):
            draw_grid(
                directory / f"figure{suffix}.{options.report.figure_format}",
                plan.grid,
                choose_axis(plan.grid, options.report.x),
                report,
                plan.names,
                caption="Bands and whiskers: 95 % intervals of the means. Filled: differs from "
                f"{options.baseline} ({test}).",
                most_queries=max(max(comparison.store(name).manifest["most_queries"].values()) for name in stores),
                by_language=by_language,
            )
    return report.text()


def _cross_validate(
    options: CompareOptions,
    plan: ComparisonPlan,
    comparison: SystemRuns,
    inputs: Inputs,
    scorer: Scorer,
    values: dict[str, Values],
) -> list[tuple[Point, dict[str, Any]]]:
    """Choose by cross-validation; writes the runs and the split, adds their values, and returns what is reported."""
    factors = options.cross_validation.cross_validate
    chosen_by = options.cross_validation.choose_by or scorer.measures[0]
    by_point = {point: values[name][chosen_by] for point, name in plan.names.items()}
    found, described = [], {}
    for one in cross_validate(plan.grid, factors, by_point, plan.fold_of, scorer.languages):
        name = f"{one.point.store}.{one.name}" if len(inputs.stores) > 1 else one.name
        chosen = [plan.names[point] for point in one.chosen]
        runs = {name: read_ranked(comparison.run_path(name)) for name in dict.fromkeys(chosen)}
        stitched = {topic: runs[chosen[fold]].get(topic, []) for topic, fold in plan.fold_of.items()}
        write_run(comparison.run_path(name), stitched, name)
        values[name] = {
            measure: {query_id: values[chosen[plan.fold_of[query_id]]][measure][query_id] for query_id in some}
            for measure, some in values[chosen[0]].items()
        }
        cells = {factor: one.point.cell(factor) for factor in FACTORS} | dict.fromkeys(factors, "cv")
        about = f"{' and '.join(factors)} chosen on the other folds, by {chosen_by}"
        found.append((one.point, {"name": name, "about": about, "cells": cells}))
        described[name] = {
            "candidates": [plan.names[point] for point in one.candidates],
            "folds": [
                {
                    "reported_on": fold,
                    "chosen": {factor: point.cell(factor) for factor in one.factors},
                    "run": plan.names[point],
                    f"mean_{chosen_by}_on_other_folds": score,
                }
                for fold, (point, score) in enumerate(zip(one.chosen, one.scores, strict=True))
            ],
        }
    split = {
        "factors": list(factors),
        "folds": options.cross_validation.folds,
        "seed": options.tests.seed,
        "measure": chosen_by,
        "stratified_by": "language",
        "kept_together": "topics that share a relevant passage",
        "runs": described,
        "fold_of_topic": plan.fold_of,
    }
    write_json(comparison.directory / "cross-validation.json", split)
    return found


def _notes(options: CompareOptions, systems: Sequence[System], comparison: SystemRuns, inputs: Inputs) -> list[str]:
    search, topics = options.search, inputs.topics
    threads = f", {search.search_threads} thread{'s' * (search.search_threads > 1)}" if search.timed else ""
    encoders = {inputs.config_of(store).describe(): None for store in inputs.stores.values()}
    notes = [
        f"{inputs.store.passages:,} passages, {len(topics.texts):,} topics, {search.hits} hits a topic{threads}; "
        f"vectors: {', '.join(encoders)}."
    ]
    if any(system.kind == TEXT for system in systems):
        cut = comparison.truncation
        limit = search.text_max_length or inputs.config.max_length
        notes.append(
            f"text: {cut['cut']:,} of {cut['passages']:,} passages with their queries are cut at {limit} tokens; the "
            f"encoder sees {cut['queries_kept']:.1%} of the queries' tokens."
        )
    if any(system.lexical for system in systems):
        lexical = options.lexical
        ways = {
            "language": "bm25 in English, doc2query in each topic's language, with that language's queries",
            "en": "English, with all queries",
            "wordpiece": "the encoder's tokenizer, with all queries",
        }
        way = ways[lexical.bm25_analysis]
        notes.append(
            f"BM25 (k1 {lexical.k1:g}, b {lexical.b:g}), its analysis (--bm25-analysis {lexical.bm25_analysis}): {way}."
        )
    if any(system.is_fused for system in systems):
        notes.append(
            f"Fusion: pyserini.fusion {options.fusion.describe()}"
            + ("; its time is that of both searches and a topic's share of fusing the runs." if search.timed else ".")
        )
    return notes

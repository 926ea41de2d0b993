"""Scores the runs of a sweep, and writes its tables, figures and cross-validation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.evaluate.answer_tokens import PUNKT_CURE
from pyserini_xqg.evaluate.comparisons import Settings, write_by_query
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.sweep import tables
from pyserini_xqg.sweep.crossvalidation import cross_validate
from pyserini_xqg.sweep.curves import choose_axis, draw_sweep
from pyserini_xqg.sweep.grid import FACTORS, Point
from pyserini_xqg.sweep.outputs import SweepDirectory
from pyserini_xqg.sweep.plan import Sweep
from pyserini_xqg.sweep.summary import System, summarise
from pyserini_xqg.text.runs import read_run


def report(sweep: Sweep, directory: SweepDirectory, args: argparse.Namespace) -> None:
    """Score the runs, and write tables and figures."""
    names = {point: sweep.name(point) for point in sweep.grid.runs}
    values, scorer = _score(sweep, directory, args, list(names.values()))
    systems = [
        System(
            name,
            {factor: "-" if point.is_plain and factor not in _OF_PLAIN else point.cell(factor) for factor in FACTORS},
            names[point.baseline],
        )
        for point, name in names.items()
    ]
    if args.cross_validate:
        systems += _cross_validate(sweep, directory, args, values, scorer, names)
    settings = Settings(args.test, args.correction, seed=args.seed, permutations=args.permutations)
    scores = summarise(systems, values, scorer.languages, settings)
    notes = [*tables.table_notes(scores, settings), *_measure_notes(scorer)]
    table = tables.table_markdown(scores, sweep.grid.varied, notes, scorer.marked)
    directory.write("table.md", table)
    tables.write_table(directory.path / "table.csv", scores)
    tables.write_by_language(directory.path / "by-language.csv", scores)
    write_by_query(directory.path / "by-query.csv", values, scorer.languages)
    most = max(max(store.manifest["most_queries"].values()) for store in sweep.stores.values())
    for suffix, by_language in (("", False), ("-by-language", True)):
        draw_sweep(
            directory.path / f"figure{suffix}.{args.figure_format}",
            sweep.grid,
            choose_axis(sweep.grid, args.x),
            {(score.system.name, score.measure): score for score in scores},
            names,
            caption=_caption(args),
            most_queries=most,
            by_language=by_language,
            marked=scorer.marked,
        )
    print(table, end="", flush=True)
    say(f"{args.output}: runs, table.md, table.csv, by-language.csv, by-query.csv, figures")


_OF_PLAIN = ("store", "normalize", "max-queries", "alpha")


def _caption(args: argparse.Namespace) -> str:
    corrected = "" if args.correction == "none" else f", {args.correction.capitalize()}"
    test = f"paired {args.test}{corrected}, p < 0.05"
    return f"Bands and whiskers: 95 % intervals of the means. Filled: differs from no augmentation ({test})."


def _measure_notes(scorer: Scorer) -> list[str]:

    note = f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}"
    return [note] if scorer.marked else []


def _score(
    sweep: Sweep, directory: SweepDirectory, args: argparse.Namespace, names: Sequence[str]
) -> tuple[dict[str, dict[str, dict[str, float]]], Scorer]:
    """Run to measure to query id to value."""
    paths = {name: directory.run_path(name) for name in names}
    docids = None
    if sweep.collection.passage_files:
        docids = {docid for path in paths.values() for ranking in read_run(path).values() for docid in ranking}
    with Scorer(sweep.collection, args.measures, docids) as scorer:
        bar = progress(paths.items(), total=len(paths), unit="runs", description="scoring")
        return {name: scorer.score(read_run(path), str(path)) for name, path in bar}, scorer


def _cross_validate(
    sweep: Sweep,
    directory: SweepDirectory,
    args: argparse.Namespace,
    values: dict[str, dict[str, dict[str, float]]],
    scorer: Scorer,
    names: Mapping[Point, str],
) -> list[System]:
    """Choose by cross-validation; writes the runs and the split, adds their values, and returns their systems."""
    measure = args.choose_by or scorer.measures[0]
    by_point = {point: values[name][measure] for point, name in names.items()}
    found = cross_validate(sweep.grid, args.cross_validate, by_point, sweep.fold_of, scorer.languages)
    systems, described = [], {}
    for one in found:
        name = sweep.in_store(one.point.store, one.name)
        chosen = [names[point] for point in one.chosen]
        directory.write_run(name, _stitched(directory, sweep, chosen))
        values[name] = {
            measure: {query_id: values[chosen[sweep.fold_of[query_id]]][measure][query_id] for query_id in some}
            for measure, some in values[chosen[0]].items()
        }
        cells = {factor: one.point.cell(factor) for factor in FACTORS} | dict.fromkeys(one.factors, "cv")
        systems.append(System(name, cells, names[one.point.baseline]))
        described[name] = {
            "candidates": [names[point] for point in one.candidates],
            "folds": [
                {
                    "reported_on": fold,
                    "chosen": {factor: point.cell(factor) for factor in one.factors},
                    "run": names[point],
                    f"mean_{measure}_on_other_folds": score,
                }
                for fold, (point, score) in enumerate(zip(one.chosen, one.scores, strict=True))
            ],
        }
    split = {
        "factors": args.cross_validate,
        "folds": args.folds,
        "seed": args.seed,
        "measure": measure,
        "stratified_by": "language",
        "kept_together": "topics that share a relevant passage",
        "runs": described,
        "fold_of_topic": sweep.fold_of,
    }
    directory.write("cross-validation.json", json.dumps(split, ensure_ascii=False, indent=2) + "\n")
    return systems


def _stitched(directory: SweepDirectory, sweep: Sweep, chosen: Sequence[str]) -> list[str]:
    """Lines of a run whose topics come from the run that was chosen for their fold; in the order of the topics."""
    lines: dict[str, list[str]] = {topic: [] for topic in sweep.topics}
    for name in dict.fromkeys(chosen):
        with open(directory.run_path(name), encoding="utf-8") as run_file:
            for line in run_file:
                topic = line.split(None, 1)[0]
                if chosen[sweep.fold_of[topic]] == name:
                    lines[topic].append(line)
    return [line for some in lines.values() for line in some]

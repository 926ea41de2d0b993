"""A whole comparison: what is compared is chosen and checked, searched, scored, and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyserini_xqg.compare.comparison import COMPARISON_KIND, LISTED, SystemRuns
from pyserini_xqg.compare.crossvalidation import check_choice, cross_validate, related_topics, split_topics
from pyserini_xqg.compare.grid import FACTORS, Grid, Point
from pyserini_xqg.compare.inputs import Inputs, open_inputs, read_topics
from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.stores import split_name
from pyserini_xqg.compare.systems import TEXT, System, choose_systems, runs_of_points
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.job import Job
from pyserini_xqg.datasets.ids import IRDS_PREFIX
from pyserini_xqg.evaluate.collection import Collection
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.scoring import Scorer, Values, parse_measures
from pyserini_xqg.text.runs import write_run

if TYPE_CHECKING:
    from pyserini_xqg.compare.report import SystemRow


@dataclass(frozen=True)
class ComparisonPlan:
    """What is compared, of what.

    systems : rows, in their order. names : point of the grid, as searched, to its row. fold_of : topic to fold; empty
    without cross-validation.
    """

    options: CompareOptions
    inputs: Inputs
    systems: Sequence[System]
    grid: Grid
    names: Mapping[Point, str]
    fold_of: Mapping[str, int]

    def baseline(self, store: str) -> str:
        """The system that those of a store are tested against: of that store, or for all."""
        wanted, known = self.options.baseline, {system.name for system in self.systems}
        for name in (f"{store}.{wanted}", wanted):
            if name in known:
                return name
        raise XqgError(f"--baseline {wanted}: not among the systems. Add it to --systems, or name another.")


def compare(options: CompareOptions) -> None:
    """Make or continue the comparison, and print its table."""
    collection = options.collection.open()
    measures = _check_measures(options, collection)
    plan = _plan(options, open_inputs(options, read_topics(options, collection)), collection)
    stores = [split_name(text)[1] for text in options.store]
    files = [*options.collection.files, *options.corpus.inputs, *options.topics, *stores]
    read = [path for path in files if not path.startswith(IRDS_PREFIX)]
    with Job(options.output, COMPARISON_KIND, {}, overwrite=options.overwrite, inputs=read, listed=LISTED) as job:
        comparison = SystemRuns(job, plan.inputs, options)
        comparison.check(plan.systems)
        _set_up_java(options, plan.systems)
        comparison.make(plan.systems)
        docids = None
        if collection.passage_files:
            runs = (comparison.read(system.name) for system in plan.systems)
            docids = {docid for run in runs for ranking in run.values() for docid in ranking}
        with Scorer(collection, measures, docids) as scorer:
            bar = progress(plan.systems, total=len(plan.systems), unit="runs", description="scoring")
            values = {system.name: scorer.score(comparison.read(system.name), system.name) for system in bar}
            text = _report(plan, comparison, scorer, values)
        job.finish(listed=LISTED)
    print(text, end="", flush=True)
    say(f"{options.output}: table.md, table.csv, by-query.csv and {len(plan.systems)} runs")


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
    return measures


def _plan(options: CompareOptions, inputs: Inputs, collection: Collection) -> ComparisonPlan:
    grid, analysis = Grid(options.grid.values(), inputs.stores), options.lexical.bm25_analysis
    systems, left_out = choose_systems(
        options.systems, grid, inputs.stores, lambda system: inputs.check(system, analysis)
    )
    for reason in dict.fromkeys(left_out.values()):
        some = [name for name, why in left_out.items() if why == reason]
        say(f"left out: {', '.join(some)}: {reason}")
    fold_of: dict[str, int] = {}
    if options.cross_validation.cross_validate:
        check_choice(grid, options.cross_validation.cross_validate)
        groups = dict(zip(inputs.topics.texts, related_topics(inputs.topics.texts, collection.qrels), strict=True))
        languages = {topic: inputs.topics.languages.get(topic, ALL_TOPICS) for topic in groups}
        fold_of = split_topics(groups, languages, options.cross_validation.folds, options.tests.seed)
    plan = ComparisonPlan(options, inputs, systems, grid, runs_of_points(systems), fold_of)
    for store in inputs.stores:
        plan.baseline(store)
    return plan


def _set_up_java(options: CompareOptions, systems: Sequence[System]) -> None:
    """Point Pyserini at a Java that it starts on, where Pyserini is needed; refuse to begin without one."""
    if options.search.timed or any(system.lexical for system in systems):
        from pyserini_xqg.core import java

        if java.find_java() is None:
            raise XqgError(java.NO_JAVA)
        java.configure()


def _report(plan: ComparisonPlan, comparison: SystemRuns, scorer: Scorer, values: dict[str, Values]) -> str:
    """Write tables, figure and cross-validation; returns the overview."""
    from pyserini_xqg.compare.report import SystemRow, SystemScores

    options = plan.options
    rows = []
    for system in plan.systems:
        cost = comparison.cost(system) if options.search.timed else None
        baseline = plan.baseline(plan.inputs.store_name(system))
        rows.append(SystemRow(system.name, system.describe(), system.cells(), baseline, cost))
    if plan.fold_of:
        rows += _cross_validate(plan, comparison, scorer, values)
    report = SystemScores(scorer, rows, values, options.tests, _notes(plan, comparison))
    report.write(comparison.directory)
    if plan.grid.points:
        from pyserini_xqg.compare.curves import draw_grid

        caption = (
            f"Filled: differs from {options.baseline} (p < {options.tests.significance_level:g}), as in the table."
        )
        draw_grid(comparison.directory / f"figure.{options.figure_format}", plan.grid, report, plan.names, caption)
    return report.text()


def _cross_validate(
    plan: ComparisonPlan, comparison: SystemRuns, scorer: Scorer, values: dict[str, Values]
) -> list[SystemRow]:
    """Choose by cross-validation; writes the runs and the split, adds their values, and returns their rows."""
    from pyserini_xqg.compare.report import SystemRow

    factors, chosen_by = plan.options.cross_validation.cross_validate, scorer.measures[0]
    by_point = {point: values[name][chosen_by] for point, name in plan.names.items()}
    rows, described = [], {}
    for setting in cross_validate(plan.grid, factors, by_point, plan.fold_of, scorer.languages):
        name = f"{setting.point.store}.{setting.name}" if len(plan.inputs.stores) > 1 else setting.name
        chosen = [plan.names[point] for point in setting.chosen]
        runs = {of_fold: comparison.read(of_fold) for of_fold in set(chosen)}
        stitched = {topic: runs[chosen[fold]].get(topic, {}).items() for topic, fold in plan.fold_of.items()}
        write_run(comparison.run_path(name), stitched, name)
        values[name] = {
            measure: {query_id: values[chosen[plan.fold_of[query_id]]][measure][query_id] for query_id in of_measure}
            for measure, of_measure in values[chosen[0]].items()
        }
        cells = {factor: setting.point.cell(factor) for factor in FACTORS} | dict.fromkeys(factors, "cv")
        about = f"{' and '.join(factors)} chosen on the other folds, by {chosen_by}"
        rows.append(SystemRow(name, about, cells, plan.baseline(setting.point.store)))
        described[name] = {
            "candidates": [plan.names[point] for point in setting.candidates],
            "folds": [
                {
                    "reported_on": fold,
                    "chosen": {factor: point.cell(factor) for factor in factors},
                    "run": plan.names[point],
                    f"mean_{chosen_by}_on_other_folds": score,
                }
                for fold, (point, score) in enumerate(zip(setting.chosen, setting.scores, strict=True))
            ],
        }
    split: dict[str, Any] = {
        "factors": list(factors),
        "folds": plan.options.cross_validation.folds,
        "seed": plan.options.tests.seed,
        "measure": chosen_by,
        "stratified_by": "language",
        "kept_together": "topics that share a relevant passage",
        "runs": described,
        "fold_of_topic": plan.fold_of,
    }
    write_json(comparison.directory / "cross-validation.json", split)
    return rows


def _notes(plan: ComparisonPlan, comparison: SystemRuns) -> list[str]:
    search, inputs, lexical = plan.options.search, plan.inputs, plan.options.lexical
    stores = inputs.stores.values()
    encoders = dict.fromkeys(inputs.config_of(store).describe() for store in stores)
    notes = [
        f"{next(iter(stores)).passages:,} passages, {len(inputs.topics.texts):,} topics, {search.hits} hits a topic; "
        f"vectors: {', '.join(encoders)}."
    ]
    if any(system.dense == TEXT for system in plan.systems):
        cut = comparison.truncation
        limit = search.text_max_length or inputs.config.max_length
        notes.append(
            f"text: {cut['cut']:,} of {cut['passages']:,} passages with their queries are cut at {limit} tokens; the "
            f"encoder sees {cut['queries_kept']:.1%} of the queries' tokens."
        )
    if any(system.lexical for system in plan.systems):
        way = {
            "language": "bm25 in English, doc2query in each topic's language, with that language's queries",
            "en": "English, with all queries",
        }[lexical.bm25_analysis]
        notes.append(
            f"BM25 (k1 {lexical.k1:g}, b {lexical.b:g}), its analysis (--bm25-analysis {lexical.bm25_analysis}): {way}."
        )
    if any(system.is_fused for system in plan.systems):
        method, *parameter = plan.options.fusion.settings.items()
        described = "".join(f" ({name} {value:g})" for name, value in parameter)
        notes.append(f"Fusion: pyserini.fusion {method[1]}{described}.")
    return notes

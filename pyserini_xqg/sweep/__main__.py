"""Sweep over the settings of xQG: ``python -m pyserini_xqg.sweep`` searches and scores every point of a grid."""

from __future__ import annotations

import argparse

from pyserini_xqg.core.cli import HelpFormatter, positive, run
from pyserini_xqg.core.figures import FIGURE_FORMATS, require_matplotlib
from pyserini_xqg.evaluate.collection import add_collection_arguments, check_collection_arguments
from pyserini_xqg.evaluate.significance import CORRECTIONS, PERMUTATIONS, SEED, TESTS
from pyserini_xqg.sweep.grid import (
    FACTORS,
    distinct,
    parse_alphas,
    parse_filters,
    parse_language_sets,
    parse_max_queries,
    parse_switch,
)
from pyserini_xqg.vectors.recipe import AGGREGATES
from pyserini_xqg.vectors.settings import PRECISIONS

SEARCHERS = ("faiss", "pyserini")
CHOOSABLE = tuple(factor for factor in FACTORS if factor not in ("store", "normalize"))

DESCRIPTION = """\
Search and score every combination of the values given: a table, a figure, the runs, and values by question.

All is arithmetic on embedding stores; nothing is encoded but the topics, once per encoder. Points that read the same
queries share one pass over the store. Each point is compared with no augmentation of the same store (of unit length if
the point is), which is searched even where the grid does not name it.

A sweep that was interrupted is continued by the same command; finished points are not searched again, so the grid may
also be extended later.
"""

EPILOG = """\
examples:
  python -m pyserini_xqg.sweep --store stores/mbert --dataset xor-tydi/dev --output sweeps/queries \\
      --max-queries 0:5:1                                       the paper's Figure 2: 0 to 35 queries in 7 languages

  python -m pyserini_xqg.sweep --store stores/mbert --dataset xor-tydi/dev --output sweeps/alpha \\
      --alpha 0:1:0.1 --aggregate mean --route no yes --cross-validate alpha

  python -m pyserini_xqg.sweep --store float32=stores/fp32 --store int8=stores/int8 --dataset xor-tydi/dev \\
      --output sweeps/precision --alpha 0.01

written to --output:
  runs/                TREC runs, named after their settings; "none" is without augmentation
  table.md, table.csv  means by language and their average, its 95 % interval, comparison with no augmentation
  by-language.csv      the same for each language; by-query.csv: every question's value
  figure.png, figure-by-language.png
  cross-validation.json, with --cross-validate: the folds, and what was chosen on which
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.sweep", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the sweep's directory, new or to be continued")
    grid = parser.add_argument_group("grid: one or more values each")
    grid.add_argument(
        "--store",
        required=True,
        action="append",
        metavar="[NAME=]DIR",
        help="embedding store; may be given repeatedly, for stores of one corpus by other encoders or precisions",
    )
    grid.add_argument(
        "--alpha",
        nargs="+",
        metavar="WEIGHT",
        help="weight of the queries, 0 to 1, or ranges START:STOP:STEP (default: 0.01, the paper's)",
    )
    grid.add_argument(
        "--aggregate",
        nargs="+",
        choices=AGGREGATES,
        help="sum over all queries, or mean over languages of each language's mean (default: sum, the paper's)",
    )
    grid.add_argument(
        "--languages", nargs="+", metavar="CODES", help="sets of query languages, such as all ar,bn fi (default: all)"
    )
    grid.add_argument(
        "--max-queries",
        nargs="+",
        metavar="N",
        help="first N queries per passage and language, 0 or more, or ranges START:STOP:STEP, which need a store made "
        "with --keep-query-vectors; or all (default: all)",
    )
    grid.add_argument(
        "--route",
        nargs="*",
        metavar="yes|no",
        help="one index per language, each topic searched in its own; alone: yes (default: no)",
    )
    grid.add_argument(
        "--normalize", nargs="*", metavar="yes|no", help="final vectors at unit length; alone: yes (default: no)"
    )
    grid.add_argument(
        "--threshold",
        nargs="+",
        metavar="SCORE",
        help="leave out queries whose inner product with their passage is lower; none, a number, or one a language "
        "(ar=0.3,de=0.4); needs a store made with --keep-query-vectors",
    )
    grid.add_argument(
        "--top-fraction",
        nargs="+",
        metavar="SHARE",
        help="keep this share of the store's queries, those with the highest such products; none, above 0 to 1, or one "
        "a language",
    )
    grid.add_argument("--per-language", action="store_true", help="--top-fraction is of each language's queries")
    _add_search_arguments(parser)
    add_collection_arguments(parser)
    _add_report_arguments(parser)
    return parser


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--topics",
        nargs="+",
        metavar="SOURCE",
        help="TSV of topic<TAB>query, JSONL of id and question, or irds:<dataset-id> (default: those of --dataset, "
        "else the questions in --answers)",
    )
    group.add_argument("--hits", type=positive, default=1000, metavar="N", help="passages ranked for each topic")
    group.add_argument(
        "--searcher",
        choices=SEARCHERS,
        default="faiss",
        help="faiss: exactly, while vectors are composed, without an index on the disk; pyserini: each index is built "
        "as pyserini_xqg.index builds it, searched by Pyserini's FaissSearcher, and removed",
    )
    group.add_argument(
        "--device", default="auto", metavar="DEVICE", help="of the topics' encoder: auto, cpu, cuda:0, …"
    )
    group.add_argument(
        "--dtype",
        choices=("auto", *PRECISIONS),
        default="float32",
        help="arithmetic of the topics' encoder; float32 is that of Pyserini's search",
    )


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("report")
    group.add_argument(
        "--measures",
        metavar="MEASURE",
        nargs="+",
        default=[],
        help="as in pyserini_xqg.evaluate (default: R@2kt R@5kt with answers and passages, R@10 R@100 RR@10 with "
        "qrels)",
    )
    group.add_argument(
        "--test", choices=TESTS, default=TESTS[0], help="paired, two-sided: each run against no augmentation"
    )
    group.add_argument(
        "--correction",
        choices=CORRECTIONS,
        default="holm",
        help="of p values for the tests of one measure: runs x (languages and all)",
    )
    group.add_argument(
        "--permutations", type=positive, default=PERMUTATIONS, metavar="N", help="random ones of --test randomisation"
    )
    group.add_argument("--figure-format", choices=FIGURE_FORMATS, default="png", help="needs Matplotlib (extra plots)")
    group.add_argument(
        "--x",
        choices=FACTORS,
        metavar="OPTION",
        help=f"what the x axis is (default: what varies most): {', '.join(FACTORS)}",
    )
    group = parser.add_argument_group("cross-validation")
    group.add_argument(
        "--cross-validate",
        nargs="+",
        choices=CHOOSABLE,
        metavar="OPTION",
        help="choose the values of these options on all folds of the topics but one, and report them on that one: "
        f"{', '.join(CHOOSABLE)}; a run and a line of the table for each combination of the others",
    )
    group.add_argument("--folds", type=int, default=5, metavar="N", help="of the topics, stratified by language")
    group.add_argument(
        "--choose-by", metavar="MEASURE", help="highest mean over languages of this one of --measures (default: first)"
    )
    group.add_argument("--seed", type=int, default=SEED, metavar="N", help="of the folds, and of --test randomisation")


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.sweep``."""
    args = build_parser().parse_args(argv)
    require_matplotlib("pyserini_xqg.sweep")
    check_collection_arguments(args)
    distinct(args.measures, "--measures")
    values = {
        "aggregate": distinct(args.aggregate or ["sum"], "--aggregate"),
        "languages": parse_language_sets(args.languages or ["all"]),
        "filter": parse_filters(args.threshold, args.top_fraction, args.per_language),
        "route": parse_switch(args.route, "--route"),
        "normalize": parse_switch(args.normalize, "--normalize"),
        "max-queries": parse_max_queries(args.max_queries or ["all"]),
        "alpha": parse_alphas(args.alpha or ["0.01"]),
    }
    from pyserini_xqg.sweep.outputs import sweep_directory
    from pyserini_xqg.sweep.plan import plan_sweep
    from pyserini_xqg.sweep.reporting import report
    from pyserini_xqg.sweep.search import search_missing

    sweep = plan_sweep(args, values)
    with sweep_directory(args.output, sweep.settings) as directory:
        search_missing(sweep, directory, args.searcher, args.hits, args.device, args.dtype)
        report(sweep, directory, args)


if __name__ == "__main__":
    run(main)

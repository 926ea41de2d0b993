"""Score runs: ``python -m pyserini_xqg.evaluate`` turns TREC runs into tables by language.

One row per run; one column per query language and one for their unweighted mean, for every measure. Against a
baseline: marks of significant differences, with effect sizes and intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pyserini_xqg.core.cli import HelpFormatter, positive, run
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import check_output, write_whole
from pyserini_xqg.evaluate.collection import (
    Collection,
    add_collection_arguments,
    check_collection_arguments,
    collection_from,
)
from pyserini_xqg.evaluate.comparisons import (
    TABLE_SUFFIXES,
    RunValues,
    Settings,
    check_shared_topics,
    compare_runs,
    write_by_query,
    write_comparisons,
)
from pyserini_xqg.evaluate.named_runs import named_runs, with_baseline
from pyserini_xqg.evaluate.score_tables import FORMATS, Results
from pyserini_xqg.evaluate.scoring import ANSWER_MEASURES, QRELS_MEASURES, Scorer
from pyserini_xqg.evaluate.significance import CORRECTIONS, TESTS

DESCRIPTION = """\
Score TREC runs by query language, with R@kt (XOR-TyDi's recall at k thousand tokens) and any measure of ir_measures.

The collection is an ir_datasets dataset (--dataset) or files (--qrels, --answers, --passages). R@kt needs answers and
passages, the other measures need qrels. Topics that a run lacks count 0, and are reported. Every run is checked before
any is scored.

Passages are ranked by score, as in trec_eval (equal scores: falling docid). A run whose rank column says otherwise is
refused, unless --ignore-ranks is given.

With --baseline every other run is compared with that one, question by question: on each language, and on all questions
together. The column avg, the unweighted mean over languages, is not tested: the test over all questions compares
their plain mean, which the column all then shows.
"""

EPILOG = """\
examples:
  python -m pyserini_xqg.evaluate --dataset xor-tydi/dev --run runs/plain.txt runs/xqg.txt

  python -m pyserini_xqg.evaluate --qrels qrels.txt --answers dev.jsonl --passages passages.jsonl.gz \\
      --run xDR=runs/plain.txt xQG=runs/xqg.txt --measures R@2kt R@5kt nDCG@10 \\
      --baseline xDR --correction holm --format latex --output table.tex --by-query values.tsv.gz

formats: table, markdown and latex (booktabs) print values x 100 with two decimals. csv (run,measure,language,value)
and json ({run: {measure: {language: value, ..., "avg": value}}}) print fractions, all digits; languages without a
topic that counts for a measure are left out. Comparisons are printed by the first three; --comparisons writes them,
with all digits, beside any format.

R@kt is the official scorer's if NLTK has its punkt_tab data (python -m nltk.downloader punkt_tab). Without, sentences
are not split before tokenising, a warning says so, and tables mark the measure: R@2kt*.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.evaluate", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    add_collection_arguments(parser)
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--run",
        metavar="[NAME=]FILE",
        nargs="+",
        action="extend",
        help="TREC runs, six columns, and the names of their rows (default: the file's name); may be given repeatedly",
    )
    scoring.add_argument("--names", metavar="NAME", nargs="+", help="names of the runs, instead: one for each")
    scoring.add_argument(
        "--measures",
        metavar="MEASURE",
        nargs="+",
        action="extend",
        help="R@<k>kt (k thousand tokens) and names of ir_measures, such as R@10 RR@10 nDCG@10. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, "
        f"{' '.join(QRELS_MEASURES)} where there are qrels",
    )
    scoring.add_argument(
        "--ignore-ranks", action="store_true", help="do not compare the runs' rank columns with their scores"
    )
    _add_significance(parser.add_argument_group("significance"))
    report = parser.add_argument_group("report")
    report.add_argument("--format", choices=list(FORMATS), default="table", help="how to print the scores")
    report.add_argument("--output", metavar="FILE", help="write the scores to a file, instead of standard output")
    report.add_argument(
        "--by-query",
        metavar="FILE",
        help="write the value of every question too: columns run, measure, language, qid, value "
        f"({', '.join(TABLE_SUFFIXES)})",
    )
    report.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    # All files may be .gz: said once, not in every option.
    parser.description += "\nInput files whose names end in .gz are decompressed."
    return parser


def _add_significance(group: argparse._ArgumentGroup) -> None:
    defaults = Settings()
    group.add_argument(
        "--baseline",
        metavar="RUN",
        help="name or path of a run, or [NAME=]FILE of one more, with which the others are compared; two-sided, paired",
    )
    group.add_argument(
        "--test",
        choices=TESTS,
        default=defaults.test,
        help="Student's paired t-test, or Fisher's randomisation test: the mean difference against those with random "
        "signs",
    )
    group.add_argument(
        "--correction",
        choices=CORRECTIONS,
        default=defaults.correction,
        help="of p values for the number of tests; a family is all tests of one measure: runs x (languages and all)",
    )
    group.add_argument(
        "--significance-level",
        metavar="P",
        type=_level,
        default=defaults.level,
        help="mark differences with a (corrected) p value below P; intervals are at 1 - P",
    )
    group.add_argument(
        "--permutations",
        metavar="N",
        type=positive,
        default=defaults.permutations,
        help="random ones of the randomisation test; up to as many, all are taken",
    )
    group.add_argument("--seed", type=int, default=defaults.seed, help="of the randomisation test")
    group.add_argument(
        "--comparisons",
        metavar="FILE",
        help="write the comparisons, all digits: differences as fractions, intervals, effect sizes (d_z), p values, "
        f"questions won, tied, lost (.json, {', '.join(TABLE_SUFFIXES)})",
    )


def _level(text: str) -> float:
    level = float(text)
    if not 0 < level < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return level


def main(argv: list[str] | None = None) -> None:
    """Run the command with these arguments (default: the process's)."""
    args = build_parser().parse_args(argv)
    settings = Settings(args.test, args.correction, args.significance_level, args.seed, args.permutations)
    runs, baseline = _check_arguments(args, settings)
    results, values, languages = evaluate(
        runs,
        args.measures or (),
        collection_from(args),
        baseline=baseline,
        settings=settings,
        check_ranks=not args.ignore_ranks,
    )
    if args.by_query:
        _written("--by-query", args.by_query, lambda: write_by_query(args.by_query, values, languages))
    if args.comparisons:
        _written(
            "--comparisons", args.comparisons, lambda: write_comparisons(args.comparisons, results.tested, settings)
        )
    text = FORMATS[args.format](results)
    if args.output:
        _written("--output", args.output, lambda: _write_text(args.output, text))
    else:
        print(text, end="", flush=True)


def _write_text(path: str, text: str) -> None:
    with write_whole(path) as out:
        out.write(text)


def _written(option: str, path: str, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise XqgError(f"{option} {path}: cannot be written ({error.strerror}).") from error


def _check_arguments(args: argparse.Namespace, settings: Settings) -> tuple[dict[str, str], str | None]:
    """Runs by name, and the baseline's name."""
    if not args.run:
        raise XqgError("no run to score. Pass one or more with --run.")
    for name in args.measures or []:
        if args.measures.count(name) > 1:
            raise XqgError(f"--measures {name}: given more than once. Give each once.")
    runs, baseline = named_runs(args.run, args.names or ()), None
    if args.baseline:
        runs, baseline = with_baseline(runs, args.baseline)
    elif args.comparisons or settings != Settings():
        raise XqgError("no run to compare with. Name one with --baseline.")
    check_collection_arguments(args)
    outputs = {"--output": args.output, "--by-query": args.by_query, "--comparisons": args.comparisons}
    for option, path in outputs.items():
        if path:
            suffixes = {"--by-query": TABLE_SUFFIXES, "--comparisons": (".json", *TABLE_SUFFIXES)}.get(option, ("",))
            if not path.endswith(suffixes):
                raise XqgError(f"{option} {path}: unknown kind of file. Use a name that ends in {', '.join(suffixes)}.")
            if Path(path).is_dir():
                raise XqgError(f"{option} {path}: a directory. Name a file.")
            if list(outputs.values()).count(path) > 1:
                raise XqgError(f"{option} {path}: another output has that name. Give each its own.")
            check_output(path, args.overwrite)
    return runs, baseline


def evaluate(
    runs: Mapping[str, str],
    measures: Sequence[str],
    collection: Collection,
    *,
    baseline: str | None = None,
    settings: Settings | None = None,
    check_ranks: bool = True,
) -> tuple[Results, RunValues, Mapping[str, str]]:
    """Read, check and score run files.

    Parameters
    ----------
    runs
        Name to path.
    measures
        Their names; the defaults if there are none.
    collection
        What to score against.
    baseline
        Name of the run that the others are compared with.
    settings
        Of the comparison.
    check_ranks
        Refuse runs whose ranks and scores disagree.

    Returns
    -------
    tuple
        The results; run to measure to query id to value; and query id to language.

    Raises
    ------
    XqgError
        For every fault in the runs, and where the collection lacks what a measure needs.
    """
    from pyserini_xqg.text.runs import read_run

    contents = {name: read_run(path, check_ranks) for name, path in runs.items()}
    docids = {docid for content in contents.values() for ranking in content.values() for docid in ranking}
    with Scorer(collection, measures, docids) as scorer:
        for name, content in contents.items():
            scorer.check(content, runs[name])
        if baseline is not None:
            check_shared_topics(contents, baseline, scorer.languages)
        values = {name: scorer.score(content, runs[name]) for name, content in contents.items()}
        results = Results(
            scores={name: scorer.means(of_run) for name, of_run in values.items()},
            over_all={name: scorer.over_all(of_run) for name, of_run in values.items()},
            marked=scorer.marked,
        )
    if baseline is not None:
        results.settings = settings or Settings()
        results.tested = compare_runs(values, baseline, scorer.languages, results.settings)
    return results, values, scorer.languages


if __name__ == "__main__":
    run(main)

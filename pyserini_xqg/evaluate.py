"""Score runs: ``python -m pyserini_xqg.evaluate`` turns TREC runs into tables by language.

One row per run; one column per query language and one for their unweighted mean, for every measure.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from pyserini_xqg.cli import HelpFormatter, run
from pyserini_xqg.errors import XqgError
from pyserini_xqg.evaluation.collection import (
    Collection,
    add_collection_arguments,
    check_collection_arguments,
    collection_from,
)
from pyserini_xqg.evaluation.scoring import ANSWER_MEASURES, QRELS_MEASURES, Scorer, check_topics
from pyserini_xqg.evaluation.tables import BEST, Table, render_markdown, render_text, scored_rows
from pyserini_xqg.files import check_output, write_whole

Scores = dict[str, dict[str, dict[str, float]]]
"""Run to measure to language (and ``avg``) to a fraction, in the order of the table."""

DESCRIPTION = """\
Score TREC runs by query language, with R@kt (XOR-TyDi's recall at k thousand tokens) and any measure of ir_measures.

The collection is an ir_datasets dataset (--dataset) or files (--qrels, --answers, --passages). R@kt needs answers and
passages, the other measures need qrels. Topics that a run lacks count 0, and are reported. Every run is checked before
any is scored.

Passages are ranked by score, as in trec_eval (equal scores: falling docid); the rank column is not read.
"""

EPILOG = """\
examples:
  python -m pyserini_xqg.evaluate --dataset xor-tydi/dev --run runs/plain.txt runs/xqg.txt

  python -m pyserini_xqg.evaluate --qrels qrels.txt --answers dev.jsonl --passages passages.jsonl.gz \\
      --run runs/xqg.txt --measures R@2kt R@10 nDCG@10 --format markdown --output table.md

formats: table and markdown print values x 100 with two decimals. csv (run,measure,language,value) and json
({run: {measure: {language: value, ..., "avg": value}}}) print fractions, all digits; languages without a topic that
counts for a measure are left out.

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
        "--run", metavar="FILE", nargs="+", action="extend", help="TREC runs, six columns; may be given repeatedly"
    )
    scoring.add_argument(
        "--measures",
        metavar="MEASURE",
        nargs="+",
        action="extend",
        help="R@<k>kt (k thousand tokens) and names of ir_measures, such as R@10 RR@10 nDCG@10. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, "
        f"{' '.join(QRELS_MEASURES)} where there are qrels",
    )
    report = parser.add_argument_group("report")
    report.add_argument("--format", choices=list(FORMATS), default="table", help="how to print the scores")
    report.add_argument("--output", metavar="FILE", help="write the scores to a file, instead of standard output")
    report.add_argument("--overwrite", action="store_true", help="replace --output if it exists")
    # All files may be .gz: said once, not in every option.
    parser.description += "\nInput files whose names end in .gz are decompressed."
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command with these arguments (default: the process's)."""
    args = build_parser().parse_args(argv)
    _check_arguments(args)
    scores, marked = evaluate(args.run, args.measures or (), collection_from(args))
    text = FORMATS[args.format](scores, marked)
    if args.output:
        try:
            with write_whole(args.output) as out:
                out.write(text)
        except OSError as error:
            raise XqgError(f"--output {args.output}: cannot be written ({error.strerror}).") from error
    else:
        print(text, end="", flush=True)


def _check_arguments(args: argparse.Namespace) -> None:
    if not args.run:
        raise XqgError("no run to score. Pass one or more with --run.")
    for names, what in ((args.run, "--run"), (args.measures or [], "--measures")):
        for name in names:
            if names.count(name) > 1:
                raise XqgError(f"{what} {name}: given more than once. Give each once.")
    check_collection_arguments(args)
    if args.output:
        if Path(args.output).is_dir():
            raise XqgError(f"--output {args.output}: a directory. Name a file.")
        check_output(args.output, args.overwrite)


def evaluate(runs: Sequence[str], measures: Sequence[str], collection: Collection) -> tuple[Scores, Set[str]]:
    """Read, check and score run files.

    Returns
    -------
    tuple
        The scores, as fractions, and the names of the measures that are not exactly the official scorer's because
        NLTK's data is missing.

    Raises
    ------
    XqgError
        For every fault in the runs, and where the collection lacks what a measure needs.
    """
    from pyserini_xqg.runs import read_run

    contents = {path: read_run(path) for path in runs}
    for path, content in contents.items():
        check_topics(content, path, collection)
    docids = {docid for content in contents.values() for ranking in content.values() for docid in ranking}
    with Scorer(collection, measures, docids) as scorer:
        for path, content in contents.items():
            scorer.check(content, path)
        scores = {path: scorer.means(scorer.score(content, path)) for path, content in contents.items()}
    return scores, scorer.marked


def _tables(scores: Scores, marked: Set[str]) -> list[Table]:
    from pyserini_xqg.measures import AVERAGE, sort_languages

    languages = sort_languages(
        {language for of_run in scores.values() for values in of_run.values() for language in values} - {AVERAGE}
    )
    columns = [*languages, AVERAGE]
    tables = []
    for name in next(iter(scores.values())):
        values = [[of_run[name].get(column) for of_run in scores.values()] for column in columns]
        tables.append(Table(name + "*" * (name in marked), ["run", *columns], scored_rows(list(scores), values)))
    return tables


def _notes(scores: Scores, marked: Set[str], best: str = "") -> list[str]:
    from pyserini_xqg.measures import AVERAGE, PUNKT_CURE

    notes = [f"Values x 100; {AVERAGE} is the unweighted mean over languages." + best * (len(scores) > 1)]
    if marked:
        notes.append(f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}")
    return notes


def format_table(scores: Scores, marked: Set[str]) -> str:
    """Aligned columns for a terminal, one table per measure; values x 100."""
    return render_text(_tables(scores, marked), _notes(scores, marked, f" {BEST} best of its column."))


def format_markdown(scores: Scores, marked: Set[str]) -> str:
    """Markdown, one table per measure; values x 100."""
    return render_markdown(_tables(scores, marked), _notes(scores, marked))


def format_csv(scores: Scores, marked: Set[str]) -> str:
    """Comma-separated values, one line per run, measure and language; fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "measure", "language", "value"])
    for path, of_run in scores.items():
        for name, values in of_run.items():
            writer.writerows([path, name, language, value] for language, value in values.items())
    return out.getvalue()


def format_json(scores: Scores, marked: Set[str]) -> str:
    """``{run: {measure: {language: fraction, ..., "avg": fraction}}}``."""
    return json.dumps(scores, ensure_ascii=False, indent=2) + "\n"


FORMATS: dict[str, Callable[[Scores, Set[str]], str]] = {
    "table": format_table,
    "markdown": format_markdown,
    "csv": format_csv,
    "json": format_json,
}


if __name__ == "__main__":
    run(main)

"""``python -m pyserini_xqg.report``: two runs side by side as one page, down to the single question.

The page is one HTML file without any request: tables with significance, plots, and an explorer of the questions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyserini_xqg.core.cli import HelpFormatter, positive, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import check_output, exclusive, write_whole
from pyserini_xqg.evaluate.collection import add_collection_arguments, check_collection_arguments
from pyserini_xqg.evaluate.scoring import ANSWER_MEASURES, QRELS_MEASURES
from pyserini_xqg.evaluate.significance import CORRECTIONS, TESTS
from pyserini_xqg.text.corpus import FIELDS
from pyserini_xqg.vectors.old_arguments import add_encoder_arguments

DESCRIPTION = """\
Compare two runs on one HTML page that works offline: tables by language with significance, plots, and an explorer of
the questions: search, filter by language, sort by gain; for each its gold passages with their ranks in both runs,
their generated queries, and the top of both runs.

Gold passages are those that the qrels call relevant; without qrels, in each run the first one with an answer in its
text.

Which generated query pulled a passage up is told by inner products with the question. They need the encoder: that of
--store (whose vectors are taken if it was made with --keep-query-vectors), that of --index (which adds the composed
vector), or --encoder. Without any of them they are left out.
"""

EPILOG = """\
examples:
  python -m pyserini_xqg.report runs/plain.txt runs/routed.txt --dataset xqg-sample/all --index indexes/routed

  python -m pyserini_xqg.report runs/plain.txt runs/paper.txt --qrels qrels.txt --answers questions.jsonl \\
      --passages passages.jsonl --store stores/mbert --index indexes/paper --output paper.html

Input files whose names end in .gz are decompressed. The same inputs give the same page, byte for byte.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.report", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="two TREC runs, six columns: the baseline, and the one compared with it"
    )
    parser.add_argument("--names", nargs=2, metavar="NAME", help="of the runs on the page (default: their files')")
    parser.add_argument("--output", default="report.html", metavar="FILE", help="the page to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the page if it exists")
    group = add_collection_arguments(parser)
    group.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="texts of the questions: TSVs of topic<TAB>text, JSONLs of id and question, irds:<dataset-id> (default: "
        "the dataset's, or those in --answers)",
    )
    group.add_argument(
        "--queries",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files with generated queries apart from the passages: lines of docid, generated_queries",
    )
    group = parser.add_argument_group("scoring")
    group.add_argument(
        "--measures",
        metavar="MEASURE",
        nargs="+",
        help="R@<k>kt (k thousand tokens) and names of ir_measures; the first one sorts the questions. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, "
        f"{' '.join(QRELS_MEASURES)} where there are qrels",
    )
    group.add_argument(
        "--ignore-ranks", action="store_true", help="do not compare the runs' rank columns with their scores"
    )
    group.add_argument("--test", choices=TESTS, default=TESTS[0], help="paired, two-sided, of the second run's gain")
    group.add_argument(
        "--correction",
        choices=CORRECTIONS,
        default=CORRECTIONS[0],
        help="of a measure's p values, for its languages and all",
    )
    group = parser.add_argument_group("explorer")
    group.add_argument("--top", type=positive, default=5, metavar="N", help="passages shown of each run")
    group.add_argument(
        "--max-size",
        type=_megabytes,
        default=5.0,
        metavar="MB",
        help="largest size of the page: if need be, passages that are not gold are cut, then left out",
    )
    group = parser.add_argument_group("inner products: at least one of --store, --index and --encoder")
    group.add_argument(
        "--store", metavar="DIR", help="embedding store of the passages: its encoder, and the vectors that it keeps"
    )
    group.add_argument(
        "--index", metavar="DIR", help="index that the second run was retrieved from: its encoder and its vectors"
    )
    group.add_argument(
        "--fields", nargs="+", choices=FIELDS, help="fields of a passage that are encoded (default: the store's or "
        "the index's, else title and text)"
    )  # fmt: skip
    add_encoder_arguments(parser, required=False)
    return parser


def _megabytes(value: str) -> float:
    """An argparse type: a size above 0."""
    number = float(value)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{value} is not a size above 0")
    return number


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.report``."""
    parser = build_parser()
    args = parser.parse_args(argv)
    _check_arguments(args, parser)
    from pyserini_xqg.report.making import make_report

    output = Path(args.output)
    with exclusive(output.with_name(f".{output.name}.lock"), output):
        check_output(output, args.overwrite)
        page = make_report(args)
        with write_whole(output) as out:
            out.write(page)
    say(f"{output}: {output.stat().st_size / 1e6:.2f} MB; open it in a browser")


def _check_arguments(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what needs no file to be read."""
    if len(args.runs) != 2:
        given = f"{len(args.runs)} runs" if len(args.runs) != 1 else f"one run ({args.runs[0]})"
        raise XqgError(f"{given}: a report compares two. Pass the baseline and the other one: report RUN_A RUN_B.")
    first, second = map(Path, args.runs)
    if first == second or (first.exists() and second.exists() and first.samefile(second)):
        raise XqgError(f"{args.runs[0]}: given twice. A report compares two different runs.")
    if args.names and args.names[0] == args.names[1]:
        raise XqgError(f"--names {args.names[0]}: given twice. Name the runs apart.")
    for name in args.measures or ():
        if args.measures.count(name) > 1:
            raise XqgError(f"--measures {name}: given more than once. Give each once.")
    if not args.encoder:
        for option in ("tokenizer", "pooling", "l2_norm", "max_length", "query_max_length", "prefix", "query_prefix"):
            if getattr(args, option) != parser.get_default(option):
                raise XqgError(f"--{option.replace('_', '-')} goes with --encoder. Pass that too, or leave it out.")
    check_collection_arguments(args)
    output = Path(args.output)
    if output.is_dir():
        raise XqgError(f"--output {output}: a directory. Name a file.")
    inputs = [*args.runs, args.qrels, args.answers, *(args.passages or ()), *args.topics, *args.queries]
    if output.exists() and any(Path(path).exists() and output.samefile(path) for path in filter(None, inputs)):
        raise XqgError(f"--output {output}: an input. Choose another name.")
    check_output(output, args.overwrite)


if __name__ == "__main__":
    run(main)

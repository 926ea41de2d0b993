r"""Look at generated queries, keep the good ones, join shards of them.

Examples
--------
  python -m pyserini_xqg.queries report queries.jsonl --html queries.html
  python -m pyserini_xqg.queries filter --corpus queries.jsonl --output kept.jsonl --encoder models/mbert \
      --top-fraction 0.7
  python -m pyserini_xqg.queries merge part0.jsonl part1.jsonl --output queries.jsonl
"""

from __future__ import annotations

import argparse

from pyserini_xqg.core.cli import HelpFormatter
from pyserini_xqg.generate.merge import add_merge_parser
from pyserini_xqg.queries.filter import add_filter_parser
from pyserini_xqg.queries.report import add_report_parser


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.queries", description=__doc__, formatter_class=HelpFormatter
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="report | filter | merge")
    add_report_parser(subparsers)
    add_filter_parser(subparsers)
    add_merge_parser(subparsers)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.queries``."""
    args = build_parser().parse_args(argv)
    args.run(args)

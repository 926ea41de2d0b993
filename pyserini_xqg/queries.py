"""Look at generated queries, and keep the good ones.

Examples
--------
  python -m pyserini_xqg.queries report queries.jsonl --html queries.html
"""

from __future__ import annotations

import argparse

from pyserini_xqg.cli import HelpFormatter, run
from pyserini_xqg.query_report import add_report_parser


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.queries", description=__doc__, formatter_class=HelpFormatter
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="report")
    add_report_parser(subparsers)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.queries``."""
    args = build_parser().parse_args(argv)
    args.run(args)


if __name__ == "__main__":
    run(main)

r"""Look at generated queries, keep the good ones, join shards of them.

Examples
--------
  python -m pyserini_xqg.queries report queries.jsonl --html queries.html
  python -m pyserini_xqg.queries filter --corpus queries.jsonl --output kept.jsonl --encoder models/mbert \
      --top-fraction 0.7
  python -m pyserini_xqg.queries merge part0.jsonl part1.jsonl --output queries.jsonl
"""

from __future__ import annotations

from collections.abc import Sequence

from pyserini_xqg.core.cli import run
from pyserini_xqg.core.options import Command, run_commands
from pyserini_xqg.generate.merge import MergeQueriesOptions, merge_queries
from pyserini_xqg.queries import filter as query_filter
from pyserini_xqg.queries import report


def _merge(options: MergeQueriesOptions) -> None:
    merge_queries(options.shards, options.output, overwrite=options.overwrite)


COMMANDS = {
    "report": Command(report.QueryReportOptions, report.run_report, report.HELP, report.DESCRIPTION),
    "filter": Command(query_filter.FilterOptions, query_filter.run_filter, query_filter.HELP, query_filter.DESCRIPTION),
    "merge": Command(
        MergeQueriesOptions,
        _merge,
        "join all shards of generated queries to one file, checking their checksums; the shards stay",
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.queries``."""
    run_commands("queries", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    run(main)

"""Looks at the generated queries of a corpus before they are used: ``python -m pyserini_xqg.queries report``."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive, progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.core.old_files import write_whole
from pyserini_xqg.core.options import add_options, read_options
from pyserini_xqg.generate.output import sidecar_path
from pyserini_xqg.queries.statistics import LanguageStatistics, PassageForm
from pyserini_xqg.text.corpus import Corpus, CorpusSummary
from pyserini_xqg.text.language_check import resolve_check
from pyserini_xqg.text.quality import QualityOptions

HELP = "describe generated queries: counts, lengths, duplicates, languages, overlap with the passages, examples"
DESCRIPTION = f"""{HELP[0].upper()}{HELP[1:]}.

The corpus is read as a stream, so its size does not matter; what is found is counted, nothing is changed. The same
rules refuse queries while they are generated (pyserini_xqg.generate).

examples:
  python -m pyserini_xqg.queries report queries.jsonl --html queries.html
  python -m pyserini_xqg.queries report passages.jsonl --queries queries.jsonl --format json
  python -m pyserini_xqg.queries report queries.jsonl --sample 0.01     a hundredth of the passages
"""


def scan_queries(corpus: Corpus) -> CorpusSummary:
    """Check a corpus from end to end; :class:`XqgError` for any fault, and where it has no queries."""
    checked = corpus.scan()
    if not checked.queries:
        raise XqgError(
            f"{corpus.source}: no generated queries in it. Pass their file with --queries, or make them with: "
            "python -m pyserini_xqg.generate"
        )
    return checked


def describe_queries(
    corpus: Corpus,
    checked: CorpusSummary,
    rules: QualityOptions,
    *,
    examples: int = 3,
    seed: int = 0,
    sample: float = 1.0,
) -> dict[str, Any]:
    """Look at each query of a checked corpus once; returns JSON values.

    examples : examples a language, and of each kind of finding. sample : share of the passages looked at, the same
    ones for the same seed. Memory does not grow with the corpus; eight bytes a query are kept on disk meanwhile.
    """
    statistics = {code: LanguageStatistics(code, rules, examples, seed) for code in checked.queries}
    passages = without = 0
    with progress(total=checked.passages, unit="passages", description="looking at queries") as bar:
        for passage in corpus:
            bar.update()
            if sample < 1 and _position(seed, passage.docid) >= sample:
                continue
            passages += 1
            without += not passage.queries
            if passage.queries:
                form = PassageForm.of(passage)
                for language, queries in passage.queries.items():
                    statistics[language].add(form, queries)
    seen = {code: entry.to_dict() for code, entry in statistics.items() if entry.passages}
    if not seen:
        raise XqgError(
            f"--sample {sample}: of {checked.passages:,} passages none with queries was chosen. Take a larger share."
        )
    return {
        "source": corpus.source,
        "corpus": {"passages": checked.passages, "queries": sum(checked.queries.values()), "sha256": checked.sha256},
        "sample": sample,
        "seed": seed,
        "rules": rules.to_dict(),
        "passages": passages,
        "passages_without_queries": without,
        "queries": sum(entry["queries"] for entry in seen.values()),
        "languages": seen,
    }


def _position(seed: int, docid: str) -> float:
    """Where in [0, 1) a docid falls."""
    digest = hashlib.blake2b(f"{seed} {docid}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


_GENERATION_COUNTS = ("queries", "candidates", "refused", "passages_with_fewer_queries", "cut_inputs")


def generation_counts(sources: Sequence[str | Path]) -> dict[str, dict[str, Any]]:
    """What the sidecars of generated files say: per file, by language, candidates, refusals, what is missing."""
    found = {}
    for source in sources:
        path = sidecar_path(source)
        counts = read_json(path).get("counts") if path.is_file() else None
        if isinstance(counts, dict) and "refused" in counts:
            found[str(source)] = {name: counts[name] for name in _GENERATION_COUNTS if name in counts}
    return found


def _check_page(path: Path, overwrite: bool, sources: Sequence[str]) -> None:
    """Refuse a page that exists, or that would take the place of an input, before any work is done."""
    if any(path.exists() and Path(source).exists() and path.samefile(source) for source in sources):
        raise XqgError(f"{path} is an input. Choose another --html.")
    if path.is_dir():
        raise XqgError(f"{path} is a directory. Give --html the name of a file.")
    if path.exists() and not overwrite:
        raise XqgError(f"{path} exists. Remove it, choose another --html, or pass --overwrite.")


def _share(value: str) -> float:
    """An argparse type: above 0 and at most 1."""
    number = float(value)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0 and at most 1")
    return number


def add_report_parser(subparsers: Any) -> None:
    """Add the ``report`` command to ``python -m pyserini_xqg.queries``; its ``run`` is :func:`run_report`."""
    parser = subparsers.add_parser("report", help=HELP, description=DESCRIPTION, formatter_class=HelpFormatter)
    parser.set_defaults(run=run_report)
    parser.add_argument(
        "corpus",
        metavar="FILE",
        help="passages with generated queries: JSONL file (.gz too), directory of them, or irds:<dataset-id>",
    )
    parser.add_argument(
        "--queries",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files with generated queries apart from the passages: lines of docid, generated_queries",
    )
    parser.add_argument("--languages", metavar="CODES", help="only these, such as ar,fi (default: all that occur)")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="what is printed")
    parser.add_argument("--html", metavar="PATH", help="write one page with plots as well; it needs no network")
    parser.add_argument("--overwrite", action="store_true", help="replace the page if it exists")
    parser.add_argument(
        "--examples", type=positive, default=3, metavar="N", help="examples per language, and per kind of finding"
    )
    parser.add_argument(
        "--sample", type=_share, default=1.0, metavar="SHARE", help="look at this share of the passages, above 0 to 1"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of examples and sample (default: 0)")
    add_options(parser.add_argument_group("quality of the queries"), QualityOptions)


def run_report(args: argparse.Namespace) -> None:
    """Print the report, and write the page."""
    languages = parse_languages(args.languages) if args.languages else None
    if args.html:
        _check_page(Path(args.html), args.overwrite, [args.corpus, *args.queries])
    rules = read_options(QualityOptions, args).resolved(())
    corpus = Corpus(args.corpus, args.queries, languages)
    checked = scan_queries(corpus)
    resolve_check(rules.language_check, list(checked.queries))
    report = describe_queries(corpus, checked, rules, examples=args.examples, seed=args.seed, sample=args.sample)
    report["generation"] = generation_counts([args.corpus, *args.queries])
    if args.html:
        from pyserini_xqg.queries.report_html import html_page

        with write_whole(args.html) as out:
            out.write(html_page(report))
    if args.format == "json":
        print(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        from pyserini_xqg.queries.report_text import text_lines

        print("\n".join(text_lines(report)))

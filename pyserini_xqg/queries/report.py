"""Looks at the generated queries of a corpus before they are used: ``python -m pyserini_xqg.queries report``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.options import at_least, between, group, option
from pyserini_xqg.core.output import check_file
from pyserini_xqg.datasets.ids import IRDS_PREFIX
from pyserini_xqg.queries.rendering import html_page, text_lines
from pyserini_xqg.queries.statistics import LanguageStatistics, PassageForm
from pyserini_xqg.text.corpus import Corpus, CorpusSummary, QuerySelection
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


@dataclass(frozen=True)
class QueryReportOptions:
    """Options of ``queries report``."""

    corpus: str = option(
        help="passages with generated queries: JSONL file (.gz too), directory of them, or irds:<dataset-id>",
        metavar="FILE",
        positional=True,
    )
    queries: tuple[str, ...] = option(
        (),
        "files with generated queries apart from the passages: lines of docid, generated_queries",
        metavar="PATH",
        several=True,
    )
    read: QuerySelection = group(QuerySelection, without=("max_queries",))
    format: str = option("text", "what is printed", choices=("text", "json"))
    html: str | None = option(None, "write one page with plots as well; it needs no network", metavar="PATH")
    overwrite: bool = option(False, "replace the page if it exists")
    examples: int = option(3, "examples per language, and per kind of finding", metavar="N", check=at_least(1))
    sample: float = option(
        1.0,
        "look at this share of the passages, above 0 to 1",
        metavar="SHARE",
        check=between(0, 1, above=True),
    )
    seed: int = option(0, "seed of examples and sample (default: 0)", metavar="N")
    quality: QualityOptions = group(QualityOptions)

    @property
    def sources(self) -> list[str]:
        """What is read."""
        return [self.corpus, *self.queries]


def run_report(options: QueryReportOptions) -> None:
    """Print the report, and write the page."""
    if options.html:
        inputs = [path for path in options.sources if not path.startswith(IRDS_PREFIX)]
        check_file(options.html, options.overwrite, inputs, "--html")
    corpus = Corpus(options.corpus, options.queries, options.read.languages)
    checked = scan_queries(corpus)
    rules = options.quality.resolved(list(checked.queries))
    report = describe_queries(
        corpus, checked, rules, examples=options.examples, seed=options.seed, sample=options.sample
    )
    if options.html:
        with write_file(options.html) as out:
            out.write(html_page(report))
    print(
        json.dumps(report, ensure_ascii=False, indent=2) if options.format == "json" else "\n".join(text_lines(report))
    )


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
    ones for the same seed. Memory grows by eight bytes a query.
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

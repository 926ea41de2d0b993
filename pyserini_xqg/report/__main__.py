r"""Compare two runs on one HTML page that works offline: tables by language, plots, and an explorer of the questions.

The tables tell significance. The explorer searches, filters by language, sorts by gain, and shows of
each question its gold passages with their ranks in both runs, their generated queries, and the top of both runs.

Gold passages are those that the qrels call relevant; without qrels, in each run the first one with an answer in its
text.

Which generated query pulled a passage up is told by inner products with the question. They need the encoder: that of
--store (whose vectors are taken if it was made with --keep-query-vectors), that of --index (which adds the composed
vector), or --encoder. Without any of them they are left out.

for example:
  python -m pyserini_xqg.report runs/plain.txt runs/routed.txt --dataset xqg-sample/all --index indexes/routed

  python -m pyserini_xqg.report runs/plain.txt runs/paper.txt --qrels qrels.txt --answers questions.jsonl \
      --passages passages.jsonl --store stores/mbert --index indexes/paper --output paper.html

Input files whose names end in .gz are decompressed. The same inputs give the same page, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_text
from pyserini_xqg.core.options import at_least, group, option, parse
from pyserini_xqg.core.output import check_file, exclusive
from pyserini_xqg.evaluate.collection import CollectionOptions
from pyserini_xqg.evaluate.scoring import ANSWER_MEASURES, QRELS_MEASURES
from pyserini_xqg.evaluate.significance import TestOptions
from pyserini_xqg.report.products import ProductOptions


@dataclass(frozen=True)
class ScoringOptions:
    """scoring"""

    measures: tuple[str, ...] = option(
        (),
        "R@<k>kt (k thousand tokens) and names of ir_measures; the first one sorts the questions. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, {' '.join(QRELS_MEASURES)} where there are "
        "qrels",
        metavar="MEASURE",
        several=True,
    )
    ignore_ranks: bool = option(False, "do not compare the runs' rank columns with their scores")

    def __post_init__(self) -> None:
        for name in self.measures:
            if self.measures.count(name) > 1:
                raise XqgError(f"--measures {name}: given more than once. Give each once.")


@dataclass(frozen=True)
class PageOptions:
    """Options of ``python -m pyserini_xqg.report``."""

    runs: tuple[str, ...] = option(
        (),
        "two TREC runs, six columns: the baseline, and the one compared with it",
        metavar="RUN",
        positional=True,
        several=True,
    )
    names: tuple[str, ...] = option(
        (), "of the two runs on the page (default: their files')", metavar="NAME", several=True
    )
    output: str = option("report.html", "the page to write", metavar="FILE")
    overwrite: bool = option(False, "replace the page if it exists")
    topics: tuple[str, ...] = option(
        (),
        "texts of the questions: TSVs of topic<TAB>text, JSONLs of id and question, irds:<dataset-id> (default: the "
        "dataset's, or those in --answers)",
        metavar="SOURCE",
        several=True,
    )
    queries: tuple[str, ...] = option(
        (),
        "files with generated queries apart from the passages: lines of docid, generated_queries",
        metavar="PATH",
        several=True,
    )
    top: int = option(5, "passages shown of each run", metavar="N", check=at_least(1))
    collection: CollectionOptions = group(CollectionOptions)
    scoring: ScoringOptions = group(ScoringOptions)
    tests: TestOptions = group(TestOptions, without=("significance_level", "seed", "permutations"))
    products: ProductOptions = group(ProductOptions)

    def __post_init__(self) -> None:
        if len(self.runs) != 2:
            given = f"{len(self.runs)} runs" if len(self.runs) != 1 else f"one run ({self.runs[0]})"
            raise XqgError(f"{given}: a report compares two. Pass the baseline and the other one: report RUN_A RUN_B.")
        first, second = map(Path, self.runs)
        if first == second or (first.exists() and second.exists() and first.samefile(second)):
            raise XqgError(f"{first}: given twice. A report compares two different runs.")
        if len(self.names) not in (0, 2):
            raise XqgError(f"--names {' '.join(self.names)}: pass two, one for each run.")
        if self.names and self.names[0] == self.names[1]:
            raise XqgError(f"--names {self.names[0]}: given twice. Name the runs apart.")

    @property
    def run_names(self) -> tuple[str, str]:
        """What the runs are called on the page."""
        names = self.names or tuple(Path(path).name.removesuffix(".gz").removesuffix(".txt") for path in self.runs)
        return names if names[0] != names[1] else self.runs

    @property
    def inputs(self) -> list[str]:
        """Everything that is read."""
        source = self.products.source
        more = [path for path in (source.store, source.index) if path]
        return [*self.runs, *self.collection.files, *self.topics, *self.queries, *more]


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.report``."""
    options = parse(PageOptions, "report", __doc__, argv)
    output = Path(options.output)
    check_file(output, options.overwrite, options.inputs)
    from pyserini_xqg.report.making import make_report

    with exclusive(output.with_name(f".{output.name}.lock"), output):
        check_file(output, options.overwrite, options.inputs)
        write_text(output, make_report(options))
    say(f"{output}: {output.stat().st_size / 1e6:.2f} MB; open it in a browser")


if __name__ == "__main__":
    run(main)

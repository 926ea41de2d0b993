"""The options of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pyserini_xqg.compare.fusing import Fusion
from pyserini_xqg.compare.grid import FACTORS, GridOptions, distinct
from pyserini_xqg.compare.multi_vector import DELIMITER
from pyserini_xqg.compare.systems import PLAIN
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.figures import FIGURE_FORMATS
from pyserini_xqg.core.options import at_least, between, given, group, option
from pyserini_xqg.evaluate.collection import CollectionOptions
from pyserini_xqg.evaluate.significance import TestOptions
from pyserini_xqg.text.corpus import CorpusOptions
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions

CHOOSABLE = tuple(factor for factor in FACTORS if factor not in ("store", "normalize"))


@dataclass(frozen=True)
class LexicalOptions:
    """BM25"""

    bm25_analysis: str = option(
        "language",
        "language: doc2query has one index a topic language, with Lucene's analysis of it and that language's queries, "
        "bm25 one with English analysis; en: one index each, English analysis",
        choices=("language", "en"),
    )
    k1: float = option(0.9, "saturation of term frequency", check=at_least(0))
    b: float = option(0.4, "length normalisation", check=between(0, 1))


@dataclass(frozen=True)
class HitOptions:
    """Runs"""

    hits: int = option(100, "passages a topic", metavar="N", check=at_least(1))
    text_max_length: int | None = option(
        None,
        "tokens kept of a passage with its queries, in text (default: --max-length); what is cut off is reported",
        metavar="TOKENS",
        check=at_least(1),
    )
    max_passage_delimiter: str = option(DELIMITER, "between docid and number, in multi-vector", metavar="STR")
    timed: bool = option(
        False,
        "build the index of each system too, which stock Pyserini can search, and measure its size and the time of a "
        "topic's search by Pyserini",
    )


@dataclass(frozen=True)
class CrossValidation:
    """Cross-validation"""

    cross_validate: tuple[str, ...] = option(
        (),
        "choose the values of these options of the grid on all folds of the topics but one, by the first of "
        "--measures, and report them on that one: one more row for each combination of the others",
        choices=CHOOSABLE,
        several=True,
    )
    folds: int = option(
        5, "of the topics, stratified by language; --seed decides them too", metavar="N", check=at_least(2)
    )


@dataclass(frozen=True)
class CompareOptions:
    """Options of ``python -m pyserini_xqg.compare``."""

    output: str = option(help="the comparison to make or to continue", metavar="DIR")
    overwrite: bool = option(False, "begin anew where a comparison exists")
    systems: tuple[str, ...] | None = option(
        None,
        "rows of the table beside the grid's, whose points can be fused: mean-alpha0.8+bm25 (default: all that the "
        "inputs allow; with a grid: plain, paper and default)",
        metavar="NAME",
        several=True,
    )
    baseline: str = option(PLAIN, "the system against which the others are tested", metavar="SYSTEM")
    store: tuple[str, ...] = option(
        (),
        "embedding store to take the vectors from, which also says how texts are encoded; may be given repeatedly, for "
        "stores of one corpus by other encoders or precisions (default: --corpus is encoded with --encoder into the "
        "output directory)",
        metavar="[NAME=]DIR",
        repeated=True,
    )
    topics: tuple[str, ...] = option(
        (),
        "TSV files of topic<TAB>query, JSONL files of id and question, or irds:<dataset-id> (default: the dataset's "
        "queries, or --answers)",
        metavar="SOURCE",
        several=True,
    )
    measures: tuple[str, ...] = option(
        (), "as in pyserini_xqg.evaluate, and its default", metavar="MEASURE", several=True
    )
    figure_format: str = option("png", "of the figure of a grid", choices=FIGURE_FORMATS, decides=False)
    collection: CollectionOptions = group(CollectionOptions)
    grid: GridOptions = group(GridOptions)
    cross_validation: CrossValidation = group(CrossValidation)
    corpus: CorpusOptions = group(CorpusOptions)
    encoder: EncoderOptions = group(EncoderOptions)
    device: DeviceOptions = group(DeviceOptions)
    lexical: LexicalOptions = group(LexicalOptions)
    fusion: Fusion = group(Fusion)
    search: HitOptions = group(HitOptions)
    tests: TestOptions = group(TestOptions, correction="holm")

    def __post_init__(self) -> None:
        distinct(self.measures, "--measures")
        distinct(self.systems or (), "--systems")
        delimiter = self.search.max_passage_delimiter
        if not delimiter or delimiter.split() != [delimiter]:
            raise XqgError(f"--max-passage-delimiter {delimiter!r}: empty, or with white space in it.")
        if self.store:
            decided = [field.name for field in fields(EncoderOptions) if field.name != "encoder"]
            if options := [*given(self.encoder, *decided), *given(self.corpus, "fields")]:
                raise XqgError(
                    f"{options[0]} with --store: the store's own setting holds for everything that is encoded. Leave "
                    "it out, or leave --store out to encode anew."
                )
        elif not self.encoder.encoder:
            raise XqgError("no vectors: pass --store, or --encoder with which the corpus is to be encoded.")

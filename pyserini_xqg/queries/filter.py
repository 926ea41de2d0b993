"""``python -m pyserini_xqg.queries filter``: keep the generated queries that the retriever itself believes in.

The idea is that of Doc2Query-- (Gospodinov, MacAvaney, Macdonald, "Doc2Query--: When Less is More", ECIR 2023): a query
that a relevance model scores low for its own passage is likely to be wrong, and is left out. There the model is a
cross-encoder, here it is the retriever: the score is the inner product of the passage's and the query's vector. Scores
are kept, so that another threshold costs no encoding. The round trip is that of Alberti et al. ("Synthetic QA Corpora
Generation with Roundtrip Consistency", ACL 2019), as InPars-v2 and Promptagator use it for retrieval.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import check_job
from pyserini_xqg.core.options import at_least, group, option
from pyserini_xqg.generate.output import sidecar_path
from pyserini_xqg.queries.filtered import check_filter_output, filter_queries, write_filtered_store
from pyserini_xqg.queries.round_trip import IndexRanker, Ranker, StoreRanker
from pyserini_xqg.queries.scores import QueryScores, check_scores
from pyserini_xqg.queries.scoring import check_store_corpus, score_corpus, score_store
from pyserini_xqg.queries.selection import Selection
from pyserini_xqg.text.corpus import FIELDS, Corpus, CorpusOptions, CorpusSummary, QuerySelection
from pyserini_xqg.text.passages import SUFFIXES
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions
from pyserini_xqg.vectors.store import EmbeddingStore

HELP = "keep the queries that the retriever scores high for their passage (Doc2Query--)"
DESCRIPTION = """Keep the generated queries that the retriever itself scores high for their passage (Doc2Query--,
Gospodinov et al., ECIR 2023), or that retrieve it (--round-trip). A query must pass all that is asked for.

The score is the inner product of the passage's vector and the query's: from --encoder, or without encoding from
a --store that was made with --keep-query-vectors. Scores are kept in a directory (--scores): with that alone,
other thresholds take no encoding. Interrupted, the same command continues.

Examples
--------
  python -m pyserini_xqg.queries filter --corpus queries.jsonl --output filtered.jsonl --encoder models/mbert \\
      --scores scores/mbert --top-fraction 0.7 --per-language
  python -m pyserini_xqg.queries filter --corpus queries.jsonl --output stricter.jsonl --scores scores/mbert \\
      --threshold ar=210.5,fi=214
  python -m pyserini_xqg.queries filter --corpus queries.jsonl --output found.jsonl --store stores/mbert \\
      --round-trip 10
"""


@dataclass(frozen=True)
class FilterOptions:
    """Options of ``queries filter``."""

    output: str = option(
        help=f"the filtered corpus to write, {' or '.join(SUFFIXES)}; settings and counts go to <output>.json",
        metavar="FILE",
    )
    overwrite: bool = option(False, "replace an output that exists (never the scores)")
    corpus: CorpusOptions = group(CorpusOptions, required=("corpus",))
    read: QuerySelection = group(QuerySelection)
    kept: Selection = group(Selection)
    index: str | None = option(
        None,
        "FAISS index to search for --round-trip, ours or Pyserini's, of the same encoder; a plain one (--alpha 0)",
        metavar="DIR",
    )
    scores: str | None = option(
        None, "where the scores are kept, made if need be (default: <output>.scores)", metavar="DIR"
    )
    store: str | None = option(
        None, "take the vectors from this store of the corpus (--keep-query-vectors)", metavar="DIR"
    )
    chunk_size: int = option(
        1024, "passages between two commits to the disk, with --encoder", metavar="PASSAGES", check=at_least(1)
    )
    output_store: str | None = option(
        None,
        "write the store of the filtered corpus too, from the vectors of --store: nothing is encoded again",
        metavar="DIR",
    )
    encoder: EncoderOptions = group(EncoderOptions)
    device: DeviceOptions = group(DeviceOptions)

    def __post_init__(self) -> None:
        encoder, round_trip = self.encoder.encoder, self.kept.round_trip
        if self.store and encoder:
            raise XqgError("--store has the vectors already, --encoder makes them. Pass one of them.")
        if self.index and round_trip is None:
            raise XqgError("--index goes with --round-trip: how far down the passage may stand.")
        if self.index and not (self.store or encoder):
            raise XqgError(
                "--index goes with --encoder or --store: kept scores have their ranks already. Leave it out."
            )
        if self.output_store and not self.store:
            raise XqgError(
                "--output-store takes the vectors from --store. Pass that too, or encode the filtered corpus."
            )
        if round_trip is not None and encoder and not self.index:
            raise XqgError(
                "--round-trip with --encoder needs --index, a FAISS index of the passages: no vector is kept to search "
                "in."
            )
        if not self.output.endswith(SUFFIXES):
            raise XqgError(
                f"{self.output}: its name must end in one of {', '.join(SUFFIXES)}. Choose another --output."
            )

    @property
    def scores_directory(self) -> str:
        """Where the scores are kept."""
        return self.scores or f"{self.output}.scores"

    @property
    def inputs(self) -> list[str]:
        """The files and directories that are read, the scores apart."""
        return [*self.corpus.inputs, *filter(None, (self.store, self.index))]


def run_filter(options: FilterOptions) -> None:
    """Score, unless that is done, and filter, as the options say."""
    directory, kept = options.scores_directory, options.kept
    inputs = [*options.inputs, directory]
    # An output that the same filter may have written is looked at later, with the scores.
    check_filter_output(options.output, options.overwrite or check_scores(directory), inputs)
    if options.output_store:
        check_job(options.output_store, STORE_KIND, None, inputs=inputs)
    corpus = options.corpus.open(options.read)
    store = EmbeddingStore(options.store) if options.store else None
    scores = None
    if store:
        store.check_query_vectors()
        _check_fields(options, options.store, store.manifest["fields"])
    elif not options.encoder.encoder:
        scores = QueryScores(directory)
        scores.check_round_trip(kept.round_trip)
        _check_fields(options, directory, scores.manifest["fields"])
    summary = corpus.scan()
    if not summary.queries:
        raise XqgError(f"{corpus.source}: no generated queries in it. Pass the file that generation wrote.")
    kept.check(list(summary.queries))
    if scores is None:
        _make_scores(options, corpus, summary, store)
        scores = QueryScores(directory)
    scores.check_corpus(summary)
    sidecar = filter_queries(corpus, scores, kept, options.output, overwrite=options.overwrite, inputs=inputs)
    for line in report_lines(options.output, scores, kept, sidecar):
        say(line)
    if store and options.output_store:
        write_filtered_store(store, scores, kept, Corpus(options.output), options.output_store)


def _check_fields(options: FilterOptions, where: str, fields: list[str]) -> None:
    if set(options.corpus.fields) not in (set(fields), set(FIELDS)):
        raise XqgError(f"{where}: was made with --fields {' '.join(fields)}. Leave --fields out.")


def _make_scores(options: FilterOptions, corpus: Corpus, summary: CorpusSummary, store: EmbeddingStore | None) -> None:
    directory, depth, inputs = options.scores_directory, options.kept.round_trip, options.inputs
    ranker: Ranker | None = None
    if store:
        check_store_corpus(store, summary)
        if depth is not None:
            probe = store.manifest["probe"]
            ranker = IndexRanker(options.index, depth, probe) if options.index else StoreRanker(store)
        score_store(store, directory, ranker=ranker, inputs=inputs)
        return
    from pyserini_xqg.vectors.embedding import load_embedder

    embedder = load_embedder(options.encoder.config(), options.device)
    if options.index:
        ranker = IndexRanker(options.index, depth, embedder.probe())
    how = {"fields": options.corpus.fields, "chunk_size": options.chunk_size, "ranker": ranker, "inputs": inputs}
    score_corpus(corpus, summary, embedder, directory, **how)


def report_lines(output: str | Path, scores: QueryScores, selection: Selection, sidecar: dict[str, Any]) -> list[str]:
    """What was kept and what was not, by language."""
    counts, passages = sidecar["queries"], sidecar["passages"]
    kept, total = (sum(count[name] for count in counts.values()) for name in ("kept", "queries"))
    lines = [f"{output}: kept {kept:,} of {total:,} queries ({kept / total:.1%})"]
    for language, count in counts.items():
        line = f"{language}: kept {count['kept']:,} of {count['queries']:,} ({count['kept'] / count['queries']:.1%})"
        if (threshold := sidecar["thresholds"][language]) is not None:
            line += f", {count['low_score']:,} score below {float(threshold):.9g}"
        if selection.round_trip is not None:
            line += f", {count['not_retrieved']:,} do not retrieve their passage in the first {selection.round_trip}"
        lines.append(f"{line}; {count['passages_left_without']:,} passages have none left")
    before = passages["without_queries_before"]
    lines.append(
        f"{output}: {passages['left_without_queries']:,} of {passages['passages']:,} passages have no query left in "
        f"any language{f', beside {before:,} that had none' if before else ''}; they stay in the file"
    )
    lines.append(
        f"{sidecar_path(output)}: settings, thresholds, counts; {scores.directory}: the scores, for other thresholds"
    )
    return lines

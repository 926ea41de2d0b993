"""``python -m pyserini_xqg.queries filter``: keep the generated queries that the retriever itself believes in.

Doc2Query-- (Gospodinov, MacAvaney, Macdonald, "Doc2Query--: When Less is More", ECIR 2023): a query that the
retriever scores low for its own passage is likely to be wrong, and is left out. The score is the inner product of
the passage's and the query's vector; scores are kept, so that another threshold costs no encoding.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import check_job
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.generate.output import sidecar_path
from pyserini_xqg.queries.filtered import check_filter_output, describe_filter, filter_queries, finished_before
from pyserini_xqg.queries.filtered_store import write_filtered_store
from pyserini_xqg.queries.round_trip import IndexRanker, Ranker, StoreRanker
from pyserini_xqg.queries.scores import QueryScores
from pyserini_xqg.queries.scoring import check_query_vectors, check_store_corpus, score_corpus, score_store
from pyserini_xqg.queries.selection import Selection, parse_by_language, tied, verdicts_by_language
from pyserini_xqg.text.corpus import FIELDS, IRDS_PREFIX, SUFFIXES, Corpus, CorpusSummary, corpus_files
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.old_arguments import add_corpus_arguments, add_encoder_arguments, encoder_from_args, positive
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


def add_filter_parser(subparsers: Any) -> None:
    """Add the ``filter`` command to ``python -m pyserini_xqg.queries``; its ``run`` is :func:`run_filter`."""
    parser = subparsers.add_parser("filter", help=HELP, description=DESCRIPTION, formatter_class=HelpFormatter)
    parser.set_defaults(run=run_filter)
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help=f"the filtered corpus to write, {' or '.join(SUFFIXES)}; settings and counts go to <output>.json",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists (never the scores)")
    add_corpus_arguments(parser, required=True)
    parser.add_argument(
        "--languages", metavar="CODES", help="queries to read, such as ar,fi; others are left out (default: all)"
    )
    parser.add_argument(
        "--max-queries", type=positive, metavar="N", help="read the first N queries per passage and language only"
    )
    group = parser.add_argument_group("what is kept")
    either = group.add_mutually_exclusive_group()
    either.add_argument(
        "--threshold",
        metavar="SCORE",
        help="lowest score kept, for all languages (0.3) or each (ar=0.3,de=0.4)",
    )
    either.add_argument(
        "--top-fraction",
        metavar="SHARE",
        help="keep this share of all queries, above 0 to 1, those with the highest scores, and what ties with the last "
        "of them; 0.7, or for each language by itself ar=0.7,de=0.6",
    )
    group.add_argument(
        "--per-language", action="store_true", help="the share is of each language's queries, not of all together"
    )
    group.add_argument(
        "--round-trip",
        type=positive,
        metavar="K",
        help="the query must retrieve its passage among the first K: of all passages of --store, searched exactly, or "
        "in --index",
    )
    group.add_argument(
        "--index",
        metavar="DIR",
        help="FAISS index to search, ours or Pyserini's, of the same encoder; a plain one (--alpha 0)",
    )
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--scores",
        metavar="DIR",
        help="where the scores are kept, made if need be (default: <output>.scores)",
    )
    group.add_argument(
        "--store", metavar="DIR", help="take the vectors from this store of the corpus (--keep-query-vectors)"
    )
    group.add_argument(
        "--chunk-size",
        type=positive,
        default=1024,
        metavar="PASSAGES",
        help="passages between two commits to the disk, with --encoder",
    )
    group.add_argument(
        "--output-store",
        metavar="DIR",
        help="write the store of the filtered corpus too, from the vectors of --store: nothing is encoded again",
    )
    add_encoder_arguments(parser, required=False)


def run_filter(args: argparse.Namespace) -> None:
    """Score, unless that is done, and filter, as the options say."""
    selection = Selection(
        parse_by_language(args.threshold, "--threshold", float) if args.threshold is not None else None,
        parse_by_language(args.top_fraction, "--top-fraction", Fraction) if args.top_fraction is not None else None,
        args.per_language,
        args.round_trip,
    )
    _check_sources(args)
    _check_output_name(args)
    languages = parse_languages(args.languages) if args.languages is not None else None
    corpus = Corpus(args.corpus, args.queries, languages, args.max_queries)
    directory = args.scores or f"{args.output}.scores"
    store = EmbeddingStore(args.store) if args.store else None
    scores = None
    if store:
        check_query_vectors(store)
        _check_fields(args, args.store, store.manifest["fields"])
    elif not args.encoder:
        scores = QueryScores(directory)
        scores.check_round_trip(args.round_trip)
        _check_fields(args, directory, scores.manifest["fields"])
    summary = corpus.scan()
    if not summary.queries:
        raise XqgError(f"{corpus.source}: no generated queries in it. Pass the file that generation wrote.")
    selection.check(list(summary.queries))
    if scores is None:
        _make_scores(args, corpus, summary, store, directory)
        scores = QueryScores(directory)
    scores.check_corpus(summary)
    sidecar = None
    if args.output_store:
        sidecar = finished_before(args.output, describe_filter(corpus, scores, selection))
    if sidecar is None:
        sidecar = filter_queries(corpus, scores, selection, args.output, overwrite=args.overwrite)
    report(args.output, scores, selection, sidecar)
    if store and args.output_store:
        streams = verdicts_by_language(scores, selection)
        write_filtered_store(store, streams, Corpus(args.output), args.output_store)


def _check_output_name(args: argparse.Namespace) -> None:
    """Refuse an output that could not be read again, exists, or lies in the corpus."""
    output = Path(args.output)
    if not output.name.endswith(SUFFIXES):
        raise XqgError(f"{output}: its name must end in one of {', '.join(SUFFIXES)}. Choose another --output.")
    for source in (args.corpus, *args.queries):
        if source.startswith(IRDS_PREFIX):
            continue
        files = {path.resolve() for path in corpus_files(source)}
        if output.resolve() in files or (Path(source).is_dir() and output.resolve().parent == Path(source).resolve()):
            raise XqgError(f"{output}: lies in the corpus that is read. Choose another --output.")
    if args.output_store:
        check_job(
            args.output_store, STORE_KIND, None
        )  # an output is looked at later: the same filter may have written it
    else:
        check_filter_output(output, args.overwrite)


def _check_sources(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if args.store and args.encoder:
        raise XqgError("--store has the vectors already, --encoder makes them. Pass one of them.")
    if args.index and args.round_trip is None:
        raise XqgError("--index goes with --round-trip: how far down the passage may stand.")
    if args.index and not (args.store or args.encoder):
        raise XqgError("--index goes with --encoder or --store: kept scores have their ranks already. Leave it out.")
    if args.output_store and not args.store:
        raise XqgError("--output-store takes the vectors from --store. Pass that too, or encode the filtered corpus.")
    if args.round_trip is not None and args.encoder and not args.index:
        raise XqgError(
            "--round-trip with --encoder needs --index, a FAISS index of the passages: no vector is kept to search in."
        )


def _check_fields(args: argparse.Namespace, where: str, fields: list[str]) -> None:
    if set(args.fields) not in (set(fields), set(FIELDS)):
        raise XqgError(f"{where}: was made with --fields {' '.join(fields)}. Leave --fields out.")


def _make_scores(
    args: argparse.Namespace, corpus: Corpus, summary: CorpusSummary, store: EmbeddingStore | None, directory: str
) -> None:
    ranker: Ranker | None = None
    if store:
        check_store_corpus(store, summary)
        if args.round_trip is not None:
            probe = store.manifest["probe"]
            ranker = IndexRanker(args.index, args.round_trip, probe) if args.index else StoreRanker(store)
        score_store(store, directory, ranker=ranker)
        return
    embedder = encoder_from_args(args)
    if args.index:
        ranker = IndexRanker(args.index, args.round_trip, embedder.probe())
    score_corpus(corpus, summary, embedder, directory, fields=args.fields, chunk_size=args.chunk_size, ranker=ranker)


def report(output: str | Path, scores: QueryScores, selection: Selection, sidecar: dict[str, Any]) -> None:
    """Say what was kept and what was not, by language."""
    counts, passages = sidecar["queries"], sidecar["passages"]
    kept, total = (sum(count[name] for count in counts.values()) for name in ("kept", "queries"))
    say(f"{output}: kept {kept:,} of {total:,} queries ({kept / total:.1%})")
    depth = selection.round_trip
    for language, count in counts.items():
        line = f"{language}: kept {count['kept']:,} of {count['queries']:,} ({count['kept'] / count['queries']:.1%})"
        if (threshold := sidecar["thresholds"][language]) is not None:
            line += f", {count['low_score']:,} score below {float(threshold):.9g}"
        if depth is not None:
            line += f", {count['not_retrieved']:,} do not retrieve their passage in the first {depth}"
        say(f"{line}; {count['passages_left_without']:,} passages have none left")
    if more := tied(
        scores, selection, {language: count["queries"] - count["low_score"] for language, count in counts.items()}
    ):
        say(f"{output}: {more:,} queries beyond the share have the same score as the last one in it, and pass too")
    before = passages["without_queries_before"]
    say(
        f"{output}: {passages['left_without_queries']:,} of {passages['passages']:,} passages have no query left in "
        f"any language{f', beside {before:,} that had none' if before else ''}; they stay in the file"
    )
    say(f"{sidecar_path(output)}: settings, thresholds, counts; {scores.directory}: the scores, for other thresholds")

"""``python -m pyserini_xqg.queries filter``: keep the generated queries that the retriever itself believes in.

Doc2Query-- (Gospodinov, MacAvaney, Macdonald, "Doc2Query--: When Less is More", ECIR 2023): a query that the
retriever scores low for its own passage is likely to be wrong, and is left out. The score is the inner product of
the passage's and the query's vector; scores are kept, so that another threshold costs no encoding.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.cli import HelpFormatter, progress, say
from pyserini_xqg.corpus import FIELDS, IRDS_PREFIX, SUFFIXES, Corpus, CorpusSummary, corpus_files
from pyserini_xqg.encode import add_corpus_arguments, add_encoder_arguments, encoder_from_args, positive
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import check_output, exclusive, full_disk_named, write_json, write_whole
from pyserini_xqg.languages import parse_languages
from pyserini_xqg.manifest import package_versions
from pyserini_xqg.query_scores import QueryScores
from pyserini_xqg.query_scoring import check_query_vectors, check_store_corpus, score_corpus, score_store
from pyserini_xqg.query_selection import (
    KEPT,
    LOW,
    NOT_RETRIEVED,
    Selection,
    json_number,
    parse_by_language,
    quantiles,
    thresholds,
    verdicts,
)
from pyserini_xqg.round_trip import IndexRanker, Ranker, StoreRanker
from pyserini_xqg.store import EmbeddingStore

FILTER_FORMAT = "pyserini-xqg filtered queries"

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


def filter_queries(
    corpus: Corpus, scores: QueryScores, selection: Selection, output: str | Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the corpus with the queries that are kept to ``output``, whole or not at all; returns the sidecar.

    The sidecar ``<output>.json`` holds settings, thresholds and counts. Passages keep their order, and stay in the
    file where no query of theirs is left. ``scores`` must be those of this corpus (:meth:`QueryScores.check_corpus`).
    Raises :class:`XqgError` for an output that exists, and for scores without the ranks of a round trip.
    """
    check_output(output, overwrite)
    scores.check_round_trip(selection.round_trip)
    lowest = thresholds(scores, selection)
    names = {KEPT: "kept", LOW: "low_score", NOT_RETRIEVED: "not_retrieved"}
    counts = {
        language: {"queries": 0, **dict.fromkeys(names.values(), 0), "passages_left_without": 0}
        for language in scores.languages
    }
    passages = {"passages": 0, "without_queries_before": 0, "left_without_queries": 0}
    streams = {
        language: verdicts(scores, language, lowest[language], selection.round_trip) for language in scores.languages
    }
    changed = f"{corpus.source}: changed while it was read. Run the command again."
    with _whole_jsonl(output) as out, progress(total=scores.passages, unit="passages", description="filtering") as bar:
        for passage in corpus:
            kept = {}
            for language, texts in passage.queries.items():
                found = list(islice(streams[language], len(texts)))
                if len(found) != len(texts):
                    raise XqgError(changed)
                count = counts[language]
                count["queries"] += len(texts)
                for verdict in found:
                    count[names[verdict]] += 1
                if some := [text for text, verdict in zip(texts, found, strict=True) if verdict == KEPT]:
                    kept[language] = some
                else:
                    count["passages_left_without"] += 1
            passages["passages"] += 1
            passages["without_queries_before"] += not passage.queries
            passages["left_without_queries"] += bool(passage.queries) and not kept
            record = {"docid": passage.docid, "title": passage.title, "text": passage.text, "generated_queries": kept}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            bar.update()
        if passages["passages"] != scores.passages or any(next(left, None) is not None for left in streams.values()):
            raise XqgError(changed)
        sidecar = {
            "format": FILTER_FORMAT,
            "format_version": 1,
            "corpus": {"source": corpus.source, **scores.manifest["corpus"]},
            "scores": {
                "directory": str(scores.directory),
                **{name: scores.manifest[name] for name in ("encoder", "fields", "precision", "dtype", "round_trip")},
            },
            "selection": selection.to_dict(),
            "thresholds": {language: json_number(value) for language, value in lowest.items()},
            "quantiles": {language: quantiles(scores, language) for language in scores.languages},
            "queries": counts,
            "passages": passages,
            "versions": package_versions(),
        }
        write_json(sidecar_path(output), sidecar)  # first: where there is an output, its sidecar is there too
    return sidecar


def sidecar_path(output: str | Path) -> Path:
    """Where settings and counts of a filtered file stand."""
    return Path(f"{output}.json")


@contextmanager
def _whole_jsonl(output: str | Path) -> Iterator[IO[str]]:
    """A text file, gzipped if its name ends in ``.gz``, that appears whole; one process at a time writes it."""
    path = Path(output)
    cure = "Free some space and run the command again: the scores are kept."
    with full_disk_named(path, cure), exclusive(path.with_name(f".{path.name}.lock"), path):
        for leftover in path.parent.glob(f".{path.name}.*.partial"):
            leftover.unlink()
        if path.suffix != ".gz":
            with write_whole(path) as out:
                yield out
            return
        with (
            write_whole(path, "wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8") as out,
        ):
            yield out


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
    add_encoder_arguments(parser, required=False)


def run_filter(args: argparse.Namespace) -> None:
    """Score, unless that is done, and filter, as the options say."""
    selection = Selection(
        parse_by_language(args.threshold, "--threshold", float) if args.threshold is not None else None,
        parse_by_language(args.top_fraction, "--top-fraction", Fraction) if args.top_fraction is not None else None,
        args.per_language,
        args.round_trip,
    )
    languages = parse_languages(args.languages) if args.languages is not None else None
    corpus = Corpus(args.corpus, args.queries, languages, args.max_queries)
    directory = args.scores or f"{args.output}.scores"
    _check_output_name(args)
    _check_sources(args)
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
    report(args.output, scores, filter_queries(corpus, scores, selection, args.output, overwrite=args.overwrite))


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
    check_output(output, args.overwrite)


def _check_sources(args: argparse.Namespace) -> None:
    """Refuse options that contradict each other."""
    if args.store and args.encoder:
        raise XqgError("--store has the vectors already, --encoder makes them. Pass one of them.")
    if args.index and args.round_trip is None:
        raise XqgError("--index goes with --round-trip: how far down the passage may stand.")
    if args.index and not (args.store or args.encoder):
        raise XqgError("--index goes with --encoder or --store: kept scores have their ranks already. Leave it out.")
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


def report(output: str | Path, scores: QueryScores, sidecar: dict[str, Any]) -> None:
    """Say what was kept and what was not, by language."""
    counts, passages = sidecar["queries"], sidecar["passages"]
    kept, total = (sum(count[name] for count in counts.values()) for name in ("kept", "queries"))
    say(f"{output}: kept {kept:,} of {total:,} queries ({kept / total:.1%})")
    depth = sidecar["selection"]["round_trip"]
    for language, count in counts.items():
        line = f"{language}: kept {count['kept']:,} of {count['queries']:,} ({count['kept'] / count['queries']:.1%})"
        if (threshold := sidecar["thresholds"][language]) is not None:
            line += f", {count['low_score']:,} score below {threshold:.9g}"
        if depth is not None:
            line += f", {count['not_retrieved']:,} do not retrieve their passage in the first {depth}"
        say(f"{line}; {count['passages_left_without']:,} passages have none left")
    before = passages["without_queries_before"]
    say(
        f"{output}: {passages['left_without_queries']:,} of {passages['passages']:,} passages have no query left in "
        f"any language{f', beside {before:,} that had none' if before else ''}; they stay in the file"
    )
    say(f"{sidecar_path(output)}: settings, thresholds, counts; {scores.directory}: the scores, for other thresholds")

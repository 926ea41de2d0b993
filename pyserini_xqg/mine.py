r"""Find hard negatives for training: passages that an index ranks high for a question and that do not answer it.

The index is one of pyserini_xqg.index (or pyserini.encode), or a Lucene index (BM25). Out comes Tevatron's JSONL with
negative_passages, which `train retriever` reads. The same data, index and seed give the same file.

example:
  python -m pyserini_xqg.mine --data train.jsonl --index indexes/plain --corpus passages.jsonl --output mined.jsonl
  python -m pyserini.index.lucene --collection JsonCollection --input texts --index indexes/bm25 \
      --generator DefaultLuceneDocumentGenerator
  python -m pyserini_xqg.mine --data train.jsonl --index indexes/bm25 --corpus texts --output mined.jsonl
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, positive, progress, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_files import check_output, exclusive, full_disk_named, write_whole
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.mining import MiningCounts, MiningSettings, Search, mine
from pyserini_xqg.train.options import number_of_at_least_0
from pyserini_xqg.vectors.manifest import INDEX_PREFIX, MANIFEST_NAME, MMAP_VARIABLE, ROUTED, read_manifest


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.mine", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="PATH",
        help="questions with the passages that answer them: Tevatron's JSONL (.gz too), directories of it, or "
        "irds:<dataset-id> with queries, qrels and docs",
    )
    parser.add_argument("--index", required=True, metavar="DIR", help="FAISS or Lucene index to search")
    parser.add_argument(
        "--corpus", required=True, metavar="PATH", help="the passages it was built from: JSONL, directory, or irds:<id>"
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="JSONL to write; it appears when it is complete"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --output if it exists")
    choice = parser.add_argument_group("which passages")
    default = MiningSettings()
    choice.add_argument("--depth", type=positive, default=default.depth, metavar="N", help="ranks looked at")
    choice.add_argument(
        "--skip",
        type=number_of_at_least_0,
        default=default.skip,
        metavar="N",
        help="first ranks not taken, where unknown answers are likeliest",
    )
    choice.add_argument(
        "--number", type=positive, default=default.number, metavar="N", help="most negatives found for a question"
    )
    choice.add_argument("--top", action="store_true", help="take the highest ranked, instead of a draw from the ranks")
    choice.add_argument("--seed", type=number_of_at_least_0, default=default.seed, metavar="N", help="of the draw")
    choice.add_argument(
        "--answers",
        metavar="FILE",
        help="questions with answers (JSONL: id, answers): passages in which one stands are left out",
    )
    choice.add_argument(
        "--keep-negatives", action="store_true", help="keep the data's own negatives, before those found (default: no)"
    )
    search = parser.add_argument_group("search")
    search.add_argument(
        "--encoder", metavar="NAME", help="query encoder of a FAISS index (default: the index's own, from xqg.json)"
    )
    search.add_argument("--pooling", choices=("cls", "mean"), help="of --encoder")
    search.add_argument("--l2-norm", action="store_true", default=None, help="of --encoder")
    search.add_argument("--query-max-length", type=positive, metavar="TOKENS", help="of --encoder")
    search.add_argument("--query-prefix", metavar="TEXT", help="of --encoder")
    search.add_argument("--device", default="auto", metavar="DEVICE", help="of the encoder: auto, cpu, cuda:0, …")
    search.add_argument("--mmap", action="store_true", help="map index files, for indexes larger than memory")
    search.add_argument("--language", default="en", metavar="CODE", help="analysis of a Lucene index and its queries")
    search.add_argument("--k1", type=float, default=0.9, help="of BM25")
    search.add_argument("--b", type=float, default=0.4, help="of BM25")
    search.add_argument("--threads", type=positive, default=1, metavar="N", help="of FAISS or Lucene")
    search.add_argument(
        "--batch-size", type=positive, default=256, metavar="N", help="questions encoded and searched together"
    )
    return parser


def is_lucene(directory: str | Path) -> bool:
    """Whether a directory is a Lucene index."""
    return any(Path(directory).glob("segments_*"))


def open_search(args: argparse.Namespace) -> Search:
    """The index's search, queries to docids; starts Java."""
    index = Path(args.index)
    if not index.is_dir():
        raise XqgError(f"{index}: no such directory. Pass --index a FAISS index, or a Lucene index.")
    given = [f"--{name.replace('_', '-')}" for name in _ENCODER_OPTIONS if getattr(args, name) is not None]
    if is_lucene(index):
        if given:
            raise XqgError(f"{given[0]}: {index} is a Lucene index, which has no encoder. Leave it out.")
        return _lucene(args)
    if not (index / "index").exists() and not (index / MANIFEST_NAME).exists():
        raise XqgError(f"{index}: neither a FAISS index ('index' and 'docid') nor a Lucene index. Check --index.")
    manifest = read_manifest(index)
    if manifest is None and not args.encoder:
        raise XqgError(f"{index}: has no {MANIFEST_NAME} to take the query encoder from. Pass --encoder.")
    if given and not args.encoder:
        raise XqgError(f"{given[0]}: goes with --encoder; the index's own has its settings.")
    if manifest is not None and manifest["layout"] == ROUTED:
        raise XqgError(
            f"{index}: a routed index ({', '.join(manifest['languages'])}). Mine each language's questions from its "
            f"own, such as {index / next(iter(manifest['languages'].values()))}, or all from an unrouted one."
        )
    return _faiss(args)


_ENCODER_OPTIONS = ("encoder", "pooling", "l2_norm", "query_max_length", "query_prefix")


def _faiss(args: argparse.Namespace) -> Search:
    from pyserini_xqg.vectors import encoders, fit

    from pyserini.search.faiss import FaissSearcher  # isort: skip (encoders chooses the Java first)

    fit.guard_searcher()

    encoder = encoders.XqgQueryEncoder(
        args.encoder or f"{INDEX_PREFIX}{args.index}",
        device=args.device,
        pooling=args.pooling,
        l2_norm=args.l2_norm,
        max_length=args.query_max_length,
        prefix=args.query_prefix,
    )
    if args.mmap:
        os.environ[MMAP_VARIABLE] = "1"
    searcher = FaissSearcher(args.index, encoder)
    kinds = {type(index).__name__ for index in getattr(searcher.index, "shards", [searcher.index])}
    if others := sorted(kind for kind in kinds if not kind.startswith("IndexFlat")):
        say(f"{args.index}: {', '.join(others)}, whose rankings are approximate; a Flat index is searched exactly")

    def search(queries: Sequence[str]) -> list[list[str]]:
        ids = [str(number) for number in range(len(queries))]
        hits = searcher.batch_search(list(queries), ids, args.depth, args.threads)
        return [[hit.docid for hit in hits[query_id]] for query_id in ids]

    return search


def _lucene(args: argparse.Namespace) -> Search:
    from pyserini_xqg.core import java

    java.configure()
    from pyserini.search.lucene import LuceneSearcher

    from pyserini_xqg.compare.lexical import quiet_lucene

    quiet_lucene()
    searcher = LuceneSearcher(str(Path(args.index).absolute()))
    searcher.set_bm25(args.k1, args.b)
    if args.language != "en":
        searcher.set_language(args.language)

    def search(queries: Sequence[str]) -> list[list[str]]:
        ids = [str(number) for number in range(len(queries))]
        hits = searcher.batch_search(list(queries), ids, args.depth, args.threads)
        return [[hit.docid for hit in hits.get(query_id) or ()] for query_id in ids]

    return search


def check_data(examples: ExampleSource, answers: dict[str, Any] | None) -> int:
    """Read all questions once, before anything is searched; returns how many there are."""
    number = 0
    with progress(unit="questions", description="checking") as bar:
        for example in examples:
            number += 1
            bar.update()
            if answers is not None and example.query_id not in answers:
                raise XqgError(f"{example.where}: --answers has no line for it. Add one (answers may be empty).")
    if not number:
        raise XqgError(
            f"{', '.join(examples.sources)}: no question in it. Pass lines of query_id, query and positive_passages."
        )
    return number


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.mine``."""
    from pyserini_xqg.text.corpus import Corpus

    args = build_parser().parse_args(argv)
    settings = MiningSettings(args.depth, args.skip, args.number, args.top, args.keep_negatives, args.seed)
    output = Path(args.output)
    check_output(output, args.overwrite)
    answers = None
    if args.answers:
        from pyserini_xqg.text.runs import read_answers

        answers = read_answers(args.answers)[0]
    corpus = Corpus(args.corpus)
    examples = ExampleSource(args.data, negatives=settings.keep)
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        exclusive(output.with_name(f".{output.name}.lock"), output),
        full_disk_named(output, "Free some space and run the command again."),
    ):
        total = check_data(examples, answers)
        search = open_search(args)
        counts = MiningCounts()
        with write_whole(output) as out:
            for record in mine(examples, search, corpus, settings, counts, answers, args.batch_size, total):
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            if not counts.negatives:
                raise XqgError(
                    f"{args.index}: no negative for any of {counts.questions:,} questions, as "
                    f"{counts.positives:,} passages answer their question and {counts.answers:,} hold an answer. Look "
                    "deeper (--depth), or skip fewer (--skip)."
                )
    left_out = f"{counts.positives:,} that answer their question"
    if answers is not None:
        left_out += f", {counts.answers:,} in which an answer stands"
    say(
        f"{output}: {counts.questions:,} questions, {counts.negatives / counts.questions:.1f} negatives each; left out "
        f"of the rankings: {left_out}"
    )
    if counts.fewer:
        none = f", {counts.none:,} have none (such as {counts.first_without})" if counts.none else ""
        say(f"{output}: for {counts.fewer:,} questions fewer than {settings.number} were found{none}")


if __name__ == "__main__":
    run(main)

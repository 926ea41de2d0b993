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

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.options import at_least, given, group, option, parse
from pyserini_xqg.core.output import check_file, exclusive
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.mining import MiningCounts, MiningOptions, Questions, Search, mine
from pyserini_xqg.vectors.manifest import INDEX_PREFIX, MANIFEST_NAME, ROUTED, read_manifest
from pyserini_xqg.vectors.settings import DeviceOptions, EncoderOptions

_ENCODER = ("encoder", "pooling", "l2_norm", "query_max_length", "query_prefix")
"""What can be said of a FAISS index's query encoder; the rest is the index's, or in the model's own files."""


@dataclass(frozen=True)
class Options:
    """What the command is told."""

    data: tuple[str, ...] = option(
        help="questions with the passages that answer them: Tevatron's JSONL (.gz too), directories of it, or "
        "irds:<dataset-id> with queries, qrels and docs",
        metavar="PATH",
        several=True,
    )
    index: str = option(help="FAISS or Lucene index to search", metavar="DIR")
    corpus: str = option(help="the passages it was built from: JSONL, directory, or irds:<id>", metavar="PATH")
    output: str = option(help="JSONL to write; it appears when it is complete", metavar="FILE")
    overwrite: bool = option(False, "replace --output if it exists")
    answers: str | None = option(
        None, "questions with answers (JSONL: id, answers): passages in which one stands are left out", metavar="FILE"
    )
    mining: MiningOptions = group(MiningOptions)
    encoder: EncoderOptions = group(
        EncoderOptions, without=[field.name for field in fields(EncoderOptions) if field.name not in _ENCODER]
    )
    device: DeviceOptions = group(DeviceOptions, without=("dtype", "batch_tokens", "threads"))
    language: str = option("en", "analysis of a Lucene index and its queries", metavar="CODE")
    threads: int = option(1, "of FAISS or Lucene", metavar="N", check=at_least(1))

    @property
    def inputs(self) -> list[str]:
        """All that is read."""
        return [*self.data, self.index, self.corpus, *([self.answers] if self.answers else [])]


def open_search(options: Options) -> Search:
    """The index's search, queries to docids; starts Java."""
    index, encoder = Path(options.index), options.encoder
    if not index.is_dir():
        raise XqgError(f"{index}: no such directory. Pass --index a FAISS index, or a Lucene index.")
    named = given(encoder, *_ENCODER)
    if any(index.glob("segments_*")):
        if named:
            raise XqgError(f"{named[0]}: {index} is a Lucene index, which has no encoder. Leave it out.")
        return _lucene(options)
    if not (index / "index").exists() and not (index / MANIFEST_NAME).exists():
        raise XqgError(f"{index}: neither a FAISS index ('index' and 'docid') nor a Lucene index. Check --index.")
    manifest = read_manifest(index)
    if manifest is None and not encoder.encoder:
        raise XqgError(f"{index}: has no {MANIFEST_NAME} to take the query encoder from. Pass --encoder.")
    if named and not encoder.encoder:
        raise XqgError(f"{named[0]}: goes with --encoder; the index's own has its settings.")
    if manifest is not None and manifest["layout"] == ROUTED:
        raise XqgError(
            f"{index}: a routed index ({', '.join(manifest['languages'])}). Mine each language's questions from its "
            f"own, such as {index / next(iter(manifest['languages'].values()))}, or all from an unrouted one."
        )
    return _faiss(options)


def _faiss(options: Options) -> Search:
    from pyserini_xqg.vectors import encoders, fit

    from pyserini.search.faiss import FaissSearcher  # isort: skip (encoders chooses the Java first)

    fit.guard_searcher()
    asked = options.encoder
    encoder = encoders.XqgQueryEncoder(
        asked.encoder or f"{INDEX_PREFIX}{options.index}",
        device=options.device.device,
        pooling=asked.pooling,
        l2_norm=asked.l2_norm,
        max_length=asked.query_max_length,
        prefix=asked.query_prefix,
    )
    searcher = FaissSearcher(options.index, encoder)
    kinds = {type(index).__name__ for index in getattr(searcher.index, "shards", [searcher.index])}
    if others := sorted(kind for kind in kinds if not kind.startswith("IndexFlat")):
        say(f"{options.index}: {', '.join(others)}, whose rankings are approximate; a Flat index is searched exactly")
    return _batched(searcher, options)


def _lucene(options: Options) -> Search:
    from pyserini_xqg.core import java

    java.configure()
    from pyserini.search.lucene import LuceneSearcher

    from pyserini_xqg.compare.lexical import quiet_lucene

    quiet_lucene()
    searcher = LuceneSearcher(str(Path(options.index).absolute()))
    searcher.set_bm25(0.9, 0.4)
    if options.language != "en":
        searcher.set_language(options.language)
    return _batched(searcher, options)


def _batched(searcher: Any, options: Options) -> Search:
    """Search by one of Pyserini's searchers."""

    def search(queries: Sequence[str]) -> list[list[str]]:
        ids = [str(number) for number in range(len(queries))]
        hits = searcher.batch_search(list(queries), ids, options.mining.depth, options.threads)
        return [[hit.docid for hit in hits.get(query_id) or ()] for query_id in ids]

    return search


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.mine``."""
    options = parse(Options, "mine", __doc__ or "", argv)
    output = Path(options.output)
    check_file(output, options.overwrite, options.inputs)
    from pyserini_xqg.text.corpus import Corpus
    from pyserini_xqg.text.runs import read_answers

    answers = read_answers(options.answers)[0] if options.answers else None
    Corpus(options.corpus)  # refuses one that is not there
    examples = ExampleSource(options.data, negatives=False)
    counts = MiningCounts()
    with exclusive(output.with_name(f".{output.name}.lock"), output):
        questions = Questions(examples, answers)
        search = open_search(options)
        with write_file(output) as out:
            for record in mine(questions, search, options.corpus, options.mining, counts):
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            if not counts.negatives:
                raise XqgError(
                    f"{options.index}: no negative for any of {counts.questions:,} questions, as "
                    f"{counts.positives:,} passages answer their question and {counts.answers:,} hold an answer. Look "
                    "deeper (--depth), or skip fewer (--skip)."
                )
    _report(options, counts)


def _report(options: Options, counts: MiningCounts) -> None:
    left_out = f"{counts.positives:,} that answer their question"
    if options.answers:
        left_out += f", {counts.answers:,} in which an answer stands"
    each = counts.negatives / counts.questions
    say(
        f"{options.output}: {counts.questions:,} questions, {each:.1f} negatives each; left out of the rankings: "
        f"{left_out}"
    )
    if counts.fewer:
        say(f"{options.output}: for {counts.fewer:,} questions fewer than {options.mining.number} were found")


if __name__ == "__main__":
    run(main)

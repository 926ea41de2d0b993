"""Pyserini's own search command (python -m pyserini.search.faiss) with xQG registered.

All of Pyserini's options are taken and passed on; they are listed below. On top of them:
  * --encoder may be left out: the index's own encoder is used (from its xqg.json);
  * queries are encoded and searched in batches (--batch-size 64 unless given);
  * topics are checked before anything is loaded, and may be irds:<dataset-id>;
  * --route sends each topic to its language's index of a routed index;
  * --index takes several directories, which are searched as one index;
  * --mmap leaves the index on the disk, --alpha weighs queries in an index built with --alpha-at-search.

Examples
--------
  python -m pyserini_xqg.search --index indexes/mbert.xqg --topics topics.tsv --output run.txt
  python -m pyserini_xqg.search --index indexes/mbert.routed --route --topics irds:xor-tydi/dev --output run.txt
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.old_files import write_whole
from pyserini_xqg.text.corpus import IRDS_PREFIX
from pyserini_xqg.text.topics import (
    TSV_SUFFIXES,
    check_topics_file,
    irds_topics,
    read_topic_languages,
    split_by_language,
)
from pyserini_xqg.vectors.augmentation import check_alpha
from pyserini_xqg.vectors.manifest import (
    ALPHA_PREFIX,
    INDEX_PREFIX,
    MANIFEST_NAME,
    MMAP_VARIABLE,
    ROUTED_FORMAT,
    SHARDED_FORMAT,
    names_index,
    new_manifest,
    read_manifest,
    shard_directories,
)

PYSERINI_COMMAND = "pyserini.search.faiss"
BATCH_SIZE = 64


def build_parser() -> argparse.ArgumentParser:
    """Our own options; the rest is Pyserini's."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.search",
        description=__doc__,
        formatter_class=HelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help and Pyserini's, and exit")
    parser.add_argument(
        "--index",
        metavar="DIR",
        nargs="+",
        help="index directory, or several that are searched as one; or a prebuilt index of Pyserini",
    )
    parser.add_argument(
        "--topics", metavar="NAME", help="topics file, irds:<dataset-id>, or a name that Pyserini knows"
    )
    parser.add_argument("--output", metavar="FILE", help="the run file to write; it appears when it is complete")
    parser.add_argument("--encoder", metavar="NAME", help="query encoder (default: the index's own, from xqg.json)")
    parser.add_argument("--encoder-class", metavar="CLASS", help="Pyserini's classes, or xqg")
    parser.add_argument("--topics-format", metavar="FORMAT", default="default", help="Pyserini's topic formats")
    parser.add_argument(
        "--batch-size", metavar="N", type=int, default=BATCH_SIZE, help="queries encoded and searched together"
    )
    parser.add_argument(
        "--mmap",
        action="store_true",
        help=f"map the index files instead of reading them, for indexes larger than memory (stock: {MMAP_VARIABLE}=1)",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        metavar="WEIGHT",
        help="weight of the generated queries, 0 to 1, for an index built with --alpha-at-search (stock: --encoder "
        "xqg@WEIGHT:DIR; default: the --alpha of the build)",
    )
    parser.add_argument("--route", action="store_true", help="send each topic to its language's index")
    parser.add_argument(
        "--topic-languages",
        metavar="SOURCE",
        help="with --route: one code for all topics, a TSV of topic<TAB>language, a JSONL with id and lang, or "
        "irds:<dataset-id> (default: the topics' own, where --topics is irds:…)",
    )
    return parser


def run_pyserini(arguments: list[str]) -> None:
    """Run Pyserini's search command in this process, with xQG registered."""
    from pyserini_xqg.core import java
    from pyserini_xqg.vectors import encoders, fit

    encoders.register_encoders()
    fit.guard_searcher()
    java.take_back_interrupt()
    argv = sys.argv
    sys.argv = [f"python -m {PYSERINI_COMMAND}", *arguments]
    try:
        runpy.run_module(PYSERINI_COMMAND, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = argv


def _encoder_arguments(args: argparse.Namespace, index: str, rest: Iterable[str]) -> list[str]:
    """Options that name the encoder: the user's, else that of ``index``."""
    if args.encoder_class == "xqg":
        return ["--encoder", _named_encoder((args.encoder or index).removeprefix(INDEX_PREFIX), args.alpha)]
    chosen = ["--encoder-class", args.encoder_class] if args.encoder_class else []
    if args.encoder:
        if args.alpha is None:
            return ["--encoder", args.encoder, *chosen]
        if names_index(args.encoder):
            return ["--encoder", _named_encoder(args.encoder.removeprefix(INDEX_PREFIX), args.alpha), *chosen]
        raise XqgError(f"--alpha with --encoder {args.encoder}: only an index's encoder takes it. Leave --encoder out.")
    if any(option.split("=")[0] == "--encoded-queries" for option in rest):
        if args.alpha is not None:
            raise XqgError("--alpha with --encoded-queries: those vectors are ready-made. Leave one of them out.")
        return chosen
    if not Path(index).exists():
        raise XqgError(f"{index}: no such directory. Check --index; for a prebuilt index of Pyserini, pass --encoder.")
    if not (Path(index) / MANIFEST_NAME).exists():
        raise XqgError(f"{index}: has no {MANIFEST_NAME} to take the query encoder from. Pass --encoder.")
    return ["--encoder", _named_encoder(index, args.alpha)]


def _named_encoder(name: str, alpha: float | None) -> str:
    if name.startswith(ALPHA_PREFIX):
        if alpha is not None:
            raise XqgError(f"--alpha {alpha:g} and --encoder {name} both name an alpha. Leave one of them out.")
        return name
    return f"{INDEX_PREFIX}{name}" if alpha is None else f"{ALPHA_PREFIX}{alpha}:{name}"


@contextmanager
def _one_index(directories: Sequence[str]) -> Iterator[str]:
    """The index to search: the only one, or a temporary sharded one of several (and of their shards)."""
    if len(directories) == 1:
        yield directories[0]
        return
    shards: list[str] = []
    for directory in directories:
        if not Path(directory).is_dir():
            raise XqgError(f"{directory}: no such directory. Check --index.")
        manifest = read_manifest(directory)
        if manifest is not None and manifest["format"] == ROUTED_FORMAT:
            raise XqgError(f"{directory}: a routed index, which is searched alone. Pass one --index, with --route.")
        sharded = manifest is not None and manifest["format"] == SHARDED_FORMAT
        parts = shard_directories(directory, manifest) if sharded else [directory]
        shards.extend(os.path.abspath(part) for part in parts)
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as together:
        write_json(Path(together) / MANIFEST_NAME, new_manifest(SHARDED_FORMAT, shards=shards))
        yield together


@contextmanager
def _topics_argument(args: argparse.Namespace) -> Any:
    """The topics as Pyserini takes them: the file itself, or queries of ir_datasets in a temporary JSON file."""
    if args.topics.startswith(IRDS_PREFIX):
        with _json_topics(irds_topics(args.topics)) as path:
            yield path
        return
    if args.topics_format == "default" and args.topics.endswith(TSV_SUFFIXES):
        check_topics_file(args.topics)
    yield args.topics


@contextmanager
def _json_topics(topics: Mapping[Any, Any]) -> Any:
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as directory:
        path = Path(directory) / "topics.json"
        path.write_text(json.dumps({str(topic): value for topic, value in topics.items()}), encoding="utf-8")
        yield str(path)


def _search(
    args: argparse.Namespace, rest: list[str], index: str, topics: str, output: Path, encoder_of: str | None = None
) -> None:
    try:
        run_pyserini(
            [
                *("--index", index, "--topics", topics, "--output", str(output), "--batch-size", str(args.batch_size)),
                *("--topics-format", args.topics_format, *_encoder_arguments(args, encoder_of or index, rest), *rest),
            ]
        )
    except SystemExit as end:
        if end.code:
            raise
        # Pyserini ends with status 0 where it knows no index of that name.
        raise XqgError(f"{index}: neither a directory nor a prebuilt index of Pyserini. Check --index.") from end


@contextmanager
def _mapping(wanted: bool) -> Iterator[None]:
    """Ask for mapped index files inside the block, where :func:`~pyserini_xqg.vectors.fit.guard_searcher` looks."""
    before = os.environ.get(MMAP_VARIABLE)
    if wanted:
        os.environ[MMAP_VARIABLE] = "1"
    try:
        yield
    finally:
        if before is not None:
            os.environ[MMAP_VARIABLE] = before
        elif wanted:
            del os.environ[MMAP_VARIABLE]


def _search_routed(
    args: argparse.Namespace, rest: list[str], index: str, manifest: Mapping[str, Any], output: Path
) -> None:
    """One run of Pyserini's command a language, then one file with the topics in Pyserini's order."""
    from pyserini_xqg.vectors import encoders  # noqa: F401 (chooses the Java before Pyserini starts it)

    from pyserini.query_iterator import TopicsFormat, get_query_iterator  # isort: skip

    if args.topics_format != "default":
        raise XqgError(f"--route with --topics-format {args.topics_format}: only the default format can be routed.")
    source = args.topic_languages or (args.topics if args.topics.startswith(IRDS_PREFIX) else None)
    if source is None:
        raise XqgError(
            "--route needs the topics' languages: pass --topic-languages (a code, a file, or irds:<dataset-id>)."
        )
    languages = read_topic_languages(source)
    with _topics_argument(args) as path:
        iterator = get_query_iterator(path, TopicsFormat(args.topics_format))
    routed = split_by_language(
        {topic: iterator.topics[topic] for topic in iterator.order}, languages, manifest["languages"], index
    )
    lines: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as directory:
        for language, topics in routed.items():
            say(f"{language}: {len(topics):,} topics -> {Path(index) / manifest['languages'][language]}")
            part = Path(directory) / f"{language}.txt"
            with _json_topics(topics) as path:
                _search(args, rest, str(Path(index) / manifest["languages"][language]), path, part)
            with open(part, encoding="utf-8") as run_file:
                for line in run_file:
                    lines.setdefault(line.split(None, 1)[0], []).append(line)
    if unknown := lines.keys() - {str(topic) for topic in iterator.order}:
        raise XqgError(
            f"--route: run lines that begin with {min(unknown)!r}, which is no topic. Leave --output-format kilt out, "
            "and blanks out of the topics' ids."
        )
    with open(output, "w", encoding="utf-8") as out:
        for topic in iterator.order:
            out.writelines(lines.get(str(topic), ()))


def _show_help(parser: argparse.ArgumentParser) -> None:
    parser.print_help()
    print(f"\nPyserini's own options (python -m {PYSERINI_COMMAND}):\n", flush=True)
    run_pyserini(["--help"])


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.search``."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    if args.help:
        _show_help(parser)
        return
    missing = [f"--{name}" for name in ("index", "topics", "output") if getattr(args, name) is None]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    if args.alpha is not None:
        check_alpha(args.alpha)
    index = args.index[0]
    manifest = read_manifest(index)
    routed = manifest is not None and manifest["format"] == ROUTED_FORMAT
    if args.route and len(args.index) > 1:
        raise XqgError("--route with several --index: a routed index is searched alone. Pass one.")
    if args.route and not routed:
        raise XqgError(f"{index}: not a routed index. Build one with pyserini_xqg.index --route, or leave --route out.")
    if routed and not args.route and len(args.index) == 1:
        languages = manifest["languages"]
        raise XqgError(
            f"{index}: a routed index ({', '.join(languages)}). Pass --route, or search one language's index, "
            f"such as {Path(index) / next(iter(languages.values()))}."
        )
    if args.topic_languages and not args.route:
        raise XqgError("--topic-languages goes with --route.")
    with write_whole(args.output) as out:
        partial = Path(out.name)
        with _mapping(args.mmap):
            if args.route:
                _search_routed(args, rest, index, manifest, partial)
            else:
                with _topics_argument(args) as topics, _one_index(args.index) as together:
                    _search(args, rest, together, topics, partial, encoder_of=index)
        out.seek(0, os.SEEK_END)
    say(f"{args.output}: written")


if __name__ == "__main__":
    run(main)

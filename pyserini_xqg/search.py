"""Pyserini's own search command (python -m pyserini.search.faiss) with xQG registered.

All of its options are taken and passed on (python -m pyserini.search.faiss --help lists them). On top of them:
  * --encoder may be left out: the index's own encoder is used (from its xqg.json);
  * queries are encoded and searched in batches (--batch-size 64 unless given);
  * topics are checked before anything is loaded, and may be irds:<dataset-id>;
  * --route sends each topic to its language's index of a routed index;
  * --index takes several directories, which are searched as one index;
  * --mmap leaves the index on the disk.

Examples
--------
  python -m pyserini_xqg.search --index indexes/mbert.xqg --topics topics.tsv --output run.txt
  python -m pyserini_xqg.search --index indexes/mbert.routed --route --topics irds:xor-tydi/dev --output run.txt
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file, write_text
from pyserini_xqg.core.options import at_least, build_parser, option, read_options
from pyserini_xqg.core.output import check_file
from pyserini_xqg.datasets.ids import dataset_of
from pyserini_xqg.text.topics import (
    TOPICS_SUFFIXES,
    read_topic_languages,
    read_topics,
    split_by_language,
    stock_reads,
)
from pyserini_xqg.vectors.manifest import (
    INDEX_PREFIX,
    MANIFEST_NAME,
    MMAP_VARIABLE,
    ROUTED,
    SHARDED,
    index_parts,
    read_manifest,
    route_directory,
    searched_together,
)

PYSERINI_COMMAND = "pyserini.search.faiss"


@dataclass(frozen=True)
class SearchOptions:
    """Our own options; the rest is Pyserini's."""

    index: tuple[str, ...] = option(
        help="index directory, or several that are searched as one; or a prebuilt index of Pyserini",
        metavar="DIR",
        several=True,
    )
    topics: str = option(help="topics file, irds:<dataset-id>, or a name that Pyserini knows", metavar="NAME")
    output: str = option(help="the run file to write; it appears when it is complete", metavar="FILE")
    encoder: str | None = option(None, "query encoder (default: the index's own, from xqg.json)", metavar="NAME")
    encoder_class: str | None = option(None, "Pyserini's classes, or xqg", metavar="CLASS")
    topics_format: str = option("default", "Pyserini's topic formats", metavar="FORMAT")
    batch_size: int = option(64, "queries encoded and searched together", metavar="N", check=at_least(1))
    mmap: bool = option(
        False,
        f"map the index files instead of reading them, for indexes larger than memory (stock: {MMAP_VARIABLE}=1)",
    )
    route: bool = option(False, "send each topic to its language's index")
    topic_languages: str | None = option(
        None,
        "with --route: one code for all topics, a TSV of topic<TAB>language, a JSONL with id and lang, or "
        "irds:<dataset-id> (default: the topics' own, where --topics is irds:…)",
        metavar="SOURCE",
    )

    def __post_init__(self) -> None:
        if self.route and len(self.index) > 1:
            raise XqgError("--route with several --index: a routed index is searched alone. Pass one.")
        if self.topic_languages and not self.route:
            raise XqgError("--topic-languages goes with --route.")
        if self.route and self.topics_format != "default":
            raise XqgError(f"--route with --topics-format {self.topics_format}: only the default format can be routed.")


def run_pyserini(arguments: list[str]) -> None:
    """Run Pyserini's search command in this process, with xQG registered."""
    from pyserini_xqg.vectors import encoders, fit

    encoders.register_encoders()
    fit.guard_searcher()
    argv = sys.argv
    sys.argv = [f"python -m {PYSERINI_COMMAND}", *arguments]
    try:
        runpy.run_module(PYSERINI_COMMAND, run_name="__main__", alter_sys=True)
    finally:
        sys.argv = argv


def _encoder_arguments(options: SearchOptions, index: str, rest: Iterable[str]) -> list[str]:
    """Options that name the encoder: the user's, else that of ``index``."""
    if options.encoder_class == "xqg":
        return ["--encoder", f"{INDEX_PREFIX}{(options.encoder or index).removeprefix(INDEX_PREFIX)}"]
    chosen = ["--encoder-class", options.encoder_class] if options.encoder_class else []
    if options.encoder:
        return ["--encoder", options.encoder, *chosen]
    if any(argument.split("=")[0] == "--encoded-queries" for argument in rest):
        return chosen
    if not Path(index).exists():
        raise XqgError(f"{index}: no such directory. Check --index; for a prebuilt index of Pyserini, pass --encoder.")
    if not (Path(index) / MANIFEST_NAME).exists():
        raise XqgError(f"{index}: has no {MANIFEST_NAME} to take the query encoder from. Pass --encoder.")
    return ["--encoder", f"{INDEX_PREFIX}{index}"]


@contextmanager
def _one_index(directories: tuple[str, ...]) -> Iterator[str]:
    """The index to search: the only one, or all of them, and their shards, under one name."""
    if len(directories) == 1:
        yield directories[0]
        return
    shards: list[Path] = []
    for directory in directories:
        if not Path(directory).is_dir():
            raise XqgError(f"{directory}: no such directory. Check --index.")
        manifest = read_manifest(directory)
        if manifest is not None and manifest["layout"] == ROUTED:
            raise XqgError(f"{directory}: a routed index, which is searched alone. Pass one --index, with --route.")
        sharded = manifest is not None and manifest["layout"] == SHARDED
        shards += index_parts(directory, manifest) if sharded else [Path(directory)]
    with searched_together(shards) as together:
        yield together


@contextmanager
def _topics_argument(options: SearchOptions) -> Iterator[str]:
    """The topics as Pyserini takes them: the file itself, one of Pyserini's names, or a temporary JSON file."""
    source = options.topics
    names_file = os.sep in source or source.endswith(TOPICS_SUFFIXES) or Path(source).exists()
    if options.topics_format != "default" or not (names_file or dataset_of(source)):
        yield source
        return
    topics = read_topics(source)
    if stock_reads(source):
        yield source
        return
    with _json_topics({topic: {"title": text} for topic, text in topics.items()}) as path:
        yield path


@contextmanager
def _json_topics(topics: Mapping[Any, Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as directory:
        path = Path(directory) / "topics.json"
        write_text(path, json.dumps({str(topic): value for topic, value in topics.items()}))
        yield str(path)


def _search(
    options: SearchOptions, rest: list[str], index: str, topics: str, output: Path, encoder_of: str | None = None
) -> None:
    written = {"index": index, "topics": topics, "output": output, "batch-size": options.batch_size}
    written["topics-format"] = options.topics_format
    arguments = [part for name, value in written.items() for part in (f"--{name}", str(value))]
    try:
        run_pyserini([*arguments, *_encoder_arguments(options, encoder_of or index, rest), *rest])
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


def _search_routed(options: SearchOptions, rest: list[str], manifest: dict[str, Any], output: IO[str]) -> None:
    """One run of Pyserini's command a language, then one file with the topics in Pyserini's order."""
    from pyserini_xqg.vectors import encoders  # noqa: F401 (chooses the Java before Pyserini starts it)

    from pyserini.query_iterator import TopicsFormat, get_query_iterator  # isort: skip

    index = options.index[0]
    source = options.topic_languages or (options.topics if dataset_of(options.topics) else None)
    if source is None:
        raise XqgError(
            "--route needs the topics' languages: pass --topic-languages (a code, a file, or irds:<dataset-id>)."
        )
    languages = read_topic_languages(source)
    with _topics_argument(options) as path:
        iterator = get_query_iterator(path, TopicsFormat(options.topics_format))
    codes = [languages] if isinstance(languages, str) else dict.fromkeys(languages.values())
    routed = split_by_language(
        {topic: iterator.topics[topic] for topic in iterator.order}, languages, dict.fromkeys(codes), index
    )
    lines: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as directory:
        for language, topics in routed.items():
            place = route_directory(index, manifest, language)
            say(f"{language}: {len(topics):,} topics searched in {place}")
            part = Path(directory) / f"{language}.txt"
            with _json_topics(topics) as path:
                _search(options, rest, str(place), path, part)
            with open(part, encoding="utf-8") as run_file:
                for line in run_file:
                    lines.setdefault(line.split(None, 1)[0], []).append(line)
    if unknown := lines.keys() - {str(topic) for topic in iterator.order}:
        raise XqgError(
            f"--route: run lines that begin with {min(unknown)!r}, which is no topic. Leave --output-format kilt out, "
            "and blanks out of the topics' ids."
        )
    for topic in iterator.order:
        output.writelines(lines.get(str(topic), ()))


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.search``."""
    args, rest = build_parser(SearchOptions, "search", __doc__).parse_known_args(argv)
    options = read_options(SearchOptions, args)
    check_file(options.output, overwrite=True, inputs=[*options.index, options.topics])
    index = options.index[0]
    manifest = read_manifest(index)
    routed = manifest is not None and manifest["layout"] == ROUTED
    if options.route and not routed:
        raise XqgError(f"{index}: not a routed index. Build one with pyserini_xqg.index --route, or leave --route out.")
    if routed and not options.route and len(options.index) == 1:
        raise XqgError(
            f"{index}: a routed index ({', '.join(manifest['languages'])}). Pass --route, or search one language's "
            f"index, such as {index_parts(index, manifest)[0]}."
        )
    with write_file(options.output) as out, _mapping(options.mmap):
        partial = Path(out.name)
        if options.route:
            _search_routed(options, rest, manifest, out)
        else:
            with _topics_argument(options) as topics, _one_index(options.index) as together:
                _search(options, rest, together, topics, partial, encoder_of=index)
        out.seek(0, os.SEEK_END)
    say(f"{options.output}: written")


if __name__ == "__main__":
    run(main)

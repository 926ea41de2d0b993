"""Look into embedding stores, check them and indexes, and merge shards.

Examples
--------
  python -m pyserini_xqg.store info stores/mbert
  python -m pyserini_xqg.store verify stores/mbert
  python -m pyserini_xqg.store verify indexes/mbert.xqg
  python -m pyserini_xqg.store merge stores/part0 stores/part1 --output stores/mbert
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import Command, option, run_commands
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.manifest import INDEX_KIND
from pyserini_xqg.vectors.store_writer import merge_shards
from pyserini_xqg.vectors.verify import describe_store, find_damage, index_damage


@dataclass(frozen=True)
class InfoOptions:
    """Store"""

    store: str = option(help="the store", metavar="DIR", positional=True)


@dataclass(frozen=True)
class VerifyOptions:
    """Store or index"""

    directory: str = option(help="the store or index", metavar="DIR", positional=True)


@dataclass(frozen=True)
class MergeOptions:
    """Shards"""

    shards: tuple[str, ...] = option(
        help="directories of the shards, in any order", metavar="SHARD", positional=True, several=True
    )
    output: str = option(help="the store to make, or to continue", metavar="DIR")
    overwrite: bool = option(False, "begin anew where a store exists")


def info(options: InfoOptions) -> None:
    """Print what a store is."""
    for line in describe_store(options.store):
        print(line)


def verify(options: VerifyOptions) -> None:
    """Print a line for each damaged place, on standard output; :class:`XqgError` if there is any."""
    directory = Path(options.directory)
    is_index = INDEX_KIND.is_at(directory) and not STORE_KIND.is_at(directory)
    places = 0
    for damage in index_damage(directory) if is_index else find_damage(directory):
        places += 1
        print(directory / damage, flush=True)
    kind = INDEX_KIND if is_index else STORE_KIND
    if places:
        raise XqgError(
            f"{directory}: damaged in {places} place{'s' if places > 1 else ''}. Restore the files named above from a "
            f"copy, or make it again with {kind.made_by} --overwrite."
        )
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    part = "" if kind.read(directory).get("complete") else "the committed part of an unfinished store: "
    say(f"{directory}: {part}{size:,} bytes are as they were written")


def merge(options: MergeOptions) -> None:
    """Join shards."""
    merge_shards(options.shards, options.output, overwrite=options.overwrite)


COMMANDS = {
    "info": Command(
        InfoOptions, info, "print encoder, counts, progress and sizes of a store or shard, finished or not"
    ),
    "verify": Command(
        VerifyOptions, verify, "recompute every checksum; damaged places are printed, and the exit status is then 1"
    ),
    "merge": Command(
        MergeOptions, merge, "join all shards of a corpus to one store, checking their checksums; the shards stay"
    ),
}


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.store``."""
    run_commands("store", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    run(main)

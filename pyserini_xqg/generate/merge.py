"""``python -m pyserini_xqg.queries merge``: the shards of generated queries joined to the file of one process."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.core.old_files import exclusive, full_disk_named, write_whole
from pyserini_xqg.core.old_journal import rows_done
from pyserini_xqg.core.shards import ShardKind, ordered_shards, unfinished_shard
from pyserini_xqg.generate.output import (
    MANIFEST_NAME,
    WORK_KIND,
    add_counts,
    check_queries_output,
    generation_differences,
    lock_path,
    new_counts,
    new_sidecar,
    read_sidecar,
    sidecar_path,
    warn_of_versions,
    work_directory,
)
from pyserini_xqg.generate.report import summary_lines

_BLOCK = 1 << 22


def _read_shard(path: str | Path) -> dict[str, Any]:
    work = work_directory(path)
    if (work / MANIFEST_NAME).exists() and "shard" in (manifest := read_json(work / MANIFEST_NAME)):
        raise unfinished_shard(path, manifest, rows_done(work, WORK_KIND), QUERY_SHARDS)
    if not Path(path).exists():
        raise XqgError(f"{path}: no such file. Pass the files that generate --shard-id … wrote.")
    return read_sidecar(path)


QUERY_SHARDS = ShardKind(
    "generate", "file", "files", "generated", _read_shard, partial(generation_differences, word="here")
)


def merge_queries(shards: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Join the shards of generated queries, given in any order, to the file ``output``; they stay as they are.

    Raises :class:`XqgError` if the shards do not make one file or are damaged, if the output exists (unless
    ``overwrite``), and if the disk is full.
    """
    check_queries_output(output, overwrite)
    ordered = ordered_shards(shards, QUERY_SHARDS)
    manifest = {key: value for key, value in ordered[0][1].items() if key not in ("counts", "bytes", "sha256", "shard")}
    counts = new_counts(manifest["languages"])
    for _, sidecar in ordered:
        add_counts(counts, sidecar["counts"])
        warn_of_versions(output, manifest["versions"], sidecar["versions"], f"in shard {sidecar['shard']['id']}")
    size = sum(sidecar["bytes"] for _, sidecar in ordered)
    with (
        full_disk_named(output, "Free some space and run the command again."),
        exclusive(lock_path(output), output),
        progress(total=size, unit="bytes", description="merging") as bar,
    ):
        check_queries_output(output, overwrite)
        digest = hashlib.sha256()
        with write_whole(output, "wb") as out:
            for path, sidecar in ordered:
                _copy_checked(path, sidecar, out, digest, bar)
            write_json(sidecar_path(output), new_sidecar(manifest, counts, size, digest.hexdigest()))
    for line in summary_lines(str(output), {**manifest, "counts": counts}):
        say(line)


def _copy_checked(path: str | Path, sidecar: Mapping[str, Any], out: Any, digest: Any, bar: Any) -> None:
    own = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            out.write(block)
            own.update(block)
            digest.update(block)
            bar.update(len(block))
    if own.hexdigest() != sidecar["sha256"]:
        raise XqgError(
            f"{path}: is not what pyserini_xqg.generate wrote (its SHA-256 is another than in {sidecar_path(path)}). "
            "Copy the shard again, or generate it again with --overwrite."
        )


def add_merge_parser(subparsers: Any) -> None:
    """Add ``merge`` to the sub-commands of ``pyserini_xqg.queries``."""
    text = "join all shards of generated queries to one file, checking their checksums; the shards stay"
    parser = subparsers.add_parser("merge", help=text, description=text, formatter_class=HelpFormatter)
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="files of the shards, in any order")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to make")
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    merge_queries(args.shards, args.output, overwrite=args.overwrite)

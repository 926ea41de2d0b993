"""The shards of generated queries joined to the file of one process: ``python -m pyserini_xqg.queries merge``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pyserini_xqg.core.chunks import rows_done
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.options import option
from pyserini_xqg.core.output import check_apart, check_file, exclusive
from pyserini_xqg.core.shards import ShardKind, ordered_shards, unfinished_shard
from pyserini_xqg.generate.output import (
    WORK,
    add_counts,
    check_sidecar,
    generation_differences,
    lock_path,
    new_counts,
    new_sidecar,
    read_sidecar,
    sidecar_path,
    summary_lines,
    warn_of_versions,
    work_directory,
    write_sidecar,
)

_BLOCK = 1 << 22


@dataclass(frozen=True)
class MergeQueriesOptions:
    """Options of ``queries merge``."""

    shards: tuple[str, ...] = option(
        help="files of the shards, in any order", metavar="SHARD", positional=True, several=True
    )
    output: str = option(help="the file to make", metavar="FILE")
    overwrite: bool = option(False, "replace an output that exists")


def _read_shard(path: str | Path) -> dict[str, Any]:
    work = work_directory(path)
    if WORK.is_at(work) and "shard" in (manifest := WORK.read(work)):
        raise unfinished_shard(path, manifest, rows_done(work, WORK), QUERY_SHARDS)
    if not Path(path).exists():
        raise XqgError(f"{path}: no such file. Pass the files that generate --shard-id … wrote.")
    return read_sidecar(path)


QUERY_SHARDS = ShardKind(
    "generate", "file", "files", "generated", _read_shard, partial(generation_differences, word="here")
)


def merge_queries(shards: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Join the shards of generated queries, given in any order, to the file ``output``; they stay as they are.

    Raises :class:`XqgError` if the shards do not make one file or are damaged, if the output is one of them or exists
    (unless ``overwrite``), and if the disk is full.
    """
    inputs = [path for shard in shards for path in (shard, sidecar_path(shard))]
    check_apart(sidecar_path(output), inputs)
    check_sidecar(output)
    check_file(output, overwrite, inputs)
    ordered = ordered_shards(shards, QUERY_SHARDS)
    manifest = {key: value for key, value in ordered[0][1].items() if key not in ("counts", "bytes", "sha256", "shard")}
    counts = new_counts(manifest["languages"])
    for _, sidecar in ordered:
        add_counts(counts, sidecar["counts"])
        warn_of_versions(output, manifest["versions"], sidecar["versions"], f"in shard {sidecar['shard']['id']}")
    size = sum(sidecar["bytes"] for _, sidecar in ordered)
    merged = hashlib.sha256()
    with (
        exclusive(lock_path(output), output),
        progress(total=size, unit="bytes", description="merging") as bar,
        write_file(output, "wb") as out,
    ):
        for path, sidecar in ordered:
            _copy_checked(path, sidecar, out, merged, bar)
        write_sidecar(output, new_sidecar(manifest, counts, size, merged.hexdigest()))
    for line in summary_lines(str(output), {**manifest, "counts": counts}):
        say(line)


def _copy_checked(path: str | Path, sidecar: Mapping[str, Any], out: Any, merged: Any, bar: Any) -> None:
    shard = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            out.write(block)
            shard.update(block)
            merged.update(block)
            bar.update(len(block))
    if shard.hexdigest() != sidecar["sha256"]:
        raise XqgError(
            f"{path}: is not what pyserini_xqg.generate wrote (its SHA-256 is another than in {sidecar_path(path)}). "
            "Copy the shard again, or generate it again with --overwrite."
        )

"""The shards of a corpus joined to one embedding store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_journal import StoredChunk, rows_done, stored_chunks
from pyserini_xqg.vectors.store import (
    DOCIDS_NAME,
    STORE_KIND,
    StoreWriter,
    array_specs,
    check_new_store,
    chunk_sizes,
    read_store_manifest,
    settings_differences,
)

if TYPE_CHECKING:
    pass


from pyserini_xqg.core.shards import ShardKind, ordered_shards, unfinished_shard


def read_chunks(directory: str | Path, manifest: Mapping[str, Any]) -> Iterator[StoredChunk]:
    """Yield a store's committed chunks, one in memory."""
    headers = {DOCIDS_NAME: 0} | {spec.name: len(spec.header()) for spec in array_specs(manifest)}
    return stored_chunks(directory, STORE_KIND, headers, chunk_sizes(manifest))


def _read_store_shard(directory: str | Path) -> dict[str, Any]:
    manifest = read_store_manifest(directory)
    if "shard" in manifest and not manifest.get("complete"):
        raise unfinished_shard(directory, manifest, rows_done(directory, STORE_KIND), STORE_SHARDS)
    return manifest


STORE_SHARDS = ShardKind(
    "encode", "store", "directories", "encoded", _read_store_shard, partial(settings_differences, word="here")
)


def merge_shards(shards: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Join the shards of a corpus, given in any order, to the store ``output``; they stay as they are.

    Streams chunk by chunk and checks each one's SHA-256. Interrupted, the same call continues where it stopped.
    Raises :class:`XqgError` if the shards do not make one store or are damaged, and as :class:`StoreWriter` does.
    """
    check_new_store(output, overwrite)
    ordered = ordered_shards(shards, STORE_SHARDS)
    dropped = ("format", "format_version", "complete", "manifest_sha256", "shard")
    settings = {key: value for key, value in ordered[0][1].items() if key not in dropped}
    total = settings["corpus"]["passages"]
    with (
        StoreWriter(output, settings, overwrite) as writer,
        progress(total=total, unit="passages", description="merging") as bar,
    ):
        done = writer.rows_done
        for directory, manifest in ordered:
            for chunk in read_chunks(directory, manifest):
                row = manifest["shard"]["first"] + chunk.first
                bar.update(chunk.entry["rows"])
                if row < done:
                    continue
                if damaged := chunk.damaged():
                    raise XqgError(
                        f"{Path(directory) / damaged[0]}: damaged in the chunk of passages {chunk.first:,} to "
                        f"{chunk.first + chunk.entry['rows'] - 1:,}. Copy the shard again, or encode it again with "
                        f"--overwrite; python -m pyserini_xqg.store verify {directory} names all such places."
                    )
                writer.commit(chunk.entry["rows"], chunk.entry["queries"], chunk.data)
        writer.finish()
    say(f"{output}: {total:,} passages from {len(ordered)} shards")

"""One corpus over several processes or machines: each encodes a shard, a merge makes the store of them.

A shard is a whole number of chunks, and a chunk's vectors depend on its own texts alone. So the merged store
is, byte for byte, the one that a single process writes with the same settings on the same kind of machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.cli import progress, say
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import read_json, write_json
from pyserini_xqg.store import (
    DOCIDS_NAME,
    StoreWriter,
    array_specs,
    check_new_store,
    committed_chunks,
    read_store_manifest,
    settings_differences,
    stored_rows,
)

if TYPE_CHECKING:
    from pyserini_xqg.corpus import Corpus, CorpusSummary


@dataclass(frozen=True)
class Shard:
    """Part ``id`` (from 0) of ``num``. Raises :class:`XqgError` unless 0 <= id < num.

    >>> [Shard(number, 3).rows(passages=25, chunk_size=10) for number in range(3)]
    [(0, 10), (10, 20), (20, 25)]
    """

    id: int
    num: int

    def __post_init__(self) -> None:
        if self.num < 1:
            raise XqgError(f"--shard-num {self.num}: must be at least 1.")
        if not 0 <= self.id < self.num:
            raise XqgError(
                f"--shard-id {self.id}: with --shard-num {self.num}, shards are numbered 0 to {self.num - 1}."
            )

    def rows(self, passages: int, chunk_size: int) -> tuple[int, int]:
        """First row and the one after the last; empty where there are more shards than chunks."""
        chunks = -(-passages // chunk_size)
        first, last = (chunks * number // self.num for number in (self.id, self.id + 1))
        return first * chunk_size, min(last * chunk_size, passages)

    def manifest(self, passages: int, chunk_size: int) -> dict[str, int]:
        """What a shard's ``store.json`` says of it."""
        first, last = self.rows(passages, chunk_size)
        return {"id": self.id, "num": self.num, "first": first, "rows": last - first}


def scan_once(corpus: Corpus, directory: str | Path) -> CorpusSummary:
    """What :meth:`Corpus.scan` found, kept in ``directory`` for the other shards of the same files.

    The name of the file that keeps it says all that the result depends on: options, and each input file's name,
    size and time of change. Corpora that are no files are scanned every time.
    """
    from pyserini_xqg.corpus import CorpusSummary

    state = corpus.file_state()
    if state is None:
        return corpus.scan()
    key = json.dumps([state, [field.name for field in fields(CorpusSummary)]])
    path = Path(directory) / f".corpus-{hashlib.sha256(key.encode('utf-8')).hexdigest()[:24]}.json"
    if path.exists():
        say(f"{corpus.source}: unchanged since it was checked for another shard ({path})")
        return CorpusSummary(**read_json(path))
    summary = corpus.scan()
    if corpus.file_state() == state:
        write_json(path, asdict(summary))
    return summary


@dataclass(frozen=True)
class StoredChunk:
    """A committed chunk as it lies on the disk, which may be less than, or other than, what was committed.

    entry : its line of ``chunks.jsonl``. first : row of its first passage in this store.
    data : file name to the bytes found; None for a file that is missing.
    """

    entry: Mapping[str, Any]
    first: int
    data: Mapping[str, bytes | None]

    def damaged(self) -> list[str]:
        """Names of the files whose bytes do not have the SHA-256 that was recorded."""
        found = {name: hashlib.sha256(data).hexdigest() for name, data in self.data.items() if data is not None}
        recorded = self.entry["sha256"]
        return [name for name in dict.fromkeys([*self.data, *recorded]) if found.get(name) != recorded.get(name)]


def read_chunks(directory: str | Path, manifest: Mapping[str, Any]) -> Iterator[StoredChunk]:
    """Yield a store's committed chunks, one in memory."""
    from contextlib import ExitStack

    directory = Path(directory)
    row_bytes = {spec.name: spec.row_bytes for spec in array_specs(manifest)}
    with ExitStack() as stack:
        streams = {
            name: stack.enter_context(open(directory / name, "rb")) if (directory / name).exists() else None
            for name in (DOCIDS_NAME, *row_bytes)  # the order in which chunks.jsonl names them
        }
        for spec in array_specs(manifest):
            if streams[spec.name]:
                streams[spec.name].seek(len(spec.header()))
        first = 0
        for entry in committed_chunks(directory):
            sizes = {DOCIDS_NAME: entry["docid_bytes"]}
            for name, size in row_bytes.items():
                vectors = name.startswith("vectors.")
                sizes[name] = size * (entry["queries"].get(name.split(".")[1], 0) if vectors else entry["rows"])
            data = {name: stream.read(sizes[name]) if stream else None for name, stream in streams.items()}
            yield StoredChunk(entry, first, data)
            first += entry["rows"]


def _check_shards(shards: Sequence[str | Path]) -> list[tuple[str | Path, dict[str, Any]]]:
    """The shards with their manifests in the order of the corpus; :class:`XqgError` unless they make one store."""
    found: dict[int, tuple[str | Path, dict[str, Any]]] = {}
    reference: tuple[str | Path, dict[str, Any]] | None = None
    for directory in shards:
        manifest = read_store_manifest(directory)
        if "shard" not in manifest:
            raise XqgError(f"{directory}: a whole store, not a shard. Pass what encode --shard-id … wrote.")
        shard = manifest["shard"]
        if not manifest.get("complete"):
            done = sum(entry["rows"] for entry in committed_chunks(directory))
            raise XqgError(
                f"{directory}: shard {shard['id']} is unfinished, {done:,} of {stored_rows(manifest):,} passages are "
                "encoded. Run the pyserini_xqg.encode command it was begun with: it continues there."
            )
        reference = reference or (directory, manifest)
        if differences := settings_differences(_common(reference[1]), _common(manifest), "here"):
            raise XqgError(
                f"{directory}: no shard of the same store as {reference[0]}: {'; '.join(differences)}. Merge shards of "
                "one corpus, encoded with the same options."
            )
        if shard["id"] in found:
            raise XqgError(f"{directory}: shard {shard['id']} again, after {found[shard['id']][0]}. Pass each once.")
        found[shard["id"]] = directory, manifest
    if reference is None:
        raise XqgError("no shards to merge. Pass the directories that encode --shard-id … wrote.")
    number = reference[1]["shard"]["num"]
    if missing := [str(shard) for shard in range(number) if shard not in found]:
        raise XqgError(
            f"shard {', '.join(missing)} of {number} is missing. Pass all of them; one that was never made needs "
            f"encode --shard-id {missing[0]} --shard-num {number}."
        )
    return [found[shard] for shard in range(number)]


def _common(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What all shards of a store have in common."""
    return {**manifest, "shard": {"num": manifest["shard"]["num"]}}


def merge_shards(shards: Sequence[str | Path], output: str | Path, *, overwrite: bool = False) -> None:
    """Join the shards of a corpus, given in any order, to the store ``output``; they stay as they are.

    Streams chunk by chunk and checks each one's SHA-256. Interrupted, the same call continues where it stopped.
    Raises :class:`XqgError` if the shards do not make one store or are damaged, and as :class:`StoreWriter` does.
    """
    check_new_store(output, overwrite)
    ordered = _check_shards(shards)
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

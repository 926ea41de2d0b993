"""The files of an embedding store: their names, shapes and chunks, and how two stores are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyserini_xqg.core.chunks import ChunkKind, ChunkSizes, StoredChunk, stored_chunks
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import differing

DOCIDS_NAME = "docids.txt"
DTYPES = ("float32", "float16")
FUSED = "all"
"""Stands in file names where a language does, in a store that keeps one vector for all languages."""

# The probe's digits depend on the machine's arithmetic: it is compared with a tolerance.
_UNCOMPARED = ("complete", "files", "manifest_sha256", "versions.", "probe.", "shard.queries.", "encoder.sources")


def settings_differences(there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now") -> list[str]:
    """What differs between two manifests, as phrases for a message; ``word`` stands for the second.

    >>> settings_differences({"dtype": "float32"}, {"dtype": "float16"})
    ["dtype is 'float32' there and 'float16' now"]
    """
    from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance

    differences = differing(there, now, word, _UNCOMPARED)
    if not differences and "probe" in there and "probe" in now:
        distance = probe_distance(there["probe"], now["probe"])
        if distance > TOLERANCE:
            differences.append(f"the encoder's vector of the probe text differs by {distance:.0%}: other weights")
    return differences


STORE_KIND = ChunkKind(
    "embedding store",
    "store.json",
    "pyserini-xqg store",
    2,
    "pyserini_xqg.encode",
    compare=settings_differences,
    entry=("rows", "queries", "passages_with_queries", "sha256", "docid_bytes"),
)


@dataclass(frozen=True)
class ArraySpec:
    """One array file: name, shape, dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def header(self) -> bytes:
        """The .npy header for this array."""
        import io

        buffer = io.BytesIO()
        description = {"descr": np.dtype(self.dtype).newbyteorder("<").str, "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(buffer, description)
        return buffer.getvalue()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.shape[1:], dtype=np.int64))

    @property
    def file_bytes(self) -> int:
        """Bytes of the whole file, header included."""
        return len(self.header()) + self.shape[0] * self.row_bytes

    def read(self, stream: IO[bytes], rows: int) -> np.ndarray:
        """The next ``rows`` rows of an open file, int32, float64 or float32; :class:`XqgError` if it ends before."""
        values = np.empty((rows, *self.shape[1:]), dtype=np.dtype(self.dtype).newbyteorder("<"))
        left = memoryview(values.reshape(-1).view(np.uint8))
        while left:
            number = stream.readinto(left)
            if not number:
                raise XqgError(f"{stream.name}: ends too early. It is damaged: encode again with --overwrite.")
            left = left[number:]
        return values.astype(np.float32 if self.dtype == "float16" else self.dtype, copy=False)


def stored_rows(manifest: Mapping[str, Any]) -> int:
    """Number of passages that the store itself holds: all of the corpus, or a shard's."""
    return manifest["shard"]["rows"] if "shard" in manifest else manifest["corpus"]["passages"]


def stored_queries(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Number of query vectors per array: by language, or all under ``all`` in a fused store.

    Of an unfinished shard an estimate: its share of the corpus.
    """
    queries = manifest["corpus"]["queries"]
    if "shard" in manifest:
        if "queries" in manifest["shard"]:
            return dict(manifest["shard"]["queries"])
        rows, passages = stored_rows(manifest), manifest["corpus"]["passages"]
        queries = {language: -(-total * rows // passages) for language, total in queries.items()}
    return {FUSED: sum(queries.values())} if manifest.get("fuse") and queries else dict(queries)


def array_specs(manifest: Mapping[str, Any]) -> list[ArraySpec]:
    """The array files of a store, from its manifest."""
    passages, dimension, dtype = stored_rows(manifest), manifest["dimension"], manifest["dtype"]
    kind = manifest.get("fuse") or "sum"
    specs = [ArraySpec("passages.npy", (passages, dimension), dtype)]
    for language, total in stored_queries(manifest).items():
        specs.append(ArraySpec(f"{kind}.{language}.npy", (passages, dimension), dtype))
        specs.append(ArraySpec(f"count.{language}.npy", (passages,), "int32"))
        if manifest["keep_query_vectors"]:
            specs.append(ArraySpec(f"vectors.{language}.npy", (total, dimension), dtype))
    chunks = -(-passages // manifest["chunk_size"])
    specs += [
        ArraySpec(f"centroid.{language}.npy", (chunks, dimension), "float64")
        for language in manifest["corpus"]["queries"]
    ]
    return specs


def chunk_sizes(manifest: Mapping[str, Any]) -> ChunkSizes:
    """The bytes of a store's chunks in each of its files."""
    row_bytes = {spec.name: spec.row_bytes for spec in array_specs(manifest)}

    def rows(entry: Mapping[str, Any], name: str) -> int:
        kind, language = name.split(".")[:2]
        return {"vectors": entry["queries"].get(language, 0), "centroid": 1}.get(kind, entry["rows"])

    def sizes(entry: Mapping[str, Any]) -> dict[str, int]:
        return {DOCIDS_NAME: entry["docid_bytes"]} | {
            name: size * rows(entry, name) for name, size in row_bytes.items()
        }

    return sizes


def read_chunks(directory: str | Path, manifest: Mapping[str, Any]) -> Iterator[StoredChunk]:
    """Yield a store's committed chunks as they lie on the disk, one in memory."""
    headers = {DOCIDS_NAME: 0} | {spec.name: len(spec.header()) for spec in array_specs(manifest)}
    return stored_chunks(directory, STORE_KIND, headers, chunk_sizes(manifest))

"""Writes FAISS's flat inner-product index straight to disk, block by block, so that no index is held in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import HashedFile


def flat_header(dimension: int, count: int) -> bytes:
    """The bytes that FAISS writes before the vectors of an ``IndexFlatIP`` with ``count`` vectors.

    Taken from FAISS itself: an index of one zero vector is serialised, and the two places that hold the
    number of vectors are set. Raises :class:`XqgError` if FAISS lays them out otherwise.
    """
    import faiss

    index = faiss.IndexFlatIP(dimension)
    index.add(np.zeros((1, dimension), dtype=np.float32))
    header = bytearray(faiss.serialize_index(index).tobytes()[: -4 * dimension])
    total, size = slice(8, 16), slice(len(header) - 8, len(header))  # ntotal; length of the codes in floats
    if (
        header[:4] != b"IxFI"
        or struct.unpack("<q", header[total])[0] != 1
        or struct.unpack("<Q", header[size])[0] != dimension
    ):
        raise XqgError(
            f"FAISS {faiss.__version__} writes flat indexes in an unknown layout. Use faiss-cpu 1.9 to 1.15."
        )
    header[total] = struct.pack("<q", count)
    header[size] = struct.pack("<Q", count * dimension)
    return bytes(header)


def write_flat_index(path: str | Path, dimension: int, count: int, blocks: Iterable[np.ndarray]) -> str:
    """Write an ``IndexFlatIP`` with the rows of ``blocks`` (float32, (rows, dimension)), ``count`` in all.

    The file is what ``faiss.write_index`` writes for the same vectors, byte for byte. Returns its SHA-256.

    >>> import faiss
    >>> _ = write_flat_index("/tmp/xqg-doctest-index", 2, 1, [np.array([[1, 2]], dtype=np.float32)])
    >>> faiss.read_index("/tmp/xqg-doctest-index").reconstruct(0).tolist()
    [1.0, 2.0]
    """
    written = 0
    with HashedFile(path) as out:
        out.write(flat_header(dimension, count))
        for block in blocks:
            out.write(np.ascontiguousarray(block, dtype="<f4").data)
            written += len(block)
    if written != count:
        raise XqgError(f"{path}: {written:,} vectors came where {count:,} were expected. Encode the store again.")
    return out.sha256

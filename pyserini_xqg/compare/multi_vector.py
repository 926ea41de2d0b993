"""An index with an entry for every vector of a passage, which stock Pyserini searches with ``--max-passage``.

The passage's own vector is the entry ``docid``, its query vectors are ``docid#1``, ``docid#2``, …, language by
language in the store's order. Pyserini cuts an entry's name at the first delimiter and keeps the best entry of each
passage.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import HashedFile, read_lines
from pyserini_xqg.core.kinds import seal
from pyserini_xqg.core.output import write_directory
from pyserini_xqg.vectors.flat import write_flat_index
from pyserini_xqg.vectors.manifest import INDEX_KIND, SINGLE, package_versions
from pyserini_xqg.vectors.store import EmbeddingStore

DELIMITER = "#"
"""What ``--max-passage-delimiter`` is by default in Pyserini."""


def number_of_entries(store: EmbeddingStore) -> int:
    """Vectors of passages and of queries, together."""
    return store.passages + sum(store.manifest["corpus"]["queries"].values())


def entries_needed(store: EmbeddingStore, passages: int) -> int:
    """How many entries to search for so that the best ``passages`` are surely among them."""
    most = 1 + int(sum(store.array(f"count.{language}").astype(np.int64) for language in store.languages).max())
    return min(number_of_entries(store), (passages - 1) * most + 1)


def entry_blocks(store: EmbeddingStore, block_bytes: int = 1 << 22) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks of vectors, float32 (entries, dimension), and the row of the passage that each belongs to.

    Of one passage come its own vector first, then its queries' language by language. Passages are taken in blocks of
    about ``block_bytes`` (their own vectors). Raises :class:`XqgError` for a store without each query's vector.
    """
    store.check_query_vectors()
    for block in store.blocks(store.languages, vectors=True, block_bytes=block_bytes):
        rows = np.arange(len(block))
        owner = np.concatenate([rows, *(np.repeat(rows, block.counts[code]) for code in store.languages)])
        order = np.argsort(owner, kind="stable")
        vectors = np.concatenate([block.passages, *(block.vectors[code] for code in store.languages)])
        yield vectors[order], owner[order] + block.first


def build_multi_vector_index(
    store: EmbeddingStore,
    output: str | Path,
    delimiter: str = DELIMITER,
    *,
    overwrite: bool = False,
    block_bytes: int = 1 << 22,
) -> dict[str, Any]:
    """Write ``index``, ``docid`` and ``xqg.json``, whole or not at all; returns the manifest.

    Raises :class:`XqgError` for a store without each query's vector, and for a docid with the delimiter in it.
    """
    store.check_query_vectors()
    entries = number_of_entries(store)
    with (
        write_directory(output, INDEX_KIND, overwrite, [store.directory]) as directory,
        progress(total=entries, unit="vectors") as bar,
    ):
        with HashedFile(directory / "docid") as docids:
            vectors = _named_blocks(store, delimiter, block_bytes, docids, bar)
            checksum = write_flat_index(directory / "index", store.dimension, entries, vectors)
        described = {
            "encoder": store.manifest["encoder"],
            "probe": store.manifest["probe"],
            "dimension": store.dimension,
            "fields": store.manifest["fields"],
            "augmentation": {"alpha": None, "aggregate": "max", "languages": store.languages, "normalize": False},
            "layout": SINGLE,
            # Not "passages", which is the number of vectors where each passage has one.
            "counts": {"entries": entries, "queries": store.manifest["corpus"]["queries"]},
            "max_passage_delimiter": delimiter,
            "corpus_sha256": store.manifest["corpus"]["sha256"],
            "versions": package_versions(),
        }
        return seal(directory, INDEX_KIND, described, {"index": checksum, "docid": docids.sha256})


def _named_blocks(
    store: EmbeddingStore, delimiter: str, block_bytes: int, docids: HashedFile, bar: Any
) -> Iterator[np.ndarray]:
    """Yield blocks of vectors, and write their names."""
    names = read_lines(store.docids_path)
    for vectors, owner in entry_blocks(store, block_bytes):
        lines = []
        numbers = np.bincount(owner - owner[0])
        for number, (_, docid) in zip(numbers, islice(names, len(numbers)), strict=True):
            if delimiter in docid:
                raise XqgError(
                    f"{store.docids_path}: docid {docid!r} holds {delimiter!r}, at which Pyserini cuts the entries' "
                    "names. Pass another --max-passage-delimiter."
                )
            lines += [docid, *(f"{docid}{delimiter}{entry}" for entry in range(1, number))]
        docids.write("".join(f"{line}\n" for line in lines).encode("utf-8"))
        yield vectors
        bar.update(len(vectors))

"""Exact search of vectors that come in blocks: FAISS on one block at a time, and the best k over all of them.

Memory holds one block and the best k, whatever the number of vectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_lines

_BLOCK_BYTES = 1 << 25
# FAISS multiplies queries by so many vectors at a time: in blocks of a multiple, the products have the shapes, and so
# the rounding, that they have in one IndexFlatIP of all vectors.
_FAISS_ROWS = 1024


class ExactSearch:
    """The best ``k`` by inner product among rows that are added block by block.

    Equal scores are ordered by row. Which of several rows that tie with the last place get it is FAISS's choice.

    Parameters
    ----------
    queries : (queries, dimension), taken as float32. k : rows to find for each.

    >>> search = ExactSearch(np.array([[1, 0]]), k=2)
    >>> search.add(np.array([[1, 1], [3, 0]]))
    >>> search.add(np.array([[2, 2]]))
    >>> scores, rows = search.result()
    >>> scores.tolist(), rows.tolist()
    ([[3.0, 2.0]], [[1, 2]])
    """

    def __init__(self, queries: np.ndarray, k: int, block_bytes: int = _BLOCK_BYTES) -> None:
        self._queries = np.ascontiguousarray(queries, dtype=np.float32)
        number, dimension = self._queries.shape
        self._k = k
        rows = max(1, block_bytes // (4 * dimension * _FAISS_ROWS)) * _FAISS_ROWS
        self._block = np.empty((rows, dimension), dtype=np.float32)
        self._filled = self._first = 0  # rows in the block, and searched before it
        self._scores = np.empty((number, 0), dtype=np.float32)
        self._rows = np.empty((number, 0), dtype=np.int64)

    def add(self, vectors: np.ndarray) -> None:
        """Add rows, (rows, dimension); their numbers run on from those added before."""
        while len(vectors):
            some = vectors[: len(self._block) - self._filled]
            self._block[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            vectors = vectors[len(some) :]
            if self._filled == len(self._block):
                self._search()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores float32 and row numbers int64, (queries, k), best first; fewer columns where there are fewer rows."""
        self._search()
        return self._scores, self._rows

    def _search(self) -> None:
        import faiss

        if not self._filled:
            return
        k = min(self._k, self._filled)
        scores, rows = faiss.knn(self._queries, self._block[: self._filled], k, faiss.METRIC_INNER_PRODUCT)
        scores = np.concatenate([self._scores, scores], axis=1)
        rows = np.concatenate([self._rows, rows.astype(np.int64) + self._first], axis=1)
        best = np.lexsort((rows, -scores), axis=1)[:, : self._k]
        self._scores, self._rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
        self._first += self._filled
        self._filled = 0


def read_docids(path: str | Path, rows: np.ndarray) -> dict[int, str]:
    r"""Row number to docid, for these rows alone, from a file of one docid a line (a store's or an index's).

    Raises :class:`XqgError` where the file has fewer lines.

    >>> _ = Path("/tmp/xqg-doctest-docids.txt").write_text("a\nb\nc\n")
    >>> read_docids("/tmp/xqg-doctest-docids.txt", np.array([[2, 0]]))
    {0: 'a', 2: 'c'}
    """
    wanted = np.unique(rows).tolist()
    found = {}
    lines = read_lines(path)
    for row in wanted:
        for number, docid in lines:
            if number == row + 1:
                found[row] = docid
                break
    if len(found) < len(wanted):
        raise XqgError(f"{path}: has no line {wanted[-1] + 1:,}. The file is damaged: build it again.")
    return found

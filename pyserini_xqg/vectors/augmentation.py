r"""The xQG equation and its variants: pure arithmetic on passage vectors and query vectors.

Source: Zhuang, Shou, Zuccon, "Augmenting Passage Representations with Query Generation for Enhanced
Cross-Lingual Dense Retrieval", SIGIR 2023 (arXiv 2305.03950):

.. math:: p' = (1 - \alpha)\, E(p) + \alpha \sum_{l} \sum_{j} E(q_{lj})

with alpha 0.01, seven languages and five queries a language. ``aggregate="mean"`` puts the mean over
languages of each language's mean in place of the sum, so that passages with many queries do not grow
long vectors. A passage without any query of the chosen languages keeps its plain vector (not
``1 - alpha`` of it).

Every setting is named here; what is chosen where none is, :meth:`pyserini_xqg.vectors.building.Recipe.resolve` says.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pyserini_xqg.core.errors import XqgError

AGGREGATES = ("sum", "mean")
PAPER_ALPHA = 0.01
DEFAULT_AGGREGATE = "mean"
DEFAULT_ALPHA = {"sum": PAPER_ALPHA, "mean": 0.5}


def check_alpha(alpha: float, where: str = "--alpha") -> float:
    """Return ``alpha`` if it lies in [0, 1]; :class:`XqgError` otherwise."""
    if not 0.0 <= alpha <= 1.0:  # also refuses NaN
        raise XqgError(
            f"{where} {alpha}: outside [0, 1]. It is the weight of the generated queries; the paper's is 0.01."
        )
    return alpha


def check_aggregate(aggregate: str) -> str:
    """Return ``aggregate`` if it is one of :data:`AGGREGATES`; :class:`XqgError` otherwise."""
    if aggregate not in AGGREGATES:
        raise XqgError(f"aggregate {aggregate!r}: must be one of {', '.join(AGGREGATES)}.")
    return aggregate


def aggregate_queries(
    sums: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray], aggregate: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the languages' query vectors to one vector a passage.

    Parameters
    ----------
    sums : language -> array (passages, dimension), sum of the passage's query vectors in that language.
    counts : language -> integer array (passages,), number of queries summed; 0 where there is none.
    aggregate : ``"sum"`` over all queries (the paper), or ``"mean"`` over languages of each language's mean.

    Returns
    -------
    (array float32 (passages, dimension), bool array (passages,): True where the passage has a query).

    >>> sums, counts = {"ar": np.array([[4.0, 0.0]]), "te": np.array([[0.0, 3.0]])}, {"ar": np.array([2]), "te": np.array([1])}
    >>> aggregate_queries(sums, counts, "mean")[0].tolist()
    [[1.0, 1.5]]
    """  # noqa: E501
    check_aggregate(aggregate)
    total: np.ndarray | None = None
    share: np.ndarray | None = None
    languages_present = np.zeros(next(iter(sums.values())).shape[0], dtype=np.float32)
    for language, vectors in sums.items():
        count = np.asarray(counts[language])
        languages_present += count > 0
        if aggregate == "mean":
            number = np.maximum(count, 1).astype(np.float32)[:, None]
            share = np.divide(vectors, number, out=share, dtype=np.float32, casting="same_kind")
            vectors = share
        if total is None:
            total = np.array(vectors, dtype=np.float32)
        else:
            total += vectors
    if aggregate == "mean":
        total /= np.maximum(languages_present, 1.0)[:, None]
    return total, languages_present > 0


def normalize_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale each row to unit Euclidean length; rows of zeros stay zero. Returns float32.

    >>> normalize_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float32))
    return vectors / np.where(lengths > 0, lengths, np.float32(1))[:, None]


def augment(
    passages: np.ndarray,
    sums: Mapping[str, np.ndarray],
    counts: Mapping[str, np.ndarray],
    alpha: float,
    aggregate: str,
    normalize: bool = False,
) -> np.ndarray:
    """Augmented passage vectors, float32 (passages, dimension); the inputs are left as they are.

    ``passages`` (passages, dimension), ``sums`` and ``counts`` as in :func:`aggregate_queries`; with no
    language at all, the plain vectors come back. ``normalize`` scales every result to unit length.

    >>> p, s, c = np.array([[1.0, 0.0]]), {"ar": np.array([[0.0, 2.0]])}, {"ar": np.array([2])}
    >>> augment(p, s, c, alpha=0.5, aggregate="mean").tolist()
    [[0.5, 0.5]]
    """
    check_alpha(alpha, "alpha")
    result = np.array(passages, dtype=np.float32)
    if sums and alpha > 0:
        queries, present = aggregate_queries(sums, counts, aggregate)
        queries *= np.float32(alpha)
        result *= np.float32(1 - alpha)
        result += queries
        if not present.all():
            result[~present] = passages[~present]
    return normalize_rows(result) if normalize else result


def stack_parts(
    passages: np.ndarray, sums: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray], aggregate: str
) -> np.ndarray:
    """Vectors that serve every alpha, float32 (passages, 2 x dimension): the passage's, then its queries'.

    With a query vector :func:`stack_query` of some alpha, their inner product is that with :func:`augment` of the
    same alpha. A passage without any query has its own vector in both halves.

    >>> p, s, c = np.array([[1.0, 0.0]]), {"ar": np.array([[0.0, 2.0]])}, {"ar": np.array([2])}
    >>> stack_parts(p, s, c, "mean").tolist()
    [[1.0, 0.0, 0.0, 1.0]]
    """
    rows, dimension = passages.shape
    result = np.empty((rows, 2 * dimension), dtype=np.float32)
    result[:, :dimension] = passages
    if not sums:
        result[:, dimension:] = passages
        return result
    queries, present = aggregate_queries(sums, counts, aggregate)
    result[:, dimension:] = np.where(present[:, None], queries, passages)
    return result


def stack_query(query: np.ndarray, alpha: float) -> np.ndarray:
    """The query vectors (..., dimension) that ask :func:`stack_parts` at some alpha: [(1 - alpha) q, alpha q].

    >>> stack_query(np.array([4.0, 8.0]), 0.25).tolist()
    [3.0, 6.0, 1.0, 2.0]
    """
    check_alpha(alpha, "alpha")
    query = np.asarray(query)
    return np.concatenate([query * query.dtype.type(1 - alpha), query * query.dtype.type(alpha)], axis=-1)

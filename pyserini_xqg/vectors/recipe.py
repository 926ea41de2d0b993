r"""The xQG equation, and the recipe that says how it is applied: pure arithmetic on passage and query vectors.

Source: Zhuang, Shou, Zuccon, "Augmenting Passage Representations with Query Generation for Enhanced
Cross-Lingual Dense Retrieval", SIGIR 2023 (arXiv 2305.03950):

.. math:: p' = (1 - \alpha)\, E(p) + \alpha \sum_{l} \sum_{j} E(q_{lj})

with alpha 0.01, seven languages and five queries a language. ``aggregate="mean"`` puts the mean over languages of each
language's mean in place of the sum, so that passages with many queries do not grow long vectors (the mean of a
document's questions as its vector: QAEncoder, Wang et al. 2025). A passage without any query of the chosen languages
keeps its plain vector (not ``1 - alpha`` of it).

All defaults of the augmentation stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import between, option
from pyserini_xqg.text.corpus import QuerySelection

if TYPE_CHECKING:
    from pyserini_xqg.vectors.store import EmbeddingStore

AGGREGATES = ("sum", "mean")
PAPER_ALPHA = 0.01
_DEFAULT_ALPHA = {"mean": 0.5, "sum": PAPER_ALPHA}


@dataclass(frozen=True, kw_only=True)
class Recipe(QuerySelection):
    """Augmentation

    alpha : weight of the queries, 0 (plain passages) to 1. aggregate : ``sum`` or ``mean``.
    normalize : scale the final vectors to unit length. route : one index per language, with its own queries alone.
    languages, max_queries : the queries that are used, see :class:`~pyserini_xqg.text.corpus.QuerySelection`.

    ``alpha``, ``aggregate`` and ``normalize`` may be None: :meth:`resolve` chooses them for a store.

    >>> Recipe(alpha=0.3).alpha, RECIPES["plain"].alpha, RECIPES["paper"].aggregate
    (0.3, 0.0, 'sum')
    """

    alpha: float | None = option(
        None,
        "weight of the generated queries, 0 to 1; 0 is no xQG "
        f"(default: {', '.join(f'{alpha:g} with {name}' for name, alpha in _DEFAULT_ALPHA.items())})",
        metavar="WEIGHT",
        check=between(0, 1),
    )
    aggregate: str | None = option(
        None,
        "mean over languages of each language's mean, or sum over all queries, which is the paper's formula "
        "(default: mean; of a fused store, as it was fused)",
        choices=AGGREGATES,
    )
    route: bool = option(False, "one index per language, in <output>/<language>/")
    normalize: bool | None = option(
        None,
        "scale the final vectors to unit length (default: with mean and an encoder with --l2-norm; not with sum or "
        "--alpha 0)",
    )

    def __post_init__(self) -> None:
        if self.alpha is not None:
            check_alpha(self.alpha)
        if self.aggregate is not None and self.aggregate not in AGGREGATES:
            raise XqgError(f"--aggregate {self.aggregate}: must be one of {', '.join(AGGREGATES)}.")

    def resolve(self, store: EmbeddingStore) -> Recipe:
        """Choose what this recipe leaves open; every index is built of a recipe that went through here.

        aggregate : as the store was fused, else ``mean``. alpha : 0.5 with ``mean``, the paper's 0.01 with ``sum``.
        normalize : where a ``mean`` has moved vectors that the encoder scales to unit length. So not with ``sum``,
        which is the paper's formula as it stands, or with alpha 0, where vectors stay as they were encoded.

        Raises :class:`XqgError` for languages that the store lacks, and for what a fused store cannot give.
        """
        aggregate = self.aggregate or store.fuse or "mean"
        alpha = float(_DEFAULT_ALPHA[aggregate] if self.alpha is None else self.alpha)
        normalize = self.normalize
        if normalize is None:
            normalize = store.encoder.l2_norm and aggregate == "mean" and alpha > 0
        languages = store.languages if self.languages is None else self.languages
        if alpha == 0 and not self.route:
            languages = ()  # no query is used, so none is read
        else:
            store.check_use(aggregate, self.languages, self.max_queries, self.route)
        if missing := [language for language in languages if language not in store.languages]:
            raise XqgError(
                f"{store.directory}: no queries in {', '.join(missing)}. It has {', '.join(store.languages) or 'none'}"
                "; choose --languages among them, or encode again."
            )
        if self.route and not languages:
            raise XqgError(
                f"{store.directory}: has no generated queries, so there is no language to route by. Leave --route out."
            )
        return replace(self, alpha=alpha, aggregate=aggregate, normalize=normalize, languages=tuple(languages))

    def routes(self) -> dict[str, Recipe]:
        """For a routed recipe that was resolved: each language's own recipe."""
        return {language: replace(self, languages=(language,), route=False) for language in self.languages}

    def apply(
        self, passages: np.ndarray, sums: Mapping[str, np.ndarray], counts: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The vectors of a resolved recipe, float32 (passages, dimension), see :func:`augment`."""
        return augment(passages, sums, counts, self.alpha, self.aggregate, self.normalize)

    def describe(self) -> dict[str, Any]:
        """JSON values of a resolved recipe, as an index's manifest has them."""
        return {
            "alpha": self.alpha,
            "aggregate": self.aggregate,
            "languages": list(self.languages),
            "max_queries": self.max_queries,
            "normalize": self.normalize,
        }


def check_alpha(alpha: float, where: str = "--alpha") -> float:
    """Return ``alpha`` if it lies in [0, 1]; :class:`XqgError` otherwise."""
    if not 0.0 <= alpha <= 1.0:  # also refuses NaN
        raise XqgError(
            f"{where} {alpha:g}: outside [0, 1]. It is the weight of the generated queries; the paper's is 0.01."
        )
    return alpha


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
    result = np.array(passages, dtype=np.float32)
    if sums and alpha > 0:
        queries, present = aggregate_queries(sums, counts, aggregate)
        queries *= np.float32(alpha)
        result *= np.float32(1 - alpha)
        result += queries
        if not present.all():
            result[~present] = passages[~present]
    return normalize_rows(result) if normalize else result


RECIPES = {
    "plain": Recipe(alpha=0.0),
    "paper": Recipe(aggregate="sum"),
    "default": Recipe(),
    "routed": Recipe(route=True),
}
"""Recipes by the names that comparisons, conditions and the demo have for them."""

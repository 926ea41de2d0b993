r"""The xQG equation, and the recipe that says how it is applied: pure arithmetic on passage and query vectors.

Source: Zhuang, Shou, Zuccon, "Augmenting Passage Representations with Query Generation for Enhanced
Cross-Lingual Dense Retrieval", SIGIR 2023 (arXiv 2305.03950):

.. math:: p' = (1 - \alpha)\, E(p) + \alpha \sum_{l} \sum_{j} E(q_{lj})

with alpha 0.01, seven languages and five queries a language. ``aggregate="mean"`` puts the mean over languages of each
language's mean in place of the sum, so that passages with many queries do not grow long vectors (the mean of a
document's questions as its vector: QAEncoder, Wang et al. 2025). A passage without any query of the chosen languages
keeps its plain vector (not ``1 - alpha`` of it). The default scales that mean and the mixed vector to unit length, and
takes half of what the vectors have in the directions of the languages away (:func:`language_basis`):

.. math:: v = unit((1 - \alpha)\, E(p) + \alpha\, unit(m)), \qquad index = v - c\,(v U^T) U

All defaults of the augmentation stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import check_language
from pyserini_xqg.core.options import between, option
from pyserini_xqg.text.corpus import QuerySelection
from pyserini_xqg.vectors.manifest import MEAN_ROUTE, PLAIN_ROUTE

if TYPE_CHECKING:
    from pyserini_xqg.vectors.store import EmbeddingStore

AGGREGATES = ("sum", "mean")
PAPER_ALPHA = 0.01
_DEFAULT_ALPHA = {"mean": 0.25, "sum": PAPER_ALPHA}
_DEFAULT_REMOVAL = 0.5
_SHARE = between(0, 1)
_SINGULAR = 1e-6
"""Directions whose singular value is a smaller share of the largest are noise, and no directions of languages."""


@dataclass(frozen=True, kw_only=True)
class Recipe(QuerySelection):
    """Augmentation

    alpha : weight of the queries, 0 (plain passages) to 1. aggregate : ``sum`` or ``mean``.
    normalize : scale vectors to unit length, the queries' mean too where the encoder's have unit length.
    language_removal : share of the languages' directions that is taken out of the vectors afterwards, 0 to 1.
    route : one index per language, with its own queries alone. passage_language : of the passages.
    languages, max_queries : the queries that are used, see :class:`~pyserini_xqg.text.corpus.QuerySelection`.

    What is None is chosen for a store by :meth:`resolve`, which also sets ``unit_mean``.

    >>> Recipe(alpha=0.3).alpha, RECIPES["plain"].alpha, RECIPES["paper"].aggregate
    (0.3, 0.0, 'sum')
    """

    alpha: float | None = option(
        None,
        "weight of the generated queries, 0 to 1; 0 is no xQG "
        f"(default: {', '.join(f'{alpha:g} with {name}' for name, alpha in _DEFAULT_ALPHA.items())})",
        metavar="WEIGHT",
        check=_SHARE,
    )
    aggregate: str | None = option(
        None,
        "mean over languages of each language's mean, or sum over all queries, which is the paper's formula "
        "(default: mean)",
        choices=AGGREGATES,
    )
    normalize: bool | None = option(
        None,
        "scale the queries' mean and the mixed vectors to unit length (default: with mean and an encoder whose vectors "
        "have unit length; not with sum or --alpha 0)",
    )
    language_removal: float | None = option(
        None,
        f"share of the languages' directions taken out of the vectors, 0 to 1 (default: {_DEFAULT_REMOVAL:g} where "
        "vectors are scaled to unit length by default, else 0)",
        metavar="SHARE",
        check=_SHARE,
    )
    route: bool = option(False, "one index per language, in <output>/<language>/")
    passage_language: str = option(
        "en",
        "with --route: language of the passages, whose topics are best served by a plain index where it has no queries",
        metavar="CODE",
        read=check_language,
    )
    unit_mean: bool = False

    def __post_init__(self) -> None:
        if self.alpha is not None and (wanted := _SHARE(self.alpha)):
            raise XqgError(f"--alpha {self.alpha:g}: must be {wanted}.")
        if self.aggregate is not None and self.aggregate not in AGGREGATES:
            raise XqgError(f"--aggregate {self.aggregate}: must be one of {', '.join(AGGREGATES)}.")

    def resolve(self, store: EmbeddingStore) -> Recipe:
        """Choose what this recipe leaves open; every index is built of a recipe that went through here.

        Where the encoder's vectors have unit length: the mean at unit length, alpha 0.25, the result at unit length,
        half of the languages' directions removed. Where they have not: the mean as it is, alpha 0.25, nothing removed.
        With ``sum``: the paper's 0.01, nothing scaled or removed. Alpha 0 alone leaves vectors as they were encoded.

        Raises :class:`XqgError` for languages that the store lacks, and for what a fused store cannot give.
        """
        aggregate = self.aggregate or "mean"
        alpha = float(_DEFAULT_ALPHA[aggregate] if self.alpha is None else self.alpha)
        unit = store.encoder.l2_norm and aggregate == "mean" and alpha > 0
        normalize = unit if self.normalize is None else self.normalize
        removal = self.language_removal
        if removal is None:
            removal = _DEFAULT_REMOVAL if unit and normalize else 0.0
        languages = tuple(store.languages if self.languages is None else self.languages)
        if alpha == 0 and removal == 0 and not self.route:
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
        return replace(
            self,
            alpha=alpha,
            aggregate=aggregate,
            normalize=normalize,
            language_removal=float(removal),
            languages=languages,
            unit_mean=unit and normalize,
        )

    @property
    def languages_read(self) -> tuple[str, ...]:
        """The languages whose queries a resolved recipe mixes in."""
        return self.languages if self.alpha > 0 else ()

    def routes(self) -> dict[str, Recipe]:
        """For a routed recipe that was resolved: name to recipe, of each language, and of what serves the others.

        ``plain`` serves topics in the passages' language, where that has no queries of its own, ``mean`` topics in
        every other language without queries.
        """
        single = replace(self, route=False)
        routes = {language: replace(single, languages=(language,)) for language in self.languages}
        if self.passage_language not in self.languages:
            plain = {"alpha": 0.0, "language_removal": 0.0, "normalize": False, "languages": ()}
            routes[PLAIN_ROUTE] = replace(single, **plain)
        return {**routes, MEAN_ROUTE: single}

    def basis(self, store: EmbeddingStore) -> np.ndarray | None:
        """Directions of the languages for :func:`augment`, see :func:`language_basis`; None where none is removed.

        Of the recipe's languages, or of all of the store's for one of a routed index.
        """
        return language_basis(store.centroids(self.languages)) if self.language_removal else None

    def apply(
        self,
        passages: np.ndarray,
        sums: Mapping[str, np.ndarray],
        counts: Mapping[str, np.ndarray],
        basis: np.ndarray | None = None,
    ) -> np.ndarray:
        """The vectors of a resolved recipe, float32 (passages, dimension), see :func:`augment`."""
        return augment(
            passages,
            sums,
            counts,
            self.alpha,
            self.aggregate,
            self.normalize,
            unit_mean=self.unit_mean,
            basis=basis,
            removal=self.language_removal,
        )

    def describe(self) -> dict[str, Any]:
        """JSON values of a resolved recipe, as an index's manifest has them."""
        return {
            "alpha": self.alpha,
            "aggregate": self.aggregate,
            "languages": list(self.languages),
            "max_queries": self.max_queries,
            "normalize": self.normalize,
            "language_removal": self.language_removal,
        }


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


def language_basis(centroids: Mapping[str, np.ndarray]) -> np.ndarray:
    """Orthonormal directions that span the languages' centroids, float32 (directions, dimension).

    centroids : language -> (dimension,), the mean of its passages' mean query vectors; not centred.

    Source: what a language's vectors have in common is taken out of sentence vectors by LIR (Yang et al. 2021); here
    the directions come from the generated queries alone.

    >>> language_basis({"fi": np.array([2.0, 0.0]), "ja": np.array([4.0, 0.0])}).tolist()
    [[1.0, 0.0]]
    """
    matrix = np.stack(list(centroids.values()))
    _, values, directions = np.linalg.svd(matrix, full_matrices=False)
    kept = directions[values > _SINGULAR * values[0]] if values[0] > 0 else directions[:0]
    # A direction's sign is arbitrary: fixed, so that the same store gives the same bytes on every machine.
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
    return (kept * signs[:, None]).astype(np.float32)


def augment(
    passages: np.ndarray,
    sums: Mapping[str, np.ndarray],
    counts: Mapping[str, np.ndarray],
    alpha: float,
    aggregate: str,
    normalize: bool = False,
    *,
    unit_mean: bool = False,
    basis: np.ndarray | None = None,
    removal: float = 0.0,
) -> np.ndarray:
    """Augmented passage vectors, float32 (passages, dimension); the inputs are left as they are.

    Parameters
    ----------
    passages : (passages, dimension). sums, counts : as in :func:`aggregate_queries`; with no language at all, the
        passages' own vectors are taken.
    normalize : scale every mixed vector to unit length; one without queries stays as it is.
    unit_mean : scale the queries' mean to unit length before it is mixed in.
    basis : (directions, dimension), orthonormal: of the result v, ``removal`` x (v basis^T) basis is taken away, and
        what is left is not scaled again.

    >>> p, s, c = np.array([[1.0, 0.0]]), {"ar": np.array([[0.0, 2.0]])}, {"ar": np.array([2])}
    >>> augment(p, s, c, alpha=0.5, aggregate="mean").tolist()
    [[0.5, 0.5]]
    >>> augment(p, s, c, alpha=0.5, aggregate="mean", basis=np.array([[0.0, 1.0]]), removal=0.5).tolist()
    [[0.5, 0.25]]
    """
    result = np.array(passages, dtype=np.float32)
    if sums and alpha > 0:
        queries, present = aggregate_queries(sums, counts, aggregate)
        if unit_mean:
            queries = normalize_rows(queries)
        queries *= np.float32(alpha)
        result *= np.float32(1 - alpha)
        result += queries
        if not present.all():
            result[~present] = passages[~present]
    if normalize:
        result = normalize_rows(result)
    if basis is not None and removal:
        result -= np.float32(removal) * ((result @ basis.T) @ basis)
    return result


RECIPES = {
    "plain": Recipe(alpha=0.0),
    "paper": Recipe(aggregate="sum"),
    "default": Recipe(),
    "removal": Recipe(alpha=0.0, language_removal=_DEFAULT_REMOVAL),
    "routed": Recipe(route=True),
}
"""Recipes by the names that comparisons, conditions and the demo have for them."""

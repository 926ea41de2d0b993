"""The systems of a comparison: their names, what they are, and which of them can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pyserini_xqg.compare.grid import FACTORS, Grid, Point
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.recipe import RECIPES

PLAIN, TEXT, MULTI_VECTOR, BM25, DOC2QUERY = "plain", "text", "multi-vector", "bm25", "doc2query"
DENSE = {
    PLAIN: "the passage's own vector",
    "paper": "the paper's: passage vector and sum of all query vectors",
    "default": "what pyserini_xqg.index makes without options",
    "removal": "the passage's own vector without half of the languages' directions",
    "routed": "default, one index per language, with that language's queries alone",
    TEXT: "queries appended to the passage's text before it is encoded (doc2query style)",
    MULTI_VECTOR: "each query's vector an entry docid#j beside the passage's; the best entry counts",
}
"""Systems that search vectors, in the order of the table; the first ones are recipes."""
LEXICAL = {
    BM25: "BM25 over passages",
    DOC2QUERY: "BM25 over passages with their queries appended",
}
"""Systems that search a Lucene index."""
BESIDE_A_GRID = (PLAIN, "paper", "default")
"""Systems that stand beside a grid where none are named."""


@dataclass(frozen=True)
class System:
    """One row of the table: vectors, a Lucene index, or both, fused.

    dense : of :data:`DENSE`, or the name of a point; None without vectors. lexical : of :data:`LEXICAL`.
    store : the store whose vectors are searched, in the names where there are several. point : what is made of it.

    >>> System("paper", "bm25").name, System(None, "doc2query").name, System("plain", store="int8").name
    ('paper+bm25', 'doc2query', 'int8.plain')
    """

    dense: str | None = None
    lexical: str | None = None
    store: str | None = None
    point: Point | None = None

    @property
    def vectors(self) -> str:
        """The name of the part with vectors."""
        return f"{self.store}.{self.dense}" if self.store and self.dense else self.dense or ""

    @property
    def name(self) -> str:
        """As in ``--systems``, and of the run file."""
        return "+".join(filter(None, (self.vectors, self.lexical)))

    @property
    def is_fused(self) -> bool:
        """Whether two systems are fused in it."""
        return self.dense is not None and self.lexical is not None

    @property
    def parts(self) -> list[System]:
        """The systems whose runs are fused in it; itself if it is a single one."""
        if not self.is_fused:
            return [self]
        return [System(self.dense, None, self.store, self.point), System(None, self.lexical)]

    def cells(self) -> dict[str, str]:
        """Factor to its value, as text; empty where it has none."""
        if self.point is None or self.lexical:
            return dict.fromkeys(FACTORS, "")
        of_plain = ("store", "normalize", "max-queries", "alpha")
        return {
            factor: "-" if self.point.is_plain and factor not in of_plain else self.point.cell(factor)
            for factor in FACTORS
        }

    def describe(self) -> str:
        """What it is, in a line."""
        if self.dense is None:
            return LEXICAL[self.lexical]
        about = DENSE.get(self.dense, "a point of the grid")
        if self.point and not self.point.is_plain:
            about += f" ({self.point.name})"
        return f"{about}; fused with {self.lexical}" if self.lexical else about


ALL = [
    *((dense, None) for dense in DENSE),
    *((None, lexical) for lexical in LEXICAL),
    *((dense, lexical) for lexical in LEXICAL for dense in DENSE),
]
"""Vectors and Lucene index of every system, in the order of the table."""


def parse_systems(names: Sequence[str], points: Sequence[str] = ()) -> list[tuple[str | None, str | None]]:
    """Vectors and Lucene index of the systems that ``--systems`` names, in the order of the table.

    points : names of the grid's points, which can be fused too. Raises :class:`XqgError` for an unknown name.

    >>> parse_systems(["mean-alpha0.8+bm25", "paper+bm25", "plain"], ["mean-alpha0.8"])
    [('plain', None), ('paper', 'bm25'), ('mean-alpha0.8', 'bm25')]
    """
    pairs = [*ALL, *((point, lexical) for lexical in LEXICAL for point in points)]
    known = {"+".join(filter(None, pair)): pair for pair in pairs}
    for name in names:
        if name not in known:
            raise XqgError(
                f"--systems {name}: no such system. Choose among {', '.join([*DENSE, *LEXICAL])}, and "
                f"<one of the first {len(DENSE)}, or a point of the grid>+bm25 or +doc2query, such as paper+bm25."
            )
    return [pair for name, pair in known.items() if name in names]


def choose_systems(
    names: Sequence[str] | None, grid: Grid, stores: Mapping[str, object], check: Callable[[System], None]
) -> tuple[list[System], dict[str, str]]:
    """The systems to run, those of the grid last, and those left out with the reason.

    names : the wanted ones; None for all that can be had, or with a grid, :data:`BESIDE_A_GRID` of these.
    stores : by name; each has its own systems of vectors. check : raises :class:`XqgError` for what a single system
    lacks; that is raised for a wanted system, and for a point of the grid.
    """
    several = len(stores) > 1
    points = {point.searched: None for point in grid.points}
    of_grid = {(point.store, point.name): point for point in points}
    wanted = names or (BESIDE_A_GRID if points else None)
    pairs = ALL if wanted is None else parse_systems(wanted, [point.name for point in points])
    chosen, left_out = [], {}
    for dense, lexical in pairs:
        for store in stores if dense else [None]:
            point = of_grid.get((store, dense))
            try:
                if dense in RECIPES:
                    point = Point.of(store, stores[store], RECIPES[dense])
                system = System(dense, lexical, store if several else None, point)
                for part in system.parts:
                    check(part)
                chosen.append(system)
            except XqgError as error:
                name = System(dense, lexical, store if several else None).name
                if names:
                    raise XqgError(f"--systems {name}: {error}") from error
                left_out[name] = str(error)
    rows = runs_of_points(chosen)
    for point in points:
        if point not in rows:
            system = System(point.name, None, point.store if several else None, point)
            try:
                check(system)
            except XqgError as error:
                raise XqgError(f"{system.name}: {error}") from error
            chosen.append(system)
    return chosen, left_out


def runs_of_points(systems: Sequence[System]) -> dict[Point, str]:
    """Each point as it is searched to the name of its run: that of the first system that is just it."""
    return {system.point.searched: system.name for system in reversed(systems) if system.point and not system.lexical}

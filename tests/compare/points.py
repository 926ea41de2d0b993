"""Points and grids of stores that need not exist."""

from pathlib import Path

from pyserini_xqg.compare.grid import Grid, Point
from pyserini_xqg.compare.stores import PlannedStore
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.settings import EncoderConfig


def planned(languages=("ar", "de"), l2_norm=False, **manifest) -> PlannedStore:
    known = {"keep_query_vectors": True} | manifest
    config = EncoderConfig("m", l2_norm=l2_norm)
    return PlannedStore(Path("stores/s"), config, list(languages), 9, manifest=known)


def point(store="s", chosen=None, **recipe) -> Point:
    """A point that is the paper's, where nothing else is said."""
    return Point(
        store,
        Recipe(**{"aggregate": "sum", "alpha": 0.01, "normalize": False, "language_removal": 0.0, **recipe}),
        chosen,
    )


def grid(values, stores=("s",), **store) -> Grid:
    given = {"aggregate": ["sum"], "normalize": [False], "language-removal": [0.0], **values}
    return Grid(given, {name: planned(**store) for name in stores})


def searched(made: Grid) -> list[Point]:
    """The points of a grid, each once, those without augmentation first."""
    points = dict.fromkeys(point.searched for point in made.points)
    plain = [Point(name, Recipe(alpha=0.0, normalize=False)).searched for name in made.values["store"]]
    return list(dict.fromkeys(plain) | points)

"""What a sweep is made of: all inputs, read and checked before any work is done."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.collection import Collection, collection_from
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.evaluate.scoring import Scorer, check_topics
from pyserini_xqg.sweep.crossvalidation import check_choice, related_topics, split_topics
from pyserini_xqg.sweep.curves import choose_axis
from pyserini_xqg.sweep.grid import Grid, Point
from pyserini_xqg.sweep.stores import check_point, describe_store, open_stores
from pyserini_xqg.sweep.topics import rows_by_language, topics_digest
from pyserini_xqg.text.corpus import IRDS_PREFIX
from pyserini_xqg.text.topics import read_topics
from pyserini_xqg.vectors.store import EmbeddingStore


@dataclass(frozen=True)
class Sweep:
    """A sweep that can be begun.

    topics : topic to text, in the order of the runs. settings : what decides the runs, as JSON. rows : language to the
    rows of its topics, if a point is routed. fold_of : topic to its fold, if there is cross-validation.
    """

    grid: Grid
    stores: Mapping[str, EmbeddingStore]
    collection: Collection
    topics: Mapping[str, str]
    settings: Mapping[str, Any]
    rows: Mapping[str, Any]
    fold_of: Mapping[str, int]

    def name(self, point: Point) -> str:
        """The name of a point's run."""
        return self.in_store(point.store, point.searched.name)

    def in_store(self, store: str, name: str) -> str:
        """A run's name with that of the store, where there are several."""
        return f"{store}.{name}" if len(self.stores) > 1 else name


def plan_sweep(args: argparse.Namespace, values: dict[str, Sequence[Any]]) -> Sweep:
    """Read and check all inputs; ``values`` are those of the grid's factors but the store.

    Raises :class:`XqgError` for whatever would make the sweep fail later.
    """
    stores = open_stores(args.store)
    grid = Grid({"store": list(stores), **values})
    choose_axis(grid, args.x)
    for point in grid.points:
        check_point(stores[point.store], point)
    collection = collection_from(args)
    measures = Scorer(collection, args.measures).measures
    if args.choose_by and args.choose_by not in measures:
        raise XqgError(
            f"--choose-by {args.choose_by}: not among the measures. It has to be one of {', '.join(measures)}."
        )
    sources = args.topics or ([f"{IRDS_PREFIX}{args.dataset}"] if args.dataset else [args.answers])
    if sources == [None]:
        raise XqgError("no topics: --qrels has no texts. Pass --topics.")
    topics = read_topics(sources)
    check_topics(topics, ", ".join(sources), collection)
    counted = {qrel.query_id for qrel in collection.qrels or ()} | set(collection.answers or ())
    if missing := sorted(counted - topics.keys()):
        raise XqgError(
            f"{', '.join(sources)}: lacks {len(missing)} of the {len(counted)} questions of {collection.name}, which "
            f"would count 0 (such as {missing[0]}). Pass all topics, or judgements of these alone."
        )
    rows: Mapping[str, Any] = {}
    for point in grid.points:
        if point.route and not point.is_plain:
            served = list(point.languages or stores[point.store].languages)
            rows = rows_by_language(list(topics), collection.languages, served)
    fold_of: dict[str, int] = {}
    if args.cross_validate:
        check_choice(grid, args.cross_validate)
        languages = {topic: collection.languages.get(topic, ALL_TOPICS) for topic in topics}
        fold_of = split_topics(related_topics(topics, collection.qrels), languages, args.folds, args.seed)
    languages = json.dumps(dict(sorted(collection.languages.items()))).encode()
    settings = {
        "stores": {name: describe_store(store) for name, store in stores.items()},
        "topics": {
            "number": len(topics),
            "sha256": topics_digest(topics),
            "languages_sha256": hashlib.sha256(languages).hexdigest(),
        },
        "searcher": args.searcher,
        "hits": args.hits,
        "dtype": args.dtype,
    }
    return Sweep(grid, stores, collection, topics, settings, rows, fold_of)

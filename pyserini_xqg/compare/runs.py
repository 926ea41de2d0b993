"""What Pyserini's searchers find, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Ranking = list[tuple[str, float]]
"""(docid, score), best first."""

_WARM_UP, _REPEAT, _MOST_QUERIES = 16, 5, 100


def median_milliseconds(search: Callable[[Any], object], queries: Sequence[Any]) -> float:
    """Median time of one search, in milliseconds, of up to 100 evenly spread queries, five times each.

    They are searched one at a time, after a warm-up.
    """
    number = min(_MOST_QUERIES, len(queries))
    sample = [queries[len(queries) * place // number] for place in range(number)]
    times = []
    for query in sample[:_WARM_UP] + _REPEAT * sample:
        start = time.perf_counter()
        search(query)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times[len(sample[:_WARM_UP]) :]))


def best_of_passages(hits: Sequence[Any], most: int, delimiter: str | None = None) -> Ranking:
    """(docid, score) of the first ``most`` hits of Pyserini's; with a delimiter, of the best entry of each passage.

    That is what ``--max-passage --max-passage-hits --max-passage-delimiter`` do, by the same code of Pyserini's.
    """
    from pyserini.output_writer import TrecWriter

    passages = {"max_passage_delimiter": delimiter, "max_passage_hits": most}
    writer = TrecWriter("", max_hits=most, use_max_passage=delimiter is not None, **passages)
    return [(docid, float(score)) for docid, _, score, _ in writer.hits_iterator(hits)]


def directory_size(directory: str | Path) -> int:
    """Bytes of the files in an index directory; its lock files do not count."""
    files = (path for path in Path(directory).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.suffix != ".lock" and path.name != ".lock")

"""Runs as they are searched, kept, and timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.files import write_file

Ranking = list[tuple[str, float]]
"""(docid, score), best first."""

_WARM_UP = 16


def write_run(path: str | Path, run: Mapping[str, Ranking], tag: str, digits: int | None = 6) -> None:
    """Write a TREC run, whole or not at all; ``digits`` behind the point as Pyserini's commands write scores.

    None for all digits, as ``pyserini.fusion`` writes them: reciprocal ranks differ little.
    """
    with write_file(path) as out:
        for topic, ranking in run.items():
            for rank, (docid, score) in enumerate(ranking, start=1):
                text = repr(score) if digits is None else f"{score:.{digits}f}"
                out.write(f"{topic} Q0 {docid} {rank} {text} {tag}\n")


def read_ranked(path: str | Path) -> dict[str, Ranking]:
    """A run that :func:`write_run` wrote, in its order; one without lines (nothing was found) is empty."""
    run: dict[str, Ranking] = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            topic, _, docid, _, score, _ = line.split()
            run.setdefault(topic, []).append((docid, float(score)))
    return run


def median_milliseconds(search: Callable[[Any], object], queries: Sequence[Any], repeat: int, most: int) -> float:
    """Median time of one search, in milliseconds: evenly spread ``queries``, ``most`` at most, each ``repeat`` times.

    They are searched one at a time, after a warm-up.
    """
    sample = [queries[len(queries) * number // min(most, len(queries))] for number in range(min(most, len(queries)))]
    for query in sample[:_WARM_UP]:
        search(query)
    times = []
    for _ in range(repeat):
        for query in sample:
            start = time.perf_counter()
            search(query)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def best_of_passages(hits: Sequence[Any], most: int, delimiter: str | None) -> Ranking:
    """(docid, score) of the first ``most`` hits of Pyserini's; with a delimiter, of the best entry of each passage.

    That is what ``--max-passage --max-passage-hits --max-passage-delimiter`` do, by the same code of Pyserini's.
    """
    from pyserini.output_writer import TrecWriter

    writer = TrecWriter(
        "",
        max_hits=most,
        use_max_passage=delimiter is not None,
        max_passage_delimiter=delimiter,
        max_passage_hits=most,
    )
    return [(docid, float(score)) for docid, _, score, _ in writer.hits_iterator(hits)]


def directory_size(directory: str | Path) -> int:
    """Bytes of the files in an index directory; its lock files do not count."""
    files = (path for path in Path(directory).rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.suffix != ".lock" and path.name != ".lock")

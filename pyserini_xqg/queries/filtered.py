"""What a filter writes: the corpus without the queries that it drops, with its sidecar; and that corpus's store."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import sha256_file, write_file
from pyserini_xqg.core.output import check_apart, check_file, exclusive
from pyserini_xqg.generate.output import (
    check_sidecar,
    is_whole,
    lock_path,
    passage_line,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from pyserini_xqg.queries.scores import QueryScores, corpus_facts
from pyserini_xqg.queries.scoring import store_chunks
from pyserini_xqg.queries.selection import (
    KEPT,
    LOW,
    NOT_RETRIEVED,
    Selection,
    json_number,
    quantiles,
    thresholds,
    verdicts_by_language,
)
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.manifest import package_versions
from pyserini_xqg.vectors.store import EmbeddingStore
from pyserini_xqg.vectors.store_writer import StoreWriter

FILTERED = {"content": "filtered queries", "made_by": "pyserini_xqg.queries filter"}
_NAMES = {KEPT: "kept", LOW: "low_score", NOT_RETRIEVED: "not_retrieved"}


def filter_queries(
    corpus: Corpus,
    scores: QueryScores,
    selection: Selection,
    output: str | Path,
    *,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
) -> dict[str, Any]:
    """Write the corpus with the queries that are kept to ``output``, whole or not at all; returns the sidecar.

    The sidecar ``<output>.json`` holds settings, thresholds and counts. Passages keep their order, and stay in the
    file where no query of theirs is left. ``scores`` must be those of this corpus (:meth:`QueryScores.check_corpus`).
    An output that the same filter wrote, and nobody changed, is left as it is. Raises :class:`XqgError` for another one
    that exists, and for scores without the ranks of a round trip.
    """
    settings = describe_filter(corpus, scores, selection)
    if not overwrite and (sidecar := _finished(output, settings)):
        say(f"{output}: complete, with these settings; left as it is")
        return sidecar
    check_filter_output(output, overwrite, inputs)
    counts = {
        language: Counter(dict.fromkeys(("queries", *_NAMES.values(), "passages_left_without"), 0))
        for language in scores.languages
    }
    passages = {"passages": 0, "without_queries_before": 0, "left_without_queries": 0}
    judged = verdicts_by_language(scores, selection)
    with (
        progress(total=scores.passages, unit="passages", description="filtering") as bar,
        exclusive(lock_path(output), output),
        write_file(output, "wb") as raw,
    ):
        gzipped = str(output).endswith(".gz")  # without name and time, the same lines give the same bytes
        with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if gzipped else nullcontext(raw) as out:
            for passage in corpus:
                kept = {}
                for language, texts in passage.queries.items():
                    count = counts[language]
                    here = judged[language][count["queries"] : count["queries"] + len(texts)].tolist()
                    count["queries"] += len(texts)
                    count.update(_NAMES[verdict] for verdict in here)
                    if some := [text for text, verdict in zip(texts, here, strict=False) if verdict == KEPT]:
                        kept[language] = some
                    else:
                        count["passages_left_without"] += 1
                passages["passages"] += 1
                passages["without_queries_before"] += not passage.queries
                passages["left_without_queries"] += bool(passage.queries) and not kept
                out.write(passage_line(replace(passage, queries={}), kept).encode("utf-8"))
                bar.update()
        read = {language: count["queries"] for language, count in counts.items()}
        if passages["passages"] != scores.passages or read != scores.queries:
            raise XqgError(f"{corpus.source}: changed while it was read. Run the command again.")
        raw.flush()
        sidecar = {
            **settings,
            "quantiles": {language: quantiles(scores, language) for language in scores.languages},
            "queries": {language: dict(count) for language, count in counts.items()},
            "passages": passages,
            "bytes": raw.tell(),
            "sha256": sha256_file(raw.name),
            "versions": package_versions(),
        }
        write_sidecar(output, sidecar, **FILTERED)  # first: where there is an output, its sidecar is there too
    return sidecar


def describe_filter(corpus: Corpus, scores: QueryScores, selection: Selection) -> dict[str, Any]:
    """All that decides what is kept, as in the sidecar; :class:`XqgError` where the scores do not suffice."""
    scores.check_round_trip(selection.round_trip)
    lowest = thresholds(scores, selection)
    made = {name: scores.manifest[name] for name in ("encoder", "fields", "precision", "dtype", "round_trip")}
    return {
        "corpus": {"source": corpus.source, **scores.manifest["corpus"]},
        "scores": {"directory": str(scores.directory), **made},
        "selection": selection.to_dict(),
        "thresholds": {language: json_number(value) for language, value in lowest.items()},
    }


def _finished(output: str | Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sidecar of an output that the same filter wrote and nobody changed; None where there is none."""
    if not Path(output).exists() or not sidecar_path(output).exists():
        return None
    sidecar = read_sidecar(output, **FILTERED)
    same = all(sidecar.get(name) == value for name, value in settings.items())
    return sidecar if same and is_whole(output, sidecar) else None


def check_filter_output(output: str | Path, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse an output that exists, or is an input, or whose sidecar's place another file has."""
    inputs = list(inputs)
    check_apart(sidecar_path(output), inputs)
    check_sidecar(output, **FILTERED)
    check_file(output, overwrite, inputs)


_NOT_SETTINGS = ("format", "format_version", "complete", "manifest_sha256", "files")


def write_filtered_store(
    store: EmbeddingStore, scores: QueryScores, selection: Selection, filtered: Corpus, output: str | Path
) -> None:
    """Write to ``output`` the store that encoding ``filtered`` would make; continues an unfinished one.

    Its vectors are those of ``store``: nothing is encoded. Each query's vector is kept. Raises :class:`XqgError` as
    :class:`StoreWriter` does.
    """
    summary = filtered.scan()
    settings = {name: value for name, value in store.manifest.items() if name not in _NOT_SETTINGS}
    settings |= {"corpus": corpus_facts(summary), "most_queries": summary.most_queries}
    judged = {language: verdict == KEPT for language, verdict in verdicts_by_language(scores, selection).items()}
    total = {language: int(kept.sum()) for language, kept in judged.items() if kept.any()}
    if total != summary.queries:
        raise XqgError(f"{filtered.source}: is not what was filtered from {store.directory}. Filter it again.")

    def keep(language: str, first: int, number: int) -> np.ndarray:
        return judged[language][first : first + number]

    with (
        StoreWriter(output, settings, inputs=[store.directory, scores.directory, filtered.source]) as writer,
        progress(total=store.passages, unit="passages", description="filtered store") as bar,
    ):
        if not writer.finished:
            bar.update(writer.rows_done)
            for chunk in store_chunks(store, writer.rows_done, list(total), keep):
                writer.write(chunk)
                bar.update(len(chunk.docids))
            writer.complete()
    say(f"{output}: the store of {filtered.source}, {sum(summary.queries.values()):,} queries")

"""The store of a filtered corpus, taken from the vectors of the unfiltered one: nothing is encoded again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries.scores import corpus_facts
from pyserini_xqg.queries.scoring import store_chunks
from pyserini_xqg.queries.selection import KEPT
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.store import EmbeddingStore, sum_first
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

_NOT_SETTINGS = ("format", "format_version", "complete", "manifest_sha256", "files")


def write_filtered_store(
    store: EmbeddingStore, verdicts: Mapping[str, Iterator[int]], filtered: Corpus, output: str | Path
) -> None:
    """Write to ``output`` the store that encoding ``filtered`` would make; continues a half-done one.

    ``verdicts`` say for each query of the store, by language and passage by passage, whether ``filtered`` has it.
    Each query's vector is kept, as in ``store``. Raises :class:`XqgError` as :class:`StoreWriter` does.
    """
    summary = filtered.scan()
    settings = {name: value for name, value in store.manifest.items() if name not in _NOT_SETTINGS}
    settings |= {"corpus": corpus_facts(summary), "most_queries": summary.most_queries}
    languages = list(summary.queries)  # those that have queries left
    with (
        StoreWriter(output, settings) as writer,
        progress(total=store.passages, unit="passages", description="filtered store") as bar,
    ):
        done, total = writer.rows_done, dict.fromkeys(languages, 0)
        for chunk in store_chunks(store, 0, settings.get("chunk_size", 1024)):
            rows = len(chunk.docids)
            masks = {}
            for language, vectors in chunk.vectors.items():
                taken = islice(verdicts[language], len(vectors))
                masks[language] = np.fromiter((verdict == KEPT for verdict in taken), dtype=bool, count=len(vectors))
            for language in languages:
                total[language] += int(masks[language].sum())
            bar.update(rows)
            if done > 0:
                done -= rows
                continue
            sums, counts, kept = {}, {}, {}
            for language in languages:
                # Counts of what is kept: sums of the mask over each passage's queries.
                number, _ = sum_first(masks[language][:, None], chunk.counts[language])
                kept[language] = chunk.vectors[language][masks[language]]
                sums[language], counts[language] = sum_first(kept[language], number.ravel().astype(np.int32))
            writer.write(Chunk(chunk.docids, chunk.passages, sums, counts, kept, centroids(sums, counts)))
        if total != summary.queries:
            raise XqgError(f"{filtered.source}: is not what was filtered from {store.directory}. Filter it again.")
        writer.complete()
    say(f"{output}: the store of {filtered.source}, {sum(summary.queries.values()):,} queries")

"""Topics with their texts, and their vectors, embedded once per encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.fit import TOLERANCE, probe_distance
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore


def topics_digest(topics: Mapping[str, str]) -> str:
    """SHA-256 of the topics and their texts, in their order."""
    digest = hashlib.sha256()
    for topic, text in topics.items():
        digest.update(f"{topic}\t{text}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class TopicVectors:
    """The topics' vectors, float32 (topics, dimension), by the encoder of a store; embedded when first asked for.

    Stores with the same encoder share them, whatever the precision of their passages was. One model is in memory at a
    time. Raises :class:`XqgError` if the encoder's vector of the probe text is not that in the store.
    """

    def __init__(self, topics: Mapping[str, str], device: str = "auto", precision: str = "float32") -> None:
        self._texts, self._device, self._precision = list(topics.values()), device, precision
        self._vectors: dict[EncoderConfig, np.ndarray] = {}
        self._probes: dict[EncoderConfig, dict] = {}

    def of(self, store: EmbeddingStore) -> np.ndarray:
        """Vectors of all topics, in their order, from the encoder of ``store``."""
        config = store.encoder
        if config not in self._vectors:
            embedder = Embedder(config, self._device, precision=self._precision)
            say(f"{len(self._texts):,} topics: {config.describe()}, {embedder.precision} on {embedder.device}")
            self._probes[config] = embedder.probe()
            self._vectors[config] = embedder.embed_queries(self._texts)
        distance = probe_distance(store.manifest["probe"], self._probes[config])
        if distance > TOLERANCE:
            raise XqgError(
                f"{store.directory}: made with another encoder than {config.describe()} is now: its vector of the "
                f"probe text differs by {distance:.0%}. Put the old one back, or encode again."
            )
        return self._vectors[config]


def rows_by_language(
    topics: Sequence[str], languages: Mapping[str, str], served: Sequence[str]
) -> dict[str, np.ndarray]:
    """Language to the rows of its topics, for routed search, in the order of ``served``.

    Raises :class:`XqgError` for a topic without a language, or in one that is not served.

    >>> rows_by_language(["q1", "q2", "q3"], {"q1": "te", "q2": "fi", "q3": "te"}, ["fi", "te"])
    {'fi': array([1]), 'te': array([0, 2])}
    """
    rows: dict[str, list[int]] = {language: [] for language in served}
    for row, topic in enumerate(topics):
        language = languages.get(topic)
        if language is None:
            raise XqgError(f"--route: topic {topic!r} has no language. Name it in --topic-languages.")
        if language not in rows:
            raise XqgError(
                f"--route: topic {topic!r} is in {language!r}, for which there would be no index: the queries are in "
                f"{', '.join(served)}. Leave these topics out, or search without --route."
            )
        rows[language].append(row)
    return {language: np.array(some) for language, some in rows.items() if some}

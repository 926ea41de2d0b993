"""How high the retriever scores each generated query for its own passage: computed once, kept in a directory.

Layout (N passages, T_l queries in language l)::

    scores.json       encoder, corpus, round trip; "complete": true when done
    docids.txt        one docid a line, in the order of the corpus
    count.<l>.npy     (N,)    queries of each passage, int32
    score.<l>.npy     (T_l,)  inner product of the passage's vector and the query's, passage by passage, float32
    rank.<l>.npy      (T_l,)  with a round trip: at which rank the query retrieves its passage, int32; 0 for none
    chunks.jsonl      one line a committed chunk, see :mod:`pyserini_xqg.core.chunks`

The vectors themselves are not kept: 4 bytes a query remain, where a store with --keep-query-vectors has one vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.chunks import ChunkJob, ChunkKind, ChunkSizes, rows_done, stored_chunks
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import check_files, differing
from pyserini_xqg.text.corpus import CorpusSummary
from pyserini_xqg.vectors.layout import DOCIDS_NAME, ArraySpec, settings_differences

# Scores made with the same of these are the same scores, whatever the chunks were.
_DECISIVE = ("encoder", "fields", "dimension", "dtype", "precision", "corpus", "probe")


def score_differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Why scores cannot be used, or continued, where others are ``wanted``, as phrases for a message."""
    if not there.get("complete"):
        return settings_differences(there, wanted)
    differences = settings_differences(*({name: made[name] for name in _DECISIVE} for made in (there, wanted)))
    before, now = there["round_trip"], wanted["round_trip"]
    if now is not None and before is None:
        differences.append("there is no round trip in them")
    elif now is not None:
        differences += differing({**before, "depth": 0}, {**now, "depth": 0})
        if before["depth"] is not None and (now["depth"] is None or now["depth"] > before["depth"]):
            differences.append(f"their ranks end at {before['depth']}")
    return differences


SCORES = ChunkKind(
    "directory of query scores",
    "scores.json",
    "pyserini-xqg query scores",
    2,
    "pyserini_xqg.queries filter (remove the directory to begin anew)",
    compare=score_differences,
    entry=("rows", "queries", "sha256", "docid_bytes"),
)


def corpus_facts(summary: CorpusSummary) -> dict[str, Any]:
    """What manifests say of a corpus."""
    return {name: value for name, value in asdict(summary).items() if name != "most_queries"}


def corpus_differences(there: Mapping[str, Any], summary: CorpusSummary) -> list[str]:
    """What differs between what a manifest says of its corpus and what was found in one, as phrases."""
    here = corpus_facts(summary)
    if there["sha256"] == here["sha256"]:
        return []
    numbers = differing(there, here, "in the corpus", ignored=("sha256",))
    return numbers or [f"as many passages and queries, but other ones (SHA-256 {there['sha256'][:12]}… there)"]


def _specs(manifest: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """The array files of a directory of scores, by name."""
    specs = []
    for language, total in manifest["corpus"]["queries"].items():
        specs.append(ArraySpec(f"count.{language}.npy", (manifest["corpus"]["passages"],), "int32"))
        specs.append(ArraySpec(f"score.{language}.npy", (total,), "float32"))
        if manifest["round_trip"] is not None:
            specs.append(ArraySpec(f"rank.{language}.npy", (total,), "int32"))
    return {spec.name: spec for spec in specs}


def _sizes(specs: Mapping[str, ArraySpec]) -> ChunkSizes:
    def rows(entry: Mapping[str, Any], name: str) -> int:
        return entry["rows"] if name.startswith("count.") else entry["queries"][name.split(".")[1]]

    return lambda entry: {DOCIDS_NAME: entry["docid_bytes"]} | {name: 4 * rows(entry, name) for name in specs}


def check_scores(directory: str | Path, wanted: Mapping[str, Any] | None = None) -> bool:
    """Whether there are finished scores, as ``wanted``; :class:`XqgError` for other ones and for something else."""
    path, anew = Path(directory), "Choose another --scores, or remove it."
    if not SCORES.is_at(path):
        held = SCORES.foreign(path) if path.is_dir() else ["a file"] if path.exists() else []
        if held:
            raise XqgError(f"{directory} exists and holds no query scores ({held[0]}). {anew}")
        return False
    there = SCORES.read(path)
    if wanted and (differences := SCORES.differences(there, wanted)):
        state = "" if there["complete"] else "unfinished "
        raise XqgError(f"{directory} holds {state}scores of other settings: {'; '.join(differences)}. {anew}")
    return bool(there["complete"])


class ScoresWriter(ChunkJob):
    """Commits the scores of chunks; ``round_trip`` describes what ranks the passages, None for no ranks."""

    def __init__(
        self, directory: str | Path, settings: Mapping[str, Any], round_trip: Mapping[str, Any] | None, **how: Any
    ) -> None:
        settings = {**settings, "round_trip": round_trip}
        self._specs = _specs(settings)
        headers = {name: spec.header() for name, spec in self._specs.items()} | {DOCIDS_NAME: b""}
        super().__init__(directory, SCORES, settings, headers, _sizes(self._specs), **how)

    def check(self) -> None:
        """Refuse other scores, and what cannot be written; nothing is changed."""
        check_scores(self.output, self.manifest)
        super().check()

    def write(
        self,
        docids: Sequence[str],
        counts: Mapping[str, np.ndarray],
        scores: Mapping[str, np.ndarray],
        ranks: Mapping[str, np.ndarray],
    ) -> None:
        """Commit a chunk: by language the passages' counts, the queries' scores, and ranks where there are any."""
        data = {DOCIDS_NAME: "".join(f"{docid}\n" for docid in docids).encode("utf-8")}
        for language, values in scores.items():
            if not np.isfinite(values).all():
                raise XqgError(
                    f"{self.output}: a score in {language!r} among docids {docids[0]!r} to {docids[-1]!r} is infinite "
                    "or no number. Pass --dtype float32; if it remains, the encoder is broken."
                )
            data[f"score.{language}.npy"] = values.astype("<f4").tobytes()
            data[f"count.{language}.npy"] = counts[language].astype("<i4").tobytes()
            if language in ranks:
                data[f"rank.{language}.npy"] = ranks[language].astype("<i4").tobytes()
        queries = {language: len(values) for language, values in scores.items()}
        self.append({"rows": len(docids), "queries": queries, "docid_bytes": len(data[DOCIDS_NAME])}, data)

    def complete(self) -> None:
        """Mark the scores complete; every passage and query must have been written."""
        expected = {name: spec.file_bytes for name, spec in self._specs.items()}
        if any(self._committed_bytes(name) != size for name, size in expected.items()):
            raise XqgError(
                f"{self.output}: {self.rows_done:,} passages were scored, and not the queries that were counted. The "
                "corpus changed while it was read: remove the directory and run the command again."
            )
        self.finish(self.manifest["corpus"]["passages"])


class QueryScores:
    """Complete scores.

    Raises :class:`XqgError` if the directory holds none, they are unfinished, or a file is not as it was written.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        if not SCORES.is_at(directory):
            raise XqgError(
                f"{directory}: no query scores there ({SCORES.manifest} is missing). Pass --encoder, or --store with a "
                "store made with --keep-query-vectors, to make them."
            )
        self.manifest = SCORES.read(directory)
        if not self.manifest["complete"]:
            raise XqgError(
                f"{directory}: unfinished, {rows_done(directory, SCORES):,} of {self.passages:,} passages are scored. "
                "Run the command it was begun with: it continues there."
            )
        for damage in self._damage():
            raise XqgError(f"{directory}: damaged, {damage}. Remove it and score again.")

    def _damage(self) -> Any:
        yield from check_files(self.directory, SCORES, self.manifest)
        specs = _specs(self.manifest)
        headers = {name: spec.header() for name, spec in specs.items()} | {DOCIDS_NAME: b""}
        for name, header in headers.items():
            with open(self.directory / name, "rb") as stream:
                if stream.read(len(header)) != header:
                    yield f"{name}: was changed after it was written"
        sizes = {name: len(header) for name, header in headers.items()}
        for chunk in stored_chunks(self.directory, SCORES, sizes, _sizes(specs)):
            yield from (f"{name}: was changed after it was written" for name in chunk.damaged())

    @property
    def passages(self) -> int:
        """Number of passages."""
        return self.manifest["corpus"]["passages"]

    @property
    def queries(self) -> dict[str, int]:
        """Number of queries by language."""
        return dict(self.manifest["corpus"]["queries"])

    @property
    def languages(self) -> list[str]:
        """Languages with queries."""
        return list(self.queries)

    def check_corpus(self, summary: CorpusSummary) -> None:
        """Refuse a corpus that these are not the scores of, naming what differs."""
        if differences := corpus_differences(self.manifest["corpus"], summary):
            raise XqgError(
                f"{self.directory}: scores of another corpus: {'; '.join(differences)}. Pass the corpus that was "
                "scored (with the same --languages and --max-queries), or another --scores."
            )

    def check_round_trip(self, depth: int | None) -> None:
        """Refuse a round trip that no rank was computed for."""
        known = self.manifest["round_trip"]
        if depth is None or (known is not None and (known["depth"] is None or depth <= known["depth"])):
            return
        what = "no ranks" if known is None else f"ranks to {known['depth']} only"
        raise XqgError(
            f"{self.directory}: has {what}, so --round-trip {depth} cannot be taken from it. Score again with another "
            "--scores and this --round-trip."
        )

    def array(self, name: str) -> np.ndarray:
        """One array: ``score.<l>``, ``rank.<l>``, ``count.<l>``; 4 bytes a query or passage."""
        return np.load(self.directory / f"{name}.npy")

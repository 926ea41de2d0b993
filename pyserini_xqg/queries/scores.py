"""How high the retriever scores each generated query for its own passage: computed once, kept in a directory.

Layout (N passages, T_l queries in language l)::

    scores.json       encoder, corpus, round trip; "complete": true when done
    docids.txt        one docid a line, in the order of the corpus
    count.<l>.npy     (N,)    queries of each passage, int32
    score.<l>.npy     (T_l,)  inner product of the passage's vector and the query's, passage by passage, float32
    rank.<l>.npy      (T_l,)  with a round trip: at which rank the query retrieves its passage, int32; 0 for none
    chunks.jsonl      one line a committed chunk, see :mod:`pyserini_xqg.core.job`

The vectors themselves are not kept: 4 bytes a query remain, where a store with --keep-query-vectors has one vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_directory, write_json
from pyserini_xqg.core.old_files import read_described
from pyserini_xqg.core.old_journal import LOCK_NAME, Journal, JournalKind, differing, manifest_digest, rows_done
from pyserini_xqg.text.corpus import CorpusSummary
from pyserini_xqg.vectors.layout import DOCIDS_NAME, ArraySpec, settings_differences
from pyserini_xqg.vectors.store_writer import Chunk

SCORES_NAME = "scores.json"
SCORES_FORMAT = "pyserini-xqg query scores"
FORMAT_VERSION = 1
SCORES_KIND = JournalKind(
    SCORES_NAME,
    "directory of query scores",
    "directory of scores",
    ("rows", "queries", "sha256", "docid_bytes"),
    "Remove the directory and score again.",
    "remove the directory to begin anew",
    settings_differences,
)
_BLOCK = 1 << 16
# Scores made with the same of these are the same scores, whatever the chunks were.
_DECISIVE = ("encoder", "fields", "dimension", "dtype", "precision", "corpus", "probe")


def corpus_facts(summary: CorpusSummary) -> dict[str, Any]:
    """What manifests say of a corpus."""
    return {name: value for name, value in asdict(summary).items() if name != "most_queries"}


def corpus_differences(there: Mapping[str, Any], summary: CorpusSummary) -> list[str]:
    """What differs between what a manifest says of its corpus and what was found in one, as phrases."""
    found = corpus_facts(summary)
    if there["sha256"] == found["sha256"]:
        return []
    numbers = differing(there, found, "in the corpus", ignored=("sha256",))
    return numbers or [f"as many passages and queries, but other ones (SHA-256 {there['sha256'][:12]}… there)"]


class ScoresWriter(Journal):
    """Commits the scores of chunks."""

    def __init__(self, directory: str | Path, manifest: Mapping[str, Any]) -> None:
        self._specs = {spec.name: spec for spec in _specs(manifest)}
        headers = {name: spec.header() for name, spec in self._specs.items()} | {DOCIDS_NAME: b""}

        def sizes(entry: Mapping[str, Any]) -> dict[str, int]:
            number = {
                name: entry["rows"] if name.startswith("count.") else entry["queries"][name.split(".")[1]]
                for name in self._specs
            }
            return {DOCIDS_NAME: entry["docid_bytes"]} | {name: 4 * rows for name, rows in number.items()}

        super().__init__(directory, SCORES_KIND, manifest, headers, sizes)

    def write(self, chunk: Chunk, scores: Mapping[str, np.ndarray], ranks: Mapping[str, np.ndarray]) -> None:
        """Commit the scores of a chunk, language to (queries,), and the ranks where there was a round trip."""
        data = {DOCIDS_NAME: "".join(f"{docid}\n" for docid in chunk.docids).encode("utf-8")}
        for language, values in scores.items():
            if not np.isfinite(values).all():
                raise XqgError(
                    f"{self.directory}: a score in {language!r} among docids {chunk.docids[0]!r} to "
                    f"{chunk.docids[-1]!r} is infinite or no number. Pass --dtype float32; if it remains, the encoder "
                    "is broken."
                )
            data[f"score.{language}.npy"] = values.astype("<f4").tobytes()
            data[f"count.{language}.npy"] = chunk.counts[language].astype("<i4").tobytes()
            if language in ranks:
                data[f"rank.{language}.npy"] = ranks[language].astype("<i4").tobytes()
        queries = {language: len(vectors) for language, vectors in chunk.vectors.items()}
        entry = {"rows": len(chunk.docids), "queries": queries, "docid_bytes": len(data[DOCIDS_NAME])}
        self.append(entry, data)

    def finish(self) -> None:
        """Mark the scores complete; every passage must have been written."""
        sizes = {self.directory / name: spec.file_bytes for name, spec in self._specs.items()}
        if self.rows_done != self.manifest["corpus"]["passages"] or any(
            path.stat().st_size != size for path, size in sizes.items()
        ):
            raise XqgError(
                f"{self.directory}: {self.rows_done:,} passages were scored, and not the queries that were counted. "
                "The corpus changed while it was read: remove the directory and run the command again."
            )
        self.manifest["complete"] = True
        self.manifest["manifest_sha256"] = manifest_digest(self.manifest)
        with self.full_disk_named():
            fsync_directory(self.directory)
            write_json(self.directory / SCORES_NAME, self.manifest)


def _specs(manifest: Mapping[str, Any]) -> list[ArraySpec]:
    """The array files of a directory of scores."""
    specs = []
    for language, total in manifest["corpus"]["queries"].items():
        specs.append(ArraySpec(f"count.{language}.npy", (manifest["corpus"]["passages"],), "int32"))
        specs.append(ArraySpec(f"score.{language}.npy", (total,), "float32"))
        if manifest["round_trip"] is not None:
            specs.append(ArraySpec(f"rank.{language}.npy", (total,), "int32"))
    return specs


def new_scores_manifest(settings: Mapping[str, Any], round_trip: Mapping[str, Any] | None) -> dict[str, Any]:
    """A manifest of this version's format, of scores that are still to be made."""
    head = {"format": SCORES_FORMAT, "format_version": FORMAT_VERSION}
    return {**head, **settings, "round_trip": round_trip, "complete": False}


def has_scores(directory: str | Path, wanted: Mapping[str, Any]) -> bool:
    """True if ``directory`` has the scores of this manifest, complete; False if they are still to be made there.

    Raises :class:`XqgError` if it holds other scores, or something else.
    """
    directory = Path(directory)
    anew = "Choose another --scores, or remove it."
    if not directory.exists():
        return False
    held = {entry.name for entry in directory.iterdir()} - {LOCK_NAME} if directory.is_dir() else {"a file"}
    if SCORES_NAME not in held:
        if foreign := sorted(name for name in held if not name.endswith(".partial")):
            raise XqgError(f"{directory} exists and holds no query scores ({foreign[0]}). {anew}")
        return False
    there = read_scores_manifest(directory)
    if not there["complete"]:
        if differences := settings_differences(there, wanted):
            raise XqgError(f"{directory} holds half-done scores of other settings: {'; '.join(differences)}. {anew}")
        return False
    old, new = ({name: manifest[name] for name in _DECISIVE} for manifest in (there, wanted))
    differences = settings_differences(old, new)
    before, now = there["round_trip"], wanted["round_trip"]
    if now is not None and before is None:
        differences.append("there is no round trip in them")
    elif now is not None:
        differences += differing({**before, "depth": 0}, {**now, "depth": 0})
        if before["depth"] is not None and (now["depth"] is None or now["depth"] > before["depth"]):
            differences.append(f"their ranks end at {before['depth']}")
    if differences:
        raise XqgError(f"{directory} holds other scores: {'; '.join(differences)}. {anew}")
    return True


def read_scores_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest of a directory of scores, finished or not; :class:`XqgError` if it is none of this version."""
    path = Path(directory) / SCORES_NAME
    if not path.exists():
        raise XqgError(
            f"{directory}: no query scores there ({SCORES_NAME} is missing). Pass --encoder, or --store with a store "
            "made with --keep-query-vectors, to make them."
        )
    return read_described(path, SCORES_FORMAT, FORMAT_VERSION, "Score again with another --scores.")


class QueryScores:
    """Complete scores, read in blocks.

    Raises :class:`XqgError` if the directory holds none, they are unfinished, or a file has lost bytes.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.manifest = read_scores_manifest(directory)
        if not self.manifest["complete"]:
            done, total = rows_done(directory, SCORES_KIND), self.manifest["corpus"]["passages"]
            raise XqgError(
                f"{directory}: unfinished, {done:,} of {total:,} passages are scored. Run the command it was begun "
                "with: it continues there."
            )
        for spec in _specs(self.manifest):
            path = self.directory / spec.name
            found = path.stat().st_size if path.exists() else None
            if found != spec.file_bytes:
                what = "is missing" if found is None else f"has {found:,} bytes"
                raise XqgError(
                    f"{path} {what}, expected {spec.file_bytes:,} bytes. The scores are damaged: remove {directory} "
                    "and score again."
                )

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

    def array(self, name: str) -> np.memmap:
        """One array, memory-mapped read-only: ``score.<l>``, ``rank.<l>``, ``count.<l>``."""
        return np.load(self.directory / f"{name}.npy", mmap_mode="r")

    def blocks(self, language: str) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield (scores, ranks) of a language's queries, passage by passage; ranks are None without a round trip."""
        scores = self.array(f"score.{language}")
        ranks = self.array(f"rank.{language}") if self.manifest["round_trip"] is not None else None
        for first in range(0, len(scores), _BLOCK):
            here = slice(first, first + _BLOCK)
            yield np.array(scores[here]), np.array(ranks[here]) if ranks is not None else None

"""The file that generation writes, its sidecar, and the directory in which both grow.

While the work goes on::

    <output>.work/generation.json     settings
    <output>.work/queries.jsonl       passages with their queries, committed chunk by chunk
    <output>.work/chunks.jsonl        see pyserini_xqg.core.job

In the end ``queries.jsonl`` is renamed to ``<output>``, with its sidecar ``<output>.json``: settings, counts, SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_directory, read_json, write_json
from pyserini_xqg.core.old_files import check_output, read_described
from pyserini_xqg.core.old_journal import Journal, JournalKind, check_new_journal, differing, rows_done, stored_chunks
from pyserini_xqg.text.corpus import Passage
from pyserini_xqg.text.quality import REASONS
from pyserini_xqg.vectors.manifest import package_versions

QUERIES_NAME = "queries.jsonl"
MANIFEST_NAME = "generation.json"
QUERIES_FORMAT = "pyserini-xqg generated queries"
FORMAT_VERSION = 1
EXAMPLES = 5
"""Docids named for passages with fewer queries and for inputs that were cut; all are counted."""

_NOT_COMPARED = ("versions.", "sidecar.", "counts.", "bytes", "sha256")


def generation_differences(there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now") -> list[str]:
    """What differs between two manifests or sidecars, as phrases for a message; ``word`` stands for the second."""
    old, new = (manifest.get("generator") or {} for manifest in (there, now))
    moved = "fingerprint" in old and old.get("fingerprint") == new.get("fingerprint")
    # The same checkpoint may lie elsewhere now.
    return differing(there, now, word, (*_NOT_COMPARED, "generator.model") if moved else _NOT_COMPARED)


WORK_KIND = JournalKind(
    MANIFEST_NAME,
    "unfinished work of pyserini_xqg.generate",
    "generation",
    ("rows", "bytes", "counts", "sha256"),
    "Remove the directory to begin anew.",
    "remove the directory to begin anew",
    generation_differences,
)


def warn_of_versions(output: str | Path, there: Mapping[str, str], now: Mapping[str, str], word: str) -> None:
    """Say that parts of an output come from different releases, whose queries may differ for the same seed."""
    if differences := differing(there, now, word):
        say(f"{output}: warning: parts of it are made by different releases: {'; '.join(differences)}")


def work_directory(output: str | Path) -> Path:
    """Where an output grows."""
    return Path(f"{output}.work")


def sidecar_path(output: str | Path) -> Path:
    """The description beside an output."""
    return Path(f"{output}.json")


def lock_path(output: str | Path) -> Path:
    """Held by whoever writes an output; stays behind as an empty file."""
    return Path(output).with_name(f".{Path(output).name}.lock")


def new_counts(languages: Sequence[str]) -> dict[str, Any]:
    """Nothing counted yet.

    queries, candidates : kept, and generated at all. refused : by reason. passages_with_fewer_queries : than were
    asked for. cut_inputs : prompts longer than the model's input. Each by language, with the first docids.
    """
    return {
        "queries": dict.fromkeys(languages, 0),
        "candidates": dict.fromkeys(languages, 0),
        "refused": {language: dict.fromkeys(REASONS, 0) for language in languages},
        "passages_with_fewer_queries": dict.fromkeys(languages, 0),
        "cut_inputs": dict.fromkeys(languages, 0),
        "examples": {"passages_with_fewer_queries": [], "cut_inputs": []},
    }


def add_counts(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add the counts of later passages.

    >>> total = new_counts(["fi"])
    >>> add_counts(total, new_counts(["fi"]) | {"queries": {"fi": 5}})
    >>> total["queries"]
    {'fi': 5}
    """
    for name, value in more.items():
        if isinstance(value, Mapping):
            add_counts(total[name], value)
        elif isinstance(value, list):
            total[name] = list(dict.fromkeys([*total[name], *value]))[:EXAMPLES]
        else:
            total[name] += value


def _occurring(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts without what did not occur."""
    pruned = {name: _occurring(value) if isinstance(value, Mapping) else value for name, value in counts.items()}
    return {name: value for name, value in pruned.items() if value}


def passage_line(passage: Passage, queries: Mapping[str, Sequence[str]], queries_only: bool = False) -> str:
    """One line of the output: the passage with the queries it had, and the new ones."""
    record: dict[str, Any] = {"docid": passage.docid}
    generated = dict(queries)
    if not queries_only:
        record |= {"title": passage.title, "text": passage.text}
        generated = {**passage.queries, **generated}
    return json.dumps({**record, "generated_queries": generated}, ensure_ascii=False) + "\n"


def check_queries_output(
    output: str | Path, overwrite: bool, manifest: Mapping[str, Any] | None = None, partial: bool = False
) -> None:
    """Refuse an output that cannot be written, before any work is done.

    ``manifest`` is compared with half-done work of which something is committed; if it is ``partial``, in the entries
    that it has.
    """
    output = Path(output)
    work, sidecar = work_directory(output), sidecar_path(output)
    if output.is_dir():
        raise XqgError(f"{output} is a directory. Name a file as --output, such as {output / 'queries.jsonl'}.")
    if sidecar.exists() and not _is_sidecar(sidecar):
        raise XqgError(
            f"{sidecar} exists and describes no generated queries. Move it away, or choose another --output."
        )
    if not _is_published(work):
        check_output(output, overwrite)
    if manifest is not None and not overwrite and (work / MANIFEST_NAME).exists():
        there = read_json(work / MANIFEST_NAME)
        if partial:
            manifest = {**there, **manifest}
        if "sidecar" not in there and not rows_done(work, WORK_KIND):
            manifest = None  # nothing is lost if it begins anew
    check_new_journal(work, WORK_KIND, overwrite, manifest)


def _is_published(work: Path) -> bool:
    """True if all that is left to do is to remove the directory."""
    path = work / MANIFEST_NAME
    return path.exists() and not (work / QUERIES_NAME).exists() and "sidecar" in read_json(path)


def _is_sidecar(path: Path) -> bool:
    try:
        return read_json(path).get("format") == QUERIES_FORMAT
    except XqgError:
        return False


class QueriesWriter(Journal):
    """Writes the passages of a corpus, or of a shard, with their queries; continues what is half done.

    settings : what decides the queries; ``corpus`` has the number of passages, ``languages`` names the counted ones.
    overwrite : replace an output; half-done work with the same settings is continued all the same, for the file comes
    out the same.

    Use as a context manager. Raises :class:`XqgError` as :class:`Journal` does.
    """

    def __init__(
        self, output: str | Path, settings: Mapping[str, Any], overwrite: bool = False, wait: float = 0
    ) -> None:
        output = Path(output)
        manifest = {"format": QUERIES_FORMAT, "format_version": FORMAT_VERSION, **settings}
        self.counts = new_counts(manifest["languages"])
        super().__init__(
            work_directory(output),
            WORK_KIND,
            manifest,
            {QUERIES_NAME: b""},
            _chunk_sizes,
            overwrite=overwrite,
            wait=wait,
            lock=lock_path(output),
            output=output,
        )

    @property
    def rows(self) -> int:
        """Passages that there will be."""
        return self.manifest["shard"]["rows"] if "shard" in self.manifest else self.manifest["corpus"]["passages"]

    def _check(self) -> None:
        check_queries_output(self.output, self.overwrite, self.manifest)

    def _clear(self) -> None:
        """Left to :meth:`_open`: work with the same settings is continued."""

    def _there(self) -> dict[str, Any]:
        try:
            return read_json(self.directory / MANIFEST_NAME)
        except XqgError:
            return {}

    def _start(self) -> None:
        self.manifest["versions"] = package_versions("ctranslate2")
        super()._start()

    def _open(self) -> None:
        if generation_differences(self._there(), self.manifest):
            super()._clear()
            self._start()
        self.manifest = self._there()
        warn_of_versions(self.output, self.manifest["versions"], package_versions("ctranslate2"), "now")
        if "sidecar" in self.manifest:  # interrupted while it was published
            self.counts = self.manifest["sidecar"]["counts"]
            self.rows_done = self.rows
        else:
            super()._open()

    def _count(self, entry: Mapping[str, Any]) -> None:
        super()._count(entry)
        add_counts(self.counts, entry["counts"])

    def write(self, lines: Sequence[str], counts: Mapping[str, Any]) -> None:
        """Commit one chunk: a line a passage, and what was counted. After this returns, no crash can lose it."""
        data = "".join(lines).encode("utf-8")
        self.append({"rows": len(lines), "bytes": len(data), "counts": _occurring(counts)}, {QUERIES_NAME: data})

    def finish(self) -> dict[str, Any]:
        """Make the output and its sidecar appear; returns the sidecar. Every passage must have been written."""
        if self.rows_done != self.rows:
            raise XqgError(
                f"{self.output}: {self.rows_done:,} of {self.rows:,} passages were written. The corpus changed while "
                "it was read; run the command again."
            )
        with self.full_disk_named():
            if "sidecar" not in self.manifest:
                self.manifest["sidecar"] = new_sidecar(self.manifest, self.counts, *self._checked_sum())
                write_json(self.directory / MANIFEST_NAME, self.manifest)
            if (self.directory / QUERIES_NAME).exists():
                write_json(sidecar_path(self.output), self.manifest["sidecar"])
                os.replace(self.directory / QUERIES_NAME, self.output)
                fsync_directory(self.output.parent)
        super()._clear()
        self.directory.rmdir()
        return self.manifest["sidecar"]

    def _checked_sum(self) -> tuple[int, str]:
        """Bytes and SHA-256 of the whole file; every chunk must still be what was committed."""
        digest, size = hashlib.sha256(), 0
        for chunk in stored_chunks(self.directory, WORK_KIND, {QUERIES_NAME: 0}, _chunk_sizes):
            if chunk.damaged():
                raise XqgError(
                    f"{self.directory / QUERIES_NAME}: damaged in the lines of passages {chunk.first + 1:,} to "
                    f"{chunk.first + chunk.entry['rows']:,}. Check the disk, and {WORK_KIND.anew}."
                )
            size += len(chunk.data[QUERIES_NAME] or b"")
            digest.update(chunk.data[QUERIES_NAME] or b"")
        return size, digest.hexdigest()


def _chunk_sizes(entry: Mapping[str, Any]) -> dict[str, int]:
    return {QUERIES_NAME: entry["bytes"]}


def new_sidecar(manifest: Mapping[str, Any], counts: Mapping[str, Any], size: int, sha256: str) -> dict[str, Any]:
    """The description of a finished output."""
    settings = {key: value for key, value in manifest.items() if key not in ("versions", "sidecar")}
    return {**settings, "counts": dict(counts), "bytes": size, "sha256": sha256, "versions": manifest["versions"]}


def read_sidecar(output: str | Path) -> dict[str, Any]:
    """The description of generated queries; :class:`XqgError` for an output without one, or of another version."""
    path = sidecar_path(output)
    if not path.exists():
        raise XqgError(f"{path}: no such file, so {output} is not known to be what pyserini_xqg.generate wrote.")
    return read_described(path, QUERIES_FORMAT, FORMAT_VERSION, "Generate again.")

"""The file that generation writes, its description, and the directory in which both grow.

While the work goes on::

    <output>.work/generation.json     settings
    <output>.work/queries.jsonl       passages with their queries, committed chunk by chunk
    <output>.work/chunks.jsonl        see pyserini_xqg.core.chunks

In the end ``queries.jsonl`` is renamed to ``<output>``, with its sidecar ``<output>.json``: settings, counts, SHA-256.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.chunks import ChunkJob, ChunkKind, rows_done
from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import fsync_path, named_errors, resolved, sha256_file
from pyserini_xqg.core.job import CONTINUES, check_job
from pyserini_xqg.core.kinds import Kind, differing
from pyserini_xqg.core.output import check_apart, check_directory, check_file
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.text.quality import REASONS
from pyserini_xqg.vectors.manifest import package_versions

QUERIES_NAME = "queries.jsonl"
EXAMPLES = 5
"""Docids named for passages with fewer queries and for inputs that were cut; all are counted."""

_UNCOMPARED = ("versions.", "sidecar.", "counts.", "bytes", "sha256", "complete", "files", "manifest_sha256", "format")


def generation_differences(there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now") -> list[str]:
    """What differs between two manifests or sidecars, as phrases for a message; ``word`` stands for the second."""
    old, new = (manifest.get("generator") or {} for manifest in (there, now))
    moved = "fingerprint" in old and old.get("fingerprint") == new.get("fingerprint")
    # The same checkpoint may lie elsewhere now.
    return differing(there, now, word, (*_UNCOMPARED, "generator.model") if moved else _UNCOMPARED)


WORK = ChunkKind(
    "work of pyserini_xqg.generate",
    "generation.json",
    "pyserini-xqg generation",
    2,
    "pyserini_xqg.generate (remove the directory to begin anew)",
    compare=generation_differences,
    entry=("rows", "bytes", "counts", "sha256"),
)


def sidecar_kind(
    output: str | Path, content: str = "generated queries", made_by: str = "pyserini_xqg.generate"
) -> Kind:
    """The kind of description that lies beside an output, in :func:`sidecar_path`."""
    return Kind(f"description of {content}", sidecar_path(output).name, f"pyserini-xqg {content}", 2, made_by)


def sidecar_path(output: str | Path) -> Path:
    """The description beside an output; beside its target if the output is a symbolic link."""
    return Path(f"{_target(output)}.json")


def read_sidecar(output: str | Path, **kind: str) -> dict[str, Any]:
    """The description of an output; :class:`XqgError` for one without, of another version, or changed since."""
    return sidecar_kind(output, **kind).read(sidecar_path(output).parent)


def write_sidecar(output: str | Path, sidecar: Mapping[str, Any], **kind: str) -> None:
    """Write the description of an output."""
    described = sidecar_kind(output, **kind)
    described.write(sidecar_path(output).parent, described.new(sidecar))


def check_sidecar(output: str | Path, **kind: str) -> None:
    """Refuse an output beside which another file has the name of its description."""
    if sidecar_path(output).exists():
        try:
            read_sidecar(output, **kind)
        except XqgError as error:
            raise XqgError(
                f"{sidecar_path(output)} exists and is no {sidecar_kind(output, **kind).noun} ({error}) Move it away, "
                "or choose another --output."
            ) from error


def work_directory(output: str | Path) -> Path:
    """Where an output grows."""
    return Path(f"{_target(output)}.work")


def lock_path(output: str | Path) -> Path:
    """Held by whoever writes an output; stays behind as an empty file."""
    return _target(output).with_name(f".{_target(output).name}.lock")


def _target(output: str | Path) -> Path:
    return resolved(output) if Path(output).is_symlink() else Path(output)


def warn_of_versions(output: str | Path, there: Mapping[str, str], now: Mapping[str, str], word: str) -> None:
    """Say that parts of an output come from different releases, whose queries may differ for the same seed."""
    if differences := differing(there, now, word):
        say(f"{output}: warning: parts of it are made by different releases: {'; '.join(differences)}")


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


def summary_lines(name: str, sidecar: Mapping[str, Any]) -> list[str]:
    """What a sidecar's counts say, in lines that begin with ``name``."""
    counts = sidecar["counts"]
    passages = sidecar["corpus"]["passages"]
    kept = ", ".join(f"{language} {number:,}" for language, number in counts["queries"].items())
    part = ""
    if shard := sidecar.get("shard"):
        part, passages = f"shard {shard['id']} of {shard['num']}, ", shard["rows"]
    lines = [f"{name}: {part}{passages:,} passages, queries: {kept}"]
    for language, reasons in counts["refused"].items():
        if refused := sum(reasons.values()):
            why = ", ".join(f"{reason.replace('_', ' ')} {number:,}" for reason, number in reasons.items() if number)
            total = counts["candidates"][language]
            lines.append(f"{name}: {language}: {refused:,} of {total:,} candidates refused ({why})")
    wanted = sidecar["num_queries"]
    for what, text in (
        ("passages_with_fewer_queries", f"passages with fewer than {wanted} queries"),
        ("cut_inputs", "prompts were longer than the model's input and cut"),
    ):
        found = {language: number for language, number in counts[what].items() if number}
        if found:
            numbers = ", ".join(f"{language} {number:,}" for language, number in found.items())
            docids = counts["examples"][what]
            more = " …" if max(found.values()) > len(docids) else ""
            lines.append(f"{name}: {text}: {numbers} (docid {', '.join(docids)}{more})")
    return lines


def passage_line(passage: Passage, queries: Mapping[str, Sequence[str]], queries_only: bool = False) -> str:
    """One line of the output: the passage with the queries it had, and the new ones."""
    record: dict[str, Any] = {"docid": passage.docid}
    generated = dict(queries)
    if not queries_only:
        record |= {"title": passage.title, "text": passage.text}
        generated = {**passage.queries, **generated}
    return json.dumps({**record, "generated_queries": generated}, ensure_ascii=False) + "\n"


def check_queries_output(
    output: str | Path,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    inputs: Iterable[str | Path] = (),
) -> dict[str, Any] | None:
    """Refuse an output that cannot be written; returns the sidecar of one that is finished, with these settings.

    ``settings`` are compared as far as they are known: None before anything is read. Unfinished work in which nothing
    is committed has no settings yet.
    """
    target, work, inputs = _target(output), work_directory(output), list(inputs)
    for path in (target, work, sidecar_path(output)):
        check_apart(path, inputs)
    if target.exists() and not target.is_file():
        raise XqgError(f"{output}: is a directory or a device. Name a file as --output, such as queries.jsonl.")
    check_sidecar(output)
    finished = None
    if target.exists() and not overwrite and not _is_published(work):
        if not sidecar_path(output).exists():
            check_file(target)
        finished = read_sidecar(output)
        if differences := generation_differences(finished, {**finished, **(settings or {})}):
            raise XqgError(
                f"{output} exists, generated otherwise: {'; '.join(differences)}. Choose another --output, or pass "
                "--overwrite."
            )
    if not WORK.is_at(work) or overwrite:
        check_directory(work, WORK, overwrite)
        return finished
    there = WORK.read(work)
    # Nothing is lost if work without a chunk begins anew.
    compared = settings is not None and (there["complete"] or rows_done(work, WORK) > 0)
    check_job(work, WORK, {**there, **settings} if compared else None)
    return finished


def _is_published(work: Path) -> bool:
    """True if all that is left to do is to remove the directory."""
    return WORK.is_at(work) and WORK.read(work)["complete"] and not (work / QUERIES_NAME).exists()


class QueriesWriter(ChunkJob):
    """Writes the passages of a corpus, or of a shard, with their queries; continues what is unfinished.

    settings : what decides the queries; ``corpus`` has the number of passages, ``languages`` names the counted ones.
    overwrite : replace an output; unfinished work with the same settings is continued all the same, for the file comes
    out the same.

    Use as a context manager. Raises :class:`XqgError` as :class:`~pyserini_xqg.core.chunks.ChunkJob` does.
    """

    def __init__(
        self,
        output: str | Path,
        settings: Mapping[str, Any],
        overwrite: bool = False,
        wait: float = 0,
        inputs: Iterable[str | Path] = (),
    ) -> None:
        self.target = _target(output)
        self.settings = dict(settings)
        self.counts = new_counts(settings["languages"])
        self._replaces = overwrite
        self._versions = package_versions("ctranslate2")
        described = {key: value for key, value in settings.items() if key != "shard" or value}
        described["versions"] = self._versions
        super().__init__(
            work_directory(output), WORK, described, {QUERIES_NAME: b""}, _chunk_sizes, wait=wait, inputs=inputs
        )

    @property
    def rows(self) -> int:
        """Passages that there will be."""
        return (self.manifest.get("shard") or self.manifest["corpus"]).get("rows", self.manifest["corpus"]["passages"])

    @property
    def lock(self) -> Path:
        """Beside the output, for the directory goes in the end."""
        return lock_path(self.target)

    def disk_named(self) -> Any:
        """A full disk becomes an error that names the output and says how to go on."""
        return named_errors(self.target, CONTINUES)

    def check(self) -> None:
        """Refuse what cannot be written or continued; nothing is changed."""
        if check_queries_output(self.target, self._replaces, self.settings, self._inputs):
            check_file(self.target)

    def _begin(self) -> None:
        if WORK.is_at(self.directory) and WORK.differences(WORK.read(self.directory), self.manifest):
            self.clear()  # check has let it pass: nothing is committed, or it is to be replaced
        super()._begin()
        warn_of_versions(self.target, self.manifest["versions"], self._versions, "now")
        if self.finished:  # interrupted while it was published
            self.counts, self.rows_done = self.manifest["sidecar"]["counts"], self.rows

    def count(self, entry: Mapping[str, Any]) -> None:
        """Note a committed chunk, with what was counted in it."""
        super().count(entry)
        add_counts(self.counts, entry["counts"])

    def write(self, lines: Sequence[str], counts: Mapping[str, Any]) -> None:
        """Commit one chunk: a line a passage, and what was counted. After this returns, no crash can lose it."""
        data = "".join(lines).encode("utf-8")
        self.append({"rows": len(lines), "bytes": len(data), "counts": _occurring(counts)}, {QUERIES_NAME: data})

    def finish(self) -> dict[str, Any]:
        """Make the output and its sidecar appear; returns the sidecar.

        Raises :class:`XqgError` unless every passage was written, and lies on the disk as it was written.
        """
        grown, resumed = self.directory / QUERIES_NAME, self.finished
        with self.disk_named():
            if not resumed:
                if not grown.exists():
                    self.check_committed()  # names what is missing; what is there is checked below
                sha256 = sha256_file(grown)
                size = self._committed_bytes(QUERIES_NAME)
                super().finish(self.rows, sidecar=new_sidecar(self.manifest, self.counts, size, sha256))
            sidecar = self.manifest["sidecar"]
            published = self.target if resumed and not grown.exists() else grown
            if not published.exists() or (resumed and sha256_file(published) != sidecar["sha256"]):
                raise XqgError(
                    f"{published}: is missing, or was changed after it was written. Remove {self.directory} and run "
                    "the command again."
                )
            if published == grown:
                write_sidecar(self.target, sidecar)
                os.replace(grown, self.target)
                fsync_path(self.target.parent)
            self.clear()
            self.directory.rmdir()
        return sidecar


def _chunk_sizes(entry: Mapping[str, Any]) -> dict[str, int]:
    return {QUERIES_NAME: entry["bytes"]}


def new_sidecar(manifest: Mapping[str, Any], counts: Mapping[str, Any], size: int, sha256: str) -> dict[str, Any]:
    """The description of a finished output."""
    left_out = ("format", "format_version", "versions", "sidecar", "complete", "files", "manifest_sha256")
    settings = {key: value for key, value in manifest.items() if key not in left_out}
    return {**settings, "counts": dict(counts), "bytes": size, "sha256": sha256, "versions": manifest["versions"]}


def is_whole(output: str | Path, sidecar: Mapping[str, Any]) -> bool:
    """Whether an output has the bytes that its sidecar says."""
    path = Path(output)
    return path.is_file() and path.stat().st_size == sidecar["bytes"] and sha256_file(path) == sidecar["sha256"]

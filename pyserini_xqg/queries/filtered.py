"""The corpus without the queries that a filter drops: a file that appears whole, with its sidecar."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, sha256_file, write_json
from pyserini_xqg.core.old_files import check_output, exclusive, full_disk_named, write_whole
from pyserini_xqg.generate.output import sidecar_path
from pyserini_xqg.queries.scores import QueryScores
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

FILTER_FORMAT = "pyserini-xqg filtered queries"


def filter_queries(
    corpus: Corpus, scores: QueryScores, selection: Selection, output: str | Path, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the corpus with the queries that are kept to ``output``, whole or not at all; returns the sidecar.

    The sidecar ``<output>.json`` holds settings, thresholds and counts. Passages keep their order, and stay in the
    file where no query of theirs is left. ``scores`` must be those of this corpus (:meth:`QueryScores.check_corpus`).
    Raises :class:`XqgError` for an output that exists, and for scores without the ranks of a round trip.
    """
    check_filter_output(output, overwrite)
    settings = describe_filter(corpus, scores, selection)
    names = {KEPT: "kept", LOW: "low_score", NOT_RETRIEVED: "not_retrieved"}
    counts = {
        language: {"queries": 0, **dict.fromkeys(names.values(), 0), "passages_left_without": 0}
        for language in scores.languages
    }
    passages = {"passages": 0, "without_queries_before": 0, "left_without_queries": 0}
    streams = verdicts_by_language(scores, selection)
    changed = f"{corpus.source}: changed while it was read. Run the command again."
    with _whole_output(output) as hashed:
        lines = _text(hashed, str(output).endswith(".gz"))
        with lines as out, progress(total=scores.passages, unit="passages", description="filtering") as bar:
            for passage in corpus:
                kept = {}
                for language, texts in passage.queries.items():
                    found = list(islice(streams[language], len(texts)))
                    if len(found) != len(texts):
                        raise XqgError(changed)
                    count = counts[language]
                    count["queries"] += len(texts)
                    for verdict in found:
                        count[names[verdict]] += 1
                    if some := [text for text, verdict in zip(texts, found, strict=True) if verdict == KEPT]:
                        kept[language] = some
                    else:
                        count["passages_left_without"] += 1
                passages["passages"] += 1
                passages["without_queries_before"] += not passage.queries
                passages["left_without_queries"] += bool(passage.queries) and not kept
                record = {"docid": passage.docid, "title": passage.title, "text": passage.text}
                out.write(json.dumps({**record, "generated_queries": kept}, ensure_ascii=False) + "\n")
                bar.update()
        if passages["passages"] != scores.passages or any(next(left, None) is not None for left in streams.values()):
            raise XqgError(changed)
        sidecar = {
            "format": FILTER_FORMAT,
            "format_version": 1,
            **settings,
            "quantiles": {language: quantiles(scores, language) for language in scores.languages},
            "queries": counts,
            "passages": passages,
            "bytes": hashed.bytes,
            "sha256": hashed.sha256,
            "versions": package_versions(),
        }
        write_json(sidecar_path(output), sidecar)  # first: where there is an output, its sidecar is there too
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


def finished_before(output: str | Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sidecar of an output that the same filter wrote and nobody changed; None where there is none."""
    if not Path(output).exists() or not sidecar_path(output).exists():
        return None
    sidecar = read_json(sidecar_path(output))
    same = all(sidecar.get(name) == value for name, value in settings.items())
    return sidecar if same and sidecar.get("sha256") == sha256_file(output) else None


def check_filter_output(output: str | Path, overwrite: bool) -> None:
    """Refuse an output that exists, or whose sidecar's place another file has."""
    sidecar = sidecar_path(output)
    if sidecar.exists() and read_json(sidecar).get("format") != FILTER_FORMAT:
        raise XqgError(f"{sidecar} exists and does not come from a filter. Move it away, or choose another --output.")
    check_output(output, overwrite)


class _Hashed(io.RawIOBase):
    """Passes bytes on to a file and hashes them; the file stays open when this is closed."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw, self._hash, self.bytes = raw, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._raw.write(data)
        self._hash.update(data)
        self.bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def _whole_output(output: str | Path) -> Iterator[_Hashed]:
    """A file that appears whole; one process at a time writes it, and what a killed one left is removed."""
    path = Path(output)
    cure = "Free some space and run the command again: the scores are kept."
    with full_disk_named(path, cure), exclusive(path.with_name(f".{path.name}.lock"), path):
        for leftover in path.parent.glob(f".{path.name}.*.partial"):
            leftover.unlink()
        with write_whole(path, "wb") as raw:
            yield _Hashed(raw)


@contextmanager
def _text(raw: _Hashed, gzipped: bool) -> Iterator[IO[str]]:
    """UTF-8 text into a binary file, gzipped or not; the same text gives the same bytes."""
    with ExitStack() as stack:
        if gzipped:
            binary: Any = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
        else:
            binary = io.BufferedWriter(raw, 1 << 20)
        yield stack.enter_context(io.TextIOWrapper(binary, encoding="utf-8", newline="\n"))

"""``xqg.json``, the manifest beside every index: how it was built, with which encoder, and checksums.

An index is ``single`` (the files ``index`` and ``docid``), ``sharded`` (several single ones, searched as one) or
``routed`` (one single or sharded one a language).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import Kind, inside
from pyserini_xqg.vectors.settings import EncoderConfig

INDEX_KIND = Kind("xQG index", "xqg.json", "pyserini-xqg index", 2, "pyserini_xqg.index")
MANIFEST_NAME = INDEX_KIND.manifest
INDEX_PREFIX = "xqg:"
"""Begins an ``--encoder`` value that names an index, for the encoder that built it."""
SINGLE, SHARDED, ROUTED = "single", "sharded", "routed"
PLAIN_ROUTE, MEAN_ROUTE = "plain", "mean"
"""Indexes in a routed one for topics in languages without queries of their own."""
MMAP_VARIABLE = "PYSERINI_XQG_MMAP"
"""Environment variable: with 1, index files are mapped instead of read, in stock commands too."""

_together: dict[str, list[Path]] = {}


@contextmanager
def searched_together(directories: Sequence[str | Path]) -> Iterator[str]:
    """A path under which this process finds several single indexes as a sharded one.

    An empty directory: Pyserini takes what does not exist for the name of a prebuilt index.
    """
    with tempfile.TemporaryDirectory(prefix="pyserini-xqg-") as name:
        _together[name] = [Path(directory) for directory in directories]
        try:
            yield name
        finally:
            del _together[name]


def names_index(encoder: str) -> bool:
    """True if an ``--encoder`` value stands for an index, False for a model.

    >>> names_index("xqg:indexes/a"), names_index("models/a")
    (True, False)
    """
    return encoder.startswith(INDEX_PREFIX) or INDEX_KIND.is_at(encoder)


def package_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that decide an index's numbers, and of ``more``; without those not installed."""
    versions = {}
    for name in ("pyserini-xqg", "torch", "transformers", "tokenizers", "faiss-cpu", "numpy", *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def read_manifest(directory: str | Path) -> dict[str, Any] | None:
    """The manifest in an index directory; None where there is none (a plain Pyserini index).

    Raises :class:`XqgError` for a file that is no manifest of this version, or that was changed.
    """
    if parts := _together.get(str(directory)):
        return {"layout": SHARDED, "shards": [str(part) for part in parts]}
    return INDEX_KIND.read(directory) if INDEX_KIND.is_at(directory) else None


def index_parts(directory: str | Path, manifest: dict[str, Any]) -> list[Path]:
    """Directories of the indexes that a sharded or routed one is made of, in order; empty for a single one."""
    if parts := _together.get(str(directory)):
        return parts
    names = manifest.get("shards") or [*manifest.get("languages", {}).values(), *manifest.get("others", {}).values()]
    return [inside(directory, name, Path(directory) / MANIFEST_NAME) for name in names]


def route_directory(directory: str | Path, manifest: dict[str, Any], language: str) -> Path:
    """Directory of the index in a routed one that serves topics in a language.

    That of the language, or, where it has no queries of its own, the plain one for the passages' language and the one
    with the mean of all queries for any other.
    """
    others = manifest["others"]
    other = others.get(PLAIN_ROUTE) if language == manifest["passage_language"] else None
    name = manifest["languages"].get(language) or other or others[MEAN_ROUTE]
    return inside(directory, name, Path(directory) / MANIFEST_NAME)


def read_encoder_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest that describes an index's encoder: its own, or that of its first part that has one.

    Raises :class:`XqgError` where there is none.
    """
    manifest = read_manifest(directory)
    if manifest is not None and "encoder" not in manifest:
        parts = [read_manifest(part) for part in index_parts(directory, manifest)]
        manifest = next((part for part in parts if part is not None and "encoder" in part), None)
    if manifest is None:
        raise XqgError(
            f"{directory}: no {MANIFEST_NAME} there. Pass the directory of an index that pyserini_xqg.index built."
        )
    return manifest


def manifest_encoder(directory: str | Path) -> EncoderConfig:
    """The encoder's configuration from an index's manifest; :class:`XqgError` where there is no manifest."""
    return EncoderConfig.from_dict(read_encoder_manifest(directory)["encoder"], str(Path(directory) / MANIFEST_NAME))

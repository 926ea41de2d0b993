"""``xqg.json``, the manifest beside every index: how it was built, with which encoder, and checksums."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.vectors.settings import EncoderConfig

MANIFEST_NAME = "xqg.json"
INDEX_PREFIX = "xqg:"
"""Begins an ``--encoder`` value that names an index, for the encoder that built it."""
ALPHA_PREFIX = "xqg@"
"""Begins one that names an alpha too: ``xqg@0.3:<index>``."""
INDEX_FORMAT = "pyserini-xqg index"
ROUTED_FORMAT = "pyserini-xqg routed index"
SHARDED_FORMAT = "pyserini-xqg sharded index"
_FORMAT_VERSION = 1
MMAP_VARIABLE = "PYSERINI_XQG_MMAP"
"""Environment variable: with 1, index files are mapped instead of read, in stock commands too."""


def names_index(encoder: str) -> bool:
    """True if an ``--encoder`` value stands for an index, False for a model.

    >>> names_index("xqg:indexes/a"), names_index("xqg@0.3:indexes/a"), names_index("models/a")
    (True, True, False)
    """
    return encoder.startswith((INDEX_PREFIX, ALPHA_PREFIX)) or (Path(encoder) / MANIFEST_NAME).exists()


def package_versions(*more: str) -> dict[str, str]:
    """Versions of the packages that decide an index's numbers, and of ``more``; without those not installed."""
    versions = {}
    for name in ("pyserini-xqg", "torch", "transformers", "tokenizers", "faiss-cpu", "numpy", *more):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def new_manifest(kind: str, **entries: Any) -> dict[str, Any]:
    """A manifest of this version's format, ready to be written."""
    return {"format": kind, "format_version": _FORMAT_VERSION, **entries, "versions": package_versions()}


def read_manifest(directory: str | Path) -> dict[str, Any] | None:
    """The manifest in an index directory; None where there is none (a plain Pyserini index).

    Raises :class:`XqgError` for a file that is no manifest, or that a newer version wrote.
    """
    path = Path(directory) / MANIFEST_NAME
    if not path.exists():
        return None
    manifest = read_json(path)
    if manifest.get("format") not in (INDEX_FORMAT, ROUTED_FORMAT, SHARDED_FORMAT):
        raise XqgError(f"{path}: not an xQG manifest (format {manifest.get('format')!r}). Build the index again.")
    if manifest.get("format_version") != _FORMAT_VERSION:
        raise XqgError(
            f"{path}: format version {manifest.get('format_version')!r}, this version reads {_FORMAT_VERSION}. "
            "Use the pyserini-xqg that wrote it, or build the index again."
        )
    if manifest["format"] == SHARDED_FORMAT:
        shards = manifest.get("shards")
        if not isinstance(shards, list) or not shards or not all(isinstance(shard, str) for shard in shards):
            raise XqgError(f"{path}: no shards in the manifest of a sharded index. Build the index again.")
        return manifest
    probe = manifest.get("probe")
    described = isinstance(manifest.get("encoder"), dict) and isinstance(probe, dict)
    if not described or not {"dimension", "length", "head"} <= set(probe):
        raise XqgError(f"{path}: no description of the encoder. Build the index again.")
    if manifest["format"] == ROUTED_FORMAT and not isinstance(manifest.get("languages"), dict):
        raise XqgError(f"{path}: no languages in the manifest of a routed index. Build the index again.")
    return manifest


def shard_directories(directory: str | Path, manifest: dict[str, Any]) -> list[Path]:
    """Directories of a sharded index, in order; relative ones lie in the index."""
    return [Path(directory) / shard for shard in manifest["shards"]]


def read_encoder_manifest(directory: str | Path) -> dict[str, Any]:
    """The manifest that describes an index's encoder: its own, or that of its first shard that has one.

    Raises :class:`XqgError` where there is none.
    """
    manifest = read_manifest(directory)
    if manifest is not None and manifest["format"] == SHARDED_FORMAT:
        shards = [read_manifest(shard) for shard in shard_directories(directory, manifest)]
        manifest = next((shard for shard in shards if shard is not None and "encoder" in shard), None)
    if manifest is None:
        raise XqgError(
            f"{directory}: no {MANIFEST_NAME} there. Pass the directory of an index that pyserini_xqg.index built."
        )
    return manifest


def manifest_encoder(directory: str | Path) -> EncoderConfig:
    """The encoder's configuration from an index's manifest; :class:`XqgError` where there is no manifest."""
    return EncoderConfig.from_dict(read_encoder_manifest(directory)["encoder"], str(Path(directory) / MANIFEST_NAME))

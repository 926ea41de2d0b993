"""``xqg.json``, the manifest beside every index: how it was built, with which encoder, and checksums."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyserini_xqg.embedding import EncoderConfig
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import read_json

MANIFEST_NAME = "xqg.json"
INDEX_FORMAT = "pyserini-xqg index"
ROUTED_FORMAT = "pyserini-xqg routed index"
_FORMAT_VERSION = 1


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide an index's numbers."""
    versions = {}
    for name in ("pyserini-xqg", "torch", "transformers", "tokenizers", "faiss-cpu", "numpy"):
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
    if manifest.get("format") not in (INDEX_FORMAT, ROUTED_FORMAT):
        raise XqgError(f"{path}: not an xQG manifest (format {manifest.get('format')!r}). Build the index again.")
    if manifest.get("format_version") != _FORMAT_VERSION:
        raise XqgError(
            f"{path}: format version {manifest.get('format_version')!r}, this version reads {_FORMAT_VERSION}. "
            "Use the pyserini-xqg that wrote it, or build the index again."
        )
    probe = manifest.get("probe")
    described = isinstance(manifest.get("encoder"), dict) and isinstance(probe, dict)
    if not described or not {"dimension", "length", "head"} <= set(probe):
        raise XqgError(f"{path}: no description of the encoder. Build the index again.")
    if manifest["format"] == ROUTED_FORMAT and not isinstance(manifest.get("languages"), dict):
        raise XqgError(f"{path}: no languages in the manifest of a routed index. Build the index again.")
    return manifest


def manifest_encoder(directory: str | Path) -> EncoderConfig:
    """The encoder's configuration from an index's manifest; :class:`XqgError` where there is no manifest."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise XqgError(
            f"{directory}: no {MANIFEST_NAME} there. Pass the directory of an index that pyserini_xqg.index built."
        )
    return EncoderConfig.from_dict(manifest["encoder"], str(Path(directory) / MANIFEST_NAME))

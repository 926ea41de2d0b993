"""Kinds of directories that the package makes: their manifests, by which they are known, compared and checked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, resolved, sha256_file, write_json

LOCK_NAME = ".lock"
BY_CHUNK = "by chunk"
"""Stands for the checksum of a file whose chunks have theirs in chunks.jsonl."""


def differing(
    there: Mapping[str, Any], now: Mapping[str, Any], word: str = "now", ignored: Sequence[str] = ()
) -> list[str]:
    """What differs between two settings, as phrases for a message; ``word`` stands for the second.

    Names are those of nested objects joined by dots; those that begin as in ``ignored`` are not compared.

    >>> differing({"model": {"name": "a"}, "seed": 1}, {"model": {"name": "b"}, "seed": 2}, ignored=("seed",))
    ["model.name is 'a' there and 'b' now"]
    """
    old, new = _flat(there), _flat(now)
    return [
        f"{name} is {old.get(name)!r} there and {new.get(name)!r} {word}"
        for name in dict.fromkeys([*old, *new])
        if not name.startswith(tuple(ignored)) and old.get(name) != new.get(name)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


_UNCOMPARED = ("complete", "files", "manifest_sha256", "versions.")
"""Entries of every manifest that are no settings."""


@dataclass(frozen=True)
class Kind:
    """A kind of directory that the package makes, and how it is known again.

    noun : what it is called in messages, such as ``embedding store``. manifest : name of the JSON file that describes
    it. format, version : what stands there. made_by : the command that makes it.
    ignored : entries of the manifest, or beginnings of their names, that are not compared when work is continued.
    compare : finds what differs between two manifests (there, now) instead of :func:`differing`.
    """

    noun: str
    manifest: str
    format: str
    version: int
    made_by: str
    ignored: tuple[str, ...] = ()
    compare: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]] | None = None

    @property
    def again(self) -> str:
        """The cure for one that is damaged."""
        return f"Restore it from a copy, or make it again with {self.made_by}."

    def new(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """A manifest of this version's format."""
        return {"format": self.format, "format_version": self.version, **entries}

    def differences(self, there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """What differs between the settings of two manifests, as phrases for a message."""
        if self.compare:
            return self.compare(there, now)
        return differing(there, now, ignored=(*_UNCOMPARED, *self.ignored))

    def is_at(self, directory: str | Path) -> bool:
        """Whether a manifest of this name lies there, sound or not."""
        return (Path(directory) / self.manifest).is_file()

    def read(self, directory: str | Path) -> dict[str, Any]:
        """The manifest of a directory, finished or not.

        Raises :class:`XqgError` if there is none, if it is of another format or version, or was changed after it was
        written.
        """
        path = Path(directory) / self.manifest
        if not path.is_file():
            raise XqgError(
                f"{directory}: no {self.noun} there ({self.manifest} is missing). Make one with {self.made_by}."
            )
        manifest = read_json(path)
        found = manifest.get("format"), manifest.get("format_version")
        if found != (self.format, self.version):
            raise XqgError(
                f"{path}: format {found[0]!r} version {found[1]!r}, expected {self.format!r} version {self.version}. "
                f"Make it again with {self.made_by}."
            )
        if manifest.get("manifest_sha256") != manifest_digest(manifest):
            raise XqgError(f"{path}: was changed after it was written. {self.again}")
        return manifest

    def write(self, directory: str | Path, manifest: Mapping[str, Any]) -> None:
        """Write the manifest with its checksum, whole or not at all."""
        content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
        write_json(Path(directory) / self.manifest, {**content, "manifest_sha256": manifest_digest(content)})

    def foreign(self, directory: str | Path) -> list[str]:
        """What lies in a directory and is not ours, by relative path; all of it if the directory is not of this kind.

        Ours are the manifest, what its ``files`` lists (a name that ends in ``/`` with all below it), the lock, and
        partial files of ours.
        """
        directory = Path(directory)
        try:
            listed = self.read(directory).get("files", {})
        except XqgError:
            return sorted(entry.name for entry in directory.iterdir() if not _is_passing(entry.name))
        whole = {name.rstrip("/") for name in listed if name.endswith("/")}
        above = {str(parent) for name in listed for parent in Path(name).parents}
        foreign = []
        for place, folders, names in os.walk(directory):
            here = Path(place).relative_to(directory)
            for name in sorted([*folders, *names]):
                path = str(here / name)
                if path in whole:
                    folders.remove(name)
                elif not (path in listed or path in above or path == self.manifest or _is_passing(name)):
                    foreign.append(path)
                    if name in folders:
                        folders.remove(name)
        return foreign


def _is_passing(name: str) -> bool:
    return name.startswith(".") and name.endswith((LOCK_NAME, ".partial"))


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its own checksum, in hexadecimal."""
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode("utf-8")).hexdigest()


def seal(
    directory: str | Path,
    kind: Kind,
    manifest: Mapping[str, Any],
    sha256: Mapping[str, str] | None = None,
    listed: Sequence[str] = (),
) -> dict[str, Any]:
    """Write the manifest of a finished directory: what is in it, with sizes and checksums; returns it.

    sha256 : of files that were hashed as they were written; the others are read for theirs.
    listed : directories in it, named with a ``/`` at the end, that are ours with all below them and keep no checksums.
    """
    directory, sha256 = Path(directory), dict(sha256 or {})
    skipped = tuple(listed)
    files: dict[str, Any] = {name: {} for name in skipped}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_dir() and kind.is_at(path):  # sealed itself: its files need not be read again
            sha256 |= {f"{name}/{file}": about.get("sha256") for file, about in kind.read(path)["files"].items()}
        if path.is_dir() or name == kind.manifest or name.startswith(skipped or "\0") or _is_passing(path.name):
            continue
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256.get(name) or sha256_file(path)}
    sealed = {**kind.new({}), **manifest, "complete": True, "files": files}
    kind.write(directory, sealed)
    return sealed


def directory_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of the names and bytes of all files below a directory (locks apart), in hexadecimal."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for place in sorted(path.rglob("*")):
        if place.is_file() and not _is_passing(place.name):
            digest.update(f"{place.relative_to(path)}\0{sha256_file(place)}\n".encode())
    return digest.hexdigest()


def check_files(
    directory: str | Path, kind: Kind, manifest: Mapping[str, Any], checksums: bool = True
) -> Iterator[str]:
    """Yield a line for each file that is not as the manifest says: missing, of another size, or of other bytes."""
    directory = Path(directory)
    for name, about in manifest.get("files", {}).items():
        path = directory / name
        if name.endswith("/"):
            continue
        if not path.is_file():
            yield f"{name}: is missing"
        elif path.stat().st_size != about.get("bytes", path.stat().st_size):
            yield f"{name}: has {path.stat().st_size:,} bytes, expected {about['bytes']:,}"
        elif checksums and about.get("sha256") not in (None, BY_CHUNK) and sha256_file(path) != about["sha256"]:
            yield f"{name}: was changed after it was written"


def inside(directory: str | Path, name: str, where: str | Path) -> Path:
    """The path of ``name`` in ``directory``; :class:`XqgError`, naming ``where`` it stands, if it leads out of it."""
    directory = Path(directory)
    path = directory / name
    if not isinstance(name, str) or not resolved(path).is_relative_to(resolved(directory)):
        raise XqgError(
            f"{where}: {name!r} leads out of its directory. Do not use this file; get it from its maker anew."
        )
    return path

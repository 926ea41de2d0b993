"""The teacher's vectors of English texts, kept on the disk: computed once for a teacher and texts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.old_files import exclusive, write_whole
from pyserini_xqg.vectors.embedding import Embedder

_TOGETHER = 4096  # texts between two reports


def cache_directory() -> Path:
    """Where vectors are kept unless the user says otherwise: ``pyserini-xqg`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyserini-xqg"


def teacher_vectors(teacher: Embedder, fingerprint: str, texts: Sequence[str], cache: Path) -> np.ndarray:
    """Vectors at unit length, float32 (len(texts), dimension), as the teacher embeds passages.

    fingerprint : of the teacher's checkpoint, which with its settings, precision and the texts names the file.
    """
    settings = {name: value for name, value in teacher.config.to_dict().items() if name not in ("model", "tokenizer")}
    digest = hashlib.sha256(json.dumps([fingerprint, settings, teacher.precision], sort_keys=True).encode())
    for text in texts:
        digest.update(text.encode() + b"\n")
    path = cache / f"teacher-{digest.hexdigest()[:24]}.npy"
    cache.mkdir(parents=True, exist_ok=True)
    with exclusive(path.with_suffix(".lock"), path, wait=6 * 3600):
        if path.exists():
            say(f"{path}: the teacher's vectors of these {len(texts):,} texts, computed earlier")
            return np.load(path)
        rows = []
        with progress(total=len(texts), unit="texts", description="teacher") as bar:
            for start in range(0, len(texts), _TOGETHER):
                rows.append(teacher.embed_passages(texts[start : start + _TOGETHER]))
                bar.update(len(rows[-1]))
        vectors = np.concatenate(rows)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        with write_whole(path, "wb") as out:
            np.save(out, vectors)
    return vectors


def project(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """Unit-length vectors in another dimension: their principal components, or zeros behind them.

    >>> project(np.eye(2, dtype=np.float32), 3).shape
    (2, 3)
    """
    if dimension > vectors.shape[1]:
        return np.pad(vectors, ((0, 0), (0, dimension - vectors.shape[1])))
    # Not centred, so that inner products are kept as well as this many dimensions can.
    _, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors.astype(np.float64))
    reduced = vectors @ axes[:, ::-1][:, :dimension].astype(np.float32)
    return reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)

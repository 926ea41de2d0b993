"""What a student is taught: the teacher's vectors, computed once and kept on the disk, and a cross-encoder's scores."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.output import exclusive
from pyserini_xqg.vectors.embedding import Embedder

if TYPE_CHECKING:
    import torch

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
        with write_file(path, "wb") as out:
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


def check_cross_encoder(name: str) -> None:
    """:class:`XqgError` unless ``name`` is a sequence classifier with one output."""
    from transformers import AutoModelForSequenceClassification

    cure = "Pass --cross-encoder a checkpoint with one score a pair, such as cross-encoder/ms-marco-MiniLM-L6-v2."
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(name, output_loading_info=True)
    except Exception as error:  # transformers raises many kinds
        raise XqgError(f"{name}: cannot be loaded as a cross-encoder ({str(error).splitlines()[0]}). {cure}") from error
    if report["missing_keys"] or model.config.num_labels != 1:
        raise XqgError(f"{name}: not a cross-encoder with one score. {cure}")


class CrossEncoderScores:
    """A cross-encoder's scores of texts for each other.

    model, tokenizer : of a sequence classifier with one output. texts : by row. length : most tokens of a pair.
    """

    def __init__(self, model: Any, tokenizer: Any, texts: Sequence[str], length: int = 128) -> None:
        self._model, self._tokenizer, self._texts, self._length = model.eval(), tokenizer, texts, length

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Scores, float32 (rows, rows)."""
        import torch

        device = next(self._model.parameters()).device
        texts = [self._texts[row] for row in rows.tolist()]
        scores = []
        with torch.inference_mode():
            for text in texts:
                inputs = self._tokenizer(
                    [text] * len(texts),
                    texts,
                    truncation=True,
                    max_length=self._length,
                    padding=True,
                    return_tensors="pt",
                ).to(device)
                scores.append(self._model(**inputs).logits[:, 0].float().cpu())
        return torch.stack(scores).clone()

"""Refuses a query encoder that does not fit the index it is to search, naming both sides.

Names and paths of models change hands; vectors do not. So a manifest keeps the vector of one known
text, and the query encoder's vector of that text has to be the same. A model that was moved or
renamed passes; another pooling, normalisation, prefix or checkpoint does not.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pyserini_xqg.embedding import PROBE_TEXT, EncoderConfig, describe_probe
from pyserini_xqg.errors import XqgError
from pyserini_xqg.manifest import MANIFEST_NAME, ROUTED_FORMAT, read_manifest

# Reduced precision (bfloat16, int8) moves a vector by a few per cent of its length; another encoder by about 100 %.
TOLERANCE = 0.1


def probe_distance(expected: dict[str, Any], found: dict[str, Any]) -> float:
    """Relative difference of two probes: 0 for the same encoder, about 1 and more for another.

    >>> probe = {"dimension": 2, "length": 5.0, "head": [3.0, 4.0]}
    >>> probe_distance(probe, {"dimension": 2, "length": 1.0, "head": [0.6, 0.8]})
    0.8
    """
    head, other = np.array(expected["head"]), np.array(found["head"])
    by_head = float(np.linalg.norm(head - other)) / max(float(np.linalg.norm(head)), 1e-9)
    by_length = abs(expected["length"] - found["length"]) / max(expected["length"], 1e-9)
    return max(by_head, by_length)


def _describe_encoder(encoder: Any) -> str:
    if isinstance(config := getattr(encoder, "config", None), EncoderConfig):
        return config.describe()
    name = getattr(getattr(getattr(encoder, "model", None), "config", None), "_name_or_path", None) or "unknown model"
    details = [type(encoder).__name__]
    if hasattr(encoder, "pooling"):
        details.append(f"pooling {encoder.pooling}")
    if hasattr(encoder, "l2_norm"):
        details.append(f"l2-norm {'on' if encoder.l2_norm else 'off'}")
    if getattr(encoder, "prefix", None):
        details.append(f"query prefix {encoder.prefix!r}")
    return f"{name} ({', '.join(details)})"


def check_fit(index_dir: str | Path, query_encoder: Any) -> None:
    """Raise :class:`XqgError` if ``query_encoder`` is not the encoder that ``index_dir`` was built with.

    Passes in silence over indexes without a manifest, and over encoders without a model (pre-encoded queries).
    """
    manifest = read_manifest(index_dir)
    if manifest is None:
        return
    if manifest["format"] == ROUTED_FORMAT:
        raise XqgError(
            f"{index_dir}: a routed index ({', '.join(manifest['languages'])}). Search it with "
            "python -m pyserini_xqg.search --route, or search one language's index in it."
        )
    if not getattr(query_encoder, "has_model", False):
        return
    expected = manifest["probe"]
    found = describe_probe(query_encoder.encode(PROBE_TEXT))
    if found["dimension"] != expected["dimension"]:
        reason = f"its vectors have {found['dimension']} dimensions, the index {expected['dimension']}"
    elif (distance := probe_distance(expected, found)) > TOLERANCE:
        reason = f"its vector of the probe text differs by {distance:.0%} of the length"
    else:
        return
    built_with = EncoderConfig.from_dict(manifest["encoder"], str(index_dir)).describe()
    raise XqgError(
        f"{index_dir}: the query encoder does not fit: {reason}. The index was built with {built_with}; the query "
        f"encoder is {_describe_encoder(query_encoder)}. Pass --encoder xqg:{index_dir} to use the index's own."
    )


def check_index(index_dir: str | Path, dimension: int, vectors: int, docids: int) -> None:
    """Raise :class:`XqgError` if the files of an xQG index are not those that its manifest describes."""
    manifest = read_manifest(index_dir)
    if manifest is None:
        return
    expected = manifest.get("counts", {}).get("passages", vectors), manifest["probe"]["dimension"]
    if docids != vectors or expected != (vectors, dimension):
        raise XqgError(
            f"{index_dir}: index has {vectors:,} vectors of {dimension} dimensions and docid {docids:,} lines, where "
            f"{MANIFEST_NAME} says {expected[0]:,} of {expected[1]}. Build the index again."
        )


def guard_searcher(module: ModuleType | None = None) -> None:
    """Make Pyserini's ``FaissSearcher`` call :func:`check_fit` before it loads an index; twice is as once."""
    if module is None:
        import pyserini.search.faiss._searcher as module
    searcher = module.FaissSearcher
    load_index = searcher.load_index
    if getattr(load_index, "_xqg_guard", False):
        return

    def guarded_load_index(self: Any, index_dir: str) -> Any:
        check_fit(index_dir, self.query_encoder)
        try:
            index, docids = load_index(self, index_dir)
        except (OSError, RuntimeError) as error:  # FAISS raises the latter, with its own source lines in front
            if read_manifest(index_dir) is None:
                raise
            reason = str(error).split("failed: ")[-1]
            raise XqgError(f"{index_dir}: the index cannot be read ({reason}). Build the index again.") from error
        check_index(index_dir, index.d, index.ntotal, len(docids))
        return index, docids

    guarded_load_index._xqg_guard = True
    searcher.load_index = guarded_load_index

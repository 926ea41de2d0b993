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

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.embedding import PROBE_TEXT, describe_probe
from pyserini_xqg.vectors.manifest import INDEX_PREFIX, ROUTED, SHARDED, SINGLE, index_parts, read_manifest
from pyserini_xqg.vectors.settings import EncoderConfig

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
        details += [f"pooling {encoder.pooling}", f"l2-norm {'on' if getattr(encoder, 'l2_norm', False) else 'off'}"]
    if getattr(encoder, "prefix", None):
        details.append(f"query prefix {encoder.prefix!r}")
    return f"{name} ({', '.join(details)})"


def check_fit(index_dir: str | Path, query_encoder: Any) -> None:
    """Raise :class:`XqgError` if ``query_encoder`` is not the encoder that ``index_dir`` was built with.

    Passes in silence over indexes without a manifest, and over encoders without a model (pre-encoded queries).
    """
    manifest = read_manifest(index_dir)
    if manifest is not None and manifest["layout"] == SHARDED:
        index_dir, manifest = check_shards(index_dir, manifest)
    if manifest is None:
        return
    if manifest["layout"] == ROUTED:
        raise XqgError(
            f"{index_dir}: a routed index ({', '.join(manifest['languages'])}). Search it with "
            "python -m pyserini_xqg.search --route, or search one language's index in it."
        )
    if not getattr(query_encoder, "has_model", False):
        return
    expected = manifest["probe"]
    vector = np.asarray(query_encoder.encode(PROBE_TEXT)).ravel()
    wanted = manifest["dimension"]
    if vector.size != wanted:
        reason = f"its vectors have {vector.size} dimensions, the index {wanted}"
    else:
        distance = probe_distance(expected, describe_probe(vector))
        if distance <= TOLERANCE:
            return
        reason = f"its vector of the probe text differs by {distance:.0%} of the length"
    built_with = EncoderConfig.from_dict(manifest["encoder"], str(index_dir)).describe()
    raise XqgError(
        f"{index_dir}: the query encoder does not fit: {reason}. The index was built with {built_with}; the query "
        f"encoder is {_describe_encoder(query_encoder)}. Pass --encoder xqg:{index_dir} to use the index's own."
    )


# Vectors made with other settings have scores that cannot be compared.
_ALIKE = ("alpha", "aggregate", "normalize", "language_removal")


def check_shards(index_dir: str | Path, manifest: dict[str, Any]) -> tuple[Path, dict[str, Any] | None]:
    """The first shard that has a manifest, and that manifest; (any shard, None) where none has.

    Raises :class:`XqgError` if a shard is missing, is no single index, or was built otherwise than the others: by
    another encoder (by the probes), with another alpha, aggregate, or layout of the vectors.
    """
    place, first = None, None
    for shard in index_parts(index_dir, manifest):
        if not shard.is_dir():
            raise XqgError(f"{index_dir}: its shard {shard} is missing. Restore it, or build the index again.")
        other = read_manifest(shard)
        if other is None:
            continue
        if other["layout"] != SINGLE:
            raise XqgError(f"{index_dir}: its shard {shard} is a {other['layout']} index. Name single indexes.")
        if first is None:
            place, first = shard, other
            continue
        differing = [name for name in _ALIKE if first["augmentation"].get(name) != other["augmentation"].get(name)]
        if first["dimension"] != other["dimension"]:
            differing.append("dimension")
        elif probe_distance(first["probe"], other["probe"]) > TOLERANCE:
            differing.append("encoder")
        if differing:
            raise XqgError(
                f"{place} and {shard} were built otherwise ({', '.join(differing)} differ), so their scores cannot be "
                "compared. Build them alike."
            )
    return (place, first) if place is not None else (shard, None)


def guard_searcher(module: ModuleType | None = None) -> None:
    """Make Pyserini's ``FaissSearcher`` check an index and open every kind of ours; twice is as once.

    Its ``load_index`` then calls :func:`check_fit` first, and opens indexes as
    :func:`~pyserini_xqg.vectors.faiss_index.open_index` does, mapped where the environment asks for it
    (``PYSERINI_XQG_MMAP=1``). ``FaissSearcher(index, "xqg:<index>")`` takes the encoder of an index.
    """
    if module is None:
        import pyserini.search.faiss._searcher as module
    searcher = module.FaissSearcher
    load_index = searcher.load_index
    if getattr(load_index, "_xqg_guard", False):
        return

    def guarded_load_index(self: Any, index_dir: str) -> Any:
        from pyserini_xqg.vectors.faiss_index import mapping_wanted, open_index

        check_fit(index_dir, self.query_encoder)
        manifest = read_manifest(index_dir)
        special = mapping_wanted() or (manifest is not None and manifest["layout"] == SHARDED)
        device = getattr(self, "faiss_device", "cpu")
        if special and device != "cpu":
            raise XqgError(f"--faiss-device {device}: mapped and sharded indexes are searched on the CPU. Use cpu.")
        on_cpu = device == "cpu" and (manifest is not None or special)
        return open_index(index_dir) if on_cpu else load_index(self, index_dir)

    def encoder_named(name: str) -> Any:
        from pyserini_xqg.vectors.encoders import XqgQueryEncoder

        return XqgQueryEncoder(name) if name.startswith(INDEX_PREFIX) else from_name(name)

    from_name = searcher._init_encoder_from_str
    searcher._init_encoder_from_str = staticmethod(encoder_named)
    guarded_load_index._xqg_guard = True
    searcher.load_index = guarded_load_index

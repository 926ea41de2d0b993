"""What lies beside a model and says how it is meant to be used: our own record, or sentence-transformers' files.

Format of the latter: https://sbert.net/docs/sentence_transformer/usage/custom_models.html. ``modules.json`` lists the
modules in order; ``1_Pooling``, ``2_Dense`` and ``2_Normalize`` have their settings, ``sentence_bert_config.json`` the
length, ``config_sentence_transformers.json`` prompts and dimensions. A prompt is put before the text as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.core.kinds import Kind, differing


def _other_settings(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return differing({"task": there.get("task"), **there.get("settings", {})}, {"task": now["task"], **now["settings"]})


TRAINING = Kind(
    "training",
    "xqg-training.json",
    "pyserini-xqg training",
    2,
    "python -m pyserini_xqg.train",
    compare=_other_settings,
)
"""A model that this package trained, with its record beside it."""

_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}
_PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""Names under which sentence-transformers' ``encode_document`` looks for its prompt, in this order."""


@dataclass
class Recorded:
    """Settings of an encoder that its files name, and in which file each stands."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, source: str, **values: Any) -> None:
        """Note settings, unless an earlier source has them."""
        for name, value in values.items():
            if name not in self.values:
                self.values[name], self.sources[name] = value, source


def model_file(model: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a model, in its directory or on the Hugging Face hub; None where it has none."""
    directory = Path(default_encoder.place(model))
    if directory.is_dir():
        return directory / name if (directory / name).is_file() else None
    if directory.is_absolute():
        return None
    from transformers.utils import cached_file

    found = cached_file(
        model,
        name,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def read_recorded(model: str, revision: str | None = None) -> Recorded:
    """The settings that a model's files name; empty where there are none.

    Raises :class:`XqgError`, naming it, for a module or a setting that is not known here.
    """
    recorded = Recorded()
    if (path := model_file(model, TRAINING.manifest, revision)) is not None:
        recorded.add(path.name, **(TRAINING.read(path.parent).get("encoder") or {}))
    if (path := model_file(model, "modules.json", revision)) is not None:
        _read_modules(model, path, revision, recorded)
    return recorded


def _read_modules(model: str, path: Path, revision: str | None, recorded: Recorded) -> None:
    """Add what sentence-transformers' files say."""
    dense: list[str] = []
    normalize = False
    for module in _read_list(path):
        kind, folder = str(module.get("type", "")).rpartition(".")[2], str(module.get("path", ""))
        if kind not in _MODULES:
            raise XqgError(
                f"{path}: the module {module.get('type')!r} is not known here (only {', '.join(_MODULES)} are). Use a "
                "model made of these, or sentence-transformers itself."
            )
        if kind == "Dense":
            if normalize:
                raise XqgError(f"{path}: a Dense module after Normalize, which is not known here. Use another model.")
            dense.append(folder)
        elif kind == "Normalize":
            normalize = True
        elif kind == "Pooling":
            name = f"{folder}/config.json"
            recorded.add(name, pooling=_pooling(model, name, revision))
    recorded.add(path.name, l2_norm=normalize, dense=tuple(dense))
    if (lengths := _read(model, "sentence_bert_config.json", revision)).get("max_seq_length"):
        length = lengths["max_seq_length"]
        recorded.add("sentence_bert_config.json", max_length=length, query_max_length=length)
    about = _read(model, "config_sentence_transformers.json", revision)
    prompts = about.get("prompts") or {}
    default = prompts.get(about.get("default_prompt_name"))
    passage = next((prompts[name] for name in _PASSAGE_PROMPTS if name in prompts), default)
    found = {
        "query_prompt": prompts.get("query", default) or None,
        "passage_prompt": passage or None,
        "dimensions": about.get("truncate_dim"),
    }
    recorded.add("config_sentence_transformers.json", **{name: value for name, value in found.items() if value})


def _pooling(model: str, name: str, revision: str | None) -> str:
    about = _read(model, name, revision)
    modes = about.get("pooling_mode") or [mode for flag, mode in _POOLING_FLAGS.items() if about.get(flag)] or ["mean"]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) > 1 or about.get("include_prompt") is False:
        what = f"poolings {', '.join(modes)} together" if len(modes) > 1 else "pooling without the prompt's tokens"
        raise XqgError(f"{model}, {name}: {what}, which is not known here. Pass --pooling, or use another model.")
    return modes[0]


def _read(model: str, name: str, revision: str | None) -> dict[str, Any]:
    path = model_file(model, name, revision)
    return read_json(path) if path is not None else {}


def _read_list(path: Path) -> list[dict[str, Any]]:
    import json

    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise XqgError(f"{path}: malformed JSON ({error}). Get the model anew.") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise XqgError(f"{path}: a list of modules was expected. Get the model anew.")
    return modules

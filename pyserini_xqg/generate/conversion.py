"""Checkpoints converted for CTranslate2, once per model and precision, and kept in the user's cache."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.core.kinds import Kind, seal
from pyserini_xqg.core.output import exclusive, write_directory
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.tokens import LanguageTokens

CONVERSION = Kind(
    "conversion for CTranslate2", "xqg-conversion.json", "pyserini-xqg conversion", 2, "generate --backend ctranslate2"
)

_PROBE = ("Generate a question for this passage: The river runs past a town.", "Where does the river run?")
_TOLERANCE = 0.05  # mean difference of a token's log-probability, in float32
# What CTranslate2 asks a configuration and transformers 5 no longer stores: where the layers are normalised.
_ARCHITECTURE = {
    "mbart": {"normalize_before": True, "normalize_embedding": True},
    "bart": {"normalize_before": False, "normalize_embedding": True},
}
_WAIT = 3600.0  # seconds for another process to convert the same model


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/pyserini-xqg/ctranslate2``, by default below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyserini-xqg" / "ctranslate2"


def converted(checkpoint: Checkpoint, fingerprint: str, precision: str) -> Path:
    """Directory of the checkpoint in CTranslate2's format, its weights in ``precision``; converted if need be.

    It appears whole; a second process that wants the same waits for the first. Raises :class:`XqgError` for an
    architecture that CTranslate2 does not convert, or converts into a model with other probabilities.
    """
    import ctranslate2

    name = re.sub(r"[^A-Za-z0-9.]+", "-", checkpoint.name).strip("-")[-40:]
    version = ".".join(ctranslate2.__version__.split(".")[:2])
    path = cache_directory() / f"{name}-{fingerprint[:16]}-{precision}-{version}-{CONVERSION.version}"
    if not CONVERSION.is_at(path):
        with exclusive(path.with_name(f".{path.name}.converting"), path, wait=_WAIT):
            if not CONVERSION.is_at(path):
                with write_directory(path, CONVERSION) as partial:
                    _convert(checkpoint, partial, precision)
                    seal(partial, CONVERSION, {"model": checkpoint.name, "fingerprint": fingerprint})
    return path


def _convert(checkpoint: Checkpoint, directory: Path, precision: str) -> None:
    from ctranslate2.converters import TransformersConverter

    model = checkpoint.load("float32")

    class Loaded(TransformersConverter):
        """Takes the model and the tokenizer that are loaded already."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return checkpoint.tokenizer

    expected = _probe_scores(checkpoint, model)  # before the conversion, which may work in the model's memory
    scaled = _scales_its_output(model)
    if scaled is not None:
        # CTranslate2 scales T5's output where the configuration says "tied". transformers 5 says so of every mT5,
        # also of those whose output is not tied and not scaled.
        model.config.tie_word_embeddings = scaled
    for name, value in _ARCHITECTURE.get(model.config.model_type, {}).items():
        if not hasattr(model.config, name):
            setattr(model.config, name, value)
    try:
        Loaded(checkpoint.name).convert(str(directory), quantization=precision, force=True)
    except Exception as error:  # no converter for the architecture, or one that does not know its newest form
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise XqgError(
            f"{checkpoint.name}: CTranslate2 cannot convert this {checkpoint.config.model_type} model ({reason}). "
            "Use --backend transformers."
        ) from error
    settings = read_json(directory / "config.json")
    start = _start_token(checkpoint)
    if settings.get("bos_token") is None:  # mBART-50 has none, and CTranslate2 does not load a model without
        settings["bos_token"] = checkpoint.tokenizer.eos_token
    write_json(directory / "config.json", settings | {"decoder_start_token": start})
    _check(checkpoint, expected, directory)


def _start_token(checkpoint: Checkpoint) -> str | None:
    """What decoding starts from; None where that is the language's token, which is given with each prompt."""
    start = checkpoint.decoder_start_id
    if start is None or LanguageTokens(checkpoint.tokenizer).is_language(start):
        return None
    return checkpoint.tokenizer.convert_ids_to_tokens(start)


def _scales_its_output(model: Any) -> bool | None:
    """Whether a T5 divides the decoder's output by the root of its width before the last layer; None for others."""
    import torch

    if not hasattr(model.config, "d_kv"):
        return None
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        output = model(input_ids=ids, decoder_input_ids=ids, output_hidden_states=True)
        plain = model.lm_head(output.decoder_hidden_states[-1])
    return not torch.allclose(output.logits, plain, rtol=1e-3, atol=1e-3)


def _probe(checkpoint: Checkpoint) -> tuple[list[int], list[int]]:
    """Token ids of a known prompt, and of a query with what its decoder starts from."""
    source, target = (checkpoint.tokenizer(text)["input_ids"] for text in _PROBE)
    start = checkpoint.decoder_start_id
    return source, [checkpoint.tokenizer.eos_token_id if start is None else start, *target]


def _probe_scores(checkpoint: Checkpoint, model: Any) -> list[float]:
    """Log-probability of each of the probe's tokens under the model."""
    import torch

    source, target = _probe(checkpoint)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target])).logits[0, :-1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(target[1:])[:, None]).squeeze(-1).tolist()


def _check(checkpoint: Checkpoint, expected: list[float], directory: Path) -> None:
    """Refuse a conversion whose log-probabilities in float32 are not the model's own."""
    import ctranslate2

    vocabulary = read_vocabulary(directory)
    source, target = ([vocabulary[token] for token in ids] for ids in _probe(checkpoint))
    translator = ctranslate2.Translator(str(directory), compute_type="float32", intra_threads=1)
    # The start token is put before the query, and an end token behind it, by CTranslate2 itself.
    (score,) = translator.score_batch([source], [target if _start_token(checkpoint) is None else target[1:]])
    found = score.log_probs[: len(expected)]
    off = sum(abs(one - other) for one, other in zip(found, expected, strict=True)) / len(expected)
    # Weights kept in eight bits move a log-probability by some hundredths of its own size.
    if not off <= _TOLERANCE * max(1.0, -sum(expected) / len(expected)):
        raise XqgError(
            f"{checkpoint.name}: CTranslate2's conversion gives other probabilities than the model (log-probability of "
            f"a token off by {off:.3f} on average). Use --backend transformers."
        )


def read_vocabulary(directory: Path) -> list[str]:
    """The tokens of a converted model, in the order of their ids."""
    return json.loads((directory / "shared_vocabulary.json").read_text(encoding="utf-8"))

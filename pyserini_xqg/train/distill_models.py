"""A distillation's models: what is checked of them before, and how the student is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.train.distill_settings import DistillSettings
from pyserini_xqg.vectors.embedding import Embedder

TOLERANCE = 5e-3  # relative; half precision is within
_PROBES = ("xQG", "Which passage answers this question?")


def fingerprint(name: str, config: Any, tokenizer: Any) -> str:
    """What tells an encoder's checkpoint from others, wherever it lies."""
    return Checkpoint(default_encoder.place(name), "encoder", config, None, tokenizer).fingerprint()


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


def save_encoder(model: Any, tokenizer: Any, directory: Path, settings: DistillSettings, dtype: str) -> None:
    """Write weights and tokenizer, and sentence-transformers' description of pooling, normalisation and length.

    Raises :class:`XqgError` if what lies there then gives other vectors than the model in memory.
    """
    import torch

    expected = probe_vectors(model, tokenizer, settings)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    config = directory / "config.json"
    described = read_json(config)
    # Else transformers computes in half precision what was only stored in it.
    described["dtype"] = "float32"
    write_json(config, described)
    tokenizer.save_pretrained(directory)
    config = directory / "tokenizer_config.json"
    described = read_json(config)
    if described.get("tokenizer_class") == "TokenizersBackend":  # a name that transformers 4 does not know
        write_json(config, described | {"tokenizer_class": "PreTrainedTokenizerFast"})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * settings.l2_norm
    listed = []
    for number, (path, kind) in enumerate(modules):
        (directory / path).mkdir(exist_ok=True)
        listed.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
    write_json(directory / "modules.json", listed)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": settings.max_length, "do_lower_case": False})
    write_json(
        directory / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": model.config.hidden_size,
            "pooling_mode_cls_token": settings.pooling == "cls",
            "pooling_mode_mean_tokens": settings.pooling == "mean",
        },
    )
    if settings.l2_norm:
        write_json(directory / "2_Normalize" / "config.json", {})
    found = Embedder(settings.encoder(str(directory)), device="cpu").embed_queries(list(_PROBES))
    if (distance := np.linalg.norm(found - expected) / np.linalg.norm(expected)) > TOLERANCE:
        raise XqgError(
            f"{directory}: the saved model's vectors differ from the trained one's by {distance:.0%}. Its checkpoints "
            "are kept; try another release of transformers with the same command."
        )


def probe_vectors(model: Any, tokenizer: Any, settings: DistillSettings) -> np.ndarray:
    """Vectors of a few texts by the model in memory, as ``encode`` would compute them."""
    import torch

    rows = []
    for text in _PROBES:
        inputs = tokenizer(text, truncation=True, max_length=settings.query_max_length, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])[0][0].float()
        row = (hidden[0] if settings.pooling == "cls" else hidden.mean(0)).numpy()
        rows.append(row / np.linalg.norm(row) if settings.l2_norm else row)
    return np.stack(rows)

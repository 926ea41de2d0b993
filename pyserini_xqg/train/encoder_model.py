"""Encoders in training as sentence-transformers models: begun from a Hugging Face encoder, and saved as one.

What is saved is the encoder itself (``config.json``, weights, tokenizer), which ``AutoModel`` reads, with
sentence-transformers' description of pooling, normalisation and lengths beside it (``modules.json``, ``1_Pooling``,
``sentence_bert_config.json``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.train.options import VectorOptions
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.loading import position_limit

TOLERANCE = {"float32": 1e-3, "float16": 5e-3}
"""Of the saved model's vectors, relative, by the precision of its weights on the disk."""
_PROBES = ["xQG", "Which passage answers this question?"]


def fingerprint(name: str, config: Any, tokenizer: Any) -> str:
    """What tells an encoder's checkpoint from others, wherever it lies."""
    return Checkpoint(default_encoder.place(name), "encoder", config, None, tokenizer).fingerprint()


def build(name: str, vectors: VectorOptions) -> Any:
    """The ``SentenceTransformer`` to train."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(name)
    limit = position_limit(transformer.model, transformer.tokenizer) or vectors.max_length
    # Recorded beside the model, and used wherever sentence-transformers encodes a query or a document.
    transformer.query_length = min(vectors.query_max_length, limit)
    transformer.document_length = min(vectors.max_length, limit)
    pooling = Pooling(transformer.get_embedding_dimension(), vectors.pooling)
    modules = [transformer, pooling, *([Normalize()] if vectors.l2_norm else [])]
    return SentenceTransformer(modules=modules, similarity_fn_name="dot", device="cpu")


def freeze_pooler(model: Any) -> None:
    """Leave BERT's own pooler, which no vector comes from, as it is."""
    for key, parameter in model.named_parameters():
        if "pooler" in key.split("."):
            parameter.requires_grad = False


def save(model: Any, directory: Path, name: str, vectors: VectorOptions, dtype: str = "float32") -> None:
    """Write the encoder, with the tokenizer of ``name``, and check that what lies there gives the trained vectors."""
    import torch
    from transformers import AutoTokenizer

    config = vectors.config(str(directory))
    expected = np.concatenate(
        [
            encode(model, config.queries(_PROBES), "query"),
            encode(model, config.passages(_PROBES, _PROBES), "document"),
        ]
    )
    model.to(getattr(torch, dtype)).save_pretrained(str(directory), create_model_card=False)
    # Else transformers computes in half precision what was only stored in it.
    write_json(directory / "config.json", {**read_json(directory / "config.json"), "dtype": "float32"})
    # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
    AutoTokenizer.from_pretrained(name).save_pretrained(directory)
    described = read_json(directory / "tokenizer_config.json")
    if described.get("tokenizer_class") == "TokenizersBackend":  # a name that transformers 4 does not know
        described["tokenizer_class"] = "PreTrainedTokenizerFast"
        write_json(directory / "tokenizer_config.json", described)
    saved = Embedder(config, device="cpu")
    found = np.concatenate([saved.embed_queries(_PROBES), saved.embed_passages(_PROBES, _PROBES)])
    if (distance := np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-9)) > TOLERANCE[dtype]:
        raise XqgError(
            f"{directory}: the saved model's vectors differ from the trained one's by {distance:.0%}. Its checkpoints "
            "are kept; try another release of transformers or sentence-transformers with the same command."
        )


def encode(model: Any, texts: list[str], task: str, batch_size: int = 64) -> np.ndarray:
    """Vectors, float32 (texts, dimension), by the model in training; ``task`` is ``query`` or ``document``."""
    method = model.encode_query if task == "query" else model.encode_document
    return method(texts, batch_size=batch_size, show_progress_bar=False).astype(np.float32, copy=False)

"""Dual encoders as sentence-transformers models, begun from a Hugging Face encoder and saved as one.

What is saved is the encoder itself (``config.json``, weights, tokenizer), which ``AutoModel`` reads, with
sentence-transformers' description of pooling, normalisation and lengths beside it (``modules.json``, ``1_Pooling``,
``sentence_bert_config.json``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.train.options import RetrieverTraining
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.loading import load_encoder, position_limit
from pyserini_xqg.vectors.settings import compose_passages

TOWERS = {"query": "query", "passage": "document"}
"""Directories in the output where the towers are separate, and sentence-transformers' names of their routes."""
TOLERANCE = 1e-3
_PROBES = ["xQG", "Which passage answers this question?"]


def check_encoder(name: str, options: RetrieverTraining) -> str:
    """:class:`XqgError` unless ``name`` is a checkpoint of an encoder; returns its fingerprint."""
    model, tokenizer = load_encoder(options.vectors.config(name), option="--model")
    causal = [kind for kind in model.config.architectures or () if kind.endswith(("ForCausalLM", "LMHeadModel"))]
    if causal or getattr(model.config, "is_decoder", False):
        raise XqgError(
            f"{name}: a causal model ({model.config.model_type}), whose first position reads nothing of the text. Pass "
            "--model an encoder, such as bert-base-multilingual-cased or xlm-roberta-base."
        )
    if tokenizer.pad_token_id is None:
        raise XqgError(f"{name}: its tokenizer has no padding token. Name one in tokenizer_config.json.")
    return Checkpoint(name, "encoder", model.config, None, tokenizer).fingerprint()


def build(name: str, options: RetrieverTraining) -> Any:
    """The ``SentenceTransformer`` to train."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    if options.towers == "shared":
        modules = _tower(name, options)
    else:
        modules = [Router.for_query_document(_tower(name, options), _tower(name, options))]
    model = SentenceTransformer(modules=modules, similarity_fn_name="dot", device="cpu")
    for key, parameter in model.named_parameters():
        if "pooler" in key.split("."):  # BERT's own, which no vector comes from
            parameter.requires_grad = False
    return model


def _tower(name: str, options: RetrieverTraining) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(name)
    limit = position_limit(transformer.model, transformer.tokenizer) or options.vectors.max_length
    # Recorded beside the model, and used wherever sentence-transformers encodes a query or a document.
    transformer.query_length = min(options.vectors.query_max_length, limit)
    transformer.document_length = min(options.vectors.max_length, limit)
    pooling = Pooling(transformer.get_embedding_dimension(), options.vectors.pooling)
    return [transformer, pooling, *([Normalize()] if options.vectors.l2_norm else [])]


def towers(model: Any, options: RetrieverTraining) -> Iterator[tuple[str, Any]]:
    """Directory in the output (empty for the output itself) and model of each encoder."""
    from sentence_transformers import SentenceTransformer

    if options.towers == "shared":
        yield "", model
        return
    for directory, route in TOWERS.items():
        modules = list(model[0].sub_modules[route])
        yield directory, SentenceTransformer(modules=modules, similarity_fn_name="dot", device=str(model.device))


def save(model: Any, made: Path, name: str, options: RetrieverTraining) -> None:
    """Write each encoder below ``made``, and check that what lies there gives the trained vectors."""
    from transformers import AutoTokenizer

    for directory, tower in towers(model, options):
        tower.save_pretrained(str(made / directory), create_model_card=False)
        # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
        AutoTokenizer.from_pretrained(name).save_pretrained(made / directory)
        _check_saved(tower, made / directory, options)


def _check_saved(tower: Any, directory: Path, options: RetrieverTraining) -> None:
    saved = Embedder(options.vectors.config(str(directory)), device="cpu")
    found = np.concatenate([saved.embed_queries(_PROBES), saved.embed_passages(_PROBES, _PROBES)])
    expected = np.concatenate(
        [
            encode(tower, query_texts(_PROBES, options), "query"),
            encode(tower, passage_texts(_PROBES, _PROBES, options), "document"),
        ]
    )
    distance = np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-9)
    if distance > TOLERANCE:
        raise XqgError(
            f"{directory}: the saved model's vectors differ from the trained one's by {distance:.0%}. Its checkpoints "
            "are kept; try another release of transformers or sentence-transformers with the same command."
        )


def query_texts(queries: list[str], options: RetrieverTraining) -> list[str]:
    """What the encoder reads of each query, as ``encode`` and ``search`` write it."""
    prefix = options.vectors.query_prefix
    return [f"{prefix} {query}" for query in queries] if prefix else queries


def passage_texts(texts: list[str], titles: list[str], options: RetrieverTraining) -> list[str]:
    """What the encoder reads of each passage, as ``encode`` writes it."""
    return compose_passages(texts, titles, options.vectors.prefix)


def encode(model: Any, texts: list[str], task: str, batch_size: int = 64) -> np.ndarray:
    """Vectors, float32 (texts, dimension), by the model in training; ``task`` is ``query`` or ``document``."""
    method = model.encode_query if task == "query" else model.encode_document
    return method(texts, batch_size=batch_size, show_progress_bar=False).astype(np.float32, copy=False)

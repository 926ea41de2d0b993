"""Texts to vectors: a Hugging Face encoder with its pooling, lengths and prefixes as one configuration.

No Pyserini here, hence no Java: encoding runs on machines that have neither.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.settings import EncoderConfig, choose_precision, cpu_multiplies_bfloat16, resolve_device

if TYPE_CHECKING:
    import torch

    from pyserini_xqg.vectors.packed import PackedEncoder

PROBE_TEXT = "xQG probe: which passage answers this question?"
"""Embedded when a store is made and again at search: equal vectors mean the same encoder, wherever it lies."""
BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_GPU = 65536
_BATCHES_IN_FLIGHT = 32
_UNLIMITED = 1_000_000  # tokenizers without a limit of their own report about 1e30


class Embedder:
    """A loaded encoder. Texts are tokenised ahead, sorted by length and run in batches of bounded size.

    Parameters
    ----------
    config : the encoder's configuration.
    device : ``cpu``, ``cuda:0``, …, or ``auto``.
    batch_tokens : most tokens in a batch, padding included; None for what suits the device.
    precision : arithmetic of the model's layers, ``float32``, ``bfloat16``, ``float16`` (CUDA), ``int8`` (CPU:
        linear layers with dynamic quantisation), or ``auto`` (see :func:`choose_precision`). Pooling and
        results are float32 always.

    On the CPU, BERT-shaped models run without padding (:mod:`pyserini_xqg.vectors.packed`).

    Raises :class:`XqgError` if the model is not an encoder, or lacks weights that would be random.

    >>> embedder = Embedder(EncoderConfig.named("xqg-small"))
    >>> embedder.embed_queries(["two", "queries"]).shape
    (2, 384)
    """

    def __init__(
        self,
        config: EncoderConfig,
        device: str = "auto",
        batch_tokens: int | None = None,
        precision: str = "float32",
    ) -> None:
        self.config = config
        self.device = resolve_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch_tokens = batch_tokens or (BATCH_TOKENS_CPU if self.device == "cpu" else BATCH_TOKENS_GPU)
        from pyserini_xqg.vectors.packed import is_packable

        model, self.tokenizer = load_encoder(config)
        model.eval()
        self.dimension: int = model.config.hidden_size
        self._limit = position_limit(model, self.tokenizer)
        self._packed = self._model = None
        if self.device == "cpu" and is_packable(model.config):
            self._packed = self._pack(model)
            model = None if self._packed else load_encoder(config)[0].eval()
        if model:
            self._model = _to_precision(model, self.precision).to(self.device)

    def _pack(self, model: Any) -> PackedEncoder | None:
        from pyserini_xqg.vectors.packed import pack

        rest = self.precision
        if rest == "int8":
            rest = "bfloat16" if cpu_multiplies_bfloat16() else "float32"
        # Of unlike lengths, so that a model whose positions or attention are others is found out.
        ids = self.tokenize([PROBE_TEXT, "xQG", PROBE_TEXT[:9], PROBE_TEXT[9:]], None)
        return pack(model, self.config.pooling, self.precision, rest, ids)

    def embed_passages(self, texts: Sequence[str], titles: Sequence[str | None] | None = None) -> np.ndarray:
        """Vectors of passages, float32 (len(texts), dimension); a title stands before the text, with a blank."""
        return self.embed(compose_passages(texts, titles, self.config.prefix), self.config.max_length)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of queries, float32 (len(texts), dimension)."""
        prefix = self.config.query_prefix
        return self.embed([f"{prefix} {text}" for text in texts] if prefix else texts, self.config.query_max_length)

    def embed(self, texts: Sequence[str], max_length: int | None) -> np.ndarray:
        """Vectors of texts taken as they are, cut at ``max_length`` tokens; float32 (len(texts), dimension)."""
        return self.embed_tokens(self.tokenize(texts, max_length))

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """Vectors of texts that :meth:`tokenize` cut into token ids; float32 (len(ids), dimension)."""
        import torch

        place: dict[tuple[int, ...], int] = {}
        rows_of = [place.setdefault(tuple(tokens), len(place)) for tokens in ids]
        if len(place) < len(ids):  # equal texts get equal vectors, from one pass
            return self.embed_tokens(list(place))[rows_of]
        vectors = np.empty((len(ids), self.dimension), dtype=np.float32)
        rows: list[int] = []
        results: list[torch.Tensor] = []
        with torch.inference_mode():
            padded = self._packed is None
            for batch in batches_by_length([len(tokens) for tokens in ids], self.batch_tokens, padded):
                rows += batch
                results.append(self._run([ids[row] for row in batch]))
                if len(results) == _BATCHES_IN_FLIGHT:  # a GPU is not waited for after each batch
                    vectors[rows] = torch.cat(results).cpu().numpy()
                    rows, results = [], []
            if results:
                vectors[rows] = torch.cat(results).cpu().numpy()
        return vectors

    def tokenize(self, texts: Sequence[str], max_length: int | None) -> list[list[int]]:
        """Token ids of each text, special tokens included, cut at ``max_length`` and at the model's own limit."""
        if not texts:
            return []
        length = min(limit for limit in (max_length, self._limit, _UNLIMITED) if limit is not None)
        return self.tokenizer(
            list(texts), truncation=True, max_length=length, return_attention_mask=False, return_token_type_ids=False
        )["input_ids"]

    def _run(self, ids: list[Sequence[int]]) -> torch.Tensor:
        """One batch: float32 (len(ids), dimension), on the device."""
        import torch

        if self._packed:
            pooled = self._packed.embed(ids)
            return torch.nn.functional.normalize(pooled, dim=-1) if self.config.l2_norm else pooled
        shortest, longest = min(map(len, ids)), max(map(len, ids))
        if shortest == longest:  # nothing is padded: without a mask, attention takes its fastest path
            tokens, mask = np.array(ids, dtype=np.int64), None
        else:
            tokens = np.full((len(ids), longest), self.tokenizer.pad_token_id or 0, dtype=np.int64)
            mask = np.zeros((len(ids), longest), dtype=np.int64)
            for row, text in enumerate(ids):
                tokens[row, : len(text)] = text
                mask[row, : len(text)] = 1
        input_ids = self._to_device(tokens)
        attention_mask = self._to_device(mask) if mask is not None else None
        hidden = self._model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return self._pool(hidden, attention_mask)

    def _to_device(self, values: np.ndarray) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(values)
        # From pinned memory, the copy to a GPU runs beside its work.
        pinned = tensor.pin_memory() if self.device.startswith("cuda") else tensor
        return pinned.to(self.device, non_blocking=True)

    def _pool(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """(batch, length, dimension) to float32 (batch, dimension)."""
        import torch

        if self.config.pooling == "cls":
            pooled = hidden[:, 0].float()
        elif attention_mask is None:
            pooled = hidden.float().mean(1)
        else:
            weights = attention_mask.unsqueeze(-1).float()
            pooled = (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.config.l2_norm else pooled

    def probe(self) -> dict[str, Any]:
        """What :mod:`~pyserini_xqg.vectors.fit` compares at search: length and first numbers of one known vector."""
        return describe_probe(self.embed_queries([PROBE_TEXT])[0])


def describe_probe(vector: np.ndarray) -> dict[str, Any]:
    """JSON form of the probe's vector: dimension, Euclidean length and its first 16 numbers."""
    vector = np.asarray(vector, dtype=np.float32).ravel()
    return {
        "text": PROBE_TEXT,
        "dimension": int(vector.size),
        "length": round(float(np.linalg.norm(vector)), 5),
        "head": [round(float(value), 5) for value in vector[:16]],
    }


def compose_passages(
    texts: Sequence[str], titles: Sequence[str | None] | None = None, prefix: str | None = None
) -> list[str]:
    """The input of each passage, as Pyserini's ``AutoDocumentEncoder`` writes it: ``title prefix text``.

    >>> compose_passages(["A text."], ["Title"])
    ['Title A text.']
    """
    bodies = [f"{prefix} {text}" for text in texts] if prefix is not None else list(texts)
    if titles is None:
        return bodies
    return [f"{title} {body}" if title else body for title, body in zip(titles, bodies, strict=True)]


def batches_by_length(lengths: Sequence[int], batch_tokens: int, padded: bool = True) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, longest first; each at most ``batch_tokens``, with padding if any.

    A ``padded`` batch of at least half that size ends where the length changes, so that most have no padding.
    The same lengths give the same batches, so the same texts give the same bytes.

    >>> list(batches_by_length([2, 9, 3], 12))
    [[1], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batch: list[int] = []
    tokens = 0
    for row in order:
        longest = lengths[batch[0]] if batch else 0
        full = ((len(batch) + 1) * longest if padded else tokens + lengths[row]) > batch_tokens
        good_end = padded and lengths[row] < longest and len(batch) * longest * 2 >= batch_tokens
        if batch and (full or good_end):
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += lengths[row]
    if batch:
        yield batch


def _to_precision(model: Any, precision: str) -> Any:
    """The model with its layers in another arithmetic."""
    import torch

    if precision == "int8":
        # Per-channel weights, and oneDNN's kernels: the most accurate and the fastest of torch's int8 on x86.
        import warnings

        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

        if "onednn" in torch.backends.quantized.supported_engines:
            torch.backends.quantized.engine = "onednn"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecation in favour of a package that has no x86 kernels for this
            return quantize_dynamic(model, {torch.nn.Linear: per_channel_dynamic_qconfig}, dtype=torch.qint8)
    return model.to(getattr(torch, precision))


def load_encoder(config: EncoderConfig, option: str = "--encoder") -> tuple[Any, Any]:
    """Model and tokenizer; :class:`XqgError` if it is no encoder. ``option`` : the one that names it, for messages."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    cure = (
        f"Pass {option} a directory with config.json, weights and tokenizer, or a model name of the Hugging Face hub."
    )
    place = default_encoder.place(config.model)
    if not Path(place).is_dir() and (Path(place).exists() or Path(place).is_absolute()):
        raise XqgError(f"{config.model}: not a directory. {cure}")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the load report names the unused pooler as if it were a fault
    try:
        model, report = AutoModel.from_pretrained(place, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(config.tokenizer or place)
    except Exception as error:  # transformers raises many kinds, down to KeyError and safetensors' own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise XqgError(f"{config.model}: cannot be loaded as a Hugging Face encoder ({reason}). {cure}") from error
    finally:
        logging.set_verbosity(verbosity)
    if getattr(model.config, "is_encoder_decoder", False):
        raise XqgError(f"{config.model}: an encoder-decoder ({model.config.model_type}), not an encoder. {cure}")
    random = sorted(key for key in report["missing_keys"] if "pooler" not in key.split("."))
    if random:
        raise XqgError(
            f"{config.model}: the checkpoint lacks {len(random)} weights of its model ({', '.join(random[:3])}, …); "
            f"they would be random. {cure}"
        )
    embeddings = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embeddings:
        raise XqgError(
            f"{config.model}: the tokenizer{f' {config.tokenizer}' if config.tokenizer else ''} has a vocabulary of "
            f"{len(tokenizer):,}, the model embeddings for {embeddings:,}. Pass --tokenizer with its own."
        )
    return model, tokenizer


def position_limit(model: Any, tokenizer: Any) -> int | None:
    """The longest input that tokenizer and position embeddings allow; None where neither has a limit."""
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < _UNLIMITED else []
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions from padding_idx + 1.
        offset = tokenizer.pad_token_id + 1 if "roberta" in model.config.model_type.replace("-", "") else 0
        limits.append(positions - offset)
    return min(limits) if limits else None

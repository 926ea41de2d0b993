"""Texts to vectors: a Hugging Face encoder with its pooling, lengths and prefixes as one configuration.

No Pyserini here, hence no Java: encoding runs on machines that have neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.loading import UNLIMITED, DenseHead, load_encoder, position_limit
from pyserini_xqg.vectors.settings import (
    DeviceOptions,
    EncoderConfig,
    choose_precision,
    cpu_multiplies_bfloat16,
    resolve_device,
)

if TYPE_CHECKING:
    import torch

    from pyserini_xqg.vectors.packed import PackedEncoder

PROBE_TEXT = "xQG probe: which passage answers this question?"
"""Embedded when a store is made and again at search: equal vectors mean the same encoder, wherever it lies."""
BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_GPU = 65536
_BATCHES_IN_FLIGHT = 32


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
        hidden = model.config.get_text_config().hidden_size
        self._dense = [DenseHead(config, folder, self.device) for folder in config.dense]
        self.dimension: int = self._dense[-1].size if self._dense else hidden
        if config.dimensions is not None:
            if config.dimensions > self.dimension:
                raise XqgError(
                    f"--dimensions {config.dimensions}: the vectors of {config.model} have {self.dimension}. Name at "
                    "most so many."
                )
            self.dimension = config.dimensions
        self._limit = position_limit(model, self.tokenizer)
        self._packed = self._model = None
        if self.device == "cpu" and config.pooling in ("cls", "mean") and is_packable(model.config):
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
        return self.embed(self.config.passages(texts, titles), self.config.max_length)

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of queries, float32 (len(texts), dimension)."""
        return self.embed(self.config.queries(texts), self.config.query_max_length)

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
        length = min(limit for limit in (max_length, self._limit, UNLIMITED) if limit is not None)
        return self.tokenizer(
            list(texts), truncation=True, max_length=length, return_attention_mask=False, return_token_type_ids=False
        )["input_ids"]

    def _run(self, ids: list[Sequence[int]]) -> torch.Tensor:
        """One batch: float32 (len(ids), dimension), on the device."""
        if self._packed:
            return self._finish(self._packed.embed(ids))
        shortest, longest = min(map(len, ids)), max(map(len, ids))
        if shortest == longest:  # nothing is padded: without a mask, attention takes its fastest path
            tokens, mask = np.array(ids, dtype=np.int64), None
        else:
            tokens = np.full((len(ids), longest), self.tokenizer.pad_token_id or 0, dtype=np.int64)
            mask = np.zeros((len(ids), longest), dtype=np.int64)
            left = self.tokenizer.padding_side == "left"
            for row, text in enumerate(ids):
                place = slice(longest - len(text), None) if left else slice(len(text))
                tokens[row, place] = text
                mask[row, place] = 1
        input_ids = self._to_device(tokens)
        attention_mask = self._to_device(mask) if mask is not None else None
        hidden = self._model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return self._finish(pool(hidden, attention_mask, self.config.pooling))

    def _finish(self, pooled: torch.Tensor) -> torch.Tensor:
        """Dense heads, the dimensions that are kept, unit length; float32 (batch, dimension)."""
        import torch

        for head in self._dense:
            pooled = head(pooled)
        pooled = pooled[:, : self.dimension]
        return torch.nn.functional.normalize(pooled, dim=-1) if self.config.l2_norm else pooled

    def _to_device(self, values: np.ndarray) -> torch.Tensor:
        import torch

        tensor = torch.from_numpy(values)
        # From pinned memory, the copy to a GPU runs beside its work.
        pinned = tensor.pin_memory() if self.device.startswith("cuda") else tensor
        return pinned.to(self.device, non_blocking=True)

    def probe(self) -> dict[str, Any]:
        """What :mod:`~pyserini_xqg.vectors.fit` compares at search: length and first numbers of one known vector."""
        return describe_probe(self.embed_queries([PROBE_TEXT])[0])

    def check_distinct(self) -> None:
        """Raise :class:`XqgError` if two different texts get one vector: another pooling was meant, or no encoder."""
        ids = self.tokenize(_DISTINCT, None)
        one, other = self.embed_tokens(ids).astype(np.float64)
        cosine = one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12)
        if ids[0] != ids[1] and cosine > 1 - 1e-6:
            raise XqgError(
                f"{self.config.describe()}: gives two different texts the same vector (cosine {cosine:.7f}). It is no "
                "encoder with this pooling: pass another --pooling, such as lasttoken for a decoder."
            )


def load_embedder(config: EncoderConfig, device: DeviceOptions) -> Embedder:
    """An encoder on the device that the options name."""
    if device.threads:
        import torch

        torch.set_num_threads(device.threads)
    return Embedder(config, device.device, device.batch_tokens, device.dtype)


_DISTINCT = ("The river is old.", "Who paid for 12 bridges?")


def describe_probe(vector: np.ndarray) -> dict[str, Any]:
    """JSON form of the probe's vector: dimension, Euclidean length and its first 16 numbers."""
    vector = np.asarray(vector, dtype=np.float32).ravel()
    return {
        "text": PROBE_TEXT,
        "dimension": int(vector.size),
        "length": round(float(np.linalg.norm(vector)), 5),
        "head": [round(float(value), 5) for value in vector[:16]],
    }


def pool(hidden: torch.Tensor, attention_mask: torch.Tensor | None, pooling: str) -> torch.Tensor:
    """One vector a text, as sentence-transformers defines the poolings; padding may stand on either side.

    hidden : (batch, length, dimension). attention_mask : (batch, length), None where nothing is padded.
    Returns float32 (batch, dimension).
    """
    import torch

    mask = attention_mask if attention_mask is not None else hidden.new_ones(hidden.shape[:2], dtype=torch.int64)
    rows = torch.arange(len(hidden), device=hidden.device)
    if pooling == "cls":
        return hidden[rows, mask.argmax(dim=1)].float()
    if pooling == "lasttoken":
        last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
        return hidden[rows, last].float()
    if pooling == "max":
        return hidden.float().masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).max(dim=1).values
    if pooling == "mean" and attention_mask is None:
        return hidden.float().mean(1)
    weights = mask.float()
    if pooling == "weightedmean":  # 1 for the first token, 2 for the second, …
        weights = mask.cumsum(dim=1).float() * weights
    weights = weights.unsqueeze(-1)
    return (hidden.float() * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


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

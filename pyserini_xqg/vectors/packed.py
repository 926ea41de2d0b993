"""BERT-shaped encoders on the CPU without padding: the tokens of a batch stand one after the other in one matrix.

The linear layers, which are most of the work, never see a padded position; attention runs over texts of equal
length, several short ones side by side under a block-diagonal mask; and with ``cls`` pooling the last layer is
computed for the first positions alone, since nothing else of it is used. Vectors are those of the model's own
forward pass but for rounding; :func:`pack` checks that before it hands a model over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch.nn import functional

MODEL_TYPES = ("bert", "camembert", "roberta", "xlm-roberta")
"""Their layers have the same modules under the same names."""
_FAST_POSITIONS = 16
"""Below so many positions, torch's attention kernel for the CPU falls to a third of its speed."""
_BEST_POSITIONS = 32
_ROWS = 32
"""Matrices have a multiple of so many rows: oneDNN compiles its code anew for each number of rows, and keeps 1,024
pieces of it."""

Function = Callable[[torch.Tensor], torch.Tensor]
MakeLinear = Callable[[torch.Tensor, torch.Tensor], Function]
"""Makes a function from (rows, in) to (rows, out) of a weight (out, in) and a bias (out,)."""


@dataclass(frozen=True)
class _Run:
    """Neighbouring texts of one length, attended to together: ``beside`` texts in each row of attention."""

    texts: slice
    tokens: slice
    length: int
    beside: int


def _runs(lengths: Sequence[int], side_by_side: bool) -> Iterator[_Run]:
    text = token = 0
    for length, group in groupby(lengths):
        left = sum(1 for _ in group)
        beside = 1
        if side_by_side and length < _FAST_POSITIONS:
            best = _BEST_POSITIONS // length if _BEST_POSITIONS % length == 0 else -(-_FAST_POSITIONS // length)
            beside = min(best, left)
        while left:
            number = left // beside * beside
            yield _Run(slice(text, text + number), slice(token, token + number * length), length, beside)
            text, token, left = text + number, token + number * length, left - number
            beside = min(beside, left)


def _round_up(values: np.ndarray) -> np.ndarray:
    """With zeros to a multiple of :data:`_ROWS`: rows that nothing reads."""
    return np.pad(values, (0, -len(values) % _ROWS))


@lru_cache(maxsize=256)
def _block_mask(length: int, beside: int, dtype: torch.dtype) -> torch.Tensor | None:
    """Added to scores: 0 within a text, minus infinity between texts; (positions, positions)."""
    if beside == 1:
        return None
    blocks = torch.block_diag(*[torch.ones(length, length)] * beside)
    return torch.zeros_like(blocks).masked_fill(blocks == 0, float("-inf")).to(dtype)


class PackedEncoder:
    """The forward pass of a BERT-shaped encoder over texts of any lengths, none of them padded.

    model : in eval mode; it is converted in place. pooling : ``cls`` or ``mean``.
    precision : of the linear layers, ``float32``, ``bfloat16`` or ``int8``.
    rest : of everything else, ``float32`` or ``bfloat16``. With int8 and bfloat16, the linear layers that do not
        widen a vector are bfloat16 too: there, finding the scales takes longer than 8 bits save.
    """

    def __init__(self, model: Any, pooling: str, precision: str, rest: str) -> None:
        config, linear = model.config, _LINEAR[precision]
        narrow = _LINEAR[rest] if rest == "bfloat16" else linear
        model = model.to(getattr(torch, rest))
        self.pooling = pooling
        self._embeddings = model.embeddings
        self._padding = None if config.model_type == "bert" else config.pad_token_id
        last = len(model.encoder.layer) - 1
        self._layers = [
            _Layer(layer, config.num_attention_heads, linear, narrow, pooling == "cls" and number == last)
            for number, layer in enumerate(model.encoder.layer)
        ]

    def embed(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Pooled vectors, float32 (len(ids), dimension), of token ids; fastest where equal lengths are neighbours."""
        lengths = [len(text) for text in ids]
        tokens = np.concatenate([np.asarray(text, dtype=np.int64) for text in ids])
        starts = np.cumsum(lengths) - lengths
        positions = self._positions(tokens, starts, lengths)
        inputs = [torch.from_numpy(_round_up(values))[None] for values in (tokens, positions)]
        hidden = self._embeddings(inputs[0], position_ids=inputs[1])[0]
        first = torch.from_numpy(_round_up(starts))
        runs = {side_by_side: list(_runs(lengths, side_by_side)) for side_by_side in (False, True)}
        for layer in self._layers:
            hidden = layer(hidden, first, runs)
        if self.pooling == "cls":
            return hidden[: len(ids)].float()
        texts = [hidden[run.tokens].view(-1, run.length, hidden.shape[1]) for run in runs[False]]
        return torch.cat([_pool(some, self.pooling) for some in texts])

    def _positions(self, tokens: np.ndarray, starts: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        if self._padding is None:
            return np.arange(len(tokens)) - np.repeat(starts, lengths)
        # RoBERTa and its kin count from padding_idx + 1, without what looks like padding in a text.
        counted = (tokens != self._padding).astype(np.int64)
        running = np.cumsum(counted)
        before = (running - counted)[starts]
        return (running - np.repeat(before, lengths)) * counted + self._padding


class _Layer:
    """One layer; with ``first_only``, its result is that of each text's first position alone."""

    def __init__(
        self,
        layer: Any,
        heads: int,
        linear: MakeLinear,
        narrow: MakeLinear,
        first_only: bool,
    ) -> None:
        attention = layer.attention.self
        joined = [attention.key, attention.value] if first_only else [attention.query, attention.key, attention.value]
        self.heads, self.first_only = heads, first_only
        self.query = linear(attention.query.weight, attention.query.bias) if first_only else None
        self.joined = linear(torch.cat([part.weight for part in joined]), torch.cat([part.bias for part in joined]))
        self.attended = narrow(layer.attention.output.dense.weight, layer.attention.output.dense.bias)
        self.attention_norm = layer.attention.output.LayerNorm
        self.up = linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        self.activation = _in_place(layer.intermediate.intermediate_act_fn)
        self.down = narrow(layer.output.dense.weight, layer.output.dense.bias)
        self.norm = layer.output.LayerNorm

    def __call__(self, hidden: torch.Tensor, starts: torch.Tensor, runs: dict[bool, list[_Run]]) -> torch.Tensor:
        """(tokens, width) to (tokens, width), or to (texts, width) with ``first_only``."""
        width = hidden.shape[1]
        parts = self.joined(hidden).split(width, dim=1)
        if self.first_only:
            hidden = hidden[starts]
            parts = (self.query(hidden), *parts)
        mixed = self._attend(*parts, runs[not self.first_only])
        hidden = self.attention_norm(self.attended(mixed).add_(hidden))
        return self.norm(self.down(self.activation(self.up(hidden))).add_(hidden))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, runs: list[_Run]) -> torch.Tensor:
        mixed = torch.zeros_like(query, memory_format=torch.contiguous_format)
        for run in runs:
            asking = run.texts if self.first_only else run.tokens
            positions = run.beside * run.length
            shapes = (1 if self.first_only else positions, positions, positions)
            heads = [
                matrix[rows].view(-1, number, self.heads, matrix.shape[1] // self.heads).transpose(1, 2)
                for matrix, rows, number in zip(
                    (query, key, value), (asking, run.tokens, run.tokens), shapes, strict=True
                )
            ]
            mask = _block_mask(run.length, run.beside, query.dtype)
            found = functional.scaled_dot_product_attention(*heads, attn_mask=mask)
            mixed[asking] = found.transpose(1, 2).reshape(-1, query.shape[1])
        return mixed


def _pool(hidden: torch.Tensor, pooling: str) -> torch.Tensor:
    """(texts, length, dimension) without padding to float32 (texts, dimension)."""
    return hidden[:, 0].float() if pooling == "cls" else hidden.float().mean(1)


def _in_place(activation: Function) -> Function:
    """The activation without a second matrix of its size, whose pages alone would cost more than the arithmetic."""
    exact_gelu = type(activation).__name__ == "GELUActivation" and activation.act is functional.gelu
    return torch.ops.aten.gelu_ if exact_gelu else activation


def float_linear(weight: torch.Tensor, bias: torch.Tensor) -> Function:
    """A linear layer in the weight's own precision."""
    weight, bias = weight.detach(), bias.detach()
    return lambda inputs: functional.linear(inputs, weight, bias)


def bfloat16_linear(weight: torch.Tensor, bias: torch.Tensor) -> Function:
    """A linear layer in bfloat16, its weight laid out for oneDNN once instead of on each call."""
    bias = bias.detach()
    weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 2048)
    return lambda inputs: torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def int8_linear(weight: torch.Tensor, bias: torch.Tensor) -> Function:
    """A linear layer in 8 bits: a scale for each output of the weight, and one for each position, found as it comes.

    One scale for a whole batch, which torch's dynamic quantisation takes, lets the largest number of all
    texts decide the resolution of each.
    """
    weight, bias = weight.detach().float(), bias.detach()
    scales = weight.abs().amax(1).clamp(min=1e-12) / 127
    packed = torch.ops.onednn.qlinear_prepack((weight / scales[:, None]).round().to(torch.int8), None)
    zeros = torch.zeros(len(scales), dtype=torch.int64)

    def linear(inputs: torch.Tensor) -> torch.Tensor:
        largest = torch.maximum(inputs.amax(1, keepdim=True), -inputs.amin(1, keepdim=True)).float().clamp_(min=1e-12)
        # 126 and not 127: what bfloat16 rounds up must not turn over.
        rounded = (inputs * (126 / largest).to(inputs.dtype)).round_().to(torch.int8)
        products = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, 0, packed, scales, zeros, None, 1.0, 0, inputs.dtype, "none", [], ""
        )
        return torch.addcmul(bias, products, (largest / 126).to(inputs.dtype))

    return linear


_LINEAR = {"float32": float_linear, "bfloat16": bfloat16_linear, "int8": int8_linear}
_LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.99, "int8": 0.9}
"""To the model's own vectors; with a layer or the positions mixed up it is far below."""


def is_packable(config: Any) -> bool:
    """True for the configuration of a model that :func:`pack` takes."""
    plain = not getattr(config, "is_decoder", False)
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return config.model_type in MODEL_TYPES and plain and absolute


def pack(model: Any, pooling: str, precision: str, rest: str, ids: Sequence[Sequence[int]]) -> PackedEncoder | None:
    """The packed form of a BERT-shaped model, in eval mode on the CPU; the arguments are :class:`PackedEncoder`'s.

    None if the texts ``ids`` do not get the vectors that the model's own forward pass gives them: something in it is
    not as in BERT. The model is converted in place, and of no further use either way.
    """
    with torch.inference_mode():
        expected = torch.cat([_pool(model(torch.tensor([text]))[0], pooling) for text in ids])
        packed = PackedEncoder(model, pooling, precision, rest)
        cosines = functional.cosine_similarity(packed.embed(ids), expected)
    return packed if bool((cosines > _LEAST_COSINE[precision]).all()) else None

"""Sampling in torch: prompts encoded once, candidates drawn side by side, finished ones dropped from the batch.

Every candidate draws from a stream of random numbers of its own, so what it becomes does not hang on which others
are in its batch or have left it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_xqg.generate.sampling import Prompt, Sampling

if TYPE_CHECKING:
    import torch

_KEPT_SHARE = 7 / 8  # copying a batch without its finished rows pays once no more than these are left


def random_numbers(seed: int, prompt: Prompt, candidates: int, number: int) -> np.ndarray:
    """Uniform numbers in [0, 1), (candidates, number): a stream for each seed, prompt and candidate.

    >>> few, many = (random_numbers(7, Prompt("a passage", "fi"), candidates, 2) for candidates in (1, 3))
    >>> bool((few[0] == many[0]).all()), bool((many[0] == many[1]).any())
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}\0{prompt.language}\0{prompt.text}".encode(), digest_size=8).digest()
    key = int.from_bytes(digest, "little")
    streams = [np.random.Philox(key=[key, candidate]) for candidate in range(candidates)]
    return np.stack([np.random.Generator(stream).random(number) for stream in streams])


@dataclass
class Drawn:
    """What became of one candidate: its tokens without the one that ended it, and their log-probability with it."""

    ids: list[int]
    finished: bool
    log_probability: float


def _draw(logits: torch.Tensor, uniform: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (rows,) and their log-probabilities under the model itself, for logits (rows, tokens)."""
    import torch
    from transformers import TopPLogitsWarper

    # Only k of a quarter of a million are processed: as a temperature keeps the order, top-k may come first.
    width = min(sampling.top_k or logits.shape[-1], logits.shape[-1])
    scores, ids = logits.topk(width) if sampling.top_k else (logits, None)
    scores = scores.float() / sampling.temperature
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    cumulative = scores.double().softmax(-1).cumsum(-1)
    drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1, keepdim=True).clamp_(max=width - 1)
    if ids is not None:
        drawn = ids.gather(-1, drawn)
    score = logits.gather(-1, drawn).squeeze(-1).double() - torch.logsumexp(logits.float(), -1)
    return drawn.squeeze(-1), score


def sample(
    state: DecodingState,
    owners: Sequence[int],
    uniforms: np.ndarray,
    sampling: Sampling,
    end_ids: Sequence[int],
    line_end_ids: Sequence[int] = (),
    ends_line: Callable[[Sequence[int]], bool] | None = None,
) -> list[Drawn]:
    """Draw one candidate for each owner (row of the state's prompts).

    uniforms : (candidates, most new tokens). line_end_ids : tokens after which ``ends_line`` is asked whether the
    candidate, given all its tokens, is complete.
    """
    import torch

    device = state.device
    number, steps = uniforms.shape
    random = torch.from_numpy(uniforms).to(device)
    ends, line_ends = (torch.tensor(list(ids), device=device) for ids in (end_ids, line_end_ids))
    tokens = torch.zeros((number, steps), dtype=torch.long, device=device)
    length = torch.zeros(number, dtype=torch.long, device=device)
    ended = torch.zeros(number, dtype=torch.bool, device=device)
    log_probability = torch.zeros(number, dtype=torch.double, device=device)
    rows = torch.arange(number, device=device)  # which candidates are in the batch
    logits = state.start(torch.tensor(list(owners), device=device))
    for step in range(steps):
        drawn, score = _draw(logits, random[rows, step], sampling)
        running = ~ended[rows]
        tokens[rows, step] = drawn
        log_probability[rows] += score.where(running, 0)
        end = torch.isin(drawn, ends)
        length[rows] += (running & ~end).long()
        ended[rows] |= end
        if ends_line and (lines := torch.isin(drawn, line_ends) & running).any():
            for row in rows[lines].tolist():
                ended[row] = ended[row] | ends_line(tokens[row, : step + 1].tolist())
        keep = (~ended[rows]).nonzero().squeeze(-1)
        if step + 1 == steps or not len(keep):
            break
        if len(keep) <= len(rows) * _KEPT_SHARE and state.select(keep):
            rows, drawn = rows[keep], drawn[keep]
        logits = state.step(drawn)
    columns = (column.tolist() for column in (tokens, length, ended, log_probability))
    return [Drawn(ids[:size], finished, score) for ids, size, finished, score in zip(*columns, strict=True)]


class DecodingState:
    """A batch between two steps; rows are prompts that become candidates by :meth:`start`.

    prefixes : what each prompt's decoder starts from, all of one length; None for a model that is decoder only, whose
    prompts are padded on the left, so that all go on at the same place.
    """

    def __init__(
        self,
        model: Any,
        ids: Sequence[Sequence[int]],
        pad_id: int,
        prefixes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self.device, self._model, self._cache = model.device, model, None
        self._causal = prefixes is None
        rows = [torch.tensor(list(row), device=self.device) for row in ids]
        side = {"batch_first": True, "padding_side": "left" if self._causal else "right"}
        tokens = pad_sequence(rows, padding_value=pad_id, **side)
        mask = pad_sequence([torch.ones_like(row) for row in rows], **side)
        self._rows = {"attention_mask": mask}
        if self._causal:
            self._first = tokens
            known = inspect.signature(model.forward).parameters
            # Logits of every position of a prompt would fill the memory.
            self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
            self._positioned = "position_ids" in known
        else:
            self._first = torch.tensor([list(prefix) for prefix in prefixes], device=self.device)
            self._rows["encoder_outputs"] = model.get_encoder()(input_ids=tokens, attention_mask=mask)[0]

    def start(self, owners: torch.Tensor) -> torch.Tensor:
        """Logits (owners, tokens) of the first token of each candidate; a prompt runs once for all of its."""
        logits = self._decode(self._first)
        if self.select(owners):
            return logits[owners]
        self._cache, self._rows = None, {name: values[owners] for name, values in self._rows.items()}
        return self._decode(self._first[owners])

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (rows, tokens) after one more token in each row."""
        if self._causal:
            mask = self._rows["attention_mask"]
            self._rows["attention_mask"] = mask.new_ones(len(mask), mask.shape[1] + 1)
            self._rows["attention_mask"][:, :-1] = mask
        return self._decode(tokens[:, None])

    def select(self, rows: torch.Tensor) -> bool:
        """Keep some rows only; False, and nothing done, where the model's cache cannot be cut."""
        if not hasattr(self._cache, "batch_select_indices"):
            return False
        self._cache.batch_select_indices(rows)
        self._rows = {name: values[rows] for name, values in self._rows.items()}
        return True

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        from transformers.modeling_outputs import BaseModelOutput

        mask = self._rows["attention_mask"]
        if self._causal:
            inputs = {"input_ids": tokens, **self._last_only}
            if self._positioned:
                inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        else:
            hidden = BaseModelOutput(last_hidden_state=self._rows["encoder_outputs"])
            inputs = {"decoder_input_ids": tokens, "encoder_outputs": hidden}
        output = self._model(attention_mask=mask, past_key_values=self._cache, use_cache=True, **inputs)
        self._cache = output.past_key_values
        return output.logits[:, -1]

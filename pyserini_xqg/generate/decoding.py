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


class Sampler:
    """Chooses tokens from logits, with transformers' own temperature and top-p over the top-k."""

    def __init__(self, sampling: Sampling) -> None:
        from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

        self._top_k = sampling.top_k
        self._processors = LogitsProcessorList()
        if sampling.temperature != 1:
            self._processors.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_p < 1:
            self._processors.append(TopPLogitsWarper(sampling.top_p))

    def draw(self, logits: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (rows,) and their log-probabilities under the model itself, for logits (rows, tokens)."""
        import torch

        # Only k of a quarter of a million are processed: as a temperature keeps the order, top-k may come first.
        width = min(self._top_k or logits.shape[-1], logits.shape[-1])
        scores, ids = logits.topk(width) if self._top_k else (logits, None)
        scores = self._processors(None, scores.float()).double()
        cumulative = scores.softmax(-1).cumsum(-1)
        drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1, keepdim=True).clamp_(max=width - 1)
        if ids is not None:
            drawn = ids.gather(-1, drawn)
        score = logits.gather(-1, drawn).squeeze(-1).double() - torch.logsumexp(logits.float(), -1)
        return drawn.squeeze(-1), score


def sample(
    state: Seq2SeqState | CausalState,
    owners: Sequence[int],
    uniforms: np.ndarray,
    sampler: Sampler,
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
        drawn, score = sampler.draw(logits, random[rows, step])
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
    return [
        Drawn(row[:size], finished, score)
        for row, size, finished, score in zip(
            tokens.tolist(), length.tolist(), ended.tolist(), log_probability.tolist(), strict=True
        )
    ]


class _State:
    """A batch between two steps. Tensors are (rows, …); prompts become candidates by ``start``."""

    def __init__(self, model: Any, ids: Sequence[Sequence[int]], pad_id: int, left: bool) -> None:
        import torch

        self.device = model.device
        self._model = model
        longest = max(map(len, ids))
        tokens = np.full((len(ids), longest), pad_id, dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for row, prompt in enumerate(ids):
            place = slice(longest - len(prompt), None) if left else slice(len(prompt))
            tokens[row, place], mask[row, place] = prompt, 1
        self._ids, self._mask = torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask).to(self.device)
        self._cache: Any = None

    def _last_logits(self, output: Any) -> torch.Tensor:
        self._cache = output.past_key_values
        return output.logits[:, -1]

    def select(self, rows: torch.Tensor) -> bool:
        """Keep some rows only; False, and nothing done, where the model's cache cannot be cut."""
        if not hasattr(self._cache, "batch_select_indices"):
            return False
        self._cache.batch_select_indices(rows)
        self._mask = self._mask[rows]
        return True


class Seq2SeqState(_State):
    """Encoder and decoder; ``prefixes``: what each prompt's decoder starts from, all of one length."""

    def __init__(
        self, model: Any, ids: Sequence[Sequence[int]], pad_id: int, prefixes: Sequence[Sequence[int]]
    ) -> None:
        import torch

        super().__init__(model, ids, pad_id, left=False)
        self._prefixes = torch.tensor([list(prefix) for prefix in prefixes], device=self.device)
        self._hidden = model.get_encoder()(input_ids=self._ids, attention_mask=self._mask)[0]

    def start(self, owners: torch.Tensor) -> torch.Tensor:
        """Logits (owners, tokens) of the first token of each candidate; a prompt's prefix runs once for all of its."""
        logits = self._decode(self._prefixes)
        if not self.select(owners):
            self._cache, self._hidden, self._mask = None, self._hidden[owners], self._mask[owners]
            return self._decode(self._prefixes[owners])
        return logits[owners]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (rows, tokens) after one more token in each row."""
        return self._decode(tokens[:, None])

    def select(self, rows: torch.Tensor) -> bool:
        """Keep some rows only; False, and nothing done, where the model's cache cannot be cut."""
        if selected := super().select(rows):
            self._hidden = self._hidden[rows]
        return selected

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        from transformers.modeling_outputs import BaseModelOutput

        return self._last_logits(
            self._model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self._hidden),
                attention_mask=self._mask,
                decoder_input_ids=tokens,
                past_key_values=self._cache,
                use_cache=True,
            )
        )


class CausalState(_State):
    """Decoder only: prompts are padded on the left, so that all go on at the same place."""

    def __init__(self, model: Any, ids: Sequence[Sequence[int]], pad_id: int) -> None:
        super().__init__(model, ids, pad_id, left=True)
        known = inspect.signature(model.forward).parameters
        # Logits of every position of a prompt would fill the memory.
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._positioned = "position_ids" in known

    def start(self, owners: torch.Tensor) -> torch.Tensor:
        """Logits (owners, tokens) of the first token of each candidate; a prompt runs once for all of its."""
        logits = self._decode(self._ids)
        if not self.select(owners):
            self._cache, self._ids, self._mask = None, self._ids[owners], self._mask[owners]
            return self._decode(self._ids)
        return logits[owners]

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (rows, tokens) after one more token in each row."""
        import torch

        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._decode(tokens[:, None])

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        return self._last_logits(
            self._model(
                input_ids=tokens,
                attention_mask=self._mask,
                past_key_values=self._cache,
                use_cache=True,
                **({"position_ids": positions} if self._positioned else {}),
                **self._last_only,
            )
        )

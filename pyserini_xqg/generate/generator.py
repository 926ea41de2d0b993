"""What all backends have in common: a loaded checkpoint that turns prompts into candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.sampling import Candidate, Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens


class Generator(ABC):
    """A checkpoint on a device, in an arithmetic; a backend adds :meth:`_choose`, :meth:`_load` and :meth:`_draw`.

    backend : its name among the options. device, dtype : as resolved. max_input_length : tokens kept of a prompt.
    batch_tokens : most tokens in a batch: those of a prompt and of its query to come, for every candidate; None for
    what suits the device. threads : of the CPU; None for the backend's own choice.
    """

    backend: str
    batch_tokens_cpu: int
    batch_tokens_gpu: int

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampling: Sampling,
        device: str,
        dtype: str,
        batch_tokens: int | None,
        threads: int | None,
    ) -> None:
        self._checkpoint, self._sampling = checkpoint, sampling
        self.device, self.dtype = self._choose(device, dtype)
        self.batch_tokens = batch_tokens or (self.batch_tokens_cpu if self.device == "cpu" else self.batch_tokens_gpu)
        self._tokens = PromptTokens(checkpoint, sampling)
        self.max_input_length = self._tokens.max_input_length
        self._fingerprint = checkpoint.fingerprint()
        self._load(threads)

    @abstractmethod
    def _choose(self, device: str, dtype: str) -> tuple[str, str]:
        """Device and arithmetic with ``auto`` resolved; an XqgError for what the backend does not run here."""

    @abstractmethod
    def _load(self, threads: int | None) -> None:
        """Get the weights ready."""

    def describe(self) -> dict[str, Any]:
        """All that decides which queries come out, as JSON; ``model`` alone may change with where it lies."""
        return {
            "model": self._checkpoint.name,
            "model_type": self._checkpoint.kind,
            "fingerprint": self._fingerprint,
            "backend": self.backend,
            "dtype": self.dtype,
            "batch_tokens": self.batch_tokens,
            **self._tokens.describe(),
            "sampling": asdict(self._sampling),
        }

    def input_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt before it is cut to :attr:`max_input_length`."""
        return self._tokens.lengths(prompts)

    def generate(self, prompts: Sequence[Prompt], numbers: Sequence[int], seed: int) -> list[list[Candidate]]:
        """``numbers[i]`` candidates for ``prompts[i]``, in the order of the prompts.

        The same prompts, numbers and seed give the same candidates on the same kind of machine, whatever was
        generated before.
        """
        wanted = [row for row, number in enumerate(numbers) if number > 0]
        chosen = [prompts[row] for row in wanted]
        drawn = self._draw(chosen, self._tokens.encode(chosen), [numbers[row] for row in wanted], seed)
        found: list[list[Candidate]] = [[] for _ in prompts]
        for row, candidates in zip(wanted, drawn, strict=True):
            found[row] = candidates
        return found

    @abstractmethod
    def _draw(
        self, prompts: list[Prompt], ids: list[list[int]], numbers: list[int], seed: int
    ) -> list[list[Candidate]]:
        """As :meth:`generate`, for prompts with their token ids and at least one candidate each."""

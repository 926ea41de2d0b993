"""What the backends have in common: a checkpoint, how its tokens are chosen, and what describes both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens


class LoadedCheckpoint:
    """A checkpoint on a device, in an arithmetic; the backends add :meth:`generate`.

    backend : its name among the command's options. device, dtype : as resolved. batch_tokens : most tokens in a batch.
    """

    backend: str

    def __init__(self, checkpoint: Checkpoint, sampling: Sampling, device: str, dtype: str, batch_tokens: int) -> None:
        self.device, self.dtype, self.batch_tokens = device, dtype, batch_tokens
        self._checkpoint, self._sampling = checkpoint, sampling
        self._tokens = PromptTokens(checkpoint, sampling)
        self._fingerprint = checkpoint.fingerprint()

    @property
    def max_input_length(self) -> int:
        """Tokens kept of a prompt."""
        return self._tokens.max_input_length

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
            "sampling": self._sampling.to_dict(),
        }

    def input_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt before it is cut."""
        return self._tokens.lengths(prompts)

    def _wanted_ids(self, prompts: Sequence[Prompt], numbers: Sequence[int]) -> dict[int, list[int]]:
        """Token ids of the prompts of which candidates are wanted, by their place."""
        if len(prompts) != len(numbers):
            raise ValueError(f"{len(prompts)} prompts, {len(numbers)} numbers")
        wanted = [row for row, number in enumerate(numbers) if number > 0]
        return dict(zip(wanted, self._tokens.encode([prompts[row] for row in wanted]), strict=True))

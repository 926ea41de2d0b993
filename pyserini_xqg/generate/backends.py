"""Generators: the options that choose and load one, and what all backends have in common."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, check_options, option
from pyserini_xqg.generate.checkpoints import MODEL_TYPES, Checkpoint, open_checkpoint
from pyserini_xqg.generate.sampling import Candidate, Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens

BACKENDS = ("transformers", "ctranslate2")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


class Generator(ABC):
    """A checkpoint on a device, in an arithmetic; a backend adds :meth:`_draw`.

    backend : its name among the options. device, dtype : as resolved. batch_tokens : most tokens in a batch: those of
    a prompt and of its query to come, for every candidate. max_input_length : tokens kept of a prompt.
    """

    backend: str

    def __init__(self, checkpoint: Checkpoint, sampling: Sampling, device: str, dtype: str, batch_tokens: int) -> None:
        self.device, self.dtype, self.batch_tokens = device, dtype, batch_tokens
        self._checkpoint, self._sampling = checkpoint, sampling
        self._tokens = PromptTokens(checkpoint, sampling)
        self._fingerprint = checkpoint.fingerprint()
        self.max_input_length = self._tokens.max_input_length

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


@dataclass(frozen=True)
class GeneratorOptions:
    """Model"""

    model: str = option(
        "ielabgroup/xor-tydi-docTquery-mt5-base", "Hugging Face model, name or directory", metavar="NAME"
    )
    model_type: str = option(
        "auto",
        "encoder-decoder (mT5, mBART, NLLB, …), or causal (chat models too); auto: what its configuration says",
        choices=MODEL_TYPES,
    )
    backend: str = option(
        "transformers",
        "ctranslate2: several times faster on CPUs; seq2seq models only; needs the extra [ctranslate2]",
        choices=BACKENDS,
    )
    device: str = option("auto", "auto, cpu, cuda:0, cuda:1, …", metavar="DEVICE")
    dtype: str = option(
        "auto",
        "arithmetic of the model: float32, bfloat16, float16, with ctranslate2 int8 too; auto: the fastest that the "
        "device has units for",
        metavar="TYPE",
    )
    batch_tokens: int | None = option(
        None,
        "most tokens in a batch, prompts and queries to come (default: what suits backend and device)",
        metavar="TOKENS",
        check=at_least(1),
    )
    threads: int | None = option(None, "CPU threads of the model (default: all cores)", metavar="N", check=at_least(1))

    def __post_init__(self) -> None:
        check_options(self)

    def open(self) -> Checkpoint:
        """The model, its weights not loaded; :class:`XqgError` for a model or a backend that is not there."""
        if self.backend == "ctranslate2" and importlib.util.find_spec("ctranslate2") is None:
            raise XqgError(
                "--backend ctranslate2: CTranslate2 is not installed. Run: pip install 'pyserini-xqg[ctranslate2]', "
                "or use --backend transformers."
            )
        return open_checkpoint(self.model, self.model_type)

    def load(self, sampling: Sampling | None = None) -> Generator:
        """The model on its device; :class:`XqgError`, naming cause and cure, for what cannot be loaded or run here."""
        checkpoint = self.open()
        kind: Any
        if self.backend == "ctranslate2":
            from pyserini_xqg.generate.ctranslate2_backend import CTranslate2Generator as kind
        else:
            from pyserini_xqg.generate.transformers_backend import TransformersGenerator as kind
        generator = kind(checkpoint, sampling or Sampling(), self.device, self.dtype, self.batch_tokens, self.threads)
        if generator.device == "cpu":
            _keep_freed_memory()
        return generator


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next allocation; on other systems nothing changes.

    The scores of a batch over mT5's vocabulary are hundreds of megabytes, made and freed for every token. glibc gives
    such blocks back to the kernel, which hands them out page by page again: a quarter of the time went there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 1 << 26)

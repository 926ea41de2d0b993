"""The options that choose a generator, and how it is loaded."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, check_options, option
from pyserini_xqg.generate.checkpoints import MODEL_TYPES, Checkpoint, open_checkpoint
from pyserini_xqg.generate.generator import Generator
from pyserini_xqg.generate.sampling import Sampling

BACKENDS = ("transformers", "ctranslate2")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


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

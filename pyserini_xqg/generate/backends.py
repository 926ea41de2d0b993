"""From options to a loaded generator."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import open_checkpoint
from pyserini_xqg.generate.sampling import Generator, Sampling

BACKENDS = ("transformers", "ctranslate2")
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def load_generator(
    model: str,
    *,
    model_type: str = "auto",
    backend: str = "transformers",
    device: str = "auto",
    dtype: str = "auto",
    sampling: Sampling | None = None,
    batch_tokens: int | None = None,
    threads: int | None = None,
) -> Generator:
    """Load a Hugging Face checkpoint for generation.

    Parameters
    ----------
    model : directory, or name on the Hugging Face hub.
    model_type : ``seq2seq``, ``causal``, or ``auto``: what the model's configuration says.
    backend : ``transformers``, or ``ctranslate2`` (seq2seq only; converted once, the conversion is kept).
    device : ``cpu``, ``cuda:0``, …, or ``auto``.
    dtype : ``auto`` (the fastest that the hardware has units for), ``float32``, ``bfloat16``, ``float16``, and
        ``int8`` with ctranslate2.
    sampling : how tokens are chosen; the paper's by default.
    batch_tokens : most tokens in a batch; None for what suits the device.
    threads : of the CPU; None for all.

    Raises :class:`XqgError`, naming cause and cure, for what cannot be loaded or run here.
    """
    if backend not in BACKENDS:
        raise XqgError(f"--backend {backend}: must be one of {', '.join(BACKENDS)}.")
    kind: Any
    if backend == "ctranslate2":
        from pyserini_xqg.generate.ctranslate2_backend import CTranslate2Generator as kind

        kind.check_installed()
    else:
        from pyserini_xqg.generate.transformers_backend import TransformersGenerator as kind
    checkpoint = open_checkpoint(model, model_type)
    generator = kind(checkpoint, sampling or Sampling(), device, dtype, batch_tokens, threads)
    if generator.device == "cpu":
        keep_freed_memory()
    return generator


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next allocation; on other systems nothing changes.

    The scores of a batch over mT5's vocabulary are hundreds of megabytes, made and freed for every token. glibc gives
    such blocks back to the kernel, which hands them out page by page again: a quarter of the time went there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 1 << 26)

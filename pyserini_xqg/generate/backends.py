"""From options to a loaded generator."""

from __future__ import annotations

from pyserini_xqg.errors import XqgError
from pyserini_xqg.generate.sampling import Generator, Sampling

BACKENDS = ("transformers", "ctranslate2")


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
    from pyserini_xqg.generate.checkpoints import open_checkpoint

    sampling = sampling or Sampling()
    if backend not in BACKENDS:
        raise XqgError(f"--backend {backend}: must be one of {', '.join(BACKENDS)}.")
    if backend == "ctranslate2":
        from pyserini_xqg.generate.ctranslate2_backend import CTranslate2Generator

        CTranslate2Generator.check_installed()
        return CTranslate2Generator(open_checkpoint(model, model_type), sampling, device, dtype, batch_tokens, threads)
    from pyserini_xqg.generate.transformers_backend import TransformersGenerator

    return TransformersGenerator(open_checkpoint(model, model_type), sampling, device, dtype, batch_tokens, threads)

"""What decides which vector a text gets, and on what device and in which arithmetic it is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import Kind, differing
from pyserini_xqg.core.options import at_least, option

if TYPE_CHECKING:
    from pyserini_xqg.vectors.embedding import Embedder


def _other_settings(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return differing(
        {"task": there.get("task"), **there.get("settings", {})}, {"task": now["task"], **now["settings"]}
    )


TRAINING = Kind(
    "training",
    "xqg-training.json",
    "pyserini-xqg training",
    2,
    "python -m pyserini_xqg.train",
    compare=_other_settings,
)
"""A model that this package trained, with its record beside it."""

POOLINGS = ("cls", "mean")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that decides which vector a text gets.

    model : Hugging Face name or local directory; stored as an absolute path if it is a directory.
    tokenizer : name or directory of the tokenizer; the model's own by default.
    pooling : ``cls`` (first position) or ``mean`` (over the positions that are not padding).
    l2_norm : scale every vector to unit length.
    max_length, query_max_length : tokens kept of a passage and of a query, special tokens included;
        None for the tokenizer's own limit, as Pyserini's ``AutoQueryEncoder`` has it.
    prefix, query_prefix : put before the text of a passage and before a query, with a blank between.

    >>> EncoderConfig("bert-base-multilingual-cased").pooling
    'cls'
    """

    model: str
    tokenizer: str | None = None
    pooling: str = "cls"
    l2_norm: bool = False
    max_length: int | None = 256
    query_max_length: int | None = None
    prefix: str | None = None
    query_prefix: str | None = None

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise XqgError(f"pooling {self.pooling!r}: must be one of {', '.join(POOLINGS)}.")
        for name in ("max_length", "query_max_length"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise XqgError(f"{name} {value!r}: must be a positive number of tokens.")
        for name in ("model", "tokenizer"):
            value = getattr(self, name)
            if value is not None and Path(value).is_dir():
                object.__setattr__(self, name, os.path.abspath(value))

    @classmethod
    def named(cls, model: str, **settings: Any) -> EncoderConfig:
        """The configuration that an ``--encoder`` value stands for.

        What ``python -m pyserini_xqg.train`` recorded beside a model, and what the package's own encoder
        (``xqg-small``) was made with, holds unless ``settings`` say otherwise. Settings that are None are left as they
        are.

        >>> EncoderConfig.named("xqg-small", max_length=128).describe()
        'xqg-small (pooling mean, l2-norm on)'
        """
        given = {name: value for name, value in settings.items() if value is not None}
        return cls(**{"model": model, **recorded_settings(model), **given})

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "encoder") -> EncoderConfig:
        """Read a configuration that :func:`to_dict` wrote; :class:`XqgError` for anything else."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown or not isinstance(values.get("model"), str):
            what = f"unknown settings {', '.join(unknown)}" if unknown else "no 'model'"
            raise XqgError(f"{where}: {what} in the encoder's configuration. Build it again with this version.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values, in the order of the fields."""
        return asdict(self)

    def describe(self) -> str:
        """One line for messages.

        >>> EncoderConfig("m", pooling="mean", l2_norm=True).describe()
        'm (pooling mean, l2-norm on)'
        """
        details = [f"pooling {self.pooling}", f"l2-norm {'on' if self.l2_norm else 'off'}"]
        details += [f"query prefix {self.query_prefix!r}"] if self.query_prefix else []
        details += [f"tokenizer {self.tokenizer}"] if self.tokenizer else []
        return f"{self.model} ({', '.join(details)})"

    def replace(self, **changes: Any) -> EncoderConfig:
        """A copy with some settings changed."""
        return replace(self, **changes)


def recorded_settings(model: str) -> dict[str, Any]:
    """Settings of an encoder that this package trained, as recorded beside it; none for others."""
    directory = default_encoder.place(model)
    if not TRAINING.is_at(directory):
        return {}
    recorded = TRAINING.read(directory).get("encoder") or {}
    return {field.name: recorded[field.name] for field in fields(EncoderConfig) if field.name in recorded}


@dataclass(frozen=True)
class DeviceOptions:
    """Device"""

    device: str = option("auto", "auto, cpu, cuda:0, cuda:1, …", metavar="DEVICE", decides=False)
    dtype: str = option(
        "auto",
        "arithmetic of the model; auto: the fastest of the device that keeps rankings (bfloat16 where it has units for "
        "it); float32 is what pyserini.encode uses",
        choices=("auto", *PRECISIONS),
        decides=False,
    )
    batch_tokens: int | None = option(
        None,
        "most tokens in a batch, with padding (default: 2048 on the CPU, 65536 on a GPU)",
        metavar="TOKENS",
        check=at_least(1),
        decides=False,
    )
    threads: int | None = option(
        None, "CPU threads of the model (default: all cores)", metavar="N", check=at_least(1), decides=False
    )


@dataclass(frozen=True)
class EncoderOptions:
    """Encoder; settings that pyserini_xqg.train recorded beside a model are its defaults"""

    encoder: str | None = option(
        None,
        "Hugging Face encoder, name or directory; xqg-small: the one that comes with the package",
        metavar="NAME",
    )
    tokenizer: str | None = option(None, "its tokenizer, if not the encoder's own", metavar="NAME")
    pooling: str | None = option(None, "how token vectors become one (default: cls)", choices=POOLINGS)
    l2_norm: bool | None = option(None, "scale each vector to unit length (default: no)")
    max_length: int | None = option(
        None, "tokens kept of a passage (default: 256)", metavar="TOKENS", check=at_least(1)
    )
    query_max_length: int | None = option(
        None,
        "tokens kept of a query (default: the tokenizer's limit, as in Pyserini's search; the paper: 32)",
        metavar="TOKENS",
        check=at_least(1),
    )
    prefix: str | None = option(None, "put before the text of each passage", metavar="TEXT")
    query_prefix: str | None = option(None, "put before each query", metavar="TEXT")

    def config(self) -> EncoderConfig:
        """The encoder's configuration that the options describe."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "encoder"}
        return EncoderConfig.named(self.encoder, **settings)

    def load(self, device: DeviceOptions) -> Embedder:
        """The encoder that the options describe, loaded."""
        return load_embedder(self.config(), device)


def load_embedder(config: EncoderConfig, device: DeviceOptions) -> Embedder:
    """An encoder on the device that the options name."""
    from pyserini_xqg.vectors.embedding import Embedder

    if device.threads:
        import torch

        torch.set_num_threads(device.threads)
    return Embedder(config, device.device, device.batch_tokens, device.dtype)


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda:0`` where a CUDA device is usable, else ``cpu``; other names are checked."""
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise XqgError(f"--device {device}: no such device. Use auto, cpu, cuda:0, cuda:1, …") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise XqgError(
            f"--device {device}: torch sees no CUDA device here. Use --device cpu, or install torch for CUDA."
        )
    return device


def choose_precision(precision: str, device: str) -> str:
    """What ``auto`` stands for on a device: the fastest precision there that leaves rankings as they are.

    bfloat16 where the hardware multiplies it (CUDA from Ampere on; CPUs with AVX512-BF16 or AMX), float16 on
    older CUDA devices, float32 elsewhere. Explicit choices are checked against the device.
    """
    import torch

    cuda = device.startswith("cuda")
    if precision == "auto":
        if cuda:
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
        return "bfloat16" if cpu_multiplies_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise XqgError(f"precision {precision!r}: must be auto or one of {', '.join(PRECISIONS)}.")
    if precision == "int8" and device != "cpu":
        raise XqgError(f"--dtype int8 runs on the CPU only, not on {device}. Use --dtype auto there.")
    if precision == "float16" and device == "cpu":
        raise XqgError("--dtype float16 is for CUDA devices. Use --dtype auto, bfloat16 or int8 on the CPU.")
    return precision


def cpu_multiplies_bfloat16() -> bool:
    """True if this CPU has bfloat16 units that torch uses (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

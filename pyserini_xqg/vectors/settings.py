"""What decides which vector a text gets, and on what device and in which arithmetic it is computed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, option
from pyserini_xqg.vectors.recorded import read_recorded

POOLINGS = ("cls", "mean", "max", "lasttoken", "weightedmean")
PRECISIONS = ("float32", "bfloat16", "float16", "int8")


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that decides which vector a text gets.

    model : Hugging Face name or local directory; stored as an absolute path if it is a directory.
    tokenizer : name or directory of the tokenizer; the model's own by default.
    pooling : ``cls`` (first position), ``mean`` or ``max`` (over the positions that are not padding), ``lasttoken``, or
        ``weightedmean`` (by position), as sentence-transformers defines them.
    l2_norm : scale every vector to unit length.
    max_length, query_max_length : tokens kept of a passage and of a query, special tokens included;
        None for the tokenizer's own limit, as Pyserini's ``AutoQueryEncoder`` has it.
    prefix, query_prefix : put before the text of a passage and before a query, with a blank between, as in Pyserini.
    passage_prompt, query_prompt : put before title and text as they stand, or templates with ``{text}``.
    dimensions : first numbers of the vector that are kept. dense : directories of Dense heads in the model.
    revision, trust_remote_code : of a model on the hub, and of one with code of its own.
    sources : where each setting comes from that is no default.

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
    passage_prompt: str | None = None
    query_prompt: str | None = None
    dimensions: int | None = None
    dense: tuple[str, ...] = ()
    revision: str | None = None
    trust_remote_code: bool = False
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise XqgError(f"pooling {self.pooling!r}: must be one of {', '.join(POOLINGS)}.")
        for name in ("max_length", "query_max_length", "dimensions"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise XqgError(f"{name} {value!r}: must be a positive number.")
        for name in ("model", "tokenizer"):
            value = getattr(self, name)
            if value is not None and Path(value).is_dir():
                object.__setattr__(self, name, os.path.abspath(value))

    @classmethod
    def named(cls, model: str, **settings: Any) -> EncoderConfig:
        """The configuration that an ``--encoder`` value stands for.

        Each setting is taken from ``settings`` (those that are not None), else from the package's own record beside the
        model, else from sentence-transformers' files, else from Pyserini's defaults. A setting that contradicts the
        model's files is said to.

        >>> EncoderConfig.named("xqg-small", max_length=128).describe()
        'xqg-small (pooling mean, l2-norm on)'
        """
        given = {name: value for name, value in settings.items() if value is not None}
        recorded = read_recorded(model, given.get("revision"))
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in recorded.values.items() if name in known and value is not None}
        for name, value in given.items():
            if name in values and values[name] != value:
                say(
                    f"{model}: {name} {value!r} is asked for, and {recorded.sources[name]} beside the model says "
                    f"{values[name]!r}"
                )
        sources = {**{name: recorded.sources[name] for name in values}, **dict.fromkeys(given, "given")}
        values["dense"] = tuple(values.get("dense", ()))
        return cls(**{"model": model, **values, **given, "sources": tuple(sources.items())})

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str = "encoder") -> EncoderConfig:
        """Read a configuration that :func:`to_dict` wrote; :class:`XqgError` for anything else."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown or not isinstance(values.get("model"), str):
            what = f"unknown settings {', '.join(unknown)}" if unknown else "no 'model'"
            raise XqgError(f"{where}: {what} in the encoder's configuration. Build it again with this version.")
        made = {"dense": tuple(values.get("dense", ())), "sources": tuple(dict(values.get("sources", {})).items())}
        return cls(**{**values, **made})

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON values, in the order of the fields."""
        return {**asdict(self), "dense": list(self.dense), "sources": dict(self.sources)}

    def describe(self) -> str:
        """One line for messages.

        >>> EncoderConfig("m", pooling="mean", l2_norm=True).describe()
        'm (pooling mean, l2-norm on)'
        """
        details = [f"pooling {self.pooling}", f"l2-norm {'on' if self.l2_norm else 'off'}"]
        details += [f"query prefix {self.query_prefix!r}"] if self.query_prefix else []
        details += [f"query prompt {self.query_prompt!r}"] if self.query_prompt else []
        details += [f"{self.dimensions} dimensions"] if self.dimensions else []
        details += [f"tokenizer {self.tokenizer}"] if self.tokenizer else []
        return f"{self.model} ({', '.join(details)})"

    def describe_sources(self) -> str:
        """Where the settings come from, on one line; empty where all are defaults."""
        values = asdict(self)
        by_source: dict[str, list[str]] = {}
        for name, source in self.sources:
            if name in values and name != "model" and values[name] not in ((), None):
                by_source.setdefault(source, []).append(f"{name} {values[name]!r}")
        return "; ".join(f"{source}: {', '.join(settings)}" for source, settings in by_source.items())

    def replace(self, **changes: Any) -> EncoderConfig:
        """A copy with some settings changed."""
        return replace(self, **changes)

    def passages(self, texts: Sequence[str], titles: Sequence[str | None] | None = None) -> list[str]:
        """The input of each passage: with a prompt, that before the title; without, ``title prefix text`` as Pyserini.

        >>> EncoderConfig("m", passage_prompt="passage: ").passages(["A text."], ["Title"])
        ['passage: Title A text.']
        >>> EncoderConfig("m", passage_prompt="title: {title|none} | text: {text}").passages(["A text."])
        ['title: none | text: A text.']
        """
        if self.passage_prompt and "{text}" in self.passage_prompt:
            headings = titles if titles is not None else [None] * len(texts)
            bodies = compose_passages(texts, None, self.prefix)
            return [_filled(self.passage_prompt, t, b) for t, b in zip(headings, bodies, strict=True)]
        return [f"{self.passage_prompt or ''}{text}" for text in compose_passages(texts, titles, self.prefix)]

    def queries(self, texts: Sequence[str]) -> list[str]:
        """The input of each query."""
        bodies = [f"{self.query_prefix} {text}" for text in texts] if self.query_prefix else list(texts)
        if self.query_prompt and "{text}" in self.query_prompt:
            return [_filled(self.query_prompt, None, body) for body in bodies]
        return [f"{self.query_prompt or ''}{body}" for body in bodies]


def compose_passages(
    texts: Sequence[str], titles: Sequence[str | None] | None = None, prefix: str | None = None
) -> list[str]:
    """The input of each passage, as Pyserini's ``AutoDocumentEncoder`` writes it: ``title prefix text``.

    >>> compose_passages(["A text."], ["Title"])
    ['Title A text.']
    """
    bodies = [f"{prefix} {text}" for text in texts] if prefix is not None else list(texts)
    if titles is None:
        return bodies
    return [f"{title} {body}" if title else body for title, body in zip(titles, bodies, strict=True)]


def _filled(template: str, title: str | None, text: str) -> str:
    """A prompt with ``{text}``, ``{title}`` and ``{title|what stands for an empty one}`` filled in."""
    with_title = re.sub(r"\{title(?:\|([^}]*))?\}", lambda match: title or match[1] or "", template)
    return text.join(with_title.split("{text}"))


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
    """Encoder; what lies beside a model (our record, sentence-transformers' files) sets the defaults"""

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
    prefix: str | None = option(
        None, "put before the text of each passage, with a blank between, after its title", metavar="TEXT"
    )
    query_prefix: str | None = option(None, "put before each query, with a blank between", metavar="TEXT")
    passage_prompt: str | None = option(
        None,
        "put before title and text as it stands, or a template of {title}, {title|none} and {text}",
        metavar="TEXT",
    )
    query_prompt: str | None = option(
        None, "put before each query as it stands, or a template with {text}", metavar="TEXT"
    )
    dimensions: int | None = option(
        None, "first numbers of each vector that are kept (default: all)", metavar="N", check=at_least(1)
    )
    revision: str | None = option(None, "branch, tag or commit of a model on the hub", metavar="NAME")
    trust_remote_code: bool | None = option(
        None, "run the code that a model brings along (default: no, such a model is refused)"
    )

    def config(self) -> EncoderConfig:
        """The encoder's configuration that the options describe."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "encoder"}
        return EncoderConfig.named(self.encoder, **settings)


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

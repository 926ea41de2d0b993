"""What goes into a query generator and what comes out: the words that generation, backends and checks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pyserini_xqg.core.errors import XqgError

PAPER_PROMPT = "Generate a {language} question for this passage: {title} {text}"
"""The prompt of the paper's checkpoints (ielab/xQG4xDR); ``{language}`` is the English name."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults are the paper's: top-k 10, up to 64 new tokens.

    top_k : choose among the k likeliest tokens; 0 for all. top_p : among the likeliest that make up this probability.
    temperature : above 1 flatter, below 1 sharper. num_beams : above 1 is beam search, without sampling; the
    queries of a passage are then the best beams. max_new_tokens : tokens of a query. max_input_length : tokens kept
    of a prompt; None for the model's own limit.

    Raises :class:`XqgError` for values out of range.
    """

    top_k: int = 10
    top_p: float = 1.0
    temperature: float = 1.0
    num_beams: int = 1
    max_new_tokens: int = 64
    max_input_length: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "top_k": self.top_k >= 0,
            "top_p": 0 < self.top_p <= 1,
            "temperature": self.temperature > 0,
            "num_beams": self.num_beams >= 1,
            "max_new_tokens": self.max_new_tokens >= 1,
            "max_input_length": self.max_input_length is None or self.max_input_length >= 1,
        }
        for name, good in checks.items():
            if not good:
                wanted = {"top_k": "0 or more", "top_p": "above 0 and at most 1", "temperature": "above 0"}
                option = "--" + name.replace("_", "-")
                raise XqgError(f"{option} {getattr(self, name)}: must be {wanted.get(name, 'at least 1')}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON values, in the order of the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Prompt:
    """One input of a generator: the text, and the language (ISO 639-1) its queries must be in.

    tail : how many characters at the end of the text stay when it is cut to the model's input: what a prompt says
    after its passage ("… Question in Finnish:") is not lost with a long passage.
    """

    text: str
    language: str
    tail: int = 0


@dataclass(frozen=True)
class Candidate:
    """One generated query. finished : the model ended it; False where it was cut at the most new tokens.

    log_probability : sum over its tokens, the end included, under the model itself: before temperature, top-k and
    top-p, so that it can be compared across settings.
    """

    text: str
    finished: bool
    log_probability: float | None = None


class Generator(Protocol):
    """A loaded model with its backend."""

    device: str

    def describe(self) -> dict[str, Any]:
        """All that decides which queries come out (model, its fingerprint, backend, precision, sampling), as JSON."""
        ...

    def input_lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt before it is cut; those above :attr:`max_input_length` will be cut."""
        ...

    @property
    def max_input_length(self) -> int:
        """Tokens kept of a prompt."""
        ...

    def generate(self, prompts: Sequence[Prompt], numbers: Sequence[int], seed: int) -> list[list[Candidate]]:
        """``numbers[i]`` candidates for ``prompts[i]``, in the order of the prompts.

        The same prompts, numbers and seed give the same candidates on the same kind of machine, whatever was
        generated before.
        """
        ...

"""What goes into a query generator and what comes out: the words that generation, backends and checks share."""

from __future__ import annotations

from dataclasses import dataclass

from pyserini_xqg.core.options import at_least, between, check_options, option

PAPER_PROMPT = "Generate a {language} question for this passage: {title} {text}"
"""The prompt of the paper's checkpoints (ielab/xQG4xDR); ``{language}`` is the English name."""


@dataclass(frozen=True)
class Sampling:
    """Sampling

    How the next token is chosen. The defaults are the paper's: top-k 10, up to 64 new tokens.
    Raises :class:`~pyserini_xqg.core.errors.XqgError` for values out of range.
    """

    top_k: int = option(10, "sample among the K likeliest tokens; 0: all", metavar="K", check=at_least(0))
    top_p: float = option(
        1.0, "sample among the likeliest tokens that make up P", metavar="P", check=between(0, 1, above=True)
    )
    temperature: float = option(
        1.0,
        "above 1 flatter, below 1 sharper",
        metavar="T",
        check=lambda value: None if value > 0 else "a number above 0",
    )
    max_new_tokens: int = option(64, "most tokens of a query", metavar="TOKENS", check=at_least(1))
    max_input_length: int | None = option(
        None,
        "tokens kept of a prompt; longer ones are cut and counted (default: the model's limit)",
        metavar="TOKENS",
        check=at_least(1),
    )

    def __post_init__(self) -> None:
        check_options(self)


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

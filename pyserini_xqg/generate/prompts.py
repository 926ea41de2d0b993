"""A generator's prompt: the template's fields filled in, the same for training and for generation."""

from __future__ import annotations

from string import Formatter

from pyserini_xqg.errors import XqgError
from pyserini_xqg.languages import NAMES

PROMPT_FIELDS = ("language", "title", "text")


def check_prompt(template: str) -> str:
    """Return a template that can be filled in and holds the text; raise :class:`XqgError` for any other.

    >>> check_prompt("Ask in {language}: {text}")
    'Ask in {language}: {text}'
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise XqgError(
            f"--prompt {template!r}: {error}. Fields are {_fields()}; write {{{{ and }}}} for braces."
        ) from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in PROMPT_FIELDS or form or conversion):
            raise XqgError(f"--prompt {template!r}: unknown field {{{name}}}. Fields are {_fields()}.")
    if "text" not in {name for _, name, _, _ in parts}:
        raise XqgError(f"--prompt {template!r}: no {{text}}, so the model would not see the passage. Add it.")
    return template


def format_prompt(template: str, language: str, title: str, text: str) -> str:
    """The prompt for a passage, on one line; ``language`` is a code, of which the prompt gets the English name.

    Runs of white space become one blank, so that a passage without a title leaves no gap.

    >>> from pyserini_xqg.generate.sampling import PAPER_PROMPT
    >>> format_prompt(PAPER_PROMPT, "fi", "", "The river runs past a town.")
    'Generate a Finnish question for this passage: The river runs past a town.'
    """
    return " ".join(template.format(language=NAMES[language], title=title, text=text).split())


def _fields() -> str:
    return ", ".join(f"{{{name}}}" for name in PROMPT_FIELDS)

"""A generator's prompt: the template's fields filled in, the same for training and for generation."""

from __future__ import annotations

from functools import lru_cache
from string import Formatter

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.generate.sampling import Prompt

PROMPT_FIELDS = ("language", "language_code", "title", "text")


def check_prompt(template: str) -> str:
    """Return a template that can be filled in and holds the text; raise :class:`XqgError` for any other.

    >>> check_prompt("Ask in {language}: {text}")
    'Ask in {language}: {text}'
    """
    try:
        parts = _parse(template)
    except ValueError as error:
        raise XqgError(
            f"--prompt {template!r}: {error}. Fields are {_fields()}; write {{{{ and }}}} for braces."
        ) from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in PROMPT_FIELDS or form or conversion):
            what = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise XqgError(
                f"--prompt {template!r}: unknown field {{{what}}}. Fields are {_fields()}; write {{{{ and }}}} for "
                "braces."
            )
    if "text" not in _names(template):
        raise XqgError(f"--prompt {template!r}: no {{text}}, so the model would not see the passage. Add it.")
    return template


def names_language(template: str) -> bool:
    """Whether a prompt tells the model which language to write.

    >>> names_language("Ask in {language}: {text}"), names_language("{title} {text}")
    (True, False)
    """
    return not {"language", "language_code"}.isdisjoint(_names(template))


def format_prompt(template: str, language: str, title: str, text: str) -> str:
    """The prompt for a passage; ``language`` is a code, of which ``{language}`` gets the English name.

    A passage without a title leaves no gap: the blanks that parted it go with it. All else stays as the template and
    the passage have it.

    >>> from pyserini_xqg.generate.sampling import PAPER_PROMPT
    >>> format_prompt(PAPER_PROMPT, "fi", "", "The river runs past a town.")
    'Generate a Finnish question for this passage: The river runs past a town.'
    """
    title, text = title.strip(), text.strip()
    empty = tuple(name for name, value in (("title", title), ("text", text)) if not value)
    template = _without(template, empty) if empty else template
    return template.format(language=NAMES[language], language_code=language, title=title, text=text)


def build_prompt(template: str, language: str, title: str, text: str) -> Prompt:
    """:func:`format_prompt` for a generator, with how much of its end must stay when it is cut.

    >>> build_prompt("Passage: {text} Ask in {language}:", "fi", "", "The river.")
    Prompt(text='Passage: The river. Ask in Finnish:', language='fi', tail=16)
    """
    last = _last_part(template)
    tail = len(format_prompt(last, language, title, "")) if last else 0
    return Prompt(format_prompt(template, language, title, text), language, tail)


@lru_cache(maxsize=64)
def _last_part(template: str) -> str:
    """What stands behind the passage's text, as a template of its own."""
    pieces = list(_parse(template))
    place = max(number for number, (_, name, _, _) in enumerate(pieces) if name == "text")
    rest = [f"{literal.translate(_ESCAPED)}{'' if name is None else f'{{{name}}}'}" for literal, name, _, _ in pieces]
    return "".join(rest[place + 1 :])


_ESCAPED = str.maketrans({"{": "{{", "}": "}}"})


@lru_cache(maxsize=64)
def _without(template: str, empty: tuple[str, ...]) -> str:
    """The template without some of its fields, and without the gaps that they would leave."""
    pieces: list[str] = []  # literals and fields in turn
    for literal, name, _, _ in _parse(template):
        pieces += [literal, "" if name is None else f"{{{name}}}"]
    for place in range(1, len(pieces), 2):
        if pieces[place][1:-1] not in empty:
            continue
        pieces[place] = ""
        before = pieces[place - 1]
        after = pieces[place + 1] if place + 1 < len(pieces) else ""
        if not "".join(pieces[:place]).strip():
            after = after.lstrip()
        elif not "".join(pieces[place:]).strip():
            before = pieces[place - 1] = before.rstrip()
        elif before[-1:].isspace() and after[:1].isspace():
            shorter = after.lstrip(" \t")
            if shorter != after:
                after = shorter
            else:
                before = pieces[place - 1] = before.rstrip(" \t")
        if place + 1 < len(pieces):
            pieces[place + 1] = after
    return "".join(piece.translate(_ESCAPED) if place % 2 == 0 else piece for place, piece in enumerate(pieces))


@lru_cache(maxsize=64)
def _parse(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(Formatter().parse(template))


def _names(template: str) -> set[str | None]:
    return {name for _, name, _, _ in _parse(template)}


def _fields() -> str:
    return ", ".join(f"{{{name}}}" for name in PROMPT_FIELDS)

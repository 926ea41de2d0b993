"""A generator's prompt: the template's fields filled in, the same for training and for generation."""

from __future__ import annotations

import re
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
    fields = f"Fields are {', '.join(f'{{{name}}}' for name in PROMPT_FIELDS)}; write {{{{ and }}}} for braces."
    try:
        parts = _parse(template)
    except ValueError as error:
        raise XqgError(f"--prompt {template!r}: {error}. {fields}") from error
    for _, name, form, conversion in parts:
        if name is not None and (name not in PROMPT_FIELDS or form or conversion):
            what = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise XqgError(f"--prompt {template!r}: unknown field {{{what}}}. {fields}")
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
    return build_prompt(template, language, title, text).text


def build_prompt(template: str, language: str, title: str, text: str) -> Prompt:
    """:func:`format_prompt` for a generator, with how much of its end must stay when it is cut.

    >>> build_prompt("Passage: {text} Ask in {language}:", "fi", "", "The river.")
    Prompt(text='Passage: The river. Ask in Finnish:', language='fi', tail=16)
    """
    fields = {"language": NAMES[language], "language_code": language, "title": title.strip() or _NONE, "text": _TEXT}
    filled = template.format(**fields)
    if not text.strip():
        return Prompt(_GAP.sub("", filled.replace(_TEXT, _NONE)), language)
    filled = _GAP.sub("", filled)
    return Prompt(filled.replace(_TEXT, text.strip()), language, len(filled.rpartition(_TEXT)[2]))


# They stand for an empty field, and for the text, until the gap of the first is closed.
_NONE, _TEXT = "\0", "\1"
_GAP = re.compile(
    rf"^\s*{_NONE}\s*"  # at the beginning and at the end all white space goes,
    rf"|\s*{_NONE}(?=\s*$)"
    rf"|(?<=\s){_NONE}[ \t]+"  # else the blanks on one side
    rf"|[ \t]+{_NONE}(?=[^\S \t])"
    rf"|{_NONE}"
)


def _parse(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    return list(Formatter().parse(template))


def _names(template: str) -> set[str | None]:
    return {name for _, name, _, _ in _parse(template)}

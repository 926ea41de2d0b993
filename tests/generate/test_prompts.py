"""A generator's prompt: what a template may hold, and that a passage without a title leaves no gap."""

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.prompts import build_prompt, check_prompt, format_prompt, names_language
from pyserini_xqg.generate.sampling import PAPER_PROMPT


def test_the_papers_prompt():
    assert format_prompt(PAPER_PROMPT, "te", "Bridges", "Old stone.") == (
        "Generate a Telugu question for this passage: Bridges Old stone."
    )


@pytest.mark.parametrize(
    ("template", "title", "text", "expected"),
    [
        (PAPER_PROMPT, "", "Text.", "Generate a Finnish question for this passage: Text."),
        (PAPER_PROMPT, "  ", "Text.", "Generate a Finnish question for this passage: Text."),
        (PAPER_PROMPT, "Title", "", "Generate a Finnish question for this passage: Title"),
        ("{title} {text}", "", "Text.", "Text."),
        ("{title}\n\n{text}", "", "Text.", "Text."),
        ("{text} {title}", "", "Text.", "Text."),
        ("{text}\n{title}\n", "", "Text.", "Text.\n"),
        ("Title: {title}\nText: {text}", "", "Text.", "Title:\nText: Text."),
        ("a {title}, {text}", "", "Text.", "a , Text."),
        ("a\n{title} {text}", "", "Text.", "a\nText."),
        ("a\n{title}\n{text}", "", "Text.", "a\n\nText."),
        ("{language}{title}{text}", "", "Text.", "FinnishText."),
        ("{{x}}  {title} {text} {{y}}", "", "T{e}xt.", "{x}  T{e}xt. {y}"),
        ("{language_code}:  {title}  {text}", "", "Text.", "fi:  Text."),
        ("two  blanks: {title} {text}", "Title", "Te  xt.\nMore.", "two  blanks: Title Te  xt.\nMore."),
    ],
)
def test_only_the_gap_of_an_empty_field_is_closed(template, title, text, expected):
    assert format_prompt(check_prompt(template), "fi", title, text) == expected


@pytest.mark.parametrize(
    ("template", "phrase"),
    [
        ("{language}: {title} {body}", "unknown field {body}. Fields are {language}, {language_code}, {title}, {text}"),
        ("{text} {}", "unknown field {}"),
        ("{text} {0}", "unknown field {0}"),
        ("{text} {language.x}", "unknown field {language.x}"),
        ("{text:>5}", "unknown field {text:>5}"),
        ("{text!r}", "unknown field {text!r}"),
        ('{"q": {text}', "write {{ and }} for braces"),
        ("{text} }", "write {{ and }} for braces"),
        ("Ask in {language}: {title}", "no {text}, so the model would not see the passage. Add it."),
        ("", "no {text}"),
    ],
)
def test_templates_that_cannot_be_filled_in(template, phrase):
    with pytest.raises(XqgError) as caught:
        check_prompt(template)
    assert str(caught.value).startswith(f"--prompt {template!r}: ")
    assert phrase in str(caught.value)


def test_whether_the_language_is_named():
    assert names_language("in {language}: {text}")
    assert names_language("<{language_code}> {text}")
    assert not names_language("{{language}} {text}")


@pytest.mark.parametrize(
    ("template", "tail"),
    [
        (PAPER_PROMPT, ""),
        ("{title}: {text}\n\nAsk a question in {language}:", "\n\nAsk a question in Finnish:"),
        ("{text} {{{title}}} {language_code}", " {A title} fi"),
    ],
)
def test_what_stands_behind_the_text_stays_when_a_prompt_is_cut(template, tail):
    prompt = build_prompt(template, "fi", "A title", "Some text.")
    assert prompt.text == format_prompt(template, "fi", "A title", "Some text.")
    assert prompt.text.endswith(f"Some text.{tail}")
    assert prompt.tail == len(tail)

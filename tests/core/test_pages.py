"""Pages: what is escaped, what the policy allows, tables and figures in them."""

import base64
import hashlib
import re
import subprocess
import sys

import jinja2
import pytest
from helpers import command_environment

from pyserini_xqg.core import pages
from pyserini_xqg.core.figures import PAGE_COLORS, inline_svg, tooltip
from pyserini_xqg.core.tables import Cell, Column, Table

BODY = """{% extends "core/page.html" %}{% from "core/parts.html" import figure, table %}
{% block body %}
<h1>{{ name }}</h1>
{{ table(scores, "wide") }}
{{ figure(name, "a note", plot) }}
{% endblock %}"""
NAME = '<b onload="x">&'


@pytest.fixture
def render(monkeypatch):
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"test.html": BODY}), jinja2.PackageLoader("pyserini_xqg", "")])
    environment = pages._environment().overlay(loader=loader)
    monkeypatch.setattr(pages, "_environment", lambda: environment)
    return lambda **values: pages.render_page("test.html", NAME, **values)


def source_hash(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def draw(axes):
    for bar in axes.bar([0, 1], [1, 2], color=PAGE_COLORS["other"]):
        tooltip(bar, NAME)
    axes.set_title(NAME)


def test_page(render):
    columns = ["run", Column("mean", ".1f", best=True, group="scores"), Column("what", left=True, group="scores")]
    scores = Table(columns, [[NAME, Cell(0.51, mark="†"), NAME], ["b", Cell(0.2, tint=True), "c"]])
    page = render(name=NAME, scores=scores, plot=inline_svg(draw, NAME), style="p > b {}", script="f(1 < 2 && '')")
    assert page.startswith('<!doctype html>\n<html lang="en">') and page.endswith("</body></html>\n")
    assert NAME not in page
    assert "<b onload" not in page and page.count("&lt;b onload=") == 3 + 1 + 4 + 1  # texts, the title, the plot, h1
    style, script = re.search("<style>(.*?)</style>", page, re.S)[1], re.search("<script>(.*?)</script>", page, re.S)[1]
    assert style.endswith("p > b {}") and script == "f(1 < 2 && '')"
    policy = f"default-src 'none'; style-src '{source_hash(style)}'; script-src '{source_hash(script)}'"
    assert f'content="{policy}"'.replace("'", "&#39;").replace("+", "&#43;") in page.replace("+", "&#43;")
    assert ' style="' not in page  # the policy would not apply it
    for markup in (
        '<th scope="colgroup" colspan="2"><span>scores</span></th>',
        '<th scope="col" class="left">what</th>',
        '<td><b>0.5</b>†</td><td class="left">',
        '<td class="some">0.2</td>',
        '<table class="wide">',
    ):
        assert markup in page


def test_a_page_without_script_allows_none(render):
    page = render(name="a", scores=Table(["a"], []), plot="<svg>")
    assert "script-src" not in page and "<script" not in page and "&lt;svg&gt;" in page


def test_a_value_that_is_missing_is_an_error(render):
    with pytest.raises(jinja2.UndefinedError):
        render(name="a", plot="")


def test_inline_svg():
    svg = inline_svg(draw, "two bars")
    assert svg.startswith('<svg viewBox="0 0 316.8 129.6" role="img" aria-label="two bars"')
    assert svg.count("<title>&lt;b onload=") == 2 and svg.count('fill="var(--other)"') == 2
    for word in ("style", "metadata", "xmlns", "Date", PAGE_COLORS["other"], "\n"):
        assert word not in svg
    references = set(re.findall(r"(?:url\(|href=\")#(\w+)", svg))
    assert references == set(re.findall(r' id="(.*?)"', svg))


def test_inline_svg_is_the_same_in_every_process():
    code = "from test_pages import *; print(hashlib.sha256(inline_svg(draw, 'a').encode()).hexdigest())"
    environment = command_environment(PYTHONPATH=":".join(sys.path), PYTHONHASHSEED="3")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.stdout.strip() == hashlib.sha256(inline_svg(draw, "a").encode()).hexdigest(), result.stderr

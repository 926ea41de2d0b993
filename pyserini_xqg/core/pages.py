"""HTML pages from Jinja's templates, which lie in the rooms as ``.html``: escaped, their look in light and dark.

A page is one file that asks for nothing: its Content-Security-Policy lets it load no resource, and run no script but
the one whose hash it names. Its template extends ``core/page.html`` and fills the block ``body``; ``core/parts.html``
has the macros for tables and figures.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any


def render_page(template: str, title: str, *, style: str = "", script: str = "", **values: Any) -> str:
    """The page that a template makes of ``values``; every value is escaped, but for ``markupsafe.Markup``.

    template : its path in the package, such as ``report/page.html``.
    style : rules behind those of every page. script : the only one that the page's policy lets run.
    """
    from markupsafe import Markup

    style = asset("core/page.css") + style
    policy = ["default-src 'none'", f"style-src '{_source_hash(style)}'"]
    policy += [f"script-src '{_source_hash(script)}'"] if script else []
    page = _environment().get_template(template)
    shown = page.render(title=title, policy="; ".join(policy), style=Markup(style), script=Markup(script), **values)
    return shown + "\n"


def asset(path: str) -> str:
    """The text of a file in the package, such as ``report/explorer.js``."""
    return files("pyserini_xqg").joinpath(path).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("pyserini_xqg", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source_hash(source: str) -> str:
    """How a policy names an inline style or script.

    >>> _source_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")


# The helper that templates replace; it goes with its last user.

STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --soft: #5b6877; --line: #d9dfe6; --page: #ffffff;
  --card: #f6f8fa; --bar: #2f6fd0; --other: #c2570c; --tint: #2f6fd026; --warn: #c2570c33; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #98a5b3; --line: #303b47; --page: #12171d;
  --card: #1a212a; --bar: #6ea3f5; --other: #f0975a; --tint: #6ea3f533; --warn: #f0975a40; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.25rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans CJK JP", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .35rem; } h4 { font-size: .9rem; margin: .9rem 0 .25rem; font-weight: 600; }
p { margin: .25rem 0; } .soft, figcaption small { color: var(--soft); } code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: end; vertical-align: top; }
th { font-weight: 600; font-size: .85rem; color: var(--soft); vertical-align: bottom; }
th:first-child, td:first-child { text-align: start; white-space: nowrap; }
td.some { background: var(--warn); }
th[scope="colgroup"] { border-bottom: 0; text-align: center; padding-bottom: 0; white-space: nowrap; }
th[scope="colgroup"] span { display: block; border-bottom: 2px solid var(--bar); }
.grid { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
figure { margin: 0; padding: .6rem .75rem .35rem; background: var(--card); border-radius: .5rem; }
figcaption { display: flex; justify-content: space-between; gap: .5rem; font-weight: 600; font-size: .9rem; }
figcaption small { font-weight: 400; font-size: .8rem; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 10px; }
svg .bar { fill: var(--bar); } svg .other { fill: var(--other); } svg .axis { stroke: var(--line); }
"""
"""Style sheet of every page; a page adds its own rules behind it."""

_MARKED = ' class="some"'


def page_head(title: str, style: str, script: str = "") -> str:
    """Everything up to and with ``<body>``; ``script`` is the only one that the page's policy lets run."""
    policy = ["default-src 'none'", f"style-src '{_source_hash(_sheet(style))}'"]
    policy += [f"script-src '{_source_hash(script)}'"] if script else []
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(policy)}">\n'
        f"<title>{escape(title)}</title>\n<style>{_sheet(style)}</style></head>\n<body>\n"
    )


def _sheet(style: str) -> str:
    return STYLE + style


def section(title: str, *content: str) -> str:
    """A part of the page under its heading; the content is markup."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(content)}</section>\n"


def table(
    groups: Sequence[tuple[str, int]], head: Sequence[str], rows: Sequence[Sequence[tuple[str, bool] | str]]
) -> str:
    """Groups of columns above the columns; cells are texts, or (text, whether to mark it)."""
    above = "".join(f'<th scope="colgroup" colspan="{columns}">{name and _span(name)}</th>' for name, columns in groups)
    top = f"<tr>{above}</tr>\n" if groups else ""
    top += "<tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr>\n"
    body = ""
    for row in rows:
        body += "<tr>"
        for cell in row:
            text, marked = cell if isinstance(cell, tuple) else (cell, False)
            body += f"<td{_MARKED if marked else ''}>{escape(text)}</td>"
        body += "</tr>\n"
    return f'<div class="wide"><table><thead>{top}</thead>\n<tbody>{body}</tbody></table></div>\n'


def _span(text: str) -> str:
    return f"<span>{escape(text)}</span>"


def figure(title: str, note: str, content: str) -> str:
    """A plot under its title and a note; the content is markup."""
    return f"<figure><figcaption>{escape(title)}<small>{escape(note)}</small></figcaption>{content}</figure>\n"

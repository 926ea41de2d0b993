"""HTML pages from Jinja's templates, which lie in the rooms as ``.html``: escaped, their look in light and dark.

A page is one file that asks for nothing: its Content-Security-Policy lets it load no resource, and run no script but
the one whose hash it names. Its template extends ``core/page.html`` and fills the block ``body``; ``core/parts.html``
has the macros for tables and figures.
"""

from __future__ import annotations

import base64
import functools
import hashlib
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
    """How a policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode("ascii")

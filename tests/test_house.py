"""The rules that keep the package readable: what may import what, one class a name, options and outputs in one way.

``python tests/house.py`` prints the counts and whatever breaks a rule.
"""

import pytest
from house import MOST_LINES, House

HOUSE = House()


@pytest.mark.parametrize("rule", HOUSE.broken())
def test_the_rule_is_kept(rule):
    assert not HOUSE.broken()[rule]


def _house(directory, **sources) -> House:
    """A package of these modules; two underlines stand for a dot."""
    for name, source in sources.items():
        path = directory / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        if path.parent != directory:
            (path.parent / "__init__.py").touch()
        path.write_text(source)
    for name in ("__init__", "_startup"):
        (directory / f"{name}.py").touch()
    return House(directory)


def _broken(directory, **sources) -> list[str]:
    return [f"{rule}: {what}" for rule, found in _house(directory, **sources).broken().items() for what in found]


@pytest.mark.parametrize(
    ("sources", "broken"),
    [
        ({"core__files": "", "text__corpus": "from pyserini_xqg.core.files import x"}, None),
        ({"core__files": "from pyserini_xqg.text.corpus import x", "text__corpus": ""}, "files imports text.corpus"),
        ({"train__a": "from pyserini_xqg.evaluate import b", "evaluate__b": ""}, None),
        ({"train__a": "from pyserini_xqg.report import b", "report__b": ""}, "train.a imports report.b"),
        ({"text__a": "def f():\n    import pyserini_xqg.vectors.b", "vectors__b": ""}, "text.a imports vectors.b"),
        ({"text__a": "if TYPE_CHECKING:\n    import pyserini_xqg.vectors.b", "vectors__b": ""}, None),
        ({"text__a": "def f(): import pyserini_xqg.text.b", "text__b": "import pyserini_xqg.text.a"}, "a - text.b"),
        ({"encode": "", "text__a": "from pyserini_xqg.encode import main"}, "text.a imports encode"),
        ({"encode": "from pyserini_xqg.text import a", "text__a": "import torch"}, "text.a imports torch"),
        ({"encode": "from pyserini_xqg.text import a", "text__a": "def f():\n    import torch"}, None),
        ({"encode": "def f():\n    from pyserini_xqg.text import a", "text__a": "import torch"}, None),
        ({"core__a": "class A: pass", "text__b": "class A: pass"}, "A: core.a, text.b"),
        ({"core__options": "x.add_argument('--a')"}, None),
        ({"encode": "x.add_argument('--a')"}, "encode: add_argument"),
        ({"text__a": "open(path)\nopen(path, 'rb')\npath.open()\nopen('a')"}, None),
        ({"core__a": "open(path, 'w')"}, None),
        ({"text__a": "open(path, 'ab')"}, "text.a: open to write"),
        ({"text__a": "gzip.open(path, mode='wt')"}, "text.a: open to write"),
        ({"text__a": "path.open('x')"}, "text.a: open to write"),
        ({"text__a": "path.write_text('')"}, "text.a: write_text"),
        ({"text__a": "os.replace(a, b)"}, "text.a: os.replace"),
        ({"text__a": "shutil.rmtree(a)"}, "text.a: shutil.rmtree"),
        ({"text__a": "x = 1\n" * (MOST_LINES + 1)}, f"more than {MOST_LINES} lines: text.a"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_seen(sources, broken, tmp_path):
    found = _broken(tmp_path, **sources)
    assert (found == []) if broken is None else any(line.endswith(broken) for line in found), found


def test_single_importers_and_circles_are_counted(tmp_path):
    house = _house(
        tmp_path,
        encode="from pyserini_xqg.text import a, b",
        index="import pyserini_xqg.text.b",
        text__a="",
        text__b="def f():\n    import pyserini_xqg.text.c",
        text__c="import pyserini_xqg.text.d",
        text__d="import pyserini_xqg.text.b",
    )
    assert house.single_importers() == ["text.a", "text.c", "text.d"]
    assert house.circles() == [["text.b", "text.c", "text.d"]]
    assert house.counts()["modules"] == 9

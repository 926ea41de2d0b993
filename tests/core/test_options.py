"""Options as fields of dataclasses: what argparse makes of them."""

from dataclasses import dataclass

from pyserini_xqg.core.options import option, parse


@dataclass(frozen=True)
class Example:
    """An example."""

    files: tuple[str, ...] = option((), "files", positional=True, several=True)
    names: tuple[str, ...] = option((), "names", several=True, repeated=True)


def test_several_values():
    assert parse(Example, "example", argv=[]) == Example()
    assert parse(Example, "example", argv=["a", "b", "--names", "x", "y", "--names", "z"]) == Example(
        ("a", "b"), ("x", "y", "z")
    )

"""Options as fields of dataclasses: read, grouped, checked, and turned into settings."""

from dataclasses import dataclass

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import (
    Command,
    at_least,
    between,
    changed,
    check_options,
    given,
    group,
    option,
    parse,
    run_commands,
    settings_of,
    values_of,
)


def no_dots(text: str) -> str:
    if "." in text:
        raise XqgError("no dots, please")
    return text.upper()


@dataclass(frozen=True)
class Model:
    """Model; of the reader

    More of it, which is no title.
    """

    encoder: str | None = option(None, "name of it", metavar="NAME")
    length: int = option(256, "tokens kept", metavar="TOKENS", check=at_least(1))
    unit: bool = option(False, "scale to 100% of a unit")
    threads: int | None = option(None, "threads", decides=False, check=at_least(1))

    def __post_init__(self):
        if self.unit and self.length > 1000:
            raise XqgError("--unit with --length above 1000: too long.")


@dataclass(frozen=True)
class Options:
    """All kinds of options."""

    files: tuple[str, ...] = option(help="files to read", positional=True, several=True)
    output: str = option(help="what to make")
    weight: float = option(0.25, "weight of it", check=between(0, 1))
    kind: str = option("a", "which one", choices=("a", "b"))
    scale: bool | None = option(None, "scale it (default: as it was)")
    loud: bool = option(True, "say what is done")
    codes: tuple[str, ...] | None = option(None, "codes", read=lambda text: tuple(text.split(",")))
    names: tuple[str, ...] = option(("x",), "names", several=True)
    depths: tuple[int, ...] = option((), "depths", repeated=True, check=at_least(1))
    label: str = option("", "a label", read=no_dots)
    overwrite: bool = option(False, "begin anew", decides=False)
    model: Model = group(Model, length=64)


LEAST = ["f.txt", "--output", "o"]


def read(*argv, kind=Options):
    return parse(kind, "test", "What it does.", [*LEAST, *argv] if kind is Options else list(argv))


def test_defaults_and_types():
    options = read()
    assert options == Options(("f.txt",), "o")
    assert options.model == Model(length=64)
    assert read("--weight", "1").weight == 1.0
    assert isinstance(read("--weight", "1").weight, float)
    assert read("--length", "7", "--encoder", "e", "--unit").model == Model("e", 7, True)
    assert (read("--scale").scale, read("--no-scale").scale, read().scale) == (True, False, None)
    assert (read("--loud").loud, read("--no-loud").loud) == (True, False)
    assert read("--codes", "fi,ar").codes == ("fi", "ar")
    assert read("--names", "y", "z").names == ("y", "z")
    assert read("--depths", "3", "--depths", "1").depths == (3, 1)
    assert read("--label", "ab").label == "AB"
    assert parse(Options, "test", "", ["a", "b", "--output", "o"]).files == ("a", "b")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--weight", "1.5"], "--weight 1.5: must be a number from 0 to 1."),
        (["--weight", "nan"], "--weight nan: must be a number from 0 to 1."),
        (["--length", "0"], "--length 0: must be a number of at least 1."),
        (["--depths", "2", "--depths", "-1"], "--depths -1: must be a number of at least 1."),
        (["--threads", "0"], "--threads 0: must be a number of at least 1."),
        (["--unit", "--length", "1001"], "--unit with --length above 1000: too long."),
    ],
)
def test_values_that_are_refused(argv, message):
    with pytest.raises(XqgError) as caught:
        read(*argv)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("argv", "phrase"),
    [
        (["--length", "two"], "argument --length: invalid whole number value: 'two'"),
        (["--weight", "much"], "argument --weight: invalid number value: 'much'"),
        (["--kind", "c"], "argument --kind: invalid choice: 'c' (choose from "),
        (["--label", "a.b"], "argument --label: no dots, please"),
        (["--leng", "3"], "unrecognized arguments: --leng 3"),
        (["--names"], "argument --names: expected at least one argument"),
    ],
)
def test_what_argparse_refuses(argv, phrase, capsys):
    with pytest.raises(SystemExit) as caught:
        read(*argv)
    assert caught.value.code == 2
    assert phrase in capsys.readouterr().err


def test_bounds():
    assert between(0, 1)(0) is between(0, 1)(1) is at_least(1)(1) is None
    assert between(0, 1, above=True)(0) == "a number above 0 and at most 1"
    assert between(0, 1, above=True)(0.1) is None
    assert at_least(0.5)(0.4) == "a number of at least 0.5"


def test_required_options_are_named(capsys):
    with pytest.raises(SystemExit):
        parse(Options, "test", "", [])
    assert "the following arguments are required: files, --output" in capsys.readouterr().err


def test_help_has_groups_defaults_and_the_description(capsys):
    with pytest.raises(SystemExit) as caught:
        read("--help")
    assert not caught.value.code
    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert text.startswith("usage: python -m pyserini_xqg.test")
    assert "What it does." in text
    assert "\nModel; of the reader:\n" in text
    assert "More of it" not in text
    for phrase in (
        "weight of it (default: 0.25)",
        "tokens kept (default: 64)",
        "names (default: x)",
        "scale it (default: as it was)",
        "say what is done (default: yes)",
        "scale to 100% of a unit",
        "which one (default: a)",
        "--length TOKENS",
        "--no-scale",
    ):
        assert phrase in words
    assert "name of it (default" not in words
    assert "begin anew (default" not in words


@dataclass(frozen=True)
class Narrow:
    """A command that takes the group otherwise."""

    model: Model = group(Model, required=("encoder",), without=("unit", "threads"), length=9)


def test_a_command_may_take_a_group_otherwise(capsys):
    assert read("--encoder", "e", kind=Narrow) == Narrow(Model("e", 9))
    assert Narrow().model.length == 9  # in Python too
    for argv, phrase in ([], "required: --encoder"), (["--encoder", "e", "--unit"], "unrecognized arguments: --unit"):
        with pytest.raises(SystemExit):
            read(*argv, kind=Narrow)
        assert phrase in capsys.readouterr().err


def test_settings_are_json_of_what_decides():
    settings = settings_of(read("--codes", "fi", "--overwrite", "--threads", "3"))
    assert settings["model"] == {"encoder": None, "length": 64, "unit": False}
    assert settings["codes"] == ["fi"]
    assert settings["files"] == ["f.txt"]
    assert "overwrite" not in settings

    @dataclass(frozen=True)
    class Kept:
        """With values that JSON has not."""

        inner: object = option(Model("e"))
        table: dict = option(None)
        path: object = option(None)

    from pathlib import Path

    assert settings_of(Kept(table={1: (2, 3)}, path=Path("a"))) == {
        "inner": {"encoder": "e", "length": 256, "unit": False, "threads": None},
        "table": {"1": [2, 3]},
        "path": "a",
    }


def test_values_by_name_copies_and_what_was_given():
    options = read("--length", "7")
    assert values_of(options)["length"] == 7
    assert values_of(options)["output"] == "o"
    assert "model" not in values_of(options)
    other = changed(options, length=8, output="p", unknown=1)
    assert (other.model.length, other.output, other.weight) == (8, "p", options.weight)
    assert options.model.length == 7
    assert given(Model(length=3, unit=True), "length", "unit", "encoder") == ["--length", "--unit"]


def test_options_made_in_python_are_checked_as_those_of_a_command_line():
    check_options(Model())
    with pytest.raises(XqgError, match=r"--length 0: must be a number of at least 1"):
        check_options(Model(length=0))


def test_optional_and_repeated_lists():
    @dataclass(frozen=True)
    class Lists:
        """Lists that may be empty, and those that are given in several goes."""

        files: tuple[str, ...] = option((), "files", positional=True, several=True)
        names: tuple[str, ...] = option((), "names", several=True, repeated=True)

    assert read(kind=Lists) == Lists()
    assert read("a", "b", "--names", "x", "y", "--names", "z", kind=Lists) == Lists(("a", "b"), ("x", "y", "z"))


def test_sub_commands(capsys):
    ran = []
    commands = {
        "look": Command(Narrow, ran.append, "look at it"),
        "do": Command(Options, ran.append, "do it", "Do it.\n\nexample:\n  do it"),
    }
    run_commands("test", "Several things.", commands, ["look", "--encoder", "e"])
    run_commands("test", "Several things.", commands, ["do", *LEAST])
    assert ran == [Narrow(Model("e", 9)), Options(("f.txt",), "o")]
    for argv, code, phrases in [
        ([], 2, ["required: look | do"]),
        (["sit"], 2, ["invalid choice: 'sit'"]),
        (["--help"], 0, ["Several things.", "look at it", "do it"]),
        (["do", "--help"], 0, ["usage: python -m pyserini_xqg.test do", "Do it.\n\nexample:\n  do it"]),
    ]:
        with pytest.raises(SystemExit) as caught:
            run_commands("test", "Several things.", commands, argv)
        captured = capsys.readouterr()
        assert (caught.value.code or 0) == code
        assert all(phrase in captured.out + captured.err for phrase in phrases), argv

"""Options of the commands: each is a field of a frozen dataclass, with its help, unit, check and default.

argparse is filled from the fields, and the dataclass from what argparse read, so that an option is named once. Options
that several commands have are dataclasses of their own, held as fields of others (:func:`group`).

>>> @dataclass(frozen=True)
... class Recipe:
...     "augmentation"
...     alpha: float = option(0.25, "weight of the generated queries", check=between(0, 1))
>>> @dataclass(frozen=True)
... class Example:
...     output: str = option(help="the index to make", metavar="DIR")
...     recipe: Recipe = group(Recipe)
>>> parse(Example, "example", argv=["--output", "indexes/a", "--alpha", "0.5"])
Example(output='indexes/a', recipe=Recipe(alpha=0.5))
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pyserini_xqg.core.errors import XqgError

Options = TypeVar("Options")
Check = Callable[[Any], str | None]
"""Given a value, None if it is allowed, else what it must be: ``a number from 0 to 1``."""


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    metavar: str | None = None,
    choices: Sequence[Any] | None = None,
    check: Check | None = None,
    read: Callable[[str], Any] | None = None,
    several: bool = False,
    positional: bool = False,
    repeated: bool = False,
    decides: bool = True,
) -> Any:
    """A field that is an option of a command; the field's name is the option's, with dashes.

    Parameters
    ----------
    default : its value where it is not given; without one the option is required.
    help : what it means, with its unit; the default is added to it where there is one.
    metavar : what stands for its value in the help, such as ``DIR`` or ``TOKENS``.
    choices : the values that it can have.
    check : refuses values, see :data:`Check`; of each one where there are several.
    read : makes the value from the text given, :class:`XqgError` or ValueError if it cannot be; else the field's type.
    several : one or more values after the name (a tuple). repeated : the option may be given repeatedly (a tuple).
    positional : the value stands alone, without a name.
    decides : whether it decides what the command makes, and so belongs to the settings that are compared when work
        is continued (:func:`settings_of`).
    """
    metadata = {
        "help": help,
        "metavar": metavar,
        "choices": choices,
        "check": check,
        "read": read,
        "several": several,
        "positional": positional,
        "repeated": repeated,
        "decides": decides,
    }
    return dataclasses.field(default=default, metadata={"option": metadata})


def group(kind: type, *, required: Sequence[str] = (), without: Sequence[str] = (), **defaults: Any) -> Any:
    """A field that holds a dataclass of options; its docstring's first line is the group's title in the help.

    required : options that must be given to this command though they have a default.
    without : options that this command does not take; they keep their defaults.
    defaults : other defaults than the dataclass has.
    """
    metadata = {"kind": kind, "required": tuple(required), "without": tuple(without), "defaults": defaults}
    return dataclasses.field(default_factory=lambda: kind(**defaults), metadata={"group": metadata})


def at_least(least: float) -> Check:
    """A check for numbers from ``least`` on.

    >>> at_least(1)(0)
    'a number of at least 1'
    """
    return lambda value: None if value >= least else f"a number of at least {least:g}"


def above(least: float) -> Check:
    """A check for numbers above ``least``."""
    return lambda value: None if value > least else f"a number above {least:g}"


def between(least: float, most: float, *, above: bool = False) -> Check:
    """A check for numbers from ``least``, or above it, to ``most``; no number (NaN) is in it."""

    def check(value: float) -> str | None:
        inside = (least < value if above else least <= value) and value <= most
        wanted = f"above {least:g} and at most {most:g}" if above else f"from {least:g} to {most:g}"
        return None if inside else f"a number {wanted}"

    return check


class _Parser(argparse.ArgumentParser):
    """Long options are never abbreviated: a new one must not change what an old command line means."""

    def __init__(self, **keywords: Any) -> None:
        # Keeps the line breaks of a description and its examples.
        layout = partial(argparse.RawDescriptionHelpFormatter, max_help_position=30)
        super().__init__(allow_abbrev=False, formatter_class=layout, **keywords)


def parse(kind: type[Options], module: str, description: str = "", argv: Sequence[str] | None = None) -> Options:
    """The options of ``python -m pyserini_xqg.<module>``, read from ``argv`` (default: the command line)."""
    parser = build_parser(kind, module, description)
    return read_options(kind, parser.parse_args(argv))


def build_parser(kind: type, module: str, description: str = "") -> argparse.ArgumentParser:
    """Argparse's parser of a command's options."""
    parser = _Parser(prog=f"python -m pyserini_xqg.{module}", description=description.strip())
    add_options(parser, kind)
    return parser


@dataclass(frozen=True)
class Command:
    """One of a command's sub-commands: its options, what runs it, and a line of help.

    run : called with the options that were read. description : the whole help text, with examples.
    """

    options: type
    run: Callable[[Any], None]
    help: str
    description: str = ""


def run_commands(
    module: str, description: str, commands: Mapping[str, Command], argv: Sequence[str] | None = None
) -> None:
    """Read ``argv``, whose first word is one of ``commands``, and run that."""
    parser = _Parser(prog=f"python -m pyserini_xqg.{module}", description=description.strip())
    added = parser.add_subparsers(dest="command", required=True, metavar=" | ".join(commands), parser_class=_Parser)
    for name, command in commands.items():
        about = (command.description or command.help).strip()
        add_options(added.add_parser(name, help=command.help, description=about), command.options)
    args = parser.parse_args(argv)
    chosen = commands[args.command]
    chosen.run(read_options(chosen.options, args))


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add the fields of a dataclass to a parser, those of the groups in it under their titles."""
    groups: dict[str, Any] = {}
    for place in _places(kind):
        title = place.title
        if title is not None and title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(parser if title is None else groups[title], place)


def read_options(kind: type[Options], args: argparse.Namespace) -> Options:
    """The dataclass with what argparse read.

    Raises :class:`XqgError`, naming the option, for a value that is not allowed, and what the dataclasses' own
    ``__post_init__`` raise.
    """
    values = vars(args)
    for place in _places(kind):
        _check(place, values[place.name])
    return _read(kind, values)


def settings_of(options: Any) -> dict[str, Any]:
    """JSON values of the options that decide what a command makes: by name, groups in objects of their own."""
    settings = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if "group" in field.metadata:
            settings[field.name] = settings_of(value)
        elif field.metadata.get("option", {}).get("decides", True):
            settings[field.name] = _json_value(value)
    return settings


def values_of(options: Any) -> dict[str, Any]:
    """Option name to value, those of groups among the others."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        values |= values_of(value) if "group" in field.metadata else {field.name: value}
    return values


def changed(options: Options, **values: Any) -> Options:
    """A copy with other values of options, wherever in the groups they stand; names it does not have are left out."""
    here = {}
    for field in dataclasses.fields(options):
        if "group" in field.metadata:
            here[field.name] = changed(getattr(options, field.name), **values)
        elif field.name in values:
            here[field.name] = values[field.name]
    return dataclasses.replace(options, **here)


def check_options(options: Any) -> None:
    """Check a dataclass of options that was made in Python, for its ``__post_init__``; as :func:`read_options` does."""
    for place in _places(type(options)):
        _check(place, getattr(options, place.name))


def given(options: Any, *names: str) -> list[str]:
    """Those of the options ``names`` that differ from their defaults, as they are written: ``--max-length``."""
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    return [option_name(name) for name in names if getattr(options, name) != defaults[name]]


def option_name(field: str) -> str:
    """How a field's option is written.

    >>> option_name("max_length")
    '--max-length'
    """
    return f"--{field.replace('_', '-')}"


def _json_value(value: Any) -> Any:
    if isinstance(value, tuple | list | set | frozenset):
        return [_json_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: _json_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


@dataclass(frozen=True)
class _Place:
    """An option where it stands: its field, annotation and default in a command."""

    name: str
    type: str
    default: Any
    about: Mapping[str, Any]
    title: str | None

    @property
    def written(self) -> str:
        return self.name if self.about["positional"] else option_name(self.name)


def _places(kind: type, title: str | None = None, changed: Mapping[str, Any] | None = None) -> Iterator[_Place]:
    """Every option of a dataclass and of the groups in it."""
    changed = changed or {"required": (), "without": (), "defaults": {}}
    for field in dataclasses.fields(kind):
        if inside := field.metadata.get("group"):
            yield from _places(inside["kind"], _title(inside["kind"]), inside)
        elif (about := field.metadata.get("option")) and field.name not in changed["without"]:
            default = changed["defaults"].get(field.name, field.default)
            if field.name in changed["required"]:
                default = dataclasses.MISSING
            yield _Place(field.name, str(field.type), default, about, title)


def _title(kind: type) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")


def _read(kind: type, values: Mapping[str, Any], changed: Mapping[str, Any] | None = None) -> Any:
    """Make the dataclass, and those in it, of argparse's values."""
    made = dict(changed["defaults"]) if changed else {}
    for field in dataclasses.fields(kind):
        if inside := field.metadata.get("group"):
            made[field.name] = _read(inside["kind"], values, inside)
        elif "option" in field.metadata and not (changed and field.name in changed["without"]):
            value = values[field.name]
            made[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**made)


def _value_type(annotation: str) -> type:
    """The type of one value: ``int`` of ``int | None`` and of ``tuple[int, ...]``."""
    words = re.findall(r"\w+", annotation)  # of a class too, where annotations are no strings: <class 'int'>
    return next((kind for kind in (bool, int, float) if kind.__name__ in words), str)


def _add(target: Any, place: _Place) -> None:
    about, kind = place.about, _value_type(place.type)
    required = place.default is dataclasses.MISSING
    keywords: dict[str, Any] = {"help": _help(place)}
    if not required:
        keywords["default"] = place.default
    if about["positional"]:
        keywords.pop("default", None)
    else:
        keywords["required"] = required
        keywords["dest"] = place.name
    if kind is bool and not about["read"]:
        keywords["action"] = "store_true" if place.default is False else argparse.BooleanOptionalAction
        target.add_argument(place.written, **keywords)
        return
    keywords["type"] = _reader(about["read"] or kind)
    keywords["metavar"] = about["metavar"]
    if about["choices"] is not None:
        keywords["choices"] = tuple(about["choices"])
    if about["several"]:
        keywords["nargs"] = "*" if about["positional"] and not required else "+"
    if about["repeated"]:
        keywords["action"] = "extend" if about["several"] else "append"
        keywords["default"] = None if required else list(place.default or ())
    target.add_argument(place.written, **keywords)


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argparse type that tells our own errors as they are."""

    def read_value(text: str) -> Any:
        try:
            return read(text)
        except XqgError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    read_value.__name__ = {int: "whole number", float: "number"}.get(read, getattr(read, "__name__", "value"))
    return read_value


def _help(place: _Place) -> str:
    text = place.about["help"].replace("%", "%%")
    silent = place.default in (dataclasses.MISSING, None, False, (), "") or "(default" in text
    if silent or place.about["positional"]:
        return text
    shown = place.default
    if isinstance(shown, tuple):
        shown = " ".join(map(str, shown))
    elif shown is True:
        shown = "yes"
    elif isinstance(shown, float):
        shown = f"{shown:g}"
    return f"{text} (default: {shown})".replace("%%%%", "%%")


def _check(place: _Place, value: Any) -> None:
    check, choices = place.about["check"], place.about["choices"]
    if value is None or value is place.default:
        return
    many = place.about["several"] or place.about["repeated"]
    for each in value if many else [value]:
        if choices and each not in choices:
            raise XqgError(f"{place.written} {each}: must be one of {', '.join(map(str, choices))}.")
        if check and (wanted := check(each)) is not None:
            shown = f"{each:g}" if isinstance(each, float) else each
            raise XqgError(f"{place.written} {shown}: must be {wanted}.")

"""Families of conditions, read from YAML files and checked: :mod:`pyserini_xqg.reproduce` says what stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.reproduce.definition import AVERAGE, SCORES, Condition, Expected, Family, Hub, Step


def own_files() -> list[Path]:
    """The YAML files of the package."""
    return sorted(Path(str(files(__package__))).glob("*.yaml"))


def load_conditions(paths: Sequence[str | Path] | None = None) -> dict[str, Condition]:
    """Name to condition, from these YAML files (default: the package's own).

    :class:`XqgError` for anything in them that cannot be run: every command is put together once.
    """
    conditions: dict[str, Condition] = {}
    for path in own_files() if paths is None else map(Path, paths):
        for condition in read_family(path):
            if condition.name in conditions:
                raise XqgError(f"{path}: condition {condition.name} was defined before. Rename the file.")
            conditions[condition.name] = condition
    return conditions


def read_family(path: Path) -> list[Condition]:
    """The conditions of one YAML file, checked."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise XqgError(f"{path}: no such file. Check --conditions.") from error
    except UnicodeDecodeError as error:
        raise XqgError(f"{path}: not UTF-8 ({error.reason}). Convert the file to UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise XqgError(f"{path}{line}: malformed YAML ({problem}). Correct the file.") from error
    top = _Table(content, str(path), "title steps conditions", "about data requirements variables measured")
    steps = {
        name: _read_step(name, value, f"{path}, steps.{name}")
        for name, value in top.table("steps", required=True).items()
    }
    family = Family(
        path.name.removesuffix(".yaml"),
        top.text("title"),
        top.text("about"),
        steps,
        _read_variables(top.table("variables"), f"{path}, variables"),
        top.text("data") or None,
        tuple(top.texts("requirements")),
        _read_expected({**measured, "scores": {}}, f"{path}, measured")
        if (measured := top.table("measured"))
        else None,
    )
    found = _read_measured(path, family)
    if SCORES not in steps:
        raise XqgError(f"{path}: no step {SCORES!r}. Every condition ends with it.")
    conditions: list[Condition] = []
    for number, entry in enumerate(top.items("conditions"), start=1):
        condition = _read_condition(family, entry, found, f"{path}, condition {number}")
        if any(condition.name == other.name for other in conditions):
            raise XqgError(f"{path}: condition {condition.short_name!r} is defined twice. Rename one.")
        condition.plan("")
        condition.run("")
        conditions.append(condition)
    if strange := found.keys() - {condition.short_name for condition in conditions}:
        raise XqgError(f"{measured_path(path)}: {min(strange)!r} is no condition of {path}. Remove it, or correct it.")
    return conditions


def measured_path(path: Path) -> Path:
    """The file beside a family's own with the figures that were measured: condition -> measure -> language -> x 100."""
    return path.with_suffix(".measured.json")


def _read_measured(path: Path, family: Family) -> dict[str, dict[str, dict[str, float]]]:
    file = measured_path(path)
    if family.measured is None or not file.exists():
        return {}
    return {
        condition: {measure: _numbers(values, f"{file}, {condition}, {measure}") for measure, values in scores.items()}
        for condition, scores in read_json(file).items()
    }


class _Table:
    """A mapping of a YAML file whose entries are checked as they are taken."""

    def __init__(self, value: Any, where: str, required: str, optional: str = "") -> None:
        if not isinstance(value, dict):
            raise XqgError(f"{where}: {_kind(value)} where a mapping was expected. See pyserini_xqg.reproduce.")
        known = {*required.split(), *optional.split()}
        if unknown := sorted(set(map(str, value)) - known):
            raise XqgError(f"{where}: unknown entry {unknown[0]!r}. Known ones are {', '.join(sorted(known))}.")
        if missing := [name for name in required.split() if name not in value]:
            raise XqgError(f"{where}: no {missing[0]!r}. Add it.")
        self._value, self._where = value, where

    def text(self, name: str) -> str:
        return _text(self._value.get(name, ""), f"{self._where}, {name}")

    def table(self, name: str, required: bool = False) -> dict[str, Any]:
        value = self._value.get(name, {})
        if not isinstance(value, dict) or (required and not value):
            raise XqgError(f"{self._where}, {name}: {_kind(value)} where a mapping with entries was expected.")
        return {str(key): entry for key, entry in value.items()}

    def items(self, name: str) -> list[Any]:
        value = self._value.get(name, [])
        if not isinstance(value, list):
            raise XqgError(f"{self._where}, {name}: {_kind(value)} where a list was expected.")
        return value

    def texts(self, name: str) -> list[str]:
        return [_text(value, f"{self._where}, {name}") for value in self.items(name)]


def _kind(value: Any) -> str:
    return "nothing" if value in (None, {}, []) else f"a {type(value).__name__}"


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise XqgError(f"{where}: {_kind(value)} where a text was expected.")
    return str(value).strip()


def _read_step(name: str, value: Any, where: str) -> Step:
    entry = _Table(value, where, "command output", "requires")
    requires = {module: _text(cure, f"{where}, requires") for module, cure in entry.table("requires").items()}
    return Step(name, entry.text("command"), entry.text("output"), requires)


def _read_variables(entries: Mapping[str, Any], where: str) -> dict[str, str | Hub]:
    variables: dict[str, str | Hub] = {}
    for name, value in entries.items():
        if isinstance(value, dict):
            entry = _Table(value, f"{where}.{name}", "hub", "package kind")
            variables[name] = Hub(entry.text("hub"), entry.text("kind") or "model", entry.text("package") or None)
        else:
            variables[name] = _text(value, f"{where}.{name}")
    return variables


def _read_condition(family: Family, value: Any, measured: Mapping[str, Any], where: str) -> Condition:
    entry = _Table(value, where, "name title", "variables expected unknown")
    where = f"{where} ({entry.text('name')})"
    expected = [_read_expected(one, f"{where}, expected") for one in entry.items("expected")]
    if family.measured and entry.text("name") in measured:
        expected.append(replace(family.measured, scores=measured[entry.text("name")]))
    unknown = entry.text("unknown") or ("they were not measured yet" if family.measured else "")
    condition = Condition(
        family,
        entry.text("name"),
        entry.text("title"),
        _read_variables(entry.table("variables"), f"{where}, variables"),
        tuple(expected),
        unknown,
    )
    if not condition.expected and not condition.unknown:
        raise XqgError(f"{where}: no expected scores. Give them with their source, or say under 'unknown' why not.")
    return condition


def _read_expected(value: Any, where: str) -> Expected:
    entry = _Table(value, where, "source tolerance scores")
    tolerance = _numbers(entry.table("tolerance", required=True), f"{where}, tolerance")
    if tolerance.keys() != {AVERAGE, "languages"}:
        raise XqgError(f"{where}, tolerance: {AVERAGE} and languages were expected, in points.")
    scores = {measure: _numbers(values, f"{where}, {measure}") for measure, values in entry.table("scores").items()}
    return Expected(entry.text("source"), tolerance, scores)


def _numbers(value: Any, where: str) -> dict[str, float]:
    if not isinstance(value, dict) or not value:
        raise XqgError(f"{where}: {_kind(value)} where a mapping with entries was expected.")
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 100:
            raise XqgError(f"{where}, {name}: {number!r} is not a number from 0 to 100.")
    return {str(name): float(number) for name, number in value.items()}

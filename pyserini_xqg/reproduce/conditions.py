"""What a condition is, how it is read from a family's YAML file, and the commands that become of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import Kind, inside

RUN, SCORES = "run", "evaluate"
"""The variable that is the run to score, and the step that scores it."""
AVERAGE = "avg"
RUNS = Kind("directory of runs", "scores.json", "pyserini-xqg runs", 2, "pyserini_xqg.reproduce --write-runs")
MEASURED = Path(__file__).resolve().parents[2] / "runs"
"""The repository's own runs. Their scores are what is expected of a family that has an entry ``measured``."""


@dataclass(frozen=True)
class Hub:
    """Something on the Hugging Face hub: its name, ``model`` or ``dataset``, and where a package may have the same."""

    hub: str
    kind: str = "model"
    package: str = ""

    def local(self) -> Path | None:
        """The directory in the installed package, or None."""
        module, _, folder = self.package.partition("/")
        spec = find_spec(module) if module else None
        if spec is None or not spec.submodule_search_locations:
            return None
        directory = Path(spec.submodule_search_locations[0]) / folder
        return directory if directory.is_dir() else None

    def value(self) -> str:
        """What a command is given: the directory of the package, else the name on the hub."""
        return str(self.local() or self.hub)


@dataclass(frozen=True)
class Step:
    """A command and its output, as templates."""

    command: str
    output: str


@dataclass(frozen=True)
class Measured:
    """Where figures come from that were measured with a family's own commands, and by how many points they may differ:
    ``avg`` and ``languages``.
    """

    source: str
    tolerance: dict[str, float]

    def allowed(self, language: str) -> float:
        """By how many points a score may differ."""
        return self.tolerance[AVERAGE if language == AVERAGE else "languages"]


@dataclass(frozen=True)
class Expected(Measured):
    """Scores (x 100) as somebody published or measured them: measure -> language or ``avg`` -> value."""

    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class PlannedStep:
    """A step of one condition in one directory, ready to run.

    output : path, below the directory. needs : outputs of the steps that come before. hubs : what its command names.
    """

    name: str
    command: str
    output: Path
    needs: tuple[Path, ...] = ()
    hubs: tuple[Hub, ...] = ()


@dataclass(frozen=True, eq=False)
class Condition:
    """One experiment: its family's steps with its own variables, and the scores that are expected of it.

    name : in the file its own; else the family's, a full stop, its own. unknown : why no scores are expected.
    """

    name: str
    title: str
    variables: dict[str, str | Hub] = field(default_factory=dict)
    expected: tuple[Expected, ...] = ()
    unknown: str = ""
    family: Family = field(default=None, metadata={"set": "when the file was read"})

    @property
    def short_name(self) -> str:
        """Without the family's."""
        return self.name.partition(".")[2]

    @property
    def all_variables(self) -> dict[str, str | Hub]:
        """The family's, and before them its own."""
        return {**self.family.variables, **self.variables}

    def plan(self, directory: str | Path, chosen: Mapping[str, str] | None = None) -> list[PlannedStep]:
        """The steps down to the scores, each after those it needs; ``chosen`` goes before the variables."""
        plan = _Plan(self, Path(directory), chosen or {})
        plan.step(SCORES, "")
        return list(plan.planned.values())

    def run(self, directory: str | Path) -> Path:
        """The run that is scored."""
        filled = _Plan(self, Path(directory), {}).fill(f"${{{RUN}}}", f"variable {RUN}", [])
        return Path(*shlex.split(filled))


@dataclass(frozen=True, eq=False)
class Family:
    """Conditions that share steps; named as its file.

    data : ir_datasets id that has to be at hand. requirements : what a machine needs, in words.
    """

    title: str
    steps: dict[str, Step]
    conditions: tuple[Condition, ...]
    about: str = ""
    data: str = ""
    requirements: tuple[str, ...] = ()
    variables: dict[str, str | Hub] = field(default_factory=dict)
    measured: Measured | None = None
    name: str = field(default="", metadata={"set": "when the file was read"})


class _Plan:
    """Steps rendered from the last one backwards."""

    def __init__(self, condition: Condition, directory: Path, chosen: Mapping[str, str]) -> None:
        self.planned: dict[str, PlannedStep] = {}
        self._condition, self._chosen = condition, chosen
        self._directory = directory / condition.family.name
        self._open: list[str] = []

    def step(self, name: str, where: str) -> Path:
        """Plan a step and what it needs; its output."""
        if name not in self.planned:
            step, used = self._condition.family.steps[name], []
            output = inside(self._directory, self.fill(step.output, f"step {name}, output", []), self._condition.name)
            command = self.fill(step.command, f"step {name}, command", used, output=shlex.quote(str(output)))
            needs = dict.fromkeys(one for one in used if isinstance(one, Path))
            hubs = dict.fromkeys(one for one in used if isinstance(one, Hub))
            command = " ".join(command.split())
            self.planned[name] = PlannedStep(name, command, output, tuple(needs), tuple(hubs))
        return self.planned[name].output

    def fill(self, template: str, where: str, used: list[Path | Hub], **known: str) -> str:
        """The template with its names replaced; outputs and things from the hub among them are added to ``used``."""
        names = _Names(template)
        if not names.is_valid():
            raise XqgError(
                f"{self._condition.name}, {where}: a $ without a name. Write ${{name}}, or $$ for a dollar sign."
            )
        return names.substitute(
            {name: known.get(name) or self._value(name, where, used) for name in names.get_identifiers()}
        )

    def _value(self, name: str, where: str, used: list[Path | Hub]) -> str:
        if name in self._open:
            circle = " -> ".join([*self._open, name])
            raise XqgError(f"{self._condition.name}, {where}: ${{{name}}} needs itself ({circle}). Break the circle.")
        self._open.append(name)
        try:
            return self._resolve(name, where, used)
        finally:
            self._open.pop()

    def _resolve(self, name: str, where: str, used: list[Path | Hub]) -> str:
        condition = self._condition
        if name == "name":
            return condition.short_name
        if name in self._chosen:
            value = self._chosen[name]
            return shlex.quote(value) if Path(value).exists() else value
        value = condition.all_variables.get(name)
        if isinstance(value, Hub):
            used.append(value)
            return shlex.quote(value.value())
        if value is not None:
            return self.fill(value, f"variable {name}", used)
        if name in condition.family.steps:
            used.append(output := self.step(name, where))
            return shlex.quote(str(output))
        raise XqgError(
            f"{condition.name}, {where}: ${{{name}}} is neither a variable nor a step. Define it, or correct the name."
        )


class _Names(Template):
    """``${name}``, always with braces; names may hold hyphens."""

    idpattern = "(?!)"
    braceidpattern = "[a-z][a-z0-9-]*"


def own_files() -> list[Path]:
    """The YAML files of the package."""
    return sorted(Path(str(files(__package__))).glob("*.yaml"))


def load_conditions(paths: Sequence[str | Path] | None = None) -> dict[str, Condition]:
    """Name to condition, from these YAML files (default: the package's own).

    :class:`XqgError` for anything in them that cannot be run: every command is put together once.
    """
    conditions: dict[str, Condition] = {}
    for path in map(Path, paths or own_files()):
        for condition in read_family(path):
            if condition.name in conditions:
                raise XqgError(f"{path}: condition {condition.name!r} is defined twice. Rename one, or the file.")
            conditions[condition.name] = condition
    return conditions


def read_family(path: Path) -> list[Condition]:
    """The conditions of one YAML file, checked."""
    family = replace(_read(Family, _read_yaml(path), str(path)), name=path.name.removesuffix(".yaml"))
    if SCORES not in family.steps:
        raise XqgError(f"{path}: no step {SCORES!r}. Every condition ends with it.")
    measured = RUNS.read(MEASURED)["conditions"] if family.measured and RUNS.is_at(MEASURED) else {}
    return [_complete(condition, family, measured, path) for condition in family.conditions]


def _read_yaml(path: Path) -> Any:
    """What stands in a file, and in the one that it is ``like``."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise XqgError(f"{path}: no such file. Check --conditions, or its entry 'like'.") from error
    except UnicodeDecodeError as error:
        raise XqgError(f"{path}: not UTF-8 ({error.reason}). Convert the file to UTF-8.") from error
    except yaml.YAMLError as error:
        raise XqgError(f"{path}: malformed YAML ({' '.join(str(error).split())}). Correct the file.") from error
    if not isinstance(content, dict) or "like" not in content:
        return content
    try:
        base = _read_yaml(path.with_name(f"{content.pop('like')}.yaml"))
        known = {entry["name"]: {**entry, "expected": []} for entry in base["conditions"]}
        chosen = content.get("conditions", [{"name": name} for name in known])
        conditions = [{**known[entry["name"]], **entry} for entry in chosen]
        variables = {**base.get("variables", {}), **content.get("variables", {})}
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise XqgError(
            f"{path}: 'like' needs another family, with conditions of the same names, and variables as a mapping "
            f"({error!r}). Correct the file."
        ) from error
    return {**base, **content, "variables": variables, "conditions": conditions}


def _complete(condition: Condition, family: Family, measured: Mapping[str, Any], path: Path) -> Condition:
    """A condition with its family and what was measured of it, checked."""
    name, expected, unknown = f"{family.name}.{condition.name}", list(condition.expected), condition.unknown
    if family.measured:
        unknown = unknown or "they were not measured yet"
        if name in measured:
            scores = {
                measure: {language: value * 100 for language, value in values.items()}
                for measure, values in measured[name]["scores"].items()
            }
            expected.append(Expected(**vars(family.measured), scores=scores))
    where = f"{path}, condition {condition.name}"
    if not expected and not unknown:
        raise XqgError(f"{where}: no expected scores. Give them with their source, or say under 'unknown' why not.")
    for about in [*expected, *filter(None, [family.measured])]:
        if about.tolerance.keys() != {AVERAGE, "languages"}:
            raise XqgError(f"{where}, tolerance: {AVERAGE} and languages were expected, in points.")
    condition = replace(condition, name=name, family=family, expected=tuple(expected), unknown=unknown)
    condition.plan("")
    condition.run("")
    return condition


def _read(kind: Any, value: Any, where: str) -> Any:
    """A YAML value as what its type says: a dataclass (its fields are the entries), a mapping, a list, text, number."""
    if isinstance(kind, UnionType):  # of a text and a dataclass, or of a dataclass and None
        kinds = [one for one in get_args(kind) if is_dataclass(one) or one is str]
        kind = next((one for one in kinds if is_dataclass(one) == isinstance(value, dict)), kinds[0])
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if get_origin(kind) is dict:
        if not isinstance(value, dict) or not value:
            raise XqgError(f"{where}: {_what(value)} where a mapping with entries was expected.")
        return {str(name): _read(get_args(kind)[1], entry, f"{where}.{name}") for name, entry in value.items()}
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise XqgError(f"{where}: {_what(value)} where a list was expected.")
        return tuple(_read(get_args(kind)[0], entry, f"{where} {n}") for n, entry in enumerate(value, start=1))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise XqgError(f"{where}: {_what(value)} where a text was expected.")
    if kind is str:
        return str(value).strip()
    if isinstance(value, str) or not 0 <= value <= 100:
        raise XqgError(f"{where}: {value!r} is not a number from 0 to 100.")
    return float(value)


def _read_dataclass(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise XqgError(f"{where}: {_what(value)} where a mapping was expected. See pyserini_xqg.reproduce.")
    known = {one.name: one for one in fields(kind) if "set" not in one.metadata}
    if unknown := sorted(set(map(str, value)) - known.keys()):
        raise XqgError(f"{where}: unknown entry {unknown[0]!r}. Known ones are {', '.join(sorted(known))}.")
    needed = [name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [name for name in needed if name not in value]:
        raise XqgError(f"{where}: no {missing[0]!r}. Add it.")
    hints = get_type_hints(kind)
    where = f"{where} ({value['name']})" if "name" in value else where
    return kind(**{name: _read(hints[name], entry, f"{where}, {name}") for name, entry in value.items()})


def _what(value: Any) -> str:
    return "nothing" if value in (None, {}, []) else f"a {type(value).__name__}"

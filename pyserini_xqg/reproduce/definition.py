"""What a condition is, and the commands that become of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from string import Template

from pyserini_xqg.core.errors import XqgError

RUN, SCORES = "run", "evaluate"
"""The variable that is the run to score, and the step that scores it."""
AVERAGE = "avg"


@dataclass(frozen=True)
class Hub:
    """Something on the Hugging Face hub: its name, ``model`` or ``dataset``, and where a package may have the same."""

    name: str
    kind: str = "model"
    package: str | None = None

    def local(self) -> Path | None:
        """The directory in the installed package, or None."""
        if self.package is None:
            return None
        module, _, folder = self.package.partition("/")
        found = find_spec(module)
        if found is None or not found.submodule_search_locations:
            return None
        directory = Path(found.submodule_search_locations[0]) / folder
        return directory if directory.is_dir() else None

    def value(self) -> str:
        """What a command is given: the directory of the package, else the name on the hub."""
        return str(self.local() or self.name)


@dataclass(frozen=True)
class Step:
    """A command and its output, as templates; ``requires``: modules it cannot do without, and how to get them."""

    name: str
    command: str
    output: str
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """Scores (x 100) as somebody published or measured them: measure -> language or ``avg`` -> value."""

    source: str
    tolerance: Mapping[str, float]
    scores: Mapping[str, Mapping[str, float]]

    def allowed(self, language: str) -> float:
        """By how many points a score may differ."""
        return self.tolerance[AVERAGE if language == AVERAGE else "languages"]


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
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Conditions that share steps; named as its file."""

    name: str
    title: str
    about: str
    steps: Mapping[str, Step]
    variables: Mapping[str, str | Hub]
    data: str | None = None
    requirements: Sequence[str] = ()
    measured: Expected | None = None
    """Source and tolerance of the figures that were measured with the family's own commands; no scores."""


@dataclass(frozen=True)
class Condition:
    """One experiment: its family's steps with its own variables, and the scores that are expected of it."""

    family: Family
    short_name: str
    title: str
    variables: Mapping[str, str | Hub]
    expected: Sequence[Expected] = ()
    unknown: str = ""
    """Why no scores are expected."""

    @property
    def name(self) -> str:
        """The family's name, a full stop, its own."""
        return f"{self.family.name}.{self.short_name}"

    def plan(self, directory: str | Path, chosen: Mapping[str, str] | None = None) -> list[PlannedStep]:
        """The steps down to the scores, each after those it needs; ``chosen`` goes before the variables."""
        return _Plan(self, Path(directory), chosen or {}).steps()

    def run(self, directory: str | Path) -> Path:
        """The run that is scored."""
        return _Plan(self, Path(directory), {}).run()


class _Plan:
    """Steps rendered from the last one backwards."""

    def __init__(self, condition: Condition, directory: Path, chosen: Mapping[str, str]) -> None:
        self._condition, self._chosen = condition, chosen
        self._directory = directory / condition.family.name
        self._planned: dict[str, PlannedStep] = {}
        self._open: list[str] = []
        self._needs: list[list[Path]] = []
        self._hubs: list[list[Hub]] = []

    def steps(self) -> list[PlannedStep]:
        self._step(SCORES)
        return list(self._planned.values())

    def run(self) -> Path:
        self._needs.append([])
        self._hubs.append([])
        (path,) = shlex.split(self._fill(f"${{{RUN}}}", f"variable {RUN}"))
        return Path(path)

    def _step(self, name: str) -> PlannedStep:
        if name not in self._planned:
            step = self._condition.family.steps[name]
            self._needs.append([])
            self._hubs.append([])
            output = self._directory / self._fill(step.output, f"step {name}, output")
            command = self._fill(step.command, f"step {name}, command", output=shlex.quote(str(output)))
            needs, hubs = dict.fromkeys(self._needs.pop()), dict.fromkeys(self._hubs.pop())
            command = " ".join(command.split())
            self._planned[name] = PlannedStep(name, command, output, tuple(needs), tuple(hubs), step.requires)
        return self._planned[name]

    def _fill(self, template: str, where: str, **more: str) -> str:
        try:
            return _Names(template).substitute(_Lookup(lambda name: more.get(name) or self._value(name, where)))
        except XqgError:
            raise
        except ValueError as error:
            raise XqgError(
                f"{self._condition.name}, {where}: a $ without a name ({error}). "
                "Write ${name}, or $$ for a dollar sign."
            ) from error

    def _value(self, name: str, where: str) -> str:
        condition = self._condition
        where = f"{condition.name}, {where}"
        if name in self._open:
            raise XqgError(f"{where}: ${{{name}}} needs itself ({' -> '.join([*self._open, name])}). Break the circle.")
        self._open.append(name)
        try:
            return self._resolve(name, where)
        finally:
            self._open.pop()

    def _resolve(self, name: str, where: str) -> str:
        condition = self._condition
        if name == "name":
            return condition.short_name
        if name in self._chosen:
            value = self._chosen[name]
            return shlex.quote(value) if Path(value).exists() else value
        variables = {**condition.family.variables, **condition.variables}
        if isinstance(value := variables.get(name), Hub):
            self._hubs[-1].append(value)
            return shlex.quote(value.value())
        if value is not None:
            return self._fill(value, f"variable {name}")
        if name in condition.family.steps:
            output = self._step(name).output
            self._needs[-1].append(output)
            return shlex.quote(str(output))
        raise XqgError(f"{where}: ${{{name}}} is neither a variable nor a step. Define it, or correct the name.")


class _Names(Template):
    """``${name}``, always with braces; names may hold hyphens."""

    idpattern = "(?!)"
    braceidpattern = "[a-z][a-z0-9-]*"


class _Lookup:
    """What ``Template.substitute`` takes its values from."""

    def __init__(self, get: Callable[[str], str]) -> None:
        self._get = get

    def __getitem__(self, name: str) -> str:
        return self._get(name)

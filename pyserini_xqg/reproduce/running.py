"""Run a condition's commands in a directory, each once: what is finished is noted there, and skipped afterwards."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.core.old_files import exclusive, read_described
from pyserini_xqg.reproduce.definition import Condition, PlannedStep
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.manifest import MANIFEST_NAME
from pyserini_xqg.vectors.store import EmbeddingStore

NOTES = "reproduce.json"
_FORMAT, _VERSION = "pyserini-xqg-reproduce", 1
_LAST_LINES = 20


class Workplace:
    """A directory of outputs, with notes on which command made each and whether it ended well.

    Use as a context manager: a second process in the same directory is refused.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._lock = exclusive(self.directory / f".{NOTES}.lock", self.directory)

    def __enter__(self) -> Workplace:
        if self.directory.exists() and not self.directory.is_dir():
            raise XqgError(f"{self.directory}: not a directory. Choose another --directory.")
        strange = sorted(path.name for path in self.directory.glob("*") if path.name != f".{NOTES}.lock")
        if strange and not (self.directory / NOTES).exists():
            raise XqgError(
                f"{self.directory}: holds {strange[0]} and no {NOTES}, so it is not of this command. "
                "Choose another --directory."
            )
        self._lock.__enter__()
        self._outputs: dict[str, dict[str, Any]] = {}
        if (self.directory / NOTES).exists():
            again = "Remove the directory, or choose another --directory."
            self._outputs = read_described(self.directory / NOTES, _FORMAT, _VERSION, again)["outputs"]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._lock.__exit__(*exception)

    def check(self, condition: Condition, steps: Sequence[PlannedStep]) -> None:
        """Refuse an output that another command made."""
        for step in steps:
            note = self._outputs.get(self._key(step.output))
            if note is None:
                if step.output.exists():
                    raise XqgError(
                        f"{step.output}: is there, but not made by this command. "
                        "Remove it, or choose another --directory."
                    )
            elif note["command"] != self._relative(step.command):
                raise XqgError(
                    f"{step.output}: made for {note['condition']} by another command than {condition.name} needs "
                    f"({note['command']}). Choose another --directory, or remove "
                    f"{self.directory / condition.family.name}."
                )

    def is_done(self, step: PlannedStep) -> bool:
        """Whether this command made the output, and nothing that it was made from has been made anew since."""
        note = self._outputs.get(self._key(step.output))
        if note is None or not step.output.exists():
            return False
        # Killed between the command's end and the note of it: what appears only when it is complete is complete.
        return note["state"] == "finished" or (note["state"] == "begun" and _is_complete(step))

    def started(self, condition: Condition, step: PlannedStep) -> None:
        """Note a beginning; whatever was made from an earlier version of the output has to be made anew."""
        key = self._key(step.output)
        self._doubt(key)
        self._outputs[key] = {
            "condition": condition.name,
            "command": self._relative(step.command),
            "needs": [self._key(path) for path in step.needs],
            "state": "outdated" if step.output.exists() else "begun",
        }
        self._write()

    def finished(self, step: PlannedStep) -> None:
        """Note the end."""
        self._outputs[self._key(step.output)]["state"] = "finished"
        self._write()

    def _doubt(self, output: str) -> None:
        for key, note in self._outputs.items():
            if output in note["needs"] and note["state"] != "outdated":
                note["state"] = "outdated"
                self._doubt(key)

    def _key(self, output: Path) -> str:
        return output.relative_to(self.directory).as_posix()

    def _relative(self, command: str) -> str:
        """The command, the same wherever the directory lies."""
        return command.replace(str(self.directory), "DIRECTORY")

    def _write(self) -> None:
        content = {"format": _FORMAT, "format_version": _VERSION, "outputs": self._outputs}
        write_json(self.directory / NOTES, content)


def _is_complete(step: PlannedStep) -> bool:
    if step.output.is_dir():
        if not STORE_KIND.is_at(step.output):
            return (step.output / MANIFEST_NAME).exists()
        try:
            EmbeddingStore(step.output)
        except XqgError:
            return False
        return True
    return step.command.startswith("python -m pyserini_xqg.") and ">" not in step.command


def run_condition(
    condition: Condition, steps: Sequence[PlannedStep], workplace: Workplace, display_commands: bool = False
) -> None:
    """Run the steps that are not done yet, one process each; what they print goes to a log beside the outputs.

    Raises :class:`XqgError` for the first one that fails, with its command and status; its last lines are printed.
    """
    workplace.check(condition, steps)
    logs = workplace.directory / condition.family.name / "logs"
    if done := [step.name for step in steps if workplace.is_done(step)]:
        say(f"{condition.name}: {len(done)} of {len(steps)} steps are done already ({', '.join(done)})")
    for number, step in enumerate(steps, start=1):
        where = f"{condition.name}, step {number} of {len(steps)}, {step.name}"
        if workplace.is_done(step):
            continue
        log = logs / f"{step.output.relative_to(workplace.directory / condition.family.name).as_posix()}.log"
        say(f"{where}: running (log: {log})")
        if display_commands:
            print(f"\n{show_command(step.command)}\n", flush=True)
        workplace.started(condition, step)
        step.output.parent.mkdir(parents=True, exist_ok=True)
        status = run_command(step.command, log)
        if status:
            _show_end(log)
            raise XqgError(
                f"{where}: exit status {status} from: {step.command} (its last lines are above, all of them in {log}). "
                "Mend the cause and run the same again: finished steps are skipped."
            )
        if not step.output.exists():
            raise XqgError(f"{where}: ended well, but made no {step.output}. See {log}, and the step's definition.")
        workplace.finished(step)


def run_command(command: str, log: Path) -> int:
    """Run a command line in a shell, where ``python`` is this Python, with its output in a file; its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with open(log, "w", encoding="utf-8") as out:
        out.write(f"$ {command}\n")
        out.flush()
        return subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"},
        ).returncode


def _show_end(log: Path) -> None:
    with open(log, encoding="utf-8", errors="replace") as lines:
        for line in deque(lines, _LAST_LINES):
            say("    " + line.rstrip())


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

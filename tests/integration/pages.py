"""The commands and examples in the pages of documentation, and a process that runs those of a page one by one.

How a page is written so that it is run
---------------------------------------
* A fenced ``sh`` or ``bash`` block holds commands, one a line (or continued by a backslash), comments behind ``#``; a
  ``python`` block is one example. All are run, page by page from README.md on, in the order of a page, in one directory
  that holds the files of :func:`test_readme.workplace`; what README.md's commands make is there for the other pages.
* What cannot be run in a test has a comment of its own line right above its block, with the reason:
  ``<!-- not run: asks the hub -->``. Other languages of a block (``text``, ``json``) are shown, never run.
* A block ``text`` below ``<!-- printed -->`` is what the block above it prints: each line must be in it, in this order,
  white space apart; ``…`` stands for anything. It belongs to the last command of that block.
* Models are named as on the hub. :data:`test_readme.MODELS` says what takes their place; a name that it lacks fails.
* A command that stands in several pages is run once.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from helpers import command_environment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "pyserini_xqg").glob("*/README.md"))]
# What CI itself runs as it stands: a fresh environment, and the commands that begin with it.
RUN_BY_CI = ("make demo", "make test", "pip install", "git clone", "cd pyserini-xqg", "python -m pyserini_xqg.activate")

_BLOCK = re.compile(r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass
class Step:
    """A command, or a Python example, of a page; ``printed`` are lines that its block is said to print."""

    text: str
    python: bool = False
    printed: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> list[str] | None:
        """Words of a command, None if it takes a shell: it has pipes, variables or patterns."""
        try:
            words = shlex.split(self.text)
        except ValueError:
            return None
        plain = not set("|&;$`*<") & set(re.sub(r"'[^']*'|\"[^\"]*\"", "", self.text))
        return words if plain and words[:2] == ["python", "-m"] else None


def commands(body: str) -> list[str]:
    """The commands of a ``sh`` block, without prompts, comments and line breaks."""
    lines = body.replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"(^|\s+)#.*$", "", line).strip().removeprefix("$ ") for line in lines)
    return [" ".join(line.split()) if "'" not in line and '"' not in line else line for line in stripped if line]


def steps(page: str) -> list[Step]:
    """What a page's text says to run, in its order."""
    found: list[Step] = []
    block: list[Step] = []
    for match in _BLOCK.finditer(page):
        mark, language, body = match["mark"] or "", match["language"], match["body"]
        if mark == "printed":
            block[-1].printed += [line for line in body.splitlines() if line.strip()]
        elif language in ("sh", "bash", "python"):
            if mark.startswith("not run: "):
                block = []
                continue
            block = [Step(body, python=True)] if language == "python" else [Step(text) for text in commands(body)]
            found += [step for step in block if not step.text.startswith(RUN_BY_CI)]
    return found


# Runs each step as a process of its own would, but in this one, which saves the start of Python, torch and Java.
_RUNNER = """
import contextlib, io, json, os, runpy, subprocess, sys, time, traceback
steps, output = json.loads(sys.argv[1]), sys.argv[2]
place, environment = os.getcwd(), dict(os.environ)
for step in steps:
    shown, start, status = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True), time.monotonic(), 0
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            if step["python"]:
                exec(compile(step["text"], "<example>", "exec"), {"__name__": "__main__"})
            elif step["arguments"] is None:
                done = subprocess.run(["bash", "-c", step["text"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                shown.buffer.write(done.stdout)
                status = done.returncode
            else:
                words = step["arguments"]
                target = words.pop(words.index(">") + 1) if ">" in words else None
                words = [word for word in words if word != ">"]
                sys.argv = words[2:]
                into = open(target, "w", encoding="utf-8") if target else contextlib.nullcontext(shown)
                with into as out, contextlib.redirect_stdout(out):
                    runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else end.code is not None
            if isinstance(end.code, str):
                print(end.code)
        except BaseException:
            traceback.print_exc()
            status = 1
    os.chdir(place)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    text = shown.buffer.getvalue().decode("utf-8", "replace")
    with open(output, "a", encoding="utf-8") as out:
        out.write(json.dumps([status or 0, text, time.monotonic() - start]) + "\\n")
"""


@dataclass(frozen=True)
class Result:
    """How a step ended."""

    step: Step
    status: int
    text: str
    seconds: float

    def missing(self) -> list[str]:
        """Lines that it was said to print and did not."""
        shown, rest = [], " ".join(self.text.split())
        for line in self.step.printed:
            parts = [re.escape(" ".join(part.split())) for part in line.split("…")]
            match = re.search(r".*?".join(parts), rest)
            if match is None:
                shown.append(line)
            else:
                rest = rest[match.end() :]
        return shown


def run_steps(todo: list[Step], directory: Path, timeout: float = 900) -> list[Result]:
    """Run steps in ``directory``, all in one process of the environment that runs the tests, whichever of them fail."""
    output = directory / ".results.jsonl"
    output.unlink(missing_ok=True)
    told = [{"text": step.text, "python": step.python, "arguments": step.arguments} for step in todo]
    environment = command_environment(PATH=f"{Path(sys.executable).parent}:{command_environment()['PATH']}")
    process = subprocess.run(
        [sys.executable, "-c", _RUNNER, json.dumps(told), str(output)],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    lines = output.read_text(encoding="utf-8").splitlines() if output.exists() else []
    results = [Result(step, *json.loads(line)) for step, line in zip(todo, lines, strict=False)]
    if len(results) < len(todo):  # one has ended the process
        results.append(Result(todo[len(results)], process.returncode or 1, process.stdout + process.stderr, 0.0))
    return results


def failures(results: list[Result]) -> list[str]:
    """The steps that failed or printed something else, with what they printed."""
    shown = []
    for result in results:
        if result.status:
            shown.append(f"{result.step.text}\nstatus {result.status}\n{textwrap.indent(result.text[-3000:], '  ')}")
        elif missing := result.missing():
            shown.append(f"{result.step.text}\nprinted no {missing}, but\n{textwrap.indent(result.text[-3000:], '  ')}")
    return shown

"""How commands end, and what they say: in a process of their own, as a shell sees it."""

import re
import signal
import subprocess
import sys
import time

import pytest
from helpers import command_environment

from pyserini_xqg.core import cli

BEGIN = "from pyserini_xqg.core.cli import run, say, progress\nimport sys, time\n"


def process(code: str, **options) -> subprocess.Popen:
    environment = command_environment(**options.pop("environment", {}))
    keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment, **options}
    return subprocess.Popen([sys.executable, "-c", BEGIN + code], **keywords)


def ended(code: str, **options) -> tuple[int, str, str]:
    running = process(code, **options)
    out, errors = running.communicate(timeout=60)
    return running.returncode, out, errors


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        ("XqgError('a.txt, line 3: no. Do that.')", 1, "error: a.txt, line 3: no. Do that."),
        ("XqgError('docid \\x1b[31m and a\\nnewline')", 1, "error: docid \\x1b[31m and a\\nnewline"),
        ("OSError(13, 'Permission denied', 'x/y')", 1, "error: x/y: Permission denied. Check the path, its permi"),
        ("OSError(28, 'No space left on device')", 1, "error: an output, or the directory for temporary files"),
        ("ConnectionError('no route to host')", 1, "error: no route to host. Check the network"),
        ("KeyboardInterrupt", 130, "interrupted"),
    ],
)
def test_what_is_raised_is_one_line_and_a_status(raised, status, line):
    code = f"from pyserini_xqg.core.errors import XqgError\ndef main(): raise {raised}\nrun(main)"
    found, out, errors = ended(code)
    assert (found, out, len(errors.splitlines())) == (status, "", 1), errors
    assert errors.startswith(line), errors


def test_other_errors_keep_their_trace():
    status, _, errors = ended("def main(): raise TypeError('a fault of ours')\nrun(main)")
    assert status == 1 and "Traceback" in errors


@pytest.mark.parametrize(
    ("sent", "status", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals_end_the_command_at_once_and_clean_up(tmp_path, sent, status, line):
    mark = tmp_path / "cleaned"
    code = f"""
def main():
    try:
        say("ready")
        time.sleep(60)
    finally:
        open({str(mark)!r}, "w").close()
run(main)"""
    running = process(code)
    assert running.stderr.readline() == "ready\n"
    started = time.monotonic()
    running.send_signal(sent)
    _, errors = running.communicate(timeout=30)
    assert (running.returncode, errors) == (status, line + "\n")
    assert mark.exists() and time.monotonic() - started < 10


def test_a_full_standard_output_is_an_error_without_a_trace():
    with open("/dev/full", "w") as full:
        status, _, errors = ended("def main(): print('x')\nrun(main)", stdout=full)
    assert status == 1 and errors.startswith("error: ") and len(errors.splitlines()) == 1


def test_a_closed_pipe_is_silent():
    running = process("def main():\n    while True: print('x' * 1000)\nrun(main)")
    running.stdout.close()
    assert running.wait(timeout=30) == 1
    assert running.stderr.read() == ""


def test_what_the_terminal_cannot_show_is_escaped():
    code = "def main(): print('é'); say('日')\nrun(main)"
    assert ended(code, environment={"PYTHONIOENCODING": "ascii"}) == (0, "\\xe9\n", "\\u65e5\n")


def test_progress_in_a_log_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(cli, "LOG_SECONDS", 0.0)
    with cli.progress(total=3, unit="texts", description="encoding") as bar:
        for _ in range(3):
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and re.match(r"encoding: 2 of 3 texts \(67 %\), .*texts/s, \d\d:\d\d left", lines[1]), lines
    monkeypatch.setattr(cli, "LOG_SECONDS", 60.0)
    assert list(cli.progress(iter("ab"), unit="texts")) == ["a", "b"]
    assert capsys.readouterr().err == ""

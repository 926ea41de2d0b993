"""The one exception that every part of the package raises for a fault in the user's input."""

from __future__ import annotations


class XqgError(ValueError):
    """A fault the user can mend: the message names the cause (file, line, docid) and the cure.

    The commands print it as one line on standard error and exit with status 1.

    >>> raise XqgError("passages.jsonl, line 3: no 'docid'. Add one to every passage.")
    Traceback (most recent call last):
        ...
    pyserini_xqg.core.errors.XqgError: passages.jsonl, line 3: no 'docid'. Add one to every passage.
    """

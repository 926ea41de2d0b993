"""Runs at the start of Python in an activated environment (see :mod:`pyserini_xqg.activate`).

Imports nothing but the standard library's import machinery, which is loaded anyway: it only waits for
three modules to be imported, and then lets the package add itself to them.
"""

from __future__ import annotations

import sys

# Module -> (our module, function) to call with it right after it has been executed.
_AFTER = {
    "jnius_config": ("pyserini_xqg.core.java", "configure"),
    "pyserini.encode": ("pyserini_xqg.vectors.encoders", "register_encoders"),
    "pyserini.search.faiss._searcher": ("pyserini_xqg.vectors.fit", "guard_searcher"),
}


class _Finder:
    """A finder that finds nothing by itself: it adds one call to the loader that the others find."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in _AFTER:
            return None
        for finder in sys.meta_path:
            if finder is not _Finder and (find := getattr(finder, "find_spec", None)):
                spec = find(name, path, target)
                if spec is not None:
                    break
        else:
            return None
        execute = getattr(spec.loader, "exec_module", None)
        if execute is None:
            return spec

        def exec_module(module):
            execute(module)
            from importlib import import_module

            ours, function = _AFTER[name]
            # None while our own module is still importing this one: it then calls the function itself at its end.
            call = getattr(import_module(ours), function, None)
            if call is not None:
                call(module)

        spec.loader.exec_module = exec_module
        return spec


def install() -> None:
    """Put the finder first; a second call changes nothing."""
    if not any(getattr(finder, "__qualname__", None) == "_Finder" and finder.__module__ == __name__
               for finder in sys.meta_path):  # fmt: skip
        sys.meta_path.insert(0, _Finder)


install()

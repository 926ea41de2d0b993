"""Runs at the start of Python in an activated environment (see :mod:`pyserini_xqg.activate`).

Imports nothing but the standard library's import machinery, which is loaded anyway: it only waits for
three modules to be imported, and then lets the package add itself to them.
"""

from __future__ import annotations

import sys

# Module -> (our module, function) to call with it right after it has been executed.
_AFTER = {
    "pyserini": ("pyserini_xqg.core.java", "configure"),
    "pyserini.encode": ("pyserini_xqg.vectors.encoders", "register_encoders"),
    "pyserini.search.faiss._searcher": ("pyserini_xqg.vectors.fit", "guard_searcher"),
}


class _Loader:
    """A module's own loader, with one call after the module has been executed."""

    def __init__(self, loader, name):
        self._loader, self._name = loader, name

    def __getattr__(self, attribute):
        return getattr(self._loader, attribute)

    def create_module(self, spec):
        create = getattr(self._loader, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module):
        self._loader.exec_module(module)
        from importlib import import_module

        ours, function = _AFTER[self._name]
        # None while our own module is still importing this one: it then calls the function itself at its end.
        call = getattr(import_module(ours), function, None)
        if call is not None:
            call(module)


class _Finder:
    """A finder that finds nothing by itself: it wraps the loader that the others find."""

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
        if hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, name)
        return spec


def install() -> None:
    """Put the finder first; a second call changes nothing."""
    if not any(getattr(finder, "__qualname__", None) == "_Finder" and finder.__module__ == __name__
               for finder in sys.meta_path):  # fmt: skip
        sys.meta_path.insert(0, _Finder)


install()

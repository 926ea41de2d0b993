"""Cross-lingual query generation (xQG) for dense retrieval with Pyserini.

Importing the package is cheap: torch, FAISS, Pyserini (and with it the Java virtual machine) and
ir_datasets are imported where they are used.
"""

from __future__ import annotations

__version__ = "0.1.0"


def register() -> None:
    """Add xQG to Pyserini and to ir_datasets in this process; a second call changes nothing.

    Picks a Java, enters the encoders as ``xqg`` in Pyserini's class maps, makes ``FaissSearcher`` refuse a
    query encoder that does not fit an xQG index, and registers ``xor-tydi``, ``xquad`` and ``xqg-sample``
    with ir_datasets. ``python -m pyserini_xqg.activate`` does the Pyserini part for every command of an
    environment.

    >>> import pyserini_xqg
    >>> pyserini_xqg.register()
    >>> from pyserini.encode import query_encoder_class_map
    >>> query_encoder_class_map["xqg"].__name__
    'XqgQueryEncoder'
    """
    from pyserini_xqg import datasets
    from pyserini_xqg.vectors import encoders, fit

    encoders.register_encoders()
    fit.guard_searcher()
    datasets.register()

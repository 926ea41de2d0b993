"""XOR-TyDi, XQuAD (also with queries in its passages: xquad-loo) and the bundled sample as ir_datasets datasets.

>>> from pyserini_xqg import datasets
>>> sample = datasets.load("xqg-sample/fi")
>>> query = next(iter(sample.queries_iter()))
>>> query.lang
'fi'
>>> query.answers[0] in sample.docs_store().get(sample.qrels_dict()[query.query_id].popitem()[0]).text
True

``python -m pyserini_xqg.datasets`` is ir_datasets' own command with these datasets registered::

    python -m pyserini_xqg.datasets export xqg-sample/fi queries --fields query_id text

The published files of XOR-TyDi and XQuAD (which xquad-loo is made from) are looked for in
``$PYSERINI_XQG_DATA/xor-tydi`` and ``$PYSERINI_XQG_DATA/xquad`` (the names as published), then in ir_datasets' home
(``~/.ir_datasets/xor-tydi``, …), and downloaded there otherwise. Nothing is opened or downloaded before it is asked
for.
"""

from __future__ import annotations

from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.datasets.ids import DATASET_IDS


def register() -> None:
    """Add the datasets of :data:`DATASET_IDS` to ir_datasets in this process; a second call changes nothing.

    Opens no file and needs no network.

    >>> register()
    >>> import ir_datasets
    >>> ir_datasets.load("xquad/de")
    Dataset(id='xquad/de', provides=['docs', 'queries', 'qrels'])
    """
    import ir_datasets

    known = set(ir_datasets.registry)
    if known.issuperset(DATASET_IDS):
        return
    from pyserini_xqg.datasets import xor_tydi, xqg_sample, xquad

    for name, dataset in (xor_tydi.build() | xquad.build() | xqg_sample.build()).items():
        if name not in known:
            ir_datasets.registry.register(name, dataset)


def load(dataset_id: str) -> Any:
    """Register the datasets and load one, by its ir_datasets id; ir_datasets' own ids work as well.

    Raises :class:`XqgError` for an unknown id.

    >>> load("xqg-sample")
    Dataset(id='xqg-sample', provides=['docs'])
    """
    import ir_datasets

    register()
    try:
        return ir_datasets.load(dataset_id)
    except KeyError as error:
        raise unknown_dataset(dataset_id) from error


def unknown_dataset(dataset_id: str) -> XqgError:
    """The error for an id that neither this package nor ir_datasets has."""
    return XqgError(
        f"unknown dataset {dataset_id!r}. xQG's own are {', '.join(DATASET_IDS)}; "
        "for ir_datasets' as well: python -m pyserini_xqg.datasets list"
    )

"""The datasets' ids and languages, without ir_datasets, so that naming them costs nothing."""

from __future__ import annotations

from pathlib import Path

from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES

IRDS_PREFIX = "irds:"

XQUAD_LANGUAGES: tuple[str, ...] = ("ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh")
"""XQuAD's languages: the English original and eleven translations (https://github.com/google-deepmind/xquad)."""

XQUAD_LOO_QUERY_LANGUAGES: tuple[str, ...] = ("ar", "de", "es", "ru")
"""The languages of xquad-loo's queries and of the topics of ``xquad-loo/all``."""

XQUAD_LOO_LANGUAGES: tuple[str, ...] = ("ar", "de", "en", "es", "ru")
"""The languages that xquad-loo has topics in."""

DATASET_IDS: tuple[str, ...] = (
    "xor-tydi",
    *(f"xor-tydi/{split}{lang}" for split in ("train", "dev") for lang in ("", *(f"/{c}" for c in XOR_TYDI_LANGUAGES))),
    *("xquad", *(f"xquad/{lang}" for lang in XQUAD_LANGUAGES)),
    *("xquad-loo", *(f"xquad-loo/{lang}" for lang in ("all", *XQUAD_LOO_LANGUAGES))),
    *("xqg-sample", *(f"xqg-sample/{lang}" for lang in ("all", *XOR_TYDI_LANGUAGES))),
)
"""Everything that :func:`pyserini_xqg.datasets.register` adds to ir_datasets."""


def dataset_of(source: str) -> str | None:
    """The dataset that a source of passages or topics names, with or without ``irds:``; None where it is a path.

    >>> dataset_of("irds:anything"), dataset_of("xqg-sample/fi"), dataset_of("topics.tsv")
    ('anything', 'xqg-sample/fi', None)
    """
    if source.startswith(IRDS_PREFIX):
        return source.removeprefix(IRDS_PREFIX)
    path = Path(source)
    if path.exists() or path.is_absolute():
        return None
    if source in DATASET_IDS:
        return source
    if path.suffix in (".tsv", ".txt", ".json", ".jsonl", ".gz"):
        return None
    import ir_datasets

    return source if source in set(ir_datasets.registry) else None

"""What the datasets share: ir_datasets' components over a parsed file, their counts, and documentation with figures."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import PickleLz4FullStore
from ir_datasets.util import MetadataComponent, MetadataProvider

STORE_LAYOUT = 1
"""To be raised when the same file would be read into other records: document stores are then built anew."""


class Store(PickleLz4FullStore):
    """ir_datasets' document store, built by one process at a time.

    Its own lock does not look again after it has waited: two processes that build at the same time append every
    document twice.
    """

    def build(self) -> None:
        """Build the store unless it is there."""
        if self.built():
            return
        from filelock import FileLock

        path = Path(self.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            super().build()


class Docs(BaseDocs):
    """English passages read from one file, with a store in ir_datasets' home for lookups and slices.

    source : has ``path(force)``, the file, fetched if need be; with ``force`` off, where it is or would be.
    """

    def __init__(self, source: Any, read: Callable[[Path], Iterable[Any]], cls: type, namespace: str):
        super().__init__()
        self._source, self._read, self._cls, self._namespace = source, read, cls, namespace

    @ir_datasets.util.use_docstore
    def docs_iter(self) -> Iterator[Any]:
        """All passages, in the order of the file; sliceable, as always in ir_datasets."""
        return iter(self._read(self._source.path()))

    def docs_cls(self) -> type:
        """The type of the records."""
        return self._cls

    def docs_store(self, field: str = "doc_id", **options: Any) -> Store:
        """The store (``options``: ir_datasets' own; older releases have none)."""
        path = self._source.path()
        return Store(
            # Named by the content, so that a store built from another file is never taken for this one's.
            path=str(ir_datasets.util.home_path() / self._namespace / f"docs-{fingerprint(path)}.pklz4"),
            init_iter_fn=functools.partial(self._read, path),
            data_cls=self._cls,
            lookup_field=field,
            index_fields=["doc_id"],
            **options,
        )

    def docs_count(self) -> int | None:
        """The number of passages in the store; None while there is none."""
        there = self._source.path(force=False).exists()
        return store.count() if there and (store := self.docs_store()).built() else None

    def docs_namespace(self) -> str:
        """The dataset that the ids belong to."""
        return self._namespace

    def docs_lang(self) -> str:
        """English throughout."""
        return "en"


class Queries(BaseQueries):
    """Questions in the language ``lang`` (ISO 639-1), or in several: None."""

    def __init__(self, read: Callable[[], Iterable[Any]], cls: type, namespace: str, lang: str | None = None):
        self._read, self._cls, self._namespace, self._lang = read, cls, namespace, lang

    def queries_iter(self) -> Iterator[Any]:
        """The questions, in the order of the file."""
        return iter(self._read())

    def queries_cls(self) -> type:
        """The type of the records."""
        return self._cls

    def queries_namespace(self) -> str:
        """The dataset that the ids belong to."""
        return self._namespace

    def queries_lang(self) -> str | None:
        """ISO 639-1 code; None for several languages."""
        return self._lang


class Qrels(BaseQrels):
    """Judgements, all of them 1; ``definition`` says what that means."""

    def __init__(self, read: Callable[[], Iterable[TrecQrel]], definition: str):
        self._read, self._definition = read, definition

    def qrels_iter(self) -> Iterator[TrecQrel]:
        """The judgements."""
        return iter(self._read())

    def qrels_cls(self) -> type:
        """The type of the records."""
        return TrecQrel

    def qrels_defs(self) -> dict[int, str]:
        """What each level of relevance means."""
        return {1: self._definition}


class Documentation:
    """``documentation()`` of a dataset, from a YAML file beside this module; figures are filled in with str.format."""

    def __init__(self, file: str, key: str, **values: Any):
        self._file, self._key, self._values = file, key, values

    def documentation(self) -> dict[str, str]:
        """``desc``, ``bibtex``, ``data_access`` and so on, as ir_datasets has them."""
        yaml = ir_datasets.lazy_libs.yaml()
        text = (files("pyserini_xqg.datasets") / self._file).read_text(encoding="utf-8")
        entries = yaml.load(text, Loader=yaml.BaseLoader)
        # What holds for the whole family stands once, under "_".
        entry = {**entries["_"], **entries[self._key]}
        entry["desc"] = entry["desc"].format(**self._values)
        return entry


def counted(name: str, *components: Any, **counts: int) -> Dataset:
    """A dataset of these components whose metadata are ``counts`` (of docs, queries, qrels), where they are known."""
    dataset = Dataset(*components)
    provider = MetadataProvider(lambda: {name: {kind: {"count": number} for kind, number in counts.items()}})
    return Dataset(MetadataComponent(name, dataset, provider), dataset)


def fingerprint(path: Path) -> str:
    """A short name for a file's content wherever it lies, cheap for 13 GB: from its size and first and last MiB."""
    mebibyte, size = 1 << 20, path.stat().st_size
    with open(path, "rb") as stream:
        digest = hashlib.sha256(f"{STORE_LAYOUT} {size}".encode() + stream.read(mebibyte))
        stream.seek(max(0, size - mebibyte))
        digest.update(stream.read(mebibyte))
    return digest.hexdigest()[:16]

"""What the three datasets share: ir_datasets components over a parsed file, and documentation with figures in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import ir_datasets
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries, TrecQrel
from ir_datasets.indices import PickleLz4FullStore

from pyserini_xqg.datasets.published import fingerprint


class Source(Protocol):
    """A file that may still have to be fetched: :class:`~pyserini_xqg.datasets.published.PublishedFile`."""

    def local(self) -> Path | None:
        """Where it is, or None if it would have to be downloaded."""

    def path(self, force: bool = True) -> Path:
        """Where it is, after a download if need be; with ``force`` off, where it is or would be."""


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
    """Passages read from one file, with a store in ir_datasets' home for lookups and slices."""

    def __init__(
        self, source: Source, read: Callable[[Path], Iterable[Any]], cls: type, namespace: str, count: int | None = None
    ):
        super().__init__()
        self._source, self._read, self._cls = source, read, cls
        self._namespace, self._count = namespace, count

    def docs_path(self, force: bool = True) -> Path:
        """The file itself."""
        return self._source.path(force)

    @ir_datasets.util.use_docstore
    def docs_iter(self) -> Iterator[Any]:
        """All passages, in the order of the file; sliceable, as always in ir_datasets."""
        return iter(self._read(self._source.path()))

    def docs_cls(self) -> type:
        """The type of the records."""
        return self._cls

    def docs_store(self, field: str = "doc_id", **options: Any) -> Store:
        """The store (``options``: ir_datasets' own; older releases have none)."""
        return self._store(self._source.path(), field, **options)

    def _store(self, path: Path, field: str = "doc_id", **options: Any) -> Store:
        # Named by the content, so that a store built from another file is never taken for this one's.
        return Store(
            path=str(ir_datasets.util.home_path() / self._namespace / f"docs-{fingerprint(path)}.pklz4"),
            init_iter_fn=functools.partial(self._read, path),
            data_cls=self._cls,
            lookup_field=field,
            index_fields=["doc_id"],
            count_hint=self._count,
            **options,
        )

    def docs_count(self) -> int | None:
        """The number of passages; None where only a store could tell and there is none yet."""
        if self._count is None and (path := self._source.local()) and (store := self._store(path)).built():
            return store.count()
        return self._count

    def docs_metadata(self) -> dict[str, int]:
        """The count, where it is known."""
        return _count(self.docs_count())

    def docs_namespace(self) -> str:
        """The dataset that the ids belong to."""
        return self._namespace

    def docs_lang(self) -> str:
        """English throughout."""
        return "en"


class Queries(BaseQueries):
    """Questions, all or those of one language."""

    def __init__(
        self,
        read: Callable[[], Sequence[Any]],
        cls: type,
        namespace: str,
        lang: str | None = None,
        count: int | None = None,
    ):
        self._read, self._cls, self._namespace = read, cls, namespace
        self._lang, self._count = lang, count

    def queries_iter(self) -> Iterator[Any]:
        """The questions, in the order of the file."""
        return (query for query in self._read() if self._lang in (None, query.lang))

    def queries_cls(self) -> type:
        """The type of the records."""
        return self._cls

    def queries_count(self) -> int:
        """The number of questions."""
        return sum(1 for _ in self.queries_iter()) if self._count is None else self._count

    def queries_metadata(self) -> dict[str, int]:
        """The count, where it is known without reading the questions."""
        return _count(self._count)

    def queries_namespace(self) -> str:
        """The dataset that the ids belong to."""
        return self._namespace

    def queries_lang(self) -> str | None:
        """ISO 639-1 code; None for several languages."""
        return self._lang


class Qrels(BaseQrels):
    """Judgements, all or those whose query id is in ``only``."""

    def __init__(
        self,
        read: Callable[[], Iterable[TrecQrel]],
        definition: str,
        only: Callable[[], Iterable[Any]] | None = None,
        count: int | None = None,
    ):
        self._read, self._definition, self._only, self._count = read, definition, only, count

    def qrels_iter(self) -> Iterator[TrecQrel]:
        """The judgements."""
        wanted = None if self._only is None else {query.query_id for query in self._only()}
        return (qrel for qrel in self._read() if wanted is None or qrel.query_id in wanted)

    def qrels_cls(self) -> type:
        """The type of the records."""
        return TrecQrel

    def qrels_defs(self) -> dict[int, str]:
        """What each level of relevance means."""
        return {1: self._definition}

    def qrels_count(self) -> int:
        """The number of judgements."""
        return sum(1 for _ in self.qrels_iter()) if self._count is None else self._count

    def qrels_metadata(self) -> dict[str, int]:
        """The count, where it is known without reading the judgements."""
        return _count(self._count)


def with_metadata(name: str, dataset: Dataset) -> Dataset:
    """A dataset whose ``metadata()`` are what its components know, not what ir_datasets' own file says of it."""

    class Provider:
        def get_metadata(self, _: str, kind: Any) -> dict[str, int]:
            return getattr(dataset, f"{ir_datasets.EntityType(kind).value}_metadata")()

    return Dataset(ir_datasets.util.MetadataComponent(name, dataset, Provider()), dataset)


def _count(number: int | None) -> dict[str, int]:
    return {} if number is None else {"count": number}


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

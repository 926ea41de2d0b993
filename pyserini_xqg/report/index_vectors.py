"""Vectors of some passages out of an index: ours (routed and sharded ones too), or a stock one of Pyserini's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_lines
from pyserini_xqg.vectors.fit import check_shards
from pyserini_xqg.vectors.manifest import ROUTED, SHARDED, index_parts, read_manifest


class IndexVectors:
    """Inner products with the vectors of an index, by docid.

    Index files are mapped where FAISS can do that, so memory holds the docids asked for and their rows.

    Parameters
    ----------
    directory
        The index. A routed one is asked in the question's language.
    docids
        The passages that will be asked for.
    dimension
        Length of the encoder's vectors.

    Raises
    ------
    XqgError
        If it is no index, has another dimension, lacks one of the passages when that is asked for, or is of a kind
        that cannot give its vectors back.
    """

    def __init__(self, directory: str | Path, docids: Set[str], dimension: int) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise XqgError(f"{directory}: no such directory. Pass the directory of an index with --index.")
        manifest = read_manifest(directory)
        self.routed = manifest is not None and manifest["layout"] == ROUTED
        if self.routed:
            self._parts = {
                language: _OneIndex(self.directory / place, docids, dimension)
                for language, place in manifest["languages"].items()
            }
        else:
            self._parts = {"": _OneIndex(self.directory, docids, dimension)}

    def inner_product(self, question: np.ndarray, docid: str, language: str) -> float:
        """Of a question's vector, (dimension,), with a passage's vector in the index."""
        return self._part(language).inner_product(question, docid)

    def queries_held(self, language: str) -> tuple[Sequence[str], int | None] | None:
        """Languages whose generated queries the vectors for questions in ``language`` hold, and how many of each at
        most (None: all); None for an index without a manifest.
        """
        recipe = self._part(language).augmentation
        if recipe is None:
            return None
        return recipe["languages"] if recipe["alpha"] > 0 else [], recipe.get("max_queries")

    @property
    def probe(self) -> dict[str, Any] | None:
        """The known vector in the manifest, by which an encoder is recognised; None without a manifest."""
        return next(iter(self._parts.values())).probe

    def _part(self, language: str) -> _OneIndex:
        if not self.routed:
            return self._parts[""]
        if language not in self._parts:
            raise XqgError(
                f"{self.directory}: a routed index without {language!r}, in which there are questions (it has "
                f"{', '.join(self._parts)}). Pass an index that serves all of them."
            )
        return self._parts[language]


class _OneIndex:
    def __init__(self, directory: Path, docids: Set[str], dimension: int) -> None:
        self.directory = directory
        manifest = read_manifest(directory)
        places, described = [directory], manifest
        if manifest is not None and manifest["layout"] == SHARDED:
            _, described = check_shards(directory, manifest)
            places = index_parts(directory, manifest)
        self.probe: dict[str, Any] | None = described["probe"] if described else None
        self.augmentation: Mapping[str, Any] | None = described["augmentation"] if described else None
        expected = dimension
        self._rows: dict[str, tuple[Any, int]] = {}
        for place in places:
            index = _open(place)
            if index.d != expected:
                raise XqgError(
                    f"{place}: its vectors have {index.d} dimensions, the encoder's {expected}. Pass the encoder of "
                    "the index."
                )
            for number, docid in read_lines(place / "docid"):
                if docid in docids:
                    self._rows[docid] = index, number - 1

    def inner_product(self, question: np.ndarray, docid: str) -> float:
        if docid not in self._rows:
            raise XqgError(
                f"{self.directory}: has no passage with docid {docid!r}. Pass the index that the second run was "
                "retrieved from, or one of the same passages."
            )
        index, row = self._rows[docid]
        try:
            vector = np.asarray(index.reconstruct(row), dtype=np.float64)
        except RuntimeError as error:  # FAISS's, with its own source lines in front
            raise XqgError(
                f"{self.directory}: an index of a kind that cannot give its vectors back ({type(index).__name__}). "
                "Leave --index out, or build the same with --factory Flat."
            ) from error
        return float(vector @ question.astype(np.float64))


def _open(place: Path) -> Any:
    import faiss

    from pyserini_xqg.vectors.faiss_index import read_mapped

    path = place / "index"
    if not path.is_file():
        raise XqgError(f"{place}: no FAISS index there (index is missing). Pass the directory that holds it.")
    try:
        can_map = hasattr(faiss, "IO_FLAG_MMAP_IFC")
        index = read_mapped(path) if can_map else faiss.read_index(str(path))
        if ivf := faiss.try_extract_index_ivf(index):
            ivf.make_direct_map()
    except RuntimeError as error:
        reason = str(error).split("failed: ")[-1]
        raise XqgError(f"{path}: cannot be read as a FAISS index ({reason}). Build the index again.") from error
    return index

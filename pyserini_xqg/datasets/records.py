"""The records that the datasets yield: named tuples, as everywhere in ir_datasets."""

# No `from __future__ import annotations` here, and typing's generics rather than the built-in ones: ir_datasets'
# exporters read the annotations and know `str`, `int`, `float` and `typing.Tuple[..., ...]` only.
from typing import Dict, List, NamedTuple, Tuple  # noqa: UP035


class XqgDoc(NamedTuple):
    """A passage."""

    doc_id: str
    title: str
    text: str

    def default_text(self) -> str:
        """``title + " " + text``, as the paper's encoder reads a passage (arXiv 2305.03950, Tevatron's format)."""
        return f"{self.title} {self.text}"


class AugmentedDoc(NamedTuple):
    """A passage with queries that stand in for generated ones: language to texts."""

    doc_id: str
    title: str
    text: str
    generated_queries: Dict[str, List[str]]  # noqa: UP006

    def default_text(self) -> str:
        """``title + " " + text``."""
        return f"{self.title} {self.text}"


class XorTydiQuery(NamedTuple):
    """A question in one of XOR-TyDi's languages, with its English answers."""

    query_id: str
    text: str
    lang: str
    answers: Tuple[str, ...]  # noqa: UP006

    def default_text(self) -> str:
        """``text``."""
        return self.text


class XquadQuery(NamedTuple):
    """A question in one of XQuAD's languages, with the English answers and those in its own language."""

    query_id: str
    text: str
    lang: str
    answers: Tuple[str, ...]  # noqa: UP006
    native_answers: Tuple[str, ...]  # noqa: UP006

    def default_text(self) -> str:
        """``text`` on one line: as published, some questions end in whitespace and one holds a line break."""
        return " ".join(self.text.split())

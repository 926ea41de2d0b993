"""The systems of a comparison: their names, what they are, and what each of them needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyserini_xqg.core.errors import XqgError

NONE = "none"
DENSE = {
    NONE: "the passage's own vector",
    "sum": "passage vector + alpha x sum of all query vectors (the paper)",
    "mean": "passage vector + alpha x mean over languages of each language's mean",
    "routed": "one index per language, with the mean of that language's queries alone",
    "routed-normalized": "the same, with final vectors of unit length",
    "text": "queries appended to the passage's text before it is encoded (doc2query style)",
    "multi-vector": "each query's vector an entry docid#j beside the passage's; the best entry counts",
}
"""Systems that search vectors, in the order of the table."""
LEXICAL = {
    "bm25": "BM25 over passages",
    "doc2query": "BM25 over passages with their queries appended",
}
"""Systems that search a Lucene index."""


@dataclass(frozen=True)
class System:
    """One row of the table: a dense system, a lexical one, or both, fused.

    >>> System("sum", "bm25").name, System(None, "doc2query").name
    ('sum+bm25', 'doc2query')
    """

    dense: str | None
    lexical: str | None

    @property
    def name(self) -> str:
        """As in ``--systems``, and of the run file."""
        return "+".join(part for part in (self.dense, self.lexical) if part)

    @property
    def is_fused(self) -> bool:
        """Whether two systems are fused in it."""
        return self.dense is not None and self.lexical is not None

    @property
    def parts(self) -> list[System]:
        """The systems whose runs are fused in it; itself if it is a single one."""
        return [System(self.dense, None), System(None, self.lexical)] if self.is_fused else [self]

    @property
    def routes(self) -> bool:
        """Whether it sends each topic to an index of its language."""
        return (self.dense or "").startswith("routed")


ALL = [
    *(System(dense, None) for dense in DENSE),
    *(System(None, lexical) for lexical in LEXICAL),
    *(System(dense, lexical) for lexical in LEXICAL for dense in DENSE),
]
"""Every system, in the order of the table."""


def parse_systems(names: Sequence[str]) -> list[System]:
    """The systems that ``--systems`` names, in the order of the table; :class:`XqgError` for an unknown one.

    >>> [system.name for system in parse_systems(["sum+bm25", "none"])]
    ['none', 'sum+bm25']
    """
    known = {system.name: system for system in ALL}
    for name in names:
        if name not in known:
            raise XqgError(
                f"--systems {name}: no such system. Choose among {', '.join([*DENSE, *LEXICAL])}, and "
                f"<one of the first {len(DENSE)}>+bm25 or +doc2query, such as sum+bm25."
            )
        if names.count(name) > 1:
            raise XqgError(f"--systems {name}: given more than once. Give each once.")
    return [system for name, system in known.items() if name in names]


def choose_systems(
    names: Sequence[str] | None, lacking: Callable[[System], str | None]
) -> tuple[list[System], dict[str, str]]:
    """The systems to run, and those left out with the reason.

    ``names`` are the wanted ones, None for all that can be had. ``lacking(system)`` says what a single system lacks;
    None if it lacks nothing. A wanted system that lacks something raises :class:`XqgError`.
    """
    chosen, left_out = [], {}
    for system in parse_systems(names) if names is not None else ALL:
        reason = next((reason for part in system.parts if (reason := lacking(part))), None)
        if reason is None:
            chosen.append(system)
        elif names is not None:
            raise XqgError(f"--systems {system.name}: {reason}")
        else:
            left_out[system.name] = reason
    return chosen, left_out

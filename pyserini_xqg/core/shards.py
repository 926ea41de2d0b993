"""One corpus over several processes or machines: each takes a shard, a merge makes the whole of them.

A shard is a whole number of chunks, and what a chunk becomes depends on its own texts alone. So the merged store, or
file of generated queries, is byte for byte the one that a single process writes with the same settings on the same
kind of machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import at_least, option


@dataclass(frozen=True)
class Shard:
    """Part ``id`` (from 0) of ``num``. Raises :class:`XqgError` unless 0 <= id < num.

    >>> [Shard(number, 3).rows(passages=25, chunk_size=10) for number in range(3)]
    [(0, 10), (10, 20), (20, 25)]
    """

    id: int
    num: int

    def __post_init__(self) -> None:
        if self.num < 1:
            raise XqgError(f"--shard-num {self.num}: must be at least 1.")
        if not 0 <= self.id < self.num:
            raise XqgError(
                f"--shard-id {self.id}: with --shard-num {self.num}, shards are numbered 0 to {self.num - 1}."
            )

    def rows(self, passages: int, chunk_size: int) -> tuple[int, int]:
        """First row and the one after the last; empty where there are more shards than chunks."""
        chunks = -(-passages // chunk_size)
        first, last = (chunks * number // self.num for number in (self.id, self.id + 1))
        return first * chunk_size, min(last * chunk_size, passages)

    def manifest(self, passages: int, chunk_size: int) -> dict[str, int]:
        """What a shard's ``store.json`` says of it."""
        first, last = self.rows(passages, chunk_size)
        return {"id": self.id, "num": self.num, "first": first, "rows": last - first}


@dataclass(frozen=True)
class ShardOptions:
    """Several processes or machines"""

    shard_id: int | None = option(None, "the part of the corpus to work on, counted from 0", metavar="I", decides=False)
    shard_num: int = option(1, "number of parts", metavar="N", check=at_least(1), decides=False)
    engine: str = option(
        "local",
        "local: this process; ray: all N parts as tasks on a Ray cluster, then merged (needs the extra ray)",
        choices=("local", "ray"),
        decides=False,
    )
    ray_address: str | None = option(
        None,
        "the Ray cluster, such as 10.0.0.1:6379 (default: RAY_ADDRESS, or one that runs here, else a new one)",
        metavar="ADDRESS",
        decides=False,
    )

    part: Shard | None = None
    """The shard that a task on a cluster makes, also where it is the only one."""

    def __post_init__(self) -> None:
        if self.engine == "ray" and self.shard_id is not None:
            raise XqgError("--engine ray works on all shards: leave --shard-id out.")
        if self.engine == "local" and self.ray_address:
            raise XqgError("--ray-address goes with --engine ray.")
        if self.engine == "local" and self.shard_id is None and self.shard_num > 1:
            raise XqgError(
                f"--shard-num {self.shard_num} needs --shard-id, 0 to {self.shard_num - 1}: which part to work on."
            )

    @property
    def shard(self) -> Shard | None:
        """The shard to work on; None for the whole corpus, and for all shards on a cluster."""
        if self.part is not None or self.shard_id is None:
            return self.part
        shard = Shard(self.shard_id, self.shard_num)
        return shard if shard.num > 1 else None


@dataclass(frozen=True)
class ShardKind:
    """What the parts of one kind of output are called, and how they are compared.

    command : what makes them. whole : what they make together. parts : what to pass. made : what was done with a
    corpus. read : manifest of a part; :class:`XqgError` for what is none, or is unfinished.
    differences : phrases for what differs between two manifests (there, here).
    """

    command: str
    whole: str
    parts: str
    made: str
    read: Callable[[str | Path], dict[str, Any]]
    differences: Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]


def ordered_shards(shards: Sequence[str | Path], kind: ShardKind) -> list[tuple[str | Path, dict[str, Any]]]:
    """The shards with their manifests in the order of the corpus; :class:`XqgError` unless they make one whole."""
    found: dict[int, tuple[str | Path, dict[str, Any]]] = {}
    reference: tuple[str | Path, dict[str, Any]] | None = None
    for path in shards:
        manifest = kind.read(path)
        if "shard" not in manifest:
            raise XqgError(f"{path}: a whole {kind.whole}, not a shard. Pass what {kind.command} --shard-id … wrote.")
        shard = manifest["shard"]
        reference = reference or (path, manifest)
        if differences := kind.differences(_common(reference[1]), _common(manifest)):
            raise XqgError(
                f"{path}: no shard of the same {kind.whole} as {reference[0]}: {'; '.join(differences)}. Merge shards "
                f"of one corpus, {kind.made} with the same options."
            )
        if shard["id"] in found:
            raise XqgError(f"{path}: shard {shard['id']} again, after {found[shard['id']][0]}. Pass each once.")
        found[shard["id"]] = path, manifest
    if reference is None:
        raise XqgError(f"no shards to merge. Pass the {kind.parts} that {kind.command} --shard-id … wrote.")
    number = reference[1]["shard"]["num"]
    if missing := [str(shard) for shard in range(number) if shard not in found]:
        raise XqgError(
            f"shard {', '.join(missing)} of {number} is missing. Pass all of them; one that was never made needs "
            f"{kind.command} --shard-id {missing[0]} --shard-num {number}."
        )
    return [found[shard] for shard in range(number)]


def unfinished_shard(path: str | Path, manifest: Mapping[str, Any], done: int, kind: ShardKind) -> XqgError:
    """The error for a shard with ``done`` passages, as it is to be raised by :attr:`ShardKind.read`."""
    shard = manifest["shard"]
    return XqgError(
        f"{path}: shard {shard['id']} is unfinished, {done:,} of {shard['rows']:,} passages are done. Run the "
        f"pyserini_xqg.{kind.command} command it was begun with: it continues there."
    )


def _common(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What all shards of a whole have in common."""
    return {**manifest, "shard": {"num": manifest["shard"]["num"]}}

"""Look into embedding stores, check them, and merge shards.

Examples
--------
  python -m pyserini_xqg.store info stores/mbert
  python -m pyserini_xqg.store verify stores/mbert
  python -m pyserini_xqg.store merge stores/part0 stores/part1 --output stores/mbert
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import HelpFormatter, progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_journal import CHUNKS_NAME, StoredChunk, manifest_digest
from pyserini_xqg.vectors.merging import merge_shards, read_chunks
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import (
    DOCIDS_NAME,
    STORE_NAME,
    array_specs,
    committed_chunks,
    read_store_manifest,
    stored_queries,
    stored_rows,
)


def describe_store(directory: str | Path) -> Iterator[str]:
    """Yield the lines of ``store info``: state, encoder, counts, and bytes per file."""
    directory = Path(directory)
    manifest = read_store_manifest(directory)
    rows, done = stored_rows(manifest), sum(entry["rows"] for entry in committed_chunks(directory))
    part = f"{done / rows:.0%}" if rows else "none to encode"
    state = "complete" if manifest["complete"] else f"unfinished, {done:,} of {rows:,} passages ({part})"
    yield f"{directory}: {state}"
    if shard := manifest.get("shard"):
        part = f"rows {shard['first']:,} to {shard['first'] + rows - 1:,}" if rows else "no rows"
        yield f"shard     {shard['id']} of {shard['num']}: {part} of {manifest['corpus']['passages']:,}"
    config = EncoderConfig.from_dict(manifest["encoder"], str(directory / STORE_NAME))
    lengths = [
        "the tokenizer's limit" if length is None else f"{length} tokens"
        for length in (config.max_length, config.query_max_length)
    ]
    yield f"encoder   {config.describe()}, {manifest.get('precision', 'float32')}"
    yield f"lengths   passages {lengths[0]}, queries {lengths[1]}"
    yield f"vectors   {rows:,} passages x {manifest['dimension']}, {manifest['dtype']}"
    corpus = manifest["corpus"]
    for language, total in corpus["queries"].items():
        yield (
            f"queries   {language} {total:,} for {corpus['passages_with_queries'][language]:,} passages, at most "
            f"{manifest['most_queries'][language]} each"
        )
    kept = {"sum": "one sum over all languages", "mean": "one mean over languages of each language's mean"}
    kept[None] = "one sum a language" + (", and each query's vector" if manifest["keep_query_vectors"] else "")
    yield f"kept      {kept[manifest.get('fuse')]}; {corpus['passages_without_queries']:,} passages have no query"
    yield f"corpus    {corpus['passages']:,} passages, SHA-256 {corpus['sha256']}"
    names = [STORE_NAME, CHUNKS_NAME, DOCIDS_NAME, *(spec.name for spec in array_specs(manifest))]
    sizes = {name: (directory / name).stat().st_size for name in names if (directory / name).exists()}
    for name in names:
        yield f"{sizes[name]:>19,} bytes  {name}" if name in sizes else f"{'missing':>25}  {name}"
    yield f"{sum(sizes.values()):>19,} bytes  in all"


@dataclass
class _Damage:
    """Consecutive damaged chunks of one file."""

    name: str
    first: int
    last: int
    docids: list[str]

    def __str__(self) -> str:
        names = f" (docids {self.docids[0]} to {self.docids[-1]})" if self.docids else ""
        rows = "the queries of rows" if self.name.startswith("vectors.") else "rows"
        return f"{self.name}: {rows} {self.first:,} to {self.last:,}{names} are not what was written"


def find_damage(directory: str | Path) -> Iterator[str]:
    """Yield what is wrong with a store's files, a line each; of an unfinished store, the committed part is checked.

    Every byte counts: SHA-256 of each chunk of each file, headers, sizes, totals and the manifest's own checksum.
    """
    directory = Path(directory)
    manifest = read_store_manifest(directory)
    complete = manifest.get("complete") is not False or "manifest_sha256" in manifest
    as_written = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    if (directory / STORE_NAME).read_text(encoding="utf-8") != as_written or (
        complete and manifest.get("manifest_sha256") != manifest_digest(manifest)
    ):
        yield f"{STORE_NAME}: is not what was written, so the other files were not checked"
        return
    specs = {spec.name: spec for spec in array_specs(manifest)}
    for name, spec in specs.items():
        path = directory / name
        if not path.exists():
            yield f"{name}: is missing"
            continue
        with open(path, "rb") as stream:
            if stream.read(len(spec.header())) != spec.header():
                yield f"{name}: its header is not that of {spec.dtype} {spec.shape}"
        if complete and path.stat().st_size != spec.file_bytes:
            yield f"{name}: has {path.stat().st_size:,} bytes, expected {spec.file_bytes:,}"
    if not (directory / DOCIDS_NAME).exists():
        yield f"{DOCIDS_NAME}: is missing"
    totals = {"rows": 0, "docid_bytes": 0, **dict.fromkeys(stored_queries(manifest), 0)}
    ranges: dict[str, _Damage] = {}
    with progress(total=stored_rows(manifest), unit="passages", description="verifying") as bar:
        for chunk in read_chunks(directory, manifest):
            damaged = [name for name in chunk.damaged() if chunk.data.get(name) is not None]
            for name in list(ranges):
                if name not in damaged:
                    yield str(ranges.pop(name))
            for name in damaged:
                _extend(ranges, name, chunk)
            totals["rows"] += chunk.entry["rows"]
            totals["docid_bytes"] += chunk.entry["docid_bytes"]
            for language, number in chunk.entry["queries"].items():
                totals[language] = totals.get(language, 0) + number
            bar.update(chunk.entry["rows"])
    yield from map(str, ranges.values())
    if complete:
        expected = {"rows": stored_rows(manifest), **stored_queries(manifest)}
        found = {name: totals[name] for name in totals if name != "docid_bytes"}
        if found != expected:
            yield f"{CHUNKS_NAME}: describes {found}, {STORE_NAME} {expected}"
        path = directory / DOCIDS_NAME
        if path.exists() and path.stat().st_size != totals["docid_bytes"]:
            yield f"{DOCIDS_NAME}: has {path.stat().st_size:,} bytes, expected {totals['docid_bytes']:,}"


def _extend(ranges: dict[str, _Damage], name: str, chunk: StoredChunk) -> None:
    """Add a chunk to the open range of damage of a file."""
    docids = (chunk.data[DOCIDS_NAME] or b"").decode("utf-8", "replace").splitlines()
    damage = ranges.setdefault(name, _Damage(name, chunk.first, 0, docids[:1]))
    damage.last = chunk.first + chunk.entry["rows"] - 1
    damage.docids[1:] = docids[-1:]


def verify_store(directory: str | Path) -> None:
    """Print a line for each damaged place of a store, on standard output; :class:`XqgError` if there is any."""
    places = 0
    for place in find_damage(directory):
        places += 1
        print(f"{Path(directory) / place}", flush=True)
    manifest = read_store_manifest(directory)
    if places:
        raise XqgError(
            f"{directory}: damaged in {places} place{'s' if places > 1 else ''}. Restore the files named above from a "
            "copy, or encode again with --overwrite."
        )
    size = sum(path.stat().st_size for path in Path(directory).iterdir())
    part = "" if manifest.get("complete") else "the committed part of an unfinished store: "
    say(f"{directory}: {part}{size:,} bytes are as they were written")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.store", description=__doc__, formatter_class=HelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="info | verify | merge")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, formatter_class=HelpFormatter)

    info = add("info", "print encoder, counts, progress and sizes of a store or shard, finished or not")
    info.add_argument("store", metavar="DIR", help="the store")
    verify = add("verify", "recompute every checksum; damaged places are printed, and the exit status is then 1")
    verify.add_argument("store", metavar="DIR", help="the store")
    merge = add("merge", "join all shards of a corpus to one store, checking their checksums; the shards stay")
    merge.add_argument("shards", nargs="+", metavar="SHARD", help="directories of the shards, in any order")
    merge.add_argument("--output", required=True, metavar="DIR", help="the store to make, or to continue")
    merge.add_argument("--overwrite", action="store_true", help="begin anew where a store exists")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.store``."""
    args: Any = build_parser().parse_args(argv)
    if args.command == "info":
        for line in describe_store(args.store):
            print(line)
    elif args.command == "verify":
        verify_store(args.store)
    else:
        merge_shards(args.shards, args.output, overwrite=args.overwrite)

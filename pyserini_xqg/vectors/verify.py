"""What a store or an index is, and whether its files are as they were written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyserini_xqg.core.chunks import CHUNKS_NAME, rows_done
from pyserini_xqg.core.cli import progress
from pyserini_xqg.core.kinds import check_files
from pyserini_xqg.vectors.layout import (
    DOCIDS_NAME,
    STORE_KIND,
    array_specs,
    read_chunks,
    stored_queries,
    stored_rows,
)
from pyserini_xqg.vectors.manifest import INDEX_KIND
from pyserini_xqg.vectors.settings import EncoderConfig


def describe_store(directory: str | Path) -> Iterator[str]:
    """Yield the lines of ``store info``: state, encoder, counts, and bytes per file."""
    directory = Path(directory)
    manifest = STORE_KIND.read(directory)
    rows, done = stored_rows(manifest), rows_done(directory, STORE_KIND)
    part = f"{done / rows:.0%}" if rows else "none to encode"
    state = "complete" if manifest["complete"] else f"unfinished, {done:,} of {rows:,} passages ({part})"
    yield f"{directory}: {state}"
    if shard := manifest.get("shard"):
        part = f"rows {shard['first']:,} to {shard['first'] + rows - 1:,}" if rows else "no rows"
        yield f"shard     {shard['id']} of {shard['num']}: {part} of {manifest['corpus']['passages']:,}"
    config = EncoderConfig.from_dict(manifest["encoder"], str(directory / STORE_KIND.manifest))
    lengths = [
        "the tokenizer's limit" if length is None else f"{length} tokens"
        for length in (config.max_length, config.query_max_length)
    ]
    yield f"encoder   {config.describe()}, {manifest['precision']}"
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
    names = [STORE_KIND.manifest, CHUNKS_NAME, DOCIDS_NAME, *(spec.name for spec in array_specs(manifest))]
    sizes = {name: (directory / name).stat().st_size for name in names if (directory / name).exists()}
    for name in names:
        yield f"{sizes[name]:>19,} bytes  {name}" if name in sizes else f"{'missing':>25}  {name}"
    yield f"{sum(sizes.values()):>19,} bytes  in all"


def find_damage(directory: str | Path) -> Iterator[str]:
    """Yield what is wrong with a store's files, a line each; of an unfinished store, the committed part is checked.

    Every byte counts: SHA-256 of each chunk of each file, headers, sizes, totals, and the manifest's own checksum,
    for which :class:`~pyserini_xqg.core.errors.XqgError` is raised.
    """
    directory = Path(directory)
    manifest = STORE_KIND.read(directory)
    complete = bool(manifest["complete"])
    if complete:
        yield from check_files(directory, STORE_KIND, manifest)
    for spec in array_specs(manifest):
        path = directory / spec.name
        if not path.exists():
            if not complete:
                yield f"{spec.name}: is missing"
            continue
        with open(path, "rb") as stream:
            if stream.read(len(spec.header())) != spec.header():
                yield f"{spec.name}: its header is not that of {spec.dtype} {spec.shape}"
    totals: dict[str, int] = {"rows": 0, **dict.fromkeys(stored_queries(manifest), 0)}
    with progress(total=stored_rows(manifest), unit="passages", description="verifying") as bar:
        for chunk in read_chunks(directory, manifest):
            for name in chunk.damaged():
                if chunk.data.get(name) is not None:
                    rows = "the queries of rows" if name.startswith("vectors.") else "rows"
                    last = chunk.first + chunk.entry["rows"] - 1
                    yield f"{name}: {rows} {chunk.first:,} to {last:,} are not what was written"
            totals["rows"] += chunk.entry["rows"]
            for language, number in chunk.entry["queries"].items():
                totals[language] = totals.get(language, 0) + number
            bar.update(chunk.entry["rows"])
    expected = {"rows": stored_rows(manifest), **stored_queries(manifest)}
    if complete and totals != expected:
        yield f"{CHUNKS_NAME}: describes {totals}, {STORE_KIND.manifest} {expected}"


def index_damage(directory: str | Path) -> Iterator[str]:
    """Yield what is wrong with the files of an index, parts of it included, a line each."""
    yield from check_files(directory, INDEX_KIND, INDEX_KIND.read(directory))

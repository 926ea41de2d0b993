"""``python -m pyserini_xqg.store``: what it tells of a store, and that it finds every damaged byte, of indexes too."""

import os
import random
import shutil

import pytest
from helpers import assert_one_error, corpus_records, directory_bytes, run_command, run_module, write_jsonl

from pyserini_xqg import encode
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.layout import STORE_KIND
from pyserini_xqg.vectors.verify import find_damage, index_damage

ROWS, CHUNK = 23, 5
FILES = ("store.json", "chunks.jsonl", "docids.txt", "passages.npy", "sum.fi.npy", "count.ar.npy", "vectors.ja.npy",
         "centroid.fi.npy")  # fmt: skip


@pytest.fixture(scope="module")
def sound(tiny_encoder, tmp_path_factory):
    """A store with all kinds of files."""
    directory = tmp_path_factory.mktemp("sound")
    corpus = write_jsonl(directory / "corpus.jsonl", corpus_records(ROWS))
    encode.main(
        [
            *("--corpus", str(corpus), "--encoder", tiny_encoder, "--output", str(directory / "store")),
            *("--device", "cpu", "--dtype", "float32", "--chunk-size", str(CHUNK), "--keep-query-vectors"),
        ]
    )
    return directory / "store"


@pytest.fixture
def store(sound, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(sound, tmp_path / "store")


@pytest.fixture
def half(store):
    """A copy with three of five chunks, as a killed process leaves it."""
    lines = (store / "chunks.jsonl").read_bytes().splitlines(keepends=True)
    (store / "chunks.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    manifest = STORE_KIND.read(store)
    STORE_KIND.write(store, {**manifest, "complete": False, "files": {name: {} for name in manifest["files"]}})
    return store


def damage(store) -> list[str]:
    """What is found, an error that ends the search included."""
    places = []
    try:
        places.extend(find_damage(store))
    except XqgError as error:
        places.append(str(error))
    return places


def flip(path, position, bit) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def test_sound_stores_have_no_damage(sound):
    result = run_module("pyserini_xqg.store", "verify", sound)  # as a user types it; the others in this process
    assert (result.returncode, result.stdout) == (0, "")
    size = sum(len(data) for data in directory_bytes(sound).values())
    assert result.stderr == f"{sound}: {size:,} bytes are as they were written\n"


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_is_found(store, name):
    path, chance = store / name, random.Random(name)
    size = path.stat().st_size
    for _ in range(60):
        position, bit = chance.randrange(size), chance.randrange(8)
        flip(path, position, bit)
        found = damage(store)
        # A wrong checksum in chunks.jsonl looks like wrong data.
        assert found, (position, bit)
        assert name == "chunks.jsonl" or all(name in place for place in found), found
        flip(path, position, bit)
    assert damage(store) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 60, 127, 0.5, -2])
def test_any_truncation_is_found(store, name, kept):
    path = store / name
    size = path.stat().st_size
    os.truncate(path, int(kept * size) if isinstance(kept, float) else kept % size)
    found = damage(store)
    assert any(name in place for place in found), found


@pytest.mark.parametrize("name", FILES)
def test_bytes_too_many_and_missing_files_are_found(store, name):
    with open(store / name, "ab") as out:
        out.write(b"{}\n")
    assert any(name in place for place in damage(store))
    (store / name).unlink()
    assert any(name in place for place in damage(store))


def test_place_is_named_with_file_and_rows(store):
    header = 128
    flip(store / "sum.fi.npy", header + 6 * 32 * 4 + 5, 3)
    flip(store / "passages.npy", header + 22 * 32 * 4, 0)
    flip(store / "vectors.ja.npy", header, 7)
    flip(store / "count.ar.npy", 70, 1)
    flip(store / "centroid.fi.npy", header + 4 * 32 * 8, 1)
    assert sorted(damage(store)) == [
        "centroid.fi.npy: rows 20 to 22 are not what was written",
        "count.ar.npy: its header is not that of int32 (23,)",
        "passages.npy: rows 20 to 22 are not what was written",
        "sum.fi.npy: rows 5 to 9 are not what was written",
        "vectors.ja.npy: the queries of rows 0 to 4 are not what was written",
    ]
    result = run_command("store", "verify", store)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert f"{store}/passages.npy: rows 20 to 22 are not what was written" in lines
    assert result.stderr.startswith(f"error: {store}: damaged in 5 places. Restore the files named above")
    assert len(result.stderr.splitlines()) == 1


def test_truncated_file_names_its_sizes_and_rows(store):
    size = (store / "sum.ar.npy").stat().st_size
    os.truncate(store / "sum.ar.npy", 128 + 12 * 32 * 4)
    assert damage(store) == [
        f"sum.ar.npy: has {128 + 12 * 32 * 4:,} bytes, expected {size:,}",
        "sum.ar.npy: rows 10 to 14 are not what was written",
        "sum.ar.npy: rows 15 to 19 are not what was written",
        "sum.ar.npy: rows 20 to 22 are not what was written",
    ]


def test_committed_part_of_an_unfinished_store(half):
    result = run_command("store", "verify", half)
    assert result.returncode == 0, result.stderr
    assert "the committed part of an unfinished store" in result.stderr
    flip(half / "passages.npy", 128 + 20 * 32 * 4, 0)  # will be written again
    assert damage(half) == []
    flip(half / "passages.npy", 128 + 14 * 32 * 4, 0)
    assert damage(half) == ["passages.npy: rows 10 to 14 are not what was written"]


def test_info(store):
    result = run_command("store", "info", store)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"{store}: complete"
    assert f"vectors   {ROWS} passages x 32, float32" in lines
    for language in ("ar", "fi", "ja"):
        texts = [record.get("generated_queries", {}).get(language, []) for record in corpus_records(ROWS)]
        line = f"queries   {language} {sum(map(len, texts))} for {sum(map(bool, texts))} passages, at most 3 each"
        assert line in lines
    sizes = {name: int(number.replace(",", "")) for number, _, name in (line.split() for line in lines[-17:-1])}
    assert sizes == {name: len(data) for name, data in directory_bytes(store).items()}
    assert lines[-1].split() == [f"{sum(sizes.values()):,}", "bytes", "in", "all"]


def test_info_of_an_unfinished_and_a_damaged_store(half):
    (half / "sum.ar.npy").unlink()
    lines = run_command("store", "info", half).stdout.splitlines()
    assert lines[0] == f"{half}: unfinished, 15 of 23 passages (65%)"
    assert [line.split() for line in lines if "missing" in line] == [["missing", "sum.ar.npy"]]


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_store(tmp_path, command):
    assert_one_error(run_command("store", command, tmp_path), f"{tmp_path}: no embedding store there")


def test_merge_command(tiny_encoder, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(9))
    plain = ["--corpus", str(corpus), "--encoder", tiny_encoder, "--device", "cpu", "--chunk-size", "2"]
    encode.main([*plain, "--output", str(tmp_path / "whole")])
    for shard in ("0", "1"):
        encode.main([*plain, "--output", str(tmp_path / shard), "--shard-id", shard, "--shard-num", "2"])
    shards, output = [tmp_path / "1", tmp_path / "0"], tmp_path / "merged"
    result = run_command("store", "merge", *shards, "--output", output)
    assert (result.returncode, result.stderr) == (0, f"{output}: 9 passages from 2 shards\n")
    assert directory_bytes(output) == directory_bytes(tmp_path / "whole")
    assert "rows 4 to 8 of 9" in run_command("store", "info", shards[0]).stdout
    again = run_command("store", "merge", *shards, "--output", output)
    assert (again.returncode, again.stderr) == (0, f"{output}: already there, made of these shards\n")
    result = run_command("store", "merge", *shards, "--output", output, "--overwrite")
    assert result.returncode == 0, result.stderr
    before = directory_bytes(tmp_path)
    for target in shards[0], shards[1] / "inside":
        result = run_command("store", "merge", *shards, "--output", target, "--overwrite")
        assert_one_error(result, f"{target}: ", "which is read" if target.name == "inside" else "is what is read")
    assert directory_bytes(tmp_path) == before


@pytest.mark.parametrize("index", ["augmented", "routed"])
def test_verify_of_an_index(built, tmp_path, index):
    """Any flipped bit, missing file and lost byte; parts of an index too."""
    copy = shutil.copytree(getattr(built, index), tmp_path / "index")
    size = sum(len(data) for data in directory_bytes(copy).values())
    result = run_command("store", "verify", copy)
    assert (result.returncode, result.stderr) == (0, f"{copy}: {size:,} bytes are as they were written\n")
    paths = [path for path in sorted(copy.rglob("*")) if path.is_file() and path.name != "xqg.json"]
    assert {path.name for path in paths} >= {"index", "docid"}
    chance = random.Random(1)
    for path in paths:
        name, data = str(path.relative_to(copy)), path.read_bytes()
        for _ in range(5):
            flip(path, chance.randrange(len(data)), chance.randrange(8))
            assert list(index_damage(copy)) == [f"{name}: was changed after it was written"]
            path.write_bytes(data)
        path.write_bytes(data[:-1])
        assert list(index_damage(copy)) == [f"{name}: has {len(data) - 1:,} bytes, expected {len(data):,}"]
        path.unlink()
        result = run_command("store", "verify", copy)
        assert (result.returncode, result.stdout) == (1, f"{copy / name}: is missing\n")
        assert "damaged in 1 place. Restore the files named above from a copy, or make it again with" in result.stderr
        path.write_bytes(data)
    manifest = copy / "xqg.json"
    manifest.write_text(manifest.read_text().replace('"alpha": 0.5', '"alpha": 0.6'))
    assert_one_error(run_command("store", "verify", copy), "xqg.json: was changed after it was written")

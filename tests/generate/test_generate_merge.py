"""Shards of generated queries: joined, they are the file of one process, byte for byte."""

import json
import os
from pathlib import Path

import pytest
from generation import FAST, generate, interrupt_after

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.merge import merge_queries
from pyserini_xqg.queries import __main__ as queries


def make_shards(source, model, directory, number, *more) -> list[Path]:
    shards = [directory / f"part{shard}.jsonl" for shard in range(number)]
    for shard, path in enumerate(shards):
        generate(source, model, path, *FAST, "--shard-id", shard, "--shard-num", number, *more)
    return shards


@pytest.fixture
def shards(tiny_t5, bare_corpus, tmp_path):
    return make_shards(bare_corpus, tiny_t5, tmp_path, 3)


def contents(path) -> tuple[bytes, bytes]:
    return Path(path).read_bytes(), Path(f"{path}.json").read_bytes()


@pytest.mark.parametrize("number", [2, 7])
def test_merged_shards_are_the_file_of_one_process(tiny_t5, bare_corpus, tmp_path, capsys, number):
    more = ("--quality-check", "resample", "--language-check", "script", "--max-input-length", 30)
    generate(bare_corpus, tiny_t5, tmp_path / "whole.jsonl", *FAST, *more)
    parts = make_shards(bare_corpus, tiny_t5, tmp_path, number, *more)  # seven: more than there are chunks
    assert capsys.readouterr().err.count("unchanged since it was checked") == number - 1
    queries.main(["merge", *map(str, parts[::-1]), "--output", str(tmp_path / "merged.jsonl")])
    assert contents(tmp_path / "merged.jsonl") == contents(tmp_path / "whole.jsonl")
    assert f"{tmp_path / 'merged.jsonl'}: 11 passages, queries: fi " in capsys.readouterr().err


def test_a_shard_says_what_it_is(shards):
    sidecars = [json.loads(Path(f"{shard}.json").read_text()) for shard in shards]
    assert [sidecar["shard"] for sidecar in sidecars] == [
        {"id": 0, "num": 3, "first": 0, "rows": 3},
        {"id": 1, "num": 3, "first": 3, "rows": 3},
        {"id": 2, "num": 3, "first": 6, "rows": 5},
    ]
    assert [len(shard.read_bytes().splitlines()) for shard in shards] == [3, 3, 5]


def refused(parts, output) -> str:
    with pytest.raises(XqgError) as caught:
        merge_queries(parts, output)
    assert not output.exists()
    return str(caught.value)


def test_what_does_not_make_a_file(shards, tiny_t5, bare_corpus, tmp_path, monkeypatch):
    output = tmp_path / "merged.jsonl"
    assert refused(shards[:2], output).startswith("shard 2 of 3 is missing. Pass all of them; one that was never made")
    assert f"{shards[1]}: shard 1 again" in refused([*shards, shards[1]], output)
    assert refused([], output).startswith("no shards to merge. Pass the files that generate --shard-id … wrote")
    assert "nothing: no such file" in refused([tmp_path / "nothing"], output)
    assert "bare.jsonl.json is missing" in refused([bare_corpus], output)
    generate(bare_corpus, tiny_t5, tmp_path / "whole.jsonl", *FAST)
    assert "whole.jsonl: a whole file, not a shard" in refused([shards[0], tmp_path / "whole.jsonl"], output)
    part = ("--shard-id", 1, "--shard-num", 3)
    generate(bare_corpus, tiny_t5, tmp_path / "other.jsonl", *FAST, *part, "--seed", 5)
    message = refused([shards[0], tmp_path / "other.jsonl", shards[2]], output)
    assert f"no shard of the same file as {shards[0]}: seed is 0 there and 5 here. Merge shards of one" in message
    late = tmp_path / "late.jsonl"
    interrupt_after(1, monkeypatch, bare_corpus, tiny_t5, late, *FAST, "--shard-id", 2, "--shard-num", 3)
    message = refused([*shards[:2], late], output)
    assert message.startswith(f"{late}: shard 2 is unfinished, 3 of 5 passages are done. Run the pyserini_xqg.generate")


def test_damaged_shard_and_existing_output(shards, tmp_path):
    output = tmp_path / "merged.jsonl"
    good = shards[1].read_bytes()
    shards[1].write_bytes(good.replace(b"d", b"D", 1))
    assert refused(shards, output).startswith(f"{shards[1]}: is not what pyserini_xqg.generate wrote")
    assert not Path(f"{output}.json").exists()
    shards[1].write_bytes(good)
    merge_queries(shards, output)
    with pytest.raises(XqgError, match=r"merged\.jsonl exists"):
        merge_queries(shards, output)
    merge_queries(shards, output, overwrite=True)
    for inside in (shards[0], Path(f"{shards[0]}.json")):
        with pytest.raises(XqgError, match=r"is what is read|exists and is no|is a directory"):
            merge_queries(shards, inside, overwrite=True)
    os.link(shards[0], tmp_path / "hard.jsonl")
    with pytest.raises(XqgError, match=r"hard\.jsonl: is what is read"):
        merge_queries(shards, tmp_path / "hard.jsonl", overwrite=True)

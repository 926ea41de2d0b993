"""The file of generated queries: what it holds, and that nothing which happens while it grows can spoil it."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate import output as module
from pyserini_xqg.generate.output import (
    WORK,
    QueriesWriter,
    check_queries_output,
    new_counts,
    passage_line,
    read_sidecar,
)
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.text.passages import Passage

ROWS, CHUNK = 11, 3


def settings(**changes):
    return {
        "corpus": {"passages": ROWS, "sha256": "0f"},
        "generator": {"model": "/models/a", "fingerprint": "f00d", "dtype": "float32"},
        "languages": ["fi", "ar"],
        "num_queries": 2,
        "seed": 7,
        "chunk_size": CHUNK,
    } | changes


def line(row):
    return passage_line(Passage(f"d{row}", "", f"Text {row}."), {"fi": [f"Mikä {row}?"] * (row % 3), "ar": ["أين؟"]})


def counted(rows):
    counts = new_counts(["fi", "ar"])
    for row in rows:
        counts["queries"]["fi"] += row % 3
        counts["queries"]["ar"] += 1
        counts["refused"]["fi"]["copy"] += row
        if row % 3 < 2:
            counts["passages_with_fewer_queries"]["fi"] += 1
            counts["examples"]["passages_with_fewer_queries"].append(f"d{row}")
    return counts


def fill(output, stop_after=None, overwrite=False, **changes):
    """Write an output, or so many chunks more of it."""
    with QueriesWriter(output, settings(**changes), overwrite) as writer:
        for number, first in enumerate(range(writer.rows_done, ROWS, CHUNK)):
            if number == stop_after:
                return None
            rows = range(first, min(first + CHUNK, ROWS))
            writer.write([line(row) for row in rows], counted(rows))
        return writer.finish() if stop_after is None else None


def names(directory):
    return sorted(path.name for path in Path(directory).iterdir())


@pytest.fixture
def reference(tmp_path):
    """Output and sidecar of an undisturbed run, as bytes."""
    (tmp_path / "reference").mkdir()
    path = tmp_path / "reference" / "q.jsonl"
    fill(path)
    return path.read_bytes(), Path(f"{path}.json").read_bytes()


def assert_whole(output, reference):
    assert (output.read_bytes(), Path(f"{output}.json").read_bytes()) == reference


def test_output_and_sidecar(tmp_path):
    output = tmp_path / "new" / "q.jsonl"
    fill(output)
    assert names(output.parent) == [".q.jsonl.lock", "q.jsonl", "q.jsonl.json"]
    data = output.read_bytes()
    assert data.decode() == "".join(map(line, range(ROWS)))
    sidecar = read_sidecar(output)
    assert {name: sidecar[name] for name in settings()} == settings()
    assert sidecar["format_version"] == 2
    assert sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    assert sidecar["bytes"] == len(data)
    counts = counted(range(ROWS))
    counts["examples"]["passages_with_fewer_queries"] = ["d0", "d1", "d3", "d4", "d6"]  # the first five
    assert sidecar["counts"] == counts
    assert "torch" in sidecar["versions"]


def test_the_output_is_a_corpus_and_its_sidecar_is_none(tmp_path):
    (tmp_path / "corpus").mkdir()
    fill(tmp_path / "corpus" / "q.jsonl")
    for source in (tmp_path / "corpus", tmp_path / "corpus" / "q.jsonl"):
        passages = list(Corpus(source))
        assert [passage.docid for passage in passages] == [f"d{row}" for row in range(ROWS)]
        assert passages[5].queries == {"ar": ["أين؟"], "fi": ["Mikä 5?"] * 2}
        assert list(passages[3].queries) == ["ar"]


def test_a_line_keeps_what_the_passage_had():
    passage = Passage("7", "T", "Text.", {"ja": ["川"]})
    record = {"docid": "7", "title": "T", "text": "Text.", "generated_queries": {"ja": ["川"], "fi": []}}
    assert json.loads(passage_line(passage, {"fi": []})) == record
    assert json.loads(passage_line(passage, {"fi": ["a"]}, queries_only=True)) == {
        "docid": "7",
        "generated_queries": {"fi": ["a"]},
    }


# Interruptions


STEPS = ((module, "write_sidecar"), (module, "fsync_path"), (os, "replace"), (Path, "unlink"), (Path, "rmdir"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_interrupted_before_each_step_of_the_end(tmp_path, reference, monkeypatch, overwrite):
    """Wherever the last steps are broken off, the same command finishes, and the output is never half there."""
    for stop in range(100):
        output = tmp_path / str(stop) / "q.jsonl"
        if overwrite:
            fill(output, seed=1)
            old = output.read_bytes()
        fill(output, stop_after=9, overwrite=overwrite)
        steps = []

        def counted_step(original, stop=stop, steps=steps):
            def step(*arguments, **options):
                steps.append(original.__name__)
                if len(steps) > stop:
                    raise KeyboardInterrupt
                return original(*arguments, **options)

            return step

        with monkeypatch.context() as patch, QueriesWriter(output, settings(), overwrite) as writer:
            for place, name in STEPS:
                patch.setattr(place, name, counted_step(getattr(place, name)))
            try:
                writer.finish()
                interrupted = False
            except KeyboardInterrupt:
                interrupted = True
        if not interrupted:
            break
        if output.exists():
            assert output.read_bytes() in (reference[0], *([old] if overwrite else []))
        if output.exists() and not (tmp_path / str(stop) / "q.jsonl.work" / "generation.json").exists():
            assert_whole(output, reference)  # only the empty directory was left to remove
            continue
        fill(output, overwrite=overwrite)
        assert_whole(output, reference)
        assert names(output.parent) == [".q.jsonl.lock", "q.jsonl", "q.jsonl.json"]
    assert stop >= 8
    assert {"write_sidecar", "replace", "unlink", "rmdir"} <= set(steps)


def test_a_link_stays(tmp_path, reference):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "real.jsonl", tmp_path / "q.jsonl"
    link.symlink_to(target)
    fill(link)
    assert link.is_symlink()
    assert_whole(target, reference)


# What is refused


def test_existing_output(tmp_path, reference):
    output = tmp_path / "q.jsonl"
    fill(output, seed=1)
    before = output.read_bytes()
    with pytest.raises(
        XqgError, match=r"q\.jsonl exists, generated otherwise: seed is 1 there and 7 now\. Choose another"
    ):
        fill(output)
    assert output.read_bytes() == before
    fill(output, stop_after=2, overwrite=True)
    assert output.read_bytes() == before  # until the new one is complete
    with pytest.raises(XqgError, match=r"q\.jsonl exists"):
        fill(output)
    fill(output, overwrite=True)
    assert_whole(output, reference)


def test_overwrite_continues_the_same_and_discards_other_work(tmp_path, reference):
    output = tmp_path / "q.jsonl"
    fill(output, stop_after=2)
    with QueriesWriter(output, settings(), overwrite=True) as writer:
        assert writer.rows_done == 2 * CHUNK
    with pytest.raises(XqgError, match=r"unfinished work .* with other settings: seed is 7 there and 8 now"):
        fill(output, seed=8)
    with QueriesWriter(output, settings(seed=8), overwrite=True) as writer:
        assert writer.rows_done == 0
    fill(output, overwrite=True)
    assert_whole(output, reference)


def test_damaged_settings_are_nobodys(tmp_path, reference):
    """What cannot be read is not known to be ours: it is named, and left alone."""
    output, work = tmp_path / "q.jsonl", tmp_path / "q.jsonl.work"
    fill(output, stop_after=2)
    manifest = (work / "generation.json").read_text()
    for text in ("{", manifest.replace('"seed": 7', '"seed": 8')):
        (work / "generation.json").write_text(text)
        with pytest.raises(XqgError, match=r"generation\.json: (malformed JSON|was changed after it was written)"):
            fill(output, overwrite=True)
    (work / "generation.json").write_text(manifest)
    fill(output)
    assert_whole(output, reference)


def test_work_without_a_chunk_holds_nobody_up(tmp_path, reference):
    """As a run leaves it that fails in its first chunk."""
    output = tmp_path / "q.jsonl"
    fill(output, stop_after=0, seed=1)
    fill(output)
    assert_whole(output, reference)


def test_work_that_only_waits_to_be_removed_is_not_taken_for_new(tmp_path, reference, monkeypatch):
    output = tmp_path / "q.jsonl"
    fill(output, stop_after=9)
    unlink = Path.unlink

    def interrupted(path, **options):
        if path.name == "generation.json":
            raise KeyboardInterrupt
        unlink(path, **options)

    with QueriesWriter(output, settings()) as writer, monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.finish()
    assert names(tmp_path / "q.jsonl.work") == ["generation.json"]
    with pytest.raises(XqgError, match="seed is 7 there and 8 now"):
        fill(output, seed=8)
    assert_whole(output, reference)
    fill(output)
    assert names(tmp_path) == [".q.jsonl.lock", "q.jsonl", "q.jsonl.json", "reference"]


def test_a_checkpoint_may_lie_elsewhere(tmp_path, reference):
    output = tmp_path / "q.jsonl"
    fill(output, stop_after=2)
    moved = settings()["generator"] | {"model": "/other/a"}
    fill(output, generator=moved)
    assert_whole(output, reference)
    fill(output.with_name("r.jsonl"), stop_after=2)
    with pytest.raises(XqgError, match=r"generator\.model is '/models/a' there and '/other/a' now; generator\.finger"):
        fill(output.with_name("r.jsonl"), generator=moved | {"fingerprint": "beef"})


def test_another_release_is_told(tmp_path, reference, capsys):
    output = tmp_path / "q.jsonl"
    fill(output, stop_after=2)
    path = tmp_path / "q.jsonl.work" / "generation.json"
    manifest = json.loads(path.read_text())
    release = manifest["versions"]["transformers"]
    WORK.write(path.parent, manifest | {"versions": manifest["versions"] | {"transformers": "3.1"}})
    capsys.readouterr()
    fill(output)
    difference = f"transformers is '3.1' there and '{release}' now"
    told = f"{output}: warning: parts of it are made by different releases: {difference}"
    assert capsys.readouterr().err.splitlines() == [told]
    assert output.read_bytes() == reference[0]


def test_foreign_files_in_the_way(tmp_path):
    (tmp_path / "directory").mkdir()
    with pytest.raises(XqgError, match=r"directory: is a directory or a device\. Name a file as --output"):
        check_queries_output(tmp_path / "directory", overwrite=True)
    (tmp_path / "a.jsonl.json").write_text('{"precious": 1}')
    with pytest.raises(XqgError, match=r"a\.jsonl\.json exists and is no description of generated queries"):
        check_queries_output(tmp_path / "a.jsonl", overwrite=True)
    with pytest.raises(XqgError, match="is a directory or a device"):
        check_queries_output("/dev/null", overwrite=True)
    (tmp_path / "b.jsonl.work").mkdir()
    (tmp_path / "b.jsonl.work" / "thesis.tex").write_text("precious")
    with pytest.raises(XqgError, match=r"b\.jsonl\.work exists and is no work .*it holds thesis\.tex"):
        fill(tmp_path / "b.jsonl", overwrite=True)


# A full disk


def fill_up(directory):
    with open(directory / "filler", "wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(4096))


@pytest.mark.parametrize("done", [0, 1, 3, 4])
def test_full_disk_is_named_and_the_output_continues(small_disk, reference, done):
    """With four chunks done, only the sidecar is left to be written."""
    output = small_disk / "q.jsonl"
    fill(output, stop_after=done)
    fill_up(small_disk)
    # The open pages of a file still take some bytes: the error comes when one more is needed.
    try:
        with pytest.raises(
            XqgError, match=r"disk/q\.jsonl.*: the disk is full \(No space left.*run the (same )?command again"
        ):
            fill(output)
    finally:
        (small_disk / "filler").unlink()
    fill(output)
    assert_whole(output, reference)

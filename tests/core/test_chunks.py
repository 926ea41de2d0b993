"""Files that grow by chunks: what is committed survives kills, full disks and meddling, or is refused by name."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers import command_environment, directory_bytes

from pyserini_xqg.core.chunks import ChunkJob, ChunkKind, chunks_of, read_entries, rows_done, stored_chunks
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import BY_CHUNK, check_files

KIND = ChunkKind("notebook", "notes.json", "a notebook", 2, "the notebook command", entry=("rows", "bytes", "sha256"))
HEADERS = {"words.txt": b"", "table.bin": b"HEAD"}
FILES = (*HEADERS, "chunks.jsonl")
CHUNKS = [(2, b"one\ntwo\n", b"\x01\x02"), (1, b"three\n", b""), (3, b"\n\n\n", b"\x03" * 99)]
ROWS = 6


def sizes(entry):
    return {"words.txt": entry["bytes"][0], "table.bin": entry["bytes"][1]}


def job(directory, seed=1, **how):
    return ChunkJob(directory, KIND, {"seed": seed, "model": {"name": "a"}}, HEADERS, sizes, **how)


def append(writer, chunk):
    rows, words, table = chunk
    writer.append({"rows": rows, "bytes": [len(words), len(table)]}, {"words.txt": words, "table.bin": table})


def fill(directory, stop_after=None, **how):
    """Write the notebook, or so many chunks of it; one that is begun is continued."""
    with job(directory, **how) as writer:
        done = {0: 0, 2: 1, 3: 2, 6: 3}[writer.rows_done]
        for chunk in [] if writer.finished else CHUNKS[done:stop_after]:
            append(writer, chunk)
        if stop_after is None and not writer.finished:
            writer.finish(ROWS)
    return directory


@pytest.fixture
def whole(tmp_path):
    """Name to bytes of a notebook that was written without a fault."""
    return directory_bytes(fill(tmp_path / "whole"))


def test_files_hold_their_header_and_the_chunks(tmp_path, whole):
    assert whole["words.txt"] == b"".join(words for _, words, _ in CHUNKS)
    assert whole["table.bin"] == b"HEAD" + b"".join(table for _, _, table in CHUNKS)
    assert rows_done(tmp_path / "whole", KIND) == ROWS
    entries = list(read_entries(tmp_path / "whole", KIND))
    assert [(entry["chunk"], entry["rows"]) for entry in entries] == [(0, 2), (1, 1), (2, 3)]
    manifest = json.loads(whole["notes.json"])
    assert manifest["complete"] is True
    assert manifest["files"]["words.txt"] == {"bytes": 17, "sha256": BY_CHUNK}
    assert manifest["files"]["table.bin"] == {"bytes": 105, "sha256": BY_CHUNK}
    assert len(manifest["files"]["chunks.jsonl"]["sha256"]) == 64
    chunks = list(stored_chunks(tmp_path / "whole", KIND, {"words.txt": 0, "table.bin": 4}, sizes))
    assert [(chunk.first, chunk.data["words.txt"]) for chunk in chunks] == [
        (0, b"one\ntwo\n"),
        (2, b"three\n"),
        (3, b"\n\n\n"),
    ]
    assert [chunk.damaged() for chunk in chunks] == [[], [], []]


def test_a_finished_one_is_left_as_it_is(tmp_path, whole):
    with job(tmp_path / "whole") as writer:
        assert writer.finished
        assert writer.rows_done == ROWS
    assert directory_bytes(tmp_path / "whole") == whole
    with (
        pytest.raises(XqgError, match="holds a finished notebook with other settings: seed is 1 there and 2 now"),
        job(tmp_path / "whole", 2),
    ):
        pytest.fail("entered")
    fill(tmp_path / "whole", seed=2, overwrite=True)
    assert KIND.read(tmp_path / "whole")["seed"] == 2


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_what_was_not_committed_is_written_again(tmp_path, whole, stop):
    directory = fill(tmp_path / "a", stop)
    for name in FILES:
        with open(directory / name, "ab") as out:
            out.write(b"torn")
    (directory / ".notes.json.4711.partial").write_text("{")
    fill(directory, stop)  # commits nothing more
    assert rows_done(directory, KIND) == sum(rows for rows, _, _ in CHUNKS[:stop])
    assert (directory / "words.txt").read_bytes() == b"".join(words for _, words, _ in CHUNKS[:stop])
    assert directory_bytes(fill(directory)) == whole


class FailsMidway:
    """A stream that writes half of what it is given, then fails as a disk does."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        self.stream.write(data[: max(1, len(data) // 2)])
        raise OSError(errno.EIO, "Input/output error")

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.mark.parametrize("done", [0, 2])
@pytest.mark.parametrize("name", FILES)
def test_failure_in_the_middle_of_a_write(tmp_path, whole, name, done):
    with pytest.raises(OSError, match="Input/output"), job(tmp_path / "a") as writer:
        for number, chunk in enumerate(CHUNKS):
            if number == done:
                writer._files[name] = FailsMidway(writer._files[name])
            append(writer, chunk)
    assert directory_bytes(fill(tmp_path / "a")) == whole


# What lies on the disk is looked at, before work goes on and before it is called done


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def cut(path, number=1):
    os.truncate(path, path.stat().st_size - number)


def drop_first_line(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


MEDDLING = {
    "flipped": (lambda place: flip(place / "words.txt", 1), r"words\.txt: damaged in rows 0 to 1\. Restore it"),
    "flipped later": (lambda place: flip(place / "words.txt", 9), r"words\.txt: damaged in rows 2 to 2\."),
    "flipped table": (lambda place: flip(place / "table.bin", 5), r"table\.bin: damaged in rows 0 to 1\."),
    "cut": (lambda place: cut(place / "words.txt", 4), r"words\.txt: damaged in rows 2 to 2\."),
    "removed": (lambda place: (place / "table.bin").unlink(), r"table\.bin: missing in rows 0 to 1\."),
    "first line lost": (
        lambda place: drop_first_line(place / "chunks.jsonl"),
        r"chunks\.jsonl: damaged in line 1 \(chunk 1 where chunk 0 was expected\)\. Restore it from a copy, or make",
    ),
    "line with more": (
        lambda place: (place / "chunks.jsonl").write_bytes(b'{"chunk": 0, "rows": 2}\n'),
        r"chunks\.jsonl: damaged in line 1",
    ),
    "no JSON": (lambda place: flip(place / "chunks.jsonl", 0), r"chunks\.jsonl: damaged in line 1"),
    "manifest edited": (
        lambda place: (place / "notes.json").write_text(
            (place / "notes.json").read_text().replace('"seed": 1', '"seed": 3')
        ),
        r"notes\.json: was changed after it was written\. Restore it from a copy",
    ),
    "manifest of 0.1": (
        lambda place: (place / "notes.json").write_text('{"format": "a notebook", "format_version": 1}'),
        "version 1, expected 'a notebook' version 2. Make it again with the notebook command",
    ),
}


@pytest.mark.parametrize("case", MEDDLING)
def test_a_resume_checks_what_it_builds_on(tmp_path, case):
    meddle, message = MEDDLING[case]
    directory = fill(tmp_path / "a", 2)
    meddle(directory)
    before = directory_bytes(directory)
    with pytest.raises(XqgError, match=message) as caught, job(directory):
        pytest.fail("entered")
    assert str(tmp_path / "a") in str(caught.value)
    assert directory_bytes(directory) == before


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_is_never_built_on(tmp_path, whole, seed):
    """A flipped byte in any committed file is refused; what comes out otherwise is the whole."""
    chance = random.Random(seed)
    fill(tmp_path / "half", 2)
    for turn in range(40):
        directory = shutil.copytree(tmp_path / "half", tmp_path / f"{turn}")
        path = directory / chance.choice([*FILES, "notes.json"])
        flip(path, chance.randrange(path.stat().st_size))
        try:
            fill(directory)
        except XqgError:
            continue
        assert directory_bytes(directory) == whole, path  # the header is written again


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (lambda place: flip(place / "words.txt", 1), r"words\.txt: damaged in rows 0 to 1"),
        (lambda place: cut(place / "table.bin"), None),  # brought back to its length, and found to hold zeros
        (lambda place: drop_first_line(place / "chunks.jsonl"), r"chunks\.jsonl: damaged in line 1"),
        (lambda place: (place / "chunks.jsonl").write_bytes(b""), r"chunks\.jsonl: has 0 chunks, 3 were committed"),
        (lambda place: (place / "chunks.jsonl").unlink(), r"chunks\.jsonl: has 0 chunks, 3 were committed"),
        (lambda place: (place / "words.txt").unlink(), r"words\.txt: missing in rows 0 to 1"),
        (lambda place: (place / "notes.json").unlink(), "a: was removed while it was written"),
        (shutil.rmtree, r"has 0 chunks, 3 were committed"),
    ],
)
def test_the_end_checks_what_is_on_the_disk(tmp_path, case, message):
    with job(tmp_path / "a") as writer:
        for chunk in CHUNKS:
            append(writer, chunk)
        case(tmp_path / "a")
        with pytest.raises(XqgError, match=message or r"table\.bin: damaged in rows 3 to 5"):
            writer.finish(ROWS)
    assert not (KIND.is_at(tmp_path / "a") and KIND.read(tmp_path / "a")["complete"])


def test_too_few_rows_do_not_finish(tmp_path):
    with job(tmp_path / "a") as writer:
        append(writer, CHUNKS[0])
        with pytest.raises(XqgError, match=r"2 of 6 passages were written\. The corpus changed while it was read"):
            writer.finish(ROWS)
    assert KIND.read(tmp_path / "a")["complete"] is False


def test_a_finished_one_that_lost_bytes_is_named(tmp_path, whole):
    cut(tmp_path / "whole" / "words.txt")
    flip(tmp_path / "whole" / "chunks.jsonl", 4)
    assert sorted(check_files(tmp_path / "whole", KIND, KIND.read(tmp_path / "whole"))) == [
        "chunks.jsonl: was changed after it was written",
        "words.txt: has 16 bytes, expected 17",
    ]
    (tmp_path / "whole" / "table.bin").unlink()
    with pytest.raises(XqgError, match=r"chunks\.jsonl: damaged"):
        next(stored_chunks(tmp_path / "whole", KIND, {"words.txt": 0, "table.bin": 4}, sizes))


def test_a_missing_file_is_damage(tmp_path, whole):
    (tmp_path / "whole" / "table.bin").unlink()
    chunk, *_ = stored_chunks(tmp_path / "whole", KIND, {"words.txt": 0, "table.bin": 4}, sizes)
    assert chunk.data["table.bin"] is None
    assert chunk.damaged() == ["table.bin"]


# Kills, other processes, full disks

_SLOW = """
import hashlib, sys, time
from pyserini_xqg.core.chunks import ChunkJob, ChunkKind
kind = ChunkKind("notebook", "notes.json", "a notebook", 2, "a test", entry=("rows", "sha256"))
names = [f"{number}.bin" for number in range(6)]
with ChunkJob(sys.argv[1], kind, {}, dict.fromkeys(names, b"HEAD"), lambda entry: dict.fromkeys(names, 1 << 14)) as job:
    print("holds", flush=True)
    if sys.argv[2:]:
        sys.stdin.read()
    for number in [] if job.finished else range(job.rows_done, 100):
        data = hashlib.sha256(str(number).encode()).digest() * 512
        job.append({"rows": 1}, {name: data for name in names})
    if not job.finished:
        job.finish(100)
"""


def start(directory, *more) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(_SLOW), directory, *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=command_environment())


def test_kill_nine_at_twenty_random_moments(tmp_path, record_property):
    """Kills spread over the whole work: what is then finished is what an undisturbed process writes, byte for byte."""
    assert start(tmp_path / "whole").wait() == 0
    chance, log, moments = random.Random(2305), tmp_path / "a" / "chunks.jsonl", []
    for target in sorted(chance.randrange(92) for _ in range(20)):
        process = start(tmp_path / "a")
        while process.poll() is None and (log.read_bytes().count(b"\n") if log.exists() else 0) < target:
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        lines = log.read_bytes().count(b"\n") if log.exists() else 0
        sizes_ = [path.stat().st_size for path in (tmp_path / "a").glob("*.bin")]
        moments.append((lines, any(size > 4 + lines * (1 << 14) for size in sizes_)))
    record_property("kills", str(moments))
    assert any(in_a_write for _, in_a_write in moments), moments
    assert max(lines for lines, _ in moments) < 100
    assert start(tmp_path / "a").wait() == 0
    assert directory_bytes(tmp_path / "a") == directory_bytes(tmp_path / "whole")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_process_is_refused(tmp_path, overwrite):
    with start(tmp_path / "a", "wait") as other:
        assert other.stdout.readline() == b"holds\n"
        before = directory_bytes(tmp_path / "a")
        kind = ChunkKind("notebook", "notes.json", "a notebook", 2, "a test", entry=("rows", "sha256"))
        with (
            pytest.raises(XqgError, match=r"a: another process is writing it \(it holds .*a/\.lock\)"),
            ChunkJob(tmp_path / "a", kind, {}, {}, lambda entry: {}, overwrite=overwrite),
        ):
            pytest.fail("entered")
        assert directory_bytes(tmp_path / "a") == before
        other.kill()
        other.wait()
    assert start(tmp_path / "a").wait() == 0


def fill_up(directory):
    """Take all that is left of a disk."""
    with open(directory / "filler", "wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        while True:
            out.write(bytes(4096))


BIG = [(1, bytes(5000), bytes(5000))] * 4


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_full_disk_is_named_and_the_work_continues(small_disk, tmp_path, done):
    message = r"a: the disk is full \(No space left.*Free some space and run the same command again: it continues"
    no_manifest = r"a/notes\.json: the disk is full .*run the command again"
    with job(tmp_path / "whole") as writer:
        for chunk in BIG:
            append(writer, chunk)
        writer.finish(4)
    with job(small_disk / "a") as writer:
        for chunk in BIG[:done]:
            append(writer, chunk)
        fill_up(small_disk)
        # The open pages of a file still take some bytes: the error comes when one more is needed.
        with pytest.raises(XqgError, match=message):
            for chunk in BIG[done:]:
                append(writer, chunk)
    (small_disk / "filler").unlink()
    with job(small_disk / "a") as writer:
        assert writer.rows_done >= done
        for chunk in BIG[writer.rows_done :]:
            append(writer, chunk)
        fill_up(small_disk)
        with pytest.raises(XqgError, match=no_manifest):
            writer.finish(4)
        (small_disk / "filler").unlink()
        writer.finish(4)
    assert directory_bytes(small_disk / "a") == directory_bytes(tmp_path / "whole")
    (small_disk / "b").mkdir()
    fill_up(small_disk)
    with pytest.raises(XqgError, match=r"b/notes\.json: the disk is full"), job(small_disk / "b"):
        pytest.fail("entered")


def test_chunks_of_no_items():
    assert list(chunks_of([], 3)) == []
    assert list(chunks_of(range(6), 3)) == [[0, 1, 2], [3, 4, 5]]

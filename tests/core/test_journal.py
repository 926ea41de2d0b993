"""The chunk journal by itself: files of any kind, committed chunk by chunk. Its use for stores is in test_store.py."""

import json

import pytest
from helpers import directory_bytes

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.old_journal import Journal, JournalKind, differing, read_entries, rows_done, stored_chunks

KIND = JournalKind(
    "notes.json", "notebook", "notebook", ("rows", "bytes", "sha256"), "Write it again.", "remove it", differing
)
HEADERS = {"words.txt": b"", "table.bin": b"HEAD"}
CHUNKS = [(2, b"one\ntwo\n", b"\x01\x02"), (1, b"three\n", b""), (3, b"\n\n\n", b"\x03" * 99)]


def sizes(entry):
    return {"words.txt": entry["bytes"][0], "table.bin": entry["bytes"][1]}


def journal(directory, **changes):
    settings = {"seed": 1, "model": {"name": "a"}}
    return Journal(directory, KIND, settings | changes.pop("settings", {}), HEADERS, sizes, **changes)


def fill(directory, stop_after=None, **changes):
    with journal(directory, **changes) as writer:
        done = {0: 0, 2: 1, 3: 2, 6: 3}[writer.rows_done]
        for rows, words, table in CHUNKS[done:stop_after]:
            entry = {"rows": rows, "bytes": [len(words), len(table)]}
            writer.append(entry, {"words.txt": words, "table.bin": table})
    return directory


def test_files_hold_their_header_and_the_chunks(tmp_path):
    found = directory_bytes(fill(tmp_path / "a"))
    assert found["words.txt"] == b"".join(words for _, words, _ in CHUNKS)
    assert found["table.bin"] == b"HEAD" + b"".join(table for _, _, table in CHUNKS)
    assert json.loads(found["notes.json"]) == {"seed": 1, "model": {"name": "a"}}
    assert rows_done(tmp_path / "a", KIND) == 6
    assert [entry["rows"] for entry in read_entries(tmp_path / "a", KIND)] == [2, 1, 3]


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_what_was_not_committed_is_cut_off_on_resume(tmp_path, stop):
    whole = directory_bytes(fill(tmp_path / "whole"))
    fill(tmp_path / "a", stop)
    for name in ("words.txt", "table.bin", "chunks.jsonl"):
        with open(tmp_path / "a" / name, "ab") as out:
            out.write(b"torn")
    fill(tmp_path / "a", stop)  # commits nothing more
    assert rows_done(tmp_path / "a", KIND) == sum(rows for rows, _, _ in CHUNKS[:stop])
    assert (tmp_path / "a" / "words.txt").read_bytes() == b"".join(words for _, words, _ in CHUNKS[:stop])
    assert directory_bytes(fill(tmp_path / "a")) == whole


def test_chunks_read_back_and_damage_is_found(tmp_path):
    fill(tmp_path / "a")
    path = tmp_path / "a" / "table.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    chunks = list(stored_chunks(tmp_path / "a", KIND, {"words.txt": 0, "table.bin": 4}, sizes))
    assert [(chunk.first, chunk.data["words.txt"]) for chunk in chunks] == [
        (0, b"one\ntwo\n"),
        (2, b"three\n"),
        (3, b"\n\n\n"),
    ]
    assert [chunk.damaged() for chunk in chunks] == [[], [], ["table.bin"]]


def test_lost_bytes_and_other_settings_are_refused_with_the_cure(tmp_path):
    fill(tmp_path / "a", 2)
    with pytest.raises(XqgError, match=r"half-done notebook with other settings: model\.name is 'a' there and 'b' now"):
        fill(tmp_path / "a", settings={"model": {"name": "b"}})
    (tmp_path / "a" / "words.txt").write_bytes(b"one")
    with pytest.raises(XqgError, match=r"words\.txt has 3 bytes, at least 14 bytes were committed.*or remove it\."):
        fill(tmp_path / "a")
    (tmp_path / "a" / "chunks.jsonl").write_text('{"rows": 2}\n')
    with pytest.raises(XqgError, match=r"chunks\.jsonl: damaged in line 1 .*Write it again\."):
        fill(tmp_path / "a")


def test_a_lock_outside_the_directory_names_the_output(tmp_path):
    options = {"lock": tmp_path / ".words.lock", "output": tmp_path / "words"}
    with journal(tmp_path / "a", **options):
        with pytest.raises(XqgError, match=r"words: another process is writing it"):
            fill(tmp_path / "a", **options)
        assert not (tmp_path / "a" / ".lock").exists()
    fill(tmp_path / "a", **options)

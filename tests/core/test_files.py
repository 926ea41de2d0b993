"""Reading lines with their numbers, reading ahead, hashing while writing; outputs are in test_output.py."""

import bz2
import gzip
import hashlib
import lzma
import os

import pytest

from pyserini_xqg.core import files
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import (
    HashedFile,
    open_text,
    read_ahead,
    read_json,
    read_jsonl,
    read_lines,
    sha256_file,
)


def test_lines_end_at_newlines_only(tmp_path):
    path = tmp_path / "a.txt"
    # Unicode's own line separators, form feeds and a lone CR are part of a line.
    path.write_bytes("one\u2028still\x0cone\ntwo\r\n\rthree\x85\n\nfive".encode())
    assert list(read_lines(path)) == [
        (1, "one\u2028still\x0cone"),
        (2, "two"),
        (3, "\rthree\x85"),
        (4, ""),
        (5, "five"),
    ]


def test_gz_is_read_as_the_plain_file(tmp_path):
    text = "".join(f'{{"n": {number}, "t": "日本"}}\n' for number in range(2000))
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    plain = list(read_jsonl(tmp_path / "a.jsonl"))
    assert plain == list(read_jsonl(tmp_path / "a.jsonl.gz"))
    assert plain[1234] == (1235, {"n": 1234, "t": "日本"})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "line 3: an empty line"),
        ("   ", "line 3: an empty line"),
        ('{"docid": "a",', "line 3: malformed JSON (Expecting property name enclosed in double quotes, column"),
        ("{} {}", "line 3: malformed JSON (Extra data, column 4)"),
        ("[1]", "line 3: a JSON list where an object"),
        ("null", "line 3: a JSON NoneType where an object"),
        ('{"n": ' + "1" * 5000 + "}", "line 3: malformed JSON ("),
        ("[" * 200_000, "line 3: malformed JSON ("),
    ],
)
def test_malformed_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(XqgError) as caught:
        list(read_jsonl(path))
    assert str(caught.value).startswith(f"{path}, {message}")
    assert "Every line must be one JSON object." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_not_utf8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" * 3 + "Kivelä\n".encode("latin-1"))
    with pytest.raises(XqgError, match=r"a\.txt, after line \d+: not UTF-8 .*Convert the file to UTF-8"):
        list(read_lines(path))


def corrupted(data: bytes) -> bytes:
    """The same gzip data with a stretch in the middle overwritten."""
    middle = len(data) // 2
    return data[:middle] + b"\xff" * 40 + data[middle + 40 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-4],
        corrupted,
        lambda data: data[:-8] + b"\0" * 8,
    ],
    ids=["half", "tail missing", "corrupted", "wrong checksum"],
)
def test_broken_gzip(tmp_path, damage):
    path = tmp_path / "a.txt.gz"
    lines = "".join(f"{hashlib.sha256(str(number).encode()).hexdigest()}\n" for number in range(5000))
    path.write_bytes(damage(gzip.compress(lines.encode())))
    with pytest.raises(XqgError, match=r"a\.txt\.gz, after line \d+: broken gzip data .*Fetch the file again"):
        list(read_lines(path))


def test_what_a_file_is_decides_not_its_name(tmp_path):
    content = "\ufeffä\nb\r\n".encode()
    for name, data in [("a.txt", content), ("a.gz", gzip.compress(content)), ("packed.txt", gzip.compress(content))]:
        (tmp_path / name).write_bytes(data)
        assert list(read_lines(tmp_path / name)) == [(1, "ä"), (2, "b")]  # without the byte order mark


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt.gz", b"no gzip at all\n", "its name says gzip, but it is not"),
        ("a.txt", bz2.compress(b"text"), "a bzip2 file where text was expected. Unpack"),
        ("a.txt", lzma.compress(b"text"), "a xz file where text"),
        ("a.txt", b"PK\x03\x04rest", "a zip file where text"),
        ("a.txt", "text".encode("utf-16"), "not UTF-8 but UTF-16"),
        ("a.jsonl", b'{\n "id": 1\n}\n', "line 1: JSON over several lines. Every line must be one JSON object"),
        ("a.jsonl", b'["a"]\n', "line 1: a JSON list where an object was expected"),
        ("a.jsonl", gzip.compress(b'{"a": "' + b"x" * (files.MOST_CHARACTERS + 10)), "line 1: more than 67,108,864"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(XqgError) as caught:
        list(read_jsonl(tmp_path / name))
    assert str(caught.value).startswith(f"{tmp_path / name}") and message in str(caught.value)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(XqgError, match=r"nowhere\.txt: no such file"):
        open_text(tmp_path / "nowhere.txt")
    with pytest.raises(XqgError, match="a directory where a file was expected"):
        open_text(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b"", b'{"n": ' + b"1" * 5000 + b"}"])
def test_read_json_refuses(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(XqgError, match=r"a\.json: .*Build it again"):
        read_json(path)
    with pytest.raises(XqgError, match="no such file"):
        read_json(tmp_path / "b.json")


def test_sha256_file(tmp_path):
    data = os.urandom(300_000)
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


# Reading ahead, hashing while writing


def test_read_ahead_keeps_order_and_stays_a_few_items_ahead():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    for number in read_ahead(items(), 3):
        assert number == made[number]
        assert len(made) <= number + 1 + 3
    assert made == list(range(50))


@pytest.mark.parametrize("error", [XqgError("damaged"), KeyboardInterrupt(), OSError("no disk")])
def test_an_error_ahead_comes_in_its_place(error):
    def items():
        yield from range(4)
        raise error

    taken = []
    with pytest.raises(type(error)) as caught:
        taken.extend(read_ahead(items()))
    assert caught.value is error
    seen = []
    with pytest.raises(type(error)):
        for number in read_ahead(items()):
            seen.append(number)
    assert seen == [0, 1, 2, 3]


def test_read_ahead_that_is_left_early_reads_no_further():
    made = []
    for number in read_ahead((made.append(number) or number for number in range(1000)), 2):
        if number == 5:
            break
    assert len(made) < 12


def test_hashed_file(tmp_path):
    with HashedFile(tmp_path / "file") as out:
        for part in (b"abc", bytes(3_000_000), b""):
            out.write(part)
    data = b"abc" + bytes(3_000_000)
    assert (tmp_path / "file").read_bytes() == data
    assert out.sha256 == hashlib.sha256(data).hexdigest() == sha256_file(tmp_path / "file")

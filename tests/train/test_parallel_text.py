"""Parallel sentences: what is read, what is held out, what must not be seen, and what is refused."""

import gzip

import pytest
from trainings import sentences, write_pair

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.parallel_text import read_parallel


def test_pairs_of_files_and_tsvs_give_the_same_pairs(tmp_path):
    pairs = sentences("fi", 5)
    two = tmp_path / "two.tsv"
    two.write_text("".join(f"{one}\t{other}\n" for one, other in pairs))
    (tmp_path / "two.tsv.gz").write_bytes(gzip.compress(two.read_bytes()))
    expected = [(one, other, "fi") for one, other in pairs]
    for source in (write_pair(tmp_path, "fi", 5), f"fi={two}", f"fi={two}.gz"):
        found = read_parallel([source]).training
        assert [(pair.english, pair.translation, pair.language) for pair in found] == expected


def test_the_last_pairs_of_the_first_source_are_held_out_and_their_texts_are_nowhere_else(tmp_path):
    first, second, third = write_pair(tmp_path, "fi", 20), tmp_path / "second.tsv", tmp_path / "third.tsv"
    held_out = sentences("fi", 20)[-4:]
    # The English of one and the Finnish of another come again, in other writing.
    second.write_text(f"another sentence\t{held_out[1][1].title()} ?\na third one\tkolmas\n")
    third.write_text(f"{held_out[0][0].upper()}!\ttoinen lause\n" + "".join(f"{n}\tviides {n}\n" for n in range(5)))
    data = read_parallel([first, f"fi={second}", first, f"ru={third}"], held_out=4)
    assert [(pair.english, pair.translation) for pair in data.held_out["fi"]] == held_out
    assert len(data.training) == 16 + 1 + 16 + 1  # a source that is named twice counts twice
    assert data.dropped == 4 + 1 + 4 + 1 + 4
    assert not {pair.english for pair in data.training} & {english for english, _ in held_out}


def test_excluded_texts_are_left_out_on_either_side(tmp_path):
    source = write_pair(tmp_path, "ru", 10)
    pairs = sentences("ru", 10)
    (tmp_path / "test.txt").write_text(f"{pairs[2][0]}?\n{pairs[5][1].upper()}\n")
    found = read_parallel([source], exclude=[str(tmp_path / "test.txt")])
    assert [pair.english for pair in found.training] == [pair[0] for row, pair in enumerate(pairs) if row not in (2, 5)]
    assert found.dropped == 2


def test_empty_sides_are_left_out_and_counted(tmp_path, capsys):
    (tmp_path / "a.tsv").write_text("one\tyksi\n \tkaksi\nthree\t\n")
    assert len(read_parallel([f"fi={tmp_path}/a.tsv"]).training) == 1
    assert "2 of 3 pairs have an empty side and are left out; the first: line 2" in capsys.readouterr().err


def test_the_fingerprint_tells_data_apart(tmp_path):
    one, other = (read_parallel([write_pair(tmp_path, "fi", 9, seed)]).fingerprint() for seed in (0, 1))
    assert one != other
    assert one == read_parallel([write_pair(tmp_path, "fi", 9)]).fingerprint()


@pytest.mark.parametrize(
    ("contents", "source", "options", "phrase"),
    [
        ({"e": "a\nb\n", "f": "x\n"}, "fi={d}/e:{d}/f", {}, "f ends after 1 lines, {d}/e goes on: line N of one must"),
        ({"e": "a\n", "f": "x\ny\nz\n"}, "fi={d}/e:{d}/f", {}, "e ends after 1 lines, {d}/f goes on"),
        ({"e": "a\n"}, "fi={d}/e:{d}/none", {}, "none: no such file"),
        ({"e": "a\n", "f": "x\n"}, "{d}/e:{d}/f", {}, "no language. Write LANG="),
        ({"e": "a\tx\n"}, "xx={d}/e", {}, "unknown language code 'xx'"),
        (
            {"e": "a\tx\nb\n"},
            "fi={d}/e",
            {},
            "e, line 2: 1 columns, expected 2 with tabs between: English",
        ),
        ({"e": "a\tx\n"}, "{d}/e", {}, "no language. Write LANG="),
        ({"e": ""}, "fi={d}/e", {}, "no pairs. Expected LANG="),
        ({"e": "a\tx\nb\ty\n"}, "fi={d}/e", {"held_out": 2}, "--held-out 2: fi=.* has only 2 pairs in fi"),
        ({"e": "a\tx\na\ty\n"}, "fi={d}/e", {"held_out": 1}, "no pair is left to train on"),
    ],
)
def test_faults_are_named(tmp_path, contents, source, options, phrase):
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(XqgError, match=phrase.replace("{d}", str(tmp_path))):
        read_parallel([source.replace("{d}", str(tmp_path))], **options)

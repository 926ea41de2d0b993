"""Pieces are made once, and only with the settings they were begun with."""

import json

import pytest

from pyserini_xqg.compare.workplace import directory_size, open_workplace
from pyserini_xqg.core.errors import XqgError


def never():
    raise AssertionError("made again")


def test_a_piece_is_made_once(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        assert place.result("run.sum") is None
        assert place.piece("run.sum", {"alpha": 0.01}, lambda: {"bytes": 7}) == {"bytes": 7}
    with open_workplace(tmp_path / "out") as place:
        assert place.piece("run.sum", {"alpha": 0.01}, never) == {"bytes": 7}
        assert place.result("run.sum") == {"bytes": 7}


def test_other_settings_are_refused_and_named(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        place.piece("run.sum", {"alpha": 0.01, "of": {"hits": 10}}, dict)
        for refuse in (place.check, lambda name, settings: place.piece(name, settings, never)):
            with pytest.raises(
                XqgError, match=r"run.sum was made otherwise: of.hits is 10 there and 20 now.*--overwrite"
            ):
                refuse("run.sum", {"alpha": 0.01, "of": {"hits": 20}})
        place.check("run.mean", {"alpha": 0.5})  # not made yet


def test_a_piece_that_failed_is_not_noted(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        with pytest.raises(AssertionError):
            place.piece("run.sum", {}, never)
        assert place.piece("run.sum", {}, lambda: {"bytes": 1}) == {"bytes": 1}


def test_a_product_that_is_gone_is_made_again(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        product, made = place.runs / "sum.txt", []

        def make():
            made.append(product.write_text("a run"))
            return {"made": len(made)}

        assert [place.piece("run.sum", {}, make, product)["made"] for _ in range(2)] == [1, 1]
        product.unlink()
        assert [place.piece("run.sum", {}, make, product)["made"] for _ in range(2)] == [2, 2]


def test_a_product_that_was_changed(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        product = place.runs / "sum.txt"
        place.piece("run.sum", {}, lambda: {"bytes": product.write_text("a run")}, product)
        product.write_text("another run")
        with pytest.raises(XqgError, match=r"sum.txt: was changed since it was made. Remove it"):
            place.piece("run.sum", {}, never, product)


def test_a_second_process_is_refused(tmp_path):
    with open_workplace(tmp_path / "out"), pytest.raises(XqgError, match="another process is writing it"):
        open_workplace(tmp_path / "out").__enter__()


def test_overwrite_begins_anew(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        place.piece("run.sum", {"alpha": 1}, dict)
        (place.runs / "sum.txt").write_text("a run")
        (place.directory / "table.md").write_text("a table")
    with open_workplace(tmp_path / "out", overwrite=True) as place:
        assert place.piece("run.sum", {"alpha": 2}, lambda: {"bytes": 2}) == {"bytes": 2}
        assert not (place.runs / "sum.txt").exists() and not (place.directory / "table.md").exists()


def test_other_places_are_left_alone(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "thesis.tex").write_text("mine")
    for name, cause in (("file", "is a file"), ("directory", "no comparison .it holds thesis.tex")):
        with pytest.raises(XqgError, match=cause):
            open_workplace(tmp_path / name, overwrite=True).__enter__()
    assert (tmp_path / "directory" / "thesis.tex").read_text() == "mine"


def test_a_broken_note(tmp_path):
    with open_workplace(tmp_path / "out") as place:
        place.piece("run.sum", {}, dict)
        note = place.directory / "pieces" / "run.sum.json"
        note.write_text("{")
        with pytest.raises(XqgError, match="malformed JSON"):
            place.piece("run.sum", {}, never)
        note.write_text(json.dumps({"format": "another"}))
        with pytest.raises(XqgError, match=r"expected 'pyserini-xqg comparison'.*--overwrite"):
            place.piece("run.sum", {}, never)


def test_size_of_an_index(tmp_path):
    (tmp_path / "fi").mkdir()
    for name, size in (("index", 100), ("fi/index", 20), ("write.lock", 3), (".lock", 1)):
        (tmp_path / name).write_bytes(b"x" * size)
    assert directory_size(tmp_path) == 120

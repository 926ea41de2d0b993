"""Long work on a directory: begun, continued, refused with other settings, made of pieces."""

import multiprocessing
import os

import pytest
from helpers import directory_bytes

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.job import Job, check_job
from pyserini_xqg.core.kinds import Kind

KIND = Kind("notebook", "notes.json", "a notebook", 2, "the notebook command", ignored=("speed", "pages"))


def job(output, seed=1, **how):
    return Job(output, KIND, {"seed": seed, "speed": 5}, **how)


def write(output, text="a", seed=1, **how):
    with job(output, seed, **how) as work:
        if not work.finished:
            (work.directory / "a.txt").write_text(text)
            work.finish(pages=1)
    return output


def test_begun_and_finished(tmp_path):
    output = tmp_path / "deep" / "out"
    with job(output, listed=("a.txt", "free/")) as work:
        assert not work.finished
        begun = KIND.read(output)
        assert (begun["complete"], begun["files"]) == (False, {"a.txt": {}, "free/": {}})
        (output / "a.txt").write_text("abc")
        (output / "free").mkdir()
        (output / "free" / "b.txt").write_text("b")
        work.finish(pages=1, listed=("free/",))
        assert work.finished
    found = KIND.read(output)
    assert (found["complete"], found["seed"], found["pages"]) == (True, 1, 1)
    assert found["files"].keys() == {"a.txt", "free/"}
    assert found["files"]["a.txt"]["bytes"] == 3


def test_a_finished_one_is_left_as_it_is_and_other_settings_are_refused(tmp_path):
    output = write(tmp_path / "out")
    before = directory_bytes(output)
    with job(output) as work:
        assert work.finished
    with Job(output, KIND, {"seed": 1, "speed": 6}) as work:
        assert work.finished  # the speed decides nothing
    message = r"out holds a finished notebook with other settings: seed is 1 there and 2 now\. Choose another --output"
    with pytest.raises(XqgError, match=message):
        write(output, seed=2)
    assert directory_bytes(output) == before
    write(output, "b", seed=2, overwrite=True)
    assert (output / "a.txt").read_text() == "b"
    assert KIND.read(output)["seed"] == 2


def test_an_unfinished_one_is_continued_and_other_settings_are_refused(tmp_path):
    output = tmp_path / "out"
    with job(output, listed=("a.txt",)):
        (output / "a.txt").write_text("half")
    before = directory_bytes(output)
    message = "holds an unfinished notebook with other settings: seed is 1 there and 2 now. Run the command it was"
    for check in (lambda: write(output, seed=2), lambda: job(output, 2).check()):
        with pytest.raises(XqgError, match=message):
            check()
    assert directory_bytes(output) == before
    check_job(output, KIND, None)
    (output / ".notes.json.17.partial").touch()
    (output / ".folder.17.partial").mkdir()
    (tmp_path / ".out.999999999.partial").mkdir()
    with job(output) as work:
        assert not work.finished
        assert (output / "a.txt").read_text() == "half"
        assert sorted(os.listdir(output)) == [".lock", "a.txt", "notes.json"]
        assert os.listdir(tmp_path) == ["out"]
        assert work.lock.name == ".lock"


def test_overwrite_leaves_what_is_not_ours(tmp_path):
    output = write(tmp_path / "out")
    (output / "run.txt").write_text("precious")
    before = directory_bytes(output)
    with pytest.raises(XqgError, match=r"holds run\.txt, which the notebook command did not write"):
        write(output, overwrite=True)
    assert directory_bytes(output) == before
    write(output)  # as it is
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for path, message in [("home", r"is no notebook \(it holds thesis\.tex\)"), ("file", "file: is a file")]:
        for overwrite in (False, True):
            with pytest.raises(XqgError, match=message):
                write(tmp_path / path, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_outputs_that_are_inputs(tmp_path, overwrite):
    (tmp_path / "corpus").mkdir()
    output = write(tmp_path / "out")
    (output / "a.txt").write_text("read")
    for path, source in [
        (tmp_path / "corpus" / "out", tmp_path / "corpus"),
        (tmp_path / "corpus", tmp_path / "corpus"),
        (output, output / "a.txt"),
    ]:
        with pytest.raises(XqgError, match=r"which is read|is what is read"):
            write(path, overwrite=overwrite, inputs=[source])
    assert os.listdir(tmp_path / "corpus") == []


def test_killed_while_overwriting(tmp_path, monkeypatch):
    """Whatever was removed by then, the directory is still known for what it is and can be overwritten again."""
    output = tmp_path / "out"
    with job(output) as work:
        for number in range(5):
            (output / f"{number}.txt").touch()
        work.finish()
    unlink, removed = type(tmp_path).unlink, []

    def fails_at_the_third(self, *arguments, **options):
        if len(removed) == 3:
            raise KeyboardInterrupt
        removed.append(self.name)
        unlink(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "unlink", fails_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            write(output, overwrite=True)
    assert KIND.manifest not in removed
    write(output, "new", overwrite=True)
    assert sorted(os.listdir(output)) == [".lock", "a.txt", "notes.json"]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    write(tmp_path / "link", "b", seed=2, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "b"


def test_removed_or_replaced_meanwhile(tmp_path):
    output = tmp_path / "out"
    for change in ((output / "notes.json").unlink, lambda: os.rename(output, tmp_path / "moved")):
        with job(output, overwrite=True) as work:
            change()
            with pytest.raises(XqgError, match=r"out: was removed while it was written\. Run the command again"):
                work.finish()


def _hold(output, started, end):
    with job(output):
        started.set()
        end.wait()


def test_a_second_process_waits_or_is_refused(tmp_path):
    processes = multiprocessing.get_context("fork")
    started, end = processes.Event(), processes.Event()
    holder = processes.Process(target=_hold, args=(tmp_path / "out", started, end))
    holder.start()
    assert started.wait(60)
    for overwrite in (False, True):
        with pytest.raises(XqgError, match=r"out: another process is writing it \(it holds .*out/\.lock\)"):
            write(tmp_path / "out", overwrite=overwrite)
    end.set()
    write(tmp_path / "out", wait=60)
    holder.join()
    assert KIND.read(tmp_path / "out")["complete"]


# Pieces


def test_pieces_are_made_once(tmp_path):
    made = []

    def piece(work, name="a", settings=None, product=None, text="a"):
        def make():
            made.append(name)
            if product:
                product.write_text(text)
            return {"text": text}

        return work.piece(name, settings or {"k": 1}, make, product)

    output, product = tmp_path / "out", tmp_path / "product.txt"
    with job(output) as work:
        assert work.noted("a") is None
        assert piece(work) == piece(work) == {"text": "a"}
        assert piece(work, "b", product=product) == {"text": "a"}
    with job(output) as work:
        assert piece(work) == {"text": "a"}
        assert piece(work, "b", product=product) == {"text": "a"}
        assert made == ["a", "b"]
        assert work.noted("b")["settings"] == {"k": 1}
        with pytest.raises(XqgError, match=r"out: a was made otherwise: k is 1 there and 2 now\. Choose another"):
            piece(work, settings={"k": 2})
        product.unlink()
        piece(work, "b", product=product, text="again")
        assert made == ["a", "b", "b"]
        product.write_text("edited")
        with pytest.raises(XqgError, match=r"product\.txt: was changed since it was made\. Remove it"):
            piece(work, "b", product=product)
        assert work.piece("none", {}, lambda: None) == {}
        noted = output / "pieces" / "a.json"
        noted.write_text(noted.read_text().replace('"text": "a"', '"text": "z"'))
        with pytest.raises(XqgError, match=r"a\.json: was changed after it was written"):
            piece(work)

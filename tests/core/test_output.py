"""Outputs: what may be written, whole or not at all, never over what is not ours, is read, or is no regular file."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers import command_environment, directory_bytes

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import named_errors, write_file, write_json, write_text
from pyserini_xqg.core.kinds import Kind, check_files, directory_digest, inside, seal
from pyserini_xqg.core.output import check_apart, check_directory, check_file, exclusive, write_directory

KIND = Kind("notebook", "notes.json", "a notebook", 2, "the notebook command", ignored=("speed",))
OTHER = Kind("album", "album.json", "an album", 2, "the album command")


def make(output, text="old", kind=KIND, **how):
    """A directory of the kind with a page, and a folder with another one."""
    with write_directory(output, kind, **how) as directory:
        (directory / "page.txt").write_text(text)
        (directory / "more").mkdir()
        (directory / "more" / "page.txt").write_text(text * 2)
        seal(directory, kind, {"seed": 1})
    return Path(output)


def visible(directory) -> list[str]:
    return sorted(name for name in os.listdir(directory) if not name.endswith(".lock"))


def killed(code: str, *arguments) -> None:
    """Run some lines in a process that kills itself at their end."""
    lines = "import os, signal, sys\n" + textwrap.dedent(code) + "\nos.kill(os.getpid(), signal.SIGKILL)"
    result = subprocess.run([sys.executable, "-c", lines, *map(str, arguments)], env=command_environment())
    assert result.returncode == -signal.SIGKILL


# Files


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_file(path) as out:
        out.write("half")
        out.flush()
        assert not path.exists()
        out.write(", whole")
    assert path.read_text() == "half, whole"
    path.chmod(0o640)
    with pytest.raises(RuntimeError, match="midway"), write_file(path, "wb") as out:
        out.write(b"new, but only h")
        raise RuntimeError("midway")
    assert path.read_text() == "half, whole"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_json(path, {"b": "日本", "a": [1]})
    assert path.read_text(encoding="utf-8") == '{\n  "b": "日本",\n  "a": [\n    1\n  ]\n}\n'
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_killed_process_leaves_the_old_file_and_the_next_one_clears(tmp_path):
    path = tmp_path / "a[1].txt"
    path.write_text("old")
    killed(
        """
        from pyserini_xqg.core.files import write_file
        held = write_file(sys.argv[1])
        held.__enter__().write("half")
        """,
        path,
    )
    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    living = tmp_path / f".a[1].txt.{os.getppid()}.partial"
    kept = [living, tmp_path / ".a[1].txt.partial", tmp_path / ".b.txt.999999999.partial"]
    for leftover in kept:  # of a living process, of no process, of another file
        leftover.touch()
    write_text(path, "new")
    assert path.read_text() == "new"
    assert {tmp_path / name for name in os.listdir(tmp_path)} == {path, *kept}


def test_links_stay_and_their_targets_are_written(tmp_path):
    (tmp_path / "real").mkdir()
    link, dangling = tmp_path / "link.txt", tmp_path / "dangling.txt"
    (tmp_path / "real" / "a.txt").write_text("old")
    link.symlink_to("real/a.txt")
    dangling.symlink_to("new/b.txt")
    for path in (link, dangling):
        check_file(path, overwrite=True)
        write_text(path, "new")
        assert path.is_symlink()
        assert path.resolve().read_text() == "new"
    with pytest.raises(XqgError, match=r"link\.txt exists\. Remove it"):
        check_file(link)
    assert (tmp_path / "new" / "b.txt").read_text() == "new"
    directory, other = tmp_path / "directory", tmp_path / "other"
    directory.symlink_to("real-directory")
    make(directory)
    other.symlink_to("real-directory")
    make(other, "new", overwrite=True)
    assert directory.is_symlink() and other.is_symlink()
    assert (directory / "page.txt").read_text() == "new"
    assert not [name for name in os.listdir(tmp_path) if "replaced" in name or "partial" in name]


def test_devices_and_pipes_are_written_to(tmp_path):
    null = os.stat("/dev/null")
    write_text("/dev/null", "gone")
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    write_text(link, "gone")
    check_file("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.stat("/dev/null").st_ino == null.st_ino
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_check_file(tmp_path):
    check_file(tmp_path / "new" / "a.txt")
    (tmp_path / "a.txt").touch()
    check_file(tmp_path / "a.txt", overwrite=True)
    with pytest.raises(XqgError, match=r"a\.txt exists\. Remove it, choose another --output, or pass --overwrite"):
        check_file(tmp_path / "a.txt")
    for overwrite in (False, True):
        with pytest.raises(XqgError, match=r"is a directory\. Name a file"):
            check_file(tmp_path, overwrite)
    with pytest.raises(XqgError, match=r"is a directory\. Name a file"), write_file(tmp_path):
        pytest.fail("entered")


def test_the_option_is_named(tmp_path):
    page = tmp_path / "page.html"
    page.touch()
    with pytest.raises(XqgError, match=r"page\.html exists\. Remove it, choose another --html, or pass --overwrite"):
        check_file(page, option="--html")
    with pytest.raises(XqgError, match=r"is what is read .* Choose another --html\."):
        check_file(page, True, [page], "--html")


# Inputs


@pytest.fixture
def corpus(tmp_path):
    """A directory of inputs, with links of all sorts to it beside it."""
    directory = tmp_path / "corpus"
    directory.mkdir()
    (directory / "a.jsonl").write_text("{}\n")
    (tmp_path / "link").symlink_to("corpus")
    (tmp_path / "file").symlink_to("corpus/a.jsonl")
    os.link(directory / "a.jsonl", tmp_path / "hard")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.jsonl").symlink_to("../corpus/a.jsonl")
    return directory


@pytest.mark.parametrize(
    ("output", "source", "reason"),
    [
        ("corpus/a.jsonl", "corpus/a.jsonl", "is what is read"),
        ("corpus/../corpus/a.jsonl", "corpus/a.jsonl", "is what is read"),
        ("link/a.jsonl", "corpus/a.jsonl", "is what is read"),
        ("file", "corpus/a.jsonl", "is what is read"),
        ("corpus/a.jsonl", "file", "is what is read"),
        ("hard", "corpus/a.jsonl", "is what is read"),
        ("link", "corpus", "is what is read"),
        ("corpus/out", "corpus", "lies in"),
        ("link/deep/out", "corpus", "lies in"),
        (".", "corpus/a.jsonl", "holds"),
        ("link", "file", "holds"),
        ("corpus/a.jsonl", "linked", "is what is read"),
    ],
)
def test_outputs_that_are_inputs(corpus, tmp_path, output, source, reason):
    before = directory_bytes(tmp_path)
    for check in (
        lambda: check_apart(tmp_path / output, [tmp_path / "none", tmp_path / source]),
        lambda: check_file(tmp_path / output, True, [tmp_path / source]),
        lambda: check_directory(tmp_path / output, KIND, True, [tmp_path / source]),
        lambda: write_directory(tmp_path / output, KIND, True, [tmp_path / source]).__enter__(),
    ):
        with pytest.raises(XqgError, match=reason) as caught:
            check()
        assert str(caught.value).startswith(f"{tmp_path / output}: ")
        assert "Choose another --output" in str(caught.value)
    assert directory_bytes(tmp_path) == before


def test_outputs_in_a_file(corpus):
    with pytest.raises(XqgError, match=r"a\.jsonl is a file, so that nothing can lie in it"):
        check_file(corpus / "a.jsonl" / "deep" / "out")


def test_outputs_beside_inputs(corpus, tmp_path):
    check_apart(tmp_path / "corpus2", [corpus])
    check_apart(tmp_path / "corpus2" / "a.jsonl", [corpus, corpus / "a.jsonl"])
    check_apart(corpus / "b.jsonl", [corpus / "a.jsonl"])


# Directories


def test_a_directory_appears_whole(tmp_path):
    output = tmp_path / "deep" / "out"
    with write_directory(output, KIND) as directory:
        assert list(directory.iterdir()) == []
        seal(directory, KIND, {})
        assert not output.exists()
    assert visible(output.parent) == ["out"]
    with pytest.raises(XqgError, match=r"out exists\. .*--overwrite"), write_directory(output, KIND):
        pytest.fail("entered")
    with write_directory(output, KIND, overwrite=True) as directory:
        (directory / "b").write_text("2")
        seal(directory, KIND, {})
        assert visible(output) == ["notes.json"]  # the old one stays to the end
    assert visible(output) == ["b", "notes.json"]
    with pytest.raises(AssertionError, match=r"no notes\.json was written"), write_directory(tmp_path / "c", KIND):
        pass
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    assert visible(tmp_path) == ["deep", "empty"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, XqgError])
def test_an_error_leaves_the_old_directory_or_nothing(tmp_path, error):
    old = make(tmp_path / "old")
    before = directory_bytes(old)
    for output in (old, tmp_path / "new"):
        with pytest.raises(error), write_directory(output, KIND, overwrite=True) as directory:
            (directory / "page.txt").write_text("new")
            raise error("midway")
    assert directory_bytes(old) == before
    assert visible(tmp_path) == ["old"]


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error")])
def test_an_interruption_while_replacing_leaves_the_old_one(tmp_path, monkeypatch, failing, error):
    old = make(tmp_path / "old")
    before, calls, replace = directory_bytes(old), [], os.replace

    def fails(source, target):
        if Path(source).is_dir():
            calls.append(source)
            if len(calls) == failing:
                raise error
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(type(error) if isinstance(error, OSError) else error):
            make(old, "new", overwrite=True)
    assert directory_bytes(old) == before
    assert visible(tmp_path) == ["old"]


def test_killed_between_the_two_renames(tmp_path):
    """The old one is put back before anything else is done."""
    old = make(tmp_path / "old")
    before = directory_bytes(old)
    os.rename(old, tmp_path / ".old.replaced")
    with pytest.raises(XqgError, match="old exists"):
        make(old)
    assert directory_bytes(old) == before
    make(old, "new", overwrite=True)
    assert visible(tmp_path) == ["old"]


def test_what_a_killed_process_left_is_cleared(tmp_path):
    output = tmp_path / "out"
    killed(
        """
        from pyserini_xqg.core.kinds import Kind
        from pyserini_xqg.core.output import write_directory
        held = write_directory(sys.argv[1], Kind("a", "a.json", "a", 2, "a"))
        (held.__enter__() / "stale").write_text("half")
        """,
        output,
    )
    assert not output.exists()
    assert [name for name in os.listdir(tmp_path) if name.endswith(".partial")]
    make(output)
    assert visible(tmp_path) == ["out"]


def test_a_directory_made_meanwhile_is_not_replaced(tmp_path):
    output = tmp_path / "out"
    with pytest.raises(XqgError, match="is no notebook"), write_directory(output, KIND) as directory:
        seal(directory, KIND, {})
        output.mkdir()
        (output / "precious").write_text("1")
    assert visible(output) == ["precious"]
    assert visible(tmp_path) == ["out"]


FOREIGN = {
    "a user's file": (lambda output: (output / "run.txt").write_text("precious"), r"holds run\.txt, which"),
    "a user's folder": (lambda output: (output / "notes").mkdir(), "holds notes, which"),
    "a lock that is not ours": (lambda output: (output / "poetry.lock").touch(), r"holds poetry\.lock, which"),
    "in a folder of ours": (lambda output: (output / "more" / "a").touch(), "holds more/a, which"),
    "several": (
        lambda output: [(output / name).touch() for name in ("a", "b", "c")],
        "holds a and 2 more, which the notebook command did not write, so it is not replaced. Move that away",
    ),
    "an empty manifest": (lambda output: (output / KIND.manifest).write_text("{}"), r"no notebook \(.*format None"),
    "an edited manifest": (
        lambda output: (output / KIND.manifest).write_text(
            (output / KIND.manifest).read_text().replace('"seed": 1', '"seed": 2')
        ),
        "was changed after it was written",
    ),
    "no manifest": (lambda output: (output / KIND.manifest).unlink(), r"is no notebook \(it holds more\)"),
    "another kind": (
        lambda output: [(output / KIND.manifest).unlink(), seal(output, OTHER, {})],
        r"is no notebook \(it holds album\.json\)",
    ),
    "another version": (
        lambda output: KIND.write(output, {**KIND.read(output), "format_version": 1}),
        "format 'a notebook' version 1, expected 'a notebook' version 2. Make it again with the notebook command",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_ours_is_named_and_nothing_is_changed(tmp_path, case):
    change, message = FOREIGN[case]
    output = make(tmp_path / "out")
    change(output)
    before = directory_bytes(tmp_path)
    for overwrite in (True, False):
        with pytest.raises(XqgError, match=message) as caught:
            make(output, "new", overwrite=overwrite)
        assert str(caught.value).startswith(f"{output}")
        assert "\n" not in str(caught.value)
    assert directory_bytes(tmp_path) == before


def test_ours_are_what_is_listed_locks_and_partial_files(tmp_path):
    output = make(tmp_path / "out")
    for name in (".lock", ".page.txt.17.partial", "more/.x.lock"):
        (output / name).touch()
    (output / "free" / "deep").mkdir(parents=True)
    (output / "free" / "deep" / "anything").touch()
    assert KIND.foreign(output) == ["free"]
    sealed = seal(output, KIND, {}, listed=("free/",))
    assert KIND.foreign(output) == []
    assert sealed["files"].keys() == {"free/", "page.txt", "more/page.txt"}
    (tmp_path / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(XqgError, match="file: is a file"):
            check_directory(tmp_path / "file", KIND, overwrite)


# What a manifest says


def test_a_manifest_tells_what_changed(tmp_path):
    output = make(tmp_path / "out")
    manifest = KIND.read(output)
    assert manifest["files"]["page.txt"]["bytes"] == 3
    assert list(check_files(output, KIND, manifest)) == []
    (output / "page.txt").write_text("odd")
    (output / "more" / "page.txt").write_text("longer")
    assert list(check_files(output, KIND, manifest, checksums=False)) == []
    assert list(check_files(output, KIND, manifest)) == [
        "more/page.txt: was changed after it was written",
        "page.txt: was changed after it was written",
    ]
    (output / "more" / "page.txt").unlink()
    (output / "page.txt").write_text("of another size")
    assert list(check_files(output, KIND, manifest, checksums=False)) == [
        "more/page.txt: is missing",
        "page.txt: has 15 bytes, expected 3",
    ]
    for content, message in [("[1]", "a JSON object was expected"), ("{", "malformed JSON")]:
        (output / KIND.manifest).write_text(content)
        with pytest.raises(XqgError, match=message):
            KIND.read(output)
    with pytest.raises(XqgError, match=r"none: no notebook there \(notes\.json is missing\)\. Make one with"):
        KIND.read(tmp_path / "none")


def test_what_is_sealed_inside_is_not_read_again(tmp_path, monkeypatch):
    make(tmp_path / "out" / "part")
    hashed = []
    monkeypatch.setattr("pyserini_xqg.core.kinds.sha256_file", lambda path: hashed.append(path.name) or "0" * 64)
    sealed = seal(tmp_path / "out", KIND, {}, sha256={"x": "1"})
    assert hashed == ["notes.json"]
    part = KIND.read(tmp_path / "out" / "part")["files"]
    assert sealed["files"]["part/page.txt"] == part["page.txt"]


def test_differences_leave_out_what_is_no_setting():
    there = {"seed": 1, "model": {"name": "a"}, "speed": 3, "complete": True, "files": {"a": 1}, "versions": {"x": 1}}
    now = {"seed": 1, "model": {"name": "b", "size": 2}, "speed": 4, "complete": False}
    assert KIND.differences(there, now) == [
        "model.name is 'a' there and 'b' now",
        "model.size is None there and 2 now",
    ]


def test_digest_of_a_directory(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    assert directory_digest(one) == directory_digest(two)
    (two / ".lock").touch()
    assert directory_digest(one) == directory_digest(two)
    (two / "more" / "page.txt").rename(two / "other.txt")
    assert directory_digest(one) != directory_digest(two)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "b/../../a", "link/a"])
def test_paths_that_lead_out(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(XqgError, match=r"a\.json: '.*' leads out of its directory"):
        inside(tmp_path / "in", name, "a.json")
    assert inside(tmp_path / "in", "b/../c", "a.json").resolve() == tmp_path / "in" / "c"


# Locks


def test_a_second_process_is_refused_and_the_lock_ends_with_its_holder(tmp_path):
    output, lock = tmp_path / "out", tmp_path / ".out.lock"
    code = """
        import sys
        from pyserini_xqg.core.output import exclusive
        with exclusive(sys.argv[1], sys.argv[2]):
            print("held", flush=True)
            sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), lock, output],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=command_environment(),
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        message = rf"out: another process is writing it \(it holds {lock}\)"
        with pytest.raises(XqgError, match=message), exclusive(lock, output, wait=0.1):
            pytest.fail("entered")
        with pytest.raises(XqgError, match=message):
            make(output)
        holder.kill()
        holder.wait()
    make(output)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuses(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with pytest.raises(XqgError, match=r"\.out\.lock: this file system keeps no locks .*Choose an --output on another"):
        make(tmp_path / "out")


def test_a_lock_that_cannot_be_made_is_no_missing_lock(tmp_path, monkeypatch):
    lock = tmp_path / ".out.lock"
    monkeypatch.setattr(os, "open", lambda path, *_, **__: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
    with pytest.raises(PermissionError), exclusive(lock, tmp_path / "out"):
        pytest.fail("entered")


# Errors of the disk


@pytest.mark.parametrize(
    ("number", "phrase"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit"), (errno.EROFS, "read-only")],
)
def test_errors_of_the_disk_name_the_output(number, phrase):
    with pytest.raises(XqgError, match=f"^out: .*{phrase}.*run the command again"), named_errors("out"):
        raise OSError(number, os.strerror(number))
    with pytest.raises(OSError, match="other"), named_errors("out"):
        raise OSError(errno.EIO, "other")


def test_a_full_disk_leaves_the_old_ones(small_disk):
    old = make(small_disk / "out")
    write_text(small_disk / "file", "old")
    before = directory_bytes(small_disk)
    with pytest.raises(XqgError, match="out: the disk is full"):
        make(old, "x" * 200_000, overwrite=True)
    with pytest.raises(XqgError, match="file: the disk is full"):
        write_text(small_disk / "file", "x" * 200_000)
    assert directory_bytes(small_disk, ignore=(".lock", ".out.lock")) == {
        name: data for name, data in before.items() if name != ".out.lock"
    }

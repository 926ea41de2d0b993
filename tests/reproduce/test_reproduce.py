"""The command: listing, choosing, printing, running, comparing, keeping, and what it says when something is wrong."""

import gzip
import os
import signal
import subprocess
import sys
import time

import ir_measures
import pytest
from helpers import assert_one_error, command_environment, run_module
from numbers_family import write_family

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce import __main__ as reproduce
from pyserini_xqg.reproduce import committed, running
from pyserini_xqg.reproduce.comparison import compare_scores, read_scores, render_verdicts
from pyserini_xqg.reproduce.conditions import MEASURED as RUNS
from pyserini_xqg.reproduce.conditions import load_conditions, read_family
from pyserini_xqg.text.runs import read_qrels, read_run

COMMAND = "pyserini_xqg.reproduce"
SCORES = {"R@10": {"fi": 0.5, "avg": 0.5}}


@pytest.fixture
def path(tmp_path):
    return write_family(tmp_path / "numbers.yaml")


@pytest.fixture
def five(path):
    """A condition whose scores are as expected."""
    return read_family(path)[0]


@pytest.fixture
def numbers(path, tmp_path):
    """Options that take conditions from a file of quick ones, and put outputs aside."""
    return ["--conditions", str(path), "--directory", str(tmp_path / "work")]


def run_in(directory, condition) -> dict:
    """Run a condition; its scores."""
    steps = condition.plan(directory)
    with running.Workplace(directory) as place:
        running.run_condition(condition, steps, place)
    return read_scores(steps[-1].output)


# --- listing, choosing, printing ---


def test_listing(capsys):
    reproduce.main([])
    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in load_conditions())
    assert "Table 1, mBERT + xQG; expected: R@2kt 46.23, R@5kt 53.35" in shown
    assert "  needs: from the hub: ielabgroup/bert-base-multilingual-cased-xor-tydi\n" in shown
    assert "Figure 2, mBERT with 4 queries a language (28 in all); expected: not known" in shown


def test_choosing():
    conditions = load_conditions()
    names = [condition.name for condition in reproduce.choose(["xqg-sample.ro*", "xor-tydi.mbert"], conditions)]
    assert names[0] == "xor-tydi.mbert"
    assert set(names[1:]) == {name for name in conditions if name.startswith("xqg-sample.routed")}
    family = [condition.name for condition in reproduce.choose(["xqg-sample"], conditions)]
    assert family == [name for name in conditions if name.startswith("xqg-sample.")]
    assert reproduce.parse_variables(["encoder=a=b"], list(conditions.values())[:2]) == {"encoder": "a=b"}


def test_dry_run_prints_and_runs_nothing(tmp_path, capsys):
    options = ["--directory", str(tmp_path / "work"), "--dry-run"]
    reproduce.main([*options, "--condition", "xor-tydi.mbert-xqg"])
    script = capsys.readouterr().out
    assert "--aggregate sum \\\n  --alpha 0.01" in script
    words = ("pyserini_xqg.encode", "pyserini_xqg.index", "pyserini.search.faiss", "pyserini_xqg.evaluate")
    assert [script.index(word) for word in words] == sorted(script.index(word) for word in words)
    reproduce.main([*options, "--condition", "*"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert script.count("\n# ") + 1 == len(load_conditions())
    assert not (tmp_path / "work").exists()


def test_script_does_the_same(five, tmp_path):
    """What --dry-run prints can be pasted into a shell."""
    steps = five.plan(tmp_path / "a b")
    script = running.script_of(five, steps)
    assert script.startswith("# numbers.five: Five\nmkdir -p ")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)
    assert read_scores(steps[-1].output) == run_in(tmp_path / "w", five) == SCORES


# --- running ---


def test_command(numbers):
    result = run_module(COMMAND, *numbers, "--condition", "numbers")
    assert result.returncode == 0, result.stderr
    assert "R@10     avg       50.00     50.00  0.1  OK" in result.stdout
    assert "no expected scores: nobody counted" in result.stdout
    assert "\nprintf 5 > " in result.stdout
    assert "numbers.five, step 3 of 3, evaluate: running" in result.stderr
    result = run_module(COMMAND, *numbers, "--condition", "numbers.five", "--set", "number=6")
    assert_one_error(result, "made for numbers.five by another command")


def test_off(numbers, capsys):
    options = [*numbers, "--condition", "numbers.five", "--set", "number=6"]
    with pytest.raises(XqgError, match=r"^scores are off: 2 of numbers\.five\. "):
        reproduce.main(options)
    assert "60.00     50.00  0.1  off by +10.00" in capsys.readouterr().out


def test_all_goes_on_after_a_failure(tmp_path, numbers, capsys):
    conditions = """
    - {name: bad, title: Bad, variables: {number: "$$(exit 4)"}, unknown: it fails}
    - {name: good, title: Good, unknown: nobody counted}
    """
    write_family(tmp_path / "numbers.yaml", conditions=conditions)
    with pytest.raises(XqgError, match=r"1 of 2 conditions did not run: numbers\.bad\. See above"):
        reproduce.main([*numbers, "--condition", "numbers"])
    shown = capsys.readouterr()
    assert "numbers.good: Good" in shown.out
    assert "error: numbers.bad, step 1 of 3, first: exit status" in shown.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--condition", "nothing"], r"unknown condition 'nothing'\. All of them: python -m pyserini_xqg\.reproduce"),
        (["--condition", "xor-tydi.mbert-xgq"], r"'xor-tydi\.mbert-xgq'\. Did you mean xor-tydi\.mbert-xqg"),
        (["--condition", "doc2query"], r"unknown condition 'doc2query'\. Did you mean .*\.doc2query"),
        (["--condition", "xqg-sample.plain", "--set", "x"], r"--set x: not NAME=VALUE"),
        (["--condition", "xqg-sample.plain", "--set", "encoder="], r"--set encoder=: not NAME=VALUE"),
        (
            ["--condition", "xor-tydi.mbert", "--set", "colour=red"],
            r"--set colour=red: xor-tydi\.mbert has no variable 'colour'\. It has .*encoder",
        ),
        (["--conditions", "nowhere.yaml"], r"nowhere\.yaml: no such file"),
        (["--condition", "xor-tydi.mbert"], r"xor-tydi\.mbert: needs the dataset ielab/xor-tydi-xqg-augmented from"),
    ],
)
def test_faults(tmp_path, monkeypatch, options, message):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XqgError, match=message):
        reproduce.main(options)


def test_run_and_skip(five, tmp_path, capsys):
    assert run_in(tmp_path / "w", five) == SCORES
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*.txt")}
    (tmp_path / "w").rename(tmp_path / "elsewhere")  # a directory may move
    assert run_in(tmp_path / "elsewhere", five) == SCORES
    assert set(made.values()) == {path.stat().st_mtime_ns for path in (tmp_path / "elsewhere").rglob("*.txt")}
    assert capsys.readouterr().err.count(": done already") == 3
    assert (tmp_path / "elsewhere/numbers/logs/first-5.txt.log").read_text().startswith("$ printf 5")


def test_what_is_made_of_another_output_is_made_anew(tmp_path):
    changing = "cat number > ${output}; cat number; echo 7 > number"
    five = read_family(write_family(tmp_path / "numbers.yaml", first=f"cd {tmp_path}; {changing}"))[0]
    directory = tmp_path / "w"
    (tmp_path / "number").write_text("5")
    assert run_in(directory, five) == SCORES
    (directory / "numbers/first-5.txt").unlink()
    assert run_in(directory, five)["R@10"]["avg"] == 0.7
    (directory / "numbers/runs/five.txt").write_text("9")
    with pytest.raises(XqgError, match=r"five\.txt: was changed since it was made\. Remove it, and it is made again"):
        run_in(directory, five)
    (directory / "numbers/runs/five.txt").unlink()
    assert run_in(directory, five)["R@10"]["avg"] == 0.7


def test_what_is_not_ours_is_refused(five, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.tex").touch()
    with pytest.raises(XqgError, match=r"w exists and is no directory of reproductions .*thesis\.tex.*--directory"):
        run_in(tmp_path / "w", five)
    with pytest.raises(XqgError, match=r"numbers\.yaml: is a file\. Choose another --directory"):
        run_in(tmp_path / "numbers.yaml", five)
    run_in(tmp_path / "v", five)
    (tmp_path / "v/numbers/runs/seven.txt").touch()
    seven = read_family(tmp_path / "numbers.yaml")[1]
    with pytest.raises(XqgError, match=r"seven\.txt: exists, but was not made by this command"):
        run_in(tmp_path / "v", seven)
    other = read_family(write_family(tmp_path / "numbers.yaml", first="printf 05 > ${output}"))[0]
    with pytest.raises(XqgError, match=r"first-5\.txt: made for numbers\.five by another command.*--directory"):
        run_in(tmp_path / "v", other)
    with running.Workplace(tmp_path / "v"), pytest.raises(XqgError, match=r"another process is writing it"):
        run_in(tmp_path / "v", five)


def test_a_step_that_fails(tmp_path, capsys):
    condition = read_family(write_family(tmp_path / "numbers.yaml", first="seq 30; echo no bread >&2; exit 3"))[0]
    with pytest.raises(
        XqgError,
        match=r"numbers\.five, step 1 of 3, first: exit status 3 from: seq 30; echo no bread >&2; exit 3 .*log",
    ):
        run_in(tmp_path / "w", condition)
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].strip() == "no bread"
    assert shown[-20].strip() == "12"
    condition = read_family(write_family(tmp_path / "numbers.yaml", first="ls"))[0]
    with pytest.raises(XqgError, match=r"first: ended well, but made no .*first-5\.txt"):
        run_in(tmp_path / "v", condition)


def test_killed_in_a_step(tmp_path):
    """What a killed process had half written is not taken for whole."""
    slow = "printf 4 > ${output}; test -e ${output}.again || { touch ${output}.again; sleep 60; }; printf 5 > ${output}"
    path = write_family(tmp_path / "numbers.yaml", first=slow)
    process = subprocess.Popen(
        [sys.executable, "-m", COMMAND, "--conditions", path, "--directory", tmp_path / "w", "--condition", "*"],
        env=command_environment(),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    half = tmp_path / "w/numbers/first-5.txt"
    for _ in range(600):
        if half.with_name("first-5.txt.again").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert half.read_text() == "4"
    assert run_in(tmp_path / "w", read_family(path)[0]) == SCORES


# --- comparing ---


def test_verdicts(path):
    five, seven = read_family(path)

    def verdict(average, finnish):
        return [str(one) for one in compare_scores(five, {"R@10": {"avg": average, "fi": finnish}})]

    assert verdict(0.5, 0.5) == ["OK", "OK"]
    assert verdict(0.501, 0.498) == ["OK", "OK"]  # the tolerances themselves
    assert verdict(0.5012, 0.4978) == ["off by +0.12", "off by -0.22"]
    shown = render_verdicts(five, {"R@10": {"avg": 0.6, "fi": 0.5}})
    assert "expected: arithmetic" in shown
    assert "60.00     50.00  0.1  off by +10.00" in shown
    with pytest.raises(XqgError, match=r"five: R@10 of fi is expected and was not scored"):
        list(compare_scores(five, {"R@10": {"avg": 0.5}}))
    assert list(compare_scores(seven, {"R@10": {"avg": 0.7}})) == []
    shown = render_verdicts(seven, {"R@10": {"avg": 0.7}}).splitlines()
    assert shown[1] == "  no expected scores: nobody counted" and shown[3].split() == ["R@10", "avg", "70.00"]


def test_scores_of_more_than_one_run(tmp_path):
    (tmp_path / "scores.json").write_text('{"a": {}, "b": {}}')
    with pytest.raises(XqgError, match=r"scores\.json: scores of 2 runs"):
        read_scores(tmp_path / "scores.json")


# --- what is kept ---


@pytest.mark.parametrize("scores", [range(40), [n // 3 for n in range(40)], [n % 4 for n in range(40)], [0] * 40])
def test_cut_changes_no_measure_with_that_cutoff(scores):
    """Also where passages are tied, which ir_measures' providers order differently."""
    run = {f"q{t}": {f"d{(n + t) % 40:02d}": float(score) for n, score in enumerate(scores)} for t in range(40)}
    qrels = [ir_measures.Qrel(topic, f"d{number:02d}", 1) for topic in run for number in (7, 21)]
    measures = [ir_measures.P @ 10, ir_measures.R @ 10, ir_measures.RR @ 10, ir_measures.nDCG @ 10]
    kept = committed.cut(run)
    assert ir_measures.calc_aggregate(measures, qrels, kept) == ir_measures.calc_aggregate(measures, qrels, run)
    if len(set(scores)) == 40:
        assert {len(ranking) for ranking in kept.values()} == {committed.DEPTH}


SAMPLE = """
title: Sample
data: xqg-sample/all
variables: {run: "${search}"}
steps:
  search:
    command: >
      python -c 'from pyserini_xqg.datasets import load;
      docs = [d.doc_id for d in load("xqg-sample").docs_iter()]; step = {"plain": 5, "other": 7}["${name}"];
      [print(q.query_id, "Q0", docs[(i * step + n) % 48], n + 1, 48 - n, "x")
      for i, q in enumerate(load("xqg-sample/all").queries_iter()) for n in range(48)]' > ${output}
    output: runs/${name}.txt
  evaluate:
    command: >
      python -m pyserini_xqg.evaluate --dataset xqg-sample/all --run ${run} --measures RR@10 R@5 --format json
      --output ${output} --overwrite
    output: scores/${name}.json
conditions:
  - {name: plain, title: Plain, unknown: by hand}
  - {name: other, title: Other, unknown: by hand}
"""


def test_write_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    path, work, output = tmp_path / "sample.yaml", tmp_path / "work", tmp_path / "runs"
    path.write_text(SAMPLE, encoding="utf-8")
    known = load_conditions([path])
    scores = {name: run_in(work, condition) for name, condition in known.items()}
    committed.write_runs(output, [known["sample.plain"]], work, known)
    first = (output / "sample/plain.txt.gz").read_bytes()
    committed.write_runs(output, list(known.values()), work, known)
    assert (output / "sample/plain.txt.gz").read_bytes() == first  # the same bytes each time
    assert committed.committed_scores(output) == scores
    assert committed.score_committed(output, "sample.other", ["RR@10", "R@5"]) == scores["sample.other"]
    kept, whole = read_run(output / "sample/plain.txt.gz"), read_run(work / "sample/runs/plain.txt")
    assert kept == committed.cut(whole)
    assert {len(ranking) for ranking in kept.values()} == {10}
    assert len(read_qrels(output / "sample/qrels.txt")) == 336
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert readme == committed.render_readme(output, known)
    assert "against Plain (`plain`): paired two-sided t-test, Holm-corrected over the 8 tests of a measure" in readme
    average = f"{scores['sample.other']['RR@10']['avg'] * 100:.2f}"
    assert any(line.startswith("| Other (`other`) |") and average in line for line in readme.splitlines())
    # Writing one leaves the other.
    committed.write_runs(output, [known["sample.other"]], work, known)
    assert (output / "README.md").read_text(encoding="utf-8") == readme
    with pytest.raises(XqgError, match=r"scores\.json: sample\.plain is no condition"):
        committed.render_readme(output, {"sample.other": known["sample.other"]})
    # Measures that look deeper, and collections without judgements, are refused.
    path.write_text(SAMPLE.replace("RR@10 R@5", "R@20"), encoding="utf-8")
    deeper = load_conditions([path])
    run_in(tmp_path / "deeper", deeper["sample.plain"])
    with pytest.raises(XqgError, match=r"sample\.plain: R@20 is .* on the first 10 passages"):
        committed.write_runs(tmp_path / "kept", [deeper["sample.plain"]], tmp_path / "deeper", deeper)


def test_runs_that_cannot_be_kept_are_refused_before_anything_runs(numbers, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("# Mine")
    for output, message in ((tmp_path / "runs", r"numbers\.seven: its collection has no judgements"),
                            (tmp_path / "mine", r"mine exists and is no directory of runs")):  # fmt: skip
        with pytest.raises(XqgError, match=message):
            reproduce.main([*numbers, "--condition", "numbers.seven", "--write-runs", str(output)])
    assert not (tmp_path / "work").exists()


# --- the repository's own runs: a stale figure fails here ---


def test_runs_readme_is_that_of_the_scores():
    assert (RUNS / "README.md").read_text(encoding="utf-8") == committed.render_readme(RUNS, load_conditions())


def test_runs_have_the_scores_that_are_written_and_expected():
    conditions = load_conditions()
    for name, scores in committed.committed_scores(RUNS).items():
        again = committed.score_committed(RUNS, name, list(scores))
        for measure, values in scores.items():
            assert again[measure] == pytest.approx(values, abs=1e-9), name
        assert [verdict for verdict in compare_scores(conditions[name], scores) if not verdict.ok] == [], name


def test_runs_are_complete_and_small():
    names = set(committed.committed_scores(RUNS))
    assert names == {name for name in load_conditions() if not name.startswith("xor-tydi.")}
    files = [path for path in RUNS.rglob("*") if path.is_file() and path.parent != RUNS]
    wanted = {committed.run_path(RUNS, name) for name in names}
    assert {path for path in files if path.suffix == ".gz"} == wanted
    assert all(path.stat().st_size <= 200_000 for path in files)
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    for path in wanted:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            assert all(len(line.split()) == 6 for line in lines)

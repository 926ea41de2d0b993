"""Conditions: what is read from YAML, and the commands that become of it."""

import importlib
import itertools
import shlex
from pathlib import Path

import pytest
from numbers_family import write_family

from pyserini_xqg.core import options
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce import conditions, running
from pyserini_xqg.reproduce.conditions import Hub, load_conditions, own_files, read_family

# Table 1's averages of R@2kt as the paper prints them, without and with xQG.
PAPER = {"mbert": (44.1, 46.2), "xlm-r": (27.5, 29.8), "mbert-zero-shot": (33.0, 36.0)}
SIXES = "{like: numbers, title: Sixes, variables: {number: 6}, conditions: [{name: five, unknown: who knows}]}"


@pytest.fixture
def five(tmp_path):
    return read_family(write_family(tmp_path / "numbers.yaml"))[0]


class Parsed(Exception):
    """A command's options were read."""


def reads(module, arguments, monkeypatch):
    """Whether a command takes these options; it is stopped before it does anything."""
    spec = (
        importlib.util.find_spec(f"{module}.__main__")
        if importlib.import_module(module).__file__.endswith("__init__.py")
        else None
    )
    command = importlib.import_module(f"{module}.__main__" if spec else module)
    if module.endswith(".search"):  # what it does not know is Pyserini's
        return options.build_parser(command.SearchOptions, module).parse_known_args(arguments)
    read_options = options.read_options

    def stop(*arguments):
        read_options(*arguments)
        raise Parsed

    monkeypatch.setattr(options, "read_options", stop)
    with pytest.raises(Parsed):
        command.main(arguments)
    monkeypatch.undo()
    return True


# --- the package's own ---


def test_own_conditions_are_the_rows_of_the_paper_and_those_that_run_here():
    known = load_conditions()
    for model, averages in PAPER.items():
        for suffix, average in zip(("", "-xqg"), averages, strict=True):
            paper = known[f"xor-tydi.{model}{suffix}"].expected[0]
            assert paper.source.startswith("the paper")
            assert paper.scores["R@2kt"] == {"avg": average}
    figure = [known[f"xor-tydi.figure2-queries-{number}"] for number in range(6)]
    assert [bool(condition.expected) for condition in figure] == [True, False, False, False, False, True]
    assert figure[0].expected == known["xor-tydi.mbert"].expected
    assert figure[5].expected == known["xor-tydi.mbert-xqg"].expected
    assert all("significant from 4" in condition.unknown for condition in figure[1:5])
    names = ["plain", "removal", "paper", "default", "routed", "text", "multi-vector", "bm25", "doc2query"]
    names += ["plain-bm25", "default-doc2query"]
    for family in ("xqg-sample", "xquad-loo-minilm"):
        assert [f"{family}.{name}" for name in names] == [name for name in known if name.startswith(f"{family}.")]


def test_published_averages_are_those_of_the_languages():
    """Figures by language were copied rightly: their mean is the average that was published with them."""
    checked = 0
    for condition in load_conditions().values():
        for scores in itertools.chain.from_iterable(expected.scores.values() for expected in condition.expected):
            languages = [value for language, value in scores.items() if language != "avg"]
            if languages and "avg" in scores:
                assert sum(languages) / len(languages) == pytest.approx(scores["avg"], abs=0.11), condition.name
                checked += 1
    assert checked >= 8


def test_own_commands_are_understood_by_the_commands_they_name(tmp_path, monkeypatch):
    """Every option of ours exists and takes its value."""
    checked = set()
    for condition in load_conditions().values():
        for step in condition.plan(tmp_path):
            words = shlex.split(step.command.partition(" > ")[0])
            module = words[2] if words[:2] == ["python", "-m"] else ""
            if module.startswith("pyserini_xqg.") and not module.endswith(".datasets"):
                assert reads(module, words[3:], monkeypatch), step.command
                checked.add(module.removeprefix("pyserini_xqg."))
    assert checked >= {"encode", "index", "search", "evaluate", "compare"}


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


def test_own_files_are_packaged():
    setup = (Path(__file__).resolve().parents[2] / "setup.cfg").read_text(encoding="utf-8")
    assert "pyserini_xqg.reproduce = *.yaml" in setup
    assert {"xor-tydi.yaml", "xqg-sample.yaml", "xquad-loo-minilm.yaml"} <= {path.name for path in own_files()}


# --- plans ---


def test_plan(five):
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


def test_a_family_that_is_like_another(tmp_path):
    write_family(tmp_path / "numbers.yaml")
    (tmp_path / "sixes.yaml").write_text(SIXES)
    (condition,) = read_family(tmp_path / "sixes.yaml")
    assert (condition.name, condition.title, condition.unknown) == ("sixes.five", "Five", "who knows")
    assert condition.expected == ()  # the other family's are not its own
    assert [step.command for step in condition.plan("w")][:1] == ["printf 6 > w/sixes/first-6.txt"]
    for text, message in (("{like: sevens}", "another family"), ("{like: numbers, conditions: 5}", "another family"),
                          ("{like: eights}", r"eights\.yaml: no such file.*'like'")):  # fmt: skip
        (tmp_path / "sevens.yaml").write_text(text)
        with pytest.raises(XqgError, match=message):
            read_family(tmp_path / "sevens.yaml")


def test_measured_scores_are_those_of_the_repository(tmp_path, monkeypatch):
    text = "measured: {source: here, tolerance: {avg: 0, languages: 1}}\n"
    path = write_family(tmp_path / "numbers.yaml", more=text)
    monkeypatch.setattr(conditions, "MEASURED", tmp_path / "runs")
    assert [len(condition.expected) for condition in read_family(path)] == [1, 0]
    scores = {"numbers.seven": {"scores": {"R@10": {"avg": 0.7}}}}
    conditions.RUNS.write(tmp_path / "runs", conditions.RUNS.new({"conditions": scores}))
    (measured,) = read_family(path)[1].expected
    assert (measured.source, measured.allowed("fi"), measured.scores) == ("here", 1, {"R@10": {"avg": 70}})


# --- faults ---

EXPECTED = "\n- {name: a, title: A, expected: [{source: s, tolerance: {avg: 1%s}, scores: {R: {avg: %s}}}]}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": "'open"}, r"malformed YAML .*line \d+"),
        ({"more": "colour: red"}, r"unknown entry 'colour'. Known ones are about, conditions"),
        ({"variables": "[1]"}, r"variables: a list where a mapping"),
        ({"variables": "{number: [5], run: '${copy}'}"}, r"variables.number: a list where a text"),
        ({"variables": "{number: 5}"}, r"\$\{run\} is neither a variable nor a step"),
        ({"variables": "{number: {hubs: x}, run: a}"}, r"variables.number: unknown entry 'hubs'"),
        ({"first": "printf ${nobody}"}, r"step first, command: \$\{nobody\} is neither a variable nor a step"),
        ({"first": "printf $nobody"}, r"step first, command: a \$ without a name"),
        ({"first": "cat ${copy}"}, r"needs itself \(.*copy -> first -> copy\)"),
        ({"first": "[a]"}, r"steps.first, command: a list where a text"),
        ({"variables": "{number: /../../../x, run: '${copy}'}"}, r"leads out of its directory"),
        ({"conditions": " 5\n"}, r"conditions: a int where a list"),
        ({"conditions": "\n- name: a"}, r"conditions 1: no 'title'"),
        ({"conditions": "\n- {name: a, title: A}"}, r"condition a: no expected scores"),
        ({"conditions": 2 * "\n- {name: a, title: A, unknown: x}"}, r"condition 'numbers.a' is defined twice"),
        ({"conditions": EXPECTED % ("", 1)}, r"tolerance: avg and languages were expected"),
        ({"conditions": EXPECTED % (", languages: 1", 101)}, r"scores.R.avg: 101 is not a number from 0 to 100"),
        ({"conditions": EXPECTED % (", languages: 1", "x")}, r"scores.R.avg: 'x' is not a number from 0 to 100"),
    ],
)
def test_bad_yaml(tmp_path, changes, message):
    with pytest.raises(XqgError, match=r"numbers.*" + message):
        load_conditions([write_family(tmp_path / "numbers.yaml", **changes)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"steps\.yaml: no such file"),
        (b"title: \xe4\n", r"steps\.yaml: not UTF-8"),
        (b"", r"steps\.yaml: nothing where a mapping was expected"),
        (b"{title: a, steps: {a: {command: b, output: c}}, conditions: []}", r"steps\.yaml: no step 'evaluate'"),
    ],
)
def test_bad_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / "steps.yaml").write_bytes(content)
    with pytest.raises(XqgError, match=message):
        load_conditions([tmp_path / "steps.yaml"])
    path = write_family(tmp_path / "numbers.yaml")
    with pytest.raises(XqgError, match=r"'numbers\.five' is defined twice"):
        load_conditions([path, path])


# --- needs ---


def test_the_hub_out_of_reach(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for hub, message in (
        (Hub("a/b"), r"c: needs the model a/b from the Hugging Face hub.*--set encoder=DIRECTORY"),
        (Hub("a/b", "dataset"), r"needs the dataset a/b.*Run it where the hub can be reached\.$"),
        (Hub("a/b", package="of_weights/model"), r"pip install of-weights"),
    ):
        with pytest.raises(XqgError, match=message):
            running.check_hub(hub, "c")
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"  # the model in the cache: no hub is needed
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("0123")
    running.check_hub(Hub("a/b"), "c")


def test_missing_data(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_XQG_DATA", str(tmp_path / "absent"))
    five = read_family(write_family(tmp_path / "numbers.yaml", more="data: xquad-loo/all\n"))[0]
    with pytest.raises(XqgError, match=r"numbers\.five: \$PYSERINI_XQG_DATA is .* no directory"):
        running.check_needs(five, five.plan(tmp_path))
    running.check_needs(five, [])  # what is done needs nothing

"""The three commands of ``python -m pyserini_xqg.train``: defaults, what they say and record, and what they refuse."""

import importlib.util

import pytest
from generators import build_tiny_t5, build_tiny_tokenizer
from helpers import assert_one_error, run_module, write_jsonl
from trainings import example_records, pair_records, record_of, write_pair

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import build_parser, read_options
from pyserini_xqg.generate.sampling import PAPER_PROMPT
from pyserini_xqg.train import __main__ as train
from pyserini_xqg.train.job import device_share, last_checkpoint

SMALL = ["--device", "cpu", "--dtype", "float32", "--threads", "1"]


@pytest.fixture
def pairs(tmp_path):
    return write_jsonl(tmp_path / "pairs.jsonl", pair_records(8))


@pytest.fixture
def examples(tmp_path):
    return write_jsonl(tmp_path / "data.jsonl", example_records(10, negatives=0))


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)


def command(task, *arguments):
    train.main([task, *map(str, arguments), "--output", "out", *SMALL])


def options_of(task, *arguments):
    kind = train.COMMANDS[task].options
    return read_options(kind, build_parser(kind, task).parse_args(["--output", "c", *arguments]))


def test_the_defaults_are_those_of_the_paper_and_of_the_code_it_names():
    generator = options_of("generator", "--data", "a", "--model", "b")
    assert (generator.updates.learning_rate, generator.updates.steps, generator.prompt) == (1e-4, 2000, PAPER_PROMPT)
    assert (generator.updates.batch_size, generator.max_input_length) == (8 * 4 * 4, 128)
    assert (generator.max_target_length, generator.updates.eval_steps, generator.updates.warmup) == (64, 100, 0)
    retriever = options_of("retriever", "--data", "a")
    assert (retriever.updates.learning_rate, retriever.updates.batch_size, retriever.epochs) == (1e-5, 128, 40)
    vectors = retriever.vectors
    assert (vectors.max_length, vectors.query_max_length, vectors.pooling, vectors.l2_norm) == (128, 32, "cls", False)
    assert (retriever.temperature, retriever.updates.warmup) == (1, 0.1)
    assert retriever.model == "bert-base-multilingual-cased"
    distill = options_of("distill", "--data", "a", "--teacher", "b", "--student", "c")
    assert (distill.vectors.pooling, distill.vectors.l2_norm, distill.vectors.max_length) == ("mean", True, 256)
    assert (distill.updates.learning_rate, distill.updates.warmup, distill.updates.steps) == (5e-4, 0.025, 4000)
    assert (distill.loss.cosine_weight, distill.loss.contrastive_weight, distill.loss.scale) == (2.0, 0.5, 20.0)


def test_generator_trains_and_records_what_it_did(pairs, tiny_t5, tmp_path, capsys):
    silent = [{name: value for name, value in record.items() if name != "lang"} for record in pair_records(4, ["fi"])]
    more = write_jsonl(tmp_path / "more.jsonl.gz", silent)
    command(
        "generator", "--data", pairs, more, "--topic-languages", "fi", "--held-out", "0.3", "--model", tiny_t5,
        "--steps", "4", "--batch-size", "6", "--eval-steps", "2", "--learning-rate", "1e-3",
    )  # fmt: skip
    out, err = capsys.readouterr()
    shown = err.splitlines()
    assert out == ""
    assert any(line.startswith("step 2 of 4: loss ") for line in shown), err
    assert shown[-1].startswith("out: trained for 4 steps, held-out loss ")
    settings = record_of(tmp_path / "out")["settings"]
    assert settings["data"]["pairs"] + settings["held_out"]["pairs"] == 28
    assert sum(settings[side]["languages"]["fi"] for side in ("data", "held_out")) == 12
    assert (settings["steps"], settings["learning_rate"], settings["prompt"]) == (4, 1e-3, PAPER_PROMPT)


def test_retriever_trains_and_records_what_it_did(tiny_encoder, tmp_path, capsys):
    data = write_jsonl(tmp_path / "data.jsonl", example_records(10))
    small = ["--batch-size", "4", "--steps", "2", "--log-steps", "1"]
    command("retriever", "--data", data, "--model", tiny_encoder, "--held-out", "0.3", "--measures", "R@3", *small)
    out, err = capsys.readouterr()
    shown = err.splitlines()
    assert out == ""
    assert any(line.startswith("step 0 of 2: held-out R@3 ") for line in shown), err
    assert any(line.startswith("step 2 of 2: loss ") for line in shown), err
    assert shown[-2].startswith("out: trained for 2 steps, kept step 2, held-out R@3 ")
    assert shown[-1] == "to encode with it: --encoder out"
    record = record_of(tmp_path / "out")
    assert (record["task"], record["settings"]["negatives"], record["examples"]["negatives"]) == ("retriever", None, 7)
    assert len(record["losses"]) == 2


def test_distill_trains_and_records_what_it_did(tiny_encoder, tmp_path, capsys):
    new = ["--student-layers", "1", "--vocabulary-size", "140", "--teacher-pieces", "10", "--romanize"]
    small = ["--steps", "4", "--batch-size", "8", "--eval-steps", "2", "--held-out", "5"]
    command("distill", "--teacher", tiny_encoder, "--data", write_pair(tmp_path, "fi", 40), *small, *new)
    out, err = capsys.readouterr()
    shown = err.splitlines()
    assert out == ""
    assert any(line.startswith("step 2 of 4: loss ") for line in shown), err
    assert shown[-1].startswith("out: trained for 4 steps, held-out top-1 ")
    settings = record_of(tmp_path / "out")["settings"]
    expected = {"student_layers": [1], "vocabulary_size": 140, "teacher_pieces": 10, "romanize": True}
    assert {name: settings[name] for name in expected} == expected
    assert settings["data"]["held_out"] == {"fi": 5}


def assert_refused(capsys, phrase, task, *arguments):
    """One line names the fault, from the options' parser or later, and nothing is written."""
    try:
        with pytest.raises(XqgError) as caught:
            command(task, *arguments)
        message = str(caught.value)
    except SystemExit:
        message = capsys.readouterr().err.splitlines()[-1]
    assert phrase in message
    assert "\n" not in message


GENERATOR = [
    (["--held-out", "1"], "--held-out 1: must be a number of at least 0 and below 1, or a file of questions"),
    (["--held-out", "0", "--early-stopping", "2"], "--early-stopping needs held-out questions"),
    (["--held-out", "dev.jsonl"], "dev.jsonl: no such file"),
    (["--learning-rate", "0"], "--learning-rate 0: must be a number above 0"),
    (["--max-target-length", "1"], "--max-target-length 1: must be a number of at least 2"),
    (["--prompt", "Ask in {language}"], "no {text}"),
    (["--prompt", "Ask: {text}"], "no {language}, and the pairs are in ar, fi, ja"),
    (["--prompt", "{lang} {text}"], "unknown field {lang}"),
    (["--topic-languages", "Finnish"], "neither a language code nor a file"),
    (["--model", "models/none"], "models/none"),
]
RETRIEVER = [
    (["--held-out", "0.3", "--measures", "R@2kt"], "--measures R@2kt: needs answers"),
    (["--measures", "Recall"], "--measures Recall: not a measure of ir_measures"),
    (["--temperature", "-1"], "--temperature -1: must be a number above 0"),
    (["--epochs", "0"], "--epochs 0: must be a number above 0"),
    (["--warmup", "1"], "--warmup 1: must be a number of at least 0 and below 1"),
    (["--batch-size", "1"], "--batch-size 1: must be at least 2"),
    (["--batch-size", "30"], "--batch-size 30: the questions to train on have 10 different passages"),
    (["--negatives", "3"], "--negatives 3: the data has no negative passage. Find some with python -m pyserini_xqg.m"),
]
NEW_STUDENT = ["--student-layers", "1", "--vocabulary-size", "140", "--teacher-pieces", "9"]
DISTILL = [
    ([], "pass one of --student (an encoder) and --student-layers"),
    (["--student", "a", "--student-layers", "1"], "pass one of --student"),
    (["--student", "a", "--vocabulary-size", "100"], "--vocabulary-size is for --student-layers"),
    (["--student", "a", "--romanize"], "--romanize is for --student-layers"),
    (["--student-layers", "7"], "--student-layers 7: "),
    (["--student-layers", "a,1"], "a,1 is no list of layers"),
    (["--student-layers", "0", "--teacher-pieces", "12000"], "--teacher-pieces 12000: must be below --vocabulary-size"),
    ([*NEW_STUDENT, "--english-share", "1"], "--english-share 1: must be a number of at least 0 and below 1"),
    ([*NEW_STUDENT, "--learning-rate", "0"], "--learning-rate 0: must be a number above 0"),
    ([*NEW_STUDENT, "--held-out", "30"], "has only 30 pairs in fi"),
    ([*NEW_STUDENT, "--batch-size", "64"], "--batch-size 64: there are only 30 pairs to train on"),
    ([*NEW_STUDENT, "--vocabulary-size", "40"], "--vocabulary-size 40: the"),
    ([*NEW_STUDENT, "--cosine-weight", "0", "--contrastive-weight", "0"], "Give one of the losses"),
]


REFUSED = {"generator": GENERATOR, "retriever": RETRIEVER, "distill": DISTILL}


@pytest.mark.parametrize(
    ("task", "options", "phrase"), [(task, *refused) for task, table in REFUSED.items() for refused in table]
)
def test_what_cannot_be_meant(task, options, phrase, pairs, examples, tiny_t5, tiny_encoder, tmp_path, capsys):
    small = ["--batch-size", "4", "--steps", "2"]
    given = {
        "generator": ["--data", pairs, "--model", tiny_t5],
        "retriever": ["--data", examples, "--model", tiny_encoder, "--held-out", "0", *small],
        "distill": ["--data", write_pair(tmp_path, "fi", 30), "--teacher", tiny_encoder, *small],
    }
    assert_refused(capsys, phrase, task, *given[task], *options)


def test_models_of_another_kind(pairs, examples, tiny_encoder, tiny_t5, tmp_path, capsys):
    from transformers import GPT2Config, GPT2LMHeadModel

    causal = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2)).save_pretrained(causal)
    build_tiny_tokenizer().save_pretrained(causal)
    (tmp_path / "empty").mkdir()
    t5 = build_tiny_t5(tmp_path / "t5")
    parallel = ["distill", "--batch-size", "8", "--data", write_pair(tmp_path, "fi", 30)]
    decoder = "an encoder-decoder (mt5), not an encoder."
    for arguments, phrase in (
        (
            ["generator", "--data", pairs, "--model", causal],
            "gpt2: a causal model (gpt2), no encoder-decoder. Pass",
        ),
        (["generator", "--data", pairs, "--model", tiny_encoder], "a bert model"),
        (["retriever", "--data", examples, "--model", t5], decoder),
        (["retriever", "--data", examples, "--model", causal], "gpt2: a causal model (gpt2) whose files do not say"),
        (["retriever", "--data", examples, "--model", "empty"], "empty: cannot be loaded as a Hugging Face encoder"),
        (["retriever", "--data", examples, "--model", pairs], "pairs.jsonl: not a directory. Pass --model a directory"),
        (["retriever", "--data", examples, "--model", "models/none"], "models/none: cannot be loaded"),
        ([*parallel, *NEW_STUDENT, "--teacher", t5], decoder),
        ([*parallel, "--student", t5, "--teacher", tiny_encoder], decoder),
        ([*parallel, *NEW_STUDENT, "--teacher", "models/none"], "models/none: cannot be loaded"),
    ):
        assert_refused(capsys, phrase, *arguments)
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_trained_on(pairs, examples, tiny_encoder, tmp_path, capsys):
    given = ["retriever", "--model", tiny_encoder, "--batch-size", "4", "--steps", "2"]
    one_passage = write_jsonl(tmp_path / "one.jsonl", example_records(1, negatives=0))
    phrase = "all questions to train on have the same passage"
    assert_refused(capsys, phrase, *given, "--data", one_passage, "--held-out", "0")
    twice = write_jsonl(tmp_path / "dev.jsonl", example_records(2, negatives=0, languages=["fi"]) * 2)
    phrase = "line 3 (query_id fi-0): another held-out question has this query_id"
    assert_refused(capsys, phrase, *given, "--data", examples, "--held-out", twice)


def test_outputs_that_are_something_else(pairs, tiny_t5, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.jpg").touch()
    given = ["generator", "--data", pairs, "--model", tiny_t5]
    for more in ([], ["--overwrite"]):
        assert_refused(capsys, "out exists and is no training (it holds a.jpg), so it is left alone", *given, *more)
    assert (tmp_path / "out" / "a.jpg").exists()
    with pytest.raises(XqgError, match="is what is read"):
        train.main(["generator", "--data", str(pairs), "--model", tiny_t5, "--output", tiny_t5])


@pytest.mark.parametrize(
    ("task", "lacking", "name"),
    [("generator", "accelerate", "accelerate"), ("retriever", "sentence_transformers", "sentence-transformers")],
)
def test_packages_missing(pairs, monkeypatch, capsys, task, lacking, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None if module == lacking else module)
    assert_refused(capsys, f"training needs {name}", task, "--data", pairs, "--model", "none")


def test_a_loss_that_is_no_number_ends_the_training(pairs, examples, tiny_t5, tiny_encoder):
    rate = ["--learning-rate", "1e30", "--log-steps", "1", "--held-out", "0"]
    for task, data, model, more in (
        ("generator", pairs, tiny_t5, []),
        ("retriever", examples, tiny_encoder, ["--batch-size", "4", "--steps", "20"]),
    ):
        with pytest.raises(XqgError, match=r"the loss is (nan|inf) at step \d+. Lower --learning-rate"):
            command(task, "--data", data, "--model", model, *rate, *more, "--overwrite")


def test_batches_that_do_not_divide_among_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (device_share(96), device_share(3)) == (32, 1)
    for size, least in ((128, 1), (128, 2), (3, 2)):
        with pytest.raises(XqgError, match=f"--batch-size {size}: does not divide among 3 processes.* multiple of 3"):
            device_share(size, least)


def test_half_written_checkpoints_are_removed(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step in (2, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 10:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert not (tmp_path / "checkpoint-10").exists()


def test_a_fault_in_the_data_is_one_line_and_leaves_nothing(tiny_t5, tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl", [*pair_records(2), {"query_id": "x", "query": "y", "lang": "fi"}])
    given = ["generator", "--data", path, "--model", tiny_t5, "--output", tmp_path / "out"]
    result = run_module("pyserini_xqg.train", *given)
    assert_one_error(result, f"{path}, line 7 (query_id x): no positive passage")
    assert not (tmp_path / "out").exists()

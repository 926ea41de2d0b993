"""``python -m pyserini_xqg.generate`` from corpus to file: counts, second tries, resume, and what is refused."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from generation import FAST, LANGUAGES, PLAIN, generate, interrupt_after, passages, read, refused
from generators import build_tiny_causal, build_tiny_t5, build_tiny_translator
from helpers import assert_one_error, corpus_records, directory_bytes, run_module, write_jsonl

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import parse
from pyserini_xqg.generate import pipeline
from pyserini_xqg.generate.options import GenerateOptions
from pyserini_xqg.generate.output import read_sidecar
from pyserini_xqg.generate.prompts import format_prompt
from pyserini_xqg.generate.sampling import PAPER_PROMPT, Candidate
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.text.quality import REASONS


class Scripted:
    """A generator that says what it is told to, by prompt, round after round, and notes its calls."""

    device, max_input_length = "cpu", 12

    def __init__(self, say):
        self.say, self.calls, self.asked = say, [], Counter()

    def describe(self):
        return {"model": "scripted", "backend": "none", "dtype": "none"}

    def input_lengths(self, prompts):
        return [len(prompt.text.split()) for prompt in prompts]

    def generate(self, prompts, numbers, seed):
        self.calls.append((tuple((prompt.text, prompt.language) for prompt in prompts), tuple(numbers), seed))
        return [[self._next(prompt) for _ in range(number)] for prompt, number in zip(prompts, numbers, strict=True)]

    def _next(self, prompt):
        key = prompt.text, prompt.language
        self.asked[key] += 1
        found = self.say(*key, self.asked[key] - 1)
        return found if isinstance(found, Candidate) else Candidate(found, True)


@pytest.fixture(scope="module")
def weightless(tiny_t5, tmp_path_factory) -> str:
    """A checkpoint that can be looked at, and not loaded."""
    directory = tmp_path_factory.mktemp("weightless")
    shutil.copytree(tiny_t5, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    return str(directory)


def run_scripted(corpus, output, say, *more):
    """Run the pipeline with a scripted generator."""
    options = parse(GenerateOptions, "", argv=["--corpus", str(corpus), "--output", str(output), *map(str, more)])
    generator, plan = Scripted(say), options.settled_plan()
    checked, summary = pipeline.check_corpus(options, plan, output)
    pipeline.generate_corpus(checked, summary, generator, plan, output, chunk_size=options.chunk_size)
    return generator, read(output), read_sidecar(output)


# What comes out


def test_every_passage_in_order_with_its_queries(tiny_t5, bare_corpus, tmp_path, capsys):
    output = tmp_path / "q.jsonl"
    records = generate(bare_corpus, tiny_t5, output, *PLAIN, "--num-queries", 3)
    expected = passages(11)
    assert [{name: record[name] for name in ("docid", "title", "text")} for record in records] == expected
    counts = read_sidecar(output)["counts"]
    for code in LANGUAGES:
        found = [record["generated_queries"][code] for record in records]
        assert counts["queries"][code] == sum(map(len, found)) > 0
        assert counts["candidates"][code] == counts["queries"][code] + sum(counts["refused"][code].values())
        assert counts["passages_with_fewer_queries"][code] == sum(len(queries) < 3 for queries in found)
        assert max(map(len, found)) <= 3
        assert set(counts["refused"][code]) == set(REASONS)
    errors = capsys.readouterr().err
    assert f"{output}: 11 passages, queries: fi {counts['queries']['fi']}, ar {counts['queries']['ar']}" in errors
    assert f"{tiny_t5}: transformers, float32 on cpu" in errors


def test_encode_takes_the_output_as_it_is(tiny_t5, tiny_encoder, bare_corpus, tmp_path):
    from pyserini_xqg import encode

    whole, apart = tmp_path / "whole.jsonl", tmp_path / "apart.jsonl"
    generate(bare_corpus, tiny_t5, whole, *FAST)
    lines = generate(bare_corpus, tiny_t5, apart, *FAST, "--queries-only")
    assert all(set(line) == {"docid", "generated_queries"} for line in lines)
    settings = ("--encoder", tiny_encoder, "--device", "cpu", "--dtype", "float32")
    encode.main(["--corpus", str(whole), "--output", str(tmp_path / "one"), *settings])
    encode.main(
        ["--corpus", str(bare_corpus), "--queries", str(apart), "--output", str(tmp_path / "two"), *settings]
    )  # fmt: skip
    assert directory_bytes(tmp_path / "one") == directory_bytes(tmp_path / "two")


def test_any_corpus_and_an_ir_dataset(tiny_t5, tmp_path, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    records = passages(5)
    contents = [{"id": record["docid"], "contents": f"{record['title']}\n{record['text']}"} for record in records]
    (tmp_path / "directory").mkdir()
    write_jsonl(tmp_path / "directory" / "1.jsonl.gz", contents[:2])
    write_jsonl(tmp_path / "directory" / "2.json", contents[2:])
    plain = write_jsonl(tmp_path / "plain.jsonl", records)
    expected = generate(plain, tiny_t5, tmp_path / "a.jsonl", *FAST)
    assert generate(tmp_path / "directory", tiny_t5, tmp_path / "b.jsonl", *FAST) == expected
    found = generate("irds:xqg-sample", tiny_t5, tmp_path / "c.jsonl", *FAST, "--languages", "de")
    assert len(found) == 48
    assert all("de" in record["generated_queries"] and "te" in record["generated_queries"] for record in found)


def test_seeds(tiny_t5, bare_corpus, tmp_path):
    files = {}
    for name, more in {"a": (), "b": (), "c": ("--seed", 1), "fi": ("--languages", "fi")}.items():
        files[name] = generate(bare_corpus, tiny_t5, tmp_path / f"{name}.jsonl", *FAST, *more)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert (tmp_path / "a.jsonl.json").read_bytes() == (tmp_path / "b.jsonl.json").read_bytes()
    assert files["a"] != files["c"]
    # A language's queries do not depend on which others are generated.
    assert [record["generated_queries"]["fi"] for record in files["fi"]] == [
        record["generated_queries"]["fi"] for record in files["a"]
    ]


# Refusals and second tries


FINNISH = (
    "Missä vanha silta on?",
    "Kuka myy leipää torilla?",
    "Milloin joki jäätyi viimeksi?",
    "Miksi kalaa pyydetään?",
)


def test_refused_ones_are_asked_for_again_and_nothing_else(bare_corpus, tmp_path):
    def say(prompt, language, number):
        if "p3" in prompt:
            return "   "
        return [FINNISH[0], FINNISH[0], "", FINNISH[1], FINNISH[2]][number] if number < 5 else "Mitä?"

    template = "{title} {text} {language}"
    generator, records, sidecar = run_scripted(
        bare_corpus, tmp_path / "q.jsonl", say, "--languages", "fi", "--num-queries", 3, "--prompt", template,
        "--tries", 4, "--chunk-size", 4, "--language-check", "none", "--max-input-length", 12,
    )  # fmt: skip
    assert [record["generated_queries"]["fi"] for record in records] == [list(FINNISH[:3])] * 11
    rounds = [(len(prompts), set(numbers)) for prompts, numbers, _ in generator.calls]
    assert rounds == [(4, {3}), (4, {2})] * 2 + [(3, {3}), (3, {2})]
    assert len({seed for _, _, seed in generator.calls}) == len(generator.calls)
    counts = sidecar["counts"]
    assert counts["candidates"] == {"fi": 55}
    assert counts["refused"]["fi"] == dict.fromkeys(REASONS, 0) | {"empty": 11, "duplicate": 11}
    assert counts["passages_with_fewer_queries"] == {"fi": 0}
    prompts = [format_prompt(template, "fi", record["title"], record["text"]) for record in passages(11)]
    assert [text for prompts_, numbers, _ in generator.calls if 3 in numbers for text, _ in prompts_] == prompts
    assert counts["cut_inputs"]["fi"] == sum(len(prompt.split()) > 12 for prompt in prompts) > 0


def test_tries_are_bounded_and_missing_queries_are_named(tmp_path, capsys):
    records = [{"docid": f"d{row}", "text": f"The old stone bridge number {row} of the town."} for row in range(4)]
    corpus = write_jsonl(tmp_path / "c.jsonl", records)

    def say(prompt, language, number):
        if "number 2" in prompt and language == "fi":
            return "old stone bridge number 2 of the town" if number % 2 else Candidate("Missä vanha silta", False)
        return FINNISH[number] if language == "fi" else ("أين الجسر القديم؟", "متى يباع الخبز؟")[number]

    more = ("--languages", "fi,ar", "--num-queries", 2, "--language-check", "script", "--copied", "0.9")
    output = tmp_path / "q.jsonl"
    generator, found, sidecar = run_scripted(corpus, output, say, *more)
    assert len(generator.calls) == 3 + 1
    assert found[2]["generated_queries"] == {"fi": [], "ar": ["أين الجسر القديم؟", "متى يباع الخبز؟"]}
    counts = sidecar["counts"]
    assert counts["passages_with_fewer_queries"] == {"fi": 1, "ar": 0}
    assert counts["examples"]["passages_with_fewer_queries"] == ["d2"]
    assert counts["refused"]["fi"]["too_long"] == 3
    assert counts["candidates"] == {"fi": 6 + 6, "ar": 8}
    errors = capsys.readouterr().err
    assert f"{output}: passages with fewer than 2 queries: fi 1 (docid d2)" in errors
    assert f"{output}: fi: 6 of 12 candidates refused (too long 3, copy 3)" in errors
    generator, found, sidecar = run_scripted(corpus, tmp_path / "dropped.jsonl", say, *more, "--quality-check", "drop")
    assert len(generator.calls) == 2
    assert sidecar["counts"]["candidates"] == {"fi": 8, "ar": 8}
    assert sidecar["tries"] == 1


def test_without_checks_only_empty_ones_are_refused(bare_corpus, tmp_path):
    def say(prompt, language, number):
        return [Candidate("same  \n same", False), Candidate(" ", True), Candidate("same same", True)][number]

    more = ("--languages", "ja", "--num-queries", 3, "--quality-check", "off")
    generator, records, sidecar = run_scripted(bare_corpus, tmp_path / "q.jsonl", say, *more)
    assert [record["generated_queries"] for record in records] == [{"ja": ["same same"] * 2}] * 11
    assert len(generator.calls) == 1
    assert sidecar["counts"]["refused"]["ja"]["empty"] == 11
    assert sidecar["quality"] is None


def test_inputs_that_are_cut_are_counted_and_named(tiny_t5, bare_corpus, tmp_path, capsys):
    from transformers import AutoTokenizer

    generate(bare_corpus, tiny_t5, tmp_path / "q.jsonl", *FAST, "--max-input-length", 30)
    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    expected = {
        code: [
            record["docid"]
            for record in passages(11)
            if len(tokenizer(format_prompt(PAPER_PROMPT, code, record["title"], record["text"]))["input_ids"]) > 30
        ]
        for code in LANGUAGES
    }
    counts = read_sidecar(tmp_path / "q.jsonl")["counts"]
    assert counts["cut_inputs"] == {code: len(docids) for code, docids in expected.items()}
    assert 0 < counts["cut_inputs"]["fi"] < 11
    errors = capsys.readouterr().err
    first = expected["fi"][0]
    assert f"prompts were longer than the model's input and cut: fi {len(expected['fi'])}, ar " in errors
    assert f"(docid {first}, " in errors


def test_queries_that_are_there_already(tiny_t5, weightless, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", corpus_records(11))  # has ar, fi, ja
    with pytest.raises(XqgError) as caught:
        generate(corpus, weightless, tmp_path / "q.jsonl", "--languages", "fi,ko,ja,te")
    assert str(caught.value) == (
        f"{corpus}: has generated queries in fi, ja already. Pass --languages ko,te to add those alone (what is there "
        "is kept), or pass a corpus without them."
    )
    with pytest.raises(XqgError, match=r"in fi already\. Name other --languages to add those alone"):
        generate(corpus, weightless, tmp_path / "q.jsonl", "--languages", "fi")
    generate(corpus, tiny_t5, tmp_path / "q.jsonl", *FAST, "--languages", "ko,de")
    for before, after in zip(Corpus(corpus), Corpus(tmp_path / "q.jsonl"), strict=True):
        assert {code: after.queries.get(code) for code in before.queries} == dict(before.queries)
        assert set(after.queries) - set(before.queries) <= {"ko", "de"}


# Interruptions


@pytest.mark.parametrize("done", [0, 1, 3])
def test_continues_after_the_last_chunk(tiny_t5, bare_corpus, tmp_path, capsys, monkeypatch, done):
    output, whole = tmp_path / "q.jsonl", tmp_path / "whole" / "q.jsonl"
    generate(bare_corpus, tiny_t5, whole, *FAST)
    interrupt_after(done, monkeypatch, bare_corpus, tiny_t5, output, *FAST)
    assert not output.exists()
    capsys.readouterr()
    generate(bare_corpus, tiny_t5, output, *FAST)
    assert (f"{output}: continues after {3 * done} of 11 passages" in capsys.readouterr().err) == (done > 0)
    assert output.read_bytes() == whole.read_bytes()
    assert Path(f"{output}.json").read_bytes() == Path(f"{whole}.json").read_bytes()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (["--seed", "1"], "seed is 0 there and 1 now"),
        (["--prompt", "{language}: {text}"], f"prompt is {PAPER_PROMPT!r} there and '{{language}}: {{text}}' now"),
        (["--languages", "fi,ar,ko"], "languages is ['fi', 'ar'] there and ['fi', 'ar', 'ko'] now"),
        (["--num-queries", "4"], "num_queries is 2 there and 4 now"),
        (["--chunk-size", "4"], "chunk_size is 3 there and 4 now"),
        (["--quality-check", "drop"], "quality_check is 'off' there and 'drop' now"),
        (["--top-k", "3"], "generator.sampling.top_k is 10 there and 3 now"),
        (["--max-new-tokens", "7"], "generator.sampling.max_new_tokens is 6 there and 7 now"),
        (["--dtype", "bfloat16"], "generator.dtype is 'float32' there and 'bfloat16' now"),
        (["--queries-only"], "queries_only is False there and True now"),
        (["--shard-id", "0", "--shard-num", "2"], "shard.id is None there and 0 now"),
    ],
)
def test_half_done_work_with_other_options(tiny_t5, bare_corpus, tmp_path, monkeypatch, changes, difference):
    output = tmp_path / "q.jsonl"
    interrupt_after(1, monkeypatch, bare_corpus, tiny_t5, output, *FAST)
    before = directory_bytes(tmp_path / "q.jsonl.work")
    with pytest.raises(
        XqgError, match=r"q\.jsonl\.work holds an? unfinished work of pyserini_xqg.generate with other settings"
    ) as caught:
        generate(bare_corpus, tiny_t5, output, *FAST, *changes)
    assert difference in str(caught.value)
    assert "--overwrite to begin anew" in str(caught.value)
    assert directory_bytes(tmp_path / "q.jsonl.work") == before
    generate(bare_corpus, tiny_t5, output, *FAST)


def test_half_done_work_with_another_model_or_corpus(tiny_t5, weightless, bare_corpus, tmp_path, monkeypatch):
    output = tmp_path / "q.jsonl"
    interrupt_after(1, monkeypatch, bare_corpus, tiny_t5, output, *FAST)
    other = build_tiny_t5(tmp_path / "other", seed=4)
    with pytest.raises(XqgError, match=rf"generator\.model is '{tiny_t5}' there and '{other}' now; generator\.fing"):
        generate(bare_corpus, other, output, *FAST)
    write_jsonl(bare_corpus, passages(11, seed=1))
    with pytest.raises(XqgError, match=r"corpus\.sha256 is '[0-9a-f]{64}' there"):
        generate(bare_corpus, weightless, output, *FAST)  # found before the model is loaded


# What is refused


BAD_OPTIONS = {
    "language": (["--languages", "fi,Arabic"], "--languages: unknown language code 'Arabic'. Did you mean 'ar'?"),
    "language twice": (["--languages", "fi,fi"], "fi given more than once"),
    "placeholder": (["--prompt", "{language} {passage}"], "unknown field {passage}. Fields are {language}"),
    "no text": (["--prompt", "{language} {title}"], "no {text}"),
    "no language": (["--prompt", "{title} {text}"], "does not tell the model which language to write. Add {language}"),
    "top-k": (["--top-k", "-1"], "--top-k -1: must be a number of at least 0"),
    "temperature": (["--temperature", "0"], "--temperature 0: must be a number above 0"),
    "near-duplicate": (["--near-duplicate", "0.1"], "--near-duplicate 0.1: must be a number above 0.5"),
    "model": (["--model", "./no-model"], "no-model: not a directory. Pass --model a directory"),
    "shard": (["--shard-num", "3"], "--shard-num 3 needs --shard-id, 0 to 2: which part to work on"),
    "ray": (["--engine", "ray", "--shard-id", "0"], "--engine ray works on all shards"),
    "dtype": (["--dtype", "int8"], "--dtype int8: not for --backend transformers"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_options(tiny_t5, bare_corpus, tmp_path, capsys, name):
    more, phrase = BAD_OPTIONS[name]
    assert phrase in refused(
        lambda: generate(bare_corpus, tiny_t5, tmp_path / "deep" / "q.jsonl", *FAST, *more), capsys
    )
    assert not (tmp_path / "deep").exists()


def test_one_language_needs_no_name_in_the_prompt(tiny_t5, bare_corpus, tmp_path):
    records = generate(bare_corpus, tiny_t5, tmp_path / "q.jsonl", *FAST, "--languages", "fi", "--prompt", "{text}")
    assert len(records) == 11


@pytest.mark.parametrize(
    ("lines", "phrase"),
    [
        (['{"docid": "a", "text": "A."}', "{"], "line 2: malformed JSON"),
        (['{"docid": "a", "text": "A."}'] * 2, "docid 'a' is already at"),
        (['{"docid": "a", "title": "A"}'], "line 1 (docid a): no text"),
        ([], "no passage in it"),
    ],
)
def test_faults_in_the_corpus_are_found_before_the_model_is_loaded(weightless, tmp_path, lines, phrase):
    corpus = tmp_path / "c.jsonl"
    corpus.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(XqgError) as caught:
        generate(corpus, weightless, tmp_path / "deep" / "q.jsonl", *FAST)
    assert phrase in str(caught.value)
    assert not (tmp_path / "deep").exists()


def test_existing_output_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "q.jsonl").write_text("precious")
    with pytest.raises(XqgError, match=r"q\.jsonl exists\. Remove it, choose another --output, or pass --overwrite"):
        generate(tmp_path / "none", "./no-model", tmp_path / "q.jsonl")
    assert (tmp_path / "q.jsonl").read_text() == "precious"


def test_an_output_in_the_corpus(bare_corpus, tmp_path):
    before = bare_corpus.read_bytes()
    with pytest.raises(XqgError, match=r"bare\.jsonl: is what is read .*\. Choose another --output"):
        generate(bare_corpus, "no/model", bare_corpus, "--overwrite")
    assert bare_corpus.read_bytes() == before
    with pytest.raises(XqgError, match=r"q\.jsonl: lies in .*, which is read\. Choose another --output"):
        generate(tmp_path, "no/model", tmp_path / "q.jsonl")


def test_ctranslate2_that_is_not_installed(tmp_path):
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text("import sys\nsys.modules['ctranslate2'] = None\n")
    (tmp_path / "c.jsonl").write_text("not looked at")
    paths = os.pathsep.join([str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ["--corpus", tmp_path / "c.jsonl", "--output", tmp_path / "q.jsonl", "--backend", "ctranslate2"]
    result = run_module("pyserini_xqg.generate", *arguments, PYTHONPATH=paths)
    assert_one_error(result, "--backend ctranslate2", "pip install 'pyserini-xqg[ctranslate2]'")
    assert not (tmp_path / "q.jsonl.work").exists()


def test_a_model_that_is_not_there_is_found_before_the_corpus_is_read(tiny_encoder, tmp_path):
    (tmp_path / "c.jsonl").write_text("not looked at")
    with pytest.raises(XqgError, match=r"no-model: not a directory"):
        generate(tmp_path / "c.jsonl", "./no-model", tmp_path / "q.jsonl")
    with pytest.raises(XqgError, match=r"a bert model .*neither a seq2seq nor a causal language model"):
        generate(tmp_path / "c.jsonl", tiny_encoder, tmp_path / "q.jsonl")


# Other kinds of models


def test_a_causal_model(bare_corpus, tmp_path):
    model = build_tiny_causal(tmp_path / "causal")
    more = (*FAST, "--model-type", "causal", "--prompt", "{title} {text}\nAsk in {language}:")
    generate(bare_corpus, model, tmp_path / "whole.jsonl", *more)
    records = generate(bare_corpus, model, tmp_path / "again.jsonl", *more)
    assert (tmp_path / "whole.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    assert sum(len(record["generated_queries"]["fi"]) for record in records) > 0
    with pytest.raises(XqgError, match=r"a causal model .*, not seq2seq\. Pass --model-type causal"):
        generate(bare_corpus, model, tmp_path / "q.jsonl", *FAST, "--model-type", "seq2seq")
    assert not (tmp_path / "q.jsonl.work").exists()


def test_a_model_with_language_tokens_needs_no_language_in_the_prompt(bare_corpus, tmp_path):
    model, output = build_tiny_translator(tmp_path / "nllb", "nllb"), tmp_path / "q.jsonl"
    with pytest.raises(XqgError, match=r"nllb: no language token for Abkhazian \(ab\).*Leave the language out"):
        generate(bare_corpus, model, output, *FAST, "--prompt", "{title} {text}", "--languages", "fi,ar,ab")
    generate(bare_corpus, model, output, *FAST, "--prompt", "{title} {text}")
    assert read_sidecar(output)["generator"]["language_tokens"] == "nllb"


def test_ctranslate2_continues_and_merges_to_the_same_file(tiny_t5, bare_corpus, tmp_path, monkeypatch):
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed")
    from pyserini_xqg.generate.merge import merge_queries

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    more = (*FAST, "--backend", "ctranslate2", "--quality-check", "resample", "--language-check", "none")
    generate(bare_corpus, tiny_t5, tmp_path / "whole.jsonl", *more)
    interrupt_after(2, monkeypatch, bare_corpus, tiny_t5, tmp_path / "q.jsonl", *more)
    generate(bare_corpus, tiny_t5, tmp_path / "q.jsonl", *more)
    parts = [tmp_path / f"part{shard}.jsonl" for shard in range(3)]
    for shard, part in enumerate(parts):
        generate(bare_corpus, tiny_t5, part, *more, "--shard-id", shard, "--shard-num", 3)
    merge_queries(parts, tmp_path / "merged.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    assert (tmp_path / "q.jsonl").read_bytes() == whole
    assert (tmp_path / "merged.jsonl").read_bytes() == whole
    assert read_sidecar(tmp_path / "whole.jsonl")["generator"]["backend"] == "ctranslate2"
    interrupt_after(1, monkeypatch, bare_corpus, tiny_t5, tmp_path / "r.jsonl", *more)
    with pytest.raises(XqgError, match=r"generator\.backend is 'ctranslate2' there and 'transformers' now"):
        generate(bare_corpus, tiny_t5, tmp_path / "r.jsonl", *more, "--backend", "transformers")

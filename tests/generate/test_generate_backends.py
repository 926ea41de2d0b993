"""Queries from tiny real models: against transformers' own generate and distributions computed by hand."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
from generators import build_tiny_causal, build_tiny_translator
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.backends import BACKENDS, GeneratorOptions
from pyserini_xqg.generate.checkpoints import open_checkpoint
from pyserini_xqg.generate.decoding import DecodingState, random_numbers, sample
from pyserini_xqg.generate.sampling import Prompt, Sampling

TEXTS = ("the river runs past old stone bridges and a quiet town", "quiet town", "people sell bread fish and paper")
PROMPTS = [
    Prompt(f"Generate a {name} question for this passage: {text}", code)
    for text in TEXTS
    for name, code in (("Finnish", "fi"), ("Arabic", "ar"))
]


@pytest.fixture(scope="session")
def tiny_causal(tmp_path_factory) -> str:
    return build_tiny_causal(tmp_path_factory.mktemp("tiny-causal"))


@pytest.fixture(scope="session")
def translators(tmp_path_factory) -> dict[str, str]:
    styles = ("mbart50", "mbart25", "nllb")
    return {style: build_tiny_translator(tmp_path_factory.mktemp(style), style) for style in styles}


@pytest.fixture(scope="session", autouse=True)
def conversions(tmp_path_factory):
    """Conversions are kept here, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def load(model: str, backend: str = "transformers", *, batch_tokens=None, threads=1, dtype="float32", **sampling):
    if backend == "ctranslate2":
        pytest.importorskip("ctranslate2")
    options = GeneratorOptions(
        model, backend=backend, device="cpu", dtype=dtype, batch_tokens=batch_tokens, threads=threads
    )
    return options.load(Sampling(**{"max_new_tokens": 16} | sampling))


def texts(groups) -> list[list[str]]:
    return [[candidate.text for candidate in group] for group in groups]


def first_logits(model: str, prompt: Prompt, prefix=(0,)) -> torch.Tensor:
    """Logits of a query's first token, from transformers alone."""
    tokenizer, seq2seq = AutoTokenizer.from_pretrained(model), AutoModelForSeq2SeqLM.from_pretrained(model)
    inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        return seq2seq(**inputs, decoder_input_ids=torch.tensor([list(prefix)])).logits[0, -1].double()


def expected_frequencies(logits: torch.Tensor, top_k: int, top_p: float, temperature: float) -> np.ndarray:
    """Softmax over the tokens that top-k, then top-p leave, written out."""
    values = np.asarray(logits) / temperature
    order = np.argsort(-values)
    kept = list(order[: top_k or len(order)])
    weights = np.exp(values[kept] - values.max())
    weights /= weights.sum()
    if top_p < 1:
        number = int(np.searchsorted(np.cumsum(weights), top_p)) + 1
        kept, weights = kept[:number], weights[:number] / weights[:number].sum()
    frequencies = np.zeros(len(values))
    frequencies[kept] = weights
    return frequencies


# What is sampled


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("top_k", "top_p", "temperature"), [(10, 1.0, 1.0), (0, 1.0, 1.0), (10, 0.7, 1.0), (0, 0.5, 1.0), (5, 1.0, 0.5)]
)
def test_first_tokens_follow_the_distribution(tiny_t5, backend, top_k, top_p, temperature):
    generator = load(tiny_t5, backend, top_k=top_k, top_p=top_p, temperature=temperature, max_new_tokens=1)
    number = 4000
    (group,) = generator.generate(PROMPTS[:1], [number], seed=1)
    expected = expected_frequencies(first_logits(tiny_t5, PROMPTS[0]), top_k, top_p, temperature)
    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    by_text: Counter = Counter()
    for token in np.flatnonzero(expected):
        by_text[tokenizer.decode([token], skip_special_tokens=True).strip()] += expected[token]
    found = Counter(candidate.text for candidate in group)
    assert set(found) <= set(by_text)
    # Chi-square with as many degrees of freedom as texts: four standard deviations above its mean.
    likely = {text: share * number for text, share in by_text.items() if share * number >= 5}
    chi = sum((found[text] - count) ** 2 / count for text, count in likely.items())
    assert len(likely) > 2
    assert chi < len(likely) + 4 * np.sqrt(2 * len(likely))


@pytest.mark.parametrize("backend", BACKENDS)
def test_log_probabilities_are_the_models_own(tiny_t5, backend):
    generator = load(tiny_t5, backend, temperature=0.7, max_new_tokens=1)
    (group,) = generator.generate(PROMPTS[:1], [50], seed=1)
    scores = first_logits(tiny_t5, PROMPTS[0]).log_softmax(-1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    for candidate in group:
        assert candidate.finished == (candidate.text == "")
        near = (scores - candidate.log_probability).abs() < 1e-3
        assert candidate.text in [tokenizer.decode([row], True).strip() for row in near.nonzero().flatten().tolist()]


def test_whole_queries_have_their_log_probability(tiny_t5):
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_t5), AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    inputs = tokenizer(PROMPTS[0].text, return_tensors="pt")["input_ids"]
    state = DecodingState(model, inputs.tolist(), 0, [[0]])
    with torch.no_grad():
        drawn = sample(state, [0] * 30, random_numbers(1, PROMPTS[0], 30, 12), Sampling(), [1])
        assert {one.finished for one in drawn} == {True, False}
        for one in drawn:
            ids = one.ids + [1] * one.finished
            logits = model(input_ids=inputs, decoder_input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0]
            expected = logits.log_softmax(-1)[range(len(ids)), ids].sum().item()
            assert one.log_probability == pytest.approx(expected, abs=1e-3)
            assert len(ids) == 12 if not one.finished else len(ids) <= 12


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_likeliest_tokens_are_those_of_transformers(tiny_t5, backend):
    found = load(tiny_t5, backend, top_k=1).generate(PROMPTS, [1] * len(PROMPTS), seed=0)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_t5), AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    for prompt, (candidate,) in zip(PROMPTS, found, strict=True):
        inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
        (row,) = model.generate(**inputs, do_sample=False, max_new_tokens=16).tolist()
        assert candidate.text == " ".join(tokenizer.decode(row, skip_special_tokens=True).split())
        assert candidate.finished == (1 in row)


# Seeds and batches


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_same_seed_same_queries_whatever_came_before(tiny_t5, backend, threads):
    numbers = [3, 0, 2, 5, 1, 4]
    generator = load(tiny_t5, backend, batch_tokens=400, threads=threads)
    first = generator.generate(PROMPTS, numbers, seed=7)
    assert [len(group) for group in first] == numbers
    generator.generate(PROMPTS[:2], [9, 9], seed=3)
    torch.manual_seed(99)
    assert generator.generate(PROMPTS, numbers, seed=7) == first
    assert load(tiny_t5, backend, batch_tokens=400, threads=threads).generate(PROMPTS, numbers, seed=7) == first
    assert texts(generator.generate(PROMPTS, numbers, seed=8)) != texts(first)


def test_a_query_hangs_on_seed_prompt_and_place_alone(tiny_t5):
    together = texts(load(tiny_t5).generate(PROMPTS, [6] * len(PROMPTS), seed=7))
    for batch_tokens in (1, 500):
        small = load(tiny_t5, batch_tokens=batch_tokens)
        assert texts(small.generate(PROMPTS[::-1], [6] * len(PROMPTS), seed=7))[::-1] == together
        assert texts(small.generate(PROMPTS[2:4], [2, 4], seed=7)) == [together[2][:2], together[3][:4]]
    assert len({query for group in together for query in group}) > 20


def test_finished_rows_leave_the_batch_without_a_trace(tiny_t5, monkeypatch):
    sizes = []
    original = DecodingState.step
    monkeypatch.setattr(DecodingState, "step", lambda self, tokens: sizes.append(len(tokens)) or original(self, tokens))
    dropped = load(tiny_t5, max_new_tokens=40).generate(PROMPTS, [8] * 6, seed=2)
    assert sizes[0] > 30
    assert sizes[-1] < 15
    assert sizes == sorted(sizes, reverse=True)
    sizes.clear()
    monkeypatch.setattr("pyserini_xqg.generate.decoding._KEPT_SHARE", 0)
    kept = load(tiny_t5, max_new_tokens=40).generate(PROMPTS, [8] * 6, seed=2)
    assert set(sizes) == {48}
    assert texts(kept) == texts(dropped)
    flat = itertools.chain.from_iterable
    for one, other in zip(flat(kept), flat(dropped), strict=True):
        assert one.finished == other.finished
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_asked(tiny_t5, backend):
    generator = load(tiny_t5, backend)
    assert generator.generate([], [], seed=0) == []
    assert generator.generate(PROMPTS[:2], [0, 0], seed=0) == [[], []]
    assert generator.input_lengths([]) == []


# Prompts


@pytest.mark.parametrize("backend", BACKENDS)
def test_input_lengths_and_cutting(tiny_t5, backend):
    generator = load(tiny_t5, backend, max_input_length=12, top_k=1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_t5)
    lengths = [len(tokenizer(prompt.text)["input_ids"]) for prompt in PROMPTS]
    assert generator.max_input_length == 12
    assert generator.input_lengths(PROMPTS) == lengths
    assert max(lengths) > 12
    kept = tokenizer(PROMPTS[0].text, truncation=True, max_length=12)["input_ids"]
    assert generator._tokens.encode(PROMPTS[:1]) == [kept]
    same_start = Prompt(PROMPTS[0].text + " fish" * 50, "fi")
    found = generator.generate([PROMPTS[0], same_start], [1, 1], seed=0)
    assert found[0][0].text == found[1][0].text


def test_a_prompts_tail_is_not_cut(tiny_t5):
    generator = load(tiny_t5, max_input_length=20)
    ending = " Finnish question:"
    prompt = Prompt("the river runs past " * 30 + ending.strip(), "fi", tail=len(ending) - 1)
    (ids,) = generator._tokens.encode([prompt])
    text = AutoTokenizer.from_pretrained(tiny_t5).decode(ids, skip_special_tokens=True)
    assert len(ids) <= 20
    assert text.startswith("the river")
    assert text.endswith("Finnish question:")
    with pytest.raises(XqgError, match="--max-input-length 3: the prompt alone is longer"):
        load(tiny_t5, max_input_length=3)._tokens.encode([prompt])


# Language tokens


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("style", ["mbart50", "mbart25", "nllb"])
def test_the_language_is_forced(translators, style, backend):
    generator = load(translators[style], backend, max_new_tokens=1, top_k=0)
    tokens = {"fi": "fi_FI", "ar": "ar_AR"} if style != "nllb" else {"fi": "fin_Latn", "ar": "arb_Arab"}
    prompts = [Prompt("the river runs past", "fi"), Prompt("the river runs past", "ar")]
    tokenizer = AutoTokenizer.from_pretrained(translators[style])
    english = tokenizer.convert_tokens_to_ids("eng_Latn" if style == "nllb" else "en_XX")
    assert all(english in ids for ids in generator._tokens.encode(prompts))
    assert generator.describe()["language_tokens"] == ("nllb" if style == "nllb" else "mbart")
    for prompt, group in zip(prompts, generator.generate(prompts, [40, 40], seed=3), strict=True):
        language = tokenizer.convert_tokens_to_ids(tokens[prompt.language])
        prefix = [language] if style == "mbart25" else [2, language]
        scores = first_logits(translators[style], prompt, prefix).log_softmax(-1)
        for candidate in group:
            near = ((scores - candidate.log_probability).abs() < 2e-3).nonzero().flatten().tolist()
            assert candidate.text in [tokenizer.decode([row], skip_special_tokens=True).strip() for row in near]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("style", ["mbart50", "nllb"])
def test_forced_greedy_is_that_of_transformers(translators, style, backend):
    tokenizer = AutoTokenizer.from_pretrained(translators[style])
    model = AutoModelForSeq2SeqLM.from_pretrained(translators[style])
    found = load(translators[style], backend, top_k=1, max_new_tokens=6).generate(PROMPTS, [1] * 6, seed=0)
    seen = set()
    for prompt, group in zip(PROMPTS, found, strict=True):
        code = {"fi": ("fi_FI", "fin_Latn"), "ar": ("ar_AR", "arb_Arab")}[prompt.language][style == "nllb"]
        (row,) = model.generate(
            **tokenizer(prompt.text, return_tensors="pt"),
            do_sample=False,
            max_new_tokens=7,  # the language's token is one of them
            forced_eos_token_id=None,  # mBART's configuration ends a query that is cut
            forced_bos_token_id=tokenizer.convert_tokens_to_ids(code),
        )
        seen.add(" ".join(tokenizer.decode(row, skip_special_tokens=True).split()))
        assert group[0].text == " ".join(tokenizer.decode(row, skip_special_tokens=True).split())
    assert len(seen) > 1


def test_a_language_without_a_token(translators):
    generator = load(translators["mbart50"])
    with pytest.raises(XqgError, match=r"no language token for Albanian \(sq\).*Leave the language out"):
        generator.generate([Prompt("the river", "sq")], [1], seed=0)


# Causal models


def test_causal_greedy_is_transformers_first_line(tiny_causal):
    found = load(tiny_causal, top_k=1, max_new_tokens=30).generate(PROMPTS, [1] * 6, seed=0)
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_causal), AutoModelForCausalLM.from_pretrained(tiny_causal)
    for prompt, (candidate,) in zip(PROMPTS, found, strict=True):
        inputs = tokenizer(prompt.text, return_tensors="pt", return_token_type_ids=False)
        (row,) = model.generate(**inputs, do_sample=False, max_new_tokens=30)
        answer = tokenizer.decode(row[inputs["input_ids"].shape[1] :], skip_special_tokens=True).lstrip()
        assert candidate.text == " ".join(answer.partition("\n")[0].split())


def test_causal_padding_and_batches_do_not_show(tiny_causal):
    together = load(tiny_causal).generate(PROMPTS, [5] * 6, seed=4)
    alone = [load(tiny_causal).generate([prompt], [5], seed=4)[0] for prompt in PROMPTS]
    assert texts(together) == texts(alone)
    assert {candidate.finished for group in together for candidate in group} == {True, False}
    assert all("\n" not in candidate.text for group in together for candidate in group)


def test_chat_template(tmp_path):
    model = build_tiny_causal(tmp_path / "chat", chat=True)
    generator = load(model, max_input_length=30)
    tokenizer = AutoTokenizer.from_pretrained(model)
    assert generator.describe()["chat_template"] is True
    short, long = PROMPTS[2], Prompt("the river runs past " * 40, "fi")
    encoded = generator._tokens.encode([short, long])
    expected = tokenizer.apply_chat_template(
        [{"role": "user", "content": short.text}], add_generation_prompt=True, tokenize=False
    )
    assert encoded[0] == tokenizer(expected, add_special_tokens=False)["input_ids"]
    assert len(encoded[1]) <= 30
    whole = generator._tokens.encode([Prompt("the", "fi")])[0]
    assert encoded[1][:1] == whole[:1]
    assert encoded[1][-2:] == whole[-2:]  # a long passage does not push out the cue to answer
    for group in generator.generate([short, long], [3, 3], seed=1):
        assert all("answer" not in candidate.text for candidate in group)


def test_more_new_tokens_than_positions(tiny_causal, translators):
    with pytest.raises(XqgError, match="--max-new-tokens 256: the model has positions for 256 tokens"):
        load(tiny_causal, max_new_tokens=256)
    with pytest.raises(XqgError, match="--max-new-tokens 128: the model has positions for 128 tokens"):
        load(translators["mbart50"], max_new_tokens=128)
    assert load(tiny_causal, max_new_tokens=56).max_input_length == 200


# What a generator says of itself


@pytest.mark.parametrize("backend", BACKENDS)
def test_description_is_json_and_names_what_decides(tiny_t5, backend):
    described = load(tiny_t5, backend, top_p=0.9).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["backend"] == backend
    assert described["dtype"] == "float32"
    assert described["sampling"]["top_p"] == 0.9
    assert described["fingerprint"] == open_checkpoint(tiny_t5).fingerprint()


def test_dtypes_of_transformers(tiny_t5):
    with pytest.raises(XqgError, match=r"--dtype int8: not for --backend transformers\. --backend ctranslate2 has it"):
        load(tiny_t5, dtype="int8")
    with pytest.raises(XqgError, match=r"--dtype float64: not for --backend transformers\. Use one of auto"):
        load(tiny_t5, dtype="float64")
    with pytest.raises(XqgError, match="--dtype float16 is for CUDA devices"):
        load(tiny_t5, dtype="float16")

"""Queries per second of generation: transformers' generate as one calls it, and ours with both backends.

One model of mT5-small's shape and real XQuAD paragraphs. Each system has a process of its own, so that what
GeneratorOptions.load sets for a process (glibc keeps freed memory) serves ours alone; the processes work in turns. The
weights are random (no trained model comes with this repository), so what they cost is real and what they write is not:
tokens of a vocabulary of 250,112, of which the tokenizer knows the first 16,000, learnt from XQuAD: they cut its
passages of 100 words (XOR-TyDi's length) into 138 tokens, about as many as mT5's own pieces do. The output layer is
scaled so that the distribution is about as sharp as a trained model's, and its end token is given one of two logits:
never drawn, so that every query has exactly --tokens, or drawn for about one token in fifteen, so that lengths vary.
All passages go to a system in one call; the command gives CTranslate2 128 at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from common import DATA, machine, markdown, ratio

PROMPT = "Generate a Finnish question for this passage: "
QUERIES = 5
WORDS = 100  # of a passage, as in XOR-TyDi
Output = list[list[int]]  # token ids of each query, the end token included


def xquad() -> tuple[list[str], list[str]]:
    """English paragraphs, and questions in five languages."""
    paragraphs, questions = [], []
    for language in ("en", "ar", "de", "es", "ru"):
        for article in json.loads((DATA / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                paragraphs += [paragraph["context"]] if language == "en" else []
                questions += [question["question"] for question in paragraph["qas"]]
    return paragraphs, questions


def build_mt5_small_shape(directory: str, texts: Sequence[str], ends: bool) -> None:
    """d_model 512, d_ff 1,024, 8 + 8 layers, 6 heads, 250,112 tokens: 300 million random weights, untied as mT5's."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import MT5Config, MT5ForConditionalGeneration, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=16000, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    ).save_pretrained(directory)
    torch.manual_seed(0)
    model = MT5ForConditionalGeneration(MT5Config())
    with torch.no_grad():
        head = torch.randn(model.config.vocab_size, model.config.d_model) * 0.25
        head[[0, 1, 2]] = 0
        model.lm_head.weight = torch.nn.Parameter(head)
        # One dimension of the decoder is constant, as the bias that mT5's output lacks; only the end token uses it.
        head[:, 0] = 0
        model.shared.weight[:, 0] = 2
        for name, weight in model.decoder.named_parameters():
            if name.endswith(("o.weight", "wo.weight")):
                weight[0] = 0
        if ends:
            head[1, 0] = _end_weight(model)
    model.save_pretrained(directory)


def _end_weight(model: Any) -> float:
    """The weight that gives the end token a fifteenth of the ten likeliest tokens' probability, on average."""
    import torch

    prompts = torch.randint(3, 16000, (8, 64))
    words = model.generate(prompts, do_sample=True, top_k=10, max_new_tokens=16)
    output = model(input_ids=prompts, decoder_input_ids=words, output_hidden_states=True)
    constant = output.decoder_hidden_states[-1][..., 0]
    others = output.logits.topk(10).values.logsumexp(-1)
    low, high = 0.0, 1000.0
    for _ in range(50):
        middle = (low + high) / 2
        share = torch.sigmoid(middle * constant - others).mean()
        low, high = (low, middle) if share > 1 / 15 else (middle, high)
    return low


def plain(directory: str, tokens: int, most: int) -> Callable[[list[str], int], Output]:
    """(a) generate() on one padded batch after the other, 16 passages each, in the order of the corpus."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)

    def generate(texts: list[str], seed: int) -> Output:
        found: Output = []
        torch.manual_seed(seed)
        for first in range(0, len(texts), 16):
            inputs = tokenizer(
                [PROMPT + text for text in texts[first : first + 16]],
                max_length=most,
                padding=True,
                truncation=True,
                return_tensors="pt",
                return_token_type_ids=False,
            )
            with torch.inference_mode():
                rows = model.generate(
                    **inputs, do_sample=True, top_k=10, max_new_tokens=tokens, num_return_sequences=QUERIES
                )
            found += [row[1 : row.index(1) + 1] if 1 in row else row[1:] for row in rows.tolist()]
        return found

    return generate


def ours(directory: str, tokens: int, most: int, backend: str, dtype: str) -> Callable[[list[str], int], Output]:
    """(b) GeneratorOptions.load."""
    from pyserini_xqg.generate.backends import GeneratorOptions
    from pyserini_xqg.generate.sampling import Prompt, Sampling

    sampling = Sampling(max_new_tokens=tokens, max_input_length=most)
    generator: Any = GeneratorOptions(directory, backend=backend, device="cpu", dtype=dtype).load(sampling)
    # Token ids instead of texts: the tokenizer has no text for most of the vocabulary.
    generator._tokens.candidate = lambda ids, finished, _: [*ids, 1] if finished else list(ids)

    def generate(texts: list[str], seed: int) -> Output:
        groups = generator.generate([Prompt(PROMPT + text, "fi") for text in texts], [QUERIES] * len(texts), seed)
        return [ids for group in groups for ids in group]

    return generate


class InOwnProcess:
    """A system in a process of its own; a call returns its queries, its seconds and its CPU seconds."""

    def __init__(self, build: Callable[..., Callable[[list[str], int], Output]], *settings: Any) -> None:
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_load_system, initargs=(build, settings)
        )

    def __call__(self, texts: list[str], seed: int) -> tuple[Output, float, float]:
        return self._executor.submit(_time_system, texts, seed).result()

    def close(self) -> None:
        """End the process."""
        self._executor.shutdown()


def _load_system(build: Callable[..., Callable[[list[str], int], Output]], settings: tuple[Any, ...]) -> None:
    global _system
    _system = build(*settings)


def _time_system(texts: list[str], seed: int) -> tuple[Output, float, float]:
    started = time.perf_counter(), time.process_time()
    found = _system(texts, seed)
    return found, time.perf_counter() - started[0], time.process_time() - started[1]


def mean_log_probability(
    directory: str, texts: list[str], most: int, outputs: dict[str, list[Output]]
) -> dict[str, tuple[float, float]]:
    """Mean log-probability of a token under the fp32 model, and its standard error over passages, for each system."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    scores: dict[str, list[tuple[float, int]]] = {name: [] for name in outputs}
    with torch.inference_mode():
        for number, text in enumerate(texts):
            inputs = tokenizer(PROMPT + text, max_length=most, truncation=True, return_tensors="pt")
            encoded = model.get_encoder()(input_ids=inputs["input_ids"])
            for name, found in outputs.items():
                place = slice(number * QUERIES, (number + 1) * QUERIES)
                rows = [torch.tensor(ids) for one in found for ids in one[place]]
                labels = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
                hidden = encoded.last_hidden_state.expand(len(rows), -1, -1)
                starts = torch.nn.functional.pad(labels.clamp(min=0), (1, 0))[:, :-1]
                logits = model(encoder_outputs=(hidden,), decoder_input_ids=starts).logits
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
                scores[name].append((-loss.item(), int((labels >= 0).sum())))
    means = {}
    for name, values in scores.items():
        mean = sum(score for score, _ in values) / sum(count for _, count in values)
        spread = statistics.stdev((score - mean * count) for score, count in values)
        means[name] = (mean, spread * math.sqrt(len(values)) / sum(count for _, count in values))
    return means


def run(directory: str, texts: list[str], tokens: int, most: int, rounds: int) -> None:
    """Time every system in turns, then score what it wrote."""
    import ctranslate2

    settings = directory, tokens, most
    systems = {
        "(a) transformers generate, fp32": InOwnProcess(plain, *settings),
        "(b) ours, transformers, fp32": InOwnProcess(ours, *settings, "transformers", "float32"),
        "(b) ours, transformers, bf16": InOwnProcess(ours, *settings, "transformers", "bfloat16"),
    }
    supported = ctranslate2.get_supported_compute_types("cpu")
    for dtype in ("float32", "bfloat16", "int8"):
        if dtype in supported:
            systems[f"(b) ours, ctranslate2, {dtype}"] = InOwnProcess(
                ours, directory, tokens, most, "ctranslate2", dtype
            )
    wall: dict[str, list[float]] = {name: [] for name in systems}
    cpu: dict[str, list[float]] = {name: [] for name in systems}
    outputs: dict[str, list[Output]] = {name: [] for name in systems}
    for system in systems.values():
        system(texts[:4], 0)
    for number in range(rounds):
        for name, system in systems.items():
            found, seconds, cpu_seconds = system(texts, number)
            wall[name].append(seconds)
            cpu[name].append(cpu_seconds)
            outputs[name].append(found)
        line = ", ".join(f"{name} {values[-1]:.1f} s" for name, values in wall.items())
        print(f"round {number + 1}: {line}", flush=True)
    for system in systems.values():
        system.close()
    means = mean_log_probability(directory, texts, most, outputs)
    first, reference, *_ = wall
    rows = []
    for name, seconds in wall.items():
        middle, mean = statistics.median(seconds), means[name][0]
        queries = [ids for one in outputs[name] for ids in one]
        rows.append(
            [
                name,
                f"{len(queries) / rounds / middle:.1f}",
                f"{sum(map(len, queries)) / rounds / middle:.0f}",
                f"{ratio(wall, first, name):.1f}x",
                f"{ratio(cpu, first, name):.1f}x",
                f"{statistics.mean(map(len, queries)):.1f}",
                f"{mean:.3f} ± {means[name][1]:.3f}",
                f"{mean / means[reference][0] - 1:+.1%}",
            ]
        )
    header = ["system", "queries/s", "tokens/s", "to (a)", "to (a), CPU time", "tokens a query"]
    print(markdown([*header, "log-probability of a token", "to transformers fp32"], rows), flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--passages", type=int, default=48, help="XQuAD paragraphs, their first 100 words, five queries each"
    )
    parser.add_argument("--tokens", type=int, default=20, help="new tokens of a query where none ends by itself")
    parser.add_argument("--max-input-length", type=int, default=256, help="tokens of a prompt")
    parser.add_argument("--one-length", action="store_true", help="leave out the queries that end by themselves")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds")
    args = parser.parse_args()
    paragraphs, questions = xquad()
    chosen = paragraphs[:: max(1, len(paragraphs) // args.passages)][: args.passages]
    texts = [" ".join(text.split()[:WORDS]) for text in chosen]
    print(f"{machine()}; {len(texts)} passages, {QUERIES} queries each, top-k 10")
    kinds = [
        (f"every query {args.tokens} tokens long", args.tokens, False),
        ("queries end by themselves, at most 64 tokens", 64, True),
    ]
    for title, tokens, ends in kinds[: 1 if args.one_length else 2]:
        with tempfile.TemporaryDirectory() as directory:
            os.environ["XDG_CACHE_HOME"] = directory  # conversions are thrown away with the model
            build_mt5_small_shape(f"{directory}/model", paragraphs + questions, ends)
            print(f"\n{title}")
            run(f"{directory}/model", texts, tokens, args.max_input_length, args.rounds)


if __name__ == "__main__":
    main()

"""Generation with CTranslate2: seq2seq models in 8 or 16 bits, the fastest on a CPU."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ctranslate2

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.generate.conversion import converted, read_vocabulary
from pyserini_xqg.generate.generator import Generator
from pyserini_xqg.generate.sampling import Candidate, Prompt
from pyserini_xqg.vectors.embedding import batches_by_length

_STREAMS_CPU = 2
"""Translators side by side on a CPU, each with a copy of the weights: while one waits for memory the other computes."""
DTYPES = ("auto", "int8", "bfloat16", "float16", "float32")
# Fastest first. float16 is never chosen unasked: mT5 overflows in it.
_PREFERRED = {"cpu": ("int8", "bfloat16", "float32"), "cuda": ("bfloat16", "int8", "float32")}


class CTranslate2Generator(Generator):
    """A seq2seq checkpoint run by CTranslate2, which the first use converts (:mod:`pyserini_xqg.generate.conversion`).

    dtype : ``int8``, ``bfloat16``, ``float16``, ``float32``, or ``auto``: the fastest that CTranslate2 supports on the
    device. threads : all cores by default.

    One stream of random numbers serves every second batch of a call (on a GPU, all batches), so a candidate hangs on
    all prompts, numbers and the seed; not on ``threads``.
    """

    backend = "ctranslate2"
    batch_tokens_cpu = 24576
    batch_tokens_gpu = 131072

    def _choose(self, device: str, dtype: str) -> tuple[str, str]:
        if self._checkpoint.kind != "seq2seq":
            raise XqgError(
                f"{self._checkpoint.name}: a {self._checkpoint.kind} model; --backend ctranslate2 runs seq2seq models "
                "only. Use --backend transformers."
            )
        device = _choose_device(device)
        return device, _choose_dtype(dtype, device)

    def _load(self, threads: int | None) -> None:
        self._threads = threads or len(os.sched_getaffinity(0))
        self._directory = converted(self._checkpoint, self._fingerprint, self.dtype)
        self._vocabulary = read_vocabulary(self._directory)
        self._own_start = 1 if read_json(self._directory / "config.json")["decoder_start_token"] else 0
        self._ids = {token: number for number, token in enumerate(self._vocabulary)}

    def _draw(
        self, prompts: list[Prompt], ids: list[list[int]], numbers: list[int], seed: int
    ) -> list[list[Candidate]]:
        batches = list(self._batches(ids, numbers))
        found: list[list[Candidate]] = [[] for _ in prompts]

        def run(translator: ctranslate2.Translator, mine: Sequence[Sequence[int]]) -> None:
            for rows in mine:
                prefixes = [self._prefix(prompts[row]) for row in rows]
                forced = len(prefixes[0]) - (1 - self._own_start)  # a start token is not among those that come back
                results = translator.translate_batch(
                    [[self._vocabulary[token] for token in ids[row]] for row in rows],
                    target_prefix=prefixes if prefixes[0] else None,
                    **self._options(numbers[rows[0]], forced + self._sampling.max_new_tokens),
                )
                for row, result in zip(rows, results, strict=True):
                    found[row] = [
                        self._candidate(tokens[forced:], score)
                        for tokens, score in zip(result.hypotheses, result.scores, strict=True)
                    ]

        streams = min(len(batches), _STREAMS_CPU if self.device == "cpu" else 1)
        if streams:
            with ThreadPoolExecutor(min(streams, self._threads)) as executor:
                translators = self._seeded_translators(streams, _seed(seed, prompts, numbers), executor)
                list(executor.map(run, translators, [batches[first::streams] for first in range(streams)]))
        return found

    def _seeded_translators(self, number: int, seed: int, executor: ThreadPoolExecutor) -> list[Any]:
        """New translators, each at the beginning of a stream of random numbers of its own."""
        threads = max(1, self._threads // number)
        translators = list(executor.map(lambda _: self._translator(threads), range(number)))
        # CTranslate2 reads the seed when a thread draws its first number, and never again: only a new translator, with
        # a new thread, begins a sequence anew. Its one thread takes its batches in their order.
        for stream, translator in enumerate(translators):
            ctranslate2.set_random_seed((seed + stream) % 2**32)
            translator.translate_batch([[self._vocabulary[self._tokens.end_ids[0]]]], **self._options(1, 1))
        return translators

    def _translator(self, threads: int) -> ctranslate2.Translator:
        kind, _, index = self.device.partition(":")
        try:
            return ctranslate2.Translator(
                str(self._directory),
                device=kind,
                device_index=int(index or 0),
                compute_type=self.dtype,
                inter_threads=1,
                intra_threads=threads,
            )
        except (RuntimeError, ValueError) as error:
            raise XqgError(
                f"{self._directory}: CTranslate2 cannot load it on {self.device} in {self.dtype} ({error}). Remove the "
                "directory to have the model converted again, or use --backend transformers."
            ) from error

    def _batches(self, ids: list[list[int]], numbers: list[int]) -> Iterator[list[int]]:
        """Rows in batches of similar length, each with one number of candidates."""
        for number in sorted(set(numbers)):
            rows = [row for row, other in enumerate(numbers) if other == number]
            costs = [number * (len(ids[row]) + self._sampling.max_new_tokens) for row in rows]
            for batch in batches_by_length(costs, self.batch_tokens):
                yield [rows[place] for place in batch]

    def _options(self, number: int, most: int) -> dict[str, Any]:
        return {
            "num_hypotheses": number,
            "max_decoding_length": most,
            "min_decoding_length": 0,  # 1 would forbid an end token in the first place
            "max_input_length": 0,  # prompts are cut already
            "end_token": self._tokens.end_ids,
            "return_end_token": True,
            "return_scores": True,
            "beam_size": 1,
            "length_penalty": 0,  # scores are sums
            "sampling_topk": self._sampling.top_k,
            "sampling_topp": self._sampling.top_p,
            "sampling_temperature": self._sampling.temperature,
        }

    def _prefix(self, prompt: Prompt) -> list[str]:
        """The tokens that decoding begins with, behind the start token if the converted model puts one itself."""
        prefix = self._tokens.decoder_prefix(prompt.language)
        return [self._vocabulary[token] for token in prefix[self._own_start :]]

    def _candidate(self, tokens: Sequence[str], score: float) -> Candidate:
        ids = [self._ids[token] for token in tokens]
        finished = bool(ids) and ids[-1] in self._tokens.end_ids
        return self._tokens.candidate(ids[:-1] if finished else ids, finished, score)


def _seed(seed: int, prompts: Sequence[Prompt], numbers: Sequence[int]) -> int:
    """32 bits from all that a call is given."""
    digest = hashlib.blake2b(str(seed).encode(), digest_size=4)
    for prompt, number in zip(prompts, numbers, strict=True):
        digest.update(f"\0{prompt.language}\0{number}\0{prompt.text}".encode())
    return int.from_bytes(digest.digest(), "little")


def _choose_device(device: str) -> str:
    gpus = ctranslate2.get_cuda_device_count()
    if device == "auto":
        return "cuda:0" if gpus else "cpu"
    kind, _, index = device.partition(":")
    if kind not in _PREFERRED or (index and not index.isdigit()):
        raise XqgError(f"--device {device}: not for --backend ctranslate2. Use auto, cpu, cuda:0, cuda:1, …")
    if kind == "cuda" and int(index or 0) >= gpus:
        raise XqgError(f"--device {device}: CTranslate2 sees {gpus} CUDA devices here. Use --device cpu.")
    return device if kind == "cpu" else f"cuda:{index or 0}"


def _choose_dtype(dtype: str, device: str) -> str:
    kind, _, index = device.partition(":")
    supported = ctranslate2.get_supported_compute_types(kind, int(index or 0))
    if dtype == "auto":
        return next(known for known in _PREFERRED[kind] if known in supported)
    usable = [known for known in DTYPES if known in supported]
    if dtype not in usable:
        raise XqgError(
            f"--dtype {dtype}: CTranslate2 does not compute with it on this {kind}. Use one of auto, "
            f"{', '.join(usable)}{'' if dtype not in DTYPES else ', or --backend transformers'}."
        )
    return dtype

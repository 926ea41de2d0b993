"""Generation with Hugging Face transformers: any seq2seq or causal language model, on CPU or GPU."""

from __future__ import annotations

import numpy as np
import torch

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.decoding import DecodingState, random_numbers, sample
from pyserini_xqg.generate.generator import Generator
from pyserini_xqg.generate.sampling import Candidate, Prompt
from pyserini_xqg.vectors.embedding import batches_by_length
from pyserini_xqg.vectors.settings import choose_precision, resolve_device

DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersGenerator(Generator):
    """A checkpoint in torch.

    dtype : ``float32``, ``bfloat16``, ``float16`` (CUDA), or ``auto``: bfloat16 where the hardware multiplies it, else
    float32 (in float16 mT5 overflows).

    A candidate hangs on the seed, its prompt and its place among the prompt's candidates, so that equal prompts get
    equal candidates. It may differ where rounding (which other prompts are in its batch) moves a token's probability
    across the random number.
    """

    backend = "transformers"
    batch_tokens_cpu = 65536  # fewer candidates side by side, and reading the output layer's weights takes the time
    batch_tokens_gpu = 131072

    def _choose(self, device: str, dtype: str) -> tuple[str, str]:
        if dtype not in DTYPES:
            cure = "--backend ctranslate2 has it." if dtype == "int8" else f"Use one of {', '.join(DTYPES)}."
            raise XqgError(f"--dtype {dtype}: not for --backend transformers. {cure}")
        device = resolve_device(device)
        chosen = choose_precision(dtype, device)
        return device, "float32" if dtype == "auto" and chosen == "float16" else chosen

    def _load(self, threads: int | None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._model = self._checkpoint.load(self.dtype).to(self.device)

    @torch.inference_mode()
    def _draw(
        self, prompts: list[Prompt], ids: list[list[int]], numbers: list[int], seed: int
    ) -> list[list[Candidate]]:
        tokens, most = self._tokens, self._sampling.max_new_tokens
        found: list[list[Candidate]] = [[] for _ in prompts]
        costs = [number * (len(row) + most) for number, row in zip(numbers, ids, strict=True)]
        for batch in batches_by_length(costs, self.batch_tokens):
            prefixes = None
            if self._checkpoint.kind == "seq2seq":
                prefixes = [tokens.decoder_prefix(prompts[row].language) for row in batch]
            state = DecodingState(self._model, [ids[row] for row in batch], tokens.pad_id, prefixes)
            uniforms = np.concatenate([random_numbers(seed, prompts[row], numbers[row], most) for row in batch])
            owners = [place for place, row in enumerate(batch) for _ in range(numbers[row])]
            ends_line = tokens.ends_line if tokens.line_end_ids else None
            drawn = sample(state, owners, uniforms, self._sampling, tokens.end_ids, tokens.line_end_ids, ends_line)
            for owner, one in zip(owners, drawn, strict=True):
                found[batch[owner]].append(tokens.candidate(one.ids, one.finished, one.log_probability))
        return found

"""Generation with Hugging Face transformers: any seq2seq or causal language model, on CPU or GPU."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.sampling import Candidate, Prompt, Sampling
from pyserini_xqg.generate.tokens import LoadedCheckpoint
from pyserini_xqg.vectors.embedding import batches_by_length
from pyserini_xqg.vectors.settings import choose_precision, resolve_device

BATCH_TOKENS_CPU = 65536  # fewer candidates side by side, and reading the output layer's weights takes the time
BATCH_TOKENS_GPU = 131072
DTYPES = ("auto", "float32", "bfloat16", "float16")


class TransformersGenerator(LoadedCheckpoint):
    """A checkpoint on a device, with how its tokens are chosen; see :class:`pyserini_xqg.generate.sampling.Generator`.

    Parameters
    ----------
    checkpoint : what :func:`pyserini_xqg.generate.checkpoints.open_checkpoint` returns.
    sampling : how tokens are chosen. Temperature and top-p are transformers' own, beams are those of its
        ``generate``; settings that a checkpoint brings along for these are not used.
    device : ``cpu``, ``cuda:0``, …, or ``auto``.
    dtype : ``float32``, ``bfloat16``, ``float16`` (CUDA), or ``auto``: bfloat16 where the hardware multiplies it,
        else float32 (in float16 mT5 overflows).
    batch_tokens : most tokens in a batch: those of a prompt and of its query to come, for every candidate; None for
        what suits the device.
    threads : of the CPU; None for torch's own choice.
    """

    backend = "transformers"

    def __init__(
        self,
        checkpoint: Checkpoint,
        sampling: Sampling,
        device: str = "auto",
        dtype: str = "auto",
        batch_tokens: int | None = None,
        threads: int | None = None,
    ) -> None:
        import torch

        from pyserini_xqg.generate.decoding import Sampler

        device = resolve_device(device)
        batch_tokens = batch_tokens or (BATCH_TOKENS_CPU if device == "cpu" else BATCH_TOKENS_GPU)
        super().__init__(checkpoint, sampling, device, _choose_dtype(dtype, device), batch_tokens)
        if threads:
            torch.set_num_threads(threads)
        self._model = checkpoint.load(self.dtype).to(self.device)
        self._sampler = Sampler(sampling)

    def generate(self, prompts: Sequence[Prompt], numbers: Sequence[int], seed: int) -> list[list[Candidate]]:
        """``numbers[i]`` candidates for ``prompts[i]``.

        A candidate hangs on the seed, its prompt and its place among the prompt's candidates, so that equal prompts
        get equal candidates. It may differ where rounding (which other prompts are in its batch) moves a token's
        probability across the random number.
        """
        import torch

        ids = self._wanted_ids(prompts, numbers)
        wanted = list(ids)
        found: list[list[Candidate]] = [[] for _ in prompts]
        run = self._sample if self._sampling.num_beams == 1 else self._search
        with torch.inference_mode():
            for rows in self._batches(wanted, ids, numbers):
                batch = [prompts[row] for row in rows]
                candidates = run(batch, [ids[row] for row in rows], [numbers[row] for row in rows], seed)
                for row, group in zip(rows, candidates, strict=True):
                    found[row] = group
        return found

    def _batches(self, wanted: list[int], ids: dict[int, list[int]], numbers: Sequence[int]) -> list[list[int]]:
        new = self._sampling.max_new_tokens
        costs = [max(numbers[row], self._sampling.num_beams) * (len(ids[row]) + new) for row in wanted]
        batches = [[wanted[place] for place in batch] for batch in batches_by_length(costs, self.batch_tokens)]
        if self._sampling.num_beams == 1:
            return batches
        # transformers searches with one number of beams and returns one number of them for a whole batch.
        split = []
        for batch in batches:
            ordered = sorted(batch, key=lambda row: (numbers[row], batch.index(row)))
            split += [list(group) for _, group in itertools.groupby(ordered, key=lambda row: numbers[row])]
        return split

    def _sample(
        self, prompts: list[Prompt], ids: list[list[int]], numbers: list[int], seed: int
    ) -> list[list[Candidate]]:
        from pyserini_xqg.generate.decoding import CausalState, Seq2SeqState, random_numbers, sample

        tokens = self._tokens
        if self._checkpoint.kind == "causal":
            state = CausalState(self._model, ids, tokens.pad_id)
        else:
            prefixes = [tokens.decoder_prefix(prompt.language) for prompt in prompts]
            state = Seq2SeqState(self._model, ids, tokens.pad_id, prefixes)
        owners = [row for row, number in enumerate(numbers) for _ in range(number)]
        uniforms = np.concatenate(
            [
                random_numbers(seed, prompt, number, self._sampling.max_new_tokens)
                for prompt, number in zip(prompts, numbers, strict=True)
            ]
        )
        line_ends = tokens.line_end_ids
        drawn = iter(
            sample(
                state,
                owners,
                uniforms,
                self._sampler,
                tokens.end_ids,
                line_ends,
                tokens.ends_line if line_ends else None,
            )
        )
        return [
            [tokens.candidate(one.ids, one.finished, one.log_probability) for one in itertools.islice(drawn, number)]
            for number in numbers
        ]

    def _search(
        self, prompts: list[Prompt], ids: list[list[int]], numbers: list[int], seed: int
    ) -> list[list[Candidate]]:
        import torch
        from transformers import GenerationConfig

        tokens, number = self._tokens, numbers[0]
        causal = self._checkpoint.kind == "causal"
        longest = max(map(len, ids))
        padding = [[tokens.pad_id] * (longest - len(row)) for row in ids]
        masks = [[0] * len(empty) for empty in padding]
        rows = [empty + row if causal else row + empty for empty, row in zip(padding, ids, strict=True)]
        mask = [
            zero + [1] * len(row) if causal else [1] * len(row) + zero for zero, row in zip(masks, ids, strict=True)
        ]
        inputs = {"input_ids": rows, "attention_mask": mask}
        if not causal:
            inputs["decoder_input_ids"] = [tokens.decoder_prefix(prompt.language) for prompt in prompts]
            start, first = len(inputs["decoder_input_ids"][0]), [row[0] for row in inputs["decoder_input_ids"]]
        else:
            start, first = longest, None
        ends = [*tokens.end_ids, *tokens.line_end_ids]
        config = GenerationConfig(
            num_beams=max(self._sampling.num_beams, number),
            num_return_sequences=number,
            max_new_tokens=self._sampling.max_new_tokens,
            eos_token_id=ends,  # a causal model's query is a line
            pad_token_id=tokens.pad_id,
            decoder_start_token_id=first,
            return_dict_in_generate=True,
            output_scores=True,
        )
        output = self._model.generate(
            **{name: torch.tensor(values, device=self.device) for name, values in inputs.items()},
            generation_config=config,
        )
        candidates = []
        for row, score in zip(output.sequences[:, start:].tolist(), output.sequences_scores.tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in ends), None)
            ids = row if end is None else row[: end + 1]
            # The search compares means over the tokens.
            candidates.append(tokens.candidate(ids, end is not None, score * len(ids)))
        return [candidates[first : first + number] for first in range(0, len(candidates), number)]


def _choose_dtype(dtype: str, device: str) -> str:
    if dtype not in DTYPES:
        cure = "--backend ctranslate2 has it." if dtype == "int8" else f"Use one of {', '.join(DTYPES)}."
        raise XqgError(f"--dtype {dtype}: not for --backend transformers. {cure}")
    chosen = choose_precision(dtype, device)
    return "float32" if dtype == "auto" and chosen == "float16" else chosen

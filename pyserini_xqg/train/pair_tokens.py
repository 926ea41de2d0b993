"""What a sequence-to-sequence model reads and writes of a training pair, as token ids, kept on the disk.

A directory holds ``inputs.bin`` and ``targets.bin`` (token ids of all pairs end to end, int32), ``lengths.bin`` (two
int32 a pair: tokens of its input and of its target) and ``languages.bin`` (an uint8 a pair: which of the languages).
Training maps them into memory: it reads any pair without holding all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.generate.checkpoints import Checkpoint, open_checkpoint
from pyserini_xqg.generate.prompts import format_prompt
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens
from pyserini_xqg.train.options import GeneratorTraining
from pyserini_xqg.train.pairs import Pair

BATCH = 1024
"""Pairs tokenized at a time."""


def open_seq2seq(name: str) -> Checkpoint:
    """Configuration and tokenizer of a checkpoint that can be trained here."""
    checkpoint = open_checkpoint(name)
    if checkpoint.kind != "seq2seq":
        raise XqgError(
            f"{name}: a causal model ({checkpoint.config.model_type}), no encoder-decoder. Pass --model one, such as "
            "google/mt5-base."
        )
    if checkpoint.tokenizer.pad_token_id is None or checkpoint.tokenizer.eos_token_id is None:
        raise XqgError(f"{name}: its tokenizer has no padding or no end token. Name them in tokenizer_config.json.")
    return checkpoint


class PairTokens:
    """Token ids of pairs: the prompt as ``generate`` makes it, and what the decoder is to write after its start.

    Counts how many prompts (``cut_inputs``) and questions (``cut_targets``) were longer than their limit.
    """

    def __init__(self, checkpoint: Checkpoint, options: GeneratorTraining) -> None:
        self._limit = options.max_target_length
        sampling = Sampling(max_new_tokens=self._limit, max_input_length=options.max_input_length)
        self._prompts = PromptTokens(checkpoint, sampling)
        self._tokenizer, self._prompt = checkpoint.tokenizer, options.prompt
        self.cut_inputs = self.cut_targets = 0

    def __call__(self, pairs: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]]]:
        """Input ids of each pair, and its target: decoder prefix, question, end token.

        A question that is cut has no end token, so that the model does not learn to stop in the middle.
        """
        prompts = [self.prompt(pair) for pair in pairs]
        lengths = self._prompts.lengths(prompts)
        self.cut_inputs += sum(length > self._prompts.max_input_length for length in lengths)
        questions = self._tokenizer(
            [pair.query for pair in pairs], add_special_tokens=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        targets = []
        for pair, ids in zip(pairs, questions, strict=True):
            ids = [*ids, self._tokenizer.eos_token_id]
            self.cut_targets += len(ids) > self._limit
            targets.append([*self.decoder_prefix(pair.language), *ids[: self._limit]])
        return self._prompts.encode(prompts), targets

    def prompt(self, pair: Pair) -> Prompt:
        """The prompt of a pair."""
        text = format_prompt(self._prompt, pair.language, pair.passage.title, pair.passage.text)
        return Prompt(text, pair.language)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of prompts, cut."""
        return self._prompts.encode(prompts)

    def decoder_prefix(self, language: str) -> list[int]:
        """What the decoder starts from: its start token, and the language's where the model has such tokens."""
        return self._prompts.decoder_prefix(language)


def write_pairs(
    directory: Path,
    pairs: Iterable[Pair],
    tokens: PairTokens,
    languages: Sequence[str],
) -> None:
    """Tokenize ``pairs`` into files of a new ``directory``; ``languages`` are numbered in their order."""
    directory.mkdir(parents=True)
    index = {language: number for number, language in enumerate(languages)}
    with (
        write_file(directory / "inputs.bin", "wb") as inputs,
        write_file(directory / "targets.bin", "wb") as targets,
        write_file(directory / "lengths.bin", "wb") as lengths,
        write_file(directory / "languages.bin", "wb") as codes,
    ):
        for batch in chunks_of(pairs, BATCH):
            rows = tokens(batch)
            for stream, ids in zip((inputs, targets), rows, strict=True):
                stream.write(np.array([token for row in ids for token in row], dtype="<i4").tobytes())
            sizes = [[len(one), len(two)] for one, two in zip(*rows, strict=True)]
            lengths.write(np.array(sizes, dtype="<i4").tobytes())
            codes.write(np.array([index[pair.language] for pair in batch], dtype="u1").tobytes())


class TokenPairs:
    """The pairs of a directory that :func:`write_pairs` filled, as a map-style dataset for torch's ``DataLoader``.

    ``lengths`` : tokens of each input and of its target, (pairs, 2). ``languages`` : number of each pair's language.
    """

    def __init__(self, directory: Path) -> None:
        self.lengths = np.fromfile(directory / "lengths.bin", dtype="<i4").reshape(-1, 2)
        self.languages = np.fromfile(directory / "languages.bin", dtype="u1")
        self._ends = np.cumsum(self.lengths, axis=0, dtype=np.int64)
        self._inputs = np.memmap(directory / "inputs.bin", dtype="<i4", mode="r")
        self._targets = np.memmap(directory / "targets.bin", dtype="<i4", mode="r")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Input ids and target ids of a pair, int32."""
        first, last = self._ends[row] - self.lengths[row], self._ends[row]
        return self._inputs[first[0] : last[0]], self._targets[first[1] : last[1]]

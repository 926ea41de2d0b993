"""What a sequence-to-sequence model reads and writes of a training pair, as token ids, kept on the disk.

Training maps them into memory: it reads any pair without holding all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import Checkpoint, open_checkpoint
from pyserini_xqg.generate.prompts import format_prompt
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens
from pyserini_xqg.train.examples import Example
from pyserini_xqg.train.options import GeneratorTraining
from pyserini_xqg.train.pairs import write_rows

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

    def __call__(self, pairs: Sequence[Example]) -> tuple[list[list[int]], list[list[int]]]:
        """Input ids of each pair, and its target: decoder prefix, question, end token.

        A question that is cut has no end token, so that the model does not learn to stop in the middle.
        """
        prompts = [
            Prompt(format_prompt(self._prompt, pair.language, pair.passage.title, pair.passage.text), pair.language)
            for pair in pairs
        ]
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

    def decoder_prefix(self, language: str) -> list[int]:
        """What the decoder starts from: its start token, and the language's where the model has such tokens."""
        return self._prompts.decoder_prefix(language)


def write_pairs(path: Path, pairs: Iterable[Example], tokens: PairTokens, languages: Sequence[str]) -> None:
    """Tokenize ``pairs`` into an Arrow file; ``languages`` are numbered in their order."""

    def rows() -> Iterator[dict[str, Any]]:
        for batch in chunks_of(pairs, BATCH):
            for pair, inputs, target in zip(batch, *tokens(batch), strict=True):
                language = languages.index(pair.language)
                yield {"inputs": inputs, "target": target, "language": language, "length": len(inputs) + len(target)}

    columns = {"inputs": "list<int32>", "target": "list<int32>", "language": "int32", "length": "int32"}
    write_rows(path, columns, rows())

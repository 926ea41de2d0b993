"""Sequence-to-sequence models to train, loaded or new, and what they read and write of a training pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import Checkpoint, open_checkpoint
from pyserini_xqg.generate.prompts import format_prompt
from pyserini_xqg.generate.sampling import Prompt, Sampling
from pyserini_xqg.generate.tokens import PromptTokens
from pyserini_xqg.train.pairs import Pair


@dataclass(frozen=True)
class NewModel:
    """Shape of a model to make: T5 1.1's architecture, which is mT5's, with the output layer tied to the embeddings.

    vocab_size : most pieces of its vocabulary. layers : of the encoder, and as many of the decoder. d_model : size of
    its vectors; feed-forward layers are twice as wide, heads have 64 dimensions. dropout : probability in training.
    """

    vocab_size: int = 8000
    layers: int = 4
    d_model: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise XqgError(f"--dropout {self.dropout}: must be at least 0 and below 1.")
        if self.d_model % 64 and self.d_model > 64:
            raise XqgError(f"--d-model {self.d_model}: must be a multiple of 64, the dimensions of a head.")

    def checkpoint(self, tokenizer: Any) -> Checkpoint:
        """The model's configuration for a tokenizer."""
        from transformers import GenerationConfig, T5Config

        heads = max(1, self.d_model // 64)
        special = {
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "decoder_start_token_id": tokenizer.pad_token_id,
        }
        # Tied and scaled, which every release of transformers from 4 on reads alike; MT5Config's tied output is not.
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=self.d_model,
            d_kv=self.d_model // heads,
            d_ff=2 * self.d_model,
            num_layers=self.layers,
            num_heads=heads,
            dropout_rate=self.dropout,
            feed_forward_proj="gated-gelu",
            **special,
        )
        return Checkpoint("new model", "seq2seq", config, GenerationConfig(**special), tokenizer)


def new_model(checkpoint: Checkpoint) -> Any:
    """The model of a configuration, its weights random by torch's seed."""
    from transformers import T5ForConditionalGeneration

    return T5ForConditionalGeneration(checkpoint.config)


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

    def __init__(self, checkpoint: Checkpoint, prompt: str, max_input_length: int, max_target_length: int) -> None:
        sampling = Sampling(max_new_tokens=max_target_length, max_input_length=max_input_length)
        self._prompts = PromptTokens(checkpoint, sampling)
        self._tokenizer, self._prompt, self._limit = checkpoint.tokenizer, prompt, max_target_length
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

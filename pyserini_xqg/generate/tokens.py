"""Prompts to token ids and token ids to queries, the same for every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.language_tokens import LanguageTokens
from pyserini_xqg.generate.sampling import Candidate, Prompt, Sampling

_UNLIMITED = 1_000_000  # tokenizers without a limit of their own report about 1e30
_UNSTATED_LIMIT = 512  # what mT5 was trained with; its relative positions have no limit


class PromptTokens:
    """A checkpoint's tokenizer with all that stands around a prompt: chat template, language tokens, limits.

    max_input_length : tokens kept of a prompt, special tokens and chat template included.
    end_ids : tokens that end a query. line_end_ids : of a causal model, tokens that hold a line break: its answer's
    first line is the query.

    Raises :class:`XqgError` if the model's positions do not hold the prompt and the new tokens.
    """

    def __init__(self, checkpoint: Checkpoint, sampling: Sampling) -> None:
        self._model = checkpoint.name
        self._tokenizer = checkpoint.tokenizer
        self._causal = checkpoint.kind == "causal"
        self._chat = self._causal and bool(getattr(self._tokenizer, "chat_template", None))
        self._languages = LanguageTokens(self._tokenizer) if not self._causal else None
        special = checkpoint.generation_config
        ends = special.eos_token_id if isinstance(special.eos_token_id, list) else [special.eos_token_id]
        self.end_ids = sorted({int(end) for end in [*ends, self._tokenizer.eos_token_id] if end is not None})
        self.pad_id: int = special.pad_token_id
        self.line_end_ids = self._line_ends() if self._causal else []
        self._start = checkpoint.decoder_start_id
        self._forced = getattr(special, "forced_bos_token_id", None)
        self.max_input_length = self._limit(checkpoint, sampling)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, cut to :attr:`max_input_length`."""
        rows = self._tokenize([prompt.text for prompt in prompts])
        return [
            ids if len(ids) <= self.max_input_length else self._cut(prompt)
            for prompt, ids in zip(prompts, rows, strict=True)
        ]

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt before it is cut."""
        return [len(ids) for ids in self._tokenize([prompt.text for prompt in prompts])]

    def decoder_prefix(self, language: str) -> list[int]:
        """What a seq2seq model's decoder starts from: its start token, and the language's token where it has them."""
        if self._languages is None:
            return []
        language_id = self._languages.token_id(language, self._model)
        start = [] if self._start is None or self._languages.is_language(self._start) else [self._start]
        if language_id is not None:  # mBART-25 starts from the language's token itself
            return [*start, language_id]
        if not start:
            raise XqgError(
                f"{self._model}: config.json names no decoder_start_token_id, so decoding cannot begin. Add it there."
            )
        return start if self._forced is None else [*start, self._forced]

    def candidate(self, ids: Sequence[int], finished: bool, log_probability: float | None = None) -> Candidate:
        """A query from its tokens: special tokens dropped, of a causal model the first line, white space made even."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        if self._causal:
            text, line_break, _ = text.lstrip().partition("\n")
            finished = finished or bool(line_break)
        return Candidate(" ".join(text.split()), finished, log_probability)

    def ends_line(self, ids: Sequence[int]) -> bool:
        """True if a first line that is not blank is complete."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return "\n" in text.lstrip()

    def describe(self) -> dict[str, Any]:
        """What decides the tokens of a prompt, beside the tokenizer itself."""
        style = self._languages.style if self._languages else None
        return {"max_input_length": self.max_input_length, "chat_template": self._chat, "language_tokens": style}

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._chat:
            texts = [self._conversation(text) for text in texts]
        rows = self._tokenizer(
            list(texts),
            add_special_tokens=not self._chat,  # the template has written them
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        if self._causal:  # an end token would end the answer before it begins
            rows = [ids[:-1] if len(ids) > 1 and ids[-1] in self.end_ids and not self._chat else ids for ids in rows]
        return rows

    def _conversation(self, text: str) -> str:
        try:
            return self._tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # read by the templates of models that think aloud, ignored by others
            )
        except Exception as error:  # Jinja's own, and whatever a template raises
            raise XqgError(
                f"{self._model}: its chat template fails on a single message of the user ({error}). Mend the template, "
                "or remove it to have the prompt continued as plain text."
            ) from error

    def _cut(self, prompt: Prompt) -> list[int]:
        """The first tokens of a prompt; around a tail or a chat template, those of the longest text that fits."""
        if not (self._chat or prompt.tail or self._causal):
            settings = {"truncation": True, "max_length": self.max_input_length}
            return self._tokenizer(prompt.text, return_attention_mask=False, **settings)["input_ids"]
        text = prompt.text[: len(prompt.text) - prompt.tail]
        tail = prompt.text[len(text) :]
        fits, low, high = None, 0, len(text) - 1
        while low <= high:
            middle = (low + high) // 2
            (ids,) = self._tokenize([text[:middle].rstrip() + tail])
            if len(ids) <= self.max_input_length:
                fits, low = ids, middle + 1
            else:
                high = middle - 1
        if fits is None:
            raise XqgError(
                f"--max-input-length {self.max_input_length}: the prompt alone is longer. Allow more tokens, or "
                "shorten --prompt."
            )
        return fits

    def _line_ends(self) -> list[int]:
        """Tokens with a line break in them, as byte-level, byte-fallback and plain vocabularies write it."""
        breaks = ("\n", "Ċ", "<0x0A>")
        return sorted(
            number
            for token, number in self._tokenizer.get_vocab().items()
            if any(line_break in token for line_break in breaks)
        )

    def _limit(self, checkpoint: Checkpoint, sampling: Sampling) -> int:
        config = checkpoint.config
        positions = getattr(config, "max_position_embeddings", None)
        own = positions if isinstance(positions, int) and positions > 0 else None
        if own is not None and self._causal:
            own -= sampling.max_new_tokens
        if own is not None and (own < 1 or (not self._causal and sampling.max_new_tokens >= positions)):
            raise XqgError(
                f"--max-new-tokens {sampling.max_new_tokens}: the model has positions for {positions} tokens. Ask for "
                "fewer."
            )
        stated = [self._tokenizer.model_max_length] if self._tokenizer.model_max_length < _UNLIMITED else []
        limits = [limit for limit in (*stated, own) if limit is not None]
        if sampling.max_input_length is not None:
            return min([sampling.max_input_length, *([own] if own is not None else [])])
        return min(limits) if limits else getattr(config, "n_positions", None) or _UNSTATED_LIMIT

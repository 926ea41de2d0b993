"""A SentencePiece Unigram vocabulary of one's own, as a tokenizer that Hugging Face loads."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from itertools import islice
from typing import Any

from pyserini_xqg.core.errors import XqgError

MOST_TEXTS = 1_000_000
"""Texts that a vocabulary is learned from at most, the first ones: the trainer holds them in memory."""

SPECIAL = ("<pad>", "</s>", "<unk>")
"""T5's special pieces, in the order of their ids."""


def train_tokenizer(texts: Iterable[str], size: int) -> Any:
    """A ``PreTrainedTokenizerFast`` with at most ``size`` pieces, T5's special pieces among them.

    SentencePiece's trainer (Kudo 2018, arXiv 1804.10959) on one thread, which gives the same pieces for the same
    texts; that of the ``tokenizers`` library gives others in every process.

    Raises :class:`XqgError` if ``size`` is too small for the characters of the texts.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise XqgError(
            "--from-scratch learns its vocabulary with sentencepiece. Run: pip install 'pyserini-xqg[train]'"
        ) from error
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=map(_normalize, islice(texts, MOST_TEXTS)),
            model_writer=model,
            vocab_size=size,
            model_type="unigram",
            character_coverage=1.0,
            normalization_rule_name="identity",
            hard_vocab_limit=False,
            max_sentence_length=1 << 20,
            num_threads=1,
            minloglevel=2,
            bos_id=-1,
            **{f"{name}_id": number for number, name in enumerate(("pad", "eos", "unk"))},
            **{f"{name}_piece": SPECIAL[number] for number, name in enumerate(("pad", "eos", "unk"))},
        )
    except RuntimeError as error:
        raise XqgError(
            f"--vocab-size {size}: SentencePiece cannot learn it from these texts ({_last_sentence(error)})."
        ) from error
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return fast_tokenizer([(pieces.id_to_piece(number), pieces.get_score(number)) for number in range(len(pieces))])


def fast_tokenizer(pieces: list[tuple[str, float]]) -> Any:
    """The tokenizer with these pieces and their log-probabilities; ends every text with ``</s>``, as T5's does."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index("<unk>"), byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _normalize(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _last_sentence(error: RuntimeError) -> str:
    """What SentencePiece says, without the place in its source."""
    return str(error).strip().splitlines()[-1].rsplit("] ", 1)[-1].strip() or str(error)

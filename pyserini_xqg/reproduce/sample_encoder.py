"""The encoder of the conditions on the bundled sample: it knows no language, is made in a second, always the same.

Run as ``python -m pyserini_xqg.reproduce.sample_encoder DIRECTORY``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_VOCABULARY = 4000
_DIMENSION = 384
_FREQUENT = 0.03
"""Share of the texts from which on a piece counts as a function word."""


def sample_texts() -> Iterator[str]:
    """The sample's passages and generated queries, never its topics."""
    from pyserini_xqg.text.corpus import Corpus

    for passage in Corpus("irds:xqg-sample"):
        yield f"{passage.title} {passage.text}"
        for queries in passage.queries.values():
            yield from queries


def build_encoder(directory: str | Path, texts: Iterable[str] | None = None, seed: int = 0) -> str:
    """Make a BERT without layers whose vectors are a bag of word pieces; returns the directory.

    The vocabulary is trained on ``texts`` (the sample by default); each piece gets a random vector from
    ``seed``, pieces that occur in over 3 % of the texts (function words, punctuation) and the special
    tokens get zero. Use it with mean pooling. The same texts and seed give the same files.

    >>> build_encoder("/tmp/xqg-doctest-bag")
    '/tmp/xqg-doctest-bag'
    """
    import torch
    from transformers import BertConfig, BertModel

    texts = list(texts if texts is not None else sample_texts())
    tokenizer = _train_tokenizer(texts)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=_DIMENSION,
        num_hidden_layers=0,
        num_attention_heads=12,
        intermediate_size=1,
        max_position_embeddings=tokenizer.model_max_length,
    )
    model = BertModel(config, add_pooling_layer=False)
    occurs_in = Counter(piece for text in texts for piece in set(tokenizer(text)["input_ids"]))
    frequent = [piece for piece, number in occurs_in.items() if number > _FREQUENT * len(texts)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        vectors = torch.randn(len(tokenizer), _DIMENSION, generator=torch.Generator().manual_seed(seed))
        vectors[: len(_SPECIAL_TOKENS)] = 0
        vectors[frequent] = 0
        model.embeddings.word_embeddings.weight.copy_(vectors)
        model.embeddings.LayerNorm.weight.fill_(1)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def _train_tokenizer(texts: list[str]) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def untrained(model: Any) -> Any:
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.Sequence(
            # Accents carry meaning in Finnish, vowel signs in Bengali and Telugu: they stay.
            [normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False, lowercase=True)]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            # Japanese has no blanks: names written in katakana become words of their own.
            [pre_tokenizers.Split(Regex(r"[\u30A0-\u30FF]+"), "isolated"), pre_tokenizers.BertPreTokenizer()]
        )
        return tokenizer

    tokenizer = untrained(models.WordPiece(unk_token="[UNK]"))
    words = [
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    ]
    # The trainer numbers pieces inside words as its hash tables fall, and breaks ties by number: given
    # beforehand, in order, they make the same vocabulary in every process.
    inside = sorted({f"##{letter}" for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=_VOCABULARY, min_frequency=1, special_tokens=[*_SPECIAL_TOKENS, *inside], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Built anew, so that those pieces are ordinary ones.
    tokenizer = untrained(models.WordPiece(tokenizer.get_vocab(), unk_token="[UNK]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    )


if __name__ == "__main__":
    build_encoder(sys.argv[1])

"""WordPiece vocabularies: learned pieces beside given ones, and the tokenizer that cuts words into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pyserini_xqg.core.errors import XqgError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""Special pieces, in the order of their ids."""

INSIDE = "##"
"""What a piece begins with that does not begin a word."""

_LONGEST_WORD = 500  # characters; a longer one is unknown as a whole, and some scripts have no blanks
_RARE = 3  # a letter that occurs less often is unknown


def learn_pieces(
    texts: Sequence[str], size: int, normalizer: Any, given: Iterable[str] = (), rare: int = _RARE
) -> list[str]:
    """At most ``size`` pieces, each once: special ones, letters of the texts, ``given`` ones, and learned ones.

    The same texts give the same pieces in every process. Letters that occur fewer than ``rare`` times are left out.
    Raises :class:`XqgError` if ``size`` has no room for the letters.
    """
    from tokenizers import models, trainers

    untrained = _tokenizer(models.WordPiece(unk_token=SPECIAL[1]), normalizer)
    at_front: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for text in texts:
        for word, _ in untrained.pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            at_front[word[0]] += 1
            inside.update(word[1:])
    letters = sorted(letter for letter, number in (at_front + inside).items() if number >= rare)
    ends = sorted(INSIDE + letter for letter, number in inside.items() if number >= rare)
    if len(SPECIAL) + len(letters) + len(ends) >= size:
        raise XqgError(
            f"--vocabulary-size {size}: the texts have {len(letters):,} letters, {len(ends):,} of them inside words. "
            f"Pass at least {2 * (len(letters) + len(ends)):,}."
        )
    # The trainer numbers pieces inside words as its hash tables fall, and breaks ties by number: given beforehand, in
    # order, they make the same vocabulary in every process.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=rare,
        special_tokens=[*SPECIAL, *ends],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    untrained.train_from_iterator(texts, trainer)
    learned = untrained.get_vocab()
    pieces = dict.fromkeys((*SPECIAL, *letters, *ends, *given, *sorted(learned, key=learned.get)))
    return list(pieces)[:size]


def build_tokenizer(pieces: Sequence[str], normalizer: Any, max_length: int) -> Any:
    """The ``PreTrainedTokenizerFast`` with these pieces, BERT's special ones around every text."""
    from tokenizers import models, processors
    from transformers import PreTrainedTokenizerFast

    pad, unknown, first, last = SPECIAL
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = _tokenizer(
        models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=_LONGEST_WORD), normalizer
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token=unknown,
        cls_token=first,
        sep_token=last,
        model_max_length=max_length,
    )


def plain_normalizer() -> Any:
    """Compatibility forms and lower case; accents and vowel signs stay."""
    from tokenizers import normalizers

    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.BertNormalizer(handle_chinese_chars=False, strip_accents=False, lowercase=True),
        ]
    )


def _tokenizer(model: Any, normalizer: Any) -> Any:
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    # Japanese has no blanks, and an unknown character makes its whole word unknown: runs of one script are words.
    runs = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (r"\p{Han}+", r"[\u30A0-\u30FF]+")]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), *runs])
    return tokenizer


def as_wordpiece(piece: str, sentencepiece: bool) -> str:
    """A piece of another vocabulary as WordPiece writes it.

    >>> as_wordpiece("▁river", True), as_wordpiece("s", True), as_wordpiece("##s", False)
    ('river', '##s', '##s')
    """
    if not sentencepiece:
        return piece
    return piece[1:] if piece.startswith("▁") else INSIDE + piece

"""WordPiece vocabularies, learned pieces beside given ones, for texts as they are or written in Latin letters.

Romanised, names share word pieces across languages: "Медак", "మెదక్" and "メダク" become "medak", "medak" and "medaku".
Hangul, kana and the Brahmic scripts are read by their Unicode names, Cyrillic, Greek and Arabic by tables; Chinese
characters, and scripts without rules, stay as they are. It works on single characters and knows no language;
romanisation as a bridge between the vocabularies of languages is that of Purkayastha et al. 2023 (arXiv 2304.08865).
The rules end up in ``tokenizer.json``, so that every program that reads the tokenizer applies them.
"""

from __future__ import annotations

import io
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_text

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


# Marks for what depends on the neighbours; of Unicode's private use area, and removed again.
_NO_VOWEL, _AFTER_I, _AFTER_U, _BEGIN, _END = map(chr, range(0xE000, 0xE005))

_BLOCKS = (range(0x0370, 0x3400), range(0xAC00, 0xD7A4))
_BRAHMIC = (
    *("BENGALI", "DEVANAGARI", "GUJARATI", "GURMUKHI", "KANNADA", "MALAYALAM", "ORIYA", "SINHALA", "TAMIL", "TELUGU"),
)


def _table(letters: str, latin: str) -> dict[str, str]:
    return {one: "" if other == "-" else other for one, other in zip(letters.split(), latin.split(), strict=True)}


_TABLES = {
    **_table(
        "а б в г д е ё ж з и й к л м н о п р с т у ф х ц ч ш щ ъ ы ь э ю я і ї є ґ ў ј љ њ ћ ђ џ",
        "a b v g d e e zh z i i k l m n o p r s t u f kh ts ch sh shch - y - e yu ya i yi ye g u j lj nj c dj dz",
    ),
    **_table(
        "α β γ δ ε ζ η θ ι κ λ μ ν ξ ο π ρ σ ς τ υ φ χ ψ ω ά έ ή ί ό ύ ώ",
        "a v g d e z i th i k l m n x o p r s s t y f ch ps o a e i i o y o",
    ),
    # Short vowels are not written; the letters that also stand for long ones are taken as vowels.
    **_table(
        "ا أ إ آ ٱ ب ت ث ج ح خ د ذ ر ز س ش ص ض ط ظ ع غ ف ق ك ل م ن ه و ي ة ى ء ؤ ئ پ چ ژ گ ڤ ک ی ـ",
        "a a i a a b t th j h kh d dh r z s sh s d t z a gh f q k l m n h u i a a - u i p ch zh g v k i -",
    ),
    **_table("؟ ، ؛ । ॥ 、 。 「 」 『 』", '? , ; . . , . " " " "'),
    "・": " ",
    "ー": "",
}
_KANA = {"si": "shi", "ti": "chi", "tu": "tsu", "hu": "fu", "zi": "ji", "di": "ji", "du": "zu"}
_VOWELS = {
    **{"AA": "a", "II": "i", "UU": "u", "EE": "e", "OO": "o", "CANDRA E": "e", "CANDRA O": "o"},
    **{"VOCALIC R": "ri", "VOCALIC RR": "ri", "VOCALIC L": "li", "VOCALIC LL": "li"},
}
_CONSONANTS = {
    **{"TTA": "ta", "TTHA": "tha", "DDA": "da", "DDDHA": "dha", "DDHA": "dha", "NNA": "na", "NNNA": "na", "LLA": "la"},
    **{"LLLA": "la", "RRA": "ra", "RRHA": "rha", "SSA": "sha", "CA": "cha", "CHA": "chha", "YYA": "ya"},
    **{"KHANDA TA": "t"},
}
_SIGNS = {"VIRAMA": _NO_VOWEL, "ANUSVARA": "n", "CANDRABINDU": "n", "BINDI": "n", "VISARGA": "h", "NUKTA": ""}


def latin(character: str) -> str | None:
    """Latin letters, with marks, for a character in lower case; None if it stays as it is.

    >>> latin("ж"), latin("한"), latin("シ"), latin("川")
    ('zh', 'han', 'shi', None)
    """
    if character in _TABLES:
        return _TABLES[character]
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.digit(character))
    if "\u064b" <= character <= "\u065f" or character == "\u0670":  # Arabic vowel signs, seldom written
        return ""
    name = unicodedata.name(character, "")
    if name.startswith("HANGUL SYLLABLE "):
        return name.removeprefix("HANGUL SYLLABLE ").lower()
    script, _, rest = name.partition(" ")
    if script in ("KATAKANA", "HIRAGANA") and rest.startswith("LETTER "):
        return _kana(rest.removeprefix("LETTER ").lower())
    if script in _BRAHMIC:
        return _brahmic(rest)
    return None


def _kana(syllable: str) -> str:
    whole = syllable.removeprefix("small ")
    if whole == syllable:
        return _KANA.get(syllable, syllable)
    if whole == "tu":
        return ""  # doubles the next consonant
    if whole.startswith("y"):
        return _AFTER_I + whole
    return _AFTER_U + whole


def _brahmic(name: str) -> str | None:
    """A consonant carries an ``a``, which a vowel sign or a virama behind it takes away."""
    if name.startswith("VOWEL SIGN "):
        vowel = name.removeprefix("VOWEL SIGN ")
        return _NO_VOWEL + _VOWELS.get(vowel, vowel.lower())
    if name.startswith("SIGN "):
        return _SIGNS.get(name.removeprefix("SIGN "))
    if name.endswith("LENGTH MARK"):
        return ""
    if name.startswith("LETTER "):
        letter = name.removeprefix("LETTER ")
        found = _CONSONANTS.get(letter) or _VOWELS.get(letter) or letter.lower()
        return found if found.isalpha() else None
    return None


def rules() -> Iterator[tuple[str, str]]:
    """Each character that is rewritten, and what it becomes; runs of katakana are set apart as words of their own."""
    for block in _BLOCKS:
        for character in map(chr, block):
            found = latin(character)
            if found is None:
                continue
            if unicodedata.name(character, "").startswith("KATAKANA LETTER"):
                found = _BEGIN + found + _END
            yield character, found


def romanizer() -> Any:
    """The ``tokenizers`` normaliser: compatibility forms, lower case, Latin letters, no accents."""
    from tokenizers import Regex, normalizers

    replace = normalizers.Replace
    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Precompiled(_compiled()),
            replace(_END + _BEGIN, ""),
            replace(_BEGIN, " "),
            replace(_END, " "),
            replace(Regex(f"a?{_NO_VOWEL}"), ""),
            replace(Regex(f"i?{_AFTER_I}"), ""),
            replace(Regex(f"u?{_AFTER_U}"), ""),
            normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True),
        ]
    )


def _compiled() -> bytes:
    """The rules as SentencePiece compiles them, which rewrites a text in one pass whatever their number."""
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise XqgError("--romanize needs sentencepiece. Run: pip install 'pyserini-xqg[train]'") from error
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as directory:
        table = Path(directory) / "rules.tsv"
        write_text(table, "".join(f"{_hexadecimal(one)}\t{_hexadecimal(other)}\n" for one, other in rules()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b"] * 10),  # SentencePiece compiles rules only with a model
            model_writer=model,
            model_type="char",
            vocab_size=6,
            hard_vocab_limit=False,
            normalization_rule_tsv=str(table),
            minloglevel=2,
        )
    described = sentencepiece_model_pb2.ModelProto()
    described.ParseFromString(model.getvalue())
    return described.normalizer_spec.precompiled_charsmap


def _hexadecimal(text: str) -> str:
    return " ".join(f"{ord(character):X}" for character in text)

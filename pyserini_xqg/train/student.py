"""The student of a distillation: an encoder as it is, or the teacher's layers with a new multilingual vocabulary."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.alignment import translated_embeddings, translation_table
from pyserini_xqg.train.parallel_text import SentencePair, distinct
from pyserini_xqg.train.romanization import romanizer
from pyserini_xqg.train.wordpieces import SPECIAL, as_wordpiece, build_tokenizer, learn_pieces, plain_normalizer

_LAYER = re.compile(r"^(encoder\.layer\.)(\d+)(\..*)$")
_LATIN_END = "\u0250"  # letters from here on are no Latin ones


@dataclass(frozen=True)
class NewStudent:
    """Shape of a student to make.

    layers : numbers of the teacher's layers to take, from 0, in order. vocabulary_size : most pieces. teacher_pieces :
    how many of them are the teacher's own, its first ones in Latin letters (vocabularies begin with the frequent ones).
    romanize : write other scripts in Latin letters first, see :mod:`~pyserini_xqg.train.romanization`.
    """

    layers: tuple[int, ...]
    vocabulary_size: int = 12000
    teacher_pieces: int = 5000
    romanize: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.teacher_pieces < self.vocabulary_size:
            raise XqgError(
                f"--teacher-pieces {self.teacher_pieces}: must be below --vocabulary-size {self.vocabulary_size}."
            )

    def check(self, teacher: Any, name: str) -> None:
        """:class:`XqgError` unless these layers can be taken from the loaded ``teacher``."""
        if teacher.config.model_type != "bert":
            raise XqgError(
                f"--student-layers takes layers from BERT-shaped teachers, and {name} is {teacher.config.model_type}. "
                "Pass --student with an encoder to begin from."
            )
        number = teacher.config.num_hidden_layers
        if not self.layers or any(not 0 <= layer < number for layer in self.layers):
            wrong = ",".join(map(str, self.layers))
            raise XqgError(f"--student-layers {wrong}: {name} has the layers 0 to {number - 1}. Name some of those.")


def learn_tokenizer(student: NewStudent, pairs: Sequence[SentencePair], teacher_tokenizer: Any, max_length: int) -> Any:
    """The student's tokenizer, its pieces learned from both sides of the pairs."""
    texts = [*distinct(pair.english for pair in pairs), *(pair.translation for pair in pairs)]
    normalizer = romanizer() if student.romanize else plain_normalizer()
    given = [piece for piece in teacher_pieces(teacher_tokenizer) if _is_latin(piece)][: student.teacher_pieces]
    return build_tokenizer(learn_pieces(texts, student.vocabulary_size, normalizer, given), normalizer, max_length)


def teacher_pieces(tokenizer: Any) -> dict[str, int]:
    """The teacher's ordinary pieces as WordPiece writes them, with their ids, in the order of these."""
    vocabulary = tokenizer.get_vocab()
    sentencepiece = any(piece.startswith("▁") for piece in vocabulary)
    special = set(tokenizer.all_special_tokens)
    ordered = sorted((number, piece) for piece, number in vocabulary.items() if piece not in special)
    found: dict[str, int] = {}
    for number, piece in ordered:
        written = as_wordpiece(piece, sentencepiece)
        if written and not written.startswith("[unused"):
            found.setdefault(written, number)
    return found


def _is_latin(piece: str) -> bool:
    letters = piece.removeprefix("##")
    return letters.isalpha() and all(letter < _LATIN_END for letter in letters)


def build_student(
    student: NewStudent, teacher: Any, teacher_tokenizer: Any, tokenizer: Any, pairs: Sequence[SentencePair]
) -> Any:
    """The student before training: the teacher's layers, and an embedding for each piece of ``tokenizer``.

    Pieces that the teacher has too keep its embedding. A new one begins as the mean of the English pieces that it
    translates (:mod:`~pyserini_xqg.train.alignment`), or else as the mean of the pieces that the teacher cuts it
    into.
    """
    import torch
    from transformers import AutoModel

    config = copy.deepcopy(teacher.config)
    config.update(
        {
            "vocab_size": len(tokenizer),
            "num_hidden_layers": len(student.layers),
            "pad_token_id": tokenizer.pad_token_id,
        }
    )
    model = AutoModel.from_config(config, add_pooling_layer=False)
    weights = {}
    for name, weight in teacher.state_dict().items():
        if name.startswith("pooler."):
            continue
        if (found := _LAYER.match(name)) is None:
            weights[name] = weight
        else:
            for number, layer in enumerate(student.layers):
                if layer == int(found[2]):
                    weights[f"{found[1]}{number}{found[3]}"] = weight
    own = teacher.get_input_embeddings().weight.detach().float().numpy()
    embeddings = _embeddings(own, teacher_tokenizer, tokenizer, pairs)
    weights["embeddings.word_embeddings.weight"] = torch.from_numpy(embeddings)
    model.load_state_dict(weights)
    return model


def _embeddings(own: np.ndarray, teacher_tokenizer: Any, tokenizer: Any, pairs: Sequence[SentencePair]) -> np.ndarray:
    ids = tokenizer([pair.translation for pair in pairs], add_special_tokens=False, return_attention_mask=False)
    english = distinct(pair.english for pair in pairs)
    cut = teacher_tokenizer(english, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    cut_of = dict(zip(english, map(np.array, cut), strict=True))
    table = translation_table(
        [np.array(row) for row in ids["input_ids"]], [cut_of[pair.english] for pair in pairs], len(tokenizer), len(own)
    )
    made, aligned = translated_embeddings(table, own)
    mean = own.mean(axis=0)
    theirs = teacher_pieces(teacher_tokenizer)
    shared = 0
    for piece, number in tokenizer.get_vocab().items():
        if piece in SPECIAL:
            special = (teacher_tokenizer.pad_token_id, teacher_tokenizer.unk_token_id)
            special += (teacher_tokenizer.cls_token_id, teacher_tokenizer.sep_token_id)
            found = special[SPECIAL.index(piece)]
            made[number] = own[found] if found is not None else mean
        elif piece in theirs:
            made[number] = own[theirs[piece]]
            shared += 1
        elif not aligned[number]:
            parts = teacher_tokenizer(piece.removeprefix("##"), add_special_tokens=False)["input_ids"]
            made[number] = own[parts].mean(axis=0) if parts else mean
    say(
        f"{len(tokenizer):,} pieces: {shared:,} of the teacher's, {int(aligned.sum()):,} found in the translations, on "
        "which the new ones among them begin"
    )
    return made

"""The student of a distillation: an encoder as it is, or the teacher's layers with a new multilingual vocabulary."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.distill_options import StudentOptions
from pyserini_xqg.train.parallel_text import SentencePair, distinct
from pyserini_xqg.train.vocabulary import (
    SPECIAL,
    as_wordpiece,
    build_tokenizer,
    learn_pieces,
    plain_normalizer,
    romanizer,
)

LONGEST = 40
"""Pieces of a sentence that are looked at to align it."""
_ROUNDS = 4
_SHARPNESS = 1.5  # of the links: above 1, likely ones count for more
_LAYER = re.compile(r"^(encoder\.layer\.)(\d+)(\..*)$")
_LATIN_END = "\u0250"  # letters from here on are no Latin ones


def check_layers(student: StudentOptions, teacher: Any, name: str) -> None:
    """:class:`XqgError` unless these layers can be taken from the loaded ``teacher``."""
    if teacher.config.model_type != "bert":
        raise XqgError(
            f"--student-layers takes layers from BERT-shaped teachers, and {name} is {teacher.config.model_type}. Pass "
            "--student with an encoder to begin from."
        )
    number, layers = teacher.config.num_hidden_layers, student.student_layers or ()
    if not layers or any(not 0 <= layer < number for layer in layers):
        wrong = ",".join(map(str, layers))
        raise XqgError(f"--student-layers {wrong}: {name} has the layers 0 to {number - 1}. Name some of those.")


def learn_tokenizer(
    student: StudentOptions, pairs: Sequence[SentencePair], teacher_tokenizer: Any, max_length: int
) -> Any:
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
    student: StudentOptions, teacher: Any, teacher_tokenizer: Any, tokenizer: Any, pairs: Sequence[SentencePair]
) -> Any:
    """The student before training: the teacher's layers, and an embedding for each piece of ``tokenizer``.

    Pieces that the teacher has too keep its embedding. A new one begins as the mean of the English pieces that it
    translates (:func:`translation_table`), or else as the mean of the pieces that the teacher cuts it
    into.
    """
    import torch
    from transformers import AutoModel

    config = copy.deepcopy(teacher.config)
    config.update(
        {
            "vocab_size": len(tokenizer),
            "num_hidden_layers": len(student.student_layers),
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
            for number, layer in enumerate(student.student_layers):
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


def translation_table(
    sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], source_size: int, target_size: int
) -> Any:
    """IBM model 1: how often each source piece was the translation of each target piece.

    IBM model 1 (Brown et al. 1993) explains every source piece by one of the target pieces of its sentence;
    expectation maximisation finds the probabilities. Returns a SciPy sparse array (source_size, target_size) of
    expected numbers of links after four rounds.

    >>> pieces = [np.array([0, 1]), np.array([0])]
    >>> translation_table(pieces, [np.array([5, 6]), np.array([5])], 2, 7).toarray()[:, 5:].round(1)
    array([[1.8, 0.2],
           [0.1, 0.9]])
    """
    from scipy import sparse

    rows, columns, owners = _links(sources, targets)
    links, which = np.unique(rows * np.int64(target_size) + columns, return_inverse=True)
    source, target = links // target_size, links % target_size
    counts = np.bincount(which, minlength=len(links)).astype(np.float64)
    for _ in range(_ROUNDS):
        probability = counts / np.bincount(target, counts, minlength=target_size)[target]
        weights = probability[which]
        counts = np.bincount(which, weights / np.bincount(owners, weights)[owners], minlength=len(links))
    return sparse.csr_array((counts, (source, target)), shape=(source_size, target_size))


def _links(sources: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of pieces in each pair of sentences, and which occurrence of a source piece each belongs to."""
    rows, columns, owners = [], [], []
    occurrences = 0
    for source, target in zip(sources, targets, strict=True):
        source, target = source[:LONGEST], target[:LONGEST]
        if not len(source) or not len(target):
            continue
        rows.append(np.repeat(source, len(target)))
        columns.append(np.tile(target, len(source)))
        owners.append(np.repeat(np.arange(occurrences, occurrences + len(source)), len(target)))
        occurrences += len(source)
    if not rows:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    return np.concatenate(rows).astype(np.int64), np.concatenate(columns).astype(np.int64), np.concatenate(owners)


def translated_embeddings(table: Any, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the target pieces' embeddings by their links, (source_size, dimension), and which rows have any."""
    sharp = table.copy()
    totals = np.asarray(table.sum(axis=1)).ravel()
    per_link = np.repeat(np.maximum(totals, 1e-12), np.diff(sharp.indptr))
    sharp.data = (sharp.data / per_link) ** _SHARPNESS
    sums = np.asarray(sharp.sum(axis=1)).ravel()
    mean = (sharp @ embeddings.astype(np.float64)) / np.maximum(sums, 1e-12)[:, None]
    return mean.astype(np.float32), totals > 0

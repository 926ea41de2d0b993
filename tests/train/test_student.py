"""A student's beginnings: romanised texts, learned pieces, word alignment, and the embeddings made of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from trainings import ENGLISH, WORDS, sentences

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.distill_options import StudentOptions
from pyserini_xqg.train.parallel_text import SentencePair
from pyserini_xqg.train.student import (
    build_student,
    check_layers,
    learn_tokenizer,
    teacher_pieces,
    translated_embeddings,
    translation_table,
)
from pyserini_xqg.train.vocabulary import build_tokenizer, learn_pieces, plain_normalizer, romanizer
from pyserini_xqg.vectors.loading import load_encoder
from pyserini_xqg.vectors.settings import EncoderConfig


@pytest.fixture(scope="module")
def latin():
    return romanizer()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Путин, Щёлково", "putin, shchelkovo"),
        ("మెదక్ నగర విస్తీర్ణం", "medak nagara vistirnan"),
        ("ঢাকা ১৯০৫।", "dhaka 1905."),
        ("दिल्ली", "dilli"),
        ("서울은 어디?", "seouleun eodi?"),
        ("シカゴ・ノースショアの北端", "shikago nosushyoa no北端"),
        ("キャット ファン チェ", "kyato fan chie"),
        ("جاريد ألين؟", "jarid alin?"),
        ("Ελλάδα", "ellada"),
        ("Hyvää İSTANBUL", "hyvaa istanbul"),
        ("北京", "北京"),
    ],
)
def test_scripts_are_written_in_latin_letters(latin, text, written):
    assert latin.normalize_str(text).split() == written.split()


def test_a_romanising_tokenizer_is_one_file_that_any_program_reads(latin, tmp_path):
    pieces = learn_pieces(["medak nagara", "putin"] * 3, 60, latin, given=["chicago"])
    build_tokenizer(pieces, latin, 64).save_pretrained(tmp_path)
    read = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert read.encode("మెదక్ Путин chicago").tokens == ["[CLS]", "medak", "putin", "chicago", "[SEP]"]


def test_pieces_are_the_same_in_every_process():
    code = (
        "from trainings import sentences\n"
        "from pyserini_xqg.train.vocabulary import learn_pieces, plain_normalizer\n"
        "texts = [text for code in ('fi', 'ru') for pair in sentences(code, 40) for text in pair]\n"
        "print(learn_pieces(texts, 180, plain_normalizer(), ['town']))"
    )
    command = [sys.executable, "-c", code]
    tests = Path(__file__).parents[1]
    found = {subprocess.run(command, cwd=tests, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert len(found) == 1


def test_pieces_given_letters_and_learned_ones():
    texts = [text for pair in sentences("ru", 40) for text in pair]
    pieces = learn_pieces(texts, 150, plain_normalizer(), ["unseen", "town"])
    assert len(pieces) == len(set(pieces)) == 150
    assert pieces[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    assert {"unseen", "town", "ж", "##ж"} - set(pieces) == {"ж", "##ж"}  # no word of theirs has it
    assert {"р", "##ы", "##од"} <= set(pieces)
    with pytest.raises(XqgError, match=r"--vocabulary-size 20: the texts have \d+ letters, \d+ of them inside words"):
        learn_pieces(texts, 20, plain_normalizer())


def reference_table(sources, targets, rounds=4):
    """IBM model 1 as its authors write it, pair by pair."""
    t = {}
    for round_ in range(rounds + 1):
        counts = {}
        for source, target in zip(sources, targets, strict=True):
            for f in source:
                total = sum(t.get((f, e), 0) for e in target) if round_ else 0
                for e in target:
                    share = t[f, e] / total if round_ else 1
                    counts[f, e] = counts.get((f, e), 0) + share
        sums = {}
        for (_, e), count in counts.items():
            sums[e] = sums.get(e, 0) + count
        t = {(f, e): count / sums[e] for (f, e), count in counts.items()}
    return counts


def test_alignment_is_ibm_model_1():
    chance = np.random.default_rng(1)
    sources = [chance.integers(0, 6, chance.integers(1, 6)) for _ in range(30)]
    targets = [chance.integers(0, 5, chance.integers(1, 6)) for _ in range(30)]
    table = translation_table(sources, targets, 6, 5).toarray()
    expected = reference_table([row.tolist() for row in sources], [row.tolist() for row in targets])
    for (f, e), count in expected.items():
        assert table[f, e] == pytest.approx(count, rel=1e-6)
    assert table.sum() == pytest.approx(sum(map(len, sources)))


def test_words_begin_near_their_translation():
    pairs = sentences("fi", 200)
    sources = [np.array([WORDS["fi"].index(word) for word in other.split()]) for _, other in pairs]
    targets = [np.array([ENGLISH.index(word) for word in one.split()]) for one, _ in pairs]
    table = translation_table(sources, targets, len(WORDS["fi"]) + 1, len(ENGLISH))
    made, found = translated_embeddings(table, np.eye(len(ENGLISH)))
    assert (made[:-1].argmax(axis=1) == np.arange(len(ENGLISH))).all()
    np.testing.assert_allclose(made[:-1].sum(axis=1), 1, rtol=1e-5)
    assert found.tolist() == [True] * len(ENGLISH) + [False]
    assert (made[-1] == 0).all()


def test_a_new_student_has_the_teachers_layers_and_shared_pieces(tiny_encoder):
    teacher, teacher_tokenizer = load_encoder(EncoderConfig(tiny_encoder))
    pairs = [SentencePair(one, other, "ru") for one, other in sentences("ru", 80)]
    shape = StudentOptions(student_layers=(1,), vocabulary_size=140, teacher_pieces=10, romanize=True)
    tokenizer = learn_tokenizer(shape, pairs, teacher_tokenizer, 64)
    student = build_student(shape, teacher, teacher_tokenizer, tokenizer, pairs)
    assert student.config.num_hidden_layers == 1
    ours, theirs = student.state_dict(), teacher.state_dict()
    for name in ours:
        if name.startswith("encoder.layer.0."):
            assert (ours[name] == theirs[name.replace("layer.0.", "layer.1.")]).all(), name
    assert (ours["embeddings.position_embeddings.weight"] == theirs["embeddings.position_embeddings.weight"]).all()
    rows = ours["embeddings.word_embeddings.weight"]
    assert len(rows) == len(tokenizer)
    shared = {piece: number for piece, number in teacher_pieces(teacher_tokenizer).items()
              if piece in tokenizer.get_vocab()}  # fmt: skip
    assert len(shared) >= 10
    for piece, number in shared.items():
        place = tokenizer.get_vocab()[piece]
        assert (rows[place] == theirs["embeddings.word_embeddings.weight"][number]).all(), piece
    for ours_, theirs_ in zip((0, 1, 2, 3), ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), strict=True):
        number = teacher_tokenizer.convert_tokens_to_ids(theirs_)
        assert (rows[ours_] == theirs["embeddings.word_embeddings.weight"][number]).all()


def test_layers_that_cannot_be_taken_are_refused(tiny_encoder):
    teacher, _ = load_encoder(EncoderConfig(tiny_encoder))
    with pytest.raises(XqgError, match=r"--student-layers 0,2: .* has the layers 0 to 1"):
        check_layers(StudentOptions(student_layers=(0, 2)), teacher, tiny_encoder)
    teacher.config.model_type = "roberta"
    with pytest.raises(XqgError, match=r"takes layers from BERT-shaped teachers, and .* is roberta\. Pass --student"):
        check_layers(StudentOptions(student_layers=(0,)), teacher, tiny_encoder)

"""A vocabulary of one's own: the same pieces every time, the same ids as SentencePiece, and what loads it."""

import random
import subprocess
import sys

import pytest
from helpers import LANGUAGES, command_environment, directory_bytes, sentence
from transformers import AutoTokenizer

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.train.vocabulary import train_tokenizer


def texts(number=300, seed=0):
    chance = random.Random(seed)
    return [sentence(code, chance.randint(3, 12), chance) for _ in range(number) for code in ("en", *LANGUAGES)]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(texts(), 150)


def test_ids_begin_as_t5s_and_texts_end_with_the_end_token(tokenizer):
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<pad>", "</s>", "<unk>"]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert len(tokenizer) <= 150
    ids = tokenizer("the river runs")["input_ids"]
    assert ids[-1] == 1
    assert len(ids) <= 4  # words that are frequent are pieces
    assert tokenizer("☃")["input_ids"][-2:] == [2, 1]


def test_texts_come_back(tokenizer):
    for text in texts(20, seed=9):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    # Compatibility forms and white space are made even, as in mT5's vocabulary.
    assert tokenizer("ｒｉｖｅｒ  \n runs")["input_ids"] == tokenizer("river runs")["input_ids"]


def test_another_process_learns_the_same_pieces_and_what_is_saved_loads_alike(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path / "here")
    code = (
        "import sys; from test_training_vocabulary import texts, train_tokenizer; "
        "train_tokenizer(texts(), 150).save_pretrained(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], check=True, env=command_environment(), cwd="tests")
    assert directory_bytes(tmp_path / "there") == directory_bytes(tmp_path / "here")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "here")
    for text in [*texts(20, seed=4), "unseen ☃ words"]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_ids_are_those_of_sentencepiece(tmp_path):
    """The trainer's own processor cuts texts into the same pieces."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts()), model_writer=model, vocab_size=150, model_type="unigram",
        character_coverage=1.0, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, num_threads=1,
        minloglevel=2,
    )  # fmt: skip
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ours = train_tokenizer(texts(), 150)
    for text in texts(50, seed=2):
        assert ours(text)["input_ids"] == [*theirs.encode(text), 1]


def test_a_vocabulary_smaller_than_the_alphabet_is_refused():
    with pytest.raises(XqgError, match=r"--vocab-size 10: SentencePiece cannot learn it from these texts \(.*required"):
        train_tokenizer(texts(), 10)

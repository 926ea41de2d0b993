"""Distillation: a student learns tiny languages, continues after it was cut off, and loads as any encoder does."""

import shutil

import numpy as np
import pytest
from helpers import build_tiny_encoder
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from trainings import losses, record_of, write_pair
from transformers import BertConfig, BertModel

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import changed
from pyserini_xqg.train import encoder_model
from pyserini_xqg.train.distill import distill, project
from pyserini_xqg.train.distill_options import Distillation, StudentOptions
from pyserini_xqg.train.parallel_text import read_parallel
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig

SETTINGS = {
    **{"steps": 12, "batch_size": 8, "eval_steps": 4, "warmup": 0.1, "learning_rate": 2e-3, "dropout": 0.1},
    **{"device": "cpu", "dtype": "float32", "log_steps": 1},
}
NEW = StudentOptions(student_layers=(0, 1), vocabulary_size=140, teacher_pieces=12, romanize=True)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return EncoderConfig(build_tiny_encoder(tmp_path_factory.mktemp("teacher")), pooling="mean")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """60 pairs of Finnish and Russian each; 6 of each are held out."""
    directory = tmp_path_factory.mktemp("data")
    return tuple(write_pair(directory, code, 60) for code in ("fi", "ru"))


def run(data, teacher, student, output, **changes):
    options = Distillation(
        output=str(output),
        data=data,
        held_out=6,
        teacher=teacher.model,
        teacher_pooling=teacher.pooling,
        student=student if isinstance(student, StudentOptions) else StudentOptions(student=student),
    )
    distill(changed(options, **SETTINGS | changes))
    return record_of(output)


def test_a_student_learns_by_heart_and_every_program_reads_it(data, teacher, tmp_path, capfd):
    record = run(data, teacher, NEW, tmp_path / "out", steps=150, eval_steps=50, batch_size=16, learning_rate=5e-3)
    assert np.mean(losses(record)[-5:]) < 0.5 * losses(record)[0]
    assert [step for step, _ in record["evaluations"]] == [0, 50, 100, 150]
    assert capfd.readouterr().err.count("held-out top-1") == 5
    # What was recorded is what the vectors are made with, in every program.
    config = EncoderConfig.named(str(tmp_path / "out"))
    assert (config.pooling, config.l2_norm, config.max_length, config.query_max_length) == ("mean", True, 256, 64)
    held_out = read_parallel(data, 6).held_out["ru"]
    ours = Embedder(config, device="cpu").embed_queries([pair.translation for pair in held_out])
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode([pair.translation for pair in held_out])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    # Top-1 computed apart.
    english = Embedder(teacher, device="cpu").embed_passages([pair.english for pair in held_out])
    english /= np.linalg.norm(english, axis=1, keepdims=True)
    assert record["held_out_top1"]["ru"] == np.mean((ours @ english.T).argmax(1) == np.arange(len(held_out)))
    assert not (tmp_path / "out" / "training").exists()


def test_half_precision_on_the_disk_is_read_as_float32(data, teacher, tmp_path):
    record = run(data, teacher, NEW, tmp_path / "out", save_dtype="float16")
    assert record["settings"]["save_dtype"] == "float16"
    assert not any("pooler" in name for name in load_file(tmp_path / "out" / "model.safetensors"))
    assert str(BertModel.from_pretrained(tmp_path / "out").dtype) == "torch.float32"
    run(data, teacher, NEW, tmp_path / "whole")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("out", "whole")]
    assert sizes[0] < 0.6 * sizes[1]


def wider_student(directory, tiny):
    """An encoder of 48 dimensions with the tokenizer of the tiny one."""
    shutil.copytree(tiny, directory)
    (directory / "model.safetensors").unlink()
    config = BertConfig.from_pretrained(tiny, hidden_size=48)
    BertModel(config).save_pretrained(directory)
    return str(directory)


def test_a_teacher_of_another_dimension_is_adapted_to(data, teacher, tmp_path, capfd):
    student = wider_student(tmp_path / "wide", teacher.model)
    record = run(data, teacher, student, tmp_path / "out")
    assert "the teacher's vectors have 32 dimensions and are brought to the student's 48" in capfd.readouterr().err
    assert losses(record)[-1] < losses(record)[0]
    # And the other way round: the wide one teaches the narrow one.
    run(data, EncoderConfig(student, pooling="mean"), teacher.model, tmp_path / "narrow")


def test_a_projection_keeps_inner_products_as_well_as_it_can():
    chance = np.random.default_rng(0)
    vectors = (chance.normal(size=(50, 3)) @ chance.normal(size=(3, 8))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for dimension in (3, 8, 11):  # they lie in three dimensions
        found = project(vectors, dimension)
        assert found.shape == (50, dimension)
        np.testing.assert_allclose(found @ found.T, vectors @ vectors.T, atol=1e-5)
    assert np.abs(project(vectors, 2) @ project(vectors, 2).T - vectors @ vectors.T).max() > 0.01


def test_the_saved_model_is_compared_with_the_trained_one(data, teacher, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(encoder_model, "encode", lambda *_: -np.ones((2, 32)))
        with pytest.raises(XqgError, match="the saved model's vectors differ from the trained one's by"):
            run(data, teacher, NEW, tmp_path / "out", steps=2)
    assert not (tmp_path / "out" / "config.json").exists()

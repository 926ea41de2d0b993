"""Vectors against transformers used directly; directories that are no encoder; the demo's encoder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import MAX_POSITIONS, corpus_records, reference_vectors, run_command
from transformers import AutoTokenizer, BertConfig, BertModel, T5Config, T5Model

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.embedding import PROBE_TEXT, Embedder, batches_by_length
from pyserini_xqg.vectors.settings import EncoderConfig, compose_passages, resolve_device

RECORDS = corpus_records(30)
TEXTS = [record["text"] for record in RECORDS] + ["joki " * 200, "川", "unknown-word !?"]
TITLES = [record["title"] for record in RECORDS] + ["river", None, ""]


def assert_close(found, expected):
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors_are_those_of_transformers(tiny_encoder, pooling, l2_norm):
    embedder = Embedder(EncoderConfig(tiny_encoder, pooling=pooling, l2_norm=l2_norm), "cpu", batch_tokens=300)
    expected = reference_vectors(tiny_encoder, TEXTS, pooling, l2_norm)
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the encoder tells texts apart
    assert_close(embedder.embed_passages(TEXTS), expected)
    assert_close(embedder.embed_queries(TEXTS), expected)


def test_titles_stand_before_the_text(tiny_encoder):
    embedder = Embedder(EncoderConfig(tiny_encoder), "cpu")
    joined = [f"{title} {text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
    assert_close(embedder.embed_passages(TEXTS, TITLES), reference_vectors(tiny_encoder, joined))


def test_prefixes(tiny_encoder):
    embedder = Embedder(EncoderConfig(tiny_encoder, prefix="fish", query_prefix="old town"), "cpu")
    assert_close(embedder.embed_passages(TEXTS), reference_vectors(tiny_encoder, [f"fish {text}" for text in TEXTS]))
    assert_close(embedder.embed_queries(TEXTS), reference_vectors(tiny_encoder, [f"old town {text}" for text in TEXTS]))
    # Pyserini's AutoDocumentEncoder writes title, prefix, text.
    titled = [f"{title} fish {text}" if title else f"fish {text}" for title, text in zip(TITLES, TEXTS, strict=True)]
    assert compose_passages(TEXTS, TITLES, "fish") == titled
    assert_close(embedder.embed_passages(TEXTS, TITLES), reference_vectors(tiny_encoder, titled))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_truncation(tiny_encoder, pooling):
    embedder = Embedder(EncoderConfig(tiny_encoder, pooling=pooling, max_length=9, query_max_length=5), "cpu")
    passages, queries = (reference_vectors(tiny_encoder, TEXTS, pooling, max_length=length) for length in (9, 5))
    assert np.abs(passages - queries).max() > 0.1
    assert_close(embedder.embed_passages(TEXTS), passages)
    assert_close(embedder.embed_queries(TEXTS), queries)


def test_the_models_own_limit_holds(tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    settings = json.loads((tmp_path / "encoder" / "tokenizer_config.json").read_text())
    settings["model_max_length"] = 10**30  # as in tokenizers that were saved without a limit
    (tmp_path / "encoder" / "tokenizer_config.json").write_text(json.dumps(settings))
    embedder = Embedder(EncoderConfig(str(tmp_path / "encoder"), max_length=10_000), "cpu")
    long = ["joki kala " * 300]
    assert len(embedder.tokenize(long, None)[0]) == MAX_POSITIONS
    assert_close(embedder.embed_passages(long), reference_vectors(tiny_encoder, long))
    assert_close(embedder.embed_queries(long), reference_vectors(tiny_encoder, long))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_independent_of_the_batch(tiny_encoder, pooling):
    config = EncoderConfig(tiny_encoder, pooling=pooling)
    alone = np.concatenate([Embedder(config, "cpu").embed_queries([text]) for text in TEXTS[:6]])
    for batch_tokens in (1, 70, 10_000):
        embedder = Embedder(config, "cpu", batch_tokens)
        assert_close(embedder.embed_queries(TEXTS)[:6], alone)
        assert_close(embedder.embed_queries(TEXTS[::-1])[::-1][:6], alone)


def test_no_text(tiny_encoder):
    embedder = Embedder(EncoderConfig(tiny_encoder), "cpu")
    assert embedder.embed_queries([]).shape == (0, 32)
    assert_close(embedder.embed_queries([""]), reference_vectors(tiny_encoder, [""]))


def test_another_tokenizer(tiny_encoder, tmp_path):
    weights, words = tmp_path / "weights", tmp_path / "words"
    BertModel.from_pretrained(tiny_encoder).save_pretrained(weights)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(words)
    embedder = Embedder(EncoderConfig(str(weights), tokenizer=str(words)), "cpu")
    assert_close(embedder.embed_queries(TEXTS[:3]), reference_vectors(tiny_encoder, TEXTS[:3]))


def test_half_precision_checkpoint(tiny_encoder, tmp_path):
    BertModel.from_pretrained(tiny_encoder).half().save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "half")
    found = Embedder(EncoderConfig(str(tmp_path / "half")), "cpu").embed_queries(TEXTS)
    expected = reference_vectors(tiny_encoder, TEXTS)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 0.05
    assert np.isfinite(found).all()


def test_probe(tiny_encoder):
    probe = Embedder(EncoderConfig(tiny_encoder), "cpu").probe()
    (expected,) = reference_vectors(tiny_encoder, [PROBE_TEXT])
    assert probe["dimension"] == 32
    assert probe["length"] == pytest.approx(np.sqrt((expected**2).sum()), abs=1e-4)
    assert probe["head"] == pytest.approx(expected[:16].tolist(), abs=2e-5)


def test_batches_hold_every_row_once_within_the_bound():
    lengths = np.random.default_rng(0).integers(1, 60, size=500).tolist()
    batches = list(batches_by_length(lengths, 128))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or len(batch) * longest <= 128
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths, reverse=True)
    assert list(batches_by_length([300, 2], 128)) == [[0], [1]]  # a text longer than a batch is one of its own


# Configuration


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "sum"}, "pooling 'sum': must be one of cls, mean, max"),
        ({"max_length": 0}, "max_length 0: must be a positive number"),
        ({"max_length": 2.5}, "max_length 2.5: must be a positive number"),
        ({"query_max_length": -1}, "query_max_length -1: must be a positive number"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(XqgError, match=message):
        EncoderConfig("m", **settings)


def test_configuration_survives_json(tiny_encoder):
    config = EncoderConfig(tiny_encoder, pooling="mean", l2_norm=True, max_length=None, query_prefix="q:")
    assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(XqgError, match=r"xqg\.json: unknown settings color"):
        EncoderConfig.from_dict(config.to_dict() | {"color": 1}, "xqg.json")
    with pytest.raises(XqgError, match="no 'model'"):
        EncoderConfig.from_dict({"pooling": "cls"})


def test_directory_becomes_absolute(tiny_encoder, monkeypatch):
    monkeypatch.chdir(Path(tiny_encoder).parent)
    assert EncoderConfig(Path(tiny_encoder).name).model == tiny_encoder
    assert EncoderConfig("some/hub-name").model == "some/hub-name"


def test_devices():
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    with pytest.raises(XqgError, match="--device abacus: no such device"):
        resolve_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(XqgError, match="--device cuda:0: torch sees no CUDA device"):
            resolve_device("cuda:0")


# What is no encoder


def refusal(directory) -> str:
    with pytest.raises(XqgError) as caught:
        Embedder(EncoderConfig(str(directory)), "cpu")
    message = str(caught.value)
    assert message.startswith(f"{directory}: ")
    assert "Pass --encoder a directory with config.json, weights and tokenizer" in message
    assert "\n" not in message
    return message


def test_empty_directory(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in refusal(tmp_path / "empty")


def test_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert "not a directory" in refusal(tmp_path / "file")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_missing_file(tiny_encoder, tmp_path, missing):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    (tmp_path / "encoder" / missing).unlink()
    assert "cannot be loaded" in refusal(tmp_path / "encoder")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_truncated_file(tiny_encoder, tmp_path, name):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    path = tmp_path / "encoder" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cannot be loaded" in refusal(tmp_path / "encoder")


def test_encoder_decoder(tiny_encoder, tmp_path):
    T5Model(T5Config(vocab_size=400, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4)).save_pretrained(
        tmp_path / "t5"
    )
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "t5")
    assert "an encoder-decoder (t5), not an encoder" in refusal(tmp_path / "t5")


def test_checkpoint_that_lacks_layers(tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder, tmp_path / "encoder")
    settings = json.loads((tmp_path / "encoder" / "config.json").read_text())
    settings["num_hidden_layers"] = 4  # the weights have two
    (tmp_path / "encoder" / "config.json").write_text(json.dumps(settings))
    message = refusal(tmp_path / "encoder")
    assert "the checkpoint lacks 32 weights" in message  # 16 tensors a layer
    assert "encoder.layer.2." in message
    assert "they would be random" in message


def test_unused_pooler_is_no_fault(tiny_encoder, tmp_path):
    BertModel.from_pretrained(tiny_encoder, add_pooling_layer=False).save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "encoder")
    found = Embedder(EncoderConfig(str(tmp_path / "encoder")), "cpu").embed_queries(TEXTS[:4])
    assert_close(found, reference_vectors(tiny_encoder, TEXTS[:4]))


def test_words_beyond_the_models_vocabulary(tiny_encoder, tmp_path):
    BertModel(BertConfig(vocab_size=20, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)).save_pretrained(
        tmp_path / "encoder"
    )
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "encoder")
    with pytest.raises(XqgError, match=r"vocabulary|tokenizer"):
        Embedder(EncoderConfig(str(tmp_path / "encoder")), "cpu").embed_queries(["川 橋 町"])


@pytest.mark.parametrize("name", ["no-such-model-of-ours", "models/missing", "/nowhere/models/missing"])
def test_name_of_no_model_through_the_command(tmp_path, tiny_corpus, name):
    result = run_command("encode", "--corpus", tiny_corpus, "--encoder", name, "--output", tmp_path / "store")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {name}: ")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "store").exists()

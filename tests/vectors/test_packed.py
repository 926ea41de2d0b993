"""The forward pass without padding against that of transformers, for each kind of model that it takes."""

import random

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CamembertConfig,
    CamembertModel,
    DistilBertConfig,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.packed import is_packable, pack
from pyserini_xqg.vectors.settings import EncoderConfig

KINDS = {
    "bert": (BertConfig, BertModel),
    "camembert": (CamembertConfig, CamembertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
}
# Alone and in company, below and above the kernel's favourite lengths, and more than one row of side-by-side texts.
LENGTHS = [40, 33, 33, 32, 32, 17, 16, 16, 16, 11, 11, 11, 11, 11, 8, 8, 8, 8, 8, 3, 3, 3, 2, 2, 1]


def build(kind, **settings):
    torch.manual_seed(1)
    configuration, model = KINDS[kind]
    shape = {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 100}
    config = configuration(vocab_size=90, max_position_embeddings=60, pad_token_id=1, **shape, **settings)
    built = model(config, add_pooling_layer=False).eval()
    for weights in built.parameters():  # far from the small values that would hide a mistake
        torch.nn.init.normal_(weights, std=0.3)
    return built


def token_ids(padding_inside=False):
    chance = random.Random(0)
    ids = [[chance.randrange(2, 90) for _ in range(length)] for length in LENGTHS]
    if padding_inside:  # a text that spells the padding token out
        ids[4][3] = ids[13][0] = 1
    return ids


def own_vectors(model, ids, pooling):
    with torch.inference_mode():
        hidden = [model(torch.tensor([text]))[0][0] for text in ids]
    return torch.stack([states[0] if pooling == "cls" else states.mean(0) for states in hidden]).numpy()


@pytest.mark.parametrize("padding_inside", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_models_own(kind, pooling, padding_inside):
    model, ids = build(kind), token_ids(padding_inside)
    expected = own_vectors(model, ids, pooling)
    packed = pack(model, pooling, "float32", "float32", ids[:3])
    with torch.inference_mode():
        found = packed.embed(ids).numpy()
        shuffled = packed.embed(ids[::3] + ids[1::3] + ids[2::3]).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(shuffled, np.concatenate([expected[::3], expected[1::3], expected[2::3]]), atol=2e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_other_activations(activation):
    model, ids = build("bert", hidden_act=activation), token_ids()
    expected = own_vectors(model, ids, "mean")
    with torch.inference_mode():
        found = pack(model, "mean", "float32", "float32", ids[:3]).embed(ids).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("precision", "rest", "least"),
    [("bfloat16", "bfloat16", 0.999), ("int8", "float32", 0.999), ("int8", "bfloat16", 0.999)],
)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_lower_precisions(pooling, precision, rest, least):
    model, ids = build("bert"), token_ids()
    expected = own_vectors(model, ids, pooling)
    with torch.inference_mode():
        found = pack(model, pooling, precision, rest, ids[:3]).embed(ids).numpy()
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > least
    assert np.abs(found - expected).max() > 1e-4  # it is another arithmetic


def test_a_model_that_is_not_as_expected_is_found_out():
    model = build("bert")
    own = model.encoder.layer[1].forward
    model.encoder.layer[1].forward = lambda hidden, *args, **kwargs: own(hidden.flip(-1), *args, **kwargs)
    assert pack(model, "mean", "float32", "float32", token_ids()) is None


def test_such_a_model_runs_as_it_is(tiny_encoder, monkeypatch):
    config = EncoderConfig(tiny_encoder, pooling="mean")
    expected = Embedder(config, "cpu").embed_queries(["joki", "vanha kaupunki"])
    monkeypatch.setattr("pyserini_xqg.vectors.packed._LEAST_COSINE", {"float32": 2.0, "bfloat16": 2.0, "int8": 2.0})
    padded = Embedder(config, "cpu")
    assert padded._packed is None
    np.testing.assert_allclose(padded.embed_queries(["joki", "vanha kaupunki"]), expected, atol=1e-5)
    for precision, least in (("bfloat16", 0.99), ("int8", 0.9)):
        found = Embedder(config, "cpu", precision=precision).embed_queries(["joki", "vanha kaupunki"])
        assert (
            (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1) > least
        ).all()


def test_which_models_are_packable():
    assert is_packable(BertConfig())
    assert is_packable(XLMRobertaConfig())
    assert not is_packable(DistilBertConfig())
    assert not is_packable(BertConfig(is_decoder=True))

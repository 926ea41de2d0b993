"""Checkpoints: told apart by their fingerprints, refused where they cannot generate."""

import json
import shutil

import pytest
import torch
from generators import build_tiny_causal, build_tiny_t5
from helpers import build_tiny_encoder
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.backends import BACKENDS, GeneratorOptions
from pyserini_xqg.generate.checkpoints import open_checkpoint


@pytest.fixture(scope="module")
def tiny_causal(tmp_path_factory) -> str:
    return build_tiny_causal(tmp_path_factory.mktemp("tiny-causal"))


def load(model: str, backend: str = "transformers"):
    return GeneratorOptions(model, backend=backend, device="cpu", dtype="float32").load()


def test_fingerprint_is_the_models_not_the_places(tiny_t5, tmp_path):
    here = open_checkpoint(tiny_t5).fingerprint()
    shutil.copytree(tiny_t5, tmp_path / "elsewhere")
    assert open_checkpoint(str(tmp_path / "elsewhere")).fingerprint() == here
    assert open_checkpoint(build_tiny_t5(tmp_path / "other", seed=4)).fingerprint() != here
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
    with torch.no_grad():
        model.decoder.block[1].layer[1].EncDecAttention.q.weight[0, 0] += 0.5  # as little as training can change
    model.save_pretrained(tmp_path / "trained")
    AutoTokenizer.from_pretrained(tiny_t5).save_pretrained(tmp_path / "trained")
    assert open_checkpoint(str(tmp_path / "trained")).fingerprint() != here


def test_fingerprint_of_pickled_and_of_sharded_weights(tiny_t5, tmp_path):
    prints = set()
    for change in (0.0, 0.5):
        model = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5)
        with torch.no_grad():
            model.lm_head.weight[5, 5] += change
        for kind in ("pickled", "sharded"):
            directory = tmp_path / f"{kind}{change}"
            shutil.copytree(tiny_t5, directory)
            (directory / "model.safetensors").unlink()
            if kind == "pickled":
                torch.save(model.state_dict(), directory / "pytorch_model.bin")
            else:
                model.save_pretrained(directory, max_shard_size="40KB")
                assert (directory / "model.safetensors.index.json").exists()
            prints.add(open_checkpoint(str(directory)).fingerprint())
    assert len(prints) == 4


# Bad input


@pytest.fixture(scope="module")
def not_generators(tmp_path_factory) -> dict[str, str]:
    encoder = build_tiny_encoder(tmp_path_factory.mktemp("encoder"))
    empty = tmp_path_factory.mktemp("empty")
    return {"encoder": encoder, "empty": str(empty), "file": f"{encoder}/config.json"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("encoder", r"a bert model \(BertModel\) cannot generate text: neither a seq2seq nor a causal"),
        ("empty", r"cannot be loaded as a generator .*without a network: `hf download NAME"),
        ("file", r"not a directory\. Pass --model a directory"),
    ],
)
def test_models_that_do_not_generate(not_generators, backend, what, message):
    with pytest.raises(XqgError, match=message):
        load(not_generators[what], backend)


def test_wrong_model_type(tiny_t5, tiny_causal):
    with pytest.raises(XqgError, match=r"a seq2seq model \(mt5\), not causal\. Pass --model-type seq2seq"):
        GeneratorOptions(tiny_t5, model_type="causal").load()
    with pytest.raises(XqgError, match=r"a causal model \(llama\), not seq2seq\. Pass --model-type causal"):
        GeneratorOptions(tiny_causal, model_type="seq2seq").load()
    with pytest.raises(XqgError, match="--model-type decoder: must be one of auto, seq2seq, causal"):
        GeneratorOptions(tiny_t5, model_type="decoder").load()
    with pytest.raises(XqgError, match="--backend onnx: must be one of transformers, ctranslate2"):
        GeneratorOptions(tiny_t5, backend="onnx").load()


def test_a_name_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(XqgError, match=r"nobody/no-such-model: cannot be loaded .*then --model DIR"):
        GeneratorOptions("nobody/no-such-model").load()


def test_missing_weights(tiny_t5, tmp_path):
    shutil.copytree(tiny_t5, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(XqgError, match=r"no weights \(model\.safetensors, pytorch_model\.bin\)"):
        load(str(tmp_path / "model"))


def test_weights_that_would_be_random(tiny_t5, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_t5, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(XqgError, match=r"lacks 1 weights of its model \(decoder\.final_layer_norm\.weight"):
        load(str(tmp_path / "model"))


def test_code_that_a_generator_brings_is_never_run(tmp_path):
    mark, directory = tmp_path / "ran", tmp_path / "model"
    directory.mkdir()
    own = {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModelForSeq2SeqLM": "code.Model"}}
    (directory / "config.json").write_text(json.dumps(own))
    (directory / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(XqgError, match="brings code of its own, which is never run"):
        open_checkpoint(str(directory))
    assert not mark.exists()

"""Conversions for CTranslate2: made once, kept, shared between processes, refused where they are wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from generators import build_tiny_causal, build_tiny_t5
from helpers import command_environment
from transformers import AutoModelForSeq2SeqLM, MT5Config, MT5ForConditionalGeneration

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.output import exclusive
from pyserini_xqg.generate import conversion
from pyserini_xqg.generate.backends import GeneratorOptions
from pyserini_xqg.generate.sampling import Prompt, Sampling

ctranslate2 = pytest.importorskip("ctranslate2")
PROMPT = Prompt("Generate a Finnish question for this passage: the river runs past", "fi")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pyserini-xqg" / "ctranslate2"


def load(model: str, dtype: str = "int8", **settings):
    options = {"backend": "ctranslate2", "device": "cpu", "dtype": dtype, "threads": 1} | settings
    return GeneratorOptions(model, **options).load(Sampling(max_new_tokens=8))


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.startswith("."))


def test_converted_once_for_each_precision(tiny_t5, cache, monkeypatch):
    first = load(tiny_t5).generate([PROMPT], [5], seed=1)
    assert len(kept(cache)) == 1
    load(tiny_t5, "float32")
    assert len(kept(cache)) == 2
    monkeypatch.setattr(conversion, "_convert", lambda *_: pytest.fail("converted again"))
    assert load(tiny_t5).generate([PROMPT], [5], seed=1) == first


def test_another_model_of_the_same_name_is_converted_anew(tmp_path, cache):
    model = build_tiny_t5(tmp_path / "model")
    first = load(model).generate([PROMPT], [20], seed=1)
    build_tiny_t5(tmp_path / "model", seed=4)
    assert load(model).generate([PROMPT], [20], seed=1) != first
    assert len(kept(cache)) == 2


def test_a_killed_conversion_leaves_nothing_that_counts(tiny_t5, cache, monkeypatch):
    def killed(checkpoint, directory, precision):
        (directory / "model.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_convert", killed)
        with pytest.raises(KeyboardInterrupt):
            load(tiny_t5)
    assert kept(cache) == []
    assert load(tiny_t5).generate([PROMPT], [1], seed=1)


def test_a_second_process_waits_for_the_first(tiny_t5, cache):
    load(tiny_t5)
    (name,) = kept(cache)
    os.rename(cache / name, cache / f".{name}.aside")
    code = (
        "import sys; from pyserini_xqg.generate.backends import GeneratorOptions\n"
        "print('started', flush=True)\n"
        f"GeneratorOptions({tiny_t5!r}, backend='ctranslate2', device='cpu', dtype='int8').load()\n"
        "print('loaded', flush=True)"
    )
    with exclusive(cache / f".{name}.converting", cache / name):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=command_environment()
        )
        assert process.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=3)
        os.rename(cache / f".{name}.aside", cache / name)
        before = (cache / name).stat().st_mtime_ns
    assert process.communicate(timeout=60)[0] == "loaded\n"
    assert (cache / name).stat().st_mtime_ns == before


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_outputs(tmp_path, tied):
    """transformers 5 calls every mT5 tied; CTranslate2 would scale the output of those that are not."""
    model = build_tiny_t5(tmp_path / "model")
    if tied:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            new = MT5ForConditionalGeneration(MT5Config.from_pretrained(model))
            for weight in new.parameters():
                torch.nn.init.normal_(weight, 1.0 if weight.ndim == 1 else 0.0, 0.3)
        new.save_pretrained(model)
    greedy = Sampling(top_k=1, max_new_tokens=6)
    expected, found = (
        GeneratorOptions(model, backend=backend, device="cpu", dtype="float32")
        .load(greedy)
        .generate([PROMPT], [1], 0)[0][0]
        for backend in ("transformers", "ctranslate2")
    )
    assert found.text == expected.text
    assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-2)


def test_a_wrong_conversion_is_refused(tiny_t5, cache, monkeypatch):
    monkeypatch.setattr(conversion, "_scales_its_output", lambda model: True)
    with pytest.raises(XqgError, match="conversion gives other probabilities than the model"):
        load(tiny_t5)
    assert kept(cache) == []


def test_int8_stays_close(tiny_t5):
    greedy = Sampling(top_k=1, max_new_tokens=1)
    scores = [
        GeneratorOptions(tiny_t5, backend="ctranslate2", device="cpu", dtype=dtype)
        .load(greedy)
        .generate([PROMPT], [1], seed=0)[0][0]
        .log_probability
        for dtype in ("float32", "int8")
    ]
    assert scores[1] == pytest.approx(scores[0], abs=0.3)


def test_auto_is_the_fastest_supported(tiny_t5):
    supported = ctranslate2.get_supported_compute_types("cpu")
    assert load(tiny_t5, "auto").dtype == ("int8" if "int8" in supported else "float32")


def test_dtypes_and_devices_that_are_refused(tiny_t5):
    refused = [name for name in ("bfloat16", "float16") if name not in ctranslate2.get_supported_compute_types("cpu")]
    for dtype in refused:
        with pytest.raises(XqgError, match=rf"--dtype {dtype}: CTranslate2 does not compute with it on this cpu\. Use"):
            load(tiny_t5, dtype)
    with pytest.raises(XqgError, match="--dtype int4: CTranslate2 does not compute with it"):
        load(tiny_t5, "int4")
    with pytest.raises(XqgError, match="--device mps: not for --backend ctranslate2"):
        load(tiny_t5, device="mps")
    if not ctranslate2.get_cuda_device_count():
        with pytest.raises(XqgError, match="--device cuda:1: CTranslate2 sees 0 CUDA devices here"):
            load(tiny_t5, device="cuda:1")


def test_causal_models_are_refused(tmp_path):
    with pytest.raises(XqgError, match=r"a causal model; --backend ctranslate2 runs seq2seq models only\. Use"):
        load(build_tiny_causal(tmp_path / "causal"))


def test_architectures_without_a_converter_are_refused(tmp_path, tiny_t5, cache):
    from transformers import AutoTokenizer, PegasusXConfig, PegasusXForConditionalGeneration

    settings = {"vocab_size": 140, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16,
                "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "block_size": 16,
                "num_global_tokens": 2}  # fmt: skip
    PegasusXForConditionalGeneration(PegasusXConfig(**settings)).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_t5).save_pretrained(tmp_path / "model")
    with pytest.raises(
        XqgError, match=r"CTranslate2 cannot convert this pegasus_x model \(No conversion .*Use --backend"
    ):
        load(str(tmp_path / "model"))
    assert kept(cache) == []


def test_a_broken_conversion_names_its_directory(tiny_t5, cache):
    generator = load(tiny_t5)
    (name,) = kept(cache)
    (cache / name / "model.bin").write_bytes(b"broken")
    with pytest.raises(XqgError, match=r"CTranslate2 cannot load it on cpu in int8 .*Remove the directory"):
        generator.generate([PROMPT], [1], seed=0)


def test_the_model_itself_is_left_alone(tiny_t5):
    before = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).state_dict()
    load(tiny_t5)
    after = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

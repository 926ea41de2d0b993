"""Encoders of the shapes that people use, by the settings in their own files: vectors equal sentence-transformers'."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import _WORDS, SPECIAL_TOKENS, build_tiny_encoder

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.recorded import TRAINING
from pyserini_xqg.vectors.settings import EncoderConfig

TITLES = ["old bridges", None, "a river"]
TEXTS = ["the river runs past old stone bridges", "bread", "people sell fish and paper in a quiet town"]
QUERIES = ["missä vanha silta", "نهر", "where is the quiet old town past the river"]
INSTRUCTION = {"query": "the old river: "}
E5 = {"query": "query: ", "document": "passage: "}


def _tokenizer(directory, padding_side="right", last=False):
    """A word-level tokenizer; ``last``: texts end with one more token, as decoders' do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in (*_WORDS.values(), "query: passage: title none | text:") for word in text.split()})
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = "$A [SEP]" if last else "[CLS] $A [SEP]"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64, padding_side=padding_side,
    )  # fmt: skip
    fast.save_pretrained(directory)
    return fast


def _model(kind: str, directory: Path, vocabulary: int) -> None:
    import torch
    import transformers as hf

    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        if kind == "xlm-roberta":
            config = hf.XLMRobertaConfig(
                **sizes, intermediate_size=64, max_position_embeddings=66, pad_token_id=0, initializer_range=0.3
            )
            model = hf.XLMRobertaModel(config, add_pooling_layer=False)
        elif kind == "qwen":
            config = hf.Qwen3Config(
                **sizes,
                intermediate_size=64,
                num_key_value_heads=2,
                head_dim=8,
                max_position_embeddings=64,
                initializer_range=0.3,
            )
            model = hf.Qwen3Model(config)
        else:
            model = hf.T5EncoderModel(
                hf.T5Config(
                    vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0
                )
            )
    model.save_pretrained(directory)


def _write(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _modules(directory: Path, pooling: str, normalize=False, dense=None, length=None, prompts=None, **more) -> None:
    """sentence-transformers' files beside a model."""
    listed = [("", "Transformer"), ("1_Pooling", "Pooling")]
    flags = {"lasttoken": "pooling_mode_lasttoken", "cls": "pooling_mode_cls_token"}
    flags |= {name: f"pooling_mode_{name}_tokens" for name in ("mean", "max", "weightedmean")}
    _write(
        directory / "1_Pooling/config.json",
        {"word_embedding_dimension": 32, **{flag: name == pooling for name, flag in flags.items()}},
    )
    if dense:
        import torch
        from safetensors.torch import save_file

        listed.append(("2_Dense", "Dense"))
        activation = "torch.nn.modules.activation.Tanh"
        about = {"in_features": 32, "out_features": dense, "bias": True, "activation_function": activation}
        _write(directory / "2_Dense/config.json", about)
        torch.manual_seed(1)
        save_file(
            {"linear.weight": torch.randn(dense, 32), "linear.bias": torch.randn(dense)},
            directory / "2_Dense/model.safetensors",
        )
    if normalize:
        listed.append((f"{len(listed)}_Normalize", "Normalize"))
        (directory / listed[-1][0]).mkdir()
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(listed)
    ]
    _write(directory / "modules.json", modules)
    _write(directory / "sentence_bert_config.json", {"max_seq_length": length or 64, "do_lower_case": False})
    if prompts or more:
        _write(directory / "config_sentence_transformers.json", {"prompts": prompts or {}, **more})


SHAPES = {
    "bert-mean": lambda d: (build_tiny_encoder(d), _modules(d, "mean", normalize=True)),
    "xlm-roberta-cls": lambda d: (_model("xlm-roberta", d, len(_tokenizer(d))), _modules(d, "cls", length=6)),
    "decoder-right": lambda d: (_model("qwen", d, len(_tokenizer(d, "right", True))), _modules(d, "lasttoken", True)),
    "decoder-left": lambda d: (_model("qwen", d, len(_tokenizer(d, "left", True))), _modules(d, "lasttoken", True, prompts=INSTRUCTION)),  # noqa: E501
    "t5-encoder": lambda d: (_model("t5", d, len(_tokenizer(d))), _modules(d, "mean")),
    "dense-head": lambda d: (build_tiny_encoder(d), _modules(d, "max", normalize=True, dense=24)),
    "prompts": lambda d: (_model("xlm-roberta", d, len(_tokenizer(d))), _modules(d, "mean", True, prompts=E5)),
    "weighted-left": lambda d: (_model("qwen", d, len(_tokenizer(d, "left", True))), _modules(d, "weightedmean")),
}  # fmt: skip


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    directories = {}
    for name, build in SHAPES.items():
        directories[name] = tmp_path_factory.mktemp(name)
        build(directories[name])
    return directories


def peer(directory):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(directory), device="cpu")


@pytest.mark.parametrize("name", SHAPES)
def test_vectors_equal_sentence_transformers(shapes, name):
    embedder = Embedder(EncoderConfig.named(str(shapes[name])), "cpu")
    model = peer(shapes[name])
    passages = [f"{title} {text}" if title else text for title, text in zip(TITLES, TEXTS, strict=True)]
    np.testing.assert_allclose(embedder.embed_passages(TEXTS, TITLES), model.encode_document(passages), atol=1e-5)
    np.testing.assert_allclose(embedder.embed_queries(QUERIES), model.encode_query(QUERIES), atol=1e-5)
    assert embedder.dimension == model.get_embedding_dimension()


def test_dimensions_are_cut_before_unit_length(shapes):
    directory = shapes["bert-mean"]
    embedder = Embedder(EncoderConfig.named(str(directory), dimensions=12), "cpu")
    whole = peer(directory).encode(QUERIES)[:, :12]
    np.testing.assert_allclose(
        embedder.embed_queries(QUERIES), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5
    )
    with pytest.raises(XqgError, match=r"--dimensions 40: the vectors of .* have 32"):
        Embedder(EncoderConfig.named(str(directory), dimensions=40), "cpu")


def test_templates_fill_in_title_and_text(shapes):
    directory = shapes["prompts"]
    template = "title: {title|none} | text: {text}"
    embedder = Embedder(EncoderConfig.named(str(directory), passage_prompt=template), "cpu")
    written = [f"title: {title or 'none'} | text: {text}" for title, text in zip(TITLES, TEXTS, strict=True)]
    np.testing.assert_allclose(
        embedder.embed_passages(TEXTS, TITLES), peer(directory).encode(written, prompt=""), atol=1e-5
    )


def test_each_setting_is_recorded_with_its_source(shapes, capsys):
    config = EncoderConfig.named(str(shapes["prompts"]), max_length=32)
    assert dict(config.sources) == {
        "pooling": "1_Pooling/config.json", "l2_norm": "modules.json", "dense": "modules.json", "max_length": "given",
        "query_max_length": "sentence_bert_config.json", "query_prompt": "config_sentence_transformers.json",
        "passage_prompt": "config_sentence_transformers.json",
    }  # fmt: skip
    assert (
        "max_length 32 is asked for, and sentence_bert_config.json beside the model says 64" in capsys.readouterr().err
    )
    assert EncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert "1_Pooling/config.json: pooling 'mean'" in config.describe_sources()


def test_the_packages_own_record_goes_before_sentence_transformers_files(shapes, tmp_path):
    shutil.copytree(shapes["prompts"], tmp_path / "model")
    record = TRAINING.new({"encoder": {"pooling": "cls", "query_max_length": 8}})
    TRAINING.write(tmp_path / "model", record)
    config = EncoderConfig.named(str(tmp_path / "model"))
    assert (config.pooling, config.query_max_length, config.max_length, config.l2_norm) == ("cls", 8, 64, True)


def _pooling(directory: Path, **about) -> None:
    _write(directory / "1_Pooling/config.json", about)


def _only_module(directory: Path, kind: str) -> None:
    _write(directory / "modules.json", [{"type": f"sentence_transformers.models.{kind}", "path": ""}])


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (lambda d: _only_module(d, "WordWeights"), "WordWeights' is not known here"),
        (lambda d: _write(d / "modules.json", {}), "a list of modules was expected"),
        (lambda d: (d / "modules.json").write_text("{"), "malformed JSON"),
        (lambda d: _pooling(d, pooling_mode=["cls", "mean"]), "poolings cls, mean together"),
        (lambda d: _pooling(d, include_prompt=False), "pooling without the prompt's tokens"),
        (lambda d: _pooling(d, pooling_mode="mean_sqrt_len_tokens"), "must be one of cls"),
    ],
)  # fmt: skip
def test_files_that_are_not_understood_are_named(shapes, tmp_path, change, phrases):
    shutil.copytree(shapes["prompts"], tmp_path / "model")
    change(tmp_path / "model")
    with pytest.raises(XqgError, match=phrases):
        EncoderConfig.named(str(tmp_path / "model"))


def test_a_decoder_without_recorded_pooling_is_refused_unless_told(shapes, tmp_path):
    shutil.copytree(shapes["decoder-left"], tmp_path / "model")
    (tmp_path / "model/modules.json").unlink()
    with pytest.raises(XqgError, match=r"a causal model \(qwen3\) whose files do not say"):
        Embedder(EncoderConfig.named(str(tmp_path / "model")), "cpu")
    told = Embedder(EncoderConfig.named(str(tmp_path / "model"), pooling="lasttoken", l2_norm=True), "cpu")
    model = peer(shapes["decoder-left"])
    np.testing.assert_allclose(told.embed_queries(QUERIES), model.encode(QUERIES, prompt=""), atol=1e-5)


def test_an_encoder_whose_vectors_are_all_alike_is_refused(shapes):
    """The first position of a decoder sees nothing of the text."""
    embedder = Embedder(EncoderConfig.named(str(shapes["prompts"])), "cpu")
    embedder.check_distinct()
    embedder.embed_tokens = lambda ids: np.ones((len(ids), 4), dtype=np.float32)
    with pytest.raises(XqgError, match="two different texts the same vector"):
        embedder.check_distinct()


def test_code_that_a_model_brings_is_never_run(tmp_path):
    mark = tmp_path / "ran"
    directory = tmp_path / "model"
    directory.mkdir()
    _write(
        directory / "config.json",
        {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}},
    )
    (directory / "code.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(
        XqgError, match=r"brings code of its own, which is not run.*--trust-remote-code with --revision"
    ):
        Embedder(EncoderConfig.named(str(directory)), "cpu")
    assert not mark.exists()

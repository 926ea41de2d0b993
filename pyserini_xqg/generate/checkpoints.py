"""A generator's checkpoint before its weights are read: which kind of model it is, its tokenizer, its fingerprint."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, sha256_file

MODEL_TYPES = ("auto", "seq2seq", "causal")
_CURE = (
    "Pass --model a directory with config.json, weights and tokenizer, or a model name of the Hugging Face hub; "
    "without a network: `hf download NAME --local-dir DIR` where there is one, then --model DIR."
)
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json")
# What a configuration says about where and by what it was written, not about the model.
_INCIDENTAL = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can generate.

    name : Hugging Face name or absolute path. kind : ``seq2seq`` or ``causal``. config, generation_config,
    tokenizer : as transformers reads them.
    """

    name: str
    kind: str
    config: Any
    generation_config: Any
    tokenizer: Any

    def load(self, dtype: str) -> Any:
        """The model in evaluation mode, its weights in ``dtype`` ("float32", …), on the CPU."""
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

        kind = AutoModelForSeq2SeqLM if self.kind == "seq2seq" else AutoModelForCausalLM
        with _named_failure(self.name):
            model, report = kind.from_pretrained(
                self.name, dtype=getattr(torch, dtype), output_loading_info=True, trust_remote_code=False
            )
        if missing := sorted(report["missing_keys"]):
            raise XqgError(
                f"{self.name}: the checkpoint lacks {len(missing)} weights of its model ({', '.join(missing[:3])}, …); "
                f"they would be random. {_CURE}"
            )
        embeddings = model.get_input_embeddings().num_embeddings
        if len(self.tokenizer) > embeddings:
            raise XqgError(
                f"{self.name}: the tokenizer has a vocabulary of {len(self.tokenizer):,}, the model embeddings for "
                f"{embeddings:,}. Put the model's own tokenizer beside it."
            )
        # Sampling and lengths are the command's to say, not the checkpoint's: only its special tokens are kept.
        special = self.generation_config
        model.generation_config = GenerationConfig(
            eos_token_id=special.eos_token_id,
            pad_token_id=special.pad_token_id,
            decoder_start_token_id=self.decoder_start_id,
        )
        return model.eval()

    @property
    def decoder_start_id(self) -> int | None:
        """The token that a seq2seq model's decoder starts from, if the checkpoint names one."""
        start = getattr(self.generation_config, "decoder_start_token_id", None)
        return getattr(self.config, "decoder_start_token_id", None) if start is None else start

    def fingerprint(self) -> str:
        """SHA-256 over configuration, tokenizer and weights, in hexadecimal, wherever they lie.

        The same weights in other files (other shards, another format) have another fingerprint.
        """
        settings = {name: value for name, value in self.config.to_dict().items() if name not in _INCIDENTAL}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        tokenizer = filter(None, (_file(self.name, name) for name in _TOKENIZER_FILES))
        for path in (*tokenizer, *self._weight_files()):
            digest.update(f"{path.name} {sha256_file(path)}".encode())
        return digest.hexdigest()

    def _weight_files(self) -> list[Path]:
        """The files that transformers loads, in its order of preference; downloaded if need be."""
        for name in _WEIGHTS:
            if not (path := _file(self.name, name)):
                continue
            if not name.endswith(".json"):
                return [path]
            shards = {shard: _file(self.name, shard) for shard in sorted(set(read_json(path)["weight_map"].values()))}
            if missing := [shard for shard, found in shards.items() if found is None]:
                raise XqgError(f"{self.name}: {missing[0]} is missing, which {name} names. {_CURE}")
            return [found for found in shards.values() if found]
        raise XqgError(f"{self.name}: no weights ({', '.join(_WEIGHTS[::2])}). {_CURE}")


def open_checkpoint(model: str, model_type: str = "auto") -> Checkpoint:
    """Read configuration and tokenizer of a directory or of a model on the hub.

    ``model_type``: ``seq2seq`` (encoder-decoder), ``causal`` (decoder only), or ``auto``: what its configuration says.
    Raises :class:`XqgError` for a model that is neither, or not of the type asked for, and for one that cannot be read.
    """
    path = Path(model)
    if path.is_dir():
        model = os.path.abspath(model)
    elif path.exists() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise XqgError(f"{model}: not a directory. {_CURE}")
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    with _named_failure(model):
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    kind = _kind(config)
    if kind is None:
        raise XqgError(
            f"{model}: a {config.model_type} model ({', '.join(config.architectures or ['no architecture named'])}) "
            "cannot generate text: neither a seq2seq nor a causal language model. Pass --model one of these, such as "
            "ielabgroup/xor-tydi-docTquery-mt5-base."
        )
    if model_type not in ("auto", kind):
        raise XqgError(f"{model}: a {kind} model ({config.model_type}), not {model_type}. Pass --model-type {kind}.")
    with _named_failure(model):
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        try:
            generation_config = GenerationConfig.from_pretrained(model)
        except OSError:  # older checkpoints keep these settings in config.json
            generation_config = GenerationConfig.from_model_config(config)
    if generation_config.eos_token_id is None:
        generation_config.eos_token_id = tokenizer.eos_token_id
    if generation_config.pad_token_id is None:
        generation_config.pad_token_id = next(
            token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None
        )
    return Checkpoint(model, kind, config, generation_config, tokenizer)


def _kind(config: Any) -> str | None:
    from transformers.models.auto import modeling_auto

    seq2seq = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    if config.is_encoder_decoder:
        return "seq2seq" if config.model_type in seq2seq else None
    if config.model_type not in causal:
        return None
    architectures = config.architectures or []
    if architectures:
        # BERT and its kin are in the table too, as decoders that hardly anyone trains.
        return "causal" if any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in architectures) else None
    return None if config.model_type in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES else "causal"


@contextmanager
def _named_failure(model: str) -> Iterator[None]:
    """Quiet loading; whatever goes wrong becomes an :class:`XqgError` that names the model."""
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # mT5's untied output, for one, is reported as if it were a fault
    try:
        yield
    except Exception as error:  # transformers raises many kinds, down to KeyError and safetensors' own
        if "trust_remote_code" in str(error):
            raise XqgError(
                f"{model}: brings code of its own, which is never run for generators. Use a model of transformers' own "
                "classes."
            ) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise XqgError(f"{model}: cannot be loaded as a generator ({reason}). {_CURE}") from error
    finally:
        logging.set_verbosity(verbosity)


def _file(model: str, name: str) -> Path | None:
    from transformers.utils.hub import cached_file

    with _named_failure(model):
        found = cached_file(model, name, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None

"""Loads a Hugging Face encoder with its tokenizer and Dense heads, and refuses what is none."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json
from pyserini_xqg.vectors.recorded import model_file
from pyserini_xqg.vectors.settings import EncoderConfig

if TYPE_CHECKING:
    import torch

UNLIMITED = 1_000_000
"""Tokenizers without a limit of their own report about 1e30 tokens."""


def load_encoder(config: EncoderConfig, option: str = "--encoder") -> tuple[Any, Any]:
    """Model and tokenizer; :class:`XqgError` if it is no encoder. ``option`` : what names it, for messages."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    from transformers.utils import logging

    cure = (
        f"Pass {option} a directory with config.json, weights and tokenizer, or a model name of the Hugging Face hub."
    )
    place = default_encoder.place(config.model)
    if not Path(place).is_dir() and (Path(place).exists() or Path(place).is_absolute()):
        raise XqgError(f"{config.model}: not a directory. {cure}")
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the load report names the unused pooler as if it were a fault
    how = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    try:
        about = AutoConfig.from_pretrained(place, **how)
        _check_architecture(config, about, option)
        # Of T5 and its kin, which have a decoder too, only the encoder.
        two = about.is_encoder_decoder or hasattr(about, "num_decoder_layers")
        kind = AutoModelForTextEncoding if two else AutoModel
        model, report = kind.from_pretrained(place, output_loading_info=True, **how)
        tokenizer = AutoTokenizer.from_pretrained(config.tokenizer or place, **how)
    except XqgError:
        raise
    except Exception as error:  # transformers raises many kinds, down to KeyError and safetensors' own
        raise XqgError(loading_error(config.model, error, "encoder", cure)) from error
    finally:
        logging.set_verbosity(verbosity)
    random = sorted(key for key in report["missing_keys"] if "pooler" not in key.split("."))
    if random:
        raise XqgError(
            f"{config.model}: the checkpoint lacks {len(random)} weights of its model ({', '.join(random[:3])}, …); "
            f"they would be random. {cure}"
        )
    embeddings = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embeddings:
        raise XqgError(
            f"{config.model}: the tokenizer{f' {config.tokenizer}' if config.tokenizer else ''} has a vocabulary of "
            f"{len(tokenizer):,}, the model embeddings for {embeddings:,}. Pass --tokenizer with its own."
        )
    return model, tokenizer


def loading_error(model: str, error: Exception, what: str, cure: str) -> str:
    """One line for a model that transformers cannot load; one with code of its own is never asked about, nor run."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "trust_remote_code" in str(error):
        return (
            f"{model}: brings code of its own, which is not run. Read it, and pass --trust-remote-code with --revision "
            "COMMIT if you trust it, or use another model."
        )
    return f"{model}: cannot be loaded as a Hugging Face {what} ({reason}). {cure}"


def _check_architecture(config: EncoderConfig, about: Any, option: str) -> None:
    """Refuse what is no encoder unless its files, or the user, say how its vectors are made."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES,
    )

    kind, told = about.model_type, "pooling" in dict(config.sources)
    if about.is_encoder_decoder and not (told and kind in MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES):
        raise XqgError(
            f"{config.model}: an encoder-decoder ({kind}), not an encoder. Pass {option} a directory with "
            "config.json, weights and tokenizer of one; for the encoder of a T5, pass --pooling too."
        )
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if causal and not told:
        raise XqgError(
            f"{config.model}: a causal model ({kind}) whose files do not say how its vectors are pooled. Pass "
            "--pooling, such as lasttoken."
        )


def position_limit(model: Any, tokenizer: Any) -> int | None:
    """The longest input that tokenizer and position embeddings allow; None where neither has a limit."""
    limits = [tokenizer.model_max_length] if tokenizer.model_max_length < UNLIMITED else []
    positions = getattr(model.config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        # RoBERTa and its kin count positions from padding_idx + 1.
        offset = tokenizer.pad_token_id + 1 if "roberta" in model.config.model_type.replace("-", "") else 0
        limits.append(positions - offset)
    return min(limits) if limits else None


class DenseHead:
    """A linear layer behind the pooling, with its activation, from a directory of sentence-transformers' format."""

    def __init__(self, config: EncoderConfig, folder: str, device: str) -> None:
        import torch

        path = model_file(config.model, f"{folder}/config.json", config.revision)
        weights = model_file(config.model, f"{folder}/model.safetensors", config.revision)
        older = model_file(config.model, f"{folder}/pytorch_model.bin", config.revision)
        if path is None or (weights is None and older is None):
            raise XqgError(
                f"{config.model}: its Dense head {folder} has no config.json or weights. Get the model anew."
            )
        about = read_json(path)
        name = str(about.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
        if name not in ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid"):
            raise XqgError(f"{path}: the activation {name!r} is not known here. Use another model.")
        if weights is not None:
            from safetensors.torch import load_file

            state = load_file(weights)
        else:
            state = torch.load(older, map_location="cpu", weights_only=True)
        self._weight = state["linear.weight"].float().to(device)
        self._bias = state["linear.bias"].float().to(device) if "linear.bias" in state else None
        self._activation = getattr(torch.nn, name)()
        self.size: int = len(self._weight)

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """(batch, in) to (batch, size)."""
        import torch

        return self._activation(torch.nn.functional.linear(vectors, self._weight, self._bias))

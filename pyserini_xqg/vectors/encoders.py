"""xQG's encoders as Pyserini's own classes, and their place in Pyserini's class maps.

Importing this module imports Pyserini, which starts the Java virtual machine, and registers the classes.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from pyserini_xqg.core import java
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.manifest import INDEX_PREFIX, MANIFEST_NAME, manifest_encoder, names_index
from pyserini_xqg.vectors.recorded import TRAINING, model_file
from pyserini_xqg.vectors.settings import EncoderConfig

java.configure()  # before Pyserini starts the virtual machine

from pyserini.encode import DocumentEncoder, QueryEncoder  # noqa: E402

CLASS_KEY = "xqg"

_loaded: dict[tuple[EncoderConfig, str], Embedder] = {}


def resolve_config(name: str, **settings: Any) -> EncoderConfig:
    """The configuration that an ``--encoder`` value stands for.

    ``xqg:DIR``, or any directory with an ``xqg.json``, is an index: the encoder that built it. Anything else is a
    Hugging Face name or directory, ``xqg-small`` the package's own encoder: see
    :meth:`~pyserini_xqg.vectors.settings.EncoderConfig.named`. Settings that are None are left as they are.
    """
    if not names_index(name):
        return EncoderConfig.named(name, **settings)
    directory = name.removeprefix(INDEX_PREFIX)
    return manifest_encoder(directory).replace(**{key: value for key, value in settings.items() if value is not None})


def _refuse_picked_by_name(name: str) -> None:
    raise XqgError(
        f"{name}: the name holds 'xqg', but there is no {MANIFEST_NAME} to read the pooling from. Pass "
        "--encoder xqg:<index directory>, or --encoder-class auto with --pooling and --l2-norm."
    )


def _describes_itself(name: str) -> bool:
    """True for an index, and for an encoder with its settings beside it."""
    return names_index(name) or any(model_file(name, file) for file in (TRAINING.manifest, "modules.json"))


def _in_stock_encode() -> bool:
    """True in ``python -m pyserini.encode``, which passes no settings to a class that it picked by the name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name == "pyserini.encode.__main__"


def _embedder(config: EncoderConfig, device: str, precision: str = "float32") -> Embedder:
    """Load an encoder once a process: routing searches one index after the other with the same model."""
    key = (config, device, precision)
    if key not in _loaded:
        _loaded.clear()
        _loaded[key] = Embedder(config, device, precision=precision)
    return _loaded[key]


class XqgDocumentEncoder(DocumentEncoder):
    """Passage encoder with Pyserini's interface; its vectors equal those of ``AutoDocumentEncoder`` to 1e-5.

    model_name : as in :func:`resolve_config`. The other settings are those of
    :class:`~pyserini_xqg.vectors.settings.EncoderConfig`; None keeps what the index or the model's files say.

    >>> encoder = XqgDocumentEncoder("xqg-small", device="cpu")
    >>> encoder.encode(["A text."], titles=["A title"]).shape
    (1, 384)
    """

    def __init__(
        self,
        model_name: str,
        tokenizer_name: str | None = None,
        device: str = "auto",
        pooling: str | None = None,
        l2_norm: bool | None = None,
        prefix: str | None = None,
        max_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        if _in_stock_encode():
            if not _describes_itself(model_name):
                _refuse_picked_by_name(model_name)
            pooling = l2_norm = prefix = None  # guessed from other parts of the index's path, not given by the user
        config = resolve_config(
            model_name, tokenizer=tokenizer_name, pooling=pooling, l2_norm=l2_norm, prefix=prefix, max_length=max_length
        )
        self.embedder = _embedder(config, device)
        self.config = config
        self.device = self.embedder.device
        self.dimension = self.embedder.dimension
        self.pooling, self.l2_norm, self.prefix = config.pooling, config.l2_norm, config.prefix
        self.has_model = True

    def encode(
        self,
        texts: list[str],
        titles: list[str] | None = None,
        max_length: int | None = None,
        add_sep: bool = False,
        **kwargs: Any,
    ) -> np.ndarray:
        """Vectors of passages, float32 (len(texts), dimension); the input is ``title prefix text``."""
        if add_sep:
            raise XqgError("add_sep: the xqg encoder puts title and text into one segment. Leave --add-sep out.")
        return self.embedder.embed(self.config.passages(texts, titles), max_length or self.config.max_length)


class XqgQueryEncoder(QueryEncoder):
    """Query encoder with Pyserini's interface, ``encode`` and ``encode_batch``.

    encoder_dir : as in :func:`resolve_config`. encoded_query_dir : of pre-encoded queries; then no model is needed.
    tokenizer_name, pooling, l2_norm, prefix, max_length : None keeps what the index or the model's files say.
    fp16 : half precision where the device has units for it, which the ``--fp16`` of Pyserini's command passes.

    >>> encoder = XqgQueryEncoder("xqg-small")
    >>> encoder.encode("a query").shape, encoder.encode_batch(["a query", "another"]).shape
    ((384,), (2, 384))
    """

    def __init__(
        self,
        encoder_dir: str | None = None,
        tokenizer_name: str | None = None,
        encoded_query_dir: str | None = None,
        device: str = "cpu",
        pooling: str | None = None,
        l2_norm: bool | None = None,
        prefix: str | None = None,
        max_length: int | None = None,
        fp16: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoded_query_dir)
        if not encoder_dir:
            if not self.has_encoded_query:
                raise XqgError("neither encoder_dir nor encoded_query_dir given. Pass one of them.")
            return
        # Pyserini's command, which alone passes fp16, picked this class because the name holds 'xqg'. It leaves the
        # user's settings out, and may pass others that it guesses from the name ('sentence', 'contriever', 'dse', …).
        if fp16 is not None:
            if _describes_itself(encoder_dir):
                pooling = l2_norm = max_length = None
            elif pooling is None:
                _refuse_picked_by_name(encoder_dir)
        config = resolve_config(
            encoder_dir,
            tokenizer=tokenizer_name,
            pooling=pooling,
            l2_norm=l2_norm,
            query_prefix=prefix,
            query_max_length=max_length,
        )
        self.embedder = _embedder(config, device, "auto" if fp16 else "float32")
        self.config = config
        self.device = self.embedder.device
        self.dimension = self.embedder.dimension
        self.pooling, self.l2_norm, self.prefix = config.pooling, config.l2_norm, config.query_prefix
        self.has_model = True

    def encode(self, query: str, max_length: int | None = None) -> np.ndarray:
        """Vector of one query, float32 (dimension,)."""
        if not self.has_model:
            return super().encode(query)
        return self.embedder.embed(self.config.queries([query]), max_length or self.config.query_max_length)[0]

    def encode_batch(self, queries: list[str]) -> np.ndarray:
        """Vectors of queries, float32 (len(queries), dimension)."""
        if not self.has_model:
            return np.array([super(XqgQueryEncoder, self).encode(query) for query in queries])
        return self.embedder.embed_queries(queries)


def register_encoders(module: ModuleType | None = None) -> None:
    """Enter both classes as ``xqg`` in Pyserini's class maps, in front; a second call changes nothing.

    Pyserini's search command takes the first key that is part of the encoder's name: in front, so that
    ``xqg:indexes/dpr-xqg`` is not taken for a DPR encoder.
    """
    if module is None:
        import pyserini.encode as module
    for class_map, ours in (
        (module.document_encoder_class_map, XqgDocumentEncoder),
        (module.query_encoder_class_map, XqgQueryEncoder),
    ):
        others = {key: value for key, value in class_map.items() if key != CLASS_KEY}
        class_map.clear()
        class_map.update({CLASS_KEY: ours, **others})


register_encoders()

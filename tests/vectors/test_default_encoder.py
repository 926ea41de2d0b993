"""The encoder that comes with the package: its settings, its size, and that it finds passages in other languages."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import run_command
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from pyserini_xqg import default_encoder
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.kinds import check_files
from pyserini_xqg.datasets import load
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.recorded import TRAINING
from pyserini_xqg.vectors.settings import EncoderConfig

SEVEN = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
MEGABYTES = 20


@pytest.fixture(scope="module")
def embedder():
    return Embedder(EncoderConfig.named("xqg-small"), device="cpu")


def test_a_name_stands_for_it_and_its_settings():
    config = EncoderConfig.named(default_encoder.NAME)
    assert (config.model, config.pooling, config.l2_norm) == ("xqg-small", "mean", True)
    assert (config.max_length, config.query_max_length) == (256, 64)
    changed = EncoderConfig.named(default_encoder.NAME, l2_norm=False, max_length=128, pooling=None)
    assert changed == config.replace(l2_norm=False, max_length=128)
    # A store names it, and not where it was installed.
    assert json.loads(json.dumps(config.to_dict()))["model"] == "xqg-small"
    assert EncoderConfig.named("bert-base-multilingual-cased") == EncoderConfig("bert-base-multilingual-cased")


def test_a_directory_of_that_name_goes_first(tiny_encoder, tmp_path, monkeypatch):
    Path(tmp_path / "xqg-small").symlink_to(tiny_encoder)
    monkeypatch.chdir(tmp_path)
    assert Embedder(EncoderConfig("xqg-small"), device="cpu").dimension == 32


def test_its_directory_is_printed_for_other_programs():
    result = run_command("activate", "--status")
    place = default_encoder.directory()
    assert f"encoder: xqg-small is in {place}" in result.stdout.splitlines()
    assert sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file()) < (MEGABYTES + 1) * 2**20
    assert (Path(place) / "model.safetensors").stat().st_size <= MEGABYTES * 2**20
    card = (Path(place) / "README.md").read_text(encoding="utf-8")
    assert all(word in card for word in ("CC BY-SA", "all-MiniLM-L6-v2", "train distill", "--seed"))


def test_other_libraries_compute_the_same_vectors(embedder):
    texts = ["Which river runs through Cairo?", "أي نهر يمر عبر القاهرة؟", "కైరో గుండా ఏ నది ప్రవహిస్తుంది?"]
    ours = embedder.embed_queries(texts)
    theirs = SentenceTransformer(default_encoder.directory(), device="cpu").encode(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert str(AutoModel.from_pretrained(default_encoder.directory()).dtype) == "torch.float32"


@pytest.mark.parametrize("language", SEVEN)
def test_it_finds_english_passages_for_questions_in_seven_languages(embedder, language):
    passages = list(Corpus("irds:xqg-sample"))
    vectors = embedder.embed_passages([passage.text for passage in passages], [passage.title for passage in passages])
    dataset = load(f"xqg-sample/{language}")
    queries = {query.query_id: query.text for query in dataset.queries_iter()}
    relevant = {qrel.query_id: qrel.doc_id for qrel in dataset.qrels_iter()}
    order = np.argsort(-(embedder.embed_queries(list(queries.values())) @ vectors.T), axis=1)[:, :5]
    found = [
        relevant[query] in {passages[row].docid for row in rows} for query, rows in zip(queries, order, strict=True)
    ]
    assert np.mean(found) > 0.3  # by chance: 5 of 48


def test_recorded_settings_are_checked(tmp_path):
    assert list(check_files(default_encoder.directory(), TRAINING, TRAINING.read(default_encoder.directory()))) == []
    TRAINING.write(tmp_path, TRAINING.new({"encoder": {"pooling": "middle"}}))
    with pytest.raises(XqgError, match="pooling 'middle': must be one of cls, mean"):
        EncoderConfig.named(str(tmp_path))
    record = tmp_path / "xqg-training.json"
    record.write_text(record.read_text().replace("middle", "mean"))
    with pytest.raises(XqgError, match="was changed after it was written"):
        EncoderConfig.named(str(tmp_path))
    record.write_text('{"format": "pyserini-xqg training", "format_version": 1}')
    with pytest.raises(XqgError, match=r"version 1, expected .* version 2\. Make it again"):
        EncoderConfig.named(str(tmp_path))

"""Training a retriever: losses as by hand, what is cut off continues alike, and `encode` takes the result."""

import json
import math

import numpy as np
import pytest
from helpers import directory_bytes, reference_vectors, write_jsonl
from trainings import build_plain_encoder, cut_off, example_records, losses, record_of
from transformers import AutoModel, AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

from pyserini_xqg.core.options import changed
from pyserini_xqg.train import job
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.options import QuestionOptions, RetrieverTraining
from pyserini_xqg.train.pairs import Split
from pyserini_xqg.train.retriever import train_retriever
from pyserini_xqg.train.retriever_data import choose_passages
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig, compose_passages

SETTINGS = {
    **{"learning_rate": 3e-3, "steps": 6, "batch_size": 4, "eval_steps": 2, "max_length": 24, "measures": ("RR@10",)},
    **{"device": "cpu", "dtype": "float32", "log_steps": 1},
}


@pytest.fixture(scope="module")
def plain_encoder(tmp_path_factory):
    return build_plain_encoder(tmp_path_factory.mktemp("plain-encoder"))


def questions(path, records, held_out="0.25"):
    return QuestionOptions(data=(str(write_jsonl(path, records)),), held_out=str(held_out))


@pytest.fixture
def data(tmp_path):
    """30 questions on 10 passages, of which some are held out."""
    return questions(tmp_path / "data.jsonl", example_records(10))


def split_of(data):
    return Split.of(data, ExampleSource, 42)


def train(data, model, output, **changes):
    options = RetrieverTraining(output=str(output), questions=data, model=str(model))
    train_retriever(changed(options, **SETTINGS | changes))
    return record_of(output)


def texts_of(records):
    return [record["query"] for record in records], [
        compose_passages([passage["text"]], [passage["title"]])[0]
        for passage in (record["positive_passages"][0] for record in records)
    ]


@pytest.mark.parametrize(
    ("pooling", "l2_norm", "temperature", "negatives"),
    [("cls", False, 1.0, 0), ("mean", True, 0.05, 0), ("cls", True, 0.2, 2), ("mean", False, 2.0, 2)],
)
def test_the_first_loss_is_the_one_computed_by_hand(plain_encoder, tmp_path, pooling, l2_norm, temperature, negatives):
    """All questions in one update, so that every passage that answers one stands against all."""
    records = example_records(6, negatives=0, languages=["fi"])
    spare = [{"docid": f"s{number}", "title": "", "text": f"old stone {number}"} for number in range(2)]
    for record in records:
        record["negative_passages"] = spare[:negatives]
    data = questions(tmp_path / "data.jsonl", records, 0)
    record = train(
        data, plain_encoder, tmp_path / "out", batch_size=6, steps=1, pooling=pooling, l2_norm=l2_norm,
        temperature=temperature, negatives=negatives, query_max_length=5,
    )  # fmt: skip
    queries, passages = texts_of(records)
    passages += [passage["text"] for _ in records for passage in spare[:negatives]]
    one = reference_vectors(plain_encoder, queries, pooling, l2_norm, max_length=5)
    other = reference_vectors(plain_encoder, passages, pooling, l2_norm, max_length=24)
    scores = one @ other.T / temperature
    largest = scores.max(axis=1)
    normal = largest + np.log(np.exp(scores - largest[:, None]).sum(axis=1))
    assert losses(record)[0] == pytest.approx((normal - np.diag(scores)).mean(), rel=1e-4, abs=1e-4)


def test_a_few_questions_are_learned_by_heart_and_scored_as_by_hand(plain_encoder, tmp_path, capfd):
    records = example_records(6, languages=["fi", "ja"])
    data = questions(tmp_path / "data.jsonl", records, tmp_path / "data.jsonl")
    record = train(
        data, plain_encoder, tmp_path / "out", pooling="mean", steps=40, eval_steps=20,
        batch_size=6, measures=("RR@10", "R@1"), negatives=1, temperature=0.5,
    )  # fmt: skip
    assert losses(record)[-1] < 0.5 * losses(record)[0]
    assert [step for step, _ in record["evaluations"]] == [0, 20, 40]
    assert record["best"]["RR@10"]["avg"] > record["before"]["RR@10"]["avg"]
    assert record["complete"] is True
    assert not (tmp_path / "out" / "training").exists()
    queries, passages = texts_of(records)
    # Before the first step, by transformers alone; after the last, by the encoder that `encode` loads.
    saved = Embedder(EncoderConfig(str(tmp_path / "out"), **record["encoder"]), "cpu")
    vectors = {
        "before": [reference_vectors(plain_encoder, side, "mean", max_length=24) for side in (queries, passages)],
        "best": [saved.embed_queries(queries), saved.embed_passages(passages)],
    }
    for name, (one, other) in vectors.items():
        found = {code: [] for code in ("fi", "ja")}
        for row, entry in enumerate(records):
            other_scores = {records[n]["positive_passages"][0]["docid"]: float(one[row] @ other[n]) for n in range(12)}
            ranked = sorted(other_scores, key=other_scores.get, reverse=True)
            found[entry["lang"]].append(1 / (1 + ranked.index(entry["positive_passages"][0]["docid"])))
        means = {code: np.mean(values) for code, values in found.items()}
        expected = {**means, "avg": np.mean(list(means.values()))}
        assert record[name]["RR@10"] == pytest.approx(expected, abs=1e-6), name
    shown = capfd.readouterr().err
    assert "step 0 of 40: held-out RR@10 " in shown
    assert "step 20 of 40: loss " in shown
    assert "12 training questions are on passages that are held out too" in shown
    assert f"to encode with it: --encoder {tmp_path}/out\n" in shown


def test_the_directory_is_a_plain_encoder_with_its_settings_beside_it(data, tiny_encoder, tmp_path):
    record = train(data, tiny_encoder, tmp_path / "out", pooling="mean", l2_norm=True, steps=2)
    _, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("old stone")["input_ids"]
    assert json.loads((tmp_path / "out" / "tokenizer.json").read_text())["truncation"] is None
    names = {path.name for path in (tmp_path / "out").iterdir()} - {".lock"}
    assert names >= {
        "config.json",
        "model.safetensors",
        "modules.json",
        "1_Pooling",
        "2_Normalize",
        "xqg-training.json",
    }
    assert not names & {"README.md", "training", "training_args.bin"}
    assert record["encoder"] == {
        "pooling": "mean", "l2_norm": True, "max_length": 24, "query_max_length": 32, "prefix": None,
        "query_prefix": None,
    }  # fmt: skip
    # sentence-transformers reads the same from its own files.
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(tmp_path / "out"), device="cpu")
    ours = Embedder(EncoderConfig(str(tmp_path / "out"), **record["encoder"]), "cpu")
    texts = ["old stone bridges and a quiet town " * 5, "fish"]
    np.testing.assert_allclose(loaded.encode_document(texts), ours.embed_passages(texts), atol=1e-5)
    np.testing.assert_allclose(loaded.encode_query(texts), ours.embed_queries(texts), atol=1e-5)


def test_gradient_caching_changes_nothing(data, plain_encoder, tmp_path):
    found = [
        losses(train(data, plain_encoder, tmp_path / f"out-{size}", device_batch_size=size, steps=4))
        for size in (None, 3, 1)
    ]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-3)


def test_cut_off_while_the_model_is_put_in_its_place(data, tiny_encoder, tmp_path, monkeypatch):
    whole = train(data, tiny_encoder, tmp_path / "whole", steps=2)
    for where, name in ((job, "complete"), (job.Job, "finish")):
        output = tmp_path / name
        with cut_off(monkeypatch, where, name):
            train(data, tiny_encoder, output, steps=2)
        assert losses(train(data, tiny_encoder, output, steps=2)) == losses(whole)
        assert len({directory_bytes(made)["model.safetensors"] for made in (output, tmp_path / "whole")}) == 1
    # What lies there then is known for its own, and can be replaced.
    with cut_off(monkeypatch, job.Job, "finish"):
        train(data, tiny_encoder, tmp_path / "out", steps=1)
    assert (tmp_path / "out" / "config.json").exists()
    assert train(data, tiny_encoder, tmp_path / "out", steps=2, overwrite=True)["steps_done"] == 2


def test_training_ends_early_and_keeps_the_best(tiny_encoder, tmp_path):
    # Learning one half by heart, it gets no better at the other.
    records = example_records(8, languages=["fi"])
    other = write_jsonl(tmp_path / "other.jsonl", records[1::2])
    data = questions(tmp_path / "data.jsonl", records[::2], other)
    record = train(data, tiny_encoder, tmp_path / "out", steps=200, eval_steps=2, early_stopping=2)
    assert record["steps_done"] < 200
    values = {step: value["RR@10"]["avg"] for step, value in record["evaluations"] if step}
    assert values[record["best_step"]] == max(values.values())
    assert record["steps_done"] == record["best_step"] + 2 * 2


def test_languages_need_not_be_known(tiny_encoder, tmp_path):
    records = [{name: value for name, value in one.items() if name != "lang"} for one in example_records(16)]
    data = questions(tmp_path / "data.jsonl", records, 0.3)
    record = train(data, tiny_encoder, tmp_path / "out", steps=2, epochs=1, eval_steps=None)
    assert record["settings"]["data"]["languages"] == {"all": record["settings"]["data"]["pairs"]}
    assert set(record["best"]["RR@10"]) == {"all", "avg"}


def test_an_encoder_that_counts_positions_from_elsewhere(tiny_encoder, data, tmp_path):
    """XLM-R's shape, with fewer positions than --max-length asks for."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder, model_max_length=40)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=14, type_vocab_size=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(tmp_path / "xlmr")
    tokenizer.save_pretrained(tmp_path / "xlmr")
    record = train(data, str(tmp_path / "xlmr"), tmp_path / "out", steps=2)
    assert all(math.isfinite(loss) for loss in losses(record))


def test_held_out_passages_are_no_negatives_and_all_are_searched(tmp_path, tiny_encoder):
    options = questions(tmp_path / "data.jsonl", example_records(40, negatives=3), 0.3)
    record = train(options, tiny_encoder, tmp_path / "out", steps=1, negatives=3)
    data = split_of(options)
    kept = [[passage for passage in one.negatives if not data.holds_out(passage.docid)] for one in data.training()]
    counts = record["examples"]
    assert counts["examples"] == len(kept)
    assert counts["fewer"] == sum(len(own) < 3 for own in kept) > 0
    answers = {one.passage.docid for one in data.held_out()}
    assert {passage.docid for passage in choose_passages(data, 1000)} == {f"p{row}" for row in range(40)}
    near = {passage.docid for one in data.held_out() for passage in one.negatives} - answers
    few = {passage.docid for passage in choose_passages(data, len(answers) + 2)}
    assert few >= answers and len(few) == len(answers) + 2 and few - answers <= near
    assert {passage.docid for passage in choose_passages(data, 1)} == answers

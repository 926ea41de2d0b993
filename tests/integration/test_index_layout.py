"""An index without augmentation is the one that ``python -m pyserini.encode … --to-faiss`` makes."""

import faiss
import numpy as np
import pytest
from helpers import write_jsonl
from integration import flows

pytestmark = pytest.mark.integration


def stock_encode(python, corpus, output, encoder, *options):
    result = flows.unactivated(
        python,
        *("pyserini.encode", "input", "--corpus", corpus, "--fields", "title", "text"),
        *("output", "--embeddings", output, "--to-faiss", "encoder", "--encoder", encoder, "--encoder-class", "auto"),
        *("--fields", "title", "text", "--dimension", "32", "--device", "cpu", "--max-length", "64", *options),
    )
    assert result.returncode == 0, result.stderr
    return output


def test_the_same_file_but_for_rounding(plain_python, tmp_path, tiny_encoder):
    """Passages of equal length: both encode them in the same order, in one batch, without padding."""
    from pyserini_xqg import index

    words = ["river", "bridges", "stone", "town", "bread", "fish", "paper", "people", "quiet", "old"]
    records = [
        {"docid": f"d{row}", "title": words[row % 10], "text": " ".join(words[(row + at) % 10] for at in range(1, 7))}
        for row in range(20)
    ]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    theirs = stock_encode(plain_python, corpus, tmp_path / "theirs", tiny_encoder)
    ours = tmp_path / "ours"
    index.main(
        [
            *("--corpus", str(corpus), "--encoder", tiny_encoder, "--max-length", "64"),
            *("--device", "cpu", "--dtype", "float32", "--alpha", "0", "--output", str(ours)),
        ]
    )
    assert sorted(path.name for path in ours.iterdir()) == ["docid", "index", "xqg.json"]
    assert sorted(path.name for path in theirs.iterdir()) == ["docid", "index"]
    assert (ours / "docid").read_bytes() == (theirs / "docid").read_bytes()
    # The same file but for the last digits of its vectors, since ours are computed without padding.
    own, stock = ((directory / "index").read_bytes() for directory in (ours, theirs))
    vectors = 4 * 32 * len(records)
    assert len(own) == len(stock)
    assert own[:-vectors] == stock[:-vectors]
    numbers = [np.frombuffer(data[-vectors:], dtype="<f4") for data in (own, stock)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-5)
    assert np.abs(numbers[0]).max() > 0.1


def test_the_same_structure_and_vectors_in_batches_of_another_composition(plain_python, tmp_path, built):
    theirs = stock_encode(
        plain_python, built.corpus, tmp_path / "theirs", built.encoder, "--pooling", "mean", "--l2-norm",
        "--batch-size", "7",
    )  # fmt: skip
    assert (built.plain / "docid").read_bytes() == (theirs / "docid").read_bytes()
    assert (built.plain / "index").stat().st_size == (theirs / "index").stat().st_size
    ours, other = (faiss.read_index(str(place / "index")) for place in (built.plain, theirs))
    assert type(ours) is type(other) is faiss.IndexFlatIP
    assert (ours.ntotal, ours.d, ours.metric_type) == (other.ntotal, other.d, other.metric_type)
    np.testing.assert_allclose(ours.reconstruct_n(), other.reconstruct_n(), rtol=0, atol=flows.TOLERANCE)
    # Augmentation does move the vectors.
    moved = np.abs(faiss.read_index(str(built.augmented / "index")).reconstruct_n() - ours.reconstruct_n())
    assert moved.max() > 0.01


def test_stock_encode_does_not_take_a_model_for_xqg_because_of_its_path(active_python, tmp_path, tiny_encoder, built):
    """It picks the class by the name and then passes none of the user's settings on: refused, not encoded otherwise."""
    model = tmp_path / "xqg-models" / "bert"
    model.parent.mkdir()
    model.symlink_to(tiny_encoder)
    result = flows.run(
        active_python,
        *("-m", "pyserini.encode", "input", "--corpus", built.corpus, "--fields", "title", "text"),
        *("output", "--embeddings", tmp_path / "out", "--to-faiss", "encoder", "--encoder", model),
        *("--fields", "title", "text", "--dimension", "32", "--device", "cpu", "--pooling", "mean"),
    )
    assert result.returncode == 1
    assert "the name holds 'xqg'" in result.stderr
    assert "--encoder-class auto with --pooling" in result.stderr
    assert not (tmp_path / "out" / "index").exists()

"""Scores of queries for their own passages: the numbers, where they come from, and that breaks change nothing."""

import json

import numpy as np
import pytest
from helpers import LANGUAGES, corpus_records, directory_bytes, reference_vectors, write_jsonl
from vector_stores import vector_store

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries import scoring as query_scoring
from pyserini_xqg.queries.round_trip import StoreRanker
from pyserini_xqg.queries.scores import QueryScores
from pyserini_xqg.queries.scoring import check_store_corpus, score_corpus, score_store
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.encoding import StoreOptions, encode_corpus
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

ROWS = 14


@pytest.fixture(scope="module")
def records():
    return corpus_records(ROWS)


@pytest.fixture
def corpus(records, tmp_path):
    return Corpus(write_jsonl(tmp_path / "corpus.jsonl", records))


def embedder(tiny_encoder, **settings):
    return Embedder(EncoderConfig(tiny_encoder, **settings), "cpu")


def make_store(corpus, embedder, directory, **options):
    kept = StoreOptions(**{"keep_query_vectors": True, "chunk_size": 4} | options)
    encode_corpus(corpus, embedder, directory, store=kept)
    return EmbeddingStore(directory)


def expected_scores(records, encoder, language, **options) -> list[float]:
    """Inner products of vectors that transformers made text by text."""
    scores = []
    for record in records:
        texts = record.get("generated_queries", {}).get(language, [])
        if texts:
            passage = reference_vectors(encoder, [f"{record['title']} {record['text']}".lstrip()], **options)[0]
            scores += [float(passage @ query) for query in reference_vectors(encoder, texts, **options)]
    return scores


@pytest.mark.parametrize("chunk_size", [3, 1024])
@pytest.mark.parametrize("settings", [{}, {"pooling": "mean", "l2_norm": True}])
def test_scores_against_transformers(records, corpus, tiny_encoder, tmp_path, chunk_size, settings):
    score_corpus(corpus, corpus.scan(), embedder(tiny_encoder, **settings), tmp_path / "scores", chunk_size=chunk_size)
    scores = QueryScores(tmp_path / "scores")
    assert scores.languages == list(LANGUAGES)
    assert (tmp_path / "scores" / "docids.txt").read_text().split() == [record["docid"] for record in records]
    for language in LANGUAGES:
        expected = expected_scores(records, tiny_encoder, language, **settings)
        found = np.load(tmp_path / "scores" / f"score.{language}.npy")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        counts = [len(record.get("generated_queries", {}).get(language, [])) for record in records]
        assert np.load(tmp_path / "scores" / f"count.{language}.npy").tolist() == counts
        assert scores.array(f"score.{language}").tolist() == found.tolist()


def test_a_store_gives_the_scores_that_encoding_gives(corpus, tiny_encoder, tmp_path):
    encoder = embedder(tiny_encoder)
    score_corpus(corpus, corpus.scan(), encoder, tmp_path / "encoded", chunk_size=4)
    score_store(make_store(corpus, encoder, tmp_path / "store"), tmp_path / "scores")
    score_store(make_store(corpus, encoder, tmp_path / "half", store_dtype="float16"), tmp_path / "from-half")
    for language in LANGUAGES:
        wanted = (tmp_path / "encoded" / f"score.{language}.npy").read_bytes()
        assert (tmp_path / "scores" / f"score.{language}.npy").read_bytes() == wanted
        half, whole = (QueryScores(tmp_path / name).array(f"score.{language}") for name in ("from-half", "encoded"))
        np.testing.assert_allclose(half, whole, rtol=5e-3)
        assert not np.array_equal(half, whole)


@pytest.mark.parametrize("first", [0, 4, 12])
def test_chunks_of_a_store(corpus, tiny_encoder, tmp_path, first):
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store")
    chunks = list(query_scoring.store_chunks(store, first))
    assert [docid for chunk in chunks for docid in chunk.docids] == store.docids_path.read_text().split()[first:]
    np.testing.assert_array_equal(np.concatenate([chunk.passages for chunk in chunks]), store.array("passages")[first:])
    for language in LANGUAGES:
        before = store.array(f"count.{language}")[:first].sum()
        vectors = np.concatenate([chunk.vectors[language] for chunk in chunks])
        np.testing.assert_array_equal(vectors, store.array(f"vectors.{language}")[before:])


def test_ranks_are_kept_beside_the_scores(corpus, tiny_encoder, tmp_path):
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store")
    score_store(store, tmp_path / "scores", ranker=StoreRanker(store))
    for language in LANGUAGES:
        own = np.repeat(np.arange(ROWS), store.array(f"count.{language}"))
        products = store.array(f"vectors.{language}").astype(float) @ store.array("passages").astype(float).T
        better = products > products[np.arange(len(own)), own][:, None] + 1e-9
        assert np.load(tmp_path / "scores" / f"rank.{language}.npy").tolist() == (better.sum(axis=1) + 1).tolist()


def test_complete_scores_are_used_as_they_are(corpus, tiny_encoder, tmp_path, capsys):
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store")
    score_store(store, tmp_path / "scores", ranker=StoreRanker(store))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()}
    score_store(store, tmp_path / "scores")
    score_corpus(corpus, corpus.scan(), embedder(tiny_encoder), tmp_path / "scores", chunk_size=2)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scores").iterdir()} == before
    assert capsys.readouterr().err.count("complete scores of this corpus and encoder, used as they are") == 2


# Interruptions


@pytest.mark.parametrize("done", [0, 1, 3])
def test_broken_off_and_continued(corpus, tiny_encoder, tmp_path, monkeypatch, capsys, done):
    encoder, summary = embedder(tiny_encoder), corpus.scan()
    score_corpus(corpus, summary, encoder, tmp_path / "whole", chunk_size=3)
    calls, original = [], query_scoring.score_chunk

    def interrupted(chunk):
        calls.append(1)
        if len(calls) > done:
            raise KeyboardInterrupt
        return original(chunk)

    with monkeypatch.context() as patch:
        patch.setattr(query_scoring, "score_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            score_corpus(corpus, summary, encoder, tmp_path / "scores", chunk_size=3)
    with pytest.raises(XqgError, match=f"unfinished, {3 * done} of 14 passages are scored"):
        QueryScores(tmp_path / "scores")
    capsys.readouterr()
    score_corpus(corpus, summary, encoder, tmp_path / "scores", chunk_size=3)
    assert (f"continues after {3 * done} of 14 passages" in capsys.readouterr().err) == (done > 0)
    assert directory_bytes(tmp_path / "scores") == directory_bytes(tmp_path / "whole")


# What is refused


@pytest.mark.parametrize("options", [{"keep_query_vectors": False}, {"keep_query_vectors": False, "fuse": "mean"}])
def test_store_without_query_vectors(corpus, tiny_encoder, tmp_path, options):
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store", **options)
    with pytest.raises(
        XqgError, match=r"store: has sums of the queries' vectors, not single ones.*--keep-query-vectors"
    ):
        score_store(store, tmp_path / "scores")
    assert not (tmp_path / "scores").exists()


def test_store_of_another_corpus(records, corpus, tiny_encoder, tmp_path):
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store")
    check_store_corpus(store, corpus.scan())
    for number, (change, phrase) in enumerate(
        [
            (lambda rows: rows.pop(), "passages is 14 there and 13 in the corpus"),
            (lambda rows: rows[3].update(docid="other"), "as many passages and queries, but other ones"),
            (lambda rows: rows[1]["generated_queries"].pop("fi"), "queries.fi is"),
        ]
    ):
        rows = json.loads(json.dumps(records))
        change(rows)
        other = Corpus(write_jsonl(tmp_path / f"{number}.jsonl", rows))
        with pytest.raises(XqgError, match=f"store: a store of another corpus: .*{phrase}"):
            check_store_corpus(store, other.scan())
    fewer = Corpus(tmp_path / "corpus.jsonl", languages=["ar"])
    with pytest.raises(XqgError, match=r"with the same --languages and --max-queries"):
        check_store_corpus(store, fewer.scan())


def test_scores_of_other_settings(corpus, tiny_encoder, tmp_path):
    summary = corpus.scan()
    score_corpus(corpus, summary, embedder(tiny_encoder), tmp_path / "scores")
    with pytest.raises(
        XqgError, match=r"holds scores of other settings: encoder.pooling is 'cls' there and 'mean' now.*--scores"
    ):
        score_corpus(corpus, summary, embedder(tiny_encoder, pooling="mean"), tmp_path / "scores")
    with pytest.raises(XqgError, match=r"holds scores of other settings: fields is \['title', 'text'\]"):
        score_corpus(corpus, summary, embedder(tiny_encoder), tmp_path / "scores", fields=["text"])
    store = make_store(corpus, embedder(tiny_encoder), tmp_path / "store")
    with pytest.raises(XqgError, match="there is no round trip in them"):
        score_store(store, tmp_path / "scores", ranker=StoreRanker(store))


def test_half_done_scores_of_other_settings(corpus, tiny_encoder, tmp_path, monkeypatch):
    summary, encoder = corpus.scan(), embedder(tiny_encoder)
    with monkeypatch.context() as patch:
        patch.setattr(query_scoring.ScoresWriter, "complete", lambda self: None)
        score_corpus(corpus, summary, encoder, tmp_path / "scores", chunk_size=3)
    with pytest.raises(XqgError, match="unfinished scores of other settings: chunk_size is 3 there and 4 now"):
        score_corpus(corpus, summary, encoder, tmp_path / "scores", chunk_size=4)


def test_directory_that_holds_something_else(corpus, tiny_encoder, tmp_path):
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "thesis.tex").touch()
    with pytest.raises(XqgError, match=r"exists and holds no query scores \(thesis.tex\). Choose another --scores"):
        score_corpus(corpus, corpus.scan(), embedder(tiny_encoder), tmp_path / "scores")
    with pytest.raises(XqgError, match=r"no query scores there"):
        QueryScores(tmp_path / "scores")


def test_damaged_scores(corpus, tiny_encoder, tmp_path):
    score_corpus(corpus, corpus.scan(), embedder(tiny_encoder), tmp_path / "scores")
    path = tmp_path / "scores" / "score.fi.npy"
    data = path.read_bytes()
    for place in (3, len(data) - 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(XqgError, match=r"scores: damaged, score.fi.npy: was changed after it was written"):
            QueryScores(tmp_path / "scores")
    path.write_bytes(data[:-4])
    with pytest.raises(XqgError, match=r"scores: damaged, score.fi.npy: has .* bytes, expected .*score again"):
        QueryScores(tmp_path / "scores")
    path.unlink()
    with pytest.raises(XqgError, match=r"score.fi.npy: is missing"):
        QueryScores(tmp_path / "scores")


def test_infinite_score(tmp_path):
    store = vector_store(tmp_path / "store", [[1e30, 0], [1, 0]], {"fi": [np.full((1, 2), 1e30), np.ones((1, 2))]})
    with pytest.raises(XqgError, match=r"a score in 'fi' among docids 'p0' to 'p1' is infinite"):
        score_store(store, tmp_path / "scores")


def test_corpus_that_changes_while_it_is_read(records, corpus, tiny_encoder, tmp_path):
    summary = corpus.scan()
    write_jsonl(tmp_path / "corpus.jsonl", records[:-1])
    with pytest.raises(XqgError, match=r"13 passages were scored.*The corpus changed while it was read"):
        score_corpus(corpus, summary, embedder(tiny_encoder), tmp_path / "scores")

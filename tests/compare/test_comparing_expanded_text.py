"""Passages with their queries in their text."""

import pytest
from helpers import corpus_records, write_jsonl

from pyserini_xqg.compare.expanded_text import ExpandedCorpus, count_truncation
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig


def expected_text(record, languages, most=None):
    queries = [record.get("generated_queries", {}).get(code, [])[:most] for code in languages]
    turns = [(turn, place, text) for place, some in enumerate(queries) for turn, text in enumerate(some)]
    return " ".join([record["text"], *(text for _, _, text in sorted(turns))])


@pytest.mark.parametrize(("languages", "most"), [(None, None), (["ja", "ar"], None), (["fi"], 1)])
def test_texts(tmp_path, languages, most):
    records = corpus_records(23)
    corpus = Corpus(write_jsonl(tmp_path / "corpus.jsonl", records), languages=languages, max_queries=most)
    expanded = ExpandedCorpus(corpus)
    found = list(expanded)
    assert [passage.text for passage in found] == [
        expected_text(record, languages or ["ar", "fi", "ja"], most) for record in records
    ]
    assert all(passage.queries == {} for passage in found)
    assert [(one.docid, one.title) for one in found] == [(one["docid"], one["title"]) for one in records]
    summary = expanded.scan()
    assert (summary.passages, summary.queries, summary.passages_without_queries) == (23, {}, 0)
    assert summary.sha256 != corpus.scan().sha256
    # The corpus itself is as before.
    assert corpus.scan().queries.keys() == set(languages or ["ar", "fi", "ja"])


def test_other_queries_make_another_corpus(tmp_path):
    records = corpus_records(5)
    first = ExpandedCorpus(Corpus(write_jsonl(tmp_path / "a.jsonl", records))).scan()
    records[1]["generated_queries"]["fi"][0] += "?"
    assert ExpandedCorpus(Corpus(write_jsonl(tmp_path / "b.jsonl", records))).scan().sha256 != first.sha256


@pytest.mark.parametrize("fields", [["title", "text"], ["text"]])
def test_truncation(tmp_path, tiny_encoder, fields):
    from transformers import AutoTokenizer

    records = corpus_records(23)
    corpus = Corpus(write_jsonl(tmp_path / "corpus.jsonl", records))
    limit = 50
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    cut = appended = seen = 0
    for record in records:
        title = f"{record['title']} " if "title" in fields and record["title"] else ""
        plain = len(tokenizer.tokenize(title + record["text"])) + 2
        whole = len(tokenizer.tokenize(title + expected_text(record, ["ar", "fi", "ja"]))) + 2
        cut += whole > limit
        appended += whole - plain
        seen += max(0, min(whole, limit) - plain)
    found = count_truncation(corpus, Embedder(EncoderConfig(tiny_encoder, max_length=limit), "cpu"), fields, batch=7)
    assert 0 < cut < 23
    assert found == {"passages": 23, "cut": cut, "queries_kept": pytest.approx(seen / appended)}


def test_nothing_is_cut_without_queries(tmp_path, tiny_encoder):
    records = [{"docid": "1", "text": "stone bridges"}]
    corpus = Corpus(write_jsonl(tmp_path / "corpus.jsonl", records))
    found = count_truncation(corpus, Embedder(EncoderConfig(tiny_encoder), "cpu"), ["text"])
    assert found == {"passages": 1, "cut": 0, "queries_kept": 1.0}

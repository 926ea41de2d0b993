"""Passages by docid: what is kept, from which sources, and every fault that is refused."""

import json
import os
import subprocess
import sys
import tracemalloc

import pytest
from helpers import corpus_records, write_jsonl

from pyserini_xqg import datasets
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.lookup import PassageLookup

PASSAGES = [
    {"docid": "d1", "title": "Nokia", "text": "Near Tampere"},
    {"_id": "d2", "text": "東京 — \U0001f680"},
    {"id": "d3", "contents": "A title\nA text\nwith two lines"},
    {"id": "d4", "contents": "no title"},
    {"doc_id": 5, "title": None, "text": "a number", "generated_queries": "not looked at", "queries": {}},
]
TEXTS = {
    "d1": ("Nokia", "Near Tampere"),
    "d2": ("", "東京 — \U0001f680"),
    "d3": ("A title", "A text\nwith two lines"),
    "d4": ("", "no title"),
    "5": ("", "a number"),
}


def test_texts_of_files_and_directories(tmp_path):
    plain = write_jsonl(tmp_path / "passages.jsonl", PASSAGES)
    packed = write_jsonl(tmp_path / "passages.jsonl.gz", PASSAGES)
    folder = tmp_path / "folder"
    folder.mkdir()
    write_jsonl(folder / "1.jsonl", PASSAGES[:2])
    write_jsonl(folder / "2.json", PASSAGES[2:4])
    last = write_jsonl(tmp_path / "last.jsonl", PASSAGES[4:])
    for sources in ([plain], [packed], [folder, last]):
        for wanted in ({*TEXTS, "absent"}, None):
            with PassageLookup(wanted, sources, with_queries=False) as passages:
                assert passages.docids == TEXTS.keys()
                for docid in [*TEXTS, *reversed(TEXTS)]:
                    found = passages.get(docid)
                    assert (found.title, found.text) == TEXTS[docid] and passages.text(docid) == found.text
                assert passages.get("absent") is None and passages.text("absent") is None
                assert passages.missing() == ((0, None) if wanted is None else (1, "absent"))


def test_queries_come_from_the_passages_and_from_other_files(tmp_path):
    records = corpus_records(30)
    path = write_jsonl(tmp_path / "corpus.jsonl.gz", records)
    more = write_jsonl(
        tmp_path / "more.jsonl",
        [{"docid": docid, "generated_queries": {"de": [f"Was ist {docid}?"]}} for docid in ("p7", "p8")],
    )
    with PassageLookup(["p1", "p7"], [path], query_files=[more]) as passages:
        passages.want(["p10", "unknown"])
        passages.read(write_jsonl(tmp_path / "late.jsonl", [{"docid": "p10", "text": "late"}]))
        assert dict(passages.get("p1").queries) == records[1]["generated_queries"]
        assert dict(passages.get("p7").queries) == records[7]["generated_queries"] | {"de": ["Was ist p7?"]}
        assert passages.get("p8") is None and passages.text("p10") == "late"
        assert passages.missing() == (1, "unknown")


@pytest.mark.parametrize("with_store", [True, False])
def test_passages_of_a_dataset(with_store, monkeypatch, tmp_path):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    documents = list(datasets.load("xqg-sample").docs_iter())
    how = {"docs_store": datasets.load("xqg-sample").docs_store} if with_store else {"sources": ["irds:xqg-sample"]}
    with PassageLookup({document.doc_id for document in documents}, **how) as passages:
        for document in documents:
            found = passages.get(document.doc_id)
            assert (found.title, found.text) == (document.title, document.text)
            assert {language: list(texts) for language, texts in found.queries.items()} == document.generated_queries
        assert passages.get("nothing") is None


def test_memory_does_not_grow_with_the_passages(tmp_path):
    with open(tmp_path / "corpus.jsonl", "w", encoding="utf-8") as out:
        for number in range(4000):
            record = {"docid": f"d{number}", "text": "word " * 200, "generated_queries": {"fi": ["sana " * 50]}}
            out.write(json.dumps(record) + "\n")
    with PassageLookup({"d0"}, [tmp_path / "corpus.jsonl"]):
        pass  # what is loaded once
    tracemalloc.start()
    with PassageLookup((f"d{number}" for number in range(2000)), [tmp_path / "corpus.jsonl"]) as passages:
        assert passages.get("d1999").text.startswith("word") and passages.get("d2000") is None
        _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000  # the texts alone have 2.5 MB


@pytest.mark.parametrize(
    ("line", "queries", "message"),
    [
        ('{"docid": "d1", "text": 7}', [], "line 2 (docid d1): 'text' is 7 where a string was expected"),
        ('{"docid": "d0", "text": "again"}', [], "line 2: docid 'd0' was given before."),
        ('{"docid": "d1", "text": "b"}', [{"docid": "d1"}], "line 1 (docid d1): no 'generated_queries'"),
        ('{"docid": "d1", "text": "x", "generated_queries": {"fi": ["mikä"]}}',
         [{"docid": "d1", "generated_queries": {"fi": ["mikä"]}}], "queries in 'fi' were given before"),
    ],
)  # fmt: skip
def test_faults(tmp_path, line, queries, message):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"docid": "d0", "text": "a"}\n' + line + "\n", encoding="utf-8")
    more = [write_jsonl(tmp_path / "queries.jsonl", queries)] if queries else []
    with pytest.raises(XqgError) as caught, PassageLookup({"d0", "d1"}, [path], query_files=more) as passages:
        passages.get("d1")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_source_and_a_full_disk(tmp_path, small_disk):
    with pytest.raises(XqgError, match=r"none\.jsonl: no such file"):
        PassageLookup(set(), [tmp_path / "none.jsonl"])
    path = write_jsonl(tmp_path / "large.jsonl", [{"docid": f"d{n}", "text": "word " * 2000} for n in range(600)])
    code = "import sys; from pyserini_xqg.text.lookup import PassageLookup; PassageLookup(None, sys.argv[1:])"
    result = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, env=os.environ | {"TMPDIR": str(small_disk)}
    )
    assert "directory for temporary files: database or disk is full. Free some space there" in result.stderr
    assert list(small_disk.iterdir()) == []

"""Passages and generated queries from every format, and each fault in them with its place."""

import gzip
import json
import os
import random
from collections import Counter

import ir_datasets
import pytest
from helpers import corpus_records, write_jsonl

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus, scan_once
from pyserini_xqg.text.passages import corpus_files


def plain(corpus):
    return [(p.docid, p.title, p.text, {code: list(texts) for code, texts in p.queries.items()}) for p in corpus]


def expected(records):
    return [(r["docid"], r["title"], r["text"], dict(sorted(r.get("generated_queries", {}).items()))) for r in records]


def fault(source, *arguments, **options) -> str:
    """The message of the one error that a scan raises."""
    with pytest.raises(XqgError) as caught:
        Corpus(source, *arguments, **options).scan()
    message = str(caught.value)
    assert "\n" not in message
    return message


# Formats


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.json.gz", "a.whatever"])
def test_one_file_again_and_again(tmp_path, name):
    records = corpus_records(23)
    corpus = Corpus(write_jsonl(tmp_path / name, records))
    assert plain(corpus) == plain(corpus) == expected(records)
    assert corpus.scan() == corpus.scan()


def test_directory_is_read_by_name(tmp_path):
    records = corpus_records(30)
    directory = tmp_path / "corpus"
    directory.mkdir()
    write_jsonl(directory / "part-2.jsonl", records[20:])
    write_jsonl(directory / "part-0.jsonl.gz", records[:7])
    write_jsonl(directory / "part-1.json", records[7:20])
    (directory / ".hidden").write_text("ignored")
    assert plain(Corpus(directory)) == expected(records)
    assert [path.name for path in corpus_files(directory)] == ["part-0.jsonl.gz", "part-1.json", "part-2.jsonl"]


@pytest.mark.parametrize(
    ("record", "passage"),
    [
        ({"docid": "7", "title": "T", "text": "X"}, ("7", "T", "X")),
        ({"docid": "7", "text": "X"}, ("7", "", "X")),
        ({"docid": "7", "title": None, "text": "X"}, ("7", "", "X")),
        ({"docid": "7", "title": "T", "text": ""}, ("7", "T", "")),
        ({"id": "7", "text": "X"}, ("7", "", "X")),
        ({"_id": "7", "text": "X"}, ("7", "", "X")),
        ({"_id": 7, "text": "X"}, ("7", "", "X")),
        ({"docid": None, "id": "7", "text": "X"}, ("7", "", "X")),
        ({"docid": "a", "id": "b", "_id": "c", "text": "X"}, ("a", "", "X")),
        ({"id": "7", "contents": "T\nX"}, ("7", "T", "X")),
        ({"id": "7", "contents": "T\nX\nY\n"}, ("7", "T", "X\nY\n")),
        ({"id": "7", "contents": "X without title"}, ("7", "", "X without title")),
        ({"id": "7", "contents": "\nX"}, ("7", "", "X")),
        ({"id": "7", "title": "ignored", "contents": "T\nX"}, ("7", "T", "X")),
        ({"id": "7", "text": "X", "contents": "T\nY"}, ("7", "", "X")),
        ({"docid": "日本-7/x.y#z", "text": "X", "more": [1, {}]}, ("日本-7/x.y#z", "", "X")),
        ({"docid": 0, "text": "X"}, ("0", "", "X")),
        ({"docid": "7", "text": "X", "generated_queries": None}, ("7", "", "X")),
    ],
)
def test_fields(tmp_path, record, passage):
    (found,) = Corpus(write_jsonl(tmp_path / "a.jsonl", [record]))
    assert (found.docid, found.title, found.text) == passage
    assert dict(found.queries) == {}
    assert found.where == f"{tmp_path / 'a.jsonl'}, line 1 (docid {passage[0]})"


def test_the_bundled_sample(monkeypatch, tmp_path):
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    corpus = Corpus("irds:xqg-sample")
    assert plain(corpus) == [tuple(document) for document in ir_datasets.load("xqg-sample").docs_iter()]
    summary = corpus.scan()
    assert summary.passages == 48
    assert summary.queries == dict.fromkeys(["ar", "bn", "fi", "ja", "ko", "ru", "te"], 96)


def test_unknown_irds_dataset():
    assert "no-such-set" in fault("irds:no-such-set")


def test_queries_in_files_of_their_own(tmp_path):
    records = corpus_records(40)

    def lines(language):
        chosen = [record for record in records if language in record.get("generated_queries", {})]
        random.Random(1).shuffle(chosen)
        return [
            {"docid": record["docid"], "generated_queries": {language: record["generated_queries"][language]}}
            for record in chosen
        ]

    arabic = {line["docid"]: line for line in lines("ar")}
    passages = [
        {key: record[key] for key in ("docid", "title", "text")} | arabic.get(record["docid"], {}) for record in records
    ]
    japanese, directory = lines("ja"), tmp_path / "japanese"
    directory.mkdir()
    write_jsonl(directory / "a.jsonl.gz", japanese[:5])
    write_jsonl(directory / "b.jsonl", japanese[5:])
    corpus = write_jsonl(tmp_path / "passages.jsonl", passages)
    apart = Corpus(corpus, [write_jsonl(tmp_path / "fi.jsonl", lines("fi")), directory])
    together = Corpus(write_jsonl(tmp_path / "all.jsonl", records))
    assert plain(apart) == expected(records)
    assert apart.scan() == together.scan()  # the same content has the same checksum, whatever files hold it


def test_docid_as_number_meets_docid_as_string(tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"docid": 7, "text": "X"}])
    queries = write_jsonl(tmp_path / "q.jsonl", [{"_id": "7", "generated_queries": {"fi": ["Mikä?"]}}])
    assert plain(Corpus(corpus, [queries])) == [("7", "", "X", {"fi": ["Mikä?"]})]


def test_languages_and_max_queries_choose_the_first(tmp_path):
    record = {
        "docid": "7",
        "text": "X",
        "generated_queries": {"fi": ["1", "2", "3"], "ar": ["4"], "te": [], "ja": ["5"]},
    }
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    (passage,) = Corpus(path, languages=["ja", "fi"], max_queries=2)
    assert list(passage.queries.items()) == [("ja", ["5"]), ("fi", ["1", "2"])]
    (passage,) = Corpus(path)
    assert list(passage.queries.items()) == [("ar", ["4"]), ("fi", ["1", "2", "3"]), ("ja", ["5"])]


def test_summary_against_counters(tmp_path):
    records = corpus_records(50, most=4, seed=5)
    summary = Corpus(write_jsonl(tmp_path / "a.jsonl", records), max_queries=3).scan()
    total, having, most = Counter(), Counter(), Counter()
    for record in records:
        for code, texts in record.get("generated_queries", {}).items():
            total[code] += len(texts[:3])
            having[code] += 1
            most[code] = max(most[code], len(texts[:3]))
    assert summary.passages == 50
    assert (summary.queries, summary.passages_with_queries, summary.most_queries) == (
        dict(total),
        dict(having),
        dict(most),
    )
    assert summary.passages_without_queries == sum(not record.get("generated_queries") for record in records)
    assert summary.passages_without_queries >= 10


@pytest.mark.parametrize(
    "change",
    [
        lambda records: records.reverse(),
        lambda records: records[3].update(text="other"),
        lambda records: records[3].update(title="other"),
        lambda records: records[3].update(docid="other"),
        lambda records: records[1]["generated_queries"]["fi"].reverse(),
        lambda records: records[1]["generated_queries"]["fi"].pop(),
        lambda records: records.pop(),
    ],
)
def test_checksum_moves_with_the_content(tmp_path, change):
    records = corpus_records(12)
    before = Corpus(write_jsonl(tmp_path / "a.jsonl", records)).scan().sha256
    assert before == Corpus(write_jsonl(tmp_path / "b.jsonl.gz", records)).scan().sha256
    change(records)
    assert before != Corpus(write_jsonl(tmp_path / "a.jsonl", records)).scan().sha256


def test_shards_check_the_same_files_once(tmp_path, capsys):
    path = write_jsonl(tmp_path / "a.jsonl", corpus_records(9))
    first = scan_once(Corpus(path), tmp_path)
    assert scan_once(Corpus(path), tmp_path) == first == Corpus(path).scan()
    assert capsys.readouterr().err.count("unchanged since it was checked") == 1
    assert scan_once(Corpus(path, max_queries=1), tmp_path) != first
    # Another text of the same size under the same name and time is another corpus: written over it, or put there.
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    other = path.read_text(encoding="utf-8").replace("river", "rivet")
    path.write_text(other, encoding="utf-8")
    os.utime(path, ns=times)
    second = scan_once(Corpus(path), tmp_path)
    write_jsonl(tmp_path / "new", corpus_records(9))
    os.utime(tmp_path / "new", ns=times)
    os.replace(tmp_path / "new", path)
    assert second != first == scan_once(Corpus(path), tmp_path)
    assert scan_once(Corpus("xqg-sample"), tmp_path).passages == 48
    assert len(list(tmp_path.glob(".corpus-*"))) == 4
    assert "unchanged since it was checked" not in capsys.readouterr().err


# Faults


GOOD = [{"docid": "a", "text": "A."}, {"docid": "b", "text": "B."}]


@pytest.mark.parametrize(
    ("line", "phrases"),
    [
        ('{"docid": "c", "text": ', ["malformed JSON"]),
        ("", ["an empty line"]),
        ('["c"]', ["a JSON list where an object was expected"]),
        ('{"text": "C."}', ["no docid", "'docid', 'id' or '_id'"]),
        ('{"docid": null, "text": "C."}', ["no docid"]),
        ('{"docid": 1.5, "text": "C."}', ["'docid' is 1.5 where a string was expected"]),
        ('{"id": true, "text": "C."}', ["'id' is True where a string"]),
        ('{"_id": ["c"], "text": "C."}', ["'_id' is ['c'] where"]),
        ('{"docid": "", "text": "C."}', ["docid '' is empty or holds white space"]),
        ('{"docid": "c d", "text": "C."}', ["docid 'c d' is empty or holds white space"]),
        ('{"docid": "c\\n", "text": "C."}', ["holds white space"]),
        ('{"docid": "c\\u00a0d", "text": "C."}', ["holds white space"]),
        ('{"docid": "\\ud800", "text": "C."}', ["'docid' holds \\ud800, half a surrogate pair"]),
        ('{"docid": "c"}', ["(docid c)", "no text", "'contents'"]),
        ('{"docid": "c", "text": null}', ["(docid c)", "'text' is None where a string"]),
        ('{"docid": "c", "text": 5}', ["(docid c)", "'text' is 5 where a string"]),
        ('{"docid": "c", "contents": {}}', ["(docid c)", "'contents' is {} where a string"]),
        ('{"docid": "c", "title": [1], "text": "C."}', ["(docid c)", "'title' is [1] where a string"]),
        ('{"docid": "c", "title": " ", "text": "\\n"}', ["(docid c)", "title and text are empty"]),
        ('{"docid": "c", "contents": ""}', ["(docid c)", "title and text are empty"]),
        ('{"docid": "c", "text": "C \\udc80."}', ["(docid c)", "'text' holds \\udc80, half a surrogate pair"]),
        ('{"docid": "c", "text": "C.", "generated_queries": ["q"]}', ["(docid c)", "'generated_queries' is ['q']"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"fi": "q"}}', ["(docid c)", "'fi' are 'q'"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"fi": null}}', ["(docid c)", "'fi' are None"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"fi": ["q", 3]}}', ["query 2 in 'fi' is 3 where"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"fi": ["q", " "]}}', ["query 2 in 'fi' is empty"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"fi": ["\\ud800"]}}', ["query 1 in 'fi' holds \\ud800"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"xx": ["q"]}}', ["(docid c)", "language code 'xx'"]),
        ('{"docid": "c", "text": "C.", "generated_queries": {"Finnish": ["q"]}}', ["(docid c)", "mean 'fi'"]),
        ('{"docid": "c", "text": "C.", "queries": {"fi": ["q"]}}', ["'queries' where 'generated_queries' is read"]),
        ('{"docid": "a", "text": "C."}', ["docid 'a' is already at", "line 1", "Give every passage its own docid"]),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_fault_on_line_three(tmp_path, name, line, phrases):
    path = tmp_path / name
    data = "".join(json.dumps(record) + "\n" for record in GOOD) + line + '\n{"docid": "z", "text": "Z."}\n'
    path.write_bytes(gzip.compress(data.encode()) if name.endswith(".gz") else data.encode())
    message = fault(path)
    assert message.startswith(f"{path}, line 3")
    for phrase in phrases:
        assert phrase in message


def test_duplicates_of_a_docid(tmp_path):
    directory = tmp_path / "corpus"
    directory.mkdir()
    first = write_jsonl(directory / "1.jsonl", GOOD)
    second = write_jsonl(directory / "2.jsonl", [{"docid": "c", "text": "C."}, {"docid": "b", "text": "Other."}])
    assert fault(directory).startswith(f"{second}, line 2 (docid b): docid 'b' is already at {first}, line 2")
    path = write_jsonl(tmp_path / "a.jsonl", [{"docid": 7, "text": "A."}, {"docid": "7", "text": "B."}])
    assert "docid '7' is already at" in fault(path)
    records = [{"docid": f"p{row}", "text": "T."} for row in range(5000)]
    records[4321]["docid"] = "p17"
    message = fault(write_jsonl(tmp_path / "a.jsonl.gz", records))
    assert "line 4322 (docid p17)" in message and "line 18 " in message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"generated_queries": {"fi": ["q"]}}'], ", line 2: no docid"),
        (['{"docid": "b"}'], ", line 2 (docid b): no 'generated_queries'"),
        (['{"docid": "b", "generated_queries": {"xx": ["q"]}}'], ", line 2 (docid b): unknown language code 'xx'"),
        (['{"docid": "b", "generated_queries": {"fi": [""]}}'],
         ", line 2 (docid b): generated query 1 in 'fi' is empty"),
        (["{"], ", line 2: malformed JSON"),
        (['{"docid": "b", "generated_queries": {"ar": ["q"]}}', '{"docid": "a", "generated_queries": {"ar": ["q"]}}'],
         ", line 3: docid 'a' is already on line 1"),
        (['{"docid": "x", "generated_queries": {}}', '{"docid": "y", "generated_queries": {"ar": ["q"]}}'],
         ", line 2: generated queries for docid 'x', which is not in {corpus} (2 such lines in all)"),
        (['{"docid": "c", "generated_queries": {"fi": ["q"]}}'],
         ", line 2 (docid c): queries in 'fi' were given before, by the passage itself or by another file"),
    ],
)  # fmt: skip
def test_faults_in_a_query_file(tmp_path, lines, message):
    corpus = write_jsonl(
        tmp_path / "a.jsonl", [*GOOD, {"docid": "c", "text": "C.", "generated_queries": {"fi": ["q"]}}]
    )
    queries = tmp_path / "q.jsonl"
    queries.write_text("\n".join(['{"docid": "a", "generated_queries": {"fi": ["q"]}}', *lines, ""]))
    assert fault(corpus, [queries]).startswith(f"{queries}{message.replace('{corpus}', str(corpus))}")


def test_a_language_in_two_query_files(tmp_path):
    lines = [{"docid": "b", "generated_queries": {"fi": ["q"]}}]
    files = [write_jsonl(tmp_path / name, lines) for name in ("1.jsonl", "2.jsonl")]
    message = fault(write_jsonl(tmp_path / "a.jsonl", GOOD), files)
    assert message.startswith(f"{files[1]}, line 1 (docid b): queries in 'fi' were given before")


def test_empty_corpus_and_missing_paths(tmp_path):
    empty = tmp_path / "a.jsonl"
    empty.touch()
    assert fault(empty) == f"{empty}: no passage in it. Pass a corpus with at least one."
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b""))
    assert "no passage in it" in fault(tmp_path / "b.jsonl.gz")
    assert f"{tmp_path / 'none'}: no such file or directory" in fault(tmp_path / "none")
    assert f"{tmp_path / 'none'}: no such file or directory" in fault(empty, [tmp_path / "none"])
    directory = tmp_path / "directory"
    directory.mkdir()
    assert f"{directory}: an empty directory" in fault(directory)
    write_jsonl(directory / "a.jsonl", GOOD)
    (directory / "notes.txt").touch()
    assert f"{directory / 'notes.txt'}: not a corpus file" in fault(directory)
    (directory / "notes.txt").unlink()
    (directory / "deeper.jsonl").mkdir()
    assert f"{directory / 'deeper.jsonl'}: not a corpus file" in fault(directory)


def test_not_utf8_and_broken_gzip(tmp_path):
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(json.dumps(GOOD[0]).encode() + b'\n{"docid": "b", "text": "Kivel\xe4"}\n')
    assert f"{latin}, after line" in fault(latin) and "not UTF-8" in fault(latin)
    torn = write_jsonl(tmp_path / "torn.jsonl.gz", corpus_records(500))
    torn.write_bytes(torn.read_bytes()[:-3000])
    assert f"{torn}, after line" in fault(torn) and "broken gzip data" in fault(torn)


def test_languages_that_no_passage_has(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [GOOD[0] | {"generated_queries": {"fi": ["q"], "ar": ["q"]}}])
    assert fault(path, languages=["fi", "te"]) == (
        f"{path}: no generated queries in te. It has ar, fi; choose --languages among them."
    )
    assert "It has none at all" in fault(write_jsonl(tmp_path / "b.jsonl", GOOD), languages=["fi"])

"""Topics of every kind, what Pyserini reads of them alike, and the maps from topic to language."""

import gzip
import json

import ir_datasets
import pytest
from helpers import write_jsonl

from pyserini_xqg import datasets
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.topics import (
    question_texts,
    read_topic_languages,
    read_topics,
    split_by_language,
    stock_reads,
)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    datasets.register()
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))


TOPICS = {"1": "Mikä joki?", "2": "どこ", "ten": "with trailing blank"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", "1\tMikä joki?\n2\t どこ\r\nten\twith trailing blank \n"),
        ("t.txt", "\ufeff1\tMikä joki?\n2\tどこ\n ten\twith trailing blank"),
        ("t.jsonl", '{"id": "1", "question": "Mikä joki?", "answers": []}\n{"_id": 2, "text": "どこ"}\n'
         '{"query_id": "ten", "query": "with trailing blank "}\n'),
        ("t.json", '{\n "1": {"title": "Mikä joki?"},\n "2": {"title": "どこ"}, "ten": "with trailing blank"}'),
        ("line.json", '{"1": {"title": "Mikä joki?"}, "2": {"title": "どこ"}, "ten": "with trailing blank"}'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_topics_of_every_kind(tmp_path, name, content, packed):
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert read_topics(str(path)) == TOPICS


@pytest.mark.parametrize("source", ["irds:xqg-sample/fi", "xqg-sample/fi"])
def test_topics_of_a_dataset(source):
    expected = {query.query_id: query.text for query in ir_datasets.load("xqg-sample/fi").queries_iter()}
    assert read_topics(source) == expected and len(expected) > 5
    assert question_texts("xqg-sample/fi", None) == expected


def test_topics_of_several_sources(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tx\n")
    (tmp_path / "b.tsv").write_text("b\ty\n")
    paths = [str(tmp_path / "a.tsv"), str(tmp_path / "b.tsv")]
    assert read_topics(paths) == {"a": "x", "b": "y"} == question_texts("xqg-sample/fi", None, paths)
    with pytest.raises(XqgError, match=r"a\.tsv, line 1: topic 'a' is already at .*a\.tsv, line 1"):
        read_topics([*paths, paths[0]])


def test_texts_beside_answers(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "1", "question": "mikä", "answers": []}, {"id": 2, "answers": []}])
    assert question_texts(None, str(path)) == {"1": "mikä"}
    assert question_texts(None, None) == {}
    with pytest.raises(XqgError, match="line 2: no topic or no text"):
        read_topics(str(path))


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("t.tsv", ["1\ta", "2 b"], ", line 2: no tab"),
        ("t.tsv", ["1\ta", ""], ", line 2: no tab"),
        ("t.tsv", ["1\ta", "\tb"], ", line 2: the topic or its text is empty"),
        ("t.tsv", ["1\ta", "2\t "], ", line 2: the topic or its text is empty"),
        ("t.tsv", ["1\ta", "2\tb", "1\tc"], ", line 3: topic '1' is already at"),
        ("t.tsv", ["1\ta", "q 1\tb"], ", line 2: topic 'q 1' has white space in its id"),
        ("t.tsv", ["1\ta\tdropped"], ", line 1: more than one tab"),
        ("t.tsv", [], ": no topic in it"),
        ("t.jsonl", [], ": no topic in it"),
        ("t.tsv", ["<top>", "<num> Number: 1"], ": topics in TREC's own format"),
        ("t.jsonl", ["q1 who"], ", line 1: malformed JSON"),
        ("t.jsonl", ['{"id": "1"}'], ", line 1: no topic or no text"),
        ("t.jsonl", ['{"id": "1", "question": 7}'], ", line 1: no topic or no text"),
        ("t.jsonl", ['{"id": true, "question": "x"}'], ", line 1: no topic or no text"),
        ("t.jsonl", ['{"id": "1", "question": " "}'], ", line 1: the topic or its text is empty"),
        ("t.jsonl", ['{"id": "1", "text": "x"}', '{"id": 1, "text": "y"}'], ", line 2: topic '1' is already at"),
        ("t.json", ["{", '"1": }'], ": malformed JSON (Expecting value: line 2"),
        ("t.json", ["[", "1]"], ", line 1: JSON over several lines"),
        ("t.json", ['{"1": {"text": "x"}}'], ", topic '1': no topic or no text"),
    ],
)
def test_bad_topics(tmp_path, name, lines, message):
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(XqgError) as caught:
        read_topics(str(path))
    assert str(caught.value).startswith(f"{path}{message}")


def test_other_bad_sources(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"1\tKivel\xe4\n")
    for source, message in [
        (tmp_path / "t.tsv", "not UTF-8"),
        (tmp_path / "none.tsv", "no such file, and no dataset"),
        (tmp_path, "a directory where a file"),
        ("irds:xqg-sample", "irds:xqg-sample: this dataset has no queries"),
        ("irds:no-such-set", "no-such-set"),
    ]:
        with pytest.raises(XqgError, match=message):
            read_topics(str(source))


@pytest.mark.parametrize(
    ("name", "ids", "outcome"),
    [
        ("t.tsv", ["1", "10"], True),
        ("t.txt", ["-1018987027025691298", "+7"], True),  # strings to Pyserini, being no numbers of its kind
        ("t.tsv", ["²", "1"], True),
        ("t.tsv", ["\ufeff1", "2"], False),
        ("t.whatever", ["1"], False),
        ("t.tsv", ["1", "01"], "Pyserini would make topic '01' 1,"),
        ("t.tsv", ["+7", "8"], "Pyserini would make topic '+7' 7,"),
        ("t.tsv", ["007", "q8"], "Pyserini would make topic '007' 7,"),
    ],
)
def test_what_stock_reads_alike(tmp_path, name, ids, outcome):
    path = tmp_path / name
    path.write_text("".join(f"{topic}\ta question\n" for topic in ids), encoding="utf-8")
    if isinstance(outcome, bool):
        assert stock_reads(str(path)) is outcome
        assert not stock_reads("irds:xqg-sample/fi")
    else:
        with pytest.raises(XqgError) as caught:
            stock_reads(str(path))
        assert outcome in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_maps(tmp_path, packed):
    end = ".gz" * packed
    for name in ("map.tsv", "map.txt"):
        data = b"1\tfi\nten\tar\r\n3\t te \n"
        (tmp_path / (name + end)).write_bytes(gzip.compress(data) if packed else data)
        assert read_topic_languages(str(tmp_path / (name + end))) == {"1": "fi", "ten": "ar", "3": "te"}
    records = [{"id": "a", "lang": "fi", "question": "?"}, {"query_id": 2, "lang": "ja"}]
    assert read_topic_languages(str(write_jsonl(tmp_path / f"map.jsonl{end}", records))) == {"a": "fi", "2": "ja"}


def test_published_xor_tydi_questions_are_a_map(shared_data):
    path = shared_data / "xor-tydi" / "xor_dev_retrieve_eng_span_v1_1.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    with open(path, encoding="utf-8") as lines:
        expected = {record["id"]: record["lang"] for record in map(json.loads, lines)}
    assert read_topic_languages(str(path)) == expected


def test_irds_map():
    queries = list(ir_datasets.load("xqg-sample/all").queries_iter())
    languages = read_topic_languages("irds:xqg-sample/all")
    assert languages == {query.query_id: query.lang for query in queries}
    assert len(set(languages.values())) == 7
    assert set(read_topic_languages("xqg-sample/ko").values()) == {"ko"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\txx", "unknown language code 'xx'"),
        ("2\tFinnish", "unknown language code 'Finnish'. Did you mean 'fi'?"),
        ("2 fi", "no tab. Every line must be a topic, a tab, and its text or language"),
        ("\tfi", "no topic or no language"),
        ("1\tar", "topic '1' is in 'fi' on an earlier line"),
        ('{"lang": "fi"}', "no topic or no language"),
        ('{"id": "2"}', "no topic or no language"),
        ('{"id": "2", "lang": ["fi"]}', "no topic or no language"),
        ('{"id": ["2"], "lang": "fi"}', "no topic or no language"),
        ('{"id": "2", "lang": "xx"}', "unknown language code 'xx'"),
        ('{"id": "1", "lang": "ar"}', "topic '1' is in 'fi' on an earlier line"),
    ],
)
def test_bad_maps(tmp_path, line, message):
    path = tmp_path / ("map.jsonl" if line.startswith("{") else "map.tsv")
    first = '{"id": "1", "lang": "fi"}' if line.startswith("{") else "1\tfi"
    path.write_text(f"{first}\n{line}\n")
    with pytest.raises(XqgError) as caught:
        read_topic_languages(str(path))
    assert str(caught.value).startswith(f"{path}, line 2: {message}")


def test_other_maps(tmp_path):
    (tmp_path / "empty.tsv").touch()
    assert read_topic_languages("te") == "te"
    for source, message in [
        (tmp_path / "none.tsv", r"--topic-languages .*none\.tsv: neither a language code nor a file"),
        ("finnish", "--topic-languages finnish: neither"),
        (tmp_path, "a directory where a file"),
        (tmp_path / "empty.tsv", r"empty\.tsv: no topic in it"),
    ]:
        with pytest.raises(XqgError, match=message):
            read_topic_languages(str(source))


INDEXES = {"ar": "ar", "fi": "fi", "te": "te"}


def test_topics_are_split_by_language():
    topics = {"3": "c", 1: "a", "2": "b", "4": "d"}
    languages = {"1": "fi", "2": "ar", "3": "fi", "4": "ar", "unused": "te"}
    routed = split_by_language(topics, languages, INDEXES, "index")
    assert list(routed) == ["ar", "fi"]
    assert [list(part.items()) for part in routed.values()] == [[("2", "b"), ("4", "d")], [("3", "c"), (1, "a")]]
    assert split_by_language({"1": "a", "2": "b"}, "te", INDEXES, "index") == {"te": {"1": "a", "2": "b"}}
    with pytest.raises(XqgError, match="topic '2': no language given"):
        split_by_language({"1": "a", "2": "b"}, {"1": "fi"}, INDEXES, "index")
    for asked in ("ja", {"1": "ja"}):
        with pytest.raises(XqgError, match=r"topic '1' is in 'ja', for which here has no index\. It has ar, fi, te"):
            split_by_language({"1": "a"}, asked, INDEXES, "here")

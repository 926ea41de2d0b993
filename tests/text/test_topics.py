"""Topics files checked before Pyserini reads them, and the maps from topic to language."""

import gzip
import json

import ir_datasets
import pytest
from helpers import write_jsonl

from pyserini_xqg import datasets
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.topics import (
    check_topics_file,
    irds_queries,
    irds_topics,
    read_topic_languages,
    split_by_language,
)


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    datasets.register()
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.tsv.gz"])
def test_good_topics(tmp_path, name):
    data = "1\tMikä joki?\n2\tどこ\r\nten\twith trailing blank \n".encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert check_topics_file(tmp_path / name) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1\ta", "2 b"], "line 2: no tab"),
        (["1\ta", ""], "line 2: no tab"),
        (["1\ta", "\tb"], "line 2: the topic or the query is empty"),
        (["1\ta", "2\t "], "line 2: the topic or the query is empty"),
        (["1\ta", "2\tb", "1\tc"], "line 3: topic '1' is already on line 1"),
    ],
)
def test_bad_topics(tmp_path, lines, message):
    path = tmp_path / "t.tsv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(XqgError) as caught:
        check_topics_file(path)
    assert str(caught.value).startswith(f"{path}, {message}")


def test_other_bad_topics_files(tmp_path):
    path = tmp_path / "t.tsv"
    path.touch()
    with pytest.raises(XqgError, match=r"t\.tsv: no topic in it"):
        check_topics_file(path)
    path.write_bytes(b"1\tKivel\xe4\n")
    with pytest.raises(XqgError, match="not UTF-8"):
        check_topics_file(path)
    with pytest.raises(XqgError, match="no such file"):
        check_topics_file(tmp_path / "none.tsv")
    with pytest.raises(XqgError, match="a directory where a file"):
        check_topics_file(tmp_path)


def test_irds_topics_are_the_datasets_queries():
    expected = {query.query_id: {"title": query.text} for query in ir_datasets.load("xqg-sample/fi").queries_iter()}
    assert irds_topics("irds:xqg-sample/fi") == expected
    assert len(expected) > 5


def test_irds_without_queries():
    with pytest.raises(XqgError, match="irds:xqg-sample: this dataset has no queries"):
        irds_queries("irds:xqg-sample")
    with pytest.raises(XqgError, match="no-such-set"):
        irds_topics("irds:no-such-set")


def test_one_language_for_all():
    assert read_topic_languages("te") == "te"


@pytest.mark.parametrize("name", ["map.tsv", "map.txt", "map.tsv.gz"])
def test_tsv_map(tmp_path, name):
    data = b"1\tfi\nten\tar\r\n3\t te \n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert read_topic_languages(str(tmp_path / name)) == {"1": "fi", "ten": "ar", "3": "te"}


@pytest.mark.parametrize("name", ["map.jsonl", "map.jsonl.gz"])
def test_jsonl_map(tmp_path, name):
    path = write_jsonl(tmp_path / name, [{"id": "a", "lang": "fi", "question": "?"}, {"id": 2, "lang": "ja"}])
    assert read_topic_languages(str(path)) == {"a": "fi", "2": "ja"}


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
    assert set(read_topic_languages("irds:xqg-sample/ko").values()) == {"ko"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2\txx", "line 2: unknown language code 'xx'"),
        ("2\tFinnish", "line 2: unknown language code 'Finnish'. Did you mean 'fi'?"),
        ("2 fi", "line 2: no topic or no language. Every line must be topic<TAB>language"),
        ("\tfi", "line 2: no topic or no language"),
        ("1\tar", "line 2: topic '1' is in 'fi' on an earlier line"),
    ],
)
def test_bad_tsv_map(tmp_path, line, message):
    path = tmp_path / "map.tsv"
    path.write_text(f"1\tfi\n{line}\n")
    with pytest.raises(XqgError) as caught:
        read_topic_languages(str(path))
    assert str(caught.value).startswith(f"{path}, {message}")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"lang": "fi"}, "line 2: no topic or no language"),
        ({"id": "2"}, "line 2: no topic or no language"),
        ({"id": "2", "lang": ["fi"]}, "line 2: no topic or no language"),
        ({"id": ["2"], "lang": "fi"}, "line 2: no topic or no language"),
        ({"id": "2", "lang": "xx"}, "line 2: unknown language code 'xx'"),
        ({"id": "1", "lang": "ar"}, "line 2: topic '1' is in 'fi' on an earlier line"),
    ],
)
def test_bad_jsonl_map(tmp_path, record, message):
    path = write_jsonl(tmp_path / "map.jsonl", [{"id": "1", "lang": "fi"}, record])
    with pytest.raises(XqgError) as caught:
        read_topic_languages(str(path))
    assert str(caught.value).startswith(f"{path}, {message}")


def test_other_bad_maps(tmp_path):
    with pytest.raises(XqgError, match=r"--topic-languages .*none\.tsv: neither a language code nor a file"):
        read_topic_languages(str(tmp_path / "none.tsv"))
    with pytest.raises(XqgError, match="--topic-languages finnish: neither"):
        read_topic_languages("finnish")
    with pytest.raises(XqgError, match="a directory where a file"):
        read_topic_languages(str(tmp_path))
    (tmp_path / "empty.tsv").touch()
    with pytest.raises(XqgError, match=r"empty\.tsv: no topic in it"):
        read_topic_languages(str(tmp_path / "empty.tsv"))


INDEXES = {"ar": "ar", "fi": "fi", "te": "te"}


def test_split_keeps_the_order_of_topics_and_of_indexes():
    topics = {"3": "c", 1: "a", "2": "b", "4": "d"}
    languages = {"1": "fi", "2": "ar", "3": "fi", "4": "ar", "unused": "te"}
    routed = split_by_language(topics, languages, INDEXES, "index")
    assert list(routed) == ["ar", "fi"]
    assert [list(part.items()) for part in routed.values()] == [[("2", "b"), ("4", "d")], [("3", "c"), (1, "a")]]


def test_split_by_one_language():
    assert split_by_language({"1": "a", "2": "b"}, "te", INDEXES, "index") == {"te": {"1": "a", "2": "b"}}


def test_split_faults():
    with pytest.raises(XqgError, match="topic '2': no language given"):
        split_by_language({"1": "a", "2": "b"}, {"1": "fi"}, INDEXES, "index")
    with pytest.raises(XqgError, match=r"topic '1' is in 'ja', for which here has no index\. It has ar, fi, te"):
        split_by_language({"1": "a"}, {"1": "ja"}, INDEXES, "here")
    with pytest.raises(XqgError, match="topic '1' is in 'ja'"):
        split_by_language({"1": "a"}, "ja", INDEXES, "here")


def test_a_second_tab_is_refused(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text("1\tone question\twhat Pyserini would drop\n", encoding="utf-8")
    with pytest.raises(XqgError, match=r"topics\.tsv, line 1: more than one tab"):
        check_topics_file(path)


@pytest.mark.parametrize(("ids", "faulty"), [(["1", "01"], "01"), (["+7", "8"], r"\+7"), (["007", "q8"], "007")])
def test_topics_that_pyserini_would_rename_are_refused(tmp_path, ids, faulty):
    path = tmp_path / "topics.tsv"
    path.write_text("".join(f"{topic}\ta question\n" for topic in ids), encoding="utf-8")
    with pytest.raises(XqgError, match=rf"Pyserini would make topic '{faulty}' "):
        check_topics_file(path)


def test_signed_and_huge_topics_are_strings_to_pyserini(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text("-1018987027025691298\ta question\n+7\tanother\n", encoding="utf-8")
    check_topics_file(path)

"""The ir_datasets registrations, on the published files where they are at hand and on small files otherwise."""

import functools
import gzip
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path

import ir_datasets
import pytest
from ir_datasets.datasets.base import Dataset
from scipy.spatial.distance import cdist
from sklearn.feature_extraction.text import CountVectorizer

from pyserini_xqg import datasets
from pyserini_xqg.core import cli
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES
from pyserini_xqg.datasets import ids, published, xor_tydi, xqg_sample, xquad
from pyserini_xqg.datasets.__main__ import main
from pyserini_xqg.datasets.components import Docs
from pyserini_xqg.datasets.published import PublishedFile
from pyserini_xqg.datasets.records import XqgDoc
from pyserini_xqg.text.corpus import Corpus

DEV, TRAIN = "xor_dev_retrieve_eng_span_v1_1.jsonl", "xor_train_retrieve_eng_span.jsonl"
SPLITS = {"dev": DEV, "train": TRAIN}
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty ir_datasets home, no published data, and a network that is out of reach."""
    path = tmp_path / "home"
    monkeypatch.setenv("IR_DATASETS_HOME", str(path))
    monkeypatch.delenv(published.DATA_VARIABLE, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, NOWHERE)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return path


@pytest.fixture
def real(shared_data, home, monkeypatch):
    """The published files, found through the environment variable."""
    for name in (f"xor-tydi/{DEV}", f"xor-tydi/{TRAIN}", "xquad/xquad.en.json"):
        if not (shared_data / name).is_file():
            pytest.skip(f"no {name} in {shared_data}")
    monkeypatch.setenv(published.DATA_VARIABLE, str(shared_data))
    return shared_data


@pytest.fixture
def serve(tmp_path):
    """Serve a directory over HTTP; yields (directory, URL, requests seen)."""
    directory = tmp_path / "served"
    directory.mkdir()
    seen = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            seen.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield directory, f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


@pytest.fixture
def loo(real):
    """Topics, answers and passages that other code made from the same XQuAD files."""
    if not (real / "xquad-loo").is_dir():
        pytest.skip(f"no xquad-loo in {real}")
    return real / "xquad-loo"


def jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


@pytest.fixture
def command(capsys):
    """Run the command in this process: (status, standard output, standard error)."""

    def run(*args: str) -> tuple[int, str, str]:
        status: object = 0
        try:
            cli.run(lambda: main(list(args)))
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        if isinstance(status, str):
            status, err = 1, err + status + "\n"
        return status or 0, out, err

    return run


# Registration


def test_register_adds_what_is_missing_and_leaves_what_is_there():
    datasets.register()
    registered = ir_datasets.registry._registered
    before = dict(registered)
    datasets.register()
    assert registered == before and list(registered) == list(before)
    registered.pop("xquad/ru")
    datasets.register()
    assert registered["xquad/de"] is before["xquad/de"]
    assert registered["xquad/ru"] is not before["xquad/ru"]
    assert registered["xquad/ru"].queries_lang() == "ru"


def test_ids_are_those_built():
    assert tuple(xor_tydi.build() | xquad.build() | xqg_sample.build()) == ids.DATASET_IDS
    assert len(ids.DATASET_IDS) == 17 + 13 + 7 + 9


def test_registration_opens_nothing_and_import_is_light(home):
    code = (
        "import sys, pyserini_xqg.datasets as d\n"
        "assert 'ir_datasets' not in sys.modules\n"
        "import ir_datasets, builtins, socket\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "sys.addaudithook(lambda event, args: opened.append(event) if event.startswith('socket.') else None)\n"
        "d.register(); d.register()\n"
        "print([n for n in opened if n.endswith(('.jsonl', '.json', '.tsv', '.yaml', '.txt')) or 'socket' in n])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
    assert not [name for name in ("xor-tydi", "xquad", "xqg-sample") if (home / name).exists()]


def test_load_unknown_names_the_known():
    with pytest.raises(XqgError, match=r"unknown dataset 'xor-tydi/dev/de'.*xor-tydi/dev/te.*xquad/zh.*xqg-sample/all"):
        datasets.load("xor-tydi/dev/de")
    assert datasets.load("vaswani").has_docs()  # ir_datasets' own


def test_metadata_have_the_counts():
    known = {name: datasets.load(name).metadata() for name in ("xqg-sample/fi", "xqg-sample/all", "xquad/de")}
    assert known["xqg-sample/fi"] == {"docs": {"count": 48}, "queries": {"count": 48}, "qrels": {"count": 48}}
    assert known["xqg-sample/all"]["queries"] == {"count": 336}
    assert known["xquad/de"] == {"docs": {"count": 240}, "queries": {"count": 1190}, "qrels": {"count": 1190}}
    assert datasets.load("xor-tydi/dev").metadata() == {"docs": {}, "queries": {"count": 2110}}
    assert datasets.load("xquad-loo/all").metadata()["queries"] == {"count": 960}


def test_documentation():
    for name in ids.DATASET_IDS:
        documentation = datasets.load(name).documentation()
        assert {"pretty_name", "desc", "bibtex", "license", "data_access"} <= documentation.keys()
        assert len(documentation["desc"]) > 50 and not {"{", "}"} & set(documentation["desc"])
        assert "@" in documentation["bibtex"]
    assert "Arabic" in datasets.load("xquad-loo/ar").documentation()["desc"]


# XOR-TyDi on the published files


@pytest.mark.parametrize("split", SPLITS)
def test_xor_tydi_questions_are_the_published_ones(real, split):
    raw = jsonl(real / "xor-tydi" / SPLITS[split])
    expected = [(r["id"], r["question"], r["lang"].replace(" ", ""), tuple(r["answers"])) for r in raw]
    everything = datasets.load(f"xor-tydi/{split}")
    assert [tuple(query) for query in everything.queries_iter()] == expected
    assert everything.queries_count() == len(expected) == {"dev": 2110, "train": 15250}[split]
    assert everything.queries_lang() is None
    for lang, (questions, spans) in xor_tydi.COUNTS[split].items():
        one = datasets.load(f"xor-tydi/{split}/{lang}")
        mine = [record for record in expected if record[2] == lang]
        assert [tuple(query) for query in one.queries_iter()] == mine
        assert one.queries_count() == len(mine) == questions
        assert sum(any(answer not in ("yes", "no") for answer in record[3]) for record in mine) == spans
        assert one.queries_lang() == lang


def test_xor_tydi_dev_counted_questions():
    """1,928 development questions have an answer other than yes or no (paper's repository, FACTS)."""
    assert sum(spans for _, spans in xor_tydi.COUNTS["dev"].values()) == 1928


def test_xor_tydi_shares_its_passages():
    datasets.register()
    assert ir_datasets.docs_parent_id("xor-tydi/train/ko") == "xor-tydi"
    assert not datasets.load("xor-tydi/dev/ko").has_qrels()
    assert datasets.load("xor-tydi").docs_count() is None  # and no attempt at a download


# XQuAD on the published files


def test_xquad_passages_are_those_of_xquad_loo(loo):
    loo = jsonl(loo / "passages.jsonl")
    dataset = datasets.load("xquad")
    assert [tuple(doc) for doc in dataset.docs_iter()] == [(d["docid"], d["title"], d["text"]) for d in loo]
    assert dataset.docs_count() == len(loo) == 240
    store = dataset.docs_store()
    assert store.get("xquad-239").text == loo[239]["text"]
    assert list(store.get_many(["xquad-003", "xquad-000", "no such id"])) == ["xquad-000", "xquad-003"]
    assert [doc.doc_id for doc in dataset.docs_iter()[10:12]] == ["xquad-010", "xquad-011"]
    assert dataset.docs.lookup("xquad-001").default_text() == f"{loo[1]['title']} {loo[1]['text']}"


@pytest.mark.parametrize("lang", ["en", "ar", "de", "es", "ru"])
def test_xquad_questions(real, lang):
    raw = [
        (question, paragraph["context"])
        for article in json.loads((real / "xquad" / f"xquad.{lang}.json").read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    dataset = datasets.load(f"xquad/{lang}")
    queries = list(dataset.queries_iter())
    assert [(q.query_id, q.text, q.lang) for q in queries] == [
        (f"{lang}-{r['id']}", r["question"], lang) for r, _ in raw
    ]
    assert [q.native_answers for q in queries] == [tuple(a["text"] for a in r["answers"]) for r, _ in raw]
    assert len(queries) == dataset.queries_count() == dataset.qrels_count() == 1190
    texts = {doc.doc_id: doc.text for doc in dataset.docs_iter()}
    qrels = dataset.qrels_dict()
    for query, (_, context) in zip(queries, raw, strict=True):
        ((passage, relevance),) = qrels[query.query_id].items()
        assert relevance == 1
        assert all(answer in texts[passage] for answer in query.answers)
        assert all(answer in context for answer in query.native_answers)
        if lang == "en":
            assert query.answers == query.native_answers
            assert context == texts[passage]
    if lang != "en":
        assert sum(query.answers != query.native_answers for query in queries) > 500
    documented = datasets.load(f"xquad/{lang}").documentation()["desc"]
    assert str(sum(q.text != q.text.strip() for q in queries)) in documented


# xquad-loo


def test_xquad_loo_passages_are_those_made_elsewhere_without_near_copies(loo):
    """Record for record the file that other code made, but for near copies of topics, which are found anew here."""
    grams = CountVectorizer(
        analyzer="char",
        ngram_range=(3, 3),
        preprocessor=lambda text: re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold()),
    )
    copies = set()
    for lang in ids.XQUAD_LOO_LANGUAGES:
        articles = json.loads((loo.parent / "xquad" / f"xquad.{lang}.json").read_bytes())["data"]
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
        for number, paragraph in enumerate(paragraphs):
            counts = grams.fit_transform([question["question"] for question in paragraph["qas"]]).toarray() > 0
            similar = 1 - cdist(counts[:1], counts, "jaccard")[0] >= 0.6
            copies |= {(number, place) for place in similar.nonzero()[0]} - {(number, 0)}
    assert len(copies) == 15
    expected = jsonl(loo / "passages.jsonl")
    for number, record in enumerate(expected):
        for lang, texts in record["generated_queries"].items():
            record["generated_queries"][lang] = [t for j, t in enumerate(texts, 1) if (number, j) not in copies]
    dataset = datasets.load("xquad-loo")
    made = [
        {"docid": d.doc_id, "title": d.title, "text": d.text, "generated_queries": d.generated_queries}
        for d in dataset.docs_iter()
    ]
    assert made == expected
    assert dataset.docs_count() == len(made) == 240
    assert dataset.docs_store().get("xquad-000").generated_queries == made[0]["generated_queries"]
    numbers = {lang: [len(record["generated_queries"][lang]) for record in made] for lang in ("ar", "de", "es", "ru")}
    for of_language in numbers.values():
        assert (sum(of_language), min(of_language), max(of_language), of_language.count(0)) == (935, 0, 15, 3)


@pytest.mark.parametrize("lang", ["en", "ar", "de", "es", "ru"])
def test_xquad_loo_topics_are_those_made_elsewhere(loo, lang):
    dataset = datasets.load(f"xquad-loo/{lang}")
    queries = list(dataset.queries_iter())
    tsv = "".join(f"{query.query_id}\t{query.text}\n" for query in queries)
    assert tsv.encode() == (loo / f"topics.{lang}.tsv").read_bytes()
    assert [(q.query_id, q.text, list(q.answers), q.lang) for q in queries] == [
        (record["id"], record["question"], record["answers"], record["lang"])
        for record in jsonl(loo / f"answers.{lang}.jsonl")
    ]
    qrels = "".join(f"{q.query_id} {q.iteration} {q.doc_id} {q.relevance}\n" for q in dataset.qrels_iter())
    assert qrels.encode() == (loo / f"qrels.{lang}.txt").read_bytes()
    assert dataset.queries_count() == len(queries) == 240


def test_xquad_loo_all_is_the_four_languages_together(real):
    every = datasets.load("xquad-loo/all")
    parts = [datasets.load(f"xquad-loo/{lang}") for lang in ids.XQUAD_LOO_QUERY_LANGUAGES]
    assert list(every.queries_iter()) == [query for part in parts for query in part.queries_iter()]
    assert list(every.qrels_iter()) == [qrel for part in parts for qrel in part.qrels_iter()]
    assert every.queries_count() == 960
    docs = every.docs_store()
    for query, qrel in zip(every.queries_iter(), every.qrels_iter(), strict=True):
        assert query.text not in docs.get(qrel.doc_id).generated_queries[query.lang]


def test_xquad_loo_without_files_says_what_to_fetch():
    with pytest.raises(XqgError, match=r"xquad\.(en|ar)\.json: the download failed.*PYSERINI_XQG_DATA"):
        list(datasets.load("xquad-loo").docs_iter())


# XQuAD on small files


def squad(path: Path, *paragraphs: tuple[str, list[tuple[str, str, str]]]) -> Path:
    """A file in SQuAD's format: paragraphs of (context, [(id, question, answer)])."""
    content = [
        {
            "context": text,
            "qas": [{"id": i, "question": q, "answers": [{"text": a, "answer_start": 0}]} for i, q, a in qas],
        }
        for text, qas in paragraphs
    ]
    path.write_text(
        json.dumps({"version": "1.1", "data": [{"title": "A_title", "paragraphs": content}]}), encoding="utf-8"
    )
    return path


def test_align_goes_by_id_not_by_order(tmp_path):
    english = squad(tmp_path / "en", ("One.", [("a", "a?", "1"), ("b", "b?", "2")]), ("Two.", [("c", "c?", "3")]))
    german = squad(
        tmp_path / "de", ("Zwei.", [("c", "C?", "drei")]), ("Eins.", [("b", "B?", "zwei"), ("a", "A?", "eins")])
    )
    aligned = [(q.query_id, q.text, q.answers, q.native_answers, d) for q, d in xquad.align(english, german, "de")]
    assert aligned == [
        ("de-c", "C?", ("3",), ("drei",), "xquad-001"),
        ("de-b", "B?", ("2",), ("zwei",), "xquad-000"),
        ("de-a", "A?", ("1",), ("eins",), "xquad-000"),
    ]


# Local copies


def test_a_copy_in_the_home_is_found(real, home, monkeypatch):
    (home / "xor-tydi").mkdir(parents=True)
    shutil.copy(real / "xor-tydi" / DEV, home / "xor-tydi")
    monkeypatch.delenv(published.DATA_VARIABLE)
    assert datasets.load("xor-tydi/dev").queries_count() == 2110
    assert xor_tydi.QUESTIONS["dev"].path() == home / "xor-tydi" / DEV
    assert len(list(datasets.load("xor-tydi/dev/te").queries_iter())) == 238


def test_a_changed_copy_is_refused(real, tmp_path, monkeypatch):
    copy = tmp_path / "data" / "xor-tydi" / DEV
    copy.parent.mkdir(parents=True)
    shutil.copy(real / "xor-tydi" / DEV, copy)
    monkeypatch.setenv(published.DATA_VARIABLE, str(tmp_path / "data"))
    assert len(list(datasets.load("xor-tydi/dev").queries_iter())) == 2110
    copy.write_bytes(copy.read_bytes().replace(b"Portland", b"Portlant", 1))  # after it was read, too
    os.utime(copy, ns=(1, 1))
    changed = (
        rf"{DEV} is not the published file: its SHA-256 is \w{{64}}, expected cfe569e4.*replace it by https://nlp\."
    )
    with pytest.raises(XqgError, match=changed):
        list(datasets.load("xor-tydi/dev/fi").queries_iter())


def test_a_data_directory_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(published.DATA_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(XqgError, match=r"\$PYSERINI_XQG_DATA is '.*missing', which is no directory"):
        list(datasets.load("xor-tydi/dev").queries_iter())


# Downloads


def test_offline(home, monkeypatch):
    monkeypatch.setenv("IR_DATASETS_SKIP_DISK_FREE", "true")  # 13 GB may not be free here
    xor, passages = r"https://nlp\.cs\.washington\.edu/xorqa/XORQA_site/data", datasets.load("xor-tydi/train")
    for ask, url in [
        (datasets.load("xor-tydi/dev/fi").queries_iter, rf"{xor}/xor_dev_retrieve_eng_span_v1_1\.jsonl"),
        (
            datasets.load("xquad/el").queries_iter,
            r"https://raw\.githubusercontent\.com/.*/xquad/master/xquad\.en\.json",
        ),
        (passages.docs_iter, rf"{xor}/models/enwiki_20190201_w100\.tsv"),
        (passages.docs_store, rf"{xor}/models/enwiki_20190201_w100\.tsv"),
    ]:
        with pytest.raises(XqgError, match=rf"{url}: the download failed \(.*put it at {home}.*\$PYSERINI_XQG_DATA"):
            next(iter(ask()))
    assert [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def served(url: str, name: str, data: bytes) -> PublishedFile:
    return PublishedFile("xor-tydi", name, f"{url}/{name}", hashlib.sha256(data).hexdigest())


def test_a_download_is_kept(home, serve):
    directory, url, seen = serve
    data = b"some questions\n" * 1000
    (directory / "q.jsonl").write_bytes(data)
    file = served(url, "q.jsonl", data)
    assert file.path(force=False) == home / "xor-tydi" / "q.jsonl"
    assert not seen
    assert file.path().read_bytes() == data
    assert file.path() == file.path(force=False) == home / "xor-tydi" / "q.jsonl"
    assert len(seen) == 1
    assert sorted(p.name for p in (home / "xor-tydi").iterdir() if p.suffix != ".lock") == ["q.jsonl"]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"x" * 999, "its SHA-256 is .*, expected"),
        (None, "its SHA-256 is .*, expected"),  # 404: ir_datasets takes the server's page
    ],
)
def test_a_wrong_download_is_not_kept(home, serve, sent, message):
    directory, url, _ = serve
    if sent is not None:
        (directory / "q.jsonl").write_bytes(sent)
    file = served(url, "q.jsonl", b"q" * 1000)
    with pytest.raises(XqgError, match=rf"{url}/q\.jsonl: the download failed.*{message}"):
        file.path()
    assert [p.name for p in (home / "xor-tydi").iterdir() if p.suffix != ".lock"] == []
    (directory / "q.jsonl").write_bytes(b"q" * 1000)
    assert file.path().read_bytes() == b"q" * 1000


def test_a_web_page_is_not_taken_for_passages(home, serve):
    _, url, _ = serve
    file = PublishedFile("xor-tydi", "p.tsv", f"{url}/p.tsv", check=xor_tydi.PASSAGES.check)
    with pytest.raises(XqgError, match=r"/p\.tsv: the download failed \(.*columns"):
        file.path()
    assert not file.path(force=False).exists()


# XOR-TyDi's passages

PASSAGES = [("1", 'He said "no".', "Zoë"), ("2", '"Quoted" from the start', 'The "The"'), ("40", "Plain", "")]


def tsv(path: Path, rows=PASSAGES, header: bool = True) -> Path:
    """Written by hand, as DPR's files are quoted."""

    def quoted(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if '"' in text else text

    lines = ["id\ttext\ttitle"] * header + ["\t".join(map(quoted, row)) for row in rows]
    data = ("\n".join(lines) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


DOCS = [XqgDoc(doc_id, title, text) for doc_id, text, title in PASSAGES]


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", ["p.tsv", "p.tsv.gz"])
def test_read_passages_tsv(tmp_path, name, header):
    assert list(xor_tydi.read_passages(tsv(tmp_path / name, header=header))) == DOCS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\ttext\ttitle\n2\ttext\n", "line 2: 2 columns"),
        ("1\ttext\ttitle\n2\ttext\ttitle\tmore\n", "line 2: 4 columns"),
        ("1\ttext\ttitle\n\n", "line 2: 0 columns"),
        ('1\t"open\ttitle\n2\ttext\ttitle\n3\tb"\ttitle\n', "line 3: .*quotation mark"),
        ('1\ttext\t"open\n2\ttext\ttitle\n', "after line 2: unexpected end of data"),
        ('1\t"a" b\ttitle\n', "line 1: .*expected after"),
        ("", "no passages"),
        ("id\ttext\ttitle\n", "no passages"),
        (b"1\ttext\ttitle\n2\tte\xff\ttitle\n", "after line .*decode"),
    ],
)  # fmt: skip
def test_read_passages_refuses(tmp_path, content, message):
    path = tmp_path / "p.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(XqgError, match=rf"p\.tsv.*{message}"):
        list(xor_tydi.read_passages(path))


def test_truncated_gzip(tmp_path):
    path = tsv(tmp_path / "p.tsv.gz", [(str(n), os.urandom(50).hex(), "t") for n in range(2000)])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(XqgError, match=r"p\.tsv\.gz, after line \d+: .*Fetch the file again"):
        list(xor_tydi.read_passages(path))


@pytest.mark.parametrize("name", ["enwiki_20190201_w100.tsv", "enwiki_20190201_w100.tsv.gz"])
def test_xor_tydi_passages_end_to_end(tmp_path, home, monkeypatch, name):
    path = tsv(tmp_path / "data" / "xor-tydi" / name)
    monkeypatch.setenv(published.DATA_VARIABLE, str(tmp_path / "data"))
    dataset = datasets.load("xor-tydi/dev/ja")
    assert list(dataset.docs_iter()) == DOCS
    assert dataset.docs_count() is None  # iterating builds nothing
    store = dataset.docs_store()
    assert store.get("40") == DOCS[2]
    with pytest.raises(KeyError):
        store.get("3")
    assert dataset.docs_count() == 3
    assert list(dataset.docs_iter()) == DOCS  # from the store now
    assert [doc.doc_id for doc in dataset.docs_iter()[1:]] == ["2", "40"]
    assert dataset.docs_lang() == "en"
    assert DOCS[0].default_text() == 'Zoë He said "no".'
    # Another file in its place is not answered from the store of the first.
    tsv(path, [("1", "Changed", "T")])
    assert datasets.load("xor-tydi").docs_store().get("1").text == "Changed"
    assert datasets.load("xor-tydi").docs_count() == 1


def test_a_store_is_built_once_by_processes_that_start_together(tmp_path, monkeypatch):
    path = tsv(
        tmp_path / "data" / "xor-tydi" / "enwiki_20190201_w100.tsv", [(str(n), f"t {n}", "") for n in range(20000)]
    )
    monkeypatch.setenv(published.DATA_VARIABLE, str(path.parent.parent))
    code = "from pyserini_xqg import datasets; print(datasets.load('xor-tydi').docs_store().count())"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(4)
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in running] == ["20000"] * 4


def test_a_store_that_failed_is_built_again(tmp_path, home):
    path = tsv(tmp_path / "p.tsv", [("1", "a", "b"), ("2", "c")])
    file = PublishedFile("xor-tydi", "p.tsv", NOWHERE)
    (home / "xor-tydi").mkdir(parents=True)
    shutil.copy(path, home / "xor-tydi")
    dataset = Dataset(Docs(file, xor_tydi.read_passages, XqgDoc, "xor-tydi"))
    with pytest.raises(XqgError, match="line 3: 2 columns"):
        dataset.docs_store().get("1")
    assert dataset.docs_count() is None
    tsv(home / "xor-tydi" / "p.tsv", [("1", "a", "b"), ("2", "c", "d")])
    assert dataset.docs_store().get("2").text == "c"


# The bundled sample


def test_sample_integrity():
    folder = files("pyserini_xqg.datasets") / "sample"
    passages, queries = jsonl(folder / "passages.jsonl"), jsonl(folder / "queries.jsonl")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000
    assert len(passages) >= 40
    assert len({p["docid"] for p in passages}) == len(passages) == xqg_sample.PASSAGE_COUNT
    generated = set()
    for passage in passages:
        assert list(passage) == ["docid", "title", "text", "generated_queries"]
        assert passage["title"] and 50 <= len(passage["text"].split()) <= 120
        assert list(passage["generated_queries"]) == list(XOR_TYDI_LANGUAGES)
        for texts in passage["generated_queries"].values():
            assert len(texts) == len(set(texts)) >= 2
            assert all(text == " ".join(text.split()) for text in texts)
            generated.update(texts)
    by_id = {p["docid"]: p for p in passages}
    assert Counter(q["lang"] for q in queries) == dict.fromkeys(XOR_TYDI_LANGUAGES, len(passages))
    for query in queries:
        lang, _, docid = query["id"].partition("-")
        assert lang == query["lang"]
        assert query["split"] == "dev"
        assert query["answers"] and all(answer in by_id[docid]["text"] for answer in query["answers"])
        assert query["question"] not in generated
    qrels = [line.split() for line in (folder / "qrels.txt").read_text().splitlines()]
    assert qrels == [[q["id"], "0", q["id"].partition("-")[2], "1"] for q in queries]
    assert (
        "CC0" in (folder / "README.md").read_text() and f"{len(passages)} short" in (folder / "README.md").read_text()
    )


@pytest.mark.parametrize("lang", ["fi", "all"])
def test_sample_datasets(lang):
    dataset = datasets.load(f"xqg-sample/{lang}")
    queries = list(dataset.queries_iter())
    count = 48 * (7 if lang == "all" else 1)
    assert len({query.text for query in queries}) == dataset.queries_count() == dataset.qrels_count() == count
    assert {query.lang for query in queries} == (set(XOR_TYDI_LANGUAGES) if lang == "all" else {lang})
    assert dataset.qrels_dict() == {query.query_id: {query.query_id.partition("-")[2]: 1} for query in queries}
    assert set(dataset.qrels_defs()) == {1}
    docs, store = list(dataset.docs_iter()), dataset.docs_store()
    raw = jsonl(files("pyserini_xqg.datasets") / "sample" / "passages.jsonl")
    assert [tuple(doc) for doc in docs] == [tuple(record.values()) for record in raw]
    assert [store.get(doc.doc_id) for doc in docs] == docs and dataset.docs_count() == 48
    assert docs[0].default_text() == f"{docs[0].title} {docs[0].text}"
    assert not datasets.load("xqg-sample").has_queries()


# The command


def test_command(command):
    result = subprocess.run(
        [sys.executable, "-m", "pyserini_xqg.datasets", "list"], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0
    assert {*ids.DATASET_IDS, "vaswani"} <= set(result.stdout.split("\n"))
    assert "export xqg-sample/ar queries" in command("--help")[1]
    status, _, err = command()
    assert status == 1 and "Usage" in err


def test_command_export(command, tmp_path):
    raw = [q for q in jsonl(files("pyserini_xqg.datasets") / "sample" / "queries.jsonl") if q["lang"] == "te"]
    _, out, _ = command("export", "xqg-sample/te", "queries", "--fields", "query_id", "text")
    assert out == "".join(f"{q['id']}\t{q['question']}\n" for q in raw)
    _, out, _ = command("export", "xqg-sample/te", "queries")
    assert out.splitlines()[0].split("\t") == [raw[0]["id"], raw[0]["question"], "te", *raw[0]["answers"]]
    _, out, _ = command("export", "xqg-sample/te", "queries", "--format", "jsonl")
    assert [json.loads(line)["answers"] for line in out.splitlines()] == [q["answers"] for q in raw]
    _, out, _ = command("export", "xqg-sample/te", "qrels")
    assert out.splitlines()[0] == f"{raw[0]['id']} 0 {raw[0]['id'][3:]} 1"
    _, out, err = command("export", "xqg-sample", "docs", "--format", "jsonl")
    assert "Skipping" not in err
    (tmp_path / "docs.jsonl").write_text(out, encoding="utf-8")
    exported, ours = (Corpus(source).scan() for source in (tmp_path / "docs.jsonl", "xqg-sample"))
    assert exported == ours and sum(ours.queries.values()) == 48 * 14
    _, out, _ = command("lookup", "xqg-sample", raw[3]["id"][3:], "--fields", "doc_id")
    assert out.strip() == raw[3]["id"][3:]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("export", "xqg-sample/de", "docs"), "error: unknown dataset 'xqg-sample/de'"),
        (("export", "nosuch", "queries"), "error: unknown dataset 'nosuch'"),
        (("export", "xor-tydi/dev/ar", "queries"), "error: https://nlp.cs.washington.edu/"),
    ],
)
def test_command_errors(command, args, message):
    status, _, err = command(*args)
    assert status == 1
    assert err.splitlines()[-1].startswith(message)

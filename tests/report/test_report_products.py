"""Inner products on the page: by the encoder on the fly, from a store, from indexes of every layout, and misfits."""

import numpy as np
import pytest
from helpers import corpus_records, reference_vectors, write_jsonl
from report_pages import make, question_of

from pyserini_xqg import encode, index
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.report.products import IndexVectors

QUESTIONS = {"q1": ("ar", "نهر قديم"), "q2": ("fi", "missä joki"), "q3": ("ja", "どこ 川")}
GOLD = {"q1": "p1", "q2": "p7", "q3": "p11"}
FILES = ["--qrels", "qrels.txt", "--topics", "topics.tsv", "--topic-languages", "languages.tsv"]
FILES += ["--passages", "corpus.jsonl", "--measures", "RR@10"]
RECORDS = {record["docid"]: record for record in corpus_records(23)}
ON_THE_FLY = ["--pooling", "mean", "--l2-norm", "--device", "cpu", "--dtype", "float32"]


@pytest.fixture(scope="module")
def built(tmp_path_factory, tiny_encoder):
    """A collection, a store that keeps each query's vector, and runs."""
    directory = tmp_path_factory.mktemp("products")
    corpus = write_jsonl(directory / "corpus.jsonl", RECORDS.values())
    (directory / "qrels.txt").write_text("".join(f"{q} 0 {docid} 1\n" for q, docid in GOLD.items()))
    for name, place in (("topics.tsv", 1), ("languages.tsv", 0)):
        (directory / name).write_text("".join(f"{q}\t{pair[place]}\n" for q, pair in QUESTIONS.items()))
    for name, order in (("a.txt", sorted(RECORDS)), ("b.txt", sorted(RECORDS, reverse=True))):
        lines = [f"{q} Q0 {d} {n} {90 - n} x\n" for q in QUESTIONS for n, d in enumerate(order, start=1)]
        (directory / name).write_text("".join(lines))
    options = ["--corpus", corpus, "--encoder", tiny_encoder, *ON_THE_FLY]
    encode.main([*map(str, options), "--output", str(directory / "store"), "--keep-query-vectors"])
    encode.main([*map(str, options), "--output", str(directory / "sums")])
    return directory


@pytest.fixture(autouse=True)
def here(built, monkeypatch):
    monkeypatch.chdir(built)


@pytest.fixture(scope="module")
def reference(tiny_encoder):
    """Question id to (own, language to inner products), from transformers alone."""

    def vectors(texts):
        return reference_vectors(tiny_encoder, texts, pooling="mean", l2_norm=True)

    expected = {}
    for query_id, (_, text) in QUESTIONS.items():
        record = RECORDS[GOLD[query_id]]
        question = vectors([text])[0]
        whole = f"{record['title']} {record['text']}" if record["title"] else record["text"]
        queries = {code: vectors(some) @ question for code, some in record["generated_queries"].items()}
        expected[query_id] = vectors([whole])[0] @ question, queries
    return expected


def assert_products(page, reference):
    for query_id, (own, queries) in reference.items():
        (found,) = question_of(page, query_id)["products"]
        assert found["own"] == pytest.approx(own, abs=6e-4)
        assert found["queries"].keys() == queries.keys()
        for code, values in queries.items():
            assert found["queries"][code] == pytest.approx(values.tolist(), abs=6e-4)


def made(*options):
    return make("--overwrite", *options, collection=FILES)


def test_encoder_on_the_fly(tiny_encoder, reference):
    page = made("--encoder", tiny_encoder, *ON_THE_FLY)
    assert_products(page, reference)
    assert question_of(page, "q1")["products"][0]["index"] is None and question_of(page, "q1")["used"] is None
    assert str(tiny_encoder) not in page  # the page goes to others: no directory of this machine


def test_store_with_query_vectors(reference):
    assert_products(made("--store", "store", "--dtype", "float32"), reference)


def test_store_with_sums_alone_takes_its_encoder(reference, capsys):
    assert_products(made("--store", "sums", "--dtype", "float32"), reference)
    assert "sums: keeps no query's vector" in capsys.readouterr().err


def test_without_a_source_the_page_says_why():
    page = made()
    assert question_of(page, "q1")["products"] == [None]
    assert "No inner products: the page was made without --store, --index or --encoder." in page


def composed(reference, query_id, languages, alpha):
    """The paper's equation with the mean over languages, at the level of inner products, which are linear."""
    own, queries = reference[query_id]
    chosen = [queries[code].mean() for code in languages if code in queries]
    return (1 - alpha) * own + alpha * np.mean(chosen) if chosen else own


LINEAR = ["--aggregate", "mean", "--alpha", "0.4", "--no-normalize"]
LAYOUTS = {
    "plain": ["--alpha", "0"],
    "mean": LINEAR,
    "sharded": [*LINEAR, "--shards", "3"],
    "graph": [*LINEAR, "--factory", "HNSW8"],
    "inverted": [*LINEAR, "--factory", "IVF2,Flat"],
    "routed": [*LINEAR, "--route"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_of_the_index(layout, built, reference, capsys):
    output = built / f"index-{layout}"
    index.main(["--store", "store", "--output", str(output), *LAYOUTS[layout]])
    page = made("--index", output, "--dtype", "float32")
    assert_products(page, reference)
    everything = ["ar", "fi", "ja"]
    for query_id, (language, _) in QUESTIONS.items():
        languages = {"plain": [], "routed": [language]}.get(layout, everything)
        found = question_of(page, query_id)
        expected = composed(reference, query_id, languages, 0.4)
        assert found["products"][0]["index"] == pytest.approx(expected, abs=6e-4)
        assert [everything[at] for at in found["used"][0]] == languages
    assert "Was the run retrieved from it?" in capsys.readouterr().err  # the runs' scores are made up


def test_scores_of_the_index_raise_no_doubt(built, reference, capsys):
    lines = []
    index.main(["--store", "store", "--output", "index-own", "--alpha", "0"])
    for query_id, (own, _) in reference.items():
        lines.append(f"{query_id} Q0 {GOLD[query_id]} 1 {own} x\n")
    (built / "own.txt").write_text("".join(lines))
    make("--overwrite", "--index", "index-own", "--dtype", "float32", runs=("a.txt", "own.txt"), collection=FILES)
    assert "Was the run retrieved" not in capsys.readouterr().err


def test_fewer_queries_in_the_index_and_in_the_store(built, tiny_encoder):
    index.main(
        ["--store", "store", "--output", "index-one", "--aggregate", "mean", "--alpha", "1", "--max-queries", "1"]
    )
    assert question_of(made("--index", "index-one"), "q1")["used"] == [[0, 1, 2], 1]
    options = ["--corpus", "corpus.jsonl", "--encoder", tiny_encoder, *ON_THE_FLY, "--keep-query-vectors"]
    encode.main([*options, "--output", "store-two", "--max-queries", "2"])
    (found,) = question_of(made("--store", "store-two"), "q1")["products"]
    assert {code: len(some) for code, some in found["queries"].items()} == {
        code: min(2, len(some)) for code, some in RECORDS["p1"]["generated_queries"].items()
    }


# --- misfits ---


def test_encoder_that_does_not_fit(tiny_encoder, tmp_path):
    index.main(["--store", "store", "--output", str(tmp_path / "index"), "--alpha", "0"])
    for source in (["--store", "store"], ["--index", tmp_path / "index"]):
        with pytest.raises(XqgError, match=f"{source[1]}: the encoder does not fit: its vector .* differs by"):
            made(*source, "--encoder", tiny_encoder)  # pooling cls
    with pytest.raises(XqgError, match="cannot be loaded as a Hugging Face encoder"):
        made("--encoder", tmp_path / "index")


def test_encoder_of_another_dimension(tiny_encoder, tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertModel

    config = BertConfig.from_pretrained(tiny_encoder)
    config.hidden_size = 16
    BertModel(config).save_pretrained(tmp_path / "narrow")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / "narrow")
    with pytest.raises(XqgError, match="its vectors have 16 dimensions, those of store 32"):
        made("--store", "store", "--encoder", tmp_path / "narrow")
    index.main(["--store", "store", "--output", str(tmp_path / "index"), "--alpha", "0"])
    with pytest.raises(XqgError, match="its vectors have 32 dimensions, the encoder's 16"):
        made("--index", tmp_path / "index", "--encoder", tmp_path / "narrow")


def changed_store(directory, tiny_encoder, records):
    corpus = write_jsonl(directory / "other.jsonl", records)
    options = ["--corpus", str(corpus), "--encoder", tiny_encoder, *ON_THE_FLY, "--keep-query-vectors"]
    encode.main([*options, "--output", str(directory / "other")])
    return directory / "other"


def test_store_of_other_passages(tiny_encoder, tmp_path):
    records = [{**record, "docid": "x" + docid} for docid, record in RECORDS.items()]
    other = changed_store(tmp_path, tiny_encoder, records)
    with pytest.raises(XqgError, match="other: has no passage with docid 'p1'"):
        made("--store", other)


def test_store_of_other_texts(tiny_encoder, tmp_path):
    records = [{**record, "text": "bread fish paper town"} for record in RECORDS.values()]
    with pytest.raises(XqgError, match="other: its vectors are not those of the text of docid 'p1'"):
        made("--store", changed_store(tmp_path, tiny_encoder, records))


def test_store_of_other_queries(tiny_encoder, tmp_path):
    generated = {"ar": ["أين متى لماذا", "خبز", "سمك"], "fi": ["kala"] * 3, "ja": ["魚"] * 3}
    record = {**RECORDS["p1"], "generated_queries": generated}
    other = changed_store(tmp_path, tiny_encoder, [record, *(RECORDS[docid] for docid in ("p7", "p11"))])
    with pytest.raises(XqgError, match="its vectors are not those of the generated queries in 'ar' of docid 'p1'"):
        made("--store", other)


def test_store_with_other_numbers_of_queries(tiny_encoder, tmp_path):
    record = {**RECORDS["p1"], "generated_queries": {"ar": ["خبز"]}}
    other = changed_store(tmp_path, tiny_encoder, [record, *(RECORDS[docid] for docid in ("p7", "p11"))])
    with pytest.raises(XqgError, match="has 1 generated queries in 'ar' for docid 'p1', the passages 3"):
        made("--store", other)


def test_store_whose_queries_texts_are_unknown(capsys, tmp_path, reference):
    bare = write_jsonl(tmp_path / "bare.jsonl", [{**record, "generated_queries": {}} for record in RECORDS.values()])
    files = [bare if option == "corpus.jsonl" else option for option in FILES]
    page = make("--overwrite", "--store", "store", "--dtype", "float32", collection=files)
    assert "the texts of its generated queries are in none of the passages shown" in capsys.readouterr().err
    (found,) = question_of(page, "q1")["products"]
    assert found["own"] == pytest.approx(reference["q1"][0], abs=6e-4) and found["queries"] == {}


def test_index_of_other_passages_and_broken_indexes(tiny_encoder, tmp_path):
    records = [{**record, "docid": "x" + docid} for docid, record in RECORDS.items()]
    index.main(["--store", str(changed_store(tmp_path, tiny_encoder, records)), "--output", str(tmp_path / "index")])
    with pytest.raises(XqgError, match="index: has no passage with docid 'p1'"):
        made("--index", tmp_path / "index")
    (tmp_path / "index" / "index").write_bytes(b"nothing")
    with pytest.raises(XqgError, match="index: FAISS refuses it"):
        made("--index", tmp_path / "index")
    (tmp_path / "index" / "index").unlink()
    with pytest.raises(XqgError, match="no FAISS index there"):
        made("--index", tmp_path / "index")
    (tmp_path / "empty").mkdir()
    with pytest.raises(XqgError, match=r"no xqg\.json there"):
        made("--index", tmp_path / "empty")


def test_routed_index_without_a_language_of_the_questions(tmp_path, reference):
    """Topics in other languages are served by the mean of all that it has."""
    options = ["--route", "--languages", "ar,fi", *LINEAR]
    index.main(["--store", "store", "--output", str(tmp_path / "routed"), *options])
    found = question_of(made("--index", tmp_path / "routed", "--dtype", "float32"), "q3")
    assert found["products"][0]["index"] == pytest.approx(composed(reference, "q3", ["ar", "fi"], 0.4), abs=6e-4)
    assert found["used"] == [[0, 1], None]


def test_inner_products_without_passages():
    files = FILES[: FILES.index("--passages")]
    with pytest.raises(XqgError, match=r"need the passages' texts.*--passages"):
        make("--overwrite", "--store", "store", "--measures", "RR@10", collection=files)


def test_stock_index_without_a_manifest(built, tiny_encoder, tmp_path, reference):
    index.main(["--store", "store", "--output", str(tmp_path / "stock"), "--alpha", "0"])
    (tmp_path / "stock" / "xqg.json").unlink()
    page = made("--index", tmp_path / "stock", "--encoder", tiny_encoder, *ON_THE_FLY)
    assert question_of(page, "q2")["products"][0]["index"] == pytest.approx(reference["q2"][0], abs=6e-4)
    assert question_of(page, "q2")["used"] is None
    with pytest.raises(XqgError, match="no such directory"):
        IndexVectors(tmp_path / "nowhere", set(), 32, set())

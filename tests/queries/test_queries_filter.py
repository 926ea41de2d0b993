"""``python -m pyserini_xqg.queries filter``: what is kept, counted, written and refused."""

import gzip
import json
import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from generation import refused
from helpers import (
    LANGUAGES,
    corpus_records,
    directory_bytes,
    reference_vectors,
    run_module,
    write_jsonl,
)

from pyserini_xqg import encode
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_jsonl, sha256_file
from pyserini_xqg.queries import __main__ as queries
from pyserini_xqg.queries import filtered
from pyserini_xqg.queries.filtered import write_filtered_store
from pyserini_xqg.queries.scores import QueryScores
from pyserini_xqg.queries.selection import Selection
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors.building import Layout, build_index
from pyserini_xqg.vectors.recipe import Recipe
from pyserini_xqg.vectors.store import EmbeddingStore

ROWS = 16
PLAIN = ("--device", "cpu", "--dtype", "float32")


class Setting:
    """A corpus, its store with all query vectors, and a place for outputs."""

    def __init__(self, directory: Path, encoder: str) -> None:
        self.encoder, self.records = encoder, corpus_records(ROWS)
        self.corpus = write_jsonl(directory / "corpus.jsonl", self.records)
        self.store = directory / "store"
        encode.main(["--corpus", str(self.corpus), "--encoder", encoder, "--output", str(self.store), *PLAIN,
                     "--keep-query-vectors", "--chunk-size", "5"])  # fmt: skip
        self.scores = reference_scores(self.records, encoder)


def reference_scores(records, encoder) -> dict[tuple[int, str, int], float]:
    """(row, language, place) of each query to its score, from vectors that transformers made text by text."""
    scores = {}
    for row, record in enumerate(records):
        passage = reference_vectors(encoder, [f"{record['title']} {record['text']}".lstrip()])[0]
        for language, texts in record.get("generated_queries", {}).items():
            for place, query in enumerate(reference_vectors(encoder, texts)):
                scores[row, language, place] = float(passage @ query)
    return scores


@pytest.fixture(scope="module")
def setting(tiny_encoder, tmp_path_factory):
    return Setting(tmp_path_factory.mktemp("setting"), tiny_encoder)


def run_filter(output, *options) -> dict:
    """Run the command; returns the sidecar."""
    queries.main(["filter", "--output", str(output), *map(str, options)])
    return json.loads(Path(f"{output}.json").read_text())


def written(output) -> list[dict]:
    return [record for _, record in read_jsonl(output)]


def expected_records(records, keep) -> list[dict]:
    """The records with the queries for which ``keep(row, language, place)``, languages in order."""
    found = []
    for row, record in enumerate(records):
        kept = {}
        for language in LANGUAGES:
            texts = record.get("generated_queries", {}).get(language, [])
            if some := [text for place, text in enumerate(texts) if keep(row, language, place)]:
                kept[language] = some
        found.append({**{name: record[name] for name in ("docid", "title", "text")}, "generated_queries": kept})
    return found


def lowest_of(values, share) -> float:
    ordered = sorted(values, reverse=True)
    return ordered[math.ceil(share * len(ordered)) - 1] - 1e-4  # the command's vectors differ in the sixth digit


def test_share_of_each_language_by_an_encoder(setting, tmp_path, capsys):
    output = tmp_path / "kept.jsonl"
    options = ("--corpus", setting.corpus, "--encoder", setting.encoder, *PLAIN)
    sidecar = run_filter(output, *options, "--top-fraction", 0.5, "--per-language")
    lowest = {
        language: lowest_of([score for key, score in setting.scores.items() if key[1] == language], 0.5)
        for language in LANGUAGES
    }
    wanted = expected_records(setting.records, lambda *key: setting.scores[key] >= lowest[key[1]])
    assert written(output) == wanted
    for language in LANGUAGES:
        count = sidecar["queries"][language]
        total = sum(key[1] == language for key in setting.scores)
        kept = sum(len(record["generated_queries"].get(language, [])) for record in wanted)
        had = [bool(record.get("generated_queries", {}).get(language)) for record in setting.records]
        has = [language in record["generated_queries"] for record in wanted]
        assert (count["queries"], count["kept"], count["low_score"]) == (total, kept, total - kept)
        assert count["passages_left_without"] == sum(had) - sum(has)
        assert sidecar["thresholds"][language] == pytest.approx(lowest[language] + 1e-4, abs=1e-3)
        assert sidecar["quantiles"][language]["max"] == pytest.approx(
            max(score for key, score in setting.scores.items() if key[1] == language), abs=1e-3
        )
    before = sum(not any(record.get("generated_queries", {}).values()) for record in setting.records)
    after = sum(not record["generated_queries"] for record in wanted)
    assert sidecar["passages"] == {
        "passages": ROWS, "without_queries_before": before, "left_without_queries": after - before
    }  # fmt: skip
    assert (sidecar["bytes"], sidecar["sha256"]) == (output.stat().st_size, sha256_file(output))
    said = capsys.readouterr().err
    assert f"{output}: kept " in said
    assert (
        f"{after - before} of {ROWS} passages have no query left in any language, beside {before} that had none" in said
    )
    assert (tmp_path / "kept.jsonl.scores" / "score.ar.npy").exists()


def test_global_share_and_threshold_from_a_store(setting, tmp_path):
    options = ("--corpus", setting.corpus, "--scores", tmp_path / "scores")
    sidecar = run_filter(tmp_path / "share.jsonl", *options, "--store", setting.store, "--top-fraction", "1/3")
    lowest = lowest_of(setting.scores.values(), 1 / 3)
    wanted = expected_records(setting.records, lambda *key: setting.scores[key] >= lowest)
    assert written(tmp_path / "share.jsonl") == wanted
    # Another threshold from the kept scores alone, and the printed one again: the same bytes.
    threshold = sidecar["thresholds"]["fi"]
    assert set(sidecar["thresholds"].values()) == {threshold}
    run_filter(tmp_path / "again.jsonl", *options, "--threshold", f"{threshold:.9g}")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "share.jsonl").read_bytes()
    middle = float(np.median(list(setting.scores.values())))
    values = f"ar=-inf,fi={middle},ja=1e9"
    sidecar = run_filter(tmp_path / "values.jsonl", *options, "--threshold", values)
    wanted = expected_records(
        setting.records,
        lambda row, language, place: (
            language == "ar" or (language == "fi" and setting.scores[row, language, place] >= middle)
        ),
    )
    assert written(tmp_path / "values.jsonl") == wanted
    assert sidecar["thresholds"] == {"ar": "-inf", "fi": pytest.approx(middle), "ja": 1e9}
    assert sidecar["queries"]["ja"]["kept"] == 0


def reference_ranks(setting) -> dict[tuple[int, str, int], int]:
    """Rank of the own passage, by sorting all passages for each query."""
    encoder = setting.encoder
    passages = reference_vectors(encoder, [f"{r['title']} {r['text']}".lstrip() for r in setting.records])
    ranks = {}
    for row, record in enumerate(setting.records):
        for language, texts in record.get("generated_queries", {}).items():
            for place, query in enumerate(reference_vectors(encoder, texts)):
                scores = passages @ query
                ranks[row, language, place] = int(np.sum(scores > scores[row] + 1e-4)) + 1
    return ranks


@pytest.mark.parametrize("source", ["store", "index", "shards", "encoder and index"])
def test_round_trip(setting, tmp_path, source):
    options = ["--corpus", setting.corpus, "--round-trip", 3]
    options += ["--encoder", setting.encoder, *PLAIN] if "encoder" in source else ["--store", setting.store]
    if source != "store":
        layout = Layout(shards=3 if source == "shards" else 1)
        build_index(EmbeddingStore(setting.store), tmp_path / "index", Recipe(alpha=0), layout)
        options += ["--index", tmp_path / "index"]
    output = tmp_path / "kept.jsonl"
    sidecar = run_filter(output, *options)
    ranks = reference_ranks(setting)
    assert max(ranks.values()) > 1
    assert written(output) == expected_records(setting.records, lambda *key: ranks[key] <= 3)
    dropped = sum(rank > 3 for rank in ranks.values())
    assert sum(count["not_retrieved"] for count in sidecar["queries"].values()) == dropped > 0
    assert sidecar["scores"]["round_trip"]["passages"] == ROWS


def test_round_trip_and_threshold_at_once(setting, tmp_path):
    options = ("--corpus", setting.corpus, "--scores", tmp_path / "scores")
    run_filter(tmp_path / "first.jsonl", *options, "--store", setting.store, "--round-trip", 5)
    middle = float(np.median(list(setting.scores.values())))
    sidecar = run_filter(tmp_path / "both.jsonl", *options, "--round-trip", 2, "--threshold", middle)
    ranks = reference_ranks(setting)
    wanted = expected_records(setting.records, lambda *key: ranks[key] <= 2 and setting.scores[key] >= middle)
    assert written(tmp_path / "both.jsonl") == wanted
    low = sum(score < middle for score in setting.scores.values())
    assert sum(count["low_score"] for count in sidecar["queries"].values()) == low


@pytest.mark.parametrize("name", ["kept.jsonl.gz", "kept.json.gz"])
def test_gzip(setting, tmp_path, name):
    options = ("--corpus", setting.corpus, "--store", setting.store, "--top-fraction", 0.4)
    run_filter(tmp_path / "plain.jsonl", *options)
    run_filter(tmp_path / name, *options)
    assert gzip.decompress((tmp_path / name).read_bytes()) == (tmp_path / "plain.jsonl").read_bytes()
    assert written(tmp_path / name) == written(tmp_path / "plain.jsonl")


def test_what_is_kept_is_a_corpus(setting, tmp_path):
    """Queries from files of their own, Pyserini's ``contents``: what comes out is encoded as it is."""
    bare = [{"id": record["docid"], "contents": f"{record['title']}\n{record['text']}"} for record in setting.records]
    given = [
        {"docid": record["docid"], "generated_queries": record.get("generated_queries", {})}
        for record in reversed(setting.records)
    ]
    write_jsonl(tmp_path / "bare.jsonl", bare)
    write_jsonl(tmp_path / "given.jsonl", given)
    options = ("--store", setting.store, "--top-fraction", 0.4)
    run_filter(
        tmp_path / "apart.jsonl", "--corpus", tmp_path / "bare.jsonl", "--queries", tmp_path / "given.jsonl", *options
    )
    run_filter(tmp_path / "plain.jsonl", "--corpus", setting.corpus, *options)
    assert (tmp_path / "apart.jsonl").read_bytes() == (tmp_path / "plain.jsonl").read_bytes()


def test_some_languages_and_queries(setting, tmp_path):
    options = ("--corpus", setting.corpus, "--languages", "fi,ar", "--max-queries", 2)
    more = ("--encoder", setting.encoder, *PLAIN, "--threshold=-inf", "--scores", tmp_path / "s")
    run_filter(tmp_path / "kept.jsonl", *options, *more)
    for record, kept in zip(setting.records, written(tmp_path / "kept.jsonl"), strict=True):
        given = record.get("generated_queries", {})
        assert kept["generated_queries"] == {code: given[code][:2] for code in ("fi", "ar") if given.get(code)}
    with pytest.raises(XqgError, match=r"s: scores of another corpus: .*with the same --languages and --max-queries"):
        run_filter(tmp_path / "other.jsonl", "--corpus", setting.corpus, "--scores", tmp_path / "s", "--threshold", 0)


def test_store_of_what_is_kept(setting, tmp_path, capsys):
    """It is the store that encoding the filtered corpus makes."""
    threshold = float(np.median(list(setting.scores.values())))
    options = ("--corpus", setting.corpus, "--store", setting.store, "--output-store", tmp_path / "store")
    run_filter(tmp_path / "kept.jsonl", *options, "--threshold", threshold)
    encode.main(["--corpus", str(tmp_path / "kept.jsonl"), "--encoder", setting.encoder, "--keep-query-vectors", *PLAIN,
                 "--output", str(tmp_path / "encoded"), "--chunk-size", "5"])  # fmt: skip
    found, wanted = EmbeddingStore(tmp_path / "store"), EmbeddingStore(tmp_path / "encoded")
    different = {"complete", "manifest_sha256", "files"}
    assert {key: value for key, value in found.manifest.items() if key not in different} == {
        key: value for key, value in wanted.manifest.items() if key not in different
    }
    assert 0 < sum(found.manifest["corpus"]["queries"].values()) < len(setting.scores)
    assert found.docids_path.read_bytes() == wanted.docids_path.read_bytes()
    for language in found.languages:
        np.testing.assert_array_equal(found.array(f"count.{language}"), wanted.array(f"count.{language}"))
        for name in ("sum", "vectors"):
            pair = (store.array(f"{name}.{language}") for store in (found, wanted))
            np.testing.assert_allclose(*pair, rtol=0, atol=1e-5)
    # Broken off between the file and the store, the same command goes on; with another filter it does not.
    whole = directory_bytes(tmp_path / "store")
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    run_filter(tmp_path / "kept.jsonl", *options, "--threshold", threshold)
    assert directory_bytes(tmp_path / "store") == whole
    for path in (tmp_path / "store").iterdir():
        path.unlink()
    with pytest.raises(XqgError, match=r"kept.jsonl exists"):
        run_filter(tmp_path / "kept.jsonl", *options, "--threshold", 1)


def test_store_of_something_else(setting, tmp_path):
    """The unfiltered corpus beside the verdicts of a filter: refused, and no store is left complete."""
    run_filter(tmp_path / "kept.jsonl", "--corpus", setting.corpus, "--store", setting.store, "--top-fraction", 0.5)
    scores = QueryScores(tmp_path / "kept.jsonl.scores")
    selection, corpus = Selection(top_fraction=Fraction("0.5")), Corpus(setting.corpus)
    with pytest.raises(XqgError, match=r"corpus.jsonl: is not what was filtered from .*store"):
        write_filtered_store(EmbeddingStore(setting.store), scores, selection, corpus, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_overwrite(setting, tmp_path):
    options = ("--corpus", setting.corpus, "--scores", tmp_path / "scores")
    run_filter(tmp_path / "kept.jsonl", *options, "--store", setting.store, "--threshold", 0)
    before = (tmp_path / "kept.jsonl").read_bytes()
    with pytest.raises(XqgError, match=r"kept.jsonl exists. Remove it, choose another --output, or pass --overwrite"):
        run_filter(tmp_path / "kept.jsonl", *options, "--threshold", 1)
    with pytest.raises(XqgError, match=r"scores: has no ranks, so --round-trip 3 cannot be taken from it"):
        run_filter(tmp_path / "more.jsonl", *options, "--round-trip", 3)
    assert (tmp_path / "kept.jsonl").read_bytes() == before
    run_filter(tmp_path / "kept.jsonl", *options, "--threshold", 22, "--overwrite")
    assert len((tmp_path / "kept.jsonl").read_bytes()) < len(before)


def test_nothing_half_written(setting, tmp_path, monkeypatch):
    """An error in the middle leaves no output and no sidecar."""
    original, calls = filtered.passage_line, []

    def broken(*line):
        calls.append(1)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return original(*line)

    monkeypatch.setattr(filtered, "passage_line", broken)
    with pytest.raises(KeyboardInterrupt):
        run_filter(tmp_path / "kept.jsonl", "--corpus", setting.corpus, "--store", setting.store, "--threshold", 0)
    names = {path.name for path in tmp_path.iterdir()} - {".kept.jsonl.lock"}
    assert names == {"kept.jsonl.scores"}


def test_as_a_command(setting, tmp_path, capsys):
    output = tmp_path / "kept.jsonl"
    options = ("--corpus", setting.corpus, "--store", setting.store, "--output", output)
    result = run_module("pyserini_xqg.queries", "filter", *options, "--top-fraction", 0.5)
    assert (result.returncode, result.stdout) == (0, "")
    assert f"{output}: kept " in result.stderr
    queries.main(["filter", *map(str, options), "--top-fraction", "0.5"])
    assert f"{output}: complete, with these settings; left as it is" in capsys.readouterr().err
    data = output.read_bytes()
    output.write_bytes(data[:-3])
    with pytest.raises(XqgError, match=r"kept\.jsonl exists"):
        queries.main(["filter", *map(str, options), "--top-fraction", "0.5"])


# What is refused


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ((), "nothing to filter by: pass --threshold, --top-fraction or --round-trip"),
        (("--threshold", "low"), "--threshold low: 'low' is no number"),
        (("--threshold", "fi=1"), "--threshold: none for ar, ja"),
        (("--top-fraction", "70"), "70 is not above 0 and at most 1"),
        (("--threshold", "1", "--per-language"), "--per-language goes with a single --top-fraction"),
        (("--top-fraction", "ar=1", "--per-language"), "--per-language goes with a single --top-fraction"),
        (("--threshold", "1", "--top-fraction", "1"), "--threshold and --top-fraction both choose the lowest score"),
        (("--threshold", "1", "--encoder", "x"), "--store has the vectors already"),
        (("--threshold", "1", "--index", "x"), "--index goes with --round-trip"),
        (("--threshold", "1", "--fields", "title"), "was made with --fields title text"),
        (("--threshold", "1", "--languages", "fi,te"), "no generated queries in te"),
        (("--round-trip", "3", "--index", "no-index"), "no FAISS index there"),
        # Without the store:
        (("!", "--threshold", "1"), "kept.jsonl.scores: no query scores there"),
        (("!", "--threshold", "1", "--scores", "none"), "none: no query scores there"),
        (("!", "--round-trip", "3", "--index", "x"), "--index goes with --encoder or --store"),
        (("!", "--round-trip", "3", "--encoder", "x"), "--round-trip with --encoder needs --index"),
        (("!", "--threshold", "1", "--encoder", "x", "--output-store", "y"), "--output-store takes the vectors"),
        (("!", "--threshold", "1", "--store", "none"), "none: no embedding store there"),
    ],
)
def test_bad_options(setting, tmp_path, capsys, options, phrase):
    corpus = ("--corpus", setting.corpus, *(() if "!" in options else ("--store", setting.store)))
    given = [option for option in options if option != "!"]
    assert phrase in refused(lambda: run_filter(tmp_path / "kept.jsonl", *corpus, *given), capsys)
    assert list(tmp_path.iterdir()) == []  # not even scores


def test_bad_outputs(setting, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_jsonl(corpus / "one.jsonl", setting.records)
    options = ("--store", setting.store, "--threshold", 1, "--overwrite")
    with pytest.raises(XqgError, match=r"its name must end in one of \.jsonl"):
        run_filter(tmp_path / "kept.txt", "--corpus", corpus, *options)
    for output, source in ((corpus / "one.jsonl", corpus), (corpus / "new.jsonl", corpus), (corpus / "one.jsonl",) * 2):
        with pytest.raises(XqgError, match=r"lies in .*, which is read|is what is read"):
            run_filter(output, "--corpus", source, *options)
    hard = tmp_path / "hard.jsonl"
    os.link(corpus / "one.jsonl", hard)
    with pytest.raises(XqgError, match=r"hard.jsonl: is what is read"):
        run_filter(hard, "--corpus", corpus / "one.jsonl", *options)
    (tmp_path / "kept.jsonl.json").write_text('{"mine": true}')
    with pytest.raises(XqgError, match=r"kept.jsonl.json exists and is no description of filtered queries"):
        run_filter(tmp_path / "kept.jsonl", "--corpus", corpus, *options)
    assert (tmp_path / "kept.jsonl.json").read_text() == '{"mine": true}'


def test_corpus_without_queries(setting, tmp_path):
    bare = write_jsonl(tmp_path / "bare.jsonl", [{"docid": "1", "text": "A text."}])
    with pytest.raises(XqgError, match=r"bare.jsonl: no generated queries in it"):
        run_filter(tmp_path / "kept.jsonl", "--corpus", bare, "--store", setting.store, "--threshold", 0)


def test_store_of_another_corpus(setting, tmp_path):
    other = write_jsonl(tmp_path / "other.jsonl", corpus_records(ROWS, seed=1))
    with pytest.raises(XqgError, match=r"store: a store of another corpus"):
        run_filter(tmp_path / "kept.jsonl", "--corpus", other, "--store", setting.store, "--threshold", 0)
    assert not (tmp_path / "kept.jsonl.scores").exists()

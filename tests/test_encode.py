"""From a corpus to a store: the numbers, and what may be continued; that kills change nothing is in test_chunks.py."""

import multiprocessing
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers import (
    LANGUAGES,
    assert_one_error,
    command_environment,
    corpus_records,
    directory_bytes,
    reference_vectors,
    run_command,
    run_module,
    write_jsonl,
)

from pyserini_xqg import encode
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus
from pyserini_xqg.vectors import encoding
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore

PLAIN = ("--device", "cpu", "--dtype", "float32")


def encode_main(corpus, encoder, output, *options):
    encode.main(["--corpus", str(corpus), "--encoder", encoder, "--output", str(output), *PLAIN, *map(str, options)])


def check(store, records, encoder, languages=LANGUAGES, most=None, atol=1e-5, passage=None, query=str, **options):
    """Compare a store with vectors that transformers made, text by text, and with loops over the queries."""
    passage = passage or (lambda record: f"{record['title']} {record['text']}".lstrip())
    store = EmbeddingStore(store)
    assert store.languages == list(languages)
    assert store.docids_path.read_text().splitlines() == [record["docid"] for record in records]
    expected = reference_vectors(encoder, [passage(record) for record in records], **options)
    np.testing.assert_allclose(store.array("passages"), expected, rtol=0, atol=atol)
    for code in languages:
        sums, counts = store.array(f"sum.{code}"), store.array(f"count.{code}")
        kept = []
        for row, record in enumerate(records):
            texts = [query(text) for text in record.get("generated_queries", {}).get(code, [])[:most]]
            assert counts[row] == len(texts)
            vectors = reference_vectors(encoder, texts, **options) if texts else np.zeros((0, 32))
            np.testing.assert_allclose(sums[row], vectors.sum(axis=0), rtol=0, atol=4 * atol)
            kept.extend(vectors)
        if store.manifest["keep_query_vectors"]:
            np.testing.assert_allclose(store.array(f"vectors.{code}"), kept, rtol=0, atol=atol)


@pytest.mark.parametrize("chunk_size", [4, 1024])
def test_store_against_transformers(tiny_encoder, tmp_path, capsys, chunk_size):
    records = corpus_records(14)
    corpus = write_jsonl(tmp_path / "a.jsonl", records)
    encode_main(corpus, tiny_encoder, tmp_path / "store", "--chunk-size", chunk_size, "--keep-query-vectors")
    check(tmp_path / "store", records, tiny_encoder)
    errors = capsys.readouterr().err
    without = sum("generated_queries" not in record or not record["generated_queries"] for record in records)
    assert f"{tmp_path / 'store'}: 14 passages, queries: ar " in errors
    assert f"{without} passages have no generated query and keep their plain vector" in errors


def test_options_reach_the_vectors(tiny_encoder, tmp_path):
    records = corpus_records(12, most=4)
    options = ["--languages", "ja,ar", "--max-queries", "2", "--pooling", "mean", "--l2-norm", "--query-prefix", "old"]
    encode_main(
        write_jsonl(tmp_path / "a.jsonl", records), tiny_encoder, tmp_path / "store", *options, "--fields", "text"
    )
    check(
        tmp_path / "store", records, tiny_encoder, ("ja", "ar"), 2,
        passage=lambda record: record["text"], query=lambda text: f"old {text}" if text else text,
        pooling="mean", l2_norm=True,
    )  # fmt: skip
    manifest = EmbeddingStore(tmp_path / "store").manifest
    assert manifest["max_queries"] == 2
    assert manifest["fields"] == ["text"]
    assert manifest["encoder"]["query_prefix"] == "old"


def test_lengths_prefix_and_half_precision_on_disk(tiny_encoder, tmp_path):
    records = corpus_records(12)
    options = ["--max-length", "7", "--query-max-length", "7", "--prefix", "fish", "--store-dtype", "float16"]
    encode_main(write_jsonl(tmp_path / "a.jsonl", records), tiny_encoder, tmp_path / "store", *options)
    check(
        tmp_path / "store", records, tiny_encoder, atol=2e-3, max_length=7,
        passage=lambda record: f"{record['title']} fish {record['text']}".lstrip(),
    )  # fmt: skip
    assert EmbeddingStore(tmp_path / "store").array("passages").dtype == np.float16


def test_corpus_without_any_query(tiny_encoder, tmp_path, capsys):
    records = [{"docid": str(row), "title": "", "text": f"stone bread {row}"} for row in range(3)]
    encode_main(write_jsonl(tmp_path / "a.jsonl", records), tiny_encoder, tmp_path / "store", "--keep-query-vectors")
    check(tmp_path / "store", records, tiny_encoder, languages=())
    assert "3 passages, no queries" in capsys.readouterr().err


def test_other_files_of_the_same_content_give_the_same_store(tiny_encoder, tmp_path):
    records = corpus_records(15)
    encode_main(write_jsonl(tmp_path / "a.jsonl", records), tiny_encoder, tmp_path / "one", "--chunk-size", 4)
    passages = [{key: value for key, value in record.items() if key != "generated_queries"} for record in records]
    queries = [
        {"id": record["docid"], "generated_queries": record["generated_queries"]}
        for record in reversed(records)
        if "generated_queries" in record
    ]
    directory = tmp_path / "passages"
    directory.mkdir()
    write_jsonl(directory / "1.jsonl.gz", passages[:6])
    write_jsonl(directory / "2.jsonl", passages[6:])
    queries = write_jsonl(tmp_path / "q.jsonl.gz", queries)
    encode_main(directory, tiny_encoder, tmp_path / "two", "--chunk-size", 4, "--queries", queries)
    assert directory_bytes(tmp_path / "one") == directory_bytes(tmp_path / "two")


# Interruptions


def interrupt_after(chunks, monkeypatch, *arguments):
    """Run the command and break it off, as Ctrl-C would, when so many chunks are written."""
    calls, original = [], encoding.encode_chunk

    def interrupted(*chunk):
        calls.append(1)
        if len(calls) > chunks:
            raise KeyboardInterrupt
        return original(*chunk)

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_chunk", interrupted)
        with pytest.raises(KeyboardInterrupt):
            encode_main(*arguments)


@pytest.mark.parametrize("chunks_done", [0, 1, 3, 5])
def test_raise_in_the_middle(tiny_encoder, tmp_path, capsys, monkeypatch, chunks_done):
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(11))
    encode_main(corpus, tiny_encoder, tmp_path / "whole", "--chunk-size", 2, "--keep-query-vectors")
    options = ("--chunk-size", 2, "--keep-query-vectors")
    interrupt_after(chunks_done, monkeypatch, corpus, tiny_encoder, tmp_path / "store", *options)
    capsys.readouterr()
    encode_main(corpus, tiny_encoder, tmp_path / "store", *options)
    continued = f"{tmp_path / 'store'}: continues after {2 * chunks_done} of 11 passages" in capsys.readouterr().err
    assert continued == (chunks_done > 0)
    assert directory_bytes(tmp_path / "store") == directory_bytes(tmp_path / "whole")


def test_two_kills(tiny_encoder, tmp_path):
    """In the middle of a chunk and of the next one; what is then finished is what an undisturbed process writes."""
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(200))
    options = ("--chunk-size", "2", "--keep-query-vectors")
    encode_main(corpus, tiny_encoder, tmp_path / "whole", *options)
    store = tmp_path / "store"
    arguments = ["--corpus", corpus, "--encoder", tiny_encoder, "--output", store, *PLAIN, *options]
    # Forked from a process that has torch already: kills hit the work, not the imports.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pyserini_xqg.encode", "torch", "transformers.models.bert.modeling_bert"])
    log = store / "chunks.jsonl"
    for target in (7, 51):  # of 100 chunks
        process = processes.Process(target=encode.main, args=([str(argument) for argument in arguments],))
        process.start()
        while process.is_alive() and (log.read_bytes().count(b"\n") if log.exists() else -1) < target:
            time.sleep(0.0005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(XqgError, match="unfinished"):
            EmbeddingStore(store)
    result = run_module("pyserini_xqg.encode", *arguments)
    assert result.returncode == 0, result.stderr
    assert "continues after" in result.stderr
    assert directory_bytes(store) == directory_bytes(tmp_path / "whole")


# What is refused


def unfinished(corpus, encoder, output, monkeypatch):
    """A store of which the first chunk, of three passages, is there."""
    interrupt_after(1, monkeypatch, corpus, encoder, output, "--chunk-size", 3)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--chunk-size", "4"], "chunk_size is 3 there and 4 now"),
        (["--pooling", "mean"], "encoder.pooling is 'cls' there and 'mean' now"),
        (["--max-length", "9"], "encoder.max_length is 256 there and 9 now"),
        (["--batch-tokens", "99"], "batch_tokens is 2048 there and 99 now"),
        (["--fields", "text"], "fields is ['title', 'text'] there and ['text'] now"),
        (["--max-queries", "1"], "max_queries is None there and 1 now"),
        (["--languages", "fi"], "corpus.queries.ar is "),
        (["--keep-query-vectors"], "keep_query_vectors is False there and True now"),
        (["--store-dtype", "float16"], "dtype is 'float32' there and 'float16' now"),
    ],
)
def test_other_settings_over_a_unfinished_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch, options, difference):
    unfinished(tiny_corpus, tiny_encoder, tmp_path / "store", monkeypatch)
    before = directory_bytes(tmp_path / "store")
    assert before["chunks.jsonl"].count(b"\n") == 1
    with pytest.raises(XqgError, match="unfinished embedding store with other settings") as caught:
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3, *options)
    assert difference in str(caught.value)
    assert directory_bytes(tmp_path / "store") == before
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3, *options, "--overwrite")
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "direct", "--chunk-size", 3, *options)
    assert directory_bytes(tmp_path / "store") == directory_bytes(tmp_path / "direct")


def test_changed_corpus_over_a_unfinished_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    unfinished(tiny_corpus, tiny_encoder, tmp_path / "store", monkeypatch)
    records = corpus_records(23)
    records[20]["text"] = "changed"
    write_jsonl(tiny_corpus, records)
    with pytest.raises(XqgError, match=r"other settings: corpus\.sha256 is '[0-9a-f]{64}' there"):
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3)


@pytest.mark.parametrize("changed", [True, False])
def test_corpus_changed_while_it_is_encoded(tiny_encoder, tiny_corpus, tmp_path, monkeypatch, changed):
    own = encoding.encode_chunk

    def encode_and_write(*arguments):
        records = corpus_records(23)
        records[0]["text"] = "changed" if changed else records[0]["text"]
        write_jsonl(tiny_corpus, records)  # the time of change is another, even where the content is not
        return own(*arguments)

    monkeypatch.setattr(encoding, "encode_chunk", encode_and_write)
    if changed:
        with pytest.raises(XqgError, match=r"were changed while they were encoded.*--overwrite"):
            encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
        with pytest.raises(XqgError, match="unfinished"):
            EmbeddingStore(tmp_path / "store")
    else:
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
        assert EmbeddingStore(tmp_path / "store").passages == 23


def test_retrained_encoder_over_a_unfinished_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    """The same directory, other weights: nothing in the settings tells, the probe does."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(tiny_encoder)
    encoder = str(tmp_path / "encoder")
    model.save_pretrained(encoder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(encoder)
    unfinished(tiny_corpus, encoder, tmp_path / "store", monkeypatch)
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.weight.neg_()
    model.save_pretrained(encoder)
    with pytest.raises(XqgError, match=r"other settings: the encoder's vector of the probe text differs by \d+%"):
        encode_main(tiny_corpus, encoder, tmp_path / "store", "--chunk-size", 3)


def test_a_complete_store_met_again(tiny_encoder, tiny_corpus, tmp_path, capsys):
    store = tmp_path / "store"
    encode_main(tiny_corpus, tiny_encoder, store)
    before = directory_bytes(store)
    capsys.readouterr()
    encode_main(tiny_corpus, tiny_encoder, store)
    assert f"{store}: already there, a complete store of this corpus and encoder" in capsys.readouterr().err
    with pytest.raises(XqgError, match=r"holds a finished embedding store with other settings: corpus\.queries\.ar is"):
        encode_main(tiny_corpus, tiny_encoder, store, "--languages", "fi")
    assert directory_bytes(store) == before
    encode_main(tiny_corpus, tiny_encoder, store, "--overwrite", "--languages", "fi")
    assert EmbeddingStore(store).languages == ["fi"]


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_outputs_that_are_refused_before_the_encoder_is_loaded(tiny_encoder, tiny_corpus, tmp_path, overwrite):
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
    (tmp_path / "store" / "run.txt").write_text("precious")
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "store.json").write_text("{}")
    (tmp_path / "fake" / "notes").mkdir()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.jsonl").write_bytes(tiny_corpus.read_bytes())
    before = directory_bytes(tmp_path)
    refused = {"fake": r"store\.json: format None version None", "corpus/store": "lies in .*corpus, which is read"}
    if overwrite:
        refused |= {"fake": r"fake exists and is no embedding store", "store": r"holds run\.txt, which pyserini_xqg"}
    for name, message in refused.items():
        with pytest.raises(XqgError, match=message):
            encode_main(corpus, "no/encoder", tmp_path / name, *overwrite)
    assert directory_bytes(tmp_path) == before


def test_second_process_is_refused(tiny_encoder, tiny_corpus, tmp_path):
    """Two real commands at once: one writes the store, the other ends with an error and changes nothing."""
    corpus = write_jsonl(tmp_path / "big.jsonl", corpus_records(120))
    arguments = ["--corpus", corpus, "--encoder", tiny_encoder, "--output", tmp_path / "store", *PLAIN]
    with subprocess.Popen(
        [sys.executable, "-m", "pyserini_xqg.encode", *arguments, "--chunk-size", "1"],
        stderr=subprocess.PIPE,
        env=command_environment(),
    ) as first:
        log = tmp_path / "store" / "chunks.jsonl"
        while not (log.exists() and log.stat().st_size):
            assert first.poll() is None, first.stderr.read()
            time.sleep(0.001)
        try:
            first.send_signal(signal.SIGSTOP)  # holds the lock until we let it go on
            with pytest.raises(XqgError, match="store: another process is writing it"):
                encode_main(corpus, tiny_encoder, tmp_path / "store", "--chunk-size", "1")
        finally:
            first.send_signal(signal.SIGCONT)
        errors = first.communicate()[1]
    assert first.returncode == 0, errors
    assert EmbeddingStore(tmp_path / "store").passages == 120


def test_corpus_that_shrinks_while_it_is_read(tiny_encoder, tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "a.jsonl", corpus_records(12))
    corpus = Corpus(path)
    scan = corpus.scan
    monkeypatch.setattr(corpus, "scan", lambda: (scan(), write_jsonl(path, corpus_records(12)[:9]))[0])
    embedder = Embedder(EncoderConfig(tiny_encoder), "cpu")
    with pytest.raises(XqgError, match=r"9 of 12 passages were written\. The corpus changed"):
        encoding.encode_corpus(corpus, embedder, tmp_path / "store", store=encoding.StoreOptions(chunk_size=4))
    with pytest.raises(XqgError, match="unfinished"):
        EmbeddingStore(tmp_path / "store")


BAD_INPUTS = {
    "malformed line": (['{"docid": "a", "text": "A."}', "{"], [], ["line 2: malformed JSON"]),
    "duplicate": (['{"docid": "a", "text": "A."}'] * 2, [], ["line 2 (docid a)", "already at"]),
    "half a character": (['{"docid": "a", "text": "\\ud800"}'], [], ["line 1 (docid a)", "surrogate"]),
    "absent language": (['{"docid": "a", "text": "A."}'], ["--languages", "fi"], ["no generated queries in fi"]),
    "query file": (['{"docid": "a", "text": "A."}'], ["--queries", "missing.jsonl"], ["missing.jsonl: no such file"]),
    "device": (['{"docid": "a", "text": "A."}'], ["--device", "abacus"], ["--device abacus: no such device"]),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_leaves_nothing(tiny_encoder, tmp_path, name):
    lines, options, phrases = BAD_INPUTS[name]
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(XqgError) as caught:
        encode_main(corpus, tiny_encoder, tmp_path / "deep" / "store", *options)
    assert all(phrase in str(caught.value) for phrase in phrases)
    assert not (tmp_path / "deep").exists()


def test_bad_input_ends_in_one_line(tiny_encoder, tmp_path):
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("{\n")
    arguments = ["--corpus", corpus, "--encoder", tiny_encoder, "--output", tmp_path / "store"]
    result = run_command("encode", *arguments, *PLAIN)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {corpus}, line 1: ")


@pytest.mark.parametrize("option", ["--chunk-size", "--batch-tokens", "--max-queries", "--max-length"])
def test_numbers_that_are_none(option):
    arguments = ["--corpus", "c", "--encoder", "e", "--output", "o", option]
    for value in ("0", "-3"):
        assert_one_error(run_command("encode", *arguments, value), f"{option} {value}: must be a number of at least 1")
    assert f"argument {option}: invalid whole number value: 'two'" in run_command("encode", *arguments, "two").stderr

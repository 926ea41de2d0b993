"""From a corpus to a store: the numbers, and that killing it at any moment changes nothing in the end."""

import json
import multiprocessing
import random
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
    run_module,
    write_jsonl,
)

from pyserini_xqg import encode
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.text.corpus import Corpus
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
    calls, original = [], encode.encode_chunk

    def interrupted(*chunk):
        calls.append(1)
        if len(calls) > chunks:
            raise KeyboardInterrupt
        return original(*chunk)

    with monkeypatch.context() as patch:
        patch.setattr(encode, "encode_chunk", interrupted)
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


def where_it_stands(store) -> tuple[int, str]:
    """Chunks committed, and whether some of the next one lies on the disk."""
    if not (store / "store.json").exists():
        return 0, "before store.json"
    try:
        EmbeddingStore(store)
    except XqgError as error:
        assert "unfinished" in str(error)
    else:
        pytest.fail("the store was finished before the kill")
    if not (store / "chunks.jsonl").exists():
        return 0, "opening files"
    lines = (store / "chunks.jsonl").read_bytes()
    done = lines.count(b"\n")
    rows = sum(json.loads(line)["rows"] for line in lines[: lines.rfind(b"\n") + 1].splitlines())
    sizes = {name: (store / name).stat().st_size if (store / name).exists() else 0 for name in WRITTEN}
    torn = [name for name, row_bytes in WRITTEN.items() if sizes[name] > 128 + rows * row_bytes]
    return done, f"in a write, {len(torn)} of {len(WRITTEN)} files" if torn else "between writes"


WRITTEN = {"passages.npy": 32 * 4, **{f"sum.{code}.npy": 32 * 4 for code in LANGUAGES},
           **{f"count.{code}.npy": 4 for code in LANGUAGES}}  # fmt: skip
"""Files that get bytes with every chunk, and how many a row."""


def test_kill_nine_at_twenty_random_moments(tiny_encoder, tmp_path, record_property):
    """Kills spread over the whole of the encoding; what is then finished is what an undisturbed process writes."""
    corpus = write_jsonl(tmp_path / "a.jsonl", corpus_records(500))
    store = tmp_path / "store"
    options = ("--chunk-size", "2", "--keep-query-vectors")
    encode_main(corpus, tiny_encoder, tmp_path / "whole", *options)
    arguments = ["--corpus", corpus, "--encoder", tiny_encoder, "--output", store, *PLAIN, *options]
    # Forked from a process that has torch already: kills hit the work, not the imports, and cost 0.3 s each.
    processes = multiprocessing.get_context("forkserver")
    models = [f"transformers.models.{name}" for name in ("auto.modeling_auto", "auto.tokenization_auto", "bert")]
    processes.set_forkserver_preload(
        ["pyserini_xqg.encode", "torch", *models, "transformers.models.bert.modeling_bert"]
    )
    chance, log, ends = random.Random(2305), store / "chunks.jsonl", []
    for target in sorted(chance.sample(range(240), 20)):  # of 250 chunks
        pause = chance.random() * 0.01  # about a chunk's time, most of which is its write
        process = processes.Process(target=encode.main, args=([str(argument) for argument in arguments],))
        process.start()
        while process.is_alive() and (log.read_bytes().count(b"\n") if log.exists() else -1) < target:
            time.sleep(0.0005)
        time.sleep(pause)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        ends.append(where_it_stands(store))
    moments = "; ".join(f"chunk {done} {where}" for done, where in ends)
    record_property("kills", moments)
    print(f"killed at {moments}")
    assert any("in a write" in where for _, where in ends), moments
    result = run_module("pyserini_xqg.encode", *arguments)
    assert result.returncode == 0, result.stderr
    assert "continues after" in result.stderr
    assert directory_bytes(store) == directory_bytes(tmp_path / "whole")


# What is refused


def half_done(corpus, encoder, output, monkeypatch):
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
def test_other_settings_over_a_half_done_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch, options, difference):
    half_done(tiny_corpus, tiny_encoder, tmp_path / "store", monkeypatch)
    before = directory_bytes(tmp_path / "store")
    assert before["chunks.jsonl"].count(b"\n") == 1
    with pytest.raises(XqgError, match="half-done store with other settings") as caught:
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3, *options)
    assert difference in str(caught.value)
    assert directory_bytes(tmp_path / "store") == before
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3, *options, "--overwrite")
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "direct", "--chunk-size", 3, *options)
    assert directory_bytes(tmp_path / "store") == directory_bytes(tmp_path / "direct")


def test_changed_corpus_over_a_half_done_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    half_done(tiny_corpus, tiny_encoder, tmp_path / "store", monkeypatch)
    records = corpus_records(23)
    records[20]["text"] = "changed"
    write_jsonl(tiny_corpus, records)
    with pytest.raises(XqgError, match=r"other settings: corpus\.sha256 is '[0-9a-f]{64}' there"):
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--chunk-size", 3)


@pytest.mark.parametrize("changed", [True, False])
def test_corpus_changed_while_it_is_encoded(tiny_encoder, tiny_corpus, tmp_path, monkeypatch, changed):
    own = encode.encode_chunk

    def encode_and_write(*arguments):
        records = corpus_records(23)
        records[0]["text"] = "changed" if changed else records[0]["text"]
        write_jsonl(tiny_corpus, records)  # the time of change is another, even where the content is not
        return own(*arguments)

    monkeypatch.setattr(encode, "encode_chunk", encode_and_write)
    if changed:
        with pytest.raises(XqgError, match=r"were changed while they were encoded.*--overwrite"):
            encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
        with pytest.raises(XqgError, match="unfinished"):
            EmbeddingStore(tmp_path / "store")
    else:
        encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
        assert EmbeddingStore(tmp_path / "store").passages == 23


def test_retrained_encoder_over_a_half_done_store(tiny_encoder, tiny_corpus, tmp_path, monkeypatch):
    """The same directory, other weights: nothing in the settings tells, the probe does."""
    import torch
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(tiny_encoder)
    encoder = str(tmp_path / "encoder")
    model.save_pretrained(encoder)
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(encoder)
    half_done(tiny_corpus, encoder, tmp_path / "store", monkeypatch)
    with torch.no_grad():
        model.encoder.layer[1].intermediate.dense.weight.neg_()
    model.save_pretrained(encoder)
    with pytest.raises(XqgError, match=r"other settings: the encoder's vector of the probe text differs by \d+%"):
        encode_main(tiny_corpus, encoder, tmp_path / "store", "--chunk-size", 3)


def test_complete_store_is_refused_before_the_encoder_is_loaded(tiny_encoder, tiny_corpus, tmp_path):
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "store")
    before = directory_bytes(tmp_path / "store")
    with pytest.raises(XqgError, match=r"store exists\..*--overwrite"):
        encode_main(tiny_corpus, "no/encoder", tmp_path / "store")
    assert directory_bytes(tmp_path / "store") == before
    encode_main(tiny_corpus, tiny_encoder, tmp_path / "store", "--overwrite", "--languages", "fi")
    assert EmbeddingStore(tmp_path / "store").languages == ["fi"]


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
        encode.encode_corpus(corpus, embedder, tmp_path / "store", chunk_size=4)
    with pytest.raises(XqgError, match="unfinished"):
        EmbeddingStore(tmp_path / "store")


BAD_INPUTS = {
    "malformed line": (['{"docid": "a", "text": "A."}', "{"], [], ["line 2: malformed JSON"]),
    "duplicate": (['{"docid": "a", "text": "A."}'] * 2, [], ["line 2 (docid a)", "already at"]),
    "half a character": (['{"docid": "a", "text": "\\ud800"}'], [], ["line 1 (docid a)", "surrogate"]),
    "language": (['{"docid": "a", "text": "A."}'], ["--languages", "fi,xx"], ["--languages", "'xx'"]),
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


@pytest.mark.parametrize("name", ["malformed line", "language", "device"])
def test_bad_input_ends_in_one_line(tiny_encoder, tmp_path, name):
    lines, options, phrases = BAD_INPUTS[name]
    corpus = tmp_path / "a.jsonl"
    corpus.write_text("".join(f"{line}\n" for line in lines))
    output = tmp_path / "deep" / "store"
    result = run_module(
        "pyserini_xqg.encode", "--corpus", corpus, "--encoder", tiny_encoder, "--output", output, *options
    )
    assert_one_error(result, *phrases)
    assert not output.parent.exists()


@pytest.mark.parametrize("option", ["--chunk-size", "--batch-tokens", "--max-queries", "--max-length"])
@pytest.mark.parametrize("value", ["0", "-3", "two"])
def test_numbers_that_are_none(option, value, capsys):
    with pytest.raises(SystemExit) as caught:
        encode.main(["--corpus", "c", "--encoder", "e", "--output", "o", option, value])
    assert caught.value.code == 2
    assert option in capsys.readouterr().err


HELP = """
import runpy, sys
sys.argv = ["command", "--help"]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code
import json
print(json.dumps(sorted(set(sys.modules) & set({heavy!r}))), file=sys.stderr)
"""


@pytest.mark.parametrize("module", ["encode", "index"])
def test_help_imports_nothing_heavy(module):
    heavy = ["torch", "faiss", "pyserini", "transformers", "tokenizers", "ir_datasets", "jnius"]
    code = HELP.format(module=f"pyserini_xqg.{module}", heavy=heavy)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=command_environment())
    assert result.returncode == 0, result.stderr
    assert f"python -m pyserini_xqg.{module}" in result.stdout
    assert "--output" in result.stdout
    assert json.loads(result.stderr.splitlines()[-1]) == []

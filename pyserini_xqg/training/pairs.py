"""Training pairs, streamed and checked: a question in some language and a passage that answers it.

Sources: Tevatron's JSONL (``query_id``, ``query``, ``positive_passages``; ``.gz`` and directories too), or
``irds:<dataset-id>`` with queries, qrels and documents. Each positive passage of a query makes one pair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyserini_xqg.corpus import IRDS_PREFIX, Passage, corpus_files, parse_passage
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import read_jsonl
from pyserini_xqg.languages import check_language

LANGUAGE_FIELDS = ("lang", "language")
Languages = Mapping[str, str] | str | None
"""Query id to language, or one language for all, or None where every line says its own."""


@dataclass(frozen=True)
class Pair:
    """A question, its language (ISO 639-1), and a passage that it was asked of."""

    query: str
    language: str
    passage: Passage


class PairSource:
    """Pairs of several sources, which can be iterated any number of times.

    ``languages`` serves the lines that do not say their query's language themselves.
    Every fault raises :class:`XqgError` with file, line and query.

    >>> import json, pathlib
    >>> path = pathlib.Path("/tmp/xqg-doctest-pairs.jsonl")
    >>> passage = {"docid": "7", "title": "Rivers", "text": "The Kemi runs to the sea."}
    >>> line = {"query_id": "1", "query": "Minne Kemi laskee?", "positive_passages": [passage]}
    >>> _ = path.write_text(json.dumps(line))
    >>> [(pair.query, pair.language, pair.passage.docid) for pair in PairSource([path], "fi")]
    [('Minne Kemi laskee?', 'fi', '7')]
    """

    def __init__(self, sources: Sequence[Any], languages: Languages = None) -> None:
        self.sources = [str(source) for source in sources]
        self._languages = languages
        self._files = {source: corpus_files(source) for source in self.sources if not source.startswith(IRDS_PREFIX)}

    def __iter__(self) -> Iterator[Pair]:
        for source in self.sources:
            if source.startswith(IRDS_PREFIX):
                yield from _read_irds(source, self._languages)
                continue
            for path in self._files[source]:
                for number, record in read_jsonl(path):
                    yield from parse_pairs(record, self._languages, f"{path}, line {number}")


def parse_pairs(record: Mapping[str, Any], languages: Languages, where: str) -> Iterator[Pair]:
    """The pairs of one line of Tevatron's format."""
    query_id = record.get("query_id")
    if isinstance(query_id, bool) or not isinstance(query_id, str | int) or query_id == "":
        raise XqgError(f"{where}: 'query_id' is {query_id!r}. Every line needs one, a string or a whole number.")
    where = f"{where} (query_id {query_id})"
    query = _question(record.get("query"), where)
    language = _language(record, str(query_id), languages, where)
    positives = record.get("positive_passages")
    if not isinstance(positives, list) or not positives:
        raise XqgError(f"{where}: no positive passage. Give each query one in 'positive_passages', or remove its line.")
    for number, positive in enumerate(positives, start=1):
        if not isinstance(positive, dict):
            raise XqgError(f"{where}: positive passage {number} is no JSON object with docid, title and text.")
        yield Pair(query, language, parse_passage(positive, f"{where}, positive passage {number}"))


def _question(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise XqgError(f"{where}: 'query' is {value!r}. It must be a text that is not empty.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise XqgError(f"{where}: 'query' holds half a surrogate pair. Remove or mend that character.") from error
    return " ".join(value.split())


def _language(record: Mapping[str, Any], query_id: str, languages: Languages, where: str) -> str:
    for name in LANGUAGE_FIELDS:
        if record.get(name) is not None:
            value = record[name]
            # XOR-TyDi's Arabic training questions are published with " ar".
            return check_language(value.strip() if isinstance(value, str) else value, f"{where}, {name!r}")
    language = languages if isinstance(languages, str) or languages is None else languages.get(query_id)
    if language is None:
        raise XqgError(
            f"{where}: no language. Add 'lang' to the line, or pass --topic-languages: a code, a map, or a dataset "
            "with this query, such as irds:xor-tydi/train."
        )
    return check_language(language, "--topic-languages")


def _read_irds(source: str, languages: Languages) -> Iterator[Pair]:
    from pyserini_xqg import datasets

    dataset = datasets.load(source.removeprefix(IRDS_PREFIX))
    for part in ("queries", "qrels", "docs"):
        if not getattr(dataset, f"has_{part}")():
            raise XqgError(
                f"{source}: this dataset has no {part}. Training pairs need queries, qrels and docs: name a dataset "
                "with all three, or pass Tevatron's JSONL (for XOR-TyDi that of Tevatron/xor-tydi, with "
                "--topic-languages irds:xor-tydi/train)."
            )
    queries = {query.query_id: query for query in dataset.queries_iter()}
    documents = dataset.docs_store()
    for qrel in dataset.qrels_iter():
        if qrel.relevance <= 0:
            continue
        where = f"{source}, query {qrel.query_id}"
        if (query := queries.get(qrel.query_id)) is None:
            raise XqgError(f"{where}: it has judgements, but is none of the queries. Pass --data as files instead.")
        own = getattr(query, "lang", None) or dataset.queries_lang()
        record = {"lang": own} if own and not isinstance(languages, str) else {}
        language = _language(record, qrel.query_id, languages, where)
        try:
            document = documents.get(qrel.doc_id)
        except KeyError as error:
            raise XqgError(f"{where}: document {qrel.doc_id!r} is judged, but none of the documents.") from error
        passage = {"docid": document.doc_id, "title": getattr(document, "title", None)}
        passage["text"] = document.text if hasattr(document, "text") else document.default_text()
        yield Pair(_question(query.default_text(), where), language, parse_passage(passage, where))


def is_held_out(docid: str, fraction: float, seed: int) -> bool:
    """Whether a passage is among those held out; the same answer wherever and whenever it is asked.

    >>> sum(is_held_out(str(number), 0.2, 0) for number in range(10_000))
    1949
    """
    digest = hashlib.blake2b(f"{seed}\0{docid}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < fraction * 2**64


@dataclass(frozen=True)
class PairCounts:
    """What a checking pass found. sha256 identifies the content, whatever files hold it."""

    pairs: int
    languages: dict[str, int]
    sha256: str

    def describe(self) -> str:
        """Numbers for a line of report."""
        return f"{self.pairs:,} pairs ({', '.join(f'{code} {number:,}' for code, number in self.languages.items())})"


class Counter:
    """Counts and hashes the pairs it is shown."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._languages: dict[str, int] = {}

    def add(self, pair: Pair) -> None:
        """Count one."""
        passage = pair.passage
        content = [pair.query, pair.language, passage.docid, passage.title, passage.text]
        self._digest.update(json.dumps(content, ensure_ascii=False).encode())
        self._languages[pair.language] = self._languages.get(pair.language, 0) + 1

    def counts(self) -> PairCounts:
        """What was shown so far."""
        number = sum(self._languages.values())
        return PairCounts(number, dict(sorted(self._languages.items())), self._digest.hexdigest())


class Split:
    """Training pairs and held-out pairs: a fraction of the passages, or other sources.

    Parameters
    ----------
    training : the pairs, or all of which some are held out.
    held_out : pairs to hold out, or the fraction of passages to hold out, 0 for none. A passage is held out with all
        its pairs, so that no text is on both sides.
    seed : decides which passages.
    """

    def __init__(self, training: PairSource, held_out: PairSource | float, seed: int) -> None:
        self._training, self._held_out, self._seed = training, held_out, seed

    def training(self) -> Iterable[Pair]:
        """The pairs to train on."""
        return (pair for pair in self._training if not self._is_held_out(pair))

    def held_out(self) -> Iterable[Pair]:
        """The others."""
        if isinstance(self._held_out, PairSource):
            return iter(self._held_out)
        return (pair for pair in self._training if self._is_held_out(pair))

    def _is_held_out(self, pair: Pair) -> bool:
        fraction = self._held_out
        return isinstance(fraction, float) and is_held_out(pair.passage.docid, fraction, self._seed)

    def scan(self) -> tuple[PairCounts, PairCounts]:
        """Check every pair of both sides; :class:`XqgError` where one side has none that should have some."""
        from pyserini_xqg.cli import progress, say

        training, held_out = Counter(), Counter()
        held_out_docids: set[str] = set()
        shared = 0
        with progress(unit="pairs", description="checking") as bar:
            if isinstance(self._held_out, PairSource):
                for pair in self._held_out:
                    held_out.add(pair)
                    held_out_docids.add(pair.passage.docid)
                    bar.update()
            for pair in self._training:
                aside = self._is_held_out(pair)
                (held_out if aside else training).add(pair)
                shared += pair.passage.docid in held_out_docids
                bar.update()
        counts = training.counts(), held_out.counts()
        names = ", ".join(self._training.sources)
        if not counts[0].pairs:
            if counts[1].pairs and not isinstance(self._held_out, PairSource):
                raise XqgError(
                    f"{names}: --held-out {self._held_out} takes all {counts[1].pairs} pairs and leaves none to train "
                    "on. Pass a smaller fraction or more passages."
                )
            raise XqgError(f"{names}: no pair in it. Pass lines of query_id, query and positive_passages.")
        if not counts[1].pairs and isinstance(self._held_out, PairSource):
            raise XqgError(f"--held-out {', '.join(self._held_out.sources)}: no pair in it.")
        if not counts[1].pairs and self._held_out:
            raise XqgError(
                f"{names}: --held-out {self._held_out} of the passages holds none out. Pass a larger fraction, a file "
                "of pairs, or --held-out 0 to train without."
            )
        if shared:
            say(f"warning: {shared:,} training pairs are on passages that are held out too: held-out loss flatters")
        return counts

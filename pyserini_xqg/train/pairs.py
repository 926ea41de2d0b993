"""What is trained on and what is held out, of examples or of pairs: a question and one passage that answers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.means import ALL_TOPICS
from pyserini_xqg.train.examples import Example, ExampleSource, Languages
from pyserini_xqg.train.options import QuestionOptions

_BATCH = 512  # rows written together


class PairSource(ExampleSource):
    """Examples with one positive passage each and no negative ones; each must have a language.

    >>> import json, pathlib
    >>> path = pathlib.Path("/tmp/xqg-doctest-pairs.jsonl")
    >>> passage = {"docid": "7", "title": "Rivers", "text": "The Kemi runs to the sea."}
    >>> line = {"query_id": "1", "query": "Minne Kemi laskee?", "positive_passages": [passage]}
    >>> _ = path.write_text(json.dumps(line))
    >>> [(pair.query, pair.language, pair.passage.docid) for pair in PairSource([path], "fi")]
    [('Minne Kemi laskee?', 'fi', '7')]
    """

    noun: ClassVar[str] = "pairs"

    def __init__(self, sources: Sequence[Any], languages: Languages = None) -> None:
        super().__init__(sources, languages, negatives=False)

    def __iter__(self) -> Iterator[Any]:
        for example in super().__iter__():
            if example.language is None:
                raise XqgError(
                    f"{example.where}: no language. Add 'lang' to the line, or pass --topic-languages: a code, a map, "
                    "or a dataset with this query, such as irds:xor-tydi/train."
                )
            for passage in example.positives:
                yield replace(example, positives=(passage,))


def is_held_out(docid: str, fraction: float, seed: int) -> bool:
    """Whether a passage is among those held out; the same answer wherever and whenever it is asked.

    >>> sum(is_held_out(str(number), 0.2, 0) for number in range(10_000))
    1949
    """
    digest = hashlib.blake2b(f"{seed}\0{docid}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") < fraction * 2**64


@dataclass
class PairCounts:
    """What a checking pass found: number of pairs, or examples, and how many in each language (``all``: not known).

    sha256 identifies the content, whatever files hold it.
    """

    pairs: int = 0
    languages: dict[str, int] = field(default_factory=dict)
    sha256: str = hashlib.sha256().hexdigest()

    def describe(self, noun: str = PairSource.noun) -> str:
        """Numbers for a line of report."""
        languages = ", ".join(f"{code} {number:,}" for code, number in sorted(self.languages.items()))
        return f"{self.pairs:,} {noun} ({languages})"

    def add(self, pair: Example) -> None:
        """Count one."""
        content = self.sha256 + json.dumps(pair.content, ensure_ascii=False)
        self.sha256 = hashlib.sha256(content.encode()).hexdigest()
        self.pairs += 1
        language = pair.language or ALL_TOPICS
        self.languages[language] = self.languages.get(language, 0) + 1


class Split:
    """Training pairs and held-out pairs, or examples: a fraction of the passages, or other sources.

    Parameters
    ----------
    training : the pairs, or all of which some are held out.
    held_out : pairs to hold out, or the fraction of passages to hold out, 0 for none. A passage is held out with all
        its pairs, so that no text is on both sides; of an example, the first positive passage counts.
    seed : decides which passages.
    """

    def __init__(self, training: ExampleSource, held_out: ExampleSource | float, seed: int) -> None:
        self._all, self._seed = training, seed
        self._apart = held_out if isinstance(held_out, ExampleSource) else None
        self._fraction = 0.0 if isinstance(held_out, ExampleSource) else held_out
        self.noun = training.noun

    @classmethod
    def of(cls, questions: QuestionOptions, source: type[ExampleSource], seed: int) -> Split:
        """What the options name, read as pairs or as examples."""
        from pyserini_xqg.text.topics import read_topic_languages

        languages = read_topic_languages(questions.topic_languages) if questions.topic_languages else None
        held_out = questions.held_out_fraction
        apart = source([questions.held_out], languages) if held_out is None else held_out
        return cls(source(questions.data, languages), apart, seed)

    def training(self) -> Iterable[Any]:
        """The pairs to train on."""
        return (pair for pair in self._all if not self.holds_out(pair.passage.docid))

    def held_out(self) -> Iterable[Any]:
        """The others."""
        return iter(self._apart) if self._apart else (pair for pair in self._all if self.holds_out(pair.passage.docid))

    def holds_out(self, docid: str) -> bool:
        """Whether the passage is of the held-out fraction; False where other sources are held out."""
        return is_held_out(docid, self._fraction, self._seed)

    def scan(self) -> tuple[PairCounts, PairCounts]:
        """Check every pair of both sides; :class:`XqgError` where one side has none that should have some."""
        training, held_out = PairCounts(), PairCounts()
        held_out_docids: set[str] = set()
        shared = 0
        with progress(unit=self.noun, description="checking") as bar:
            for pair in self._apart or ():
                held_out.add(pair)
                held_out_docids.add(pair.passage.docid)
                bar.update()
            for pair in self._all:
                (held_out if self.holds_out(pair.passage.docid) else training).add(pair)
                shared += pair.passage.docid in held_out_docids
                bar.update()
        self._check(training, held_out)
        if shared:
            say(f"warning: {shared:,} training {self.noun} are on passages that are held out too: their scores flatter")
        return training, held_out

    def _check(self, training: PairCounts, held_out: PairCounts) -> None:
        names = ", ".join(self._all.sources)
        if self._apart and not held_out.pairs:
            raise XqgError(f"--held-out {', '.join(self._apart.sources)}: no {self.noun[:-1]} in it.")
        if not training.pairs and held_out.pairs and not self._apart:
            raise XqgError(
                f"{names}: --held-out {self._fraction} takes all {held_out.pairs} {self.noun} and leaves none to train "
                "on. Pass a smaller fraction or more passages."
            )
        if not training.pairs:
            raise XqgError(f"{names}: no {self.noun[:-1]} in it. Pass lines of query_id, query and positive_passages.")
        if self._fraction and not held_out.pairs:
            raise XqgError(
                f"{names}: --held-out {self._fraction} of the passages holds none out. Pass a larger fraction, a file "
                f"of {self.noun}, or --held-out 0 to train without."
            )


def write_rows(path: Path, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as an Arrow stream, which ``datasets.Dataset.from_file`` maps into memory.

    columns : name to type, ``string``, ``int32``, or ``list<…>`` of these.
    """
    import pyarrow as pa

    def arrow_type(name: str) -> Any:
        inside = name.removeprefix("list<").removesuffix(">")
        return pa.list_(pa.type_for_alias(inside)) if inside != name else pa.type_for_alias(name)

    schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in chunks_of(rows, _BATCH):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))

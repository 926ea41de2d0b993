"""BM25 over passages, and over passages with their queries appended (doc2query), by Pyserini's Lucene classes.

How texts are cut into terms is the question where passages are English and queries in many languages:

``language``
    ``doc2query`` has one index a topic language, with Lucene's own analysis of that language (what Pyserini's
    ``--language`` chooses) and that language's queries alone, and each topic goes to its language's index. Languages
    for which Lucene has none get the English one. ``bm25`` has one index of the (English) passages, with English
    analysis.
``en``
    One index each, with all queries; Pyserini's default analysis, which is for English (standard tokenizer, Porter
    stemmer, stop words).
``wordpiece``
    One index each, with all queries; passages, queries and topics are cut by the encoder's own tokenizer
    (Pyserini's ``--pretokenized``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.compare.expanded_text import append_queries
from pyserini_xqg.compare.runs import Ranking, best_of_passages, median_milliseconds
from pyserini_xqg.core.cli import progress
from pyserini_xqg.text.passages import Passage
from pyserini_xqg.vectors.settings import compose_passages

if TYPE_CHECKING:
    from pyserini_xqg.compare.settings import LexicalOptions

_DOCUMENTS = 1000
_BATCH = 256

Tokenize = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Analysis:
    """How an index cuts texts into terms: a language's way, or by ``tokenize`` and at blanks."""

    language: str = "en"
    tokenize: Tokenize | None = None

    @property
    def arguments(self) -> list[str]:
        """Of Pyserini's indexing command."""
        return ["-pretokenized"] if self.tokenize else ["-language", self.language]

    def text(self, text: str) -> str:
        """The text as it is indexed or searched."""
        return " ".join(self.tokenize(text)) if self.tokenize else text

    def set_up(self, searcher: Any) -> None:
        """Let Pyserini's searcher cut queries the same way."""
        if self.tokenize:
            from pyserini.analysis import JWhiteSpaceAnalyzer

            searcher.set_analyzer(JWhiteSpaceAnalyzer())
        elif self.language != "en":
            searcher.set_language(self.language)


@dataclass(frozen=True)
class LuceneIndex:
    """One index: its analysis, and the languages of the queries that are appended to its passages."""

    analysis: Analysis
    query_languages: Sequence[str] = ()


def plan_indexes(
    name: str, analysis: str, topic_languages: Iterable[str], query_languages: Sequence[str], tokenize: Tokenize
) -> dict[str | None, LuceneIndex]:
    """The indexes of ``bm25`` or ``doc2query``: topic language to index, or None to the only one.

    >>> plan = plan_indexes("doc2query", "language", ["fi", "te"], ["fi"], str.split)
    >>> {code: (index.analysis.language, index.query_languages) for code, index in plan.items()}
    {'fi': ('fi', ['fi']), 'te': ('te', [])}
    """
    if name == "doc2query" and analysis == "language":
        return {
            code: LuceneIndex(Analysis(code), [code] if code in query_languages else []) for code in topic_languages
        }
    cut = Analysis(tokenize=tokenize if analysis == "wordpiece" else None)
    return {None: LuceneIndex(cut, query_languages if name == "doc2query" else ())}


def languages_without_analyzer(languages: Iterable[str]) -> list[str]:
    """Those for which Anserini has no analysis, and takes the English one."""
    from pyserini.pyclass import autoclass

    known = autoclass("io.anserini.analysis.AnalyzerMap").analyzerMap
    return [code for code in languages if code != "en" and not known.containsKey(code)]


def quiet_lucene() -> None:
    """Keep Lucene's and Anserini's log off the standard streams; warnings remain."""
    from pyserini.pyclass import autoclass

    level = autoclass("org.apache.logging.log4j.Level")
    autoclass("org.apache.logging.log4j.core.config.Configurator").setRootLevel(level.WARN)


def build_lucene_index(
    passages: Iterable[Passage], output: str | Path, index: LuceneIndex, fields: Sequence[str], threads: int = 1
) -> None:
    """Write a Lucene index of the passages (title and text, or those of ``fields``) and their queries."""
    from pyserini.index.lucene import LuceneIndexer

    with progress(passages, unit="passages") as stream:
        arguments = ["-index", str(Path(output).absolute()), *index.analysis.arguments]
        indexer = LuceneIndexer(args=arguments, threads=threads)
        rest = iter(stream)
        while some := list(islice(rest, _DOCUMENTS)):
            indexer.add_batch_dict(
                [{"id": one.docid, "contents": index.analysis.text(_contents(one, index, fields))} for one in some]
            )
        indexer.close()


def _contents(passage: Passage, index: LuceneIndex, fields: Sequence[str]) -> str:
    titles = [passage.title] if "title" in fields else None
    (text,) = compose_passages([passage.text if "text" in fields else ""], titles)
    return append_queries(text, passage, index.query_languages)


class LexicalSearch:
    """Topics' texts against a Lucene index, or each against the index of its language.

    Parameters
    ----------
    indexes
        Language to (directory, analysis); a single index stands under None.
    languages
        Topic to language; read where there are several indexes.
    options
        Of BM25.
    """

    def __init__(
        self,
        indexes: Mapping[str | None, tuple[Path, Analysis]],
        languages: Mapping[str, str],
        hits: int,
        threads: int,
        options: LexicalOptions,
    ) -> None:
        from pyserini.search.lucene import LuceneSearcher

        self._searchers, self._analyses = {}, {}
        for key, (path, analysis) in indexes.items():
            searcher = LuceneSearcher(str(path.absolute()))
            analysis.set_up(searcher)
            searcher.set_bm25(options.k1, options.b)
            self._searchers[key], self._analyses[key] = searcher, analysis
        self._languages, self._hits, self._threads = languages, hits, threads

    def _key(self, topic: str) -> str | None:
        return None if None in self._searchers else self._languages[topic]

    def run(self, texts: Mapping[str, str]) -> dict[str, Ranking]:
        """Topic to its ranking, in the order of ``texts``; nothing for a topic of which no term is in the index."""
        found: dict[str, Ranking] = {}
        for key, searcher in self._searchers.items():
            topics = [topic for topic in texts if self._key(topic) == key]
            for first in range(0, len(topics), _BATCH):
                some = topics[first : first + _BATCH]
                queries = [self._analyses[key].text(texts[topic]) for topic in some]
                hits = searcher.batch_search(queries, some, self._hits, self._threads)
                found |= {topic: best_of_passages(hits[topic] or [], self._hits, None) for topic in some}
        return {topic: found[topic] for topic in texts}

    def milliseconds(self, texts: Mapping[str, str], repeat: int, most: int) -> float:
        """Median time of the search of one topic, its text given."""

        def search(topic: str) -> Ranking:
            key = self._key(topic)
            hits = self._searchers[key].search(self._analyses[key].text(texts[topic]), self._hits)
            return best_of_passages(hits, self._hits, None)

        return median_milliseconds(search, list(texts), repeat, most)

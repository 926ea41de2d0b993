"""BM25 over passages, and over passages with their queries appended (doc2query), by Pyserini's Lucene classes.

Texts are cut into terms by Lucene's own analysis of each language (what Pyserini's ``--language`` chooses), or by the
English one, which languages get that Lucene does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


@dataclass(frozen=True)
class LuceneIndex:
    """One index: the language whose analysis it has, and those of the queries appended to its passages."""

    language: str = "en"
    query_languages: Sequence[str] = ()

    def build(self, passages: Iterable[Passage], output: Path, fields: Sequence[str]) -> None:
        """Write the index of the passages (title and text, or those of ``fields``) and their queries."""
        from pyserini.index.lucene import LuceneIndexer

        with progress(passages, unit="passages") as stream:
            indexer = LuceneIndexer(args=["-index", str(output.absolute()), "-language", self.language], threads=1)
            rest = iter(stream)
            while some := list(islice(rest, _DOCUMENTS)):
                indexer.add_batch_dict([{"id": one.docid, "contents": self._contents(one, fields)} for one in some])
            indexer.close()

    def _contents(self, passage: Passage, fields: Sequence[str]) -> str:
        titles = [passage.title] if "title" in fields else None
        (text,) = compose_passages([passage.text if "text" in fields else ""], titles)
        return append_queries(text, passage, self.query_languages)

    def searcher(self, directory: Path, options: LexicalOptions) -> Any:
        """Pyserini's, which cuts queries the same way."""
        from pyserini.search.lucene import LuceneSearcher

        searcher = LuceneSearcher(str(directory.absolute()))
        if self.language != "en":
            searcher.set_language(self.language)
        searcher.set_bm25(options.k1, options.b)
        return searcher


def plan_indexes(
    name: str, analysis: str, topic_languages: Iterable[str], query_languages: Sequence[str]
) -> dict[str | None, LuceneIndex]:
    """The indexes of ``bm25`` or ``doc2query``: topic language to index, or None to the only one.

    >>> plan = plan_indexes("doc2query", "language", ["fi", "te"], ["fi"])
    >>> {code: (index.language, index.query_languages) for code, index in plan.items()}
    {'fi': ('fi', ['fi']), 'te': ('te', [])}
    """
    if name == "doc2query" and analysis == "language":
        return {code: LuceneIndex(code, [code] if code in query_languages else []) for code in topic_languages}
    return {None: LuceneIndex(query_languages=query_languages if name == "doc2query" else ())}


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


class LexicalSearch:
    """Topics' texts against a Lucene index, or each against the index of its language.

    searchers : Pyserini's, by language; a single one stands under None. languages : topic to language.
    """

    def __init__(self, searchers: Mapping[str | None, Any], languages: Mapping[str, str], hits: int) -> None:
        self._searchers, self._languages, self._hits = searchers, languages, hits

    def _code(self, topic: str) -> str | None:
        return None if None in self._searchers else self._languages[topic]

    def run(self, texts: Mapping[str, str]) -> dict[str, Ranking]:
        """Topic to its ranking, in the order of ``texts``; nothing for a topic of which no term is in the index."""
        found: dict[str, Ranking] = {}
        for code, searcher in self._searchers.items():
            topics = [topic for topic in texts if self._code(topic) == code]
            for first in range(0, len(topics), _BATCH):
                some = topics[first : first + _BATCH]
                hits = searcher.batch_search([texts[topic] for topic in some], some, self._hits, 1)
                found |= {topic: best_of_passages(hits[topic] or [], self._hits) for topic in some}
        return {topic: found[topic] for topic in texts}

    def milliseconds(self, texts: Mapping[str, str]) -> float:
        """Median time of the search of one topic, its text given."""

        def search(topic: str) -> Ranking:
            hits = self._searchers[self._code(topic)].search(texts[topic], self._hits)
            return best_of_passages(hits, self._hits)

        return median_milliseconds(search, list(texts))

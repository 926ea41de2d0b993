"""Parallel sentences: files of translations with English beside them, the held-out ones, and what must not be seen."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_lines
from pyserini_xqg.core.languages import check_language


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A text in English, the same in another language, and that language's code."""

    english: str
    translation: str
    language: str


@dataclass(frozen=True)
class ParallelText:
    """What a training reads: pairs in the order of the sources, and the held-out pairs of each language."""

    training: list[SentencePair]
    held_out: dict[str, list[SentencePair]]
    dropped: int

    def describe(self) -> str:
        """Numbers of pairs, for messages."""
        counts = Counter(pair.language for pair in self.training)
        return f"{len(self.training):,} pairs ({', '.join(f'{code} {counts[code]:,}' for code in sorted(counts))})"

    def fingerprint(self) -> dict[str, object]:
        """What tells this data from other data, as JSON values."""
        digest = hashlib.sha256()
        for pair in (*self.training, *(pair for code in sorted(self.held_out) for pair in self.held_out[code])):
            digest.update("\t".join((pair.english, pair.translation, pair.language)).encode() + b"\n")
        return {
            "pairs": len(self.training),
            "held_out": {code: len(pairs) for code, pairs in sorted(self.held_out.items())},
            "dropped": self.dropped,
            "sha256": digest.hexdigest(),
        }


def read_parallel(sources: Sequence[str], held_out: int = 0, exclude: Sequence[str] = ()) -> ParallelText:
    """Read sources as ``--data`` names them; one that is named twice counts twice.

    held_out : how many pairs of each language to hold out, the last ones of its first source. exclude : text files; no
    training pair keeps a text of theirs, nor one of the held-out pairs, on either side (letters and digits compared,
    whatever their case). Raises :class:`XqgError` for files that do not fit together, naming file and line.
    """
    read = {source: list(read_source(source)) for source in dict.fromkeys(sources)}
    kept: dict[str, list[SentencePair]] = {}
    for source, pairs in read.items() if held_out else ():
        if (language := pairs[0].language) in kept:
            continue
        if len(pairs) <= held_out:
            raise XqgError(
                f"--held-out {held_out}: {source} has only {len(pairs):,} pairs in {language}. Hold out fewer, or name "
                "a larger source of that language first."
            )
        kept[language] = pairs[-held_out:]
    banned = {comparable(text) for path in exclude for _, text in read_lines(path)}
    banned |= {
        comparable(text) for pairs in kept.values() for pair in pairs for text in (pair.english, pair.translation)
    }
    banned.discard("")
    pairs = [pair for source in sources for pair in read[source]]
    training = [pair for pair in pairs if banned.isdisjoint(map(comparable, (pair.english, pair.translation)))]
    if not training:
        raise XqgError(f"{', '.join(sources)}: no pair is left to train on. Hold out fewer, or name more data.")
    return ParallelText(training, kept, len(pairs) - len(training))


def source_files(source: str) -> tuple[str, list[str]]:
    """Language and files of a source: a TSV, or the English and the translated one."""
    language, equals, files = source.partition("=")
    if not equals:
        raise XqgError(f"--data {source}: no language. Write LANG={source}, such as ru={source}.")
    check_language(language, f"--data {source}")
    english, colon, translation = files.rpartition(":")
    return language, [english, translation] if colon and not Path(files).exists() else [files]


def read_source(source: str) -> Iterator[SentencePair]:
    """The pairs of one source, in order; those with an empty side are left out and counted on standard error."""
    language, files = source_files(source)
    empty = first = number = 0
    for number, sides in enumerate(_lines_of_both(*files) if files[1:] else _columns(files[0]), start=1):
        english, translation = (" ".join(side.removeprefix("\ufeff").split()) for side in sides)
        if english and translation:
            yield SentencePair(english, translation, language)
        else:
            empty, first = empty + 1, first or number
    if empty == number:
        raise XqgError(f"{source}: no pairs. Expected LANG=ENGLISH:TRANSLATION, or LANG=TSV.")
    if empty:
        say(f"{source}: {empty:,} of {number:,} pairs have an empty side and are left out; the first: line {first}")


def _lines_of_both(english: str, translation: str) -> Iterator[tuple[str, str]]:
    for one, other in zip_longest(read_lines(english), read_lines(translation)):
        if one is None or other is None:
            longer, shorter = (english, translation) if other is None else (translation, english)
            number = (one or other)[0] - 1
            raise XqgError(
                f"{shorter} ends after {number:,} lines, {longer} goes on: line N of one must translate line N of the "
                "other. Find where they part (wc -l), or pass the files that belong together."
            )
        yield one[1], other[1]


def _columns(path: str) -> Iterator[list[str]]:
    for number, line in read_lines(path):
        if len(values := line.split("\t")) != 2:
            raise XqgError(
                f"{path}, line {number}: {len(values)} columns, expected 2 with tabs between: English, translation."
            )
        yield values


def comparable(text: str) -> str:
    """Letters and digits of a text, whatever their case: what two versions of a sentence have in common.

    >>> comparable("Who is  P. Raju?") == comparable("who is P Raju")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if unicodedata.category(character)[0] in "LMN")


def distinct(texts: Iterable[str]) -> list[str]:
    """Each text once, in the order of its first occurrence."""
    return list(dict.fromkeys(texts))

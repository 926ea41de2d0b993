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

SOURCE = "LANG=ENGLISH:TRANSLATION, LANG=TSV or TSV"
"""How a source is named."""


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

    @property
    def languages(self) -> list[str]:
        """Codes of all pairs, sorted."""
        return sorted({pair.language for pair in self.training} | set(self.held_out))

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


def read_parallel(
    sources: Sequence[str], held_out: int = 0, exclude: Sequence[str] = (), languages: Sequence[str] | None = None
) -> ParallelText:
    """Read sources as ``--data`` names them; one that is named twice counts twice.

    held_out : how many pairs of each language (or of each of ``languages``) to hold out, the last ones of its first
    source. exclude : text files; no training pair keeps a text of theirs, nor one of the held-out pairs, on either side
    (letters and digits compared, whatever their case). Raises :class:`XqgError` for files that do not fit together,
    naming file and line.
    """
    read: dict[str, list[SentencePair]] = {}
    for source in sources:
        if source not in read:
            read[source] = list(read_source(source))
    kept: dict[str, list[SentencePair]] = {}
    if held_out:
        for source in read:
            for language in dict.fromkeys(pair.language for pair in read[source]):
                if language in kept or (languages is not None and language not in languages):
                    continue
                own = [pair for pair in read[source] if pair.language == language]
                if len(own) <= held_out:
                    raise XqgError(
                        f"--held-out {held_out}: {source} has only {len(own):,} pairs in {language}. Hold out fewer, "
                        "or name a larger source of that language first."
                    )
                kept[language] = own[-held_out:]
    if missing := sorted(set(languages or ()) - set(kept)):
        raise XqgError(f"--held-out-languages {','.join(missing)}: no source of --data has pairs in it. Leave it out.")
    banned = {comparable(text) for path in exclude for _, text in read_lines(path)}
    banned |= {
        comparable(text) for pairs in kept.values() for pair in pairs for text in (pair.english, pair.translation)
    }
    banned.discard("")
    training, dropped = [], 0
    for source in sources:
        for pair in read[source]:
            if comparable(pair.english) in banned or comparable(pair.translation) in banned:
                dropped += 1
            else:
                training.append(pair)
    if not training:
        raise XqgError(f"{', '.join(sources)}: no pair is left to train on. Hold out fewer, or name more data.")
    return ParallelText(training, kept, dropped)


def source_files(source: str) -> tuple[str, list[str]]:
    """Language (empty if the lines say it) and files of a source: a TSV, or the English and the translated one."""
    language, equals, files = source.partition("=")
    if not equals or Path(source).exists():
        language, files = "", source
    else:
        check_language(language, f"--data {source}")
    english, colon, translation = files.rpartition(":")
    if not colon or Path(files).exists():
        return language, [files]
    if not language:
        raise XqgError(f"--data {source}: no language. Write LANG={source}, such as ru={source}.")
    return language, [english, translation]


def read_source(source: str) -> Iterator[SentencePair]:
    """The pairs of one source, in order; those with an empty side are left out and counted on standard error."""
    language, files = source_files(source)
    empty, first, number = 0, "", 0
    for where, pair in _lines_of_both(*files, language) if files[1:] else _tsv(files[0], language):
        number += 1
        if pair.english and pair.translation:
            yield pair
        else:
            empty, first = empty + 1, first or where
    if empty:
        say(f"{source}: {empty:,} of {number:,} pairs have an empty side and are left out; the first: {first}")
    if empty == number:
        raise XqgError(f"{source}: no pairs. Expected {SOURCE}.")


def _lines_of_both(english: str, translation: str, language: str) -> Iterator[tuple[str, SentencePair]]:
    for one, other in zip_longest(read_lines(english), read_lines(translation)):
        if one is None or other is None:
            longer, shorter = (english, translation) if other is None else (translation, english)
            number = (one or other)[0] - 1
            raise XqgError(
                f"{shorter} ends after {number:,} lines, {longer} goes on: line N of one must translate line N of the "
                "other. Find where they part (wc -l), or pass the files that belong together."
            )
        yield f"line {one[0]}", SentencePair(_tidy(one[1]), _tidy(other[1]), language)


def _tsv(path: str, language: str) -> Iterator[tuple[str, SentencePair]]:
    columns = ["English", "translation"] + ([] if language else ["language"])
    for number, line in read_lines(path):
        values = line.split("\t")
        if len(values) != len(columns):
            cure = "" if language else f" For two columns, write LANG={path}."
            raise XqgError(
                f"{path}, line {number}: {len(values)} columns, expected {len(columns)} with tabs between: "
                f"{', '.join(columns)}.{cure}"
            )
        if not language:
            check_language(values[2], f"{path}, line {number}")
        yield f"line {number}", SentencePair(_tidy(values[0]), _tidy(values[1]), language or values[2])


def _tidy(text: str) -> str:
    return " ".join(text.removeprefix("\ufeff").split())


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

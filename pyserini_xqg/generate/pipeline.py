"""From passages to checked queries: prompts, candidates, refusals, second tries, one chunk after the other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.generate.output import (
    EXAMPLES,
    QueriesWriter,
    check_queries_output,
    generation_differences,
    new_counts,
    passage_line,
    read_sidecar,
    sidecar_path,
)
from pyserini_xqg.generate.prompts import build_prompt
from pyserini_xqg.generate.report import Report
from pyserini_xqg.generate.sampling import Generator
from pyserini_xqg.text.corpus import Corpus, CorpusSummary, Passage
from pyserini_xqg.text.quality import QualityOptions, refusal

QUALITY_CHECKS = ("resample", "drop", "off")
CPU_CHUNK, CTRANSLATE2_CPU_CHUNK, GPU_CHUNK = 32, 128, 512
"""Passages in a chunk: as many as fill batches, and few enough that little is lost and progress soon known."""


@dataclass(frozen=True)
class Plan:
    """What is to be generated from every passage.

    languages : ISO 639-1 codes. num_queries : queries a passage and language. prompt : see
    :func:`pyserini_xqg.generate.prompts.check_prompt`. quality_check : ``resample`` asks again for refused queries,
    in at most ``tries`` rounds, the first included; ``drop`` leaves them out; ``off`` refuses empty ones alone.
    """

    languages: Sequence[str]
    num_queries: int
    prompt: str
    seed: int
    quality_check: str
    tries: int
    rules: QualityOptions
    queries_only: bool = False

    def settings(self) -> dict[str, Any]:
        """JSON values, as the manifest and the sidecar have them."""
        return {
            "languages": list(self.languages),
            "num_queries": self.num_queries,
            "prompt": self.prompt,
            "seed": self.seed,
            "quality_check": self.quality_check,
            "tries": self.tries,
            "quality": None if self.quality_check == "off" else self.rules.to_dict(),
            "queries_only": self.queries_only,
        }

    def refusal(self, text: str, finished: bool, language: str, passage: str, accepted: Sequence[str]) -> str | None:
        """Why a candidate is not taken, or None."""
        if self.quality_check == "off":
            return None if text else "empty"
        if text and not finished:
            return "too_long"
        return refusal(text, language, passage, accepted, self.rules)


def derive_seed(seed: int, chunk: int, language: str, round_: int) -> int:
    """A seed of 32 bits for one call of the generator: depends on nothing that was generated before.

    >>> derive_seed(0, 0, "fi", 0), derive_seed(0, 1, "fi", 0)
    (2475426282, 1176138613)
    """
    digest = hashlib.sha256(f"{seed} {chunk} {language} {round_}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def generate_language(
    generator: Generator, passages: Sequence[Passage], language: str, plan: Plan, chunk: int, counts: dict[str, Any]
) -> list[list[str]]:
    """Queries in one language for the passages of a chunk; what happens is added to ``counts``."""
    prompts = [build_prompt(plan.prompt, language, passage.title, passage.text) for passage in passages]
    lengths = generator.input_lengths(prompts)
    cut = [
        passage.docid for passage, length in zip(passages, lengths, strict=True) if length > generator.max_input_length
    ]
    texts = [f"{passage.title} {passage.text}".strip() for passage in passages]
    accepted: list[list[str]] = [[] for _ in passages]
    for round_ in range(plan.tries):
        missing = [row for row, queries in enumerate(accepted) if len(queries) < plan.num_queries]
        if not missing:
            break
        numbers = [plan.num_queries - len(accepted[row]) for row in missing]
        seed = derive_seed(plan.seed, chunk, language, round_)
        found = generator.generate([prompts[row] for row in missing], numbers, seed)
        for row, candidates in zip(missing, found, strict=True):
            for candidate in candidates:
                text = " ".join(candidate.text.split())
                counts["candidates"][language] += 1
                if reason := plan.refusal(text, candidate.finished, language, texts[row], accepted[row]):
                    counts["refused"][language][reason] += 1
                else:
                    accepted[row].append(text)
    fewer = [
        passage.docid for passage, queries in zip(passages, accepted, strict=True) if len(queries) < plan.num_queries
    ]
    counts["queries"][language] += sum(map(len, accepted))
    for name, docids in (("passages_with_fewer_queries", fewer), ("cut_inputs", cut)):
        counts[name][language] += len(docids)
        counts["examples"][name] = list(dict.fromkeys([*counts["examples"][name], *docids]))[:EXAMPLES]
    return accepted


def generate_corpus(
    corpus: Corpus,
    summary: CorpusSummary,
    generator: Generator,
    plan: Plan,
    output: str | Path,
    *,
    chunk_size: int | None = None,
    shard: Shard | None = None,
    overwrite: bool = False,
    reuse: bool = False,
    wait: float = 0,
    report: Report | None = None,
) -> dict[str, Any]:
    """Write the passages of a corpus, or of a ``shard``, with generated queries to ``output``; returns its sidecar.

    Half-done work with the same settings is continued. With ``reuse``, a complete output with the same settings is
    left as it is. ``wait`` is for how many seconds another process may still hold the output. ``summary`` is what
    :meth:`Corpus.scan` found. ``chunk_size`` None: see :func:`default_chunk_size`.

    Raises :class:`XqgError` for an output that cannot be written, and if the corpus has queries in these languages.
    """
    check_languages(corpus, summary, plan)
    chunk_size = chunk_size or default_chunk_size(generator)
    settings: dict[str, Any] = {
        "corpus": corpus_settings(summary),
        "generator": generator.describe(),
        **plan.settings(),
        "chunk_size": chunk_size,
    }
    first, last = 0, summary.passages
    if shard:
        settings["shard"] = shard.manifest(summary.passages, chunk_size)
        first, last = shard.rows(summary.passages, chunk_size)
    if reuse and (sidecar := _reusable(output, settings, overwrite)):
        say(f"{output}: complete, with these settings; used as it is")
        return sidecar
    report = report or Report(str(output))
    with QueriesWriter(output, settings, overwrite, wait) as writer:
        if writer.rows_done:
            say(f"{output}: continues after {writer.rows_done:,} of {writer.rows:,} passages")
        report.begin(plan.languages, plan.num_queries, writer.rows, writer.rows_done)
        with report:
            rows = islice(corpus, first + writer.rows_done, last)
            number = (first + writer.rows_done) // chunk_size
            while passages := list(islice(rows, chunk_size)):
                counts = new_counts(plan.languages)
                queries: dict[str, list[list[str]]] = {}
                for language in plan.languages:
                    started = time.monotonic()
                    queries[language] = generate_language(generator, passages, language, plan, number, counts)
                    report.add(language, len(passages), counts["queries"][language], time.monotonic() - started)
                    report.name_cut(counts["examples"]["cut_inputs"], generator.max_input_length)
                writer.write(list(_lines(passages, queries, plan.queries_only)), counts)
                report.committed(writer.rows_done)
                number += 1
            sidecar = writer.finish()
    report.summarize(sidecar)
    return sidecar


def _lines(
    passages: Sequence[Passage], queries: Mapping[str, Sequence[Sequence[str]]], queries_only: bool
) -> Iterator[str]:
    for row, passage in enumerate(passages):
        yield passage_line(passage, {language: queries[language][row] for language in queries}, queries_only)


def _reusable(output: str | Path, settings: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
    if not (Path(output).exists() and sidecar_path(output).exists()):
        return None
    sidecar = read_sidecar(output)
    there = {name: value for name, value in sidecar.items() if name not in ("format", "format_version")}
    differences = generation_differences(there, settings)
    if differences and not overwrite:
        raise XqgError(
            f"{output}: generated otherwise: {'; '.join(differences)}. Choose another --output, or pass --overwrite."
        )
    return None if differences else sidecar


def default_chunk_size(generator: Generator) -> int:
    """Passages in a chunk where the user names no number."""
    if generator.device != "cpu":
        return GPU_CHUNK
    return CTRANSLATE2_CPU_CHUNK if generator.describe()["backend"] == "ctranslate2" else CPU_CHUNK


def corpus_settings(summary: CorpusSummary) -> dict[str, Any]:
    """What identifies a corpus in the manifest."""
    return {"passages": summary.passages, "sha256": summary.sha256}


def check_languages(corpus: Corpus, summary: CorpusSummary, plan: Plan) -> None:
    """Refuse languages in which the corpus has generated queries already."""
    if not (there := [language for language in plan.languages if language in summary.queries]):
        return
    left = [language for language in plan.languages if language not in there]
    cure = f"Pass --languages {','.join(left)}" if left else "Name other --languages"
    raise XqgError(
        f"{corpus.source}: has generated queries in {', '.join(there)} already. {cure} to add those alone (what is "
        "there is kept), or pass a corpus without them."
    )


def check_half_done(output: str | Path, overwrite: bool, summary: CorpusSummary, plan: Plan) -> None:
    """Refuse to continue half-done work with other settings, as far as they are known without the model."""
    known = {"corpus": corpus_settings(summary), **plan.settings()}
    check_queries_output(output, overwrite, known, partial=True)

"""The options of ``python -m pyserini_xqg.generate``: what is generated, by which model, and where the work is done."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES, parse_languages
from pyserini_xqg.core.options import at_least, group, option, settings_of
from pyserini_xqg.core.shards import ShardOptions
from pyserini_xqg.datasets.ids import IRDS_PREFIX
from pyserini_xqg.generate.backends import GeneratorOptions
from pyserini_xqg.generate.generator import Generator
from pyserini_xqg.generate.prompts import check_prompt, names_language
from pyserini_xqg.generate.sampling import PAPER_PROMPT, Sampling
from pyserini_xqg.text.quality import QualityOptions, refusal

CPU_CHUNK, CTRANSLATE2_CPU_CHUNK, GPU_CHUNK = 32, 128, 512
"""Passages in a chunk: as many as fill batches, and few enough that little is lost and progress soon known."""


@dataclass(frozen=True)
class Plan:
    """Queries

    What is to be generated from every passage. quality : the rules that a query must pass.
    """

    languages: tuple[str, ...] = option(
        XOR_TYDI_LANGUAGES,
        f"languages to generate queries in, ISO 639-1 codes (default: {','.join(XOR_TYDI_LANGUAGES)})",
        metavar="CODES",
        read=lambda text: tuple(parse_languages(text)),
    )
    num_queries: int = option(5, "queries per passage and language", metavar="N", check=at_least(1))
    prompt: str = option(
        PAPER_PROMPT,
        "input of the model; {language} (its English name), {language_code}, {title} and {text} are filled in",
        metavar="TEXT",
        read=check_prompt,
    )
    seed: int = option(0, "the same seed gives the same queries", metavar="N")
    quality_check: str = option(
        "resample",
        "resample: generate refused queries again; drop: leave them out; off: refuse empty ones alone",
        choices=("resample", "drop", "off"),
    )
    tries: int = option(3, "rounds of resample at most, the first included", metavar="N", check=at_least(1))
    queries_only: bool = option(
        False, "lines of docid and generated_queries, for encode --queries, without the passages"
    )
    quality: QualityOptions = field(default_factory=QualityOptions)

    def settings(self) -> dict[str, Any]:
        """JSON values, as the manifest and the sidecar have them."""
        quality = None if self.quality_check == "off" else self.quality.to_dict()
        return {**settings_of(self), "quality": quality}

    def refusal(self, text: str, finished: bool, language: str, passage: str, accepted: list[str]) -> str | None:
        """Why a candidate is not taken, or None."""
        if self.quality_check == "off":
            return None if text else "empty"
        if text and not finished:
            return "too_long"
        return refusal(text, language, passage, accepted, self.quality)


@dataclass(frozen=True)
class GenerateOptions:
    """Options of ``generate``."""

    corpus: str = option(
        help="JSONL file (.gz too), directory of them, or irds:<dataset-id>; lines of docid, title, text",
        metavar="PATH",
    )
    output: str = option(help="the JSONL file to make or to continue", metavar="FILE")
    overwrite: bool = option(
        False, "replace an output that exists, and discard unfinished work that has other settings"
    )
    plan: Plan = group(Plan)
    sampling: Sampling = group(Sampling)
    quality: QualityOptions = group(QualityOptions)
    generator: GeneratorOptions = group(GeneratorOptions)
    chunk_size: int | None = option(
        None,
        f"passages between two commits to the disk (default: {CPU_CHUNK} on the CPU, there with ctranslate2 "
        f"{CTRANSLATE2_CPU_CHUNK}, {GPU_CHUNK} on a GPU)",
        metavar="PASSAGES",
        check=at_least(1),
    )
    shards: ShardOptions = group(ShardOptions)

    @property
    def inputs(self) -> list[str]:
        """The files and directories that are read."""
        corpus = [] if self.corpus.startswith(IRDS_PREFIX) else [self.corpus]
        return [*corpus, *([self.generator.model] if os.path.isdir(self.generator.model) else [])]

    def settled_plan(self) -> Plan:
        """The plan with the number of tries and the checks of languages that it means."""
        plan, quality = self.plan, self.quality
        if plan.quality_check == "off":
            quality = replace(quality, language_check="none")
        tries = plan.tries if plan.quality_check == "resample" else 1
        return replace(plan, tries=tries, quality=quality.resolved(plan.languages))

    def load(self) -> Generator:
        """The generator that the options describe."""
        generator = self.generator.load(self.sampling)
        told = names_language(self.plan.prompt) or generator.describe().get("language_tokens")
        if not told and len(self.plan.languages) > 1:
            raise XqgError(
                f"--prompt {self.plan.prompt!r}: does not tell the model which language to write. Add {{language}}, or "
                "generate one of --languages at a time."
            )
        return generator

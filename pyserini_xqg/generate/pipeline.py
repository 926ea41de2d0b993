"""From passages to checked queries: prompts, candidates, refusals, second tries, one chunk after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pyserini_xqg.core.chunks import chunks_of
from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.ray import ProgressLines
from pyserini_xqg.core.shards import Shard
from pyserini_xqg.generate.generator import Generator
from pyserini_xqg.generate.options import CPU_CHUNK, CTRANSLATE2_CPU_CHUNK, GPU_CHUNK, GenerateOptions, Plan
from pyserini_xqg.generate.output import (
    EXAMPLES,
    QueriesWriter,
    check_queries_output,
    is_whole,
    new_counts,
    passage_line,
    summary_lines,
)
from pyserini_xqg.generate.prompts import build_prompt
from pyserini_xqg.text.corpus import Corpus, CorpusSummary, scan_once
from pyserini_xqg.text.passages import Passage


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
        generated = generator.generate([prompts[row] for row in missing], numbers, seed)
        for row, candidates in zip(missing, generated, strict=True):
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


def check_corpus(
    options: GenerateOptions, plan: Plan, output: str | Path, directory: str | Path | None = None
) -> tuple[Corpus, CorpusSummary]:
    """Check the corpus, and all that can be told before the model is loaded.

    What the check found is kept in ``directory`` for other shards, if one is named.
    """
    corpus = Corpus(options.corpus)
    summary = scan_once(corpus, directory) if directory else corpus.scan()
    _check_languages(corpus, summary, plan)
    check_queries_output(output, options.overwrite, {"corpus": _corpus_settings(summary), **plan.settings()})
    return corpus, summary


def generate_from_options(options: GenerateOptions, output: str | Path, **how: Any) -> dict[str, Any]:
    """Generate what the options describe, or the shard that they name; ``how`` goes to :func:`generate_corpus`."""
    plan, shard = options.settled_plan(), options.shards.shard
    corpus, summary = check_corpus(options, plan, output, Path(output).parent if shard else None)
    generator = options.load()
    described = generator.describe()
    say(f"{described['model']}: {described['backend']}, {described['dtype']} on {generator.device}")
    return generate_corpus(
        corpus,
        summary,
        generator,
        plan,
        output,
        chunk_size=options.chunk_size,
        shard=shard,
        overwrite=options.overwrite,
        inputs=options.inputs,
        **how,
    )


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
    inputs: Sequence[str] = (),
    lines: ProgressLines | None = None,
) -> dict[str, Any]:
    """Write the passages of a corpus, or of a ``shard``, with generated queries to ``output``; returns its sidecar.

    Unfinished work with the same settings is continued; a finished output with the same settings is left as it is, also
    with ``overwrite`` if ``reuse``. ``wait`` is for how many seconds another process may still hold the output.
    ``summary`` is what :meth:`Corpus.scan` found. ``chunk_size`` None: see :func:`default_chunk_size`.

    Raises :class:`XqgError` for an output that cannot be written, or is one of ``inputs``.
    """
    chunk_size = chunk_size or default_chunk_size(generator)
    settings: dict[str, Any] = {
        "corpus": _corpus_settings(summary),
        "generator": generator.describe(),
        **plan.settings(),
        "chunk_size": chunk_size,
        "shard": shard.manifest(summary.passages, chunk_size) if shard else None,
    }
    if finished := _finished(output, settings, overwrite, reuse, inputs):
        return finished
    first, last = shard.rows(summary.passages, chunk_size) if shard else (0, summary.passages)
    with QueriesWriter(output, settings, overwrite, wait, inputs) as writer:
        done, each = writer.rows_done, len(plan.languages) * plan.num_queries
        if done:
            say(f"{output}: continues after {done:,} of {writer.rows:,} passages")
        with progress(total=writer.rows * each, unit="queries", description=f"generating {output}") as bar:
            bar.update(done * each)
            bar.initial = bar.n  # the rate is that of this process
            chunks = chunks_of(islice(corpus, first + done, last), chunk_size)
            for number, passages in enumerate(chunks, start=(first + done) // chunk_size):
                counts = new_counts(plan.languages)
                queries: dict[str, list[list[str]]] = {}
                for language in plan.languages:
                    queries[language] = generate_language(generator, passages, language, plan, number, counts)
                    bar.update(len(passages) * plan.num_queries)
                    if lines:
                        lines(writer.rows_done, writer.rows, counts["queries"][language])
                writer.write(
                    [
                        passage_line(passage, {code: queries[code][row] for code in queries}, plan.queries_only)
                        for row, passage in enumerate(passages)
                    ],
                    counts,
                )
        sidecar = writer.finish()
    for line in summary_lines(str(output), sidecar):
        say(line)
    return sidecar


def _finished(
    output: str | Path, settings: dict[str, Any], overwrite: bool, reuse: bool, inputs: Sequence[str]
) -> dict[str, Any] | None:
    """The sidecar of an output that is finished, with these settings, and to be left as it is."""
    try:
        sidecar = check_queries_output(output, overwrite and not reuse, settings, inputs)
    except XqgError:
        if not overwrite:
            raise
        return None
    if sidecar is None:
        return None
    if not is_whole(output, sidecar):
        if overwrite:
            return None
        raise XqgError(f"{output}: was changed since it was generated. Move it away, or pass --overwrite.")
    say(f"{output}: complete, with these settings; left as it is")
    return sidecar


def default_chunk_size(generator: Generator) -> int:
    """Passages in a chunk where the user names no number."""
    if generator.device != "cpu":
        return GPU_CHUNK
    return CTRANSLATE2_CPU_CHUNK if generator.describe()["backend"] == "ctranslate2" else CPU_CHUNK


def _corpus_settings(summary: CorpusSummary) -> dict[str, Any]:
    """What identifies a corpus in the manifest."""
    return {"passages": summary.passages, "sha256": summary.sha256}


def _check_languages(corpus: Corpus, summary: CorpusSummary, plan: Plan) -> None:
    """Refuse languages in which the corpus has generated queries already."""
    if not (there := [language for language in plan.languages if language in summary.queries]):
        return
    left = [language for language in plan.languages if language not in there]
    cure = f"Pass --languages {','.join(left)}" if left else "Name other --languages"
    raise XqgError(
        f"{corpus.source}: has generated queries in {', '.join(there)} already. {cure} to add those alone (what is "
        "there is kept), or pass a corpus without them."
    )

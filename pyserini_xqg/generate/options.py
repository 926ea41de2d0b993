r"""Generate queries for the passages of a corpus, in any set of languages, with a multilingual language model.

The corpus is checked from end to end before the model's weights are loaded. Every query is checked too, and a refused
one is generated again: see --quality-check. Work is committed in chunks; after a crash, the same command continues
where it stopped, and the same --seed gives the same file, however often it was interrupted. Several processes or
machines generate a shard each (--shard-id, --shard-num; joined by pyserini_xqg.queries merge), or leave that to a Ray
cluster (--engine ray).

The output has the passages with their queries, as pyserini_xqg.encode takes them, and beside it <output>.json with
settings, counts, and checksum.

example:
  python -m pyserini_xqg.generate --corpus passages.jsonl --output queries.jsonl --languages ar,bn,fi,ja,ko,ru,te
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.core.cli import HelpFormatter, positive, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import XOR_TYDI_LANGUAGES, parse_languages
from pyserini_xqg.core.options import add_options, read_options
from pyserini_xqg.core.shards import Shard, add_shard_arguments, check_shard_options
from pyserini_xqg.generate.backends import BACKENDS, load_generator
from pyserini_xqg.generate.output import check_queries_output
from pyserini_xqg.generate.pipeline import (
    CPU_CHUNK,
    CTRANSLATE2_CPU_CHUNK,
    GPU_CHUNK,
    QUALITY_CHECKS,
    Plan,
    check_half_done,
    check_languages,
    generate_corpus,
)
from pyserini_xqg.generate.prompts import check_prompt, names_language
from pyserini_xqg.generate.sampling import PAPER_PROMPT, Generator, Sampling
from pyserini_xqg.text.corpus import IRDS_PREFIX, Corpus, scan_once
from pyserini_xqg.text.quality import QualityOptions

if TYPE_CHECKING:
    from pyserini_xqg.text.corpus import CorpusSummary

DEFAULT_MODEL = "ielabgroup/xor-tydi-docTquery-mt5-base"


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what generates, and on what."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="Hugging Face model, name or directory")
    group.add_argument(
        "--model-type",
        choices=("auto", "seq2seq", "causal"),
        default="auto",
        help="encoder-decoder (mT5, mBART, NLLB, …), or causal (chat models too); auto: what its configuration says",
    )
    group.add_argument(
        "--backend",
        choices=BACKENDS,
        default="transformers",
        help="ctranslate2: several times faster on CPUs; seq2seq models only; needs the extra [ctranslate2]",
    )
    group.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda:0, cuda:1, …")
    group.add_argument(
        "--dtype",
        default="auto",
        metavar="TYPE",
        help="arithmetic of the model: float32, bfloat16, float16, with ctranslate2 int8 too; auto: the fastest that "
        "the device has units for",
    )
    group.add_argument(
        "--batch-tokens",
        type=positive,
        metavar="TOKENS",
        help="most tokens in a batch, prompts and queries to come (default: what suits backend and device)",
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the model (default: all cores)")


def add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what is generated."""
    default = Sampling()
    group = parser.add_argument_group("queries")
    group.add_argument(
        "--languages",
        default=",".join(XOR_TYDI_LANGUAGES),
        metavar="CODES",
        help="languages to generate queries in, ISO 639-1 codes",
    )
    group.add_argument("--num-queries", type=positive, default=5, metavar="N", help="queries per passage and language")
    group.add_argument(
        "--prompt",
        default=PAPER_PROMPT,
        metavar="TEXT",
        help="input of the model; {language} (its English name), {language_code}, {title} and {text} are filled in",
    )
    group.add_argument("--top-k", type=int, default=default.top_k, metavar="K", help="sample among K tokens; 0: all")
    group.add_argument(
        "--top-p", type=float, default=default.top_p, metavar="P", help="among the likeliest that make up P"
    )
    group.add_argument(
        "--temperature", type=float, default=default.temperature, metavar="T", help="above 1 flatter, below 1 sharper"
    )
    group.add_argument(
        "--num-beams",
        type=int,
        default=default.num_beams,
        metavar="N",
        help="above 1: beam search instead of sampling, the best beams are the queries",
    )
    group.add_argument(
        "--max-new-tokens", type=int, default=default.max_new_tokens, metavar="TOKENS", help="most tokens of a query"
    )
    group.add_argument(
        "--max-input-length",
        type=positive,
        metavar="TOKENS",
        help="tokens kept of a prompt; longer ones are cut and counted (default: the model's limit)",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="the same seed gives the same queries")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.generate", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="PATH",
        help="JSONL file (.gz too), directory of them, or irds:<dataset-id>; lines of docid, title, text",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the JSONL file to make or to continue")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an output that exists, and discard half-done work that has other settings",
    )
    parser.add_argument(
        "--queries-only",
        action="store_true",
        help="lines of docid and generated_queries, for encode --queries, without the passages",
    )
    add_query_arguments(parser)
    group = parser.add_argument_group("checks")
    group.add_argument(
        "--quality-check",
        choices=QUALITY_CHECKS,
        default="resample",
        help="resample: generate refused queries again; drop: leave them out; off: refuse empty ones alone",
    )
    group.add_argument(
        "--tries", type=positive, default=3, metavar="N", help="rounds of resample at most, the first included"
    )
    add_options(parser.add_argument_group("quality of the queries"), QualityOptions)
    add_model_arguments(parser)
    group = parser.add_argument_group("commits")
    group.add_argument(
        "--chunk-size",
        type=positive,
        metavar="PASSAGES",
        help=f"passages between two commits to the disk (default: {CPU_CHUNK} on the CPU, there with ctranslate2 "
        f"{CTRANSLATE2_CPU_CHUNK}, {GPU_CHUNK} on a GPU)",
    )
    add_shard_arguments(parser, "generate")
    return parser


def sampling_from_args(args: argparse.Namespace) -> Sampling:
    """How the model chooses tokens; :class:`XqgError` for values out of range."""
    sampling = Sampling(
        args.top_k, args.top_p, args.temperature, args.num_beams, args.max_new_tokens, args.max_input_length
    )
    if 1 < sampling.num_beams < args.num_queries:
        raise XqgError(
            f"--num-beams {sampling.num_beams}: gives that many queries at most, and --num-queries {args.num_queries} "
            f"are asked for. Use --num-beams {args.num_queries} or more, or sampling (--num-beams 1)."
        )
    return sampling


def plan_from_args(args: argparse.Namespace) -> Plan:
    """What is to be generated; :class:`XqgError` for an unknown language, a prompt that cannot be filled in, …"""
    languages = parse_languages(args.languages)
    check_prompt(args.prompt)
    check, tries = args.quality_check, args.tries
    if check == "resample" and args.num_beams > 1:
        say("beam search finds the same queries every time: refused ones are dropped, not generated again")
    if check != "resample" or args.num_beams > 1:
        tries = 1
    if check == "off":
        args = argparse.Namespace(**{**vars(args), "language_check": "none"})
    rules = read_options(QualityOptions, args).resolved(languages)
    return Plan(languages, args.num_queries, args.prompt, args.seed, check, tries, rules, args.queries_only)


def check_model(args: argparse.Namespace) -> None:
    """Refuse a model or a backend that is not there, before a large corpus is read; weights are not loaded."""
    from pyserini_xqg.generate.checkpoints import open_checkpoint

    if args.backend == "ctranslate2":
        from pyserini_xqg.generate.ctranslate2_backend import CTranslate2Generator

        CTranslate2Generator.check_installed()
    open_checkpoint(args.model, args.model_type)


def generator_from_args(args: argparse.Namespace) -> Generator:
    """Load the model that the options describe."""
    generator = load_generator(
        args.model,
        model_type=args.model_type,
        backend=args.backend,
        device=args.device,
        dtype=args.dtype,
        sampling=sampling_from_args(args),
        batch_tokens=args.batch_tokens,
        threads=args.threads,
    )
    described = generator.describe()
    if not (names_language(args.prompt) or described.get("language_tokens") or "," not in args.languages):
        raise XqgError(
            f"--prompt {args.prompt!r}: does not tell the model which language to write. Add {{language}}, or generate "
            "one of --languages at a time."
        )
    return generator


def check_corpus(
    args: argparse.Namespace, plan: Plan, output: str | Path, directory: str | Path | None, reuse: bool = False
) -> tuple[Corpus, CorpusSummary]:
    """Check the corpus, and all that can be told before the model is loaded.

    What the check found is kept in ``directory`` for other shards, if one is named. With ``reuse``, an output that is
    there already is left to :func:`generate_corpus` to judge.
    """
    corpus = Corpus(args.corpus)
    summary = scan_once(corpus, directory) if directory else corpus.scan()
    check_languages(corpus, summary, plan)
    if not (reuse and Path(output).exists()):
        check_half_done(output, args.overwrite, summary, plan)
    return corpus, summary


def check_apart(corpus: str, output: str) -> None:
    """Refuse an output that is the corpus, or lies in its directory: the next run would read it."""
    if corpus.startswith(IRDS_PREFIX) or not Path(corpus).exists():
        return
    source, target = Path(corpus).resolve(), Path(output).resolve()
    if source in (target, target.parent):
        where = "is the corpus itself" if source == target else f"lies in the corpus {corpus}"
        raise XqgError(f"--output {output}: {where}. Choose another --output.")


def generate_from_args(
    args: argparse.Namespace, output: str, shard: Shard | None = None, *, reuse: bool = False, **how: Any
) -> None:
    """Generate what the options describe, or a shard of it; ``how`` goes to :func:`generate_corpus`."""
    plan = plan_from_args(args)
    corpus, summary = check_corpus(args, plan, output, Path(output).parent if shard else None, reuse)
    generator = generator_from_args(args)
    described = generator.describe()
    say(f"{described['model']}: {described['backend']}, {described['dtype']} on {generator.device}")
    generate_corpus(
        corpus,
        summary,
        generator,
        plan,
        output,
        chunk_size=args.chunk_size,
        shard=shard,
        overwrite=args.overwrite,
        reuse=reuse,
        **how,
    )


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.generate``."""
    args = build_parser().parse_args(argv)
    shard = check_shard_options(args, "generate")
    sampling_from_args(args)
    check_apart(args.corpus, args.output)
    check_queries_output(args.output, args.overwrite)
    if args.engine == "ray":
        from pyserini_xqg.generate.on_ray import generate_on_ray

        generate_on_ray(args)
        return
    check_model(args)
    generate_from_args(args, args.output, shard)

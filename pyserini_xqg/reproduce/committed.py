"""A directory of runs, their scores, and the table of them: what a repository keeps of its reproductions.

Runs are cut to their first passages and gzipped, the same bytes each time. The judgements and the topics' languages lie
beside them, so that the scores can be computed again without the collection; they hold ids and codes, no texts.
"""

from __future__ import annotations

import gzip
import io
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.core.old_files import read_described, write_whole
from pyserini_xqg.reproduce.comparison import Scores, read_scores
from pyserini_xqg.reproduce.definition import AVERAGE, SCORES, Condition, Family
from pyserini_xqg.reproduce.families import measured_path

if TYPE_CHECKING:
    from pyserini_xqg.evaluate.collection import Collection
    from pyserini_xqg.evaluate.comparisons import Tested
    from pyserini_xqg.evaluate.scoring import Scorer, Values
    from pyserini_xqg.evaluate.tables import Table

README, SCORES_FILE, QRELS, LANGUAGES = "README.md", "scores.json", "qrels.txt", "topic-languages.tsv"
DEPTH = 10
"""Passages kept of each topic, and those tied with the last: enough for measures with a cutoff of 10 or less."""

BASELINE = "plain"
"""The condition that a family's others are tested against."""

_FORMAT, _VERSION = "pyserini-xqg-runs", 1
_EQUAL = 1e-9
_PACKAGES = ("pyserini", "torch", "transformers", "faiss-cpu")


def write_runs(
    output: str | Path, conditions: Sequence[Condition], directory: str | Path, known: Mapping[str, Condition]
) -> None:
    """Write the runs of conditions that were run in ``directory``, their scores, and the table of all in ``output``.

    What ``output`` holds of other ``known`` conditions stays. Raises :class:`XqgError` where a measure cannot be
    computed from the first passages, and for a collection without judgements.
    """
    from pyserini_xqg.text.runs import read_run

    output = Path(output)
    entries = _read_entries(output) if (output / SCORES_FILE).exists() else {}
    for condition in conditions:
        run = cut(read_run(condition.run(directory)))
        _write_collection(output / condition.family.name, condition)
        _write_run(run_path(output, condition.name), run, condition.short_name)
        found = read_scores(condition.plan(directory)[-1].output)
        scores = score_committed(output, condition.name, list(found))
        _check_depth(condition, found, scores)
        entries[condition.name] = {"scores": scores, "made_with": _versions()}
    content = {name: entries[name] for name in known if name in entries}
    write_json(output / SCORES_FILE, {"format": _FORMAT, "format_version": _VERSION, "conditions": content})
    with write_whole(output / README) as out:
        out.write(render_readme(output, known))


def write_measured(conditions: Sequence[Condition], directory: str | Path, files: Iterable[Path]) -> None:
    """Take the scores of conditions that were run in ``directory`` as what is expected of them from now on.

    Written beside the YAML ``files`` of families that have an entry ``measured``; other conditions stay.
    """
    for file in files:
        name = file.name.removesuffix(".yaml")
        own = [condition for condition in conditions if condition.family.name == name and condition.family.measured]
        if not own:
            continue
        path = measured_path(file)
        measured = read_json(path) if path.exists() else {}
        for condition in own:
            scores = read_scores(condition.plan(directory)[-1].output)
            measured[condition.short_name] = {
                measure: {language: round(value * 100, 2) for language, value in values.items()}
                for measure, values in scores.items()
            }
        write_json(path, measured)


def run_path(output: str | Path, name: str) -> Path:
    """Where a condition's run lies."""
    family, _, short_name = name.partition(".")
    return Path(output) / family / f"{short_name}.txt.gz"


def committed_scores(output: str | Path) -> dict[str, Scores]:
    """Condition to its scores, as written there."""
    return {name: entry["scores"] for name, entry in _read_entries(Path(output)).items()}


def score_committed(output: str | Path, name: str, measures: Sequence[str]) -> Scores:
    """The scores of a condition's run, computed again from the files in ``output`` alone."""
    with _scorer(output, name, measures) as scorer:
        return scorer.means(_values(scorer, output, name))


def _scorer(output: str | Path, name: str, measures: Sequence[str]) -> Scorer:
    from pyserini_xqg.evaluate.collection import read_collection
    from pyserini_xqg.evaluate.scoring import Scorer
    from pyserini_xqg.text.topics import read_topic_languages

    path = run_path(output, name)
    collection = read_collection(str(path.with_name(QRELS)))
    collection.set_languages(read_topic_languages(str(path.with_name(LANGUAGES))))
    return Scorer(collection, measures)


def _values(scorer: Scorer, output: str | Path, name: str) -> Values:
    from pyserini_xqg.text.runs import read_run

    path = run_path(output, name)
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
    from pyserini_xqg.evaluate.tables import render_markdown

    entries = _read_entries(Path(output))
    if unknown := [name for name in entries if name not in known]:
        raise XqgError(
            f"{Path(output) / SCORES_FILE}: {unknown[0]} is no condition. Remove its entry and its run, or correct it."
        )
    families: dict[str, Family] = {known[name].family.name: known[name].family for name in entries}
    lines = [_INTRODUCTION.format(depth=DEPTH)]
    for family in families.values():
        of_family = {name: entry for name, entry in entries.items() if known[name].family.name == family.name}
        command = f"python -m pyserini_xqg.reproduce --condition {shlex.quote(f'{family.name}.*')} --write-runs runs"
        measures = list(next(iter(of_family.values()))["scores"])
        baseline = f"{family.name}.{BASELINE}"
        again = (
            f"python -m pyserini_xqg.evaluate --qrels runs/{family.name}/{QRELS} "
            f"--topic-languages runs/{family.name}/{LANGUAGES} \\\n  --run runs/{family.name}/*.txt.gz "
            f"--measures {' '.join(measures)}"
        )
        notes, tested = ["Values x 100; avg is the mean over languages."], []
        if baseline in of_family and len(of_family) > 1:
            again += f" \\\n  --baseline runs/{family.name}/{BASELINE}.txt.gz --correction holm"
            tested, note = _test(output, list(of_family), baseline, measures)
            notes.append(note)
        lines += [f"## {family.title}", "", family.about, "", f"```sh\n{command}\n{again}\n```", ""]
        lines.append(render_markdown(_tables(of_family, known, tested), notes))
        for made in dict.fromkeys(entry["made_with"] for entry in of_family.values()):
            names = [known[name].short_name for name, entry in of_family.items() if entry["made_with"] == made]
            which = "" if len(names) == len(of_family) else f" ({', '.join(names)})"
            lines += [f"Made with {made}{which}.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _test(output: str | Path, names: Sequence[str], baseline: str, measures: Sequence[str]) -> tuple[list[Tested], str]:
    """Tests of all runs against the baseline, and a sentence on them."""
    from pyserini_xqg.evaluate.comparisons import Settings, compare_runs, describe

    settings = Settings(correction="holm")
    with _scorer(output, baseline, measures) as scorer:
        values = {name: _values(scorer, output, name) for name in names}
        tested = compare_runs(values, baseline, scorer.languages, settings)
    sentence = describe(settings, len(tested) // len(measures), BASELINE)
    return tested, f"{sentence} The mark of avg is that of all questions together."


_INTRODUCTION = """\
# Runs

Written by `python -m pyserini_xqg.reproduce --write-runs runs`: change nothing by hand, the tests compare. For each
condition the TREC run (the first {depth} passages of each topic, and those tied with the last), and in `scores.json`
its scores with all digits. `qrels.txt` and `topic-languages.tsv` hold what scoring them again takes, without the
collection.
"""


def _tables(entries: Mapping[str, Any], known: Mapping[str, Condition], tested: Sequence[Tested]) -> list[Table]:
    from pyserini_xqg.evaluate.collection import ALL_TOPICS
    from pyserini_xqg.evaluate.tables import Table, scored_rows

    significant = {(one.run, one.measure, one.language) for one in tested if one.significant}
    names = [f"{known[name].title} (`{known[name].short_name}`)" for name in entries]
    tables = []
    for measure, of_first in next(iter(entries.values()))["scores"].items():
        columns = list(of_first)
        values = [[entry["scores"].get(measure, {}).get(column) for entry in entries.values()] for column in columns]
        marks = [
            (row, place)
            for row, name in enumerate(entries)
            for place, column in enumerate(columns)
            if (name, measure, ALL_TOPICS if column == AVERAGE else column) in significant
        ]
        tables.append(Table(measure, ["condition", *columns], scored_rows(names, values, marks)))
    return tables


def _read_entries(output: Path) -> dict[str, Any]:
    again = "Remove the directory and write it again with pyserini_xqg.reproduce --write-runs."
    return read_described(output / SCORES_FILE, _FORMAT, _VERSION, again)["conditions"]


def _write_run(path: Path, run: Mapping[str, Mapping[str, float]], tag: str) -> None:
    # All digits of the scores: fewer would make ties of what was ranked.
    text = "".join(
        f"{topic} Q0 {docid} {rank} {score!r} {tag}\n"
        for topic, ranking in run.items()
        for rank, (docid, score) in enumerate(ranking.items(), start=1)
    )
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(text.encode())
    with write_whole(path, "wb") as out:
        out.write(packed.getvalue())


def judged_collection(condition: Condition) -> Collection:
    """A condition's collection; :class:`XqgError` if it has no judgements, so that its runs cannot be kept."""
    from pyserini_xqg.evaluate.collection import open_dataset

    if condition.family.data is None or (collection := open_dataset(condition.family.data)).qrels is None:
        raise XqgError(f"{condition.name}: its collection has no judgements to keep beside the run. Leave it out.")
    return collection


def _write_collection(directory: Path, condition: Condition) -> None:
    collection = judged_collection(condition)
    with write_whole(directory / QRELS) as out:
        out.writelines(f"{one.query_id} 0 {one.doc_id} {one.relevance}\n" for one in collection.qrels)
    with write_whole(directory / LANGUAGES) as out:
        out.writelines(f"{topic}\t{language}\n" for topic, language in collection.languages.items())


def _check_depth(condition: Condition, found: Scores, of_cut: Scores) -> None:
    for measure, values in found.items():
        if abs(values[AVERAGE] - of_cut[measure][AVERAGE]) > _EQUAL:
            raise XqgError(
                f"{condition.name}: {measure} is {of_cut[measure][AVERAGE]:.4f} on the first {DEPTH} passages and "
                f"{values[AVERAGE]:.4f} on all. Only measures that look at no more than {DEPTH} can be kept: "
                f"change the step {SCORES}."
            )


def _versions() -> str:
    packages = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in _PACKAGES)
    return f"Python {platform.python_version()}, {packages}, {platform.system()} {platform.machine()}"

"""Score runs: ``python -m pyserini_xqg.evaluate`` turns TREC runs into tables by language.

One row per run; one column per query language and one for their unweighted mean, for every measure.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import subprocess
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyserini_xqg.cli import HelpFormatter, run, say
from pyserini_xqg.errors import XqgError
from pyserini_xqg.files import check_output, write_whole

ANSWER_MEASURES = ("R@2kt", "R@5kt")
QRELS_MEASURES = ("R@10", "R@100", "RR@10")
R_AT_KT = re.compile(r"R@(\d+)kt")
ALL_TOPICS = "all"
"""The one column where the topics' languages are not known."""

Scores = dict[str, dict[str, dict[str, float]]]
"""Run to measure to language (and ``avg``) to a fraction, in the order of the table."""

DESCRIPTION = """\
Score TREC runs by query language, with R@kt (XOR-TyDi's recall at k thousand tokens) and any measure of ir_measures.

The collection is an ir_datasets dataset (--dataset) or files (--qrels, --answers, --passages). R@kt needs answers and
passages, the other measures need qrels. Topics that a run lacks count 0, and are reported. Every run is checked before
any is scored.

Passages are ranked by score, as in trec_eval (equal scores: falling docid); the rank column is not read.
"""

EPILOG = """\
examples:
  python -m pyserini_xqg.evaluate --dataset xor-tydi/dev --run runs/plain.txt runs/xqg.txt

  python -m pyserini_xqg.evaluate --qrels qrels.txt --answers dev.jsonl --passages passages.jsonl.gz \\
      --run runs/xqg.txt --measures R@2kt R@10 nDCG@10 --format markdown --output table.md

formats: table and markdown print values x 100 with two decimals. csv (run,measure,language,value) and json
({run: {measure: {language: value, ..., "avg": value}}}) print fractions, all digits; languages without a topic that
counts for a measure are left out.

R@kt is the official scorer's if NLTK has its punkt_tab data (python -m nltk.downloader punkt_tab). Without, sentences
are not split before tokenising, a warning says so, and tables mark the measure: R@2kt*.
"""


@dataclass
class Collection:
    """What runs are scored against.

    Parameters
    ----------
    name
        The dataset's id, or the files, for messages.
    topics
        Query ids that a run may hold.
    languages
        Query id to language; may be empty.
    answers
        Query id to answers, for R@kt; None if there are none.
    qrels
        ``ir_measures.Qrel`` tuples, None if there are none.
    passage_files
        Files and directories of passages; every docid of a run must be in them.
    docs_store
        Opens a dataset's docs store, in which R@kt looks up the passages that its budget reaches.
    """

    name: str
    topics: set[str]
    languages: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Sequence[str]] | None = None
    qrels: list[Any] | None = None
    passage_files: Sequence[str] = ()
    docs_store: Callable[[], Any] | None = None

    @property
    def has_passages(self) -> bool:
        """Whether there are passages, in files or in a dataset."""
        return bool(self.passage_files or self.docs_store)


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.evaluate", description=DESCRIPTION, epilog=EPILOG, formatter_class=HelpFormatter
    )
    collection = parser.add_argument_group("collection: a dataset or files")
    collection.add_argument("--dataset", metavar="ID", help="ir_datasets id, such as xor-tydi/dev or xqg-sample/all")
    collection.add_argument("--qrels", metavar="FILE", help="TREC qrels: qid 0 docid relevance")
    collection.add_argument(
        "--answers",
        metavar="FILE",
        help='questions with answers, JSONL as XOR-TyDi is published: {"id": …, "answers": […], "lang": …}',
    )
    collection.add_argument(
        "--passages",
        metavar="PATH",
        nargs="+",
        help="passages, JSONL files or directories of them: docid (or id, _id), and text, or contents with the title "
        "on its first line; one pass reads them, and only texts that the runs name are kept, on disk",
    )
    collection.add_argument(
        "--topic-languages",
        metavar="SOURCE",
        help="topics' languages, as in pyserini_xqg.search: one code for all, a TSV of topic<TAB>language, "
        "a JSONL with id and lang, or irds:<dataset-id>; goes before the dataset's and the answers' languages. "
        f"Where no language is known there is one column, {ALL_TOPICS!r}",
    )
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument(
        "--run", metavar="FILE", nargs="+", action="extend", help="TREC runs, six columns; may be given repeatedly"
    )
    scoring.add_argument(
        "--measures",
        metavar="MEASURE",
        nargs="+",
        action="extend",
        help="R@<k>kt (k thousand tokens) and names of ir_measures, such as R@10 RR@10 nDCG@10. If not given: "
        f"{' '.join(ANSWER_MEASURES)} where there are answers and passages, "
        f"{' '.join(QRELS_MEASURES)} where there are qrels",
    )
    report = parser.add_argument_group("report")
    report.add_argument("--format", choices=list(FORMATS), default="table", help="how to print the scores")
    report.add_argument("--output", metavar="FILE", help="write the scores to a file, instead of standard output")
    report.add_argument("--overwrite", action="store_true", help="replace --output if it exists")
    # All files may be .gz: said once, not in every option.
    parser.description += "\nInput files whose names end in .gz are decompressed."
    return parser


def main(argv: list[str] | None = None) -> None:
    """Run the command with these arguments (default: the process's)."""
    args = build_parser().parse_args(argv)
    _check_arguments(args)
    measures = _parse_measures(args.measures) if args.measures else None
    collection = _open_dataset(args.dataset) if args.dataset else _read_files(args)
    if args.topic_languages:
        from pyserini_xqg.topics import read_topic_languages

        languages = read_topic_languages(args.topic_languages)
        if isinstance(languages, str):
            languages = dict.fromkeys(collection.topics, languages)
        collection.languages |= languages
        collection.topics |= collection.languages.keys()
    if measures is None:
        measures = _parse_measures(_default_measures(collection))
    scores, marked = evaluate(args.run, measures, collection)
    text = FORMATS[args.format](scores, marked)
    if args.output:
        try:
            with write_whole(args.output) as out:
                out.write(text)
        except OSError as error:
            raise XqgError(f"--output {args.output}: cannot be written ({error.strerror}).") from error
    else:
        print(text, end="", flush=True)


def _check_arguments(args: argparse.Namespace) -> None:
    if not args.run:
        raise XqgError("no run to score. Pass one or more with --run.")
    for names, what in ((args.run, "--run"), (args.measures or [], "--measures")):
        for name in names:
            if names.count(name) > 1:
                raise XqgError(f"{what} {name}: given more than once. Give each once.")
    files = {"--qrels": args.qrels, "--answers": args.answers, "--passages": args.passages}
    given = [option for option, value in files.items() if value]
    if args.dataset and given:
        raise XqgError(f"--dataset and {given[0]}: both name a collection. Pass the dataset, or files.")
    if not args.dataset and not (args.qrels or args.answers):
        raise XqgError("nothing to score against. Pass --dataset, --qrels, or --answers with --passages.")
    if args.output:
        if Path(args.output).is_dir():
            raise XqgError(f"--output {args.output}: a directory. Name a file.")
        check_output(args.output, args.overwrite)


def _parse_measures(names: Iterable[str]) -> dict[str, Any]:
    """Name as given to k for R@kt, to an ir_measures measure for the others."""
    import ir_measures

    measures: dict[str, Any] = {}
    for name in names:
        if match := R_AT_KT.fullmatch(name):
            measures[name] = int(match[1])
            if measures[name] < 1:
                raise XqgError(f"--measures {name}: a budget of no tokens. Use R@1kt or more.")
            continue
        try:
            measure = ir_measures.parse_measure(name)
            supported = ir_measures.DefaultPipeline.supports(measure)
        except (NameError, ValueError, AssertionError, TypeError) as error:
            raise XqgError(
                f"--measures {name}: not a measure of ir_measures ({error}). "
                "Use names such as R@10, RR@10, nDCG@10, or R@2kt."
            ) from error
        if not supported:
            raise XqgError(
                f"--measures {name}: ir_measures cannot compute it with the packages installed here. "
                "See https://ir-measur.es/en/latest/measures.html for those it needs."
            )
        cutoff = measure.params.get("cutoff", 1)
        if cutoff < 1 or isinstance(cutoff, bool):  # trec_eval would end the whole process
            raise XqgError(f"--measures {name}: cutoff {cutoff} is not a positive number.")
        measures[name] = measure
    return measures


def _default_measures(collection: Collection) -> list[str]:
    names: list[str] = []
    if collection.answers is not None and collection.has_passages:
        names += ANSWER_MEASURES
    if collection.qrels is not None:
        names += QRELS_MEASURES
    if not names:
        lacking = "no passages" if collection.answers is not None else "neither answers nor qrels"
        raise XqgError(
            f"{collection.name}: {lacking}, so nothing can be measured. R@kt needs --answers and --passages, "
            "other measures need --qrels."
        )
    return names


def _read_files(args: argparse.Namespace) -> Collection:
    from pyserini_xqg.runs import read_answers, read_qrels

    name = ", ".join(filter(None, (args.qrels, args.answers)))
    collection = Collection(name, set(), passage_files=args.passages or ())
    if args.qrels:
        collection.qrels = read_qrels(args.qrels)
        collection.topics |= {qrel.query_id for qrel in collection.qrels}
    if args.answers:
        collection.answers, collection.languages = read_answers(args.answers)
        collection.topics |= collection.answers.keys()
    return collection


def _open_dataset(dataset_id: str) -> Collection:
    from pyserini_xqg.datasets import load

    dataset = load(dataset_id)
    if not dataset.has_queries():
        raise XqgError(f"--dataset {dataset_id}: it has no queries. Use one with queries, such as xor-tydi/dev.")
    fields = dataset.queries_cls()._fields
    collection = Collection(dataset_id, set())
    if "answers" in fields:
        collection.answers = {}
    for query in dataset.queries_iter():
        collection.topics.add(query.query_id)
        if "answers" in fields:
            collection.answers[query.query_id] = query.answers
        if "lang" in fields and query.lang:
            collection.languages[query.query_id] = query.lang
    if dataset.has_qrels():
        collection.qrels = list(dataset.qrels_iter())
    if dataset.has_docs():
        collection.docs_store = dataset.docs_store
    return collection


def evaluate(runs: Sequence[str], measures: Mapping[str, Any], collection: Collection) -> tuple[Scores, set[str]]:
    """Read, check and score run files.

    Parameters
    ----------
    runs
        Paths.
    measures
        The name in the result to k (an integer) for R@kt, or to an ir_measures measure.
    collection
        What to score against.

    Returns
    -------
    tuple
        The scores, as fractions, and the names of the measures that are not exactly the official scorer's because
        NLTK's data is missing.

    Raises
    ------
    XqgError
        For every fault in the runs, and where the collection lacks what a measure needs.
    """
    import ir_measures

    from pyserini_xqg.measures import (
        PUNKT_CURE,
        InexactTokensWarning,
        RecallAtKTokens,
        exact_tokens,
        mean_by_language,
    )
    from pyserini_xqg.runs import PassageTexts, read_run

    at_kt = {name for name, measure in measures.items() if isinstance(measure, int)}
    _check_needs(measures, at_kt, collection)
    contents = {path: read_run(path) for path in runs}
    for path, content in contents.items():
        for query_id in content:
            if query_id not in collection.topics:
                raise XqgError(
                    f"{path}: topic {query_id!r} is not in {collection.name}. Score the run against its own topics, "
                    "or name the topic in --topic-languages to leave it out."
                )
    with ExitStack() as stack:
        passages = None
        if collection.passage_files:
            docids = {docid for content in contents.values() for ranking in content.values() for docid in ranking}
            passages = stack.enter_context(PassageTexts(collection.passage_files, docids))
            _check_docids(contents, passages)
        elif at_kt:
            passages = collection.docs_store()
        of_names = dict(measures)
        counting: set[str] = set()
        if at_kt:
            recall = RecallAtKTokens(collection.answers, passages)
            of_names |= {name: recall @ measures[name] for name in at_kt}
            counting |= recall.questions.keys()
        # R@kt does not need qrels, and would only be given the topics that do not count.
        qrels = collection.qrels if len(at_kt) < len(measures) else []
        counting |= {qrel.query_id for qrel in qrels}
        languages = _languages_of(counting, collection)
        marked = set() if not at_kt or exact_tokens() else at_kt
        if marked:
            say(
                "warning: NLTK's punkt_tab data is not installed, so R@kt (marked *) can differ a little from the "
                f"official scorer's. To make it exact: {PUNKT_CURE}"
            )
        evaluator = ir_measures.evaluator(set(of_names.values()), qrels)
        scores: Scores = {}
        for path, content in contents.items():
            if missing := sorted(counting - content.keys()):
                say(f"{path}: {len(missing)} of {len(counting)} topics are missing and count 0 (such as {missing[0]})")
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", InexactTokensWarning)  # said above
                    means = mean_by_language(evaluator.iter_calc(content), languages)
            except XqgError as error:
                raise XqgError(f"{path}: {error}") from error
            except (ArithmeticError, RuntimeError, TypeError, ValueError, subprocess.SubprocessError) as error:
                raise XqgError(f"{path}: ir_measures could not compute {', '.join(measures)}: {error}") from error
            scores[path] = {name: means.get(measure, {}) for name, measure in of_names.items()}
    return scores, marked


def _check_needs(measures: Mapping[str, Any], at_kt: set[str], collection: Collection) -> None:
    for name in measures:
        if name not in at_kt:
            if collection.qrels is None:
                raise XqgError(f"--measures {name}: needs qrels, and {collection.name} has none. Pass --qrels.")
            continue
        for what, given in (("answers", collection.answers is not None), ("passages", collection.has_passages)):
            if not given:
                raise XqgError(f"--measures {name}: needs {what}, and {collection.name} has none. Pass --{what}.")
        for qrel in collection.qrels or []:
            if qrel.query_id not in collection.answers:
                raise XqgError(
                    f"--measures {name}: topic {qrel.query_id!r} is in the qrels, but has no answers. "
                    "Add it to --answers, or leave R@kt out."
                )


def _check_docids(contents: Mapping[str, Mapping[str, Iterable[str]]], passages: Any) -> None:
    for path, content in contents.items():
        for query_id, ranking in content.items():
            for docid in ranking:
                if docid not in passages:
                    raise XqgError(
                        f"{path}: docid {docid!r}, ranked for topic {query_id!r}, is not among the passages. "
                        "Pass the --passages that the run was retrieved from."
                    )


def _languages_of(topics: set[str], collection: Collection) -> dict[str, str]:
    if not topics:
        raise XqgError(f"{collection.name}: no topic counts. R@kt counts questions with an answer beyond yes and no.")
    if not collection.languages:
        return dict.fromkeys(topics, ALL_TOPICS)
    unknown = sorted(topics - collection.languages.keys())
    if unknown:
        raise XqgError(
            f"{collection.name}: topic {unknown[0]!r} has no language ({len(unknown)} such topics), while others have. "
            "Name the languages in --topic-languages."
        )
    return {query_id: collection.languages[query_id] for query_id in topics}


def _tables(scores: Scores, marked: set[str]) -> Iterable[tuple[str, list[list[str]]]]:
    """Yield, per measure, (name, with * if marked; rows of cells, the header first)."""
    from pyserini_xqg.measures import AVERAGE, sort_languages

    languages = sort_languages(
        {language for of_run in scores.values() for values in of_run.values() for language in values} - {AVERAGE}
    )
    columns = [*languages, AVERAGE]
    for name in next(iter(scores.values())):
        rows = [["run", *columns]]
        for path, of_run in scores.items():
            values = of_run[name]
            rows.append([path, *(f"{values[column] * 100:.2f}" if column in values else "-" for column in columns)])
        yield name + "*" * (name in marked), rows


def _notes(marked: set[str]) -> list[str]:
    from pyserini_xqg.measures import AVERAGE, PUNKT_CURE

    notes = [f"Values x 100; {AVERAGE} is the unweighted mean over languages."]
    if marked:
        notes.append(f"* computed without NLTK's punkt_tab data: not quite the official scorer's. Cure: {PUNKT_CURE}")
    return notes


def format_table(scores: Scores, marked: set[str]) -> str:
    """Aligned columns for a terminal, one table per measure; values x 100."""
    lines = _notes(marked)
    for name, rows in _tables(scores, marked):
        lines += ["", name]
        first_width = max(len(row[0]) for row in rows)
        lines += ["  ".join([row[0].ljust(first_width), *(cell.rjust(6) for cell in row[1:])]) for row in rows]
    return "\n".join(lines) + "\n"


def format_markdown(scores: Scores, marked: set[str]) -> str:
    """Markdown, one table per measure; values x 100."""
    lines = [note.replace("*", "\\*") for note in _notes(marked)]
    lines = "\n\n".join(lines).split("\n")
    for name, (header, *rows) in _tables(scores, marked):
        lines += ["", f"**{name.replace('*', '')}**" + "\\*" * ("*" in name), ""]
        lines.append(f"| {' | '.join(header)} |")
        lines.append("|---" + "|---:" * (len(header) - 1) + "|")
        lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def format_csv(scores: Scores, marked: set[str]) -> str:
    """Comma-separated values, one line per run, measure and language; fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "measure", "language", "value"])
    for path, of_run in scores.items():
        for name, values in of_run.items():
            writer.writerows([path, name, language, value] for language, value in values.items())
    return out.getvalue()


def format_json(scores: Scores, marked: set[str]) -> str:
    """``{run: {measure: {language: fraction, ..., "avg": fraction}}}``."""
    return json.dumps(scores, ensure_ascii=False, indent=2) + "\n"


FORMATS: dict[str, Callable[[Scores, set[str]], str]] = {
    "table": format_table,
    "markdown": format_markdown,
    "csv": format_csv,
    "json": format_json,
}


if __name__ == "__main__":
    run(main)

"""``python -m pyserini_xqg.evaluate``: TREC runs become tables by language, with tests against a baseline."""

from __future__ import annotations

from collections.abc import Sequence

from pyserini_xqg.core.cli import run
from pyserini_xqg.core.files import write_text
from pyserini_xqg.core.options import parse
from pyserini_xqg.core.output import check_file
from pyserini_xqg.evaluate.comparisons import compare_runs, write_by_query, write_comparisons
from pyserini_xqg.evaluate.score_tables import Results
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.evaluate.settings import EvaluateOptions
from pyserini_xqg.text.runs import read_run

DESCRIPTION = """\
Score TREC runs by query language, with R@kt (XOR-TyDi's recall at k thousand tokens) and any measure of ir_measures.

One row per run; one column per query language and one for their unweighted mean, for every measure.

The collection is an ir_datasets dataset (--dataset) or files (--qrels, --answers, --passages). R@kt needs answers and
passages, the other measures need qrels. Topics that a run lacks count 0, those that the collection lacks are left out;
both are reported. Every run is checked before any is scored. Input files whose names end in .gz are decompressed.

Passages are ranked by score, as in trec_eval (equal scores: falling docid). A run whose rank column says otherwise is
refused, unless --ignore-ranks is given.

With --baseline every other run is compared with that one, question by question: on each language, and on all questions
together. The column avg, the unweighted mean over languages, is not tested: the test over all questions compares
their plain mean, which the column all then shows.

examples:
  python -m pyserini_xqg.evaluate --dataset xor-tydi/dev --run runs/plain.txt runs/xqg.txt

  python -m pyserini_xqg.evaluate --qrels qrels.txt --answers dev.jsonl --passages passages.jsonl.gz \\
      --run xDR=runs/plain.txt xQG=runs/xqg.txt --measures R@2kt R@5kt nDCG@10 \\
      --baseline xDR --correction holm --format latex --output table.tex --by-query values.tsv.gz

formats: table, markdown and latex (booktabs) print values x 100 with two decimals. csv (run,measure,language,value)
and json ({run: {measure: {language: value, ..., "avg": value}}}) print fractions, all digits; languages without a
topic that counts for a measure are left out. Comparisons are printed by the first three; --comparisons writes them,
with all digits, beside any format.

R@kt is the official scorer's if NLTK has its punkt_tab data (python -m nltk.downloader punkt_tab). Without, sentences
are not split before tokenising, a warning says so, and tables mark the measure: R@2kt*.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with these arguments (default: the process's)."""
    options = parse(EvaluateOptions, "evaluate", DESCRIPTION, argv)
    runs, baseline = options.runs()
    for path in options.outputs:
        check_file(path, options.overwrite, [*runs.values(), *options.collection.files])
    collection = options.collection.open()
    contents = {name: read_run(path, not options.ignore_ranks) for name, path in runs.items()}
    docids = {docid for content in contents.values() for ranking in content.values() for docid in ranking}
    with Scorer(collection, options.measures, docids) as scorer:
        for name, content in contents.items():  # all, before any is scored
            scorer.check(content, runs[name])
        values = {name: scorer.score(content, runs[name]) for name, content in contents.items()}
        results = Results(
            scores={name: scorer.means(of_run) for name, of_run in values.items()},
            over_all={name: scorer.over_all(of_run) for name, of_run in values.items()},
            marked=scorer.marked,
        )
    if baseline is not None:
        results.settings = options.tests
        results.tested = compare_runs(values, baseline, scorer.languages, options.tests)
    if options.by_query:
        write_by_query(options.by_query, values, scorer.languages)
    if options.comparisons:
        write_comparisons(options.comparisons, results.tested, options.tests)
    text = results.render(options.format)
    if options.output:
        write_text(options.output, text)
    else:
        print(text, end="", flush=True)


if __name__ == "__main__":
    run(main)

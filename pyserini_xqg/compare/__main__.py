r"""Compare the ways in which generated queries can serve retrieval: in vectors, in texts, as entries, with BM25.

One command encodes (unless a store is given), searches, and makes one table: recall and reciprocal rank (or any measure
of pyserini_xqg.evaluate) by language, tests against a baseline, and with --timed index size and query time.

systems (--systems; default: all that the inputs allow):
{systems}
  and <one of the first seven>+bm25 or +doc2query: both, fused by pyserini.fusion (--fusion)

Each combination of the values given to the options of the grid is one more row, named after its settings; a point that
is a named system's index is that system's row. All is arithmetic on the store: points that read the same queries share
one pass over it, and nothing is encoded but the topics. Vectors are searched exactly. With several stores, names begin
with the store's.

examples (options in full below):
  python -m pyserini_xqg.compare --dataset xquad-loo/all --encoder models/minilm --pooling mean --l2-norm \
      --fields text --output comparison --timed
  python -m pyserini_xqg.compare --corpus passages.jsonl --store stores/each --topics topics.tsv \
      --topic-languages topic-languages.tsv --qrels qrels.txt --systems plain default default+bm25 --output comparison
  python -m pyserini_xqg.compare --store stores/mbert --dataset xor-tydi/dev --output queries \
      --aggregate sum --alpha 0.01 --max-queries 0:5:1          the paper's Figure 2: 0 to 35 queries in 7 languages
  python -m pyserini_xqg.compare --store stores/mbert --dataset xor-tydi/dev --output alpha \
      --alpha 0:1:0.1 --route no yes --cross-validate alpha
  python -m pyserini_xqg.compare --store float32=stores/fp32 --store int8=stores/int8 --dataset xor-tydi/dev \
      --output precision --systems plain default

The output directory holds table.md, table.csv, by-query.csv (each question's values) and runs/ (TREC runs); of a grid
figure.png, with --cross-validate cross-validation.json: the folds, and what was chosen on which. work/ has the stores
and indexes. A command that was interrupted continues, further systems are added to what is there, and nothing is
computed twice; what would be made with other settings is refused.
"""

from __future__ import annotations

from pyserini_xqg.compare.settings import CompareOptions
from pyserini_xqg.compare.systems import DENSE, LEXICAL
from pyserini_xqg.core.cli import run
from pyserini_xqg.core.options import parse

_SYSTEMS = "\n".join(f"  {name:<18} {what}" for name, what in (DENSE | LEXICAL).items())


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.compare``."""
    options = parse(CompareOptions, "compare", __doc__.replace("{systems}", _SYSTEMS), argv)
    from pyserini_xqg.compare.running import compare

    compare(options)


if __name__ == "__main__":
    run(main)

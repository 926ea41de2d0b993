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

from collections.abc import Sequence

from pyserini_xqg.core.cli import run
from pyserini_xqg.core.options import parse
from pyserini_xqg.core.output import check_file
from pyserini_xqg.core.ray import run_on_ray
from pyserini_xqg.generate.on_ray import ON_RAY
from pyserini_xqg.generate.options import GenerateOptions
from pyserini_xqg.generate.output import check_queries_output
from pyserini_xqg.generate.pipeline import generate_from_options


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.generate``."""
    options = parse(GenerateOptions, "generate", __doc__, argv)
    finished = check_queries_output(options.output, options.overwrite, inputs=options.inputs)
    if options.shards.engine == "ray":
        if finished:  # whether it is what would come out is known on the workers alone
            check_file(options.output)
        run_on_ray(options, ON_RAY)
    else:
        options.generator.open()  # a fault in it is told before a large corpus is read
        generate_from_options(options, options.output)


if __name__ == "__main__":
    run(main)

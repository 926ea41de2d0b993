"""The whole job on the bundled sample: encode, build indexes, search with stock Pyserini, score.

48 English passages, hand-written questions in the seven XOR-TyDi languages in place of generated queries,
and held-out questions as topics. The encoder is the one that comes with the package, xqg-small: small, but
trained on human translations, so that it finds English passages for questions in other languages.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg import default_encoder
from pyserini_xqg.core.cli import require_activation, run
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.core.options import option, parse

DATASET = "xqg-sample"
RECIPES = {"plain": "--alpha 0", "paper": "--aggregate sum", "default": "", "routed": "--route"}
"""Options of pyserini_xqg.index that make each recipe."""


@dataclass(frozen=True)
class DemoOptions:
    """Options of ``python -m pyserini_xqg.demo``."""

    output: str = option("demo", "where store, indexes and runs are put", metavar="DIR")


def _command(text: str, stdout: Path | None = None) -> None:
    """Print a command and run it, as the user could; stop at the first that fails."""
    print(f"\n$ python -m {text}" + (f" > {shlex.quote(str(stdout))}" if stdout else ""), flush=True)
    arguments = [sys.executable, "-m", *shlex.split(text)]
    if stdout:
        with write_file(stdout, "wb") as out:
            status = subprocess.run(arguments, stdout=out).returncode
    else:
        status = subprocess.run(arguments).returncode
    if status:
        raise XqgError(f"the command above ended with status {status}.")


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.demo``."""
    output = parse(DemoOptions, "demo", __doc__, argv).output
    require_activation()
    store, topics = shlex.quote(f"{output}/store"), shlex.quote(f"{output}/topics.tsv")
    _command(f"pyserini_xqg.datasets export {DATASET}/all queries --fields query_id text", Path(output, "topics.tsv"))
    _command(
        f"pyserini_xqg.encode --corpus irds:{DATASET} --encoder {default_encoder.NAME} --dtype float32 "
        f"--output {store} --overwrite"
    )
    runs = []
    for name, options in RECIPES.items():
        index, found = (shlex.quote(f"{output}/{path}") for path in (f"indexes/{name}", f"runs/{name}.txt"))
        _command(f"pyserini_xqg.index --store {store} {options} --output {index} --overwrite".replace("  ", " "))
        if name == "routed":
            search = f"pyserini_xqg.search --index {index} --route --topic-languages irds:{DATASET}/all"
        else:
            search = f"pyserini.search.faiss --index {index} --encoder xqg:{index} --batch-size 64"
        Path(output, "runs").mkdir(exist_ok=True)
        _command(f"{search} --topics {topics} --output {found}")
        runs.append(f"--run {found}")
    _command(f"pyserini_xqg.evaluate --dataset {DATASET}/all {' '.join(runs)} --measures RR@10 R@5 R@2kt")
    print(
        "\nWhat this shows: a small trained encoder without xQG (plain), with the paper's sum of queries (paper),\n"
        "with pyserini_xqg.index's default, and with one index per language (routed). Passages, topics and the\n"
        "queries that stand in for generated ones were all written by hand for this project: see README."
    )


if __name__ == "__main__":
    run(main)

"""ir_datasets' own command line, with XOR-TyDi, XQuAD and the bundled sample registered.

python -m pyserini_xqg.datasets list
python -m pyserini_xqg.datasets export xqg-sample/ar queries --fields query_id text
python -m pyserini_xqg.datasets export xqg-sample/ar qrels
python -m pyserini_xqg.datasets lookup xquad xquad-000
"""

from __future__ import annotations

import sys

from pyserini_xqg import datasets
from pyserini_xqg.core import cli


def main(args: list[str] | None = None) -> None:
    """Run ir_datasets' command ``args`` (by default the process's arguments)."""
    args = sys.argv[1:] if args is None else args
    if args[:1] in (["-h"], ["--help"]):
        print(__doc__.strip())
        return
    datasets.register()
    import ir_datasets

    try:
        ir_datasets.main(args)
    except KeyError as error:
        # Its `export` looks an unknown dataset up outside of its own try block (0.6.3), which ends in a traceback.
        if error.args and error.args[0] in args and error.args[0] not in set(ir_datasets.registry):
            raise datasets.unknown_dataset(error.args[0]) from error
        raise


if __name__ == "__main__":
    cli.run(main)

"""ir_datasets' own command line, with XOR-TyDi, XQuAD and the bundled sample registered.

python -m pyserini_xqg.datasets list
python -m pyserini_xqg.datasets export xqg-sample/ar queries --fields query_id text
python -m pyserini_xqg.datasets export xqg-sample/ar qrels
python -m pyserini_xqg.datasets export xqg-sample docs --format jsonl      with the generated queries
python -m pyserini_xqg.datasets lookup xquad xquad-000
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

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

    _export_queries()
    try:
        ir_datasets.main(args)
    except KeyError as error:
        # Its `export` looks an unknown dataset up outside of its own try block (0.6.3), which ends in a traceback.
        if error.args and error.args[0] in args and error.args[0] not in set(ir_datasets.registry):
            raise datasets.unknown_dataset(error.args[0]) from error
        raise


def _export_queries() -> None:
    """Let the export of passages as JSON lines keep their generated queries, a type that ir_datasets leaves out."""
    from ir_datasets.commands import export

    class WithQueries(export.JsonlExporter):
        def __init__(self, data_cls: type, out: Any, fields: Sequence[str] | None = None) -> None:
            chosen = list(fields or data_cls._fields)
            super().__init__(data_cls, out, [name for name in chosen if name != "generated_queries"])
            if "generated_queries" in chosen:
                self.fields = [*self.fields, "generated_queries"]
                self.idxs.append(data_cls._fields.index("generated_queries"))

    export.DEFAULT_EXPORTERS["jsonl"] = WithQueries


if __name__ == "__main__":
    cli.run(main)

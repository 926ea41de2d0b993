"""``python -m pyserini_xqg.queries``."""

from pyserini_xqg.core.cli import run
from pyserini_xqg.queries.command import main

run(main)

"""``python -m pyserini_xqg.queries``."""

from pyserini_xqg.cli import run
from pyserini_xqg.queries.command import main

run(main)

"""``python -m pyserini_xqg.generate``."""

from pyserini_xqg.cli import run
from pyserini_xqg.generate.options import main

run(main)

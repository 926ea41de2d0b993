"""``python -m pyserini_xqg.generate``."""

from pyserini_xqg.core.cli import run
from pyserini_xqg.generate.options import main

run(main)

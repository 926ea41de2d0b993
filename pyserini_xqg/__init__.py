"""Cross-lingual query generation (xQG) for dense retrieval with Pyserini.

Importing the package is cheap: torch, FAISS, Pyserini (and with it the Java virtual machine) and
ir_datasets are imported where they are used.
"""

from __future__ import annotations

__version__ = "0.1.0"

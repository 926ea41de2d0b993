"""Cross-lingual query generation: ``python -m pyserini_xqg.generate`` and what it is made of."""

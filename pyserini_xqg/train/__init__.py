"""Training: what the sub-commands of ``python -m pyserini_xqg.train`` are made of."""

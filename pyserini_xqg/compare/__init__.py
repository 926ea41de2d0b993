"""Query augmentation of passages in every form, side by side: what ``python -m pyserini_xqg.compare`` is made of."""

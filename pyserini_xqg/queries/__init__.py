"""``python -m pyserini_xqg.queries``: look at generated queries, keep the good ones, join shards of them."""

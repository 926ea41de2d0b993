"""Parts of ``python -m pyserini_xqg.sweep``: the grid, its search, tables and figures, cross-validation."""

"""What the page of ``python -m pyserini_xqg.report`` is made of. No command line in here."""

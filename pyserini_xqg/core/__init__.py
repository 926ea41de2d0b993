"""What every job needs, and nothing of retrieval."""

"""Passages, queries, topics, runs and qrels as texts and files."""

"""Encoders, the embedding store, recipes and indexes."""

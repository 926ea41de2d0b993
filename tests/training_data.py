"""Tiny training pairs in Tevatron's format."""

import random

from helpers import LANGUAGES, sentence


def pair_records(passages: int, languages=LANGUAGES, seed: int = 0) -> list[dict]:
    """One query a passage and language."""
    chance = random.Random(seed)
    records = []
    for row in range(passages):
        passage = {"docid": f"p{row}", "title": sentence("en", 2, chance), "text": sentence("en", 12, chance)}
        records += [
            {
                "query_id": f"{code}-{row}",
                "query": sentence(code, 4, chance),
                "lang": code,
                "positive_passages": [passage],
                "negative_passages": [],
            }
            for code in languages
        ]
    return records

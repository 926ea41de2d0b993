"""Training data and encoders for the tests of retrievers."""

import json
import random

from helpers import LANGUAGES, build_tiny_encoder, sentence


def example_records(passages: int, negatives: int = 2, languages=LANGUAGES, seed: int = 0) -> list[dict]:
    """One query a passage and language, each against the next ``negatives`` passages; in Tevatron's format."""
    chance = random.Random(seed)
    texts = [
        {"docid": f"p{row}", "title": sentence("en", 2, chance), "text": f"{sentence('en', 9, chance)} {row}"}
        for row in range(passages)
    ]
    return [
        {
            "query_id": f"{code}-{row}",
            "query": f"{sentence(code, 4, chance)} {row}",
            "lang": code,
            "positive_passages": [texts[row]],
            "negative_passages": [texts[(row + step) % passages] for step in range(1, negatives + 1)],
        }
        for row in range(passages)
        for code in languages
    ]


def build_plain_encoder(directory) -> str:
    """The tiny encoder without dropout: its losses can be computed from outside."""
    from transformers import BertModel

    build_tiny_encoder(directory)
    model = BertModel.from_pretrained(directory, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.save_pretrained(directory)
    return str(directory)


def record_of(output) -> dict:
    """What a training wrote beside its model."""
    return json.loads((output / "xqg-training.json").read_text(encoding="utf-8"))

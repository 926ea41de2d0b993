"""Tiny data for the tests of trainings, and how a training is cut off without notice."""

import json
import random
from contextlib import contextmanager

import pytest
from helpers import LANGUAGES, build_tiny_encoder, sentence

_WORDS = """
river runs past old stone bridges and quiet town where people sell bread fish paper
joki virtaa ohi vanha kivi sillat ja hiljainen kaupunki missä ihmiset myyvät leipä kala paperi
река течёт мимо старый камень мосты и тихий город где люди продают хлеб рыба бумага
"""
ENGLISH, *_OTHERS = [line.split() for line in _WORDS.strip().splitlines()]
WORDS = dict(zip(("fi", "ru"), _OTHERS, strict=True))
"""Every English word has one translation, so that a student can learn them by heart."""


def pair_records(passages: int, languages=LANGUAGES, seed: int = 0) -> list[dict]:
    """One query a passage and language, in Tevatron's format."""
    chance = random.Random(seed)
    records = []
    for row in range(passages):
        passage = {"docid": f"p{row}", "title": sentence("en", 2, chance), "text": sentence("en", 12, chance)}
        for code in languages:
            record = {"query_id": f"{code}-{row}", "query": sentence(code, 4, chance), "lang": code}
            records.append({**record, "positive_passages": [passage], "negative_passages": []})
    return records


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


def sentences(language: str, number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct pairs of English and translation; another seed, or language, gives other sentences."""
    chance = random.Random(f"{language} {seed}")
    found: dict[str, str] = {}
    while len(found) < number:
        chosen = [chance.randrange(len(ENGLISH)) for _ in range(chance.randint(4, 8))]
        found[" ".join(ENGLISH[word] for word in chosen)] = " ".join(WORDS[language][word] for word in chosen)
    return list(found.items())


def write_pair(directory, language: str, number: int, seed: int = 0) -> str:
    """Two files in ``directory``, and what ``--data`` calls them."""
    names = [f"{directory}/{language}-{seed}.{name}.txt" for name in ("en", language)]
    for name, texts in zip(names, zip(*sentences(language, number, seed), strict=True), strict=True):
        with open(name, "w", encoding="utf-8") as out:
            out.writelines(text + "\n" for text in texts)
    return f"{language}={':'.join(names)}"


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


def losses(record) -> list[float]:
    """The training's losses, in order."""
    return [loss for _, loss in record["losses"]]


class CutOffError(Exception):
    """Ends a training without notice."""


@contextmanager
def cut_off(monkeypatch, where, name="on_step_end", step=None):
    """Within, a training ends without notice where ``where.name`` is called (at ``step``)."""

    def end(*given, **_):
        if step is None or given[2].global_step == step:
            raise CutOffError

    with monkeypatch.context() as patch:
        patch.setattr(where, name, end)
        with pytest.raises(CutOffError):
            yield

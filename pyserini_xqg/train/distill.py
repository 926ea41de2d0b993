"""Distils an encoder into other languages from parallel sentences: data, teacher's vectors, trainer, encoder directory.

The student learns to give a text in any language the vector that the teacher gives its English translation (Reimers
and Gurevych 2020, arXiv 2004.09813).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import progress, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_file
from pyserini_xqg.train import encoder_model
from pyserini_xqg.train.distill_options import Distillation
from pyserini_xqg.train.job import TrainingJob
from pyserini_xqg.train.options import settings
from pyserini_xqg.train.parallel_text import SentencePair, distinct, read_parallel
from pyserini_xqg.train.student import build_student, check_layers, learn_tokenizer
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.loading import load_encoder
from pyserini_xqg.vectors.settings import EncoderConfig

_TOGETHER = 4096  # texts between two reports


def distill(options: Distillation) -> None:
    """Train a student into the directory ``options.output``; what was cut off continues.

    Raises :class:`XqgError` for an encoder that is none, and an output that cannot become this one.
    """
    DistillJob(options).run()


class DistillJob(TrainingJob):
    """A student's training."""

    task, unit, least = "distill", "texts", 2
    weight_decay = 0.01
    options: Distillation

    def __init__(self, options: Distillation) -> None:
        super().__init__(options)
        self.data = read_parallel(options.data, options.held_out, options.exclude)
        if len(self.data.training) < self.updates.batch_size:
            raise XqgError(
                f"--batch-size {self.updates.batch_size}: there are only {len(self.data.training):,} pairs to train "
                "on. Use a smaller batch, or name more data."
            )
        self.has_held_out = bool(self.data.held_out)
        self.teacher = EncoderConfig.named(options.teacher, pooling=options.teacher_pooling)
        model, tokenizer = load_encoder(self.teacher, option="--teacher")
        self.fingerprint = encoder_model.fingerprint(self.teacher.model, model.config, tokenizer)
        self.begun: str | None = None
        if name := options.student.student:
            other, other_tokenizer = load_encoder(options.vectors.config(name), option="--student")
            self.begun = encoder_model.fingerprint(name, other.config, other_tokenizer)
        else:
            check_layers(options.student, model, self.teacher.model)
        held_out = [pair for code in sorted(self.data.held_out) for pair in self.data.held_out[code]]
        self.english = distinct(pair.english for pair in (*self.data.training, *held_out))

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "teacher": {**self.teacher.to_dict(), "fingerprint": self.fingerprint},
            "student": {"name": self.options.student.student, "fingerprint": self.begun},
            **settings(self.options),
            "data": self.data.fingerprint(),
        }

    def _make_arguments(self) -> Any:
        from transformers import TrainingArguments

        arguments = self.training_arguments(
            TrainingArguments, per_device_train_batch_size=self.share, remove_unused_columns=False
        )
        self.schedule(arguments, self.updates.steps, self.updates.eval_steps)
        return arguments

    def _prepare(self) -> dict[str, Any]:
        """Make the student, and the vectors of the English texts that it is to learn, (texts, dimension)."""
        student = self.options.student
        if student.student:
            model, tokenizer = load_encoder(self.options.vectors.config(student.student))
        else:
            teacher, teacher_tokenizer = load_encoder(self.teacher)
            limit = teacher.config.max_position_embeddings
            tokenizer = learn_tokenizer(student, self.data.training, teacher_tokenizer, limit)
            model = build_student(student, teacher, teacher_tokenizer, tokenizer, self.data.training)
        model.float().save_pretrained(self.work / "student")
        tokenizer.save_pretrained(self.work / "student")
        embedder = Embedder(self.teacher, self.options.hardware.device, precision=self.precision)
        vectors = teacher_vectors(embedder, self.english)
        if (dimension := model.config.hidden_size) != vectors.shape[1]:
            say(
                f"the teacher's vectors have {vectors.shape[1]} dimensions and are brought to the student's {dimension}"
            )
            vectors = project(vectors, dimension)
        with write_file(self.work / "vectors.npy", "wb") as out:
            np.save(out, vectors)
        return {}

    def _read_data(self) -> None:
        """Token ids of all texts, and the row of the teacher's vectors that each is to get."""
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(self.work / "student")
        row_of = {text: row for row, text in enumerate(self.english)}
        self.cut = 0

        def tokenized(texts: Sequence[str], english: Sequence[str], limit: int) -> list[dict[str, Any]]:
            ids = self.tokenizer(texts, return_attention_mask=False, verbose=False)["input_ids"]
            self.cut += sum(len(row) > limit for row in ids)
            ids = self.tokenizer(texts, truncation=True, max_length=limit, return_attention_mask=False)["input_ids"]
            return [{"input_ids": row, "rows": row_of[text]} for row, text in zip(ids, english, strict=True)]

        def translated(pairs: Sequence[SentencePair], limit: int) -> list[dict[str, Any]]:
            return tokenized([pair.translation for pair in pairs], [pair.english for pair in pairs], limit)

        limit = self.options.vectors.query_max_length
        self.held_out = {code: translated(pairs, limit) for code, pairs in sorted(self.data.held_out.items())}
        self.cut, limit = 0, self.options.train_length
        english = distinct(pair.english for pair in self.data.training)
        self.texts = [*translated(self.data.training, limit), *tokenized(english, english, limit)]

    def _make_trainer(self, last: Path | None, callbacks: Sequence[Any]) -> Any:
        from transformers import AutoModel, DataCollatorWithPadding

        from pyserini_xqg.train.distill_loop import DistillTrainer

        self._read_data()
        # On a CPU, torch's fused attention is the slower one in training: its backward pass takes twice the time.
        changes: dict[str, Any] = {"attn_implementation": "eager"} if self.device == "cpu" else {}
        if (rate := self.options.dropout) is not None:
            changes |= {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
        model = AutoModel.from_pretrained(self.work / "student", dtype="float32", **changes)
        encoder_model.freeze_pooler(model)
        if not self.options.student.student:
            model.pooler = None
        self.arguments.eval_on_start = self.has_held_out and last is None
        return DistillTrainer(
            model=model,
            args=self.arguments,
            train_dataset=self.texts,
            eval_dataset=self.held_out,
            data_collator=DataCollatorWithPadding(self.tokenizer),
            processing_class=self.tokenizer,
            callbacks=list(callbacks),
            wanted=self.options,
            vectors=np.load(self.work / "vectors.npy"),
            translations=len(self.data.training),
        )

    def _describe(self) -> tuple[str, str]:
        options, data, size = self.options, self.data, self.updates.batch_size
        if self.cut:
            say(f"{self.cut:,} of {len(self.texts):,} texts are cut at {options.train_length} tokens (--train-length)")
        dropped = f", {data.dropped:,} left out because held-out texts are in them" if data.dropped else ""
        held_out = ", ".join(f"{code} {len(pairs):,}" for code, pairs in sorted(data.held_out.items())) or "none"
        epochs = self.updates.steps * size * (1 - options.english_share) / len(data.training)
        return (
            f"{data.describe()}{dropped}, held out {held_out}",
            f"{self.updates.steps:,} updates of {size} texts, about {epochs:.1f} epochs of the translations",
        )

    def _describe_evaluation(self, metrics: Mapping[str, float]) -> str:
        """Shares of texts whose nearest is their translation."""
        shares = top1(metrics)
        mean = shares.pop("avg")
        return f"top-1 {mean:.3f} ({', '.join(f'{code} {value:.3f}' for code, value in shares.items())})"

    def _results(self, state: Any) -> dict[str, Any]:
        evaluations = [[entry["step"], top1(entry)] for entry in state.log_history if "eval_top1" in entry]
        return {
            "vocabulary": len(self.tokenizer),
            "cut_texts": self.cut,
            "evaluations": evaluations,
            "held_out_top1": evaluations[-1][1] if evaluations else None,
        }

    def _save(self, trainer: Any, directory: Path) -> dict[str, Any]:
        """Write the student with the settings that other commands need."""
        if not self.is_main:
            return {}
        vectors, begun = self.options.vectors, str(self.work / "student")
        student = encoder_model.build(begun, vectors)
        student[0].model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).cpu()
        encoder_model.save(student.eval(), directory, begun, vectors, self.options.student.save_dtype)
        return {"encoder": vectors.recorded()}

    def _tell(self, record: Mapping[str, Any]) -> None:
        share = f", held-out top-1 {record['held_out_top1']['avg']:.3f}" if record["held_out_top1"] else ""
        say(f"{self.output}: trained for {record['steps_done']:,} steps{share}")


def top1(metrics: Mapping[str, float]) -> dict[str, float]:
    """The trainer's metrics as language to share of nearest texts, ``avg`` for the mean."""
    shares = {name[10:]: value for name, value in metrics.items() if name.startswith("eval_top1_")}
    return {**shares, "avg": metrics["eval_top1"]}


def teacher_vectors(teacher: Embedder, texts: Sequence[str]) -> np.ndarray:
    """Vectors at unit length, float32 (len(texts), dimension), as the teacher embeds passages."""
    rows = []
    with progress(total=len(texts), unit="texts", description="teacher") as bar:
        for start in range(0, len(texts), _TOGETHER):
            rows.append(teacher.embed_passages(texts[start : start + _TOGETHER]))
            bar.update(len(rows[-1]))
    return _unit(np.concatenate(rows))


def project(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """Unit-length vectors in another dimension: their principal components, or zeros behind them.

    >>> project(np.eye(2, dtype=np.float32), 3).shape
    (2, 3)
    """
    if dimension > vectors.shape[1]:
        return np.pad(vectors, ((0, 0), (0, dimension - vectors.shape[1])))
    # Not centred, so that inner products are kept as well as this many dimensions can.
    _, axes = np.linalg.eigh(vectors.T.astype(np.float64) @ vectors.astype(np.float64))
    return _unit(vectors @ axes[:, ::-1][:, :dimension].astype(np.float32))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

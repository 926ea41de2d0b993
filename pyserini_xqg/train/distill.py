"""Distils an encoder into other languages from parallel sentences: data, teacher's vectors, trainer, encoder directory.

The student learns to give a text in any language the vector that the teacher gives its English translation (Reimers
and Gurevych 2020, arXiv 2004.09813).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg import default_encoder
from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.train.distill_options import Distillation
from pyserini_xqg.train.job import TrainingJob
from pyserini_xqg.train.options import VectorOptions, settings
from pyserini_xqg.train.parallel_text import SentencePair, distinct, read_parallel
from pyserini_xqg.train.student import build_student, check_layers, learn_tokenizer
from pyserini_xqg.train.teacher import (
    CrossEncoderScores,
    cache_directory,
    check_cross_encoder,
    project,
    teacher_vectors,
)
from pyserini_xqg.train.vocabulary import INSIDE
from pyserini_xqg.vectors.embedding import Embedder
from pyserini_xqg.vectors.loading import load_encoder

TOLERANCE = 5e-3
"""Of the saved model's vectors, relative; half precision is within."""
_PROBES = ("xQG", "Which passage answers this question?")


def distill(options: Distillation) -> None:
    """Train a student into the directory ``options.output``; what was cut off continues.

    Raises :class:`XqgError` for an encoder that is none, dimensions that differ without a projection, and an output
    that cannot become this one.
    """
    DistillJob(options).run()


class DistillJob(TrainingJob):
    """A student's training."""

    task, unit, least = "distill", "texts", 2
    options: Distillation

    def __init__(self, options: Distillation) -> None:
        parallel, student = options.parallel, options.student
        super().__init__(options, options.updates, options.hardware, _inputs(options))
        self.data = read_parallel(parallel.data, parallel.held_out, parallel.exclude, parallel.held_out_languages)
        self.has_held_out = bool(self.data.held_out)
        self.teacher = options.teacher.config()
        model, tokenizer = load_encoder(self.teacher, option="--teacher")
        self.fingerprint = fingerprint(self.teacher.model, model.config, tokenizer)
        self.dimension = model.config.hidden_size
        if student.student:
            other, other_tokenizer = load_encoder(options.vectors.config(student.student), option="--student")
            of_student = fingerprint(student.student, other.config, other_tokenizer)
            self.student: dict[str, Any] = {"name": student.student, "fingerprint": of_student}
            self.dimension = other.config.hidden_size
            if self.dimension != model.config.hidden_size and not student.projection:
                raise XqgError(
                    f"the teacher's vectors have {model.config.hidden_size} dimensions, the student's "
                    f"{self.dimension}: pass --projection to bring the teacher's to the student's, or a student of the "
                    "same size."
                )
        else:
            check_layers(student, model, self.teacher.model)
            self.student = student.shape()
        if options.teacher.cross_encoder:
            check_cross_encoder(options.teacher.cross_encoder)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "teacher": {**self.teacher.to_dict(), "fingerprint": self.fingerprint},
            "student": self.student,
            **settings(self.options),
            "data": self.data.fingerprint(),
        }

    def _make_arguments(self) -> Any:
        from transformers import TrainingArguments

        arguments = self.training_arguments(
            TrainingArguments,
            warmup_steps=self.options.warmup_steps,
            per_device_train_batch_size=self.share,
            remove_unused_columns=False,
        )
        self.schedule(arguments, self.options.steps, self.updates.eval_steps or self.options.steps)
        return arguments

    def _prepare(self) -> dict[str, Any]:
        """Make the student."""
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
        return {}

    def _open_data(self) -> None:
        """English texts, each once, those of the training first, and the vectors that they are to get; token ids."""
        from transformers import AutoTokenizer

        options = self.options
        held_out = [pair for code in sorted(self.data.held_out) for pair in self.data.held_out[code]]
        self.english = distinct(pair.english for pair in (*self.data.training, *held_out))
        embedder = Embedder(self.teacher, options.hardware.device, precision=self.precision)
        cache = Path(options.teacher.cache) if options.teacher.cache else cache_directory()
        self.vectors = teacher_vectors(embedder, self.fingerprint, self.english, cache)
        if self.vectors.shape[1] != self.dimension:
            self.vectors = project(self.vectors, self.dimension)
        self.tokenizer = AutoTokenizer.from_pretrained(self.work / "student")
        self._tokenize()

    def _tokenize(self) -> None:
        from pyserini_xqg.train.distill_loop import DistillData, Texts

        options, data = self.options, self.data
        row_of = {text: row for row, text in enumerate(self.english)}
        cut = 0

        def tokenize(texts: Sequence[str], limit: int) -> list[np.ndarray]:
            nonlocal cut
            whole = self.tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
            cut += sum(len(ids) > limit for ids in whole)
            cut_ids = self.tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False)
            return [np.array(ids, dtype=np.int32) for ids in cut_ids["input_ids"]]

        def translated(pairs: Sequence[SentencePair], limit: int) -> Texts:
            rows = np.array([row_of[pair.english] for pair in pairs], dtype=np.int64)
            return Texts(tokenize([pair.translation for pair in pairs], limit), rows)

        limit = options.vectors.query_max_length
        self.held_out = {code: translated(pairs, limit) for code, pairs in sorted(data.held_out.items())}
        cut = 0
        of_training = distinct(pair.english for pair in data.training)
        english = Texts(tokenize(of_training, options.train_length), np.arange(len(of_training)))
        self.texts = DistillData(translated(data.training, options.train_length), english, self._splitter())
        self.cut = cut
        if len(data.training) < self.updates.batch_size:
            raise XqgError(
                f"--batch-size {self.updates.batch_size}: there are only {len(data.training):,} pairs to train on. Use "
                "a smaller batch, or name more data."
            )

    def _splitter(self) -> Any:
        if not self.options.piece_dropout:
            return None
        from pyserini_xqg.train.distill_loop import PieceSplitter

        pieces = self.tokenizer.convert_ids_to_tokens(range(len(self.tokenizer)))
        if not any(piece.startswith(INSIDE) for piece in pieces):
            raise XqgError(
                "--piece-dropout cuts WordPiece vocabularies, and the student has another kind. Leave it out."
            )
        return PieceSplitter(pieces, self.options.piece_dropout, self.options.train_length, self.updates.seed)

    def _make_trainer(self, last: Path | None, callbacks: Sequence[Any]) -> Any:
        from transformers import AutoModel

        from pyserini_xqg.train.distill_loop import DistillTrainer, TextCollator

        # On a CPU, torch's fused attention is the slower one in training: its backward pass takes twice the time.
        changes = {"attn_implementation": "eager"} if self.device == "cpu" else {}
        if (rate := self.options.dropout) is not None:
            changes |= {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
        model = AutoModel.from_pretrained(self.work / "student", dtype="float32", **changes)
        for name, parameter in model.named_parameters():
            if "pooler" in name.split("."):  # which no vector comes from
                parameter.requires_grad = False
        if not self.options.student.student:
            model.pooler = None
        self.arguments.eval_on_start = self.has_held_out and last is None
        return DistillTrainer(
            model=model,
            args=self.arguments,
            train_dataset=self.texts,
            eval_dataset=self.held_out,
            data_collator=TextCollator(self.tokenizer.pad_token_id),
            processing_class=self.tokenizer,
            callbacks=list(callbacks),
            wanted=self.options,
            vectors=self.vectors,
            held_out=self.held_out,
            scorer=self._scorer(),
        )

    def _scorer(self) -> Any:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if not (name := self.options.teacher.cross_encoder):
            return None
        model = AutoModelForSequenceClassification.from_pretrained(name, dtype="float32")
        device = "cuda" if self.device != "cpu" else "cpu"
        return CrossEncoderScores(model.to(device), AutoTokenizer.from_pretrained(name), self.english)

    def _describe(self) -> tuple[str, str]:
        options, data, size = self.options, self.data, self.updates.batch_size
        if self.cut:
            say(f"{self.cut:,} of {len(self.texts):,} texts are cut at {options.train_length} tokens (--train-length)")
        dropped = f", {data.dropped:,} left out because held-out texts are in them" if data.dropped else ""
        held_out = ", ".join(f"{code} {len(pairs):,}" for code, pairs in sorted(data.held_out.items())) or "none"
        epochs = options.steps * size * (1 - options.english_share) / len(data.training)
        return (
            f"{data.describe()}{dropped}, held out {held_out}",
            f"{options.steps:,} updates of {size} texts, about {epochs:.1f} epochs of the translations",
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
        from transformers import AutoTokenizer

        if not self.is_main:
            return {}
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval().cpu()
        # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
        tokenizer = AutoTokenizer.from_pretrained(self.work / "student")
        save_encoder(model, tokenizer, directory, self.options.vectors, self.options.student.save_dtype)
        return {"encoder": self.options.vectors.recorded()}

    def _tell(self, record: Mapping[str, Any]) -> None:
        share = f", held-out top-1 {record['held_out_top1']['avg']:.3f}" if record["held_out_top1"] else ""
        say(f"{self.output}: trained for {record['steps_done']:,} steps{share}")


def _inputs(options: Distillation) -> list[str]:
    from pyserini_xqg.train.parallel_text import source_files

    models = [options.teacher.teacher, options.teacher.cross_encoder, options.student.student]
    files = [path for source in options.parallel.data for path in source_files(source)[1]]
    return [*files, *options.parallel.exclude, *(model for model in models if model)]


def top1(metrics: Mapping[str, float]) -> dict[str, float]:
    """The trainer's metrics as language to share of nearest texts, ``avg`` for the mean."""
    shares = {name[10:]: value for name, value in metrics.items() if name.startswith("eval_top1_")}
    return {**shares, "avg": metrics["eval_top1"]}


def fingerprint(name: str, config: Any, tokenizer: Any) -> str:
    """What tells an encoder's checkpoint from others, wherever it lies."""
    return Checkpoint(default_encoder.place(name), "encoder", config, None, tokenizer).fingerprint()


def save_encoder(model: Any, tokenizer: Any, directory: Path, vectors: VectorOptions, dtype: str) -> None:
    """Write weights and tokenizer, and sentence-transformers' description of pooling, normalisation and length.

    Raises :class:`XqgError` if what lies there then gives other vectors than the model in memory.
    """
    import torch

    expected = probe_vectors(model, tokenizer, vectors)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(directory)
    config = directory / "config.json"
    described = read_json(config)
    # Else transformers computes in half precision what was only stored in it.
    described["dtype"] = "float32"
    write_json(config, described)
    tokenizer.save_pretrained(directory)
    config = directory / "tokenizer_config.json"
    described = read_json(config)
    if described.get("tokenizer_class") == "TokenizersBackend":  # a name that transformers 4 does not know
        write_json(config, described | {"tokenizer_class": "PreTrainedTokenizerFast"})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * vectors.l2_norm
    listed = []
    for number, (path, kind) in enumerate(modules):
        (directory / path).mkdir(exist_ok=True)
        listed.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
    write_json(directory / "modules.json", listed)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": vectors.max_length, "do_lower_case": False})
    write_json(
        directory / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": model.config.hidden_size,
            "pooling_mode_cls_token": vectors.pooling == "cls",
            "pooling_mode_mean_tokens": vectors.pooling == "mean",
        },
    )
    if vectors.l2_norm:
        write_json(directory / "2_Normalize" / "config.json", {})
    found = Embedder(vectors.config(str(directory)), device="cpu").embed_queries(list(_PROBES))
    if (distance := np.linalg.norm(found - expected) / np.linalg.norm(expected)) > TOLERANCE:
        raise XqgError(
            f"{directory}: the saved model's vectors differ from the trained one's by {distance:.0%}. Its checkpoints "
            "are kept; try another release of transformers with the same command."
        )


def probe_vectors(model: Any, tokenizer: Any, vectors: VectorOptions) -> np.ndarray:
    """Vectors of a few texts by the model in memory, as ``encode`` would compute them."""
    import torch

    rows = []
    for text in _PROBES:
        inputs = tokenizer(text, truncation=True, max_length=vectors.query_max_length, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])[0][0].float()
        row = (hidden[0] if vectors.pooling == "cls" else hidden.mean(0)).numpy()
        rows.append(row / np.linalg.norm(row) if vectors.l2_norm else row)
    return np.stack(rows)

"""Distils an encoder into other languages from parallel sentences: data, teacher's vectors, trainer, encoder directory.

The student learns to give a text in any language the vector that the teacher gives its English translation (Reimers
and Gurevych 2020, arXiv 2004.09813).
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_json
from pyserini_xqg.train import output as outputs
from pyserini_xqg.train.distill_models import check_cross_encoder, fingerprint, save_encoder
from pyserini_xqg.train.distill_settings import DistillSettings
from pyserini_xqg.train.generator import Hardware
from pyserini_xqg.train.output import LOG_NAME, WORK, check_output, last_checkpoint, train_to_the_end
from pyserini_xqg.train.parallel_text import ParallelText, SentencePair, distinct
from pyserini_xqg.train.student import NewStudent, build_student, learn_tokenizer
from pyserini_xqg.train.teacher_vectors import cache_directory, project, teacher_vectors
from pyserini_xqg.vectors.embedding import Embedder, load_encoder
from pyserini_xqg.vectors.settings import EncoderConfig

TASK = "distill"


def distill(
    data: ParallelText,
    teacher: EncoderConfig,
    student: str | NewStudent,
    output: str | Path,
    settings: DistillSettings | None = None,
    hardware: Hardware | None = None,
    *,
    projection: bool = False,
    cross_encoder: str | None = None,
    cache: str | Path | None = None,
    save_dtype: str = "float32",
    log_steps: int = 50,
    overwrite: bool = False,
) -> None:
    """Train ``student`` (an encoder, or the shape of a new one) towards ``teacher`` into the directory ``output``.

    A training that was cut off continues from its last checkpoint. projection : bring the teacher's vectors to the
    student's dimension, by their principal components or with zeros. cross_encoder : whose scores the loss of
    ``kl_weight`` is from. cache : where the teacher's vectors are kept, :func:`~.teacher_vectors.cache_directory` by
    default. save_dtype : of the weights on the disk, ``float32`` or ``float16``. Raises :class:`XqgError` for an
    encoder that is none, dimensions that differ without a projection, and an output that cannot become this one.
    """
    settings, hardware, output = settings or DistillSettings(), hardware or Hardware(), Path(output)
    outputs.require_packages("accelerate")
    check_output(output, overwrite)
    if bool(cross_encoder) != bool(settings.kl_weight):
        raise XqgError("--cross-encoder and --kl-weight go together: pass both, or neither.")
    run = _Run(data, teacher, student, output, settings, hardware, projection, cross_encoder, save_dtype)
    run.train(Path(cache) if cache else cache_directory(), log_steps, overwrite)


class _Run:
    """One training: what its steps share."""

    def __init__(
        self,
        data: ParallelText,
        teacher: EncoderConfig,
        student: str | NewStudent,
        output: Path,
        settings: DistillSettings,
        hardware: Hardware,
        projection: bool,
        cross_encoder: str | None,
        save_dtype: str,
    ) -> None:
        self.data, self.output, self.work, self.settings = data, output, output / WORK, settings
        self.student, self.hardware, self.save_dtype, self.cross_encoder = student, hardware, save_dtype, cross_encoder
        self.device, self.precision = hardware.resolve()
        self.teacher = teacher
        model, tokenizer = load_encoder(teacher, option="--teacher")
        self.fingerprint = fingerprint(teacher.model, model.config, tokenizer)
        self.dimension = model.config.hidden_size
        if isinstance(student, str):
            own, own_tokenizer = load_encoder(settings.encoder(student), option="--student")
            described: dict[str, Any] = {
                "name": student,
                "fingerprint": fingerprint(student, own.config, own_tokenizer),
            }
            self.dimension = own.config.hidden_size
            if self.dimension != model.config.hidden_size and not projection:
                raise XqgError(
                    f"the teacher's vectors have {model.config.hidden_size} dimensions, the student's "
                    f"{self.dimension}: "
                    "pass --projection to bring the teacher's to the student's, or a student of the same size."
                )
        else:
            student.check(model, teacher.model)
            described = {**asdict(student), "layers": list(student.layers)}
        if cross_encoder:
            check_cross_encoder(cross_encoder)
        self.compared = {
            "teacher": {**teacher.to_dict(), "fingerprint": self.fingerprint},
            "student": described,
            "projection": projection,
            "cross_encoder": cross_encoder,
            **asdict(settings),
            "data": data.fingerprint(),
            "save_dtype": save_dtype,
        }

    def train(self, cache: Path, log_steps: int, overwrite: bool) -> None:
        """Do all of it."""
        from transformers import AutoModel, AutoTokenizer, set_seed
        from transformers.utils import logging

        from pyserini_xqg.train.distill_loop import Collator, DistillReport, DistillTrainer

        logging.set_verbosity_error()
        if not sys.stderr.isatty():
            logging.disable_progress_bar()
        settings = self.settings
        arguments = self._arguments(log_steps)
        main = arguments.process_index == 0
        with ExitStack() as stack:
            with arguments.main_process_first(desc="preparing the data"):
                if main:
                    stack.enter_context(outputs.writing(self.output))
                    self._prepare(overwrite)
                english, vectors = self._vectors(cache)
            tokenizer = AutoTokenizer.from_pretrained(self.work / "student")
            train, held_out, cut = self._tokens(tokenizer, english)
            set_seed(settings.seed)
            # On a CPU, torch's fused attention is the slower one in training: its backward pass takes twice the time.
            attention = {"attn_implementation": "eager"} if self.device == "cpu" else {}
            model = AutoModel.from_pretrained(self.work / "student", dtype="float32", **attention, **self._dropout())
            for name, parameter in model.named_parameters():
                if "pooler" in name.split("."):  # which no vector comes from
                    parameter.requires_grad = False
            if isinstance(self.student, NewStudent):
                model.pooler = None
            report = DistillReport(self.output / LOG_NAME, int(arguments.eval_steps), settings.batch_size)
            trainer = DistillTrainer(
                model=model,
                args=arguments,
                train_dataset=train,
                eval_dataset=held_out,
                data_collator=Collator(tokenizer.pad_token_id),
                processing_class=tokenizer,
                callbacks=[report],
                settings=settings,
                vectors=vectors,
                held_out=held_out,
                scorer=self._scorer(english),
            )
            last = last_checkpoint(self.work / "checkpoints")
            arguments.eval_on_start = bool(held_out) and last is None
            if main:
                self._announce(model, arguments, train, cut, last)
            started = time.perf_counter()
            state = train_to_the_end(trainer, last)
            if main:
                record = {
                    "device": self.device,
                    "precision": self.precision,
                    "devices": arguments.world_size,
                    "parameters": model.num_parameters(),
                    "vocabulary": len(tokenizer),
                    "cut_texts": cut,
                    "steps_done": state.global_step,
                    **results(state.log_history),
                    "texts_per_second": round(report.pairs_per_second, 1),
                    "seconds_of_last_run": round(time.perf_counter() - started, 1),
                }
                self._finish(trainer, record)

    def _arguments(self, log_steps: int) -> Any:
        from transformers import TrainingArguments

        settings, held_out = self.settings, bool(self.data.held_out)
        devices = int(os.environ.get("WORLD_SIZE", "1"))
        if settings.batch_size % devices or settings.batch_size < 2 * devices:
            raise XqgError(
                f"--batch-size {settings.batch_size}: does not divide among {devices} processes, each with at least "
                f"two texts. Use a multiple of {devices}."
            )
        every = min(settings.eval_steps, settings.steps)
        arguments = TrainingArguments(
            output_dir=str(self.work / "checkpoints"),
            max_steps=settings.steps,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            lr_scheduler_type="linear",
            per_device_train_batch_size=settings.batch_size // devices,
            do_eval=held_out,
            eval_strategy="steps" if held_out else "no",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            restore_callback_states_from_checkpoint=True,
            logging_steps=min(log_steps, every),
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
            disable_tqdm=not sys.stderr.isatty(),
            report_to="none",
            seed=settings.seed,
            bf16=self.precision == "bfloat16",
            use_cpu=self.device == "cpu",
            ddp_timeout=outputs.WAIT_SECONDS,
            ddp_find_unused_parameters=False,
            dataloader_pin_memory=self.device != "cpu",
        )
        if arguments.n_gpu > 1:  # several without a launcher: torch's DataParallel, which nobody should use
            arguments._n_gpu = 1
            say("one of several GPUs is used; for all: torchrun --nproc-per-node N -m pyserini_xqg.train …")
        return arguments

    def _prepare(self, overwrite: bool) -> None:
        """Record the settings and make the student, unless an earlier run of the same command did."""
        outputs.begin(self.output, TASK, self.compared, overwrite)
        if (self.work / "prepared.json").exists():
            return
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        if isinstance(self.student, str):
            model, tokenizer = load_encoder(self.settings.encoder(self.student))
        else:
            teacher, teacher_tokenizer = load_encoder(self.teacher)
            limit = teacher.config.max_position_embeddings
            tokenizer = learn_tokenizer(self.student, self.data.training, teacher_tokenizer, limit)
            model = build_student(self.student, teacher, teacher_tokenizer, tokenizer, self.data.training)
        model.float().save_pretrained(self.work / "student")
        tokenizer.save_pretrained(self.work / "student")
        write_json(self.work / "prepared.json", {})

    def _vectors(self, cache: Path) -> tuple[list[str], np.ndarray]:
        """English texts, each once, those of the training first, and the vectors that they are to get."""
        held_out = [pair for code in sorted(self.data.held_out) for pair in self.data.held_out[code]]
        english = distinct(pair.english for pair in (*self.data.training, *held_out))
        embedder = Embedder(self.teacher, self.hardware.device, precision=self.precision)
        vectors = teacher_vectors(embedder, self.fingerprint, english, cache)
        if vectors.shape[1] != self.dimension:
            vectors = project(vectors, self.dimension)
        return english, vectors

    def _tokens(self, tokenizer: Any, english: Sequence[str]) -> tuple[Any, dict[str, Any], int]:
        """Training texts, held-out texts by language, and how many training texts are cut."""
        from pyserini_xqg.train.distill_loop import DistillData, Texts

        row_of = {text: row for row, text in enumerate(english)}
        cut = 0

        def tokenize(texts: Sequence[str], limit: int) -> list[np.ndarray]:
            nonlocal cut
            whole = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
            cut += sum(len(ids) > limit for ids in whole)
            ids = tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False)["input_ids"]
            return [np.array(row, dtype=np.int32) for row in ids]

        def translated(pairs: Sequence[SentencePair], limit: int) -> Any:
            rows = np.array([row_of[pair.english] for pair in pairs], dtype=np.int64)
            return Texts(tokenize([pair.translation for pair in pairs], limit), rows)

        length = self.settings.train_length
        held_out = {
            code: translated(pairs, self.settings.query_max_length)
            for code, pairs in sorted(self.data.held_out.items())
        }
        cut = 0
        of_training = distinct(pair.english for pair in self.data.training)
        english_texts = Texts(tokenize(of_training, length), np.arange(len(of_training)))
        data = DistillData(translated(self.data.training, length), english_texts, self._splitter(tokenizer))
        if len(data.translations) < self.settings.batch_size:
            raise XqgError(
                f"--batch-size {self.settings.batch_size}: there are only {len(data.translations):,} pairs to train "
                "on. Use a smaller batch, or name more data."
            )
        return data, held_out, cut

    def _splitter(self, tokenizer: Any) -> Any:
        if not self.settings.piece_dropout:
            return None
        from pyserini_xqg.train.distill_loop import PieceSplitter
        from pyserini_xqg.train.wordpieces import INSIDE

        pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        if not any(piece.startswith(INSIDE) for piece in pieces):
            raise XqgError(
                "--piece-dropout cuts WordPiece vocabularies, and the student has another kind. Leave it out."
            )
        return PieceSplitter(pieces, self.settings.piece_dropout, self.settings.train_length, self.settings.seed)

    def _dropout(self) -> dict[str, float]:
        rate = self.settings.dropout
        return {} if rate is None else {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}

    def _scorer(self, english: Sequence[str]) -> Any:
        if not self.cross_encoder:
            return None
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        from pyserini_xqg.train.distill_loop import CrossEncoderScores

        model = AutoModelForSequenceClassification.from_pretrained(self.cross_encoder, dtype="float32")
        device = "cuda" if self.device != "cpu" else "cpu"
        return CrossEncoderScores(model.to(device), AutoTokenizer.from_pretrained(self.cross_encoder), english)

    def _announce(self, model: Any, arguments: Any, train: Any, cut: int, last: Path | None) -> None:
        settings = self.settings
        dropped = f", {self.data.dropped:,} left out because held-out texts are in them" if self.data.dropped else ""
        held_out = ", ".join(f"{code} {len(pairs):,}" for code, pairs in sorted(self.data.held_out.items())) or "none"
        translated = settings.steps * settings.batch_size * (1 - settings.english_share)
        say(
            f"{self.data.describe()}{dropped}, held out {held_out}; {model.num_parameters():,} parameters, "
            f"{self.precision} on {arguments.world_size} x {self.device}, {settings.steps:,} updates of "
            f"{settings.batch_size} texts, about {translated / len(train.translations):.1f} epochs of the translations"
        )
        if cut:
            say(f"{cut:,} of {len(train):,} texts are cut at {settings.train_length} tokens (--train-length)")
        if last:
            say(f"{self.output}: continues after {last.name.removeprefix('checkpoint-')} steps")

    def _finish(self, trainer: Any, record: dict[str, Any]) -> None:
        """Save the student with the settings that other commands need, check it, and tell how to use it."""
        from transformers import AutoTokenizer

        made = self.work / "model"
        shutil.rmtree(made, ignore_errors=True)
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval().cpu()
        # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
        tokenizer = AutoTokenizer.from_pretrained(self.work / "student")
        save_encoder(model, tokenizer, made, self.settings, self.save_dtype)
        encoder = self.settings.encoder("").to_dict()
        record["encoder"] = {name: value for name, value in encoder.items() if name not in ("model", "tokenizer")}
        outputs.complete(self.output, TASK, self.compared, made, **record)
        share = record["held_out_top1"]
        say(
            f"{self.output}: trained for {record['steps_done']:,} steps"
            + (f", held-out top-1 {share['avg']:.3f}" if share else "")
        )


def results(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Losses and held-out shares of the trainer's log, as the record keeps them."""
    evaluations = []
    for entry in history:
        if "eval_top1" in entry:
            shares = {name[10:]: value for name, value in entry.items() if name.startswith("eval_top1_")}
            evaluations.append([entry["step"], {**shares, "avg": entry["eval_top1"]}])
    return {
        "losses": [[entry["step"], entry["loss"]] for entry in history if "loss" in entry],
        "evaluations": evaluations,
        "held_out_top1": evaluations[-1][1] if evaluations else None,
    }

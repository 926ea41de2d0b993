"""One training: what generator, retriever and distillation share. Each says what its model, its data and its loss are.

The output directory, while it is trained and afterwards:

    xqg-training.json    settings, data, results, versions; "complete": true when done
    training-log.jsonl   losses, a line for each report of the trainer
    training/            prepared data and checkpoints; removed when done
    config.json, …       what was trained, there only when done
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainerState, set_seed
from transformers.utils import logging

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, resolved, write_json, write_text
from pyserini_xqg.core.job import Job, check_job
from pyserini_xqg.train.options import TrainingOptions, UpdateOptions
from pyserini_xqg.vectors.manifest import package_versions
from pyserini_xqg.vectors.recorded import TRAINING

LOG_NAME = "training-log.jsonl"
WORK = "training"
WAIT_SECONDS = 6 * 3600
"""For the first process to prepare the data, while the others wait."""
_LISTED = (f"{WORK}/", LOG_NAME)
PACKAGES = {
    "accelerate": "accelerate",
    "datasets": "datasets",
    "sentence_transformers": "sentence-transformers",
}
"""Modules of the extra ``train``, and what they are installed as."""


class TrainingJob(ABC):
    """A training that continues where it was cut off, on one or several processes.

    A subclass names its ``task``, what it counts (``unit``: questions, pairs, texts), and how many of these each
    process must get (``least``); it says whether something is held out, to be evaluated on (``has_held_out``).

    Raises :class:`XqgError` for an output that cannot become this model, before anything is read or loaded.
    """

    task: ClassVar[str]
    unit: ClassVar[str]
    least: ClassVar[int] = 1
    weight_decay: ClassVar[float] = 0.0
    has_held_out: bool
    arguments: Any
    prepared: dict[str, Any]

    def __init__(self, options: TrainingOptions) -> None:
        for module, name in PACKAGES.items():
            if importlib.util.find_spec(module) is None:
                raise XqgError(f"training needs {name}, which is not installed. Run: pip install 'pyserini-xqg[train]'")
        self.options, self.updates = options, options.updates
        check_job(options.output, TRAINING, None, options.overwrite, options.inputs)
        self.output = Path(options.output)
        self.work = resolved(options.output) / WORK
        self.device, self.precision = options.hardware.resolve()
        self.share = device_share(self.updates.batch_size, self.least)

    @property
    @abstractmethod
    def _settings(self) -> Mapping[str, Any]:
        """JSON values of all that decides what is learned: an unfinished training with others is not continued."""

    @abstractmethod
    def _make_arguments(self) -> Any:
        """Hugging Face's arguments, of :meth:`training_arguments`."""

    @abstractmethod
    def _prepare(self) -> Mapping[str, Any]:
        """Write the data into the new directory :attr:`work`, once; returns what :attr:`prepared` is to be."""

    @abstractmethod
    def _make_trainer(self, last: Path | None, callbacks: Sequence[Any]) -> Any:
        """The trainer with model, data and loss; ``last`` is the checkpoint that it continues from."""

    @abstractmethod
    def _describe(self) -> tuple[str, str]:
        """What is trained on, and in what updates, for the first line of report."""

    @abstractmethod
    def _describe_evaluation(self, metrics: Mapping[str, float]) -> str:
        """An evaluation, for a line of report."""

    @abstractmethod
    def _results(self, state: Any) -> dict[str, Any]:
        """What the record says of the evaluations."""

    @abstractmethod
    def _save(self, trainer: Any, directory: Path) -> dict[str, Any]:
        """Write the model, and check that what lies there is what was trained; returns more entries of the record.

        Called by every process.
        """

    def _tell(self, record: Mapping[str, Any]) -> None:
        """Say what came out."""
        say(f"{self.output}: trained for {record['steps_done']:,} steps")

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.arguments.process_index == 0

    def run(self) -> None:
        """Prepare, train to the end, and put the model into its place."""
        logging.set_verbosity_error()  # tied weights, for one, are reported as missing
        if not sys.stderr.isatty():
            logging.disable_progress_bar()
        arguments = self.arguments = self._make_arguments()
        job = Job(
            self.output,
            TRAINING,
            {"task": self.task, "settings": dict(self._settings)},
            overwrite=self.options.overwrite,
            inputs=self.options.inputs,
            listed=_LISTED,
        )
        with ExitStack() as self.stack:
            with arguments.main_process_first(desc="preparing the data"):
                if self.is_main:
                    self.stack.enter_context(job)
                    self._begin(job)
            if TRAINING.read(job.directory).get("complete"):
                return
            with job.disk_named():
                self._train(job)

    def _begin(self, job: Job) -> None:
        """Write the data, unless an earlier run of the same command did."""
        if job.finished:
            shutil.rmtree(self.work, ignore_errors=True)
            say(f"{self.output}: holds this model already, trained with the same settings")
        elif not (self.work / "prepared.json").exists():
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir()
            try:
                with job.disk_named():
                    write_json(self.work / "prepared.json", dict(self._prepare()))
            except XqgError:
                job.clear()  # so that the mended command is not refused as another one
                raise

    def _train(self, job: Job) -> None:
        self.prepared = read_json(self.work / "prepared.json")
        last = last_checkpoint(self.work / "checkpoints")
        set_seed(self.updates.seed)
        report = TrainingReport(resolved(self.output) / LOG_NAME, self.updates, self.unit, self._describe_evaluation)
        trainer = self._make_trainer(last, [report])
        trainer.remove_callback(PrinterCallback)
        parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
        if self.is_main:
            data, updates = self._describe()
            machine = f"{self.precision} on {self.arguments.world_size} x {self.device}"
            say(f"{data}; {parameters:,} parameters, {machine}, {updates}")
            if last:
                say(f"{self.output}: continues after {last.name.removeprefix('checkpoint-')} steps")
        started = time.perf_counter()
        state = train_to_the_end(trainer, last)
        record = {
            "device": self.device,
            "precision": self.precision,
            "devices": self.arguments.world_size,
            "parameters": parameters,
            "steps_done": state.global_step,
            "losses": [[entry["step"], entry["loss"]] for entry in state.log_history if "loss" in entry],
            **self._results(state),
            "seconds_of_last_run": round(time.perf_counter() - started, 1),
        }
        made = self.work / "model"
        if self.is_main:
            shutil.rmtree(made, ignore_errors=True)
        record |= self._save(trainer, made)
        if self.is_main:
            complete(job, made, record)
            self._tell(record)

    def training_arguments(self, kind: type, **changes: Any) -> Any:
        """Hugging Face's arguments of type ``kind``, with what all trainings have and ``changes``.

        Updates and evaluations are set by :meth:`schedule`.
        """
        updates = self.updates
        arguments = kind(
            **{
                "output_dir": str(self.work / "checkpoints"),
                "learning_rate": updates.learning_rate,
                "warmup_steps": updates.warmup,  # a share, as below 1
                "weight_decay": self.weight_decay,
                "lr_scheduler_type": "linear",
                "do_eval": self.has_held_out,
                "eval_strategy": "steps" if self.has_held_out else "no",
                "save_strategy": "steps",
                "save_total_limit": 2,
                "restore_callback_states_from_checkpoint": True,
                "logging_nan_inf_filter": False,
                "disable_tqdm": not sys.stderr.isatty(),
                "report_to": "none",
                "seed": updates.seed,
                "bf16": self.precision == "bfloat16",
                "use_cpu": self.device == "cpu",
                "ddp_timeout": WAIT_SECONDS,
                "ddp_find_unused_parameters": False,
                "dataloader_pin_memory": self.device != "cpu",
                **changes,
            }
        )
        if arguments.n_gpu > 1:  # several without a launcher: torch's DataParallel, which nobody should use
            arguments._n_gpu = 1
            say("one of several GPUs is used; for all: torchrun --nproc-per-node N -m pyserini_xqg.train …")
        return arguments

    def schedule(self, arguments: Any, steps: int, between: int) -> None:
        """Set how many updates there are, and how many lie ``between`` two evaluations."""
        every = min(between, steps)
        arguments.max_steps = steps
        arguments.eval_steps = arguments.save_steps = every
        arguments.logging_steps = min(self.updates.log_steps, every)

    def early_stopping(self) -> list[Any]:
        """The callback that ends a training which gets no better, where it is wanted."""
        patience = self.updates.early_stopping
        return [EarlyStoppingCallback(patience)] if patience and self.has_held_out else []


class TrainingReport(TrainerCallback):
    """One line for each evaluation on standard error, and the whole history in ``training-log.jsonl``.

    path : of the history. unit : what an update counts. describe : an evaluation, from the trainer's ``eval_…`` values.
    """

    def __init__(
        self, path: Path, updates: UpdateOptions, unit: str, describe: Callable[[Mapping[str, float]], str]
    ) -> None:
        self._path, self._update_size, self._unit, self._describe = path, updates.batch_size, unit, describe
        self._begun, self._started = 0, 0.0
        self._loss = math.nan

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._begun, self._started = state.global_step, time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Take note of the training loss; stop where it is no number."""
        if "loss" not in logs:
            return
        self._loss = logs["loss"]
        if not math.isfinite(self._loss):
            raise XqgError(
                f"the loss is {self._loss} at step {state.global_step:,}. Lower --learning-rate, or use --dtype float32"
            )
        if not args.do_eval and state.global_step % args.save_steps == 0:
            self._say(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Report an evaluation."""
        self._say(state, f"held-out {self._describe(metrics)}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what came after the last evaluation."""
        self._write(state)

    def _say(self, state: Any, *parts: str) -> None:
        if math.isfinite(self._loss):  # there is none before the first step
            seen = (state.global_step - self._begun) * self._update_size
            speed = seen / (time.perf_counter() - self._started)
            parts = f"loss {self._loss:.3f}", *parts, f"{speed:.1f} {self._unit}/s"
        if state.is_world_process_zero:
            say(f"step {state.global_step:,} of {state.max_steps:,}: {', '.join(parts)}")
            self._write(state)

    def _write(self, state: Any) -> None:
        if state.is_world_process_zero:
            write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in state.log_history))


def device_share(batch_size: int, least: int = 1) -> int:
    """How many of an update one process takes, of which each must get ``least``."""
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % devices or batch_size < least * devices:
        raise XqgError(
            f"--batch-size {batch_size}: does not divide among {devices} processes, each with at least {least}. Use a "
            f"multiple of {devices}."
        )
    return batch_size // devices


def complete(job: Job, made: Path, record: Mapping[str, Any]) -> None:
    """Put what lies in ``made`` into its place, ``config.json`` last, finish the record, and remove the work.

    Without its configuration, nothing takes the directory for a model.
    """
    names = [str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()]
    # Noted before: a run that is cut off here leaves nothing that is not known for its own.
    TRAINING.write(job.directory, {**job.manifest, "files": {name: {} for name in [*_LISTED, *names]}})
    for path in sorted(made.iterdir(), key=lambda path: path.name == "config.json"):
        target = job.directory / path.name
        if target.is_dir():  # of a run that was cut off here
            shutil.rmtree(target)
        os.replace(path, target)
    job.finish(listed=[f"{WORK}/"], **record, versions=package_versions())
    shutil.rmtree(job.directory / WORK)


def train_to_the_end(trainer: Any, last: Path | None) -> Any:
    """Train from the start or from a checkpoint to the end with Hugging Face's trainer; returns its state then."""
    if last:
        state = TrainerState.load_from_json(str(last / "trainer_state.json"))
        control = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
        if state.global_step >= state.max_steps or control.get("should_training_stop"):
            # Cut off after the last step: the trainer would do one step more.
            kept = last.with_name(f"checkpoint-{state.best_global_step}") if state.best_global_step else last
            trainer._load_from_checkpoint(str(kept))
            trainer.state = state
            return state
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    return trainer.state


def last_checkpoint(directory: Path) -> Path | None:
    """The last checkpoint that was written to its end, None without one; half-written ones are removed."""
    found = None
    for path in sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))  # the trainer writes it last
            found = path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return found

"""Trains a dual encoder with sentence-transformers' trainer: data to the disk, contrastive loss, an encoder directory.

Several GPUs, mixed precision, gradient caching, checkpoints and the sampling of batches without duplicates are
sentence-transformers' own, see https://sbert.net/docs/sentence_transformer/training_overview.html.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.scoring import Scorer
from pyserini_xqg.train import output as outputs
from pyserini_xqg.train.generator import Hardware
from pyserini_xqg.train.output import LOG_NAME, WORK, check_output, last_checkpoint, train_to_the_end
from pyserini_xqg.train.pairs import PairCounts, Split
from pyserini_xqg.train.retriever_settings import PASSAGE_TOWER, QUERY_TOWER, RetrieverSettings

TASK = "retriever"
_PACKAGES = ("accelerate", "datasets", "sentence_transformers")


def train_retriever(
    data: Split,
    model: str,
    output: str | Path,
    settings: RetrieverSettings | None = None,
    hardware: Hardware | None = None,
    *,
    answers: str | None = None,
    log_steps: int = 10,
    overwrite: bool = False,
) -> None:
    """Train the encoder ``model`` into ``output`` on ``data``, a split of examples.

    A training that was cut off continues from its last checkpoint. ``hardware.device_batch_size`` : texts a device
    takes at a time, by gradient caching; 0 for a whole update at once. ``answers`` : file of held-out questions'
    answers, for R@kt. Raises :class:`XqgError` for faults in the data, for a model that cannot be trained, and for an
    output that cannot become this one.
    """
    settings, hardware, output = (
        settings or RetrieverSettings(),
        hardware or Hardware(device_batch_size=0),
        Path(output),
    )
    outputs.require_packages(*_PACKAGES)
    check_output(output, overwrite)
    device, precision = hardware.resolve()
    share = device_share(settings.batch_size)
    if settings.towers == "separate" and hardware.device_batch_size and share < settings.batch_size:
        raise XqgError(
            "--device-batch-size with --towers separate on several processes: gradients of one tower would not be "
            "shared. Leave it out (--gradient-checkpointing saves memory too), or use one process."
        )
    training, held_out = data.scan()
    from pyserini_xqg.train.retriever_model import check_encoder

    fingerprint = check_encoder(model, settings)
    run = _Run(data, training, held_out, (model, fingerprint), output, settings, answers)
    run.train(hardware, device, precision, share, log_steps, overwrite)


def device_share(batch_size: int) -> int:
    """Questions of an update that one process takes."""
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    if batch_size % devices or batch_size < 2 * devices:
        raise XqgError(
            f"--batch-size {batch_size}: does not divide among {devices} processes, each with at least two questions. "
            f"Use a multiple of {devices}."
        )
    return batch_size // devices


class _Run:
    """One training: what its steps share."""

    def __init__(
        self,
        data: Split,
        training: PairCounts,
        held_out: PairCounts,
        model: tuple[str, str],
        output: Path,
        settings: RetrieverSettings,
        answers: str | None,
    ) -> None:
        self.data, self.training, self.held_out = data, training, held_out
        self.output, self.work, self.settings, self.model, self.answers = (
            output,
            output / WORK,
            settings,
            model[0],
            answers,
        )
        self.compared = {
            "model": {"name": model[0], "fingerprint": model[1]},
            **asdict(settings),
            "measures": list(settings.measures),
            "data": asdict(training),
            "held_out": asdict(held_out),
        }

    def train(
        self, hardware: Hardware, device: str, precision: str, share: int, log_steps: int, overwrite: bool
    ) -> None:
        """Do all of it."""
        from transformers import set_seed
        from transformers.utils import logging

        from pyserini_xqg.train import retriever_model
        from pyserini_xqg.train.retriever_batches import EpochCallback, ExampleCollator, routes
        from pyserini_xqg.train.retriever_data import open_examples
        from pyserini_xqg.train.retriever_trainer import RetrieverTrainer, contrastive_loss

        logging.set_verbosity_error()
        if not sys.stderr.isatty():
            logging.disable_progress_bar()
        arguments = self._arguments(device, precision)
        main = arguments.process_index == 0
        with ExitStack() as stack:
            with arguments.main_process_first(desc="preparing the data"):
                if main:
                    stack.enter_context(outputs.writing(self.output))
                    self._prepare(overwrite)
            dataset, counts = open_examples(self.work)
            set_seed(self.settings.seed)
            model = retriever_model.build(self.model, self.settings)
            if hardware.gradient_checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            evaluator = self._evaluator(stack, hardware) if self.held_out.pairs else None
            last = last_checkpoint(self.work / "checkpoints")
            self._schedule(arguments, counts, log_steps, first=last is None)
            arguments.router_mapping = routes(counts.negatives)
            collator = ExampleCollator(
                preprocess_fn=model.preprocess,
                router_mapping=arguments.router_mapping,
                dataset=dataset,
                negatives=counts.negatives,
                seed=self.settings.seed,
            )
            report = self._report(arguments)
            mini_batch = hardware.device_batch_size if hardware.device_batch_size < share else 0
            trainer = RetrieverTrainer(
                model=model,
                args=arguments,
                train_dataset=dataset,
                data_collator=collator,
                loss=contrastive_loss(model, self.settings.temperature, mini_batch, arguments.world_size),
                evaluator=evaluator,
                callbacks=[report, EpochCallback(collator), *self._stopping()],
            )
            if main:
                self._announce(model, arguments, device, precision, counts, last)
            started = time.perf_counter()
            state = train_to_the_end(trainer, last)
            if main:
                record = {
                    "device": device,
                    "precision": precision,
                    "devices": arguments.world_size,
                    "parameters": sum(parameter.numel() for parameter in model.parameters()),
                    "examples": asdict(counts),
                    **self._results(state),
                    "questions_per_second": round(report.pairs_per_second, 1),
                    "seconds_of_last_run": round(time.perf_counter() - started, 1),
                }
                self._finish(trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False), record)

    def _arguments(self, device: str, precision: str) -> Any:
        from sentence_transformers import SentenceTransformerTrainingArguments

        from pyserini_xqg.train.retriever_batches import batch_sampler

        settings, held_out = self.settings, bool(self.held_out.pairs)
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(self.work / "checkpoints"),
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            lr_scheduler_type="linear",
            per_device_train_batch_size=settings.batch_size,
            # Drawn whole, then split: so no passage stands twice in an update, whatever the number of processes.
            accelerator_config={"split_batches": True},
            dataloader_drop_last=True,
            batch_sampler=batch_sampler,
            do_eval=held_out,
            eval_strategy="steps" if held_out else "no",
            save_strategy="steps",
            save_total_limit=2,
            load_best_model_at_end=held_out,
            metric_for_best_model=settings.measures[0] if held_out else None,
            greater_is_better=True,
            restore_callback_states_from_checkpoint=True,
            logging_nan_inf_filter=False,
            disable_tqdm=not sys.stderr.isatty(),
            report_to="none",
            seed=settings.seed,
            bf16=precision == "bfloat16",
            use_cpu=device == "cpu",
            ddp_timeout=outputs.WAIT_SECONDS,
            ddp_find_unused_parameters=False,
            dataloader_pin_memory=device != "cpu",
        )
        if arguments.n_gpu > 1:  # several without a launcher: torch's DataParallel, which nobody should use
            arguments._n_gpu = 1
            say("one of several GPUs is used; for all: torchrun --nproc-per-node N -m pyserini_xqg.train …")
        return arguments

    def _schedule(self, arguments: Any, counts: Any, log_steps: int, first: bool) -> None:
        """Set how many updates there are, and how many lie between two evaluations."""
        epoch = counts.examples // self.settings.batch_size
        steps = self.settings.steps or max(1, round(self.settings.epochs * epoch))
        every = min(self.settings.eval_steps or epoch, steps)
        arguments.max_steps = steps
        arguments.eval_steps = arguments.save_steps = every
        arguments.logging_steps = min(log_steps, every)
        arguments.eval_on_start = bool(self.held_out.pairs) and first

    def _prepare(self, overwrite: bool) -> None:
        """Record the settings and write the data, unless an earlier run of the same command did."""
        from pyserini_xqg.core.files import write_json
        from pyserini_xqg.train.retriever_data import write_examples, write_held_out

        outputs.begin(self.output, TASK, self.compared, overwrite)
        if (self.work / "prepared.json").exists():
            return
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        write_examples(self.work, self.data, self.settings)
        if self.held_out.pairs:
            write_held_out(self.work, self.data, self.settings)
        write_json(self.work / "prepared.json", {})

    def _evaluator(self, stack: ExitStack, hardware: Hardware) -> Any:
        from pyserini_xqg.train.retriever_data import open_held_out
        from pyserini_xqg.train.retriever_evaluation import HeldOutEvaluator

        data = open_held_out(self.work, self.answers, self.settings)
        scorer = stack.enter_context(Scorer(data.collection, self.settings.measures))
        return HeldOutEvaluator(data, scorer, hardware.device_batch_size or 64)

    def _report(self, arguments: Any) -> Any:
        from pyserini_xqg.train.retriever_evaluation import RetrieverReport

        every, size = int(arguments.eval_steps), self.settings.batch_size
        return RetrieverReport(self.output / LOG_NAME, every, size, self.settings.measures)

    def _stopping(self) -> list[Any]:
        from transformers import EarlyStoppingCallback

        patience = self.settings.early_stopping
        return [EarlyStoppingCallback(patience)] if patience and self.held_out.pairs else []

    def _announce(
        self, model: Any, arguments: Any, device: str, precision: str, counts: Any, last: Path | None
    ) -> None:
        settings = self.settings
        held_out = self.held_out.describe("questions") if self.held_out.pairs else "none"
        say(
            f"{self.training.describe('questions')}, held out {held_out}; "
            f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {precision} on "
            f"{arguments.world_size} x {device}, {arguments.max_steps:,} updates of {settings.batch_size} questions, "
            f"{arguments.max_steps * settings.batch_size / counts.examples:.1f} epochs; against each question "
            f"{counts.negatives} hard negatives and {(settings.batch_size - 1) * (1 + counts.negatives):,} passages of "
            "the others"
        )
        if counts.fewer:
            say(
                f"{counts.fewer:,} of {counts.examples:,} questions have fewer than {counts.negatives} negatives: "
                "random passages stand in"
            )
        if last:
            say(f"{self.output}: continues after {last.name.removeprefix('checkpoint-')} steps")

    def _results(self, state: Any) -> dict[str, Any]:
        from pyserini_xqg.train.retriever_evaluation import by_measure

        found = [[entry["step"], by_measure(entry, self.settings.measures)] for entry in state.log_history]
        evaluations = [entry for entry in found if entry[1]]
        best = state.best_global_step if self.held_out.pairs else state.global_step
        return {
            "steps_done": state.global_step,
            "best_step": best,
            "before": next((values for step, values in evaluations if step == 0), None),
            "best": next((values for step, values in evaluations if step == best), None),
            "losses": [[entry["step"], entry["loss"]] for entry in state.log_history if "loss" in entry],
            "evaluations": evaluations,
        }

    def _finish(self, model: Any, record: dict[str, Any]) -> None:
        """Save what was trained, with the settings that other commands need, and tell how to use it."""
        from pyserini_xqg.train import retriever_model

        made = self.work / "model"
        shutil.rmtree(made, ignore_errors=True)
        retriever_model.save(model.eval(), made, self.model, self.settings)
        encoder = self.settings.encoder("").to_dict()
        record["encoder"] = {name: value for name, value in encoder.items() if name not in ("model", "tokenizer")}
        if self.settings.towers == "separate":
            record["encoder"] |= {"query_encoder": QUERY_TOWER, "passage_encoder": PASSAGE_TOWER}
        outputs.complete(self.output, TASK, self.compared, made, **record)
        say(f"{self.output}: trained for {record['steps_done']:,} steps{_gain(record)}")
        say(f"to encode with it: {encode_options(self.output, self.settings)}")


def _gain(record: dict[str, Any]) -> str:
    if not record["best"]:
        return ""
    before = record["before"] or {}
    parts = [
        f"{name} {before[name]['avg']:.3f} -> {values['avg']:.3f}" if name in before else f"{name} {values['avg']:.3f}"
        for name, values in record["best"].items()
    ]
    return f", kept step {record['best_step']:,}, held-out {', '.join(parts)}"


def encode_options(output: Path, settings: RetrieverSettings) -> str:
    """The options of ``pyserini_xqg.encode`` (or Pyserini's commands) that fit the model.

    >>> encode_options(Path("models/a"), RetrieverSettings(l2_norm=True))
    '--encoder models/a --pooling cls --l2-norm --max-length 128 --query-max-length 32'
    """
    place = output / PASSAGE_TOWER if settings.towers == "separate" else output
    parts = [f"--encoder {place} --pooling {settings.pooling}"]
    parts += ["--l2-norm"] if settings.l2_norm else []
    parts += [f"--max-length {settings.max_length} --query-max-length {settings.query_max_length}"]
    parts += [f"--prefix {settings.prefix!r}"] if settings.prefix else []
    parts += [f"--query-prefix {settings.query_prefix!r}"] if settings.query_prefix else []
    if settings.towers == "separate":
        parts.append(f"(queries: {output / QUERY_TOWER})")
    return " ".join(parts)

"""Trains a dual encoder with sentence-transformers' trainer: data to the disk, contrastive loss, an encoder directory.

Several GPUs, mixed precision, gradient caching, checkpoints and the sampling of batches without duplicates are
sentence-transformers' own, see https://sbert.net/docs/sentence_transformer/training_overview.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.evaluate.scoring import parse_measures
from pyserini_xqg.train import encoder_model
from pyserini_xqg.train.examples import ExampleSource
from pyserini_xqg.train.job import TrainingJob
from pyserini_xqg.train.options import RetrieverTraining, settings
from pyserini_xqg.train.pairs import Split
from pyserini_xqg.vectors.loading import load_encoder


def train_retriever(options: RetrieverTraining) -> None:
    """Train an encoder into the directory ``options.output``; what was cut off continues.

    Raises :class:`XqgError` for faults in the data, for a model that cannot be trained, and for an output that cannot
    become this one.
    """
    RetrieverJob(options).run()


class RetrieverJob(TrainingJob):
    """A retriever's training."""

    task, unit, least = "retriever", "questions", 2
    options: RetrieverTraining

    def __init__(self, options: RetrieverTraining) -> None:
        if at_kt := [name for name, measure in parse_measures(options.measures).items() if isinstance(measure, int)]:
            raise XqgError(f"--measures {at_kt[0]}: needs answers, which training does not read. Use evaluate for it.")
        super().__init__(options)
        self.data = Split.of(options.questions, ExampleSource, self.updates.seed)
        self.training, self.held_out = self.data.scan()
        self.has_held_out = bool(self.held_out.pairs)
        self.fingerprint = check_encoder(options)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "model": {"name": self.options.model, "fingerprint": self.fingerprint},
            **settings(self.options),
            "data": asdict(self.training),
            "held_out": asdict(self.held_out),
        }

    def _make_arguments(self) -> Any:
        from sentence_transformers import SentenceTransformerTrainingArguments

        from pyserini_xqg.train.retriever_loop import batch_sampler

        return self.training_arguments(
            SentenceTransformerTrainingArguments,
            per_device_train_batch_size=self.updates.batch_size,
            # Drawn whole, then split: so no passage stands twice in an update, whatever the number of processes.
            accelerator_config={"split_batches": True},
            dataloader_drop_last=True,
            batch_sampler=batch_sampler,
            load_best_model_at_end=self.has_held_out,
            metric_for_best_model=self.options.measures[0] if self.has_held_out else None,
            greater_is_better=True,
        )

    def _prepare(self) -> dict[str, Any]:
        """Write the examples, the held-out questions, and the passages in which these are searched."""
        from pyserini_xqg.train.retriever_data import write_examples, write_held_out

        counts = write_examples(self.work, self.data, self.options)
        if self.has_held_out:
            write_held_out(self.work, self.data, self.options)
        return counts

    def _make_trainer(self, last: Path | None, callbacks: Sequence[Any]) -> Any:
        from pyserini_xqg.train.retriever_data import HeldOutEvaluator, open_examples
        from pyserini_xqg.train.retriever_loop import (
            EpochCallback,
            ExampleCollator,
            RetrieverTrainer,
            contrastive_loss,
            routes,
        )

        options, arguments, negatives = self.options, self.arguments, self.prepared["negatives"]
        dataset = open_examples(self.work)
        model = encoder_model.build(options.model, options.vectors)
        encoder_model.freeze_pooler(model)
        if options.hardware.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        epoch = len(dataset) // self.updates.batch_size
        steps = self.updates.steps or max(1, round(options.epochs * epoch))
        self.schedule(arguments, steps, self.updates.eval_steps or epoch)
        arguments.eval_on_start = self.has_held_out and last is None
        arguments.router_mapping = routes(negatives)
        collator = ExampleCollator(
            preprocess_fn=model.preprocess,
            router_mapping=arguments.router_mapping,
            dataset=dataset,
            negatives=negatives,
            seed=self.updates.seed,
        )
        at_a_time = options.device_batch_size or 0
        cached = at_a_time if at_a_time < self.share else 0
        return RetrieverTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            data_collator=collator,
            loss=contrastive_loss(model, options.temperature, cached, arguments.world_size),
            evaluator=HeldOutEvaluator(self.work, options) if self.has_held_out else None,
            callbacks=[*callbacks, EpochCallback(collator), *self.early_stopping()],
        )

    def _describe(self) -> tuple[str, str]:
        size, negatives = self.updates.batch_size, self.prepared["negatives"]
        questions, fewer = self.prepared["examples"], self.prepared["fewer"]
        held_out = self.held_out.describe("questions") if self.has_held_out else "none"
        if fewer:
            say(f"{fewer:,} of {questions:,} questions have fewer than {negatives} negatives: random passages stand in")
        return (
            f"{self.training.describe('questions')}, held out {held_out}",
            f"{self.arguments.max_steps:,} updates of {size} questions, "
            f"{self.arguments.max_steps * size / questions:.1f} epochs; against each question {negatives} hard "
            f"negatives and {(size - 1) * (1 + negatives):,} passages of the others",
        )

    def _describe_evaluation(self, metrics: Mapping[str, float]) -> str:
        """All measures, of the languages only the first one."""
        from pyserini_xqg.train.retriever_data import by_measure

        parts = []
        for number, (name, values) in enumerate(by_measure(metrics, self.options.measures).items()):
            each = [f"{language} {value:.3f}" for language, value in values.items() if language != "avg"]
            parts.append(f"{name} {values['avg']:.3f}" + (f" ({', '.join(each)})" if each[1:] and not number else ""))
        return ", ".join(parts)

    def _results(self, state: Any) -> dict[str, Any]:
        from pyserini_xqg.train.retriever_data import by_measure

        values = [(entry["step"], by_measure(entry, self.options.measures)) for entry in state.log_history]
        evaluations = {step: measures for step, measures in values if measures}
        best = state.best_global_step if self.has_held_out else state.global_step
        return {
            "examples": self.prepared,
            "best_step": best,
            "before": evaluations.get(0),
            "best": evaluations.get(best),
            "evaluations": [[step, measures] for step, measures in evaluations.items()],
        }

    def _save(self, trainer: Any, directory: Path) -> dict[str, Any]:
        """Write the encoder with the settings that other commands need."""
        vectors = self.options.vectors
        if self.is_main:
            model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
            encoder_model.save(model, directory, self.options.model, vectors)
        return {"encoder": vectors.recorded()}

    def _tell(self, record: Mapping[str, Any]) -> None:
        gain, before = "", record["before"] or {}
        if record["best"]:
            parts = [
                f"{name} {before[name]['avg']:.3f} -> {values['avg']:.3f}" if name in before else
                f"{name} {values['avg']:.3f}"
                for name, values in record["best"].items()
            ]  # fmt: skip
            gain = f", kept step {record['best_step']:,}, held-out {', '.join(parts)}"
        say(f"{self.output}: trained for {record['steps_done']:,} steps{gain}")
        say(f"to encode with it: --encoder {self.output}")


def check_encoder(options: RetrieverTraining) -> str:
    """:class:`XqgError` unless the model is a checkpoint of an encoder that can be trained; returns its fingerprint."""
    name = options.model
    model, tokenizer = load_encoder(options.vectors.config(name), option="--model")
    if tokenizer.pad_token_id is None:
        raise XqgError(f"{name}: its tokenizer has no padding token. Name one in tokenizer_config.json.")
    return encoder_model.fingerprint(name, model.config, tokenizer)

"""Fine-tunes a query generator: data to the disk, Hugging Face's trainer, a checkpoint for ``generate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.generate.prompts import names_language
from pyserini_xqg.generate.sampling import Sampling
from pyserini_xqg.train.job import TrainingJob
from pyserini_xqg.train.options import GeneratorTraining, settings
from pyserini_xqg.train.pair_tokens import PairTokens, open_seq2seq, write_pairs
from pyserini_xqg.train.pairs import PairSource, Split


def train_generator(options: GeneratorTraining) -> None:
    """Fine-tune a checkpoint into the directory ``options.output``; what was cut off continues.

    Raises :class:`XqgError` for faults in the data, for a model that cannot be trained, and for an output that cannot
    become this one.
    """
    GeneratorJob(options).run()


class GeneratorJob(TrainingJob):
    """A generator's training."""

    task, unit = "generator", "pairs"
    options: GeneratorTraining

    def __init__(self, options: GeneratorTraining) -> None:
        super().__init__(options)
        self.data = Split.of(options.questions, PairSource, self.updates.seed)
        self.training, self.held_out = self.data.scan()
        self.has_held_out = bool(self.held_out.pairs)
        if len(self.training.languages) > 1 and not names_language(options.prompt):
            raise XqgError(
                f"--prompt {options.prompt!r}: no {{language}}, and the pairs are in "
                f"{', '.join(self.training.languages)}: the model could not know which to write. Add it, or train on "
                "one language."
            )
        self.languages = sorted({*self.training.languages, *self.held_out.languages})
        self.checkpoint = open_seq2seq(options.model)
        self.tokens = PairTokens(self.checkpoint, options)

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "model": {"name": self.checkpoint.name, "fingerprint": self.checkpoint.fingerprint()},
            **settings(self.options),
            "data": asdict(self.training),
            "held_out": asdict(self.held_out),
        }

    def _make_arguments(self) -> Any:
        """Updates are made of the largest batches that divide a process's share evenly."""
        from transformers import Seq2SeqTrainingArguments

        size = even_batch(self.share, self.options.device_batch_size)
        arguments = self.training_arguments(
            Seq2SeqTrainingArguments,
            per_device_train_batch_size=size,
            per_device_eval_batch_size=size,
            gradient_accumulation_steps=self.share // size,
            load_best_model_at_end=self.has_held_out,
            metric_for_best_model="loss_per_token",
            remove_unused_columns=False,
            greater_is_better=False,
        )
        self.schedule(arguments, self.updates.steps, self.updates.eval_steps)
        return arguments

    def _prepare(self) -> dict[str, Any]:
        """Tokenize the pairs."""
        for language in self.languages:  # before anything is written: the tokenizer may lack a language's token
            self.tokens.decoder_prefix(language)
        write_pairs(self.work / "train.arrow", self.data.training(), self.tokens, self.languages)
        cut = {"input": self.tokens.cut_inputs, "target": self.tokens.cut_targets}
        for name, number in cut.items():
            if number:
                limit = getattr(self.options, f"max_{name}_length")
                say(f"{number:,} of {self.training.pairs:,} {name}s are cut at {limit} tokens (--max-{name}-length)")
        if self.has_held_out:
            write_pairs(self.work / "held-out.arrow", self.data.held_out(), self.tokens, self.languages)
        return {"cut_inputs": cut["input"], "cut_targets": cut["target"]}

    def _make_trainer(self, last: Path | None, callbacks: Sequence[Any]) -> Any:
        from datasets import Dataset

        from pyserini_xqg.train.generator_loop import GeneratorTrainer, PairCollator

        model = self.checkpoint.load("float32")
        model.generation_config = self.checkpoint.generation_config
        if self.options.hardware.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return GeneratorTrainer(
            model=model,
            args=self.arguments,
            train_dataset=Dataset.from_file(str(self.work / "train.arrow")),
            eval_dataset=Dataset.from_file(str(self.work / "held-out.arrow")) if self.has_held_out else None,
            data_collator=PairCollator(self.checkpoint.tokenizer.pad_token_id),
            callbacks=[*callbacks, *self.early_stopping()],
            languages=self.languages,
            update_size=self.updates.batch_size,
        )

    def _describe(self) -> tuple[str, str]:
        held_out = self.held_out.describe() if self.has_held_out else "none"
        batch = f"{self.arguments.per_device_train_batch_size} x {self.arguments.gradient_accumulation_steps}"
        epochs = self.updates.steps * self.updates.batch_size / self.training.pairs
        return (
            f"{self.training.describe()}, held out {held_out}",
            f"updates of {batch} pairs on each, {epochs:.1f} epochs",
        )

    def _describe_evaluation(self, metrics: Mapping[str, float]) -> str:
        """The loss of all pairs, and of each language's."""
        losses = {name.removeprefix("eval_loss_"): loss for name, loss in metrics.items() if "eval_loss_" in name}
        best = losses.pop("per_token")
        return f"{best:.3f} ({', '.join(f'{language} {loss:.3f}' for language, loss in losses.items())})"

    def _results(self, state: Any) -> dict[str, Any]:
        name = "eval_loss_per_token"
        return {
            "best_step": state.best_global_step if self.has_held_out else state.global_step,
            "held_out_loss": state.best_metric if self.has_held_out else None,
            "held_out_losses": [[entry["step"], entry[name]] for entry in state.log_history if name in entry],
        }

    def _save(self, trainer: Any, directory: Path) -> dict[str, Any]:
        """Write the checkpoint as ``generate`` takes it."""
        trainer.save_model(str(directory))
        if not self.is_main:
            return {}
        (directory / "training_args.bin").unlink(missing_ok=True)
        # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
        open_seq2seq(self.options.model).tokenizer.save_pretrained(directory)
        generation = self.checkpoint.generation_config
        limit = self.options.max_target_length
        generation.update(do_sample=True, top_k=Sampling().top_k, max_new_tokens=limit)
        generation.save_pretrained(directory)
        check_saved(trainer, directory)
        return self.prepared

    def _tell(self, record: Mapping[str, Any]) -> None:
        held_out, loss = record["held_out_loss"], ""
        if held_out is not None:
            loss = f", held-out loss {held_out:.3f} at step {record['best_step']:,}"
        say(f"{self.output}: trained for {record['steps_done']:,} steps{loss}")


def even_batch(number: int, most: int) -> int:
    """The largest size up to ``most`` of batches into which ``number`` divides evenly.

    >>> even_batch(8, 3), even_batch(32, 16)
    (2, 16)
    """
    return max(size for size in range(1, min(most, number) + 1) if number % size == 0)


def check_saved(trainer: Any, directory: Path) -> None:
    """Load a saved model and compare its scores with those of the trained one, on the first pairs of the data.

    transformers 5 reads some configurations (tied or scaled output of the T5 family) otherwise than it wrote them.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return  # no process has the whole model
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False).eval()
    saved = AutoModelForSeq2SeqLM.from_pretrained(directory, dtype="float32").to(model.device).eval()
    data = trainer.train_dataset
    inputs = trainer.data_collator([data[row] for row in range(min(4, len(data)))])
    labels = inputs.pop("labels").to(model.device) != -100
    inputs = {name: values.to(model.device) for name, values in inputs.items()}
    with torch.no_grad():
        one, two = (type(each).forward(each, **inputs).logits[labels] for each in (model, saved))
    if (distance := ((one - two).norm() / one.norm()).item()) > 1e-3:
        raise XqgError(
            f"{directory}: the saved model's scores differ from the trained one's by {distance:.0%}. Its checkpoints "
            "are kept; try another release of transformers with the same command."
        )

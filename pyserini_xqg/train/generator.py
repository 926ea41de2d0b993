"""Fine-tunes or trains a query generator: data to the disk, Hugging Face's trainer, a checkpoint for ``generate``.

Beside what :mod:`pyserini_xqg.train.output` names, the output directory holds ``samples.jsonl``: questions written
for held-out prompts, at each evaluation.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.prompts import check_prompt, format_prompt, names_language
from pyserini_xqg.generate.sampling import PAPER_PROMPT, Sampling
from pyserini_xqg.train import output as outputs
from pyserini_xqg.train.output import LOG_NAME, WORK, check_output, last_checkpoint, train_to_the_end
from pyserini_xqg.train.pairs import Pair, PairCounts, Split
from pyserini_xqg.train.seq2seq import NewModel, PairTokens, new_model, open_seq2seq
from pyserini_xqg.train.tokens import TokenPairs, write_pairs
from pyserini_xqg.vectors.settings import choose_precision, resolve_device

TASK = "generator"
SAMPLES_NAME = "samples.jsonl"


@dataclass(frozen=True)
class GeneratorSettings:
    """How a generator is trained. The defaults are the paper's, as far as it and its code say.

    arXiv 2305.03950: learning rate 1e-4, 2,000 steps. The code it points to for this (ArvinZhuang/DSI-QG, step 1): 128
    input tokens, no warm-up, 8 devices x 4 pairs x 4 accumulated batches, held-out loss and a checkpoint every 100
    steps, the best of which is kept; AdamW without weight decay and a learning rate that falls linearly to 0 are the
    defaults of the trainer it uses, as here.

    batch_size : pairs in one update, over all devices. max_target_length : tokens of a question, its end included.
    early_stopping : evaluations without a lower held-out loss after which training ends; None for never.
    """

    prompt: str = PAPER_PROMPT
    learning_rate: float = 1e-4
    steps: int = 2000
    batch_size: int = 128
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_input_length: int = 128
    max_target_length: int = 64
    eval_steps: int = 100
    early_stopping: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if not self.learning_rate > 0:
            raise XqgError(f"--learning-rate {self.learning_rate}: must be above 0.")
        if self.weight_decay < 0:
            raise XqgError(f"--weight-decay {self.weight_decay}: must be 0 or more.")
        if not 0 <= self.warmup_steps < self.steps:
            raise XqgError(f"--warmup-steps {self.warmup_steps}: must be 0 or more, and below --steps {self.steps}.")
        if self.max_target_length < 2:
            raise XqgError(f"--max-target-length {self.max_target_length}: must be at least 2, one token and the end.")


@dataclass(frozen=True)
class Hardware:
    """Where and how fast, which changes the result in the last digits only.

    device : ``auto``, ``cpu`` or ``cuda``; a launcher (torchrun, accelerate) says which of several. dtype : of the
    arithmetic, the weights stay float32. device_batch_size : most pairs in one forward and backward pass.
    """

    device: str = "auto"
    dtype: str = "auto"
    device_batch_size: int = 16
    gradient_checkpointing: bool = False

    def resolve(self) -> tuple[str, str]:
        """Device and precision."""
        device = resolve_device(self.device)
        precision = choose_precision(self.dtype, device)
        # mT5's activations leave float16's range.
        return device, precision if precision == "bfloat16" else "float32"

    def batches(self, batch_size: int) -> tuple[int, int]:
        """Pairs a device takes at a time, and how many such batches make an update, for :attr:`batch_size` in all."""
        devices = int(os.environ.get("WORLD_SIZE", "1"))
        if batch_size % devices:
            raise XqgError(
                f"--batch-size {batch_size}: does not divide among {devices} processes. Use a multiple of {devices}."
            )
        share = batch_size // devices
        size = max(size for size in range(1, min(self.device_batch_size, share) + 1) if share % size == 0)
        return size, share // size


def train_generator(
    data: Split,
    model: str | NewModel,
    output: str | Path,
    settings: GeneratorSettings | None = None,
    hardware: Hardware | None = None,
    *,
    samples: int = 2,
    log_steps: int = 10,
    overwrite: bool = False,
) -> None:
    """Train ``model`` (a checkpoint, or the shape of a new one) on ``data`` into the directory ``output``.

    A training that was cut off continues from its last checkpoint. ``samples`` : held-out prompts of each language
    that the model writes questions for at each evaluation. Raises :class:`XqgError` for faults in the data, for a model
    that cannot be trained, and for an output that cannot become this one.
    """
    settings, hardware, output = settings or GeneratorSettings(), hardware or Hardware(), Path(output)
    outputs.require_packages("accelerate")
    check_output(output, overwrite)
    device, precision = hardware.resolve()
    batch = hardware.batches(settings.batch_size)
    training, held_out = data.scan()
    if len(training.languages) > 1 and not names_language(settings.prompt):
        raise XqgError(
            f"--prompt {settings.prompt!r}: no {{language}}, and the pairs are in {', '.join(training.languages)}: the "
            "model could not know which to write. Add it, or train on one language."
        )
    run = _Run(data, training, held_out, model, output, settings)
    run.train(hardware, device, precision, batch, samples, log_steps, overwrite)


class _Run:
    """One training: what its steps share."""

    def __init__(
        self,
        data: Split,
        training: PairCounts,
        held_out: PairCounts,
        model: str | NewModel,
        output: Path,
        settings: GeneratorSettings,
    ) -> None:
        self.data, self.training, self.held_out = data, training, held_out
        self.output, self.work, self.settings, self.model = output, output / WORK, settings, model
        self.languages = sorted({*training.languages, *held_out.languages})
        opened = open_seq2seq(model) if isinstance(model, str) else None
        self.checkpoint: Checkpoint | None = opened
        self.compared = {
            "model": {"name": opened.name, "fingerprint": opened.fingerprint()} if opened else asdict(model),
            **asdict(settings),
            "data": asdict(training),
            "held_out": asdict(held_out),
        }

    def train(
        self,
        hardware: Hardware,
        device: str,
        precision: str,
        batch: tuple[int, int],
        samples: int,
        log_steps: int,
        overwrite: bool,
    ) -> None:
        """Do all of it."""
        from transformers import set_seed
        from transformers.utils import logging

        from pyserini_xqg.train.loop import BEST, Collator, GeneratorTrainer, Report, Samples

        logging.set_verbosity_error()  # tied weights, for one, are reported as missing
        if not sys.stderr.isatty():
            logging.disable_progress_bar()
        arguments = self._arguments(hardware, device, precision, batch, log_steps)
        main = arguments.process_index == 0
        with ExitStack() as stack:
            with arguments.main_process_first(desc="preparing the data"):
                if main:
                    stack.enter_context(outputs.writing(self.output))
                    self._prepare(overwrite, samples)
            prepared = read_json(self.work / "prepared.json")
            checkpoint = self.checkpoint or self._new_checkpoint()
            tokens = self._tokens(checkpoint)
            held_out = TokenPairs(self.work / "held-out") if self.held_out.pairs else None
            set_seed(self.settings.seed)
            model = checkpoint.load("float32") if self.checkpoint else new_model(checkpoint)
            model.generation_config = checkpoint.generation_config
            if hardware.gradient_checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            report = Report(self.output / LOG_NAME, self.settings.eval_steps, self.settings.batch_size)
            callbacks = [report, Samples(self.output / SAMPLES_NAME, prepared["samples"], tokens, checkpoint.tokenizer)]
            if self.settings.early_stopping and held_out:
                from transformers import EarlyStoppingCallback

                callbacks.append(EarlyStoppingCallback(self.settings.early_stopping))
            trainer = GeneratorTrainer(
                model=model,
                args=arguments,
                train_dataset=TokenPairs(self.work / "train"),
                eval_dataset=held_out,
                data_collator=Collator(checkpoint.tokenizer.pad_token_id),
                callbacks=callbacks,
                languages=self.languages,
                update_size=self.settings.batch_size,
            )
            last = last_checkpoint(self.work / "checkpoints")
            if main:
                self._announce(model, arguments, device, precision, last)
            started = time.perf_counter()
            state = train_to_the_end(trainer, last)
            record = {
                "device": device,
                "precision": precision,
                "devices": arguments.world_size,
                "parameters": model.num_parameters(),
                "cut_inputs": prepared["cut_inputs"],
                "cut_targets": prepared["cut_targets"],
                "steps_done": state.global_step,
                "best_step": state.best_global_step if held_out else state.global_step,
                "held_out_loss": state.best_metric if held_out else None,
                "losses": [[entry["step"], entry["loss"]] for entry in state.log_history if "loss" in entry],
                "held_out_losses": [
                    [entry["step"], entry[f"eval_{BEST}"]] for entry in state.log_history if f"eval_{BEST}" in entry
                ],
                "pairs_per_second": round(report.pairs_per_second, 1),
                "seconds_of_last_run": round(time.perf_counter() - started, 1),
            }
            trainer.save_model(str(self.work / "model"))
            if main:
                self._finish(checkpoint, trainer, record)

    def _arguments(
        self, hardware: Hardware, device: str, precision: str, batch: tuple[int, int], log_steps: int
    ) -> Any:
        from transformers import Seq2SeqTrainingArguments

        settings, held_out = self.settings, bool(self.held_out.pairs)
        every = min(settings.eval_steps, settings.steps)
        arguments = Seq2SeqTrainingArguments(
            output_dir=str(self.work / "checkpoints"),
            max_steps=settings.steps,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            lr_scheduler_type="linear",
            per_device_train_batch_size=batch[0],
            per_device_eval_batch_size=batch[0],
            gradient_accumulation_steps=batch[1],
            do_eval=held_out,
            eval_strategy="steps" if held_out else "no",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            save_total_limit=2,
            load_best_model_at_end=held_out,
            metric_for_best_model="loss_per_token",
            greater_is_better=False,
            restore_callback_states_from_checkpoint=True,
            logging_steps=min(log_steps, every),
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

    def _prepare(self, overwrite: bool, samples: int) -> None:
        """Record the settings and tokenize the pairs, unless an earlier run of the same command did."""
        outputs.begin(self.output, TASK, self.compared, overwrite)
        if (self.work / "prepared.json").exists():
            return
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        checkpoint = self.checkpoint
        if checkpoint is None:
            from pyserini_xqg.train.vocabulary import train_tokenizer

            texts = vocabulary_texts(self.data.training(), self.settings.prompt)
            train_tokenizer(texts, self.model.vocab_size).save_pretrained(self.work / "tokenizer")
            checkpoint = self._new_checkpoint()
        tokens = self._tokens(checkpoint)
        for language in self.languages:  # before anything is written: the tokenizer may lack a language's token
            tokens.decoder_prefix(language)
        write_pairs(self.work / "train", self.data.training(), tokens, self.languages)
        prepared = {"cut_inputs": tokens.cut_inputs, "cut_targets": tokens.cut_targets, "samples": []}
        if self.held_out.pairs:
            write_pairs(self.work / "held-out", self.data.held_out(), tokens, self.languages)
            for pair in first_of_each(self.data.held_out(), samples):
                prompt = tokens.prompt(pair).text
                prepared["samples"].append(
                    {"language": pair.language, "docid": pair.passage.docid, "prompt": prompt, "question": pair.query}
                )
        for name in ("inputs", "targets"):
            if number := prepared[f"cut_{name}"]:
                option = "input" if name == "inputs" else "target"
                limit = getattr(self.settings, f"max_{option}_length")
                say(f"{number:,} of {self.training.pairs:,} {name} are cut at {limit} tokens (--max-{option}-length)")
        write_json(self.work / "prepared.json", prepared)

    def _new_checkpoint(self) -> Checkpoint:
        from transformers import AutoTokenizer

        return self.model.checkpoint(AutoTokenizer.from_pretrained(self.work / "tokenizer"))

    def _tokens(self, checkpoint: Checkpoint) -> PairTokens:
        settings = self.settings
        return PairTokens(checkpoint, settings.prompt, settings.max_input_length, settings.max_target_length)

    def _announce(self, model: Any, arguments: Any, device: str, precision: str, last: Path | None) -> None:
        batch = f"{arguments.per_device_train_batch_size} x {arguments.gradient_accumulation_steps}"
        say(
            f"{self.training.describe()}, held out {self.held_out.describe() if self.held_out.pairs else 'none'}; "
            f"{model.num_parameters():,} parameters, {precision} on {arguments.world_size} x {device}, updates of "
            f"{batch} pairs on each, {self.settings.steps * self.settings.batch_size / self.training.pairs:.1f} epochs"
        )
        if last:
            say(f"{self.output}: continues after {last.name.removeprefix('checkpoint-')} steps")

    def _finish(self, checkpoint: Checkpoint, trainer: Any, record: dict[str, Any]) -> None:
        """Put the model in its place, its configuration last: without it nothing takes the directory for a model."""
        made = self.work / "model"
        (made / "training_args.bin").unlink(missing_ok=True)
        # Read anew: in use, a tokenizer keeps the last truncation, which would be saved with it.
        fresh = open_seq2seq(self.model) if isinstance(self.model, str) else self._new_checkpoint()
        fresh.tokenizer.save_pretrained(made)
        generation = checkpoint.generation_config
        paper = Sampling()
        generation.update(do_sample=True, top_k=paper.top_k, max_new_tokens=self.settings.max_target_length)
        generation.save_pretrained(made)
        check_saved(trainer, made)
        outputs.complete(self.output, TASK, self.compared, made, **record)
        loss = f", held-out loss {record['held_out_loss']:.3f} at step {record['best_step']:,}"
        say(f"{self.output}: trained for {record['steps_done']:,} steps{loss if self.held_out.pairs else ''}")


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


def vocabulary_texts(pairs: Iterable[Pair], prompt: str) -> Iterable[str]:
    """The questions, and the prompt for each passage once."""
    seen: set[int] = set()
    for pair in pairs:
        yield pair.query
        passage = pair.passage
        if (key := hash((passage.title, passage.text))) not in seen:
            seen.add(key)
            yield format_prompt(prompt, pair.language, passage.title, passage.text)


def first_of_each(pairs: Iterable[Pair], number: int) -> list[Pair]:
    """The first ``number`` pairs of each language, each of another passage, by language."""
    chosen: dict[str, dict[str, Pair]] = {}
    for pair in islice(pairs, 100_000):
        own = chosen.setdefault(pair.language, {})
        if len(own) < number:
            own.setdefault(pair.passage.docid, pair)
    return [pair for language in sorted(chosen) for pair in chosen[language].values()]

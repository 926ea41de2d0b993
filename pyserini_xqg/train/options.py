"""Options of ``python -m pyserini_xqg.train``: what its three commands share, and what each has of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import above, at_least, group, option, settings_of
from pyserini_xqg.generate.prompts import check_prompt
from pyserini_xqg.generate.sampling import PAPER_PROMPT
from pyserini_xqg.vectors.settings import EncoderConfig, choose_precision, resolve_device


def share(value: float) -> str | None:
    """A check for shares that leave something."""
    return None if 0 <= value < 1 else "a number of at least 0 and below 1"


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """Data"""

    data: tuple[str, ...] = option(
        help="Tevatron's JSONL (.gz too), directories of it, or irds:<dataset-id> with queries, qrels and docs; lines "
        "of query_id, query, positive_passages, negative_passages (for a retriever), and lang if --topic-languages "
        "does not say it",
        metavar="PATH",
        several=True,
        decides=False,
    )
    topic_languages: str | None = option(
        None,
        "language of the queries that do not say it: a code such as fi, a TSV of query_id<TAB>language, a JSONL with "
        "id and lang, or a dataset such as irds:xor-tydi/train",
        metavar="CODE|PATH|irds:ID",
        decides=False,
    )
    held_out: str = option(
        "0.05",
        "fraction of the passages to hold out with all their questions (they are no negatives either), 0 for none, or "
        "data of its own; the checkpoint that is best on it is kept",
        metavar="FRACTION|PATH",
        decides=False,
    )

    @property
    def held_out_fraction(self) -> float | None:
        """The fraction that ``--held-out`` names; None if it names data.

        >>> [QuestionOptions(data=(), held_out=held_out).held_out_fraction for held_out in ("0.2", "a.jsonl")]
        [0.2, None]
        """
        try:
            fraction = float(self.held_out)
        except ValueError:
            return None
        if wanted := share(fraction):
            raise XqgError(f"--held-out {self.held_out}: must be {wanted}, or a file of questions.")
        return fraction

    @property
    def files(self) -> list[str]:
        """Files and directories that are read."""
        sources = [*self.data, self.topic_languages, self.held_out]
        return [source for source in sources if source and Path(source).exists()]


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """Training"""

    steps: int | None = option(None, "updates of the weights", metavar="N", check=at_least(1))
    warmup: float = option(
        0.0,
        "share of the updates in which the learning rate rises; then it falls linearly to 0",
        metavar="SHARE",
        check=share,
    )
    learning_rate: float = option(1e-4, "at its highest", metavar="RATE", check=above(0))
    batch_size: int = option(
        128, "pairs, questions or texts in an update, over all devices", metavar="N", check=at_least(1)
    )
    seed: int = option(42, "of all that is random", metavar="N", check=at_least(0))
    eval_steps: int | None = option(
        None,
        "updates between two evaluations, each with a checkpoint (a retriever's default: an epoch)",
        metavar="N",
        check=at_least(1),
    )
    early_stopping: int | None = option(
        None, "end after N evaluations without a better one (default: never)", metavar="N", check=at_least(1)
    )
    log_steps: int = option(10, "updates between two logged losses", metavar="N", check=at_least(1), decides=False)


@dataclass(frozen=True, kw_only=True)
class HardwareOptions:
    """Machine"""

    device: str = option(
        "auto", "cuda: one GPU, or those of the launcher", choices=("auto", "cpu", "cuda"), decides=False
    )
    dtype: str = option(
        "auto",
        "of the arithmetic, weights stay float32; auto: bfloat16 where the device has units for it",
        choices=("auto", "float32", "bfloat16"),
        decides=False,
    )
    gradient_checkpointing: bool = option(
        False, "less memory, about a third more time: for large models", decides=False
    )
    threads: int | None = option(
        None, "CPU threads (default: all cores)", metavar="N", check=at_least(1), decides=False
    )

    def resolve(self) -> tuple[str, str]:
        """Device and precision; sets the number of threads."""
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        device = resolve_device(self.device)
        precision = choose_precision(self.dtype, device)
        # mT5's activations leave float16's range.
        return device, precision if precision == "bfloat16" else "float32"


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """Vectors; recorded beside the model for encode and search"""

    pooling: str = option("cls", "how token vectors become one", choices=("cls", "mean"))
    l2_norm: bool = option(False, "scale each vector to unit length (then lower a retriever's temperature)")
    max_length: int = option(128, "tokens kept of a passage", metavar="TOKENS", check=at_least(1))
    query_max_length: int = option(32, "tokens kept of a query", metavar="TOKENS", check=at_least(1))
    prefix: str | None = option(None, "put before the text of each passage", metavar="TEXT")
    query_prefix: str | None = option(None, "put before each query", metavar="TEXT")

    def config(self, model: str) -> EncoderConfig:
        """The configuration with which other commands read a model that was trained so."""
        return EncoderConfig(model, **self.recorded())

    def recorded(self) -> dict[str, Any]:
        """What the training's record says of the encoder."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every training is told."""

    output: str = option(help="directory of the trained model", metavar="DIR", decides=False)
    overwrite: bool = option(False, "begin anew where the output exists", decides=False)
    updates: UpdateOptions = group(UpdateOptions)
    hardware: HardwareOptions = group(HardwareOptions)

    @property
    def inputs(self) -> list[str]:
        """Files and directories that are read."""
        raise NotImplementedError


def settings(options: TrainingOptions) -> dict[str, Any]:
    """JSON values of the options that decide what is learned, in one object."""
    found: dict[str, Any] = {}
    for name, value in settings_of(options).items():
        found |= value if isinstance(value, dict) else {name: value}
    return found


def check_early_stopping(options: GeneratorTraining | RetrieverTraining) -> None:
    """Refuse to stop early where nothing is held out."""
    if options.updates.early_stopping and options.questions.held_out_fraction == 0:
        raise XqgError("--early-stopping needs held-out questions: pass --held-out.")


@dataclass(frozen=True, kw_only=True)
class GeneratorTraining(TrainingOptions):
    """How a generator is trained. The defaults are the paper's, as far as it and its code say.

    arXiv 2305.03950: learning rate 1e-4, 2,000 steps. The code it points to for this (ArvinZhuang/DSI-QG, step 1): 128
    input tokens, no warm-up, 8 devices x 4 pairs x 4 accumulated batches, held-out loss and a checkpoint every 100
    steps, the best of which is kept; AdamW without weight decay and a learning rate that falls linearly to 0 are the
    defaults of the trainer it uses, as here.
    """

    questions: QuestionOptions = group(QuestionOptions)
    model: str = option(help="seq2seq checkpoint to fine-tune, name or directory", metavar="NAME", decides=False)
    prompt: str = option(
        PAPER_PROMPT,
        "what the model reads; pass the same to generate. {language}: the English name, {language_code}, {title}, "
        "{text}",
        metavar="TEXT",
    )
    max_input_length: int = option(128, "tokens kept of a prompt", metavar="TOKENS", check=at_least(1))
    max_target_length: int = option(
        64, "tokens kept of a question, its end included", metavar="TOKENS", check=at_least(2)
    )
    updates: UpdateOptions = group(UpdateOptions, steps=2000, eval_steps=100)
    device_batch_size: int = option(
        16,
        "most pairs a device takes at a time; an update is made of several such batches",
        metavar="PAIRS",
        check=at_least(1),
        decides=False,
    )

    @property
    def inputs(self) -> list[str]:
        """Files and directories that are read."""
        return [*self.questions.files, self.model]

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        check_early_stopping(self)


@dataclass(frozen=True, kw_only=True)
class RetrieverTraining(TrainingOptions):
    """How a retriever is trained. The defaults are those of xDR.

    arXiv 2305.03950, 3.2 (trained with Tevatron, whose warm-up over a tenth of the updates is kept): one shared
    encoder, CLS, inner product, passages of 128 and queries of 32 tokens, learning rate 1e-5, 40 epochs of 128
    questions an update, each with one positive passage and seven hard negatives, and all passages of the update as
    candidates of each question.
    """

    questions: QuestionOptions = group(QuestionOptions)
    model: str = option(
        "bert-base-multilingual-cased",
        "encoder to begin from, Hugging Face name or directory, such as xlm-roberta-base",
        metavar="NAME",
        decides=False,
    )
    vectors: VectorOptions = group(VectorOptions)
    negatives: int | None = option(
        None,
        "hard negatives of each question in an update, others in each epoch; 0: only the batch's passages (default: 7, "
        "and 0 where the data has none)",
        metavar="N",
        check=at_least(0),
    )
    temperature: float = option(
        1.0,
        "what inner products are divided by; unit-length vectors need a small one, such as 0.05",
        metavar="T",
        check=above(0),
    )
    epochs: float = option(40.0, "passes over the questions, unless --steps is given", metavar="N", check=above(0))
    updates: UpdateOptions = group(UpdateOptions, learning_rate=1e-5, warmup=0.1)
    measures: tuple[str, ...] = option(
        ("RR@10", "R@10"),
        "of ir_measures; the first one's mean over the languages decides which checkpoint is kept",
        metavar="MEASURE",
        several=True,
    )
    eval_passages: int = option(
        10_000,
        "passages in which held-out questions are searched: those that answer them, and the first others of the data",
        metavar="N",
        check=at_least(1),
    )
    device_batch_size: int | None = option(
        None,
        "most texts a device takes at a time, by gradient caching: the same losses in less memory, in about a fifth "
        "more time (default: an update at once)",
        metavar="TEXTS",
        check=at_least(1),
        decides=False,
    )

    @property
    def inputs(self) -> list[str]:
        """Files and directories that are read."""
        return [*self.questions.files, self.model]

    def __post_init__(self) -> None:
        if self.updates.batch_size < 2:
            raise XqgError(
                f"--batch-size {self.updates.batch_size}: must be at least 2, as questions are each other's negatives."
            )
        check_early_stopping(self)

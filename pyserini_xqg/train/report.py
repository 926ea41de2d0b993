"""What is said and kept of a training while it runs."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pyserini_xqg.core.cli import say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import write_text
from pyserini_xqg.train.options import UpdateOptions


class TrainingReport(TrainerCallback):
    """One line for each evaluation on standard error, and the whole history in ``training-log.jsonl``.

    path : of the history. unit : what an update counts. describe : an evaluation, from the trainer's ``eval_…`` values.
    """

    def __init__(
        self, path: Path, updates: UpdateOptions, unit: str, describe: Callable[[Mapping[str, float]], str]
    ) -> None:
        self._path, self._update_size, self._unit, self._describe = path, updates.batch_size, unit, describe
        self._seconds, self._steps, self._started = 0.0, 0, 0.0
        self._loss = math.nan

    @property
    def per_second(self) -> float:
        """Speed of this process so far, evaluation left out."""
        return self._steps * self._update_size / self._seconds if self._seconds else 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the clock."""
        self._seconds += time.perf_counter() - self._started
        self._steps += 1

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
            self._say(state, "")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        """Report an evaluation."""
        self._say(state, f"held-out {self._describe(metrics)}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what came after the last evaluation."""
        self._write(state)

    def _say(self, state: Any, held_out: str) -> None:
        parts = [f"loss {self._loss:.3f}"] if math.isfinite(self._loss) else []  # none before the first step
        parts += [held_out] if held_out else []
        parts += [f"{self.per_second:.1f} {self._unit}/s"] if math.isfinite(self._loss) else []
        if state.is_world_process_zero:
            say(f"step {state.global_step:,} of {state.max_steps:,}: {', '.join(parts)}")
            self._write(state)

    def _write(self, state: Any) -> None:
        if state.is_world_process_zero:
            write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in state.log_history))

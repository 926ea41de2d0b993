"""Conditions: experiments with the commands that make them and the scores that are expected, as YAML files.

A file is a family of conditions that share steps. What may stand in it::

    like: another family                      in the same folder, of which entries and variables are taken that are not
                                              here, and conditions: all, or those of the names here   (may be absent)
    title: one line
    about: a few lines, printed by the listing
    data: ir_datasets id that has to be at hand, or to be had          (may be absent)
    requirements: [what a machine needs, in words]                     (may be absent)
    variables:
      options: --alpha 0                      text that is put into commands as it stands
      run: ${search}
      encoder: {hub: organisation/model}      something on the Hugging Face hub; with "package: module/folder", the
                                              same from an installed package goes first; "kind: dataset" for data sets
    steps:
      store:
        command: python -m pyserini_xqg.encode --encoder ${encoder} --output ${output}
        output: store
    measured: {source: …, tolerance: …}       (may be absent) the scores in the repository's runs/ are expected as well
    conditions:
      - name: plain
        title: one line
        variables: {options: --alpha 0}       go before the family's
        expected:                             may be empty; "unknown" then says why
          - source: where the figures come from
            tolerance: {avg: 0.5, languages: 1.5}        in points
            scores: {R@10: {avg: 38.6, ar: 6.7}}         values x 100

``${…}`` in commands, outputs and variables is a variable, the output of a step, ``${output}`` (of the step itself) or
``${name}`` (of the condition). A condition is made by the step ``evaluate``, which writes the JSON of
``pyserini_xqg.evaluate``, and the steps that it refers to; the variable ``run`` is the run that it scores.
"""

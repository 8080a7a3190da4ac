"""Evaluation of a network on a cohort: ``cohort.csv`` in; a report, a page and a table per case out.

The modules in the order in which a run uses them: :mod:`cohort` (the studies, whose diagnoses are known) ->
:mod:`prediction` and :mod:`predictors` (the network that answers) -> :mod:`run` (asks, study by study) ->
:mod:`results` (keeps every answer at once) -> :mod:`statistics` and :mod:`roc` (the figures and their intervals) ->
:mod:`assess` (the ways of counting) -> :mod:`report` (the result) -> :mod:`plots`, :mod:`html` and :mod:`write` (for
people). :mod:`fit` writes a temperature and a threshold, learned from a validation cohort, into a recipe.

Radiation necrosis is the positive class everywhere. SCORE is the probability of recurrence, so cases are ranked by
``1 - SCORE`` and a study is called necrosis where its score is *below* the threshold.
"""

from glioserve_preprocess.no_telemetry import forbid_telemetry

forbid_telemetry()

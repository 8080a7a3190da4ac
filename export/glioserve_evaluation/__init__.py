"""How good a network is on a cohort: ``cohort.csv`` in; a report, a page and a table per case out.

Read it as it runs: :mod:`cohort` (whose answers are known) -> :mod:`prediction` and :mod:`predictors` (who answers) ->
:mod:`run` (asks, study by study) -> :mod:`results` (keeps every answer at once) -> :mod:`statistics` and :mod:`roc`
(the figures and their intervals) -> :mod:`assess` (which studies count, and how) -> :mod:`report` (what came out) ->
:mod:`plots`, :mod:`html` and :mod:`write` (for people). :mod:`fit` puts what a validation cohort teaches into a recipe.

Radiation necrosis is the positive class everywhere. SCORE is the probability of recurrence, so cases are ranked by
``1 - SCORE`` and a study is called necrosis where its score is *below* the threshold.
"""

"""The reference case: one study whose answer is known from where the network was trained.

Its file lies beside the recipe, in an artifact and in every exported version. It is a NumPy archive without pickles:

* ``image`` FP32 [C, D, H, W]: what the network is shown;
* ``channels``, optional: the names of its C channels, where they are in another order than the recipe's. The
  site that trained the network knows that order. The server arranges a study by the *recipe*,
  and so is the case: a recipe that swaps two of them gets the wrong score.

Import, export and load all judge an answer here (GLIO-5117).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from glioserve_contract.errors import ErrorCode, GlioserveError
from glioserve_contract.records.recipe import Recipe

REFERENCE_CASE_FILE = "reference_case.npz"
IMAGE_ARRAY = "image"
CHANNELS_ARRAY = "channels"


def recipe_order(channels: Sequence[str], recipe: Recipe) -> tuple[int, ...]:
    """Return the index in the file of each channel of the recipe; GLIO-5102 where they are not the same."""
    wanted = [m.value for m in recipe.channels]
    if sorted(channels) != sorted(wanted):
        raise GlioserveError(
            ErrorCode.INVALID_ARTIFACT,
            f"The reference case has the channels {', '.join(channels)}, the recipe {', '.join(wanted)}.",
        )
    return tuple(channels.index(name) for name in wanted)


def score_of(logits: Sequence[float], recipe: Recipe) -> float:
    """Return the probability of recurrence of two logits in the recipe's class order, before its temperature."""
    difference = logits[recipe.recurrence_index] - logits[1 - recipe.recurrence_index]
    # Two forms of one number, so that no exponential overflows.
    if difference >= 0:
        return 1 / (1 + math.exp(-difference))
    return math.exp(difference) / (1 + math.exp(difference))


def served_tolerance(recipe: Recipe) -> float:
    """Return the largest distance of a *served* score from the case's, never so large that swapped classes would pass.

    The server may run another precision, which has a drift of its own (``variant_limits``).
    """
    case = recipe.reference_case
    assert case is not None  # callers ask for recipes with a case only
    return min(case.tolerance + recipe.variant_limits.max_probability_drift, abs(case.score - 0.5))


def check_score(logits: Sequence[float], recipe: Recipe, who: str, tolerance: float | None = None) -> float:
    """Return the case's score by ``logits`` [2]; GLIO-5117, which names ``who`` gave it, for an unexpected one.

    ``tolerance`` is the case's own where none is given.
    """
    case = recipe.reference_case
    assert case is not None  # callers ask for recipes with a case only
    allowed = case.tolerance if tolerance is None else tolerance
    if len(logits) != 2 or not all(math.isfinite(value) for value in logits):
        raise GlioserveError(ErrorCode.REFERENCE_CASE_FAILED, f"{who} gives the reference case no two finite numbers.")
    score = score_of(logits, recipe)
    if abs(score - case.score) <= allowed:
        return score
    detail = f"{who} gives the reference case the score {score:.4f}, not {case.score:.4f} (within {allowed:g})."
    if abs(1 - score - case.score) <= allowed:
        detail += f" With the classes in the other order than {', '.join(recipe.classes)} it would be right."
    raise GlioserveError(ErrorCode.REFERENCE_CASE_FAILED, detail)

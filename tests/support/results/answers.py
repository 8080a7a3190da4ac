"""Answers as the server would give them: those of the client's own fakes, and one that a test spoils."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.testing.canned import DIGEST, outputs_of, report_of
from glioserve_client.testing.canned import warm_spot as blob

__all__ = ["DIGEST", "blob", "outputs_of", "report_of", "small_answer"]


def small_answer(score: float = 0.87, **changes: Any) -> dict[str, npt.NDArray[Any]]:
    """An answer on a grid of 6 x 5 x 4 voxels; ``changes`` replace fields of its report, consistent or not."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    heat = blob((4, 5, 6), affine, (6.0, 4.0, 3.0), 4.0)
    report = replace(report_of(heat, affine, score=score), **changes)
    return outputs_of(report, heat)

"""Answers to look at in the page's viewer: a head that knows left from right, and a second sequence that moved."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
import numpy.typing as npt

from glioserve_client import Modality, Prediction, Volume, VolumeStudy
from glioserve_contract.records.grid import Affine, GridRecord
from glioserve_contract.records.preprocess import Provenance, SequenceProvenance
from support.results.answers import DIGEST, blob, outputs_of, report_of
from support.studies.heads import MARKER_LPS_MM, ORIENTATIONS, head_grid, head_volume, rotation

Matrix = npt.NDArray[np.float64]

MOVED: Matrix = np.eye(4)
"""Points of the reference's space to those of the T1, LPS mm: the head turned by 9 and 6 degrees and moved by 8 mm."""
MOVED[:3, :3] = rotation(2, 9) @ rotation(0, -6)
MOVED[:3, 3] = (6.0, -4.0, 3.0)
T1_GRID = head_grid(ORIENTATIONS["sagittal, right last"], (2.5, 2.5, 4.0))
"""Shape [z, y, x] and lps_from_voxel of the T1."""


def case(
    orientation: str = "axial",
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 5.0),
    hot_lps_mm: npt.ArrayLike = MARKER_LPS_MM,
    **report: object,
) -> tuple[Prediction, VolumeStudy]:
    """An answer on a T1ce of this orientation, with a sagittal T1 that the report's registration brings back."""
    shape, affine = head_grid(ORIENTATIONS[orientation], spacing_mm)
    t1_shape, t1_affine = T1_GRID
    heat = blob(shape, affine, hot_lps_mm, 9.0)
    made = report_of(heat, affine, **report)  # type: ignore[arg-type]
    places = {Modality.T1: (t1_shape, t1_affine, MOVED), Modality.T1CE: (shape, affine, np.eye(4))}
    provenance = Provenance(
        DIGEST, DIGEST, tuple(_place(modality, *place) for modality, place in places.items()), {"glioserve": "1"}
    )
    series = tuple(s for s in made.preprocess.series if s.modality in places)
    made = replace(made, preprocess=replace(made.preprocess, provenance=provenance, series=series))
    prediction = Prediction.from_outputs(outputs_of(made, heat), heatmap=True, request_id="r1")
    t1ce = Volume(head_volume(shape, affine), affine)
    return prediction, VolumeStudy({Modality.T1: _t1(), Modality.T1CE: t1ce})


@cache
def _t1() -> Volume:
    shape, affine = T1_GRID
    return Volume(head_volume(shape, np.linalg.inv(MOVED) @ affine), affine)


def _place(modality: Modality, shape: tuple[int, int, int], affine: Matrix, moved: Matrix) -> SequenceProvenance:
    z, y, x = shape
    grid = GridRecord((x, y, z), _record(affine))
    return SequenceProvenance(modality, "", grid, DIGEST, _record(moved), (0.0, 0.0, 0.0), "minmax", 0.0, 1.0)


def _record(affine: Matrix) -> Affine:
    return cast(Affine, tuple(tuple(float(v) for v in row) for row in affine))

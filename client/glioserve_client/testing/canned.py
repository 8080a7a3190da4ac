"""Answers and refusals as a server gives them, made up: for tests, never of a patient."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from glioserve_client.prediction import Prediction
from glioserve_client.testing.requests import Tensor
from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, ErrorCode, GlioserveError, Modality, to_dict
from glioserve_contract.records.grid import Affine, GridRecord, Vector
from glioserve_contract.records.preprocess import (
    PreprocessRecord,
    Quality,
    QualityCheck,
    RegistrationRecord,
    SeriesRecord,
)
from glioserve_contract.records.recipe import (
    CLASSES,
    RECIPE_SCHEMA,
    Architecture,
    Grid,
    Recipe,
    preprocessing_digest,
)
from glioserve_contract.records.report import HeatmapRecord, ModelRecord, Report

Outcome = Literal["necrosis", "recurrence", "abstained"]
OUTCOMES: tuple[Outcome, ...] = ("necrosis", "recurrence", "abstained")
"""Every outcome of an answered study."""
WIRE_ERRORS = tuple(code for code in ErrorCode if code.token < "GLIO-42")
"""Every code that a call can end with; those from 42xx on are of the operator's own tools."""
_SCORES: dict[Outcome, float] = {"necrosis": 0.12, "recurrence": 0.87, "abstained": 0.87}
_CHANNELS = (Modality.T1, Modality.T1CE, Modality.T2)
_IDENTITY = cast(Affine, tuple(tuple(float(v) for v in row) for row in np.eye(4)))
DIGEST = "sha256:" + "5a" * 32
"""Digest of the weights that every made-up report names."""
_SHAPE, _SPACING_MM = (4, 5, 6), (2.0, 2.0, 3.0)


@dataclass(frozen=True)
class Answer:
    """A step of :class:`FakeTransport`: these output tensors, of which a request gets those that it asks for."""

    outputs: Mapping[str, Tensor] = field(repr=False)
    """Tensors by name, as :mod:`glioserve_contract.tensors` has them; texts as ``bytes`` in arrays of objects."""
    delay_s: float = 0.0
    """Seconds until the answer; where a call's deadline comes first, it ends as a call to a slow server does."""


@dataclass(frozen=True)
class Failure:
    """A step of :class:`FakeTransport`: the end of a call by a status of gRPC."""

    status: str
    """Name of the status, ``UNAVAILABLE``."""
    details: str
    """Text beside the status; a server's own carries a token of the table of errors."""
    delay_s: float = 0.0


def answer(outcome: Outcome, *, score: float | None = None, delay_s: float = 0.0) -> Answer:
    """Return an answer of the given outcome, with a heat map of 6 x 5 x 4 voxels.

    Args:
        outcome: ``necrosis``, ``recurrence`` or ``abstained``.
        score: probability of recurrence, 0 to 1, on the outcome's side of 0.5; a plausible one by default.
        delay_s: seconds until it comes.

    Raises:
        ValueError: there is no such outcome, or the score is not one of it.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"an outcome is one of {', '.join(OUTCOMES)}, not {outcome!r}")
    chosen = _SCORES[outcome] if score is None else score
    if not 0 <= chosen <= 1 or outcome not in ("abstained", "recurrence" if chosen >= 0.5 else "necrosis"):
        raise ValueError(f"a score of {chosen} is not one of {outcome}")
    affine = np.diag([*_SPACING_MM, 1.0])
    heat = warm_spot(_SHAPE, affine, (6.0, 4.0, 3.0), 4.0)
    reasons = ("brain_volume is outside its usual range",) if outcome == "abstained" else ()
    return Answer(outputs_of(report_of(heat, affine, score=chosen, abstained_because=reasons), heat), delay_s)


def failure(code: ErrorCode, detail: str = "", *, delay_s: float = 0.0) -> Failure:
    """Return a refusal or failure as a server, or what stands before it, tells it.

    Args:
        code: one of :data:`WIRE_ERRORS`.
        detail: finding in a sentence; the table's own by default.
        delay_s: seconds until it comes.

    Raises:
        ValueError: the code never reaches a caller.
    """
    if code not in WIRE_ERRORS:
        raise ValueError(f"{code.token} is of an operator's tools and never reaches a caller")
    return Failure(code.row.status.value, str(GlioserveError(code, detail)), delay_s)


def prediction(outcome: Outcome, *, score: float | None = None, request_id: str = "canned") -> Prediction:
    """Return the prediction of :func:`answer`, for code that takes one. Raises ValueError as that does."""
    return Prediction.from_outputs(answer(outcome, score=score).outputs, heatmap=True, request_id=request_id)


def warm_spot(
    shape: tuple[int, int, int], lps_from_voxel: npt.NDArray[np.float64], centre_lps_mm: npt.ArrayLike, radius_mm: float
) -> npt.NDArray[np.float32]:
    """Return a heat map [z, y, x] with one warm spot, 1 at the voxel nearest to its centre.

    Args:
        shape: size [z, y, x].
        lps_from_voxel: affine, 4 x 4, from voxel (x, y, z) to LPS mm.
        centre_lps_mm: centre of the spot.
        radius_mm: standard deviation of its Gaussian.
    """
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    points = np.stack([x, y, z, np.ones_like(x)], axis=-1) @ lps_from_voxel.T
    squared = ((points[..., :3] - np.asarray(centre_lps_mm)) ** 2).sum(axis=-1)
    heat = np.exp(-squared / (2 * radius_mm**2))
    return np.asarray(heat / heat.max(), dtype=np.float32)


def report_of(
    heatmap: npt.NDArray[np.float32] | None,
    lps_from_voxel: npt.NDArray[np.float64],
    *,
    shape: tuple[int, int, int] | None = None,
    score: float = 0.87,
    series_uids: Mapping[Modality, str] | None = None,
    abstained_because: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Report:
    """Return a report that holds together, for the heat map of a T1ce reference.

    Args:
        heatmap: heat map [z, y, x], or None where none was asked for.
        lps_from_voxel: affine of the reference, 4 x 4, from voxel (x, y, z) to LPS mm.
        shape: size of the reference [z, y, x], where there is no heat map.
        score: probability of recurrence, 0 to 1.
        series_uids: SeriesInstanceUID of each sequence, as the request carried it.
        abstained_because: reasons to abstain; empty for a label.
        warnings: remarks of the server.
    """
    size = cast("tuple[int, int, int]", heatmap.shape if heatmap is not None else shape)
    affine = cast(Affine, tuple(tuple(float(v) for v in row) for row in lps_from_voxel))
    spacing = cast(Vector, tuple(float(v) for v in np.linalg.norm(lps_from_voxel[:3, :3], axis=0)))
    predicted: Literal["necrosis", "recurrence"] = "recurrence" if score >= 0.5 else "necrosis"
    record = None
    if heatmap is not None:
        z, y, x = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
        peak = cast(Vector, tuple(float(v) for v in (lps_from_voxel @ np.array([x, y, z, 1.0]))[:3]))
        record = HeatmapRecord(predicted, peak, 0.93)
    uids = series_uids or {}
    checks = (
        QualityCheck.judged("brain_volume", 1340.0, "ml", (700.0, 2000.0)),
        QualityCheck.judged("similarity_t1", 0.21 if abstained_because else 0.61, "nat", (0.3, 5.0)),
    )
    recipe = _recipe()
    return Report(
        contract_version=CONTRACT_VERSION,
        notice=NOT_FOR_CLINICAL_USE,
        score=score,
        label="" if abstained_because else predicted,
        abstained_because=abstained_because,
        probabilities={"necrosis": 1 - score, "recurrence": score},
        threshold=0.5,
        model=ModelRecord("glioma", "1", DIGEST, "resnet10"),
        heatmap=record,
        warnings=warnings,
        timings_s={"read": 0.21, "register": 1.84, "classify": 0.35, "report": 0.04},
        recipe=recipe,
        preprocess=PreprocessRecord(
            contract_version=CONTRACT_VERSION,
            preprocessing_digest=preprocessing_digest(recipe),
            reference=Modality.T1CE,
            reference_grid=GridRecord(size[::-1], affine),
            network_grid=GridRecord((48, 48, 48), _IDENTITY),
            series=tuple(
                SeriesRecord(m, uids.get(m, ""), size[0], spacing, 0.95, (f"description says {m}", "TR and TE fit"))
                for m in _CHANNELS
            ),
            registrations=(RegistrationRecord(Modality.T1, _IDENTITY, 0.61, 0.42, 3.1),),
            quality=Quality("review" if abstained_because else "ok", checks),
            warnings=warnings,
            timings_s={"read": 0.21, "register": 1.84},
        ),
    )


def outputs_of(report: Report, heatmap: npt.NDArray[np.float32] | None) -> dict[str, Tensor]:
    """Return the ensemble's output tensors of a report; without HEATMAP where there is none."""
    outputs = {
        "SCORE": np.array([report.score], dtype=np.float32),
        "LABEL": np.array([report.label.encode()], dtype=np.object_),
        "PROBABILITIES": np.array([report.probabilities[c] for c in CLASSES], dtype=np.float32),
        "REPORT": np.array([json.dumps(to_dict(report)).encode()], dtype=np.object_),
    }
    if heatmap is not None:
        outputs["HEATMAP"] = heatmap
        outputs["HEATMAP_AFFINE"] = np.array(report.preprocess.reference_grid.lps_from_voxel, dtype=np.float64)
    return outputs


def _recipe() -> Recipe:
    architecture = Architecture("resnet10", {"widen_factor": 0.1})
    grid = Grid(size_voxels=(16, 16, 16), spacing_mm=(8.0, 8.0, 8.0))
    return Recipe(RECIPE_SCHEMA, "tiny", architecture, _CHANNELS, CLASSES, grid)

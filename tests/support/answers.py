"""Answers as the server would give them: a consistent report and the tensors that belong to it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, Modality, to_dict
from glioserve_contract.records.grid import Affine, GridRecord, Vector
from glioserve_contract.records.preprocess import (
    PreprocessRecord,
    Quality,
    QualityCheck,
    RegistrationRecord,
    SeriesRecord,
)
from glioserve_contract.records.recipe import preprocessing_digest
from glioserve_contract.records.report import HeatmapRecord, ModelRecord, Report
from support.recipes import tiny_recipe

IDENTITY: Affine = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
DIGEST = "sha256:" + "5a" * 32


def blob(
    shape: tuple[int, int, int], lps_from_voxel: npt.NDArray[np.float64], centre_lps_mm: Any, radius_mm: float
) -> npt.NDArray[np.float32]:
    """A warm spot, 1 at the voxel nearest to its centre, on any grid [z, y, x]."""
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
    series_uids: dict[Modality, str] | None = None,
    abstained_because: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Report:
    """A report that holds together, for the heat map of a T1ce reference."""
    if shape is None:
        assert heatmap is not None
        shape = cast(tuple[int, int, int], heatmap.shape)
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
        QualityCheck("brain_volume", 1340.0, "ml", 700.0, 2000.0, "ok"),
        QualityCheck("similarity_t1", 0.61, "nat", 0.3, 5.0, "review" if abstained_because else "ok"),
    )
    channels = (Modality.T1, Modality.T1CE, Modality.T2)
    recipe = tiny_recipe(channels)
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
            reference_grid=GridRecord(shape[::-1], affine),
            network_grid=GridRecord((48, 48, 48), IDENTITY),
            series=tuple(
                SeriesRecord(m, uids.get(m, ""), shape[0], spacing, 0.95, (f"description says {m}", "TR and TE fit"))
                for m in channels
            ),
            registrations=(RegistrationRecord(Modality.T1, IDENTITY, 0.61, 0.42, 3.1),),
            quality=Quality("review" if abstained_because else "ok", checks),
            warnings=warnings,
            timings_s={"read": 0.21, "register": 1.84},
        ),
    )


def outputs_of(report: Report, heatmap: npt.NDArray[np.float32] | None) -> dict[str, npt.NDArray[Any]]:
    """The ensemble's output tensors of a report; without HEATMAP when there is none."""
    outputs = {
        "SCORE": np.array([report.score], dtype=np.float32),
        "LABEL": np.array([report.label.encode()], dtype=np.object_),
        "PROBABILITIES": np.array([report.probabilities[c] for c in ("necrosis", "recurrence")], dtype=np.float32),
        "REPORT": np.array([json.dumps(to_dict(report)).encode()], dtype=np.object_),
    }
    if heatmap is not None:
        outputs["HEATMAP"] = heatmap
        outputs["HEATMAP_AFFINE"] = np.array(report.preprocess.reference_grid.lps_from_voxel, dtype=np.float64)
    return outputs


def small_answer(score: float = 0.87, **changes: Any) -> dict[str, npt.NDArray[Any]]:
    """An answer on a grid of 6 x 5 x 4 voxels; ``changes`` replace fields of its report, consistent or not."""
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    heat = blob((4, 5, 6), affine, (6.0, 4.0, 3.0), 4.0)
    report = replace(report_of(heat, affine, score=score), **changes)
    return outputs_of(report, heat)

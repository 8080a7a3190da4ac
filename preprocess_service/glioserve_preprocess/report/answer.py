"""Makes the answer from the classifier's output: score, label, heat map on the reference's own grid, the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from glioserve_contract import CONTRACT_VERSION, NOT_FOR_CLINICAL_USE, ErrorCode, GlioserveError
from glioserve_contract.records.grid import Vector
from glioserve_contract.records.manifest import Manifest, ServedVersion
from glioserve_contract.records.preprocess import PreprocessRecord
from glioserve_contract.records.recipe import CLASSES
from glioserve_contract.records.report import HeatmapRecord, ModelRecord, Report
from glioserve_dicom.volumes.geometry import Geometry, geometry_of_record
from glioserve_preprocess.stopwatch import StageEnded, Stopwatch, untold
from glioserve_preprocess.tensor.grid import sample, sample_mask

MIN_USUAL_INSIDE = 0.5
"""Share of the raw Grad-CAM that should lie inside the brain; below, the report warns."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The report model's outputs to one study."""

    probabilities: npt.NDArray[np.float32]
    """Probabilities [2] of necrosis and recurrence."""
    heatmap: npt.NDArray[np.float32] | None
    """Grad-CAM [z, y, x] on ``report.preprocess.reference_grid``, 0 to 1; None where there is none."""
    report: Report
    """The whole answer but for the heat map's voxels."""


def answer(
    model: ServedVersion,
    logits: npt.NDArray[np.float32],
    cam: npt.NDArray[np.float32],
    brain_mask: npt.NDArray[np.uint8],
    record: PreprocessRecord,
    *,
    with_heatmap: bool = True,
    ended: StageEnded = untold,
) -> Answer:
    """Return the answer to one study.

    Args:
        model: the classifier's version that gave the outputs.
        logits: [2], in the recipe's class order.
        cam: [2, d, h, w], each class's Grad-CAM on the network's last feature map.
        brain_mask: [D, H, W] on the network's grid.
        record: what preprocessing did to the study.
        with_heatmap: whether the heat map is computed.
        ended: called after each stage with its name, begin and end.

    Raises:
        GlioserveError: GLIO-2101, the version was trained for another preprocessing; GLIO-2102, an output has a wrong
            shape or is not finite.
    """
    watch = Stopwatch(ended=ended)
    recipe = model.manifest.recipe
    if record.preprocessing_digest != model.manifest.preprocessing_digest:
        raise GlioserveError(
            ErrorCode.UNKNOWN_MODEL, f"Classifier version {model.version} was trained for another preprocessing."
        )
    if logits.shape != (2,) or cam.ndim != 4 or cam.shape[0] != 2:
        raise GlioserveError(ErrorCode.INVALID_MODEL_OUTPUT, f"LOGITS {logits.shape}, CAM {cam.shape}.")
    if not (np.isfinite(logits).all() and np.isfinite(cam).all()):
        raise GlioserveError(ErrorCode.INVALID_MODEL_OUTPUT, "LOGITS or CAM is not finite.")
    with watch.stage("report"):
        by_class = dict(zip(recipe.classes, _softmax(logits / recipe.temperature), strict=True))
        score = float(by_class["recurrence"])
        predicted = "recurrence" if score >= recipe.threshold else "necrosis"
        reasons = tuple(
            f"{c.name} {c.value:.3g} {c.unit} is outside {c.low:g} to {c.high:g}"
            for c in record.quality.checks
            if c.verdict == "review"
        )
    heatmap, about, warnings = None, None, record.warnings
    if with_heatmap and model.manifest.cam_method == "none":
        warnings = (*warnings, "This model gives no heat map: its recipe or its architecture has none.")
    elif with_heatmap:
        with watch.stage("heatmap"):
            raw = cam[recipe.classes.index(predicted)]
            heatmap, about = _heatmap(raw, model.manifest, brain_mask, record, predicted)
        if about.peak_lps_mm is None:
            warnings = (*warnings, "The heat map is empty: no part of the brain speaks for the predicted class.")
        elif about.inside_brain < MIN_USUAL_INSIDE:
            warnings = (*warnings, f"Only {about.inside_brain:.0%} of the raw heat map lies inside the brain.")
    was = recipe.provenance.min_slices_overridden_from
    if was is not None:
        warnings = (*warnings, f"This server lowered the model's min_slices from {was} to {recipe.min_slices}.")
    report = Report(
        contract_version=CONTRACT_VERSION,
        notice=NOT_FOR_CLINICAL_USE,
        score=score,
        label="" if reasons else predicted,  # type: ignore[arg-type]  # one of the two classes
        abstained_because=reasons,
        probabilities={name: float(by_class[name]) for name in CLASSES},
        threshold=recipe.threshold,
        model=ModelRecord(recipe.name, model.version, model.manifest.weights_digest, recipe.architecture.name),
        heatmap=about,
        warnings=warnings,
        timings_s={**record.timings_s, **watch.timings_s},
        recipe=recipe,
        preprocess=record,
    )
    return Answer(np.array([by_class[name] for name in CLASSES], dtype=np.float32), heatmap, report)


def cam_geometry(manifest: Manifest, network: Geometry, shape: tuple[int, int, int]) -> Geometry:
    """Return the CAM voxels' geometry: on the network grid's axes, by the manifest's start and step."""
    affine = network.lps_from_voxel.copy()
    affine[:3, :3] *= manifest.cam_step_voxels
    affine[:3, 3] += network.lps_from_voxel[:3, :3].sum(axis=1) * manifest.cam_start_voxels
    depth, height, width = shape
    return Geometry((width, height, depth), affine)


def _heatmap(
    raw: npt.NDArray[np.float32],
    manifest: Manifest,
    brain_mask: npt.NDArray[np.uint8],
    record: PreprocessRecord,
    explained: str,
) -> tuple[npt.NDArray[np.float32], HeatmapRecord]:
    """Return the heat map on the reference grid and the facts about it.

    The CAM is sampled on the network grid for the share inside the brain, and on the reference grid, where it is cut
    to the brain and scaled to a maximum of 1.
    """
    network, reference = geometry_of_record(record.network_grid), geometry_of_record(record.reference_grid)
    lattice = cam_geometry(manifest, network, cast(tuple[int, int, int], raw.shape))
    edged = np.pad(raw, 1, mode="edge")  # the map goes on beyond its outermost voxels' centres
    affine = lattice.lps_from_voxel.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    depth, height, width = edged.shape
    padded = Geometry((width, height, depth), affine)
    on_network = sample(edged, padded, network, np.eye(4))
    mass = float(on_network.sum())
    inside = float(on_network[brain_mask > 0].sum()) / mass if mass > 0 else 0.0
    brain = sample_mask(brain_mask, network, reference)
    heatmap = np.maximum(sample(edged, padded, reference, np.eye(4), where=brain), 0)
    top = float(heatmap.max())
    if top <= 0:
        return heatmap, HeatmapRecord(explained, None, inside)
    z, y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    peak = reference.lps_from_voxel @ np.array([x, y, z, 1.0])
    return heatmap / np.float32(top), HeatmapRecord(explained, cast(Vector, tuple(map(float, peak[:3]))), inside)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: npt.NDArray[np.float64] = shifted / shifted.sum()
    return probabilities

"""Gather what the viewer of ``report.html`` shows: the sequences and the heat map, each with its place.

The viewer works in a *box*: the part of the reference series' grid that the page shows, in mm from its corner; x is
nearest to the patient's left, y to posterior, z to superior. Every volume keeps its own voxels and has an affine from
the box, which holds the report's registration, so that a point of the box is the same place of the patient in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glioserve_client.outputs.anatomy import Anatomy, series_anatomy
from glioserve_client.outputs.colour import STRONGEST_ALPHA, heat_alpha, heat_rgb, window, window_range
from glioserve_client.outputs.display import AxialView, axial_view
from glioserve_client.outputs.packing import PackedVolume, pack, packed_to_fit
from glioserve_client.outputs.panels import Panel, ViewPlane, crop_to_head, whole
from glioserve_client.prediction import Prediction
from glioserve_client.study import Study
from glioserve_contract import Modality
from glioserve_contract.records.grid import GridRecord
from glioserve_dicom.volumes.geometry import Matrix

PLANES: tuple[ViewPlane, ...] = ("axial", "coronal", "sagittal")
HEAT = "heat"
_RANGE = 1.5
"""Range of intensities that is kept, as a multiple of the first window's width: a reader may open the window so far."""
_FINEST_PIXEL_MM = 0.5


@dataclass(frozen=True, eq=False)
class Viewer:
    """All that the page's script is given."""

    sequences: tuple[PackedVolume, ...]
    """Sequences that are shown, in the recipe's order."""
    heat: PackedVolume | None
    packed: dict[str, str]
    """Packed levels by the volume's name."""
    size_mm: npt.NDArray[np.float64]
    """Extent of the box along x, y and z."""
    lps_from_box: Matrix
    """Affine, 4 x 4, from the box in mm to LPS in mm."""
    edges: dict[ViewPlane, tuple[str, str, str, str]]
    """Letters of what lies to the left, right, top and bottom of each plane's picture."""
    start_mm: npt.NDArray[np.float64]
    """Point of the box where the cross-hair begins: the heat map's peak, or else the middle."""
    problems: tuple[str, ...]
    """Sentences about sequences that are not shown."""
    thinned_to_mm: float | None
    """Least spacing of the voxels where a page would have been too large, in mm; else None."""

    def setup(self, first: Modality) -> dict[str, Any]:
        """Return the numbers for the page's script; the only texts are names of sequences.

        Args:
            first: the sequence that is shown at first, where it can be.
        """
        shown = [*self.sequences, *([self.heat] if self.heat else [])]
        names = [volume.name for volume in self.sequences]
        heat = np.arange(256) / 255
        return {
            "size_mm": _rounded(self.size_mm),
            "pixel_mm": max(_FINEST_PIXEL_MM, round(min(float(v.spacing_mm.min()) for v in shown), 4)),
            "start_mm": _rounded(self.start_mm),
            "lps_from_box": _rounded(self.lps_from_box[:3]),
            "first": str(first) if str(first) in names else next(iter(names), None),
            "colours": heat_rgb(heat).round().astype(int).tolist(),
            "alphas": _rounded(heat_alpha(heat) / STRONGEST_ALPHA),
            "volumes": {
                volume.name: {
                    "size": list(volume.levels.shape[::-1]),
                    "voxel_from_box": _rounded(volume.voxel_from_box[:3]),
                    "first": volume.first,
                    "count": volume.count,
                    "low": volume.low,
                    "high": volume.high,
                    "window": volume.window,
                }
                for volume in shown
            },
        }


def make_viewer(prediction: Prediction, study: Study | None, reference: Anatomy) -> Viewer | None:
    """Return what the page's viewer shows; None where there is neither a sequence nor a heat map.

    Args:
        prediction: the answer.
        study: the study that was sent, for the sequences beside the reference.
        reference: the reference series on the report's grid.
    """
    grid, heatmap = prediction.report.preprocess.reference_grid, prediction.heatmap
    if heatmap is None and reference.voxels is None:
        return None
    view = _view(grid)
    heat = np.zeros(view.shape, np.float32) if heatmap is None else view.of(heatmap.voxels)
    crop = whole(heat.shape)
    if reference.voxels is not None:
        crop = crop_to_head(window(view.of(reference.voxels)), heat, view)
    size_mm = (np.array(crop.stop) - crop.start) * view.spacing_mm
    display_from_box = np.diag([*(1 / np.array(view.spacing_mm)), 1.0])
    display_from_box[:3, 3] = np.array(crop.start) - 0.5  # a voxel's centre is half a voxel from its edge
    lps_from_box = view.lps_from_display @ display_from_box

    volumes: list[PackedVolume] = []
    problems: list[str] = []
    for modality, anatomy, placed in _series(prediction, study, reference):
        if anatomy.voxels is None or placed is None:
            problems.append(str(anatomy.problem or f"The {modality} series is not shown: its place is not reported."))
            continue
        series_grid, series_from_reference = placed
        series_view = _view(series_grid)
        voxels = series_view.of(anatomy.voxels)
        low, top = window_range(voxels)
        bounds = (min(low, float(voxels.min())), low + _RANGE * (top - low))
        affine = series_view.display_from_lps @ series_from_reference @ lps_from_box
        volume = pack(str(modality), voxels, affine, size_mm, (low, top), bounds)
        if volume is None:
            problems.append(f"The {modality} series is not shown: it lies outside the part that is shown.")
        else:
            volumes.append(volume)
    if heatmap is not None:
        hot = pack(HEAT, heat, display_from_box, size_mm, (0.0, 1.0), (0.0, 1.0))
        volumes.extend([hot] if hot else [])
    fitting, texts, thinned_to_mm = packed_to_fit(volumes)
    return Viewer(
        tuple(volume for volume in fitting if volume.name != HEAT),
        next((volume for volume in fitting if volume.name == HEAT), None),
        {volume.name: text for volume, text in zip(fitting, texts, strict=True)},
        size_mm,
        lps_from_box,
        {plane: Panel(plane, 0, (0, 0, 1, 1), crop, view).edge_letters for plane in PLANES},
        _start_mm(prediction, lps_from_box, size_mm),
        tuple(dict.fromkeys(problems)),
        thinned_to_mm,
    )


def _series(
    prediction: Prediction, study: Study | None, reference: Anatomy
) -> Iterator[tuple[Modality, Anatomy, tuple[GridRecord, Matrix] | None]]:
    """Yield each sequence with its voxels, their grid, and the transform of points from the reference's space.

    One at a time, so that only the reference's voxels and one other series' are in memory.
    """
    preprocess = prediction.report.preprocess
    made = preprocess.provenance.sequences if preprocess.provenance else ()
    place = {s.modality: (s.native_grid, np.array(s.native_lps_from_reference_lps)) for s in made}
    for record in preprocess.series:
        if record.modality is preprocess.reference:
            yield record.modality, reference, (preprocess.reference_grid, np.eye(4))
        elif record.modality in place:
            grid, _ = place[record.modality]
            yield record.modality, series_anatomy(study, prediction, record.modality, grid), place[record.modality]
        else:
            yield record.modality, Anatomy(None), None


def _view(grid: GridRecord) -> AxialView:
    return axial_view(grid.size_voxels[::-1], np.array(grid.lps_from_voxel))


def _start_mm(
    prediction: Prediction, lps_from_box: Matrix, size_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    record = prediction.report.heatmap
    if record is None or record.peak_lps_mm is None:
        return size_mm / 2
    return np.clip((np.linalg.inv(lps_from_box) @ (*record.peak_lps_mm, 1.0))[:3], 0, size_mm)


def _rounded(values: npt.NDArray[np.float64]) -> Any:
    """Return numbers as JSON has them, to 1e-6."""
    return np.round(values, 6).tolist()

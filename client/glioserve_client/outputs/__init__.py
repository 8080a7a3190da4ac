"""The answer as files: ``report.json``, ``heatmap.nii.gz``, ``overlay.png`` and ``report.html`` in one folder."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from glioserve_client.outputs.anatomy import Anatomy, reference_anatomy
from glioserve_client.outputs.overlay import Overlay, draw_overlay
from glioserve_client.outputs.page import draw_page
from glioserve_client.outputs.screen import summary
from glioserve_client.outputs.viewer import make_viewer
from glioserve_client.prediction import Heatmap, Prediction
from glioserve_client.study import Study, checked_study
from glioserve_dicom.files.replacing import folder_for, replacing

_STILL_QUALITY = 88
"""JPEG quality of the overlay that a page carries for browsers without its viewer; ``overlay.png`` is the whole one."""

__all__ = ["Overlay", "WrittenOutputs", "overlay_of", "summary", "write_outputs"]


@dataclass(frozen=True)
class WrittenOutputs:
    """The files that were written, and warnings about what could not be drawn."""

    paths: tuple[Path, ...]
    warnings: tuple[str, ...]


def write_outputs(
    prediction: Prediction, directory: str | os.PathLike[str], study: Study | None = None
) -> WrittenOutputs:
    """Write the answer into ``directory``, which is made if need be; each file is complete or not there.

    Args:
        prediction: the answer.
        directory: the folder that they are written to.
        study: the study sent, for the images on the page and under the heat map. Without it, or where it cannot be
            decoded, the heat map lies on grey and a warning says why.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the folder's name is empty.
        TypeError: an argument is of another kind.
    """
    if not isinstance(prediction, Prediction):
        raise TypeError(f"the answer of predict comes first, then the folder; not {type(prediction).__name__}")
    if study is not None:
        checked_study(study)
    folder = folder_for(directory)
    files = {"report.json": (prediction.report_json() + "\n").encode()}
    still: bytes | None = None
    warnings: tuple[str, ...] = ()
    anatomy = reference_anatomy(study, prediction)
    if prediction.heatmap is not None:
        warnings = _warnings(anatomy)
        image = draw_overlay(prediction, prediction.heatmap, anatomy).image
        files["heatmap.nii.gz"] = nifti_bytes(prediction.heatmap)
        files["overlay.png"] = _encoded(image, "PNG", optimize=True)
        still = _encoded(image, "JPEG", quality=_STILL_QUALITY, subsampling=0)
    files["report.html"] = draw_page(prediction, still, make_viewer(prediction, study, anatomy)).encode()
    for name, content in files.items():
        with replacing(folder / name) as beside:
            beside.write_bytes(content)
    return WrittenOutputs(tuple(folder / name for name in files), warnings)


def overlay_of(prediction: Prediction, study: Study | None) -> tuple[Overlay, tuple[str, ...]]:
    """Return the overlay and the warnings about it.

    Args:
        prediction: the answer, with its heat map.
        study: the study that was sent, for the anatomy; without it the heat map lies on grey.

    Raises:
        ValueError: the answer has no heat map.
    """
    if prediction.heatmap is None:
        raise ValueError("the answer has no heat map: ask with heatmap=True")
    anatomy = reference_anatomy(study, prediction)
    return draw_overlay(prediction, prediction.heatmap, anatomy), _warnings(anatomy)


def _warnings(anatomy: Anatomy) -> tuple[str, ...]:
    return (str(anatomy.problem),) if anatomy.problem else ()


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def nifti_bytes(heatmap: Heatmap) -> bytes:
    """Return ``heatmap.nii.gz``: [x, y, z] FP32 in NIfTI's RAS world, sform and qform both set, in mm."""
    ras_from_voxel = np.diag([-1.0, -1.0, 1.0, 1.0]) @ heatmap.lps_from_voxel
    image = nibabel.Nifti1Image(heatmap.voxels.transpose(), ras_from_voxel)
    image.set_sform(ras_from_voxel, code="scanner")
    image.set_qform(ras_from_voxel, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Grad-CAM 0 to 1. Not for clinical use."
    image.header["cal_min"], image.header["cal_max"] = 0.0, 1.0
    packed: bytes = gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)
    return packed

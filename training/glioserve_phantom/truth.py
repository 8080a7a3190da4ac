"""The ground truth of a phantom as files: JSON, and the masks on T1ce's own grid as NIfTI."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from glioserve_contract import Modality
from glioserve_dicom.volumes.geometry import affine_record
from glioserve_phantom.study import Phantom
from glioserve_preprocess.itk import to_sitk


def truth_record(phantom: Phantom) -> dict[str, Any]:
    """Return the ground truth as JSON values; affines row-major, LPS mm."""
    reference = Modality.T1CE
    return {
        "seed": phantom.seed,
        "diagnosis": phantom.diagnosis,
        "subject": asdict(phantom.subject),
        "lesion": asdict(phantom.lesion),
        "lesion_centre_lps_mm": {m.value: phantom.lesion_centre_lps_mm(m) for m in Modality},
        "scanner_lps_from_head": {m.value: affine_record(phantom.scanner_lps_from_head[m]) for m in Modality},
        "moving_lps_from_t1ce_lps": {
            m.value: affine_record(phantom.moving_lps_from_reference_lps(m, reference)) for m in Modality
        },
        "acquisitions": {
            m.value: {"plane": a.plane, "slice_thickness_mm": a.slice_thickness_mm, **asdict(a.geometry.record())}
            for m, a in phantom.acquisitions.items()
        },
    }


def write_truth(phantom: Phantom, file: Path) -> None:
    """Write ``file`` (JSON), and beside it ``<stem>_lesion.nii.gz`` and ``<stem>_brain.nii.gz`` on T1ce's grid."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(truth_record(phantom), indent=2) + "\n", encoding="utf-8")
    grid = phantom.acquisitions[Modality.T1CE].geometry
    for name, mask in (("lesion", phantom.lesion_mask), ("brain", phantom.brain_mask)):
        image = to_sitk(mask(Modality.T1CE, grid), grid)
        sitk.WriteImage(image, str(file.with_name(f"{file.stem}_{name}.nii.gz")))

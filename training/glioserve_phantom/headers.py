"""What a scanner would write about each sequence: descriptions, timings and contrast, by vendor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glioserve_contract import Modality
from glioserve_phantom.acquisition import Acquisition

VENDORS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems")
_PLANE_WORDS = {"axial": ("tra", "Ax", "TRA"), "sagittal": ("sag", "Sag", "SAG"), "coronal": ("cor", "Cor", "COR")}
_DESCRIPTIONS: dict[Modality, tuple[str, str, str]] = {
    Modality.T1: ("t1_se_{}", "{} T1 SE", "T1W_SE_{}"),
    Modality.T1CE: ("t1_se_{}_KM", "{} T1 SE +C", "T1W_SE_{} GD"),
    Modality.T2: ("t2_tse_{}", "{} T2 FSE", "T2W_TSE_{}"),
    Modality.FLAIR: ("t2_tirm_{}_dark-fluid", "{} T2 FLAIR", "FLAIR_{}"),
}
_VOLUME_DESCRIPTIONS = ("t1_mpr_{}_3d KM", "{} T1 3D SPGR +C", "3D T1W_FFE_{} GD")
CONTRAST_AGENT = "Gadobutrol"
THIN_MM = 3.0
"""T1ce of this spacing or thinner is a 3D gradient echo."""
_STARTS_S: dict[Modality, int] = {Modality.T1: 180, Modality.T2: 420, Modality.FLAIR: 660, Modality.T1CE: 1140}
"""Contrast comes last. Seconds after the localiser."""


@dataclass(frozen=True)
class Header:
    """One series' attributes, by DICOM keyword."""

    series_number: int
    start_s: int
    """Seconds after the study's first image."""
    attributes: dict[str, Any] = field(default_factory=dict)


def sequence_header(acquisition: Acquisition, vendor: str) -> Header:
    """Header of one of the four sequences."""
    modality = acquisition.modality
    rng = np.random.default_rng([acquisition.seed, 4])
    style = VENDORS.index(vendor)
    volumetric = modality is Modality.T1CE and acquisition.geometry.spacing_mm[2] <= THIN_MM
    template = (_VOLUME_DESCRIPTIONS if volumetric else _DESCRIPTIONS[modality])[style]
    attributes: dict[str, Any] = {
        "SeriesDescription": template.format(_PLANE_WORDS[acquisition.plane][style]),
        "ImageType": ["ORIGINAL", "PRIMARY", *(("M", "ND") if style == 0 else ("OTHER",))],
        "MRAcquisitionType": "3D" if volumetric else "2D",
        "ScanOptions": "",
        **(_gradient_echo(rng) if volumetric else _spin_echo(modality, rng)),
    }
    attributes["ProtocolName"] = attributes["SeriesDescription"]
    if modality is Modality.T1CE:
        attributes["ContrastBolusAgent"] = CONTRAST_AGENT
    number = 2 + sorted(_STARTS_S, key=lambda m: _STARTS_S[m]).index(modality)
    return Header(number, _STARTS_S[modality], attributes)


def localiser_header(vendor: str) -> Header:
    """A quick gradient echo in three planes, before everything else."""
    return Header(
        1,
        0,
        {
            "SeriesDescription": ("localizer", "3-plane Loc", "SURVEY")[VENDORS.index(vendor)],
            "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
            "MRAcquisitionType": "2D",
            "ScanningSequence": "GR",
            "SequenceVariant": "SP",
            "ScanOptions": "",
            "RepetitionTime": 8.6,
            "EchoTime": 4.0,
            "FlipAngle": 20,
        },
    )


def reformat_header(t1ce: Header) -> Header:
    """A coronal reformat of the contrast series: all of T1ce's marks, but derived."""
    changes = {
        "SeriesDescription": t1ce.attributes["SeriesDescription"] + " MPR cor",
        "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"],
    }
    return Header(t1ce.series_number + 1, t1ce.start_s + 300, {**t1ce.attributes, **changes})


def _spin_echo(modality: Modality, rng: np.random.Generator) -> dict[str, Any]:
    if modality is Modality.T2:
        return _timings("SE", "SK", rng.uniform(3200, 5500), rng.uniform(85, 110), 150, train=15)
    if modality is Modality.FLAIR:
        timings = _timings(["IR", "SE"], "SK", rng.uniform(7500, 9500), rng.uniform(90, 130), 150, train=17)
        return {**timings, "InversionTime": round(float(rng.uniform(2200, 2600)), 1)}
    return _timings("SE", "NONE", rng.uniform(420, 650), rng.uniform(8, 15), 90)


def _gradient_echo(rng: np.random.Generator) -> dict[str, Any]:
    return _timings("GR", "SP", rng.uniform(7, 11), rng.uniform(2.2, 4.5), 15)


def _timings(
    sequence: str | list[str], variant: str, repetition_ms: float, echo_ms: float, flip_deg: int, train: int = 1
) -> dict[str, Any]:
    return {
        "ScanningSequence": sequence,
        "SequenceVariant": variant,
        "RepetitionTime": round(float(repetition_ms), 1),
        "EchoTime": round(float(echo_ms), 1),
        "FlipAngle": flip_deg,
        "EchoTrainLength": train,
    }

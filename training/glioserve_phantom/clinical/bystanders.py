"""Images that a study holds beside its sequences: scouts, field maps, dual echoes, diffusion and T2* images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from glioserve_contract import Modality
from glioserve_phantom.acquisition import ScanPlane
from glioserve_phantom.clinical.patient import ClinicalPatient, Conditions
from glioserve_phantom.clinical.series import ClinicalSeries
from glioserve_phantom.clinical.techniques import TECHNIQUES, draw

SCOUT_NAMES = (
    "AAHScout", "AAHeadScout", "AAHead_Scout", "HeadScout", "localizer", "SmartBrain", "Survey", "3-pl loc", "",
)  # fmt: skip
"""Descriptions of scouts: one word, several, none."""
PLANES: tuple[ScanPlane, ...] = ("axial", "sagittal", "coronal")


def three_plane_scout(
    patient: ClinicalPatient, maker: str, rng: np.random.Generator, number: int, *, description: str, slices: int = 8
) -> list[ClinicalSeries]:
    """Return a localiser: a few thick slices in each of three planes, in one series, at the study's start."""
    drawn = draw(TECHNIQUES["scout"], maker, rng, field_tesla=patient.field_tesla)
    parts = []
    for plane in PLANES:
        wide = Conditions(pixel_mm=3.5, field_mm=280.0, covered_mm=slices * 12.0, noise=0.03)
        cut = replace(drawn, plane=plane, spacing_mm=12.0)
        part = patient.series(f"scout {plane}", number, cut, rng, 0.0, conditions=wide)
        part = replace(part, shows=None, within="scout axial")
        parts.append(part.described(description, description).with_attributes(MRAcquisitionType="2D"))
    return parts


def thin_scout(
    patient: ClinicalPatient, maker: str, rng: np.random.Generator, number: int, *, description: str
) -> ClinicalSeries:
    """Return an auto-align scout: the whole head in 3D within seconds, thinner than any 2D series."""
    drawn = draw(TECHNIQUES["scout"], maker, rng, field_tesla=patient.field_tesla)
    wide = Conditions(pixel_mm=3.2, field_mm=260.0, covered_mm=205.0, noise=0.03)
    series = patient.series("thin scout", number, drawn, rng, 0.0, conditions=wide)
    return replace(series, shows=None).described(description, description)


def field_map(
    patient: ClinicalPatient,
    maker: str,
    rng: np.random.Generator,
    number: int,
    started_s: float | None,
    *,
    description: str | None = None,
) -> list[ClinicalSeries]:
    """Return a dual-echo field map: two magnitudes in one series, and the phase difference in the next."""
    drawn = draw(TECHNIQUES["field map"], maker, rng, field_tesla=patient.field_tesla)
    seed = int(rng.integers(2**31))
    found = []
    for echo, te in enumerate((4.92, 7.38), start=1):
        timed = replace(drawn, contrast=replace(drawn.contrast, echo_time_ms=te))
        one = patient.series(f"field map magnitude {echo}", number, timed, np.random.default_rng(seed), started_s)
        found.append(replace(one, within="field map magnitude 1").with_attributes(EchoTime=te, EchoNumbers=echo))
    phase = found[0].again("field map phase", number + 1, within="", voxels=_phase(found[0].voxels.shape, rng))
    found.append(phase.with_attributes(ImageType=["ORIGINAL", "PRIMARY", "P", "ND", "PHASE"], EchoTime=7.38))
    return [one if description is None else one.described(description, description) for one in found]


def dual_echo(
    patient: ClinicalPatient,
    maker: str,
    rng: np.random.Generator,
    number: int,
    started_s: float | None,
    *,
    description: str,
) -> list[ClinicalSeries]:
    """Return a dual spin echo in one series: proton density, which stands for nothing, and T2."""
    drawn = draw(TECHNIQUES["proton density"], maker, rng, field_tesla=patient.field_tesla)
    seed = int(rng.integers(2**31))
    found = []
    for echo, (te, shows) in enumerate(((13.0, None), (98.0, Modality.T2)), start=1):
        timed = replace(drawn, contrast=replace(drawn.contrast, echo_time_ms=te))
        one = patient.series(f"dual echo {echo}", number, timed, np.random.default_rng(seed), started_s)
        one = replace(one, shows=shows, within="dual echo 1").with_attributes(EchoTime=te, EchoNumbers=echo)
        found.append(one.described(description))
    return found


def bystander(
    patient: ClinicalPatient, technique: str, maker: str, rng: np.random.Generator, number: int, started_s: float | None
) -> ClinicalSeries:
    """Return one series of a technique of :data:`techniques.TECHNIQUES` that stands for no sequence of the method."""
    drawn = draw(TECHNIQUES[technique], maker, rng, field_tesla=patient.field_tesla)
    return patient.series(technique, number, drawn, rng, started_s)


def _phase(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    slope = rng.normal(0, 1, 3)
    turns = 1.5 * (slope[0] * x + slope[1] * y**2 + slope[2] * z) + rng.normal(0, 0.05, shape)
    return np.asarray((turns % 1) * 4095, dtype=np.float32)

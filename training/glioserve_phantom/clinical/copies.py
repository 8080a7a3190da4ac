"""Further images of one acquisition: reconstructions, reformats, projections, echoes, and the four of a Dixon scan.

All share the start and the timings of the acquisition. ``shows`` and ``preferred`` say which may stand for a sequence.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from glioserve_dicom.volumes.geometry import Geometry
from glioserve_phantom.acquisition import ScanPlane, plane_axes
from glioserve_phantom.clinical.patient import ClinicalPatient
from glioserve_phantom.clinical.physics import FatImage
from glioserve_phantom.clinical.series import ClinicalSeries
from glioserve_phantom.clinical.techniques import Drawn
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.tensor.grid import sample

NORM, ND = ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"], ["ORIGINAL", "PRIMARY", "M", "ND"]
DIS3D, DIS3D_NORM = ["ORIGINAL", "PRIMARY", "M", "DIS3D"], ["ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"]


def saved_twice(
    series: ClinicalSeries, number: int, kinds: tuple[list[str], list[str]] = (NORM, ND), strength: float = 1.2
) -> tuple[ClinicalSeries, ClinicalSeries]:
    """Return the acquisition as (preferred, other): corrected for the coil's shading, and as the coil saw it.

    ``strength`` is how fast the signal falls with depth; 1.8 makes the middle of the head a fifth of its rim.
    """
    kept, other = kinds
    raw = np.asarray(series.voxels * shading(series, strength), dtype=np.float32)
    preferred = series.with_attributes(ImageType=kept)
    return preferred, series.again(
        f"{series.name} again", number, voxels=raw, preferred=False, attributes={"ImageType": other}
    )


def shading(series: ClinicalSeries, strength: float) -> FloatArray:
    """Return a surface coil's sensitivity [z, y, x]: 1 at the head's rim, falling with depth."""
    top = float(np.percentile(series.voxels, 98))
    head = ndimage.binary_closing(series.voxels > 0.15 * top, iterations=3)
    for plane in head:
        plane |= ndimage.binary_fill_holes(plane)
    x_mm, y_mm, z_mm = series.geometry.spacing_mm
    depth_mm = ndimage.distance_transform_edt(head, sampling=(z_mm, y_mm, x_mm))
    smooth = ndimage.gaussian_filter(depth_mm, (8 / z_mm, 8 / y_mm, 8 / x_mm))
    return np.asarray(np.exp(-strength * smooth / 40), dtype=np.float32)


def reformat(
    series: ClinicalSeries,
    number: int,
    *,
    plane: ScanPlane = "coronal",
    spacing_mm: float = 5.0,
    image_type: list[str] | None = None,
    description: str | None = None,
) -> ClinicalSeries:
    """Return the series on another plane's grid; by default its headers call it a reformat by ImageType and words."""
    voxels, geometry = _replanned(series, plane, spacing_mm)
    text = f"{series.attributes.get('SeriesDescription', '')} MPR {plane[:3]}" if description is None else description
    kind = ["DERIVED", "SECONDARY", "MPR"] if image_type is None else image_type
    copy = series.again(f"{series.name} {plane} reformat", number, voxels=voxels, geometry=geometry, preferred=False)
    return replace(copy, slice_thickness_mm=spacing_mm).with_attributes(ImageType=kind).described(text)


def projection(
    series: ClinicalSeries, number: int, *, image_type: list[str] | None = None, description: str | None = None
) -> ClinicalSeries:
    """Return maximum intensity projections through slabs of 20 mm, which stand for no sequence."""
    slab = max(3, round(20 / series.geometry.spacing_mm[2]))
    voxels = ndimage.maximum_filter1d(series.voxels, slab, axis=0)
    kind = ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"] if image_type is None else image_type
    text = f"{series.attributes.get('SeriesDescription', '')}_MIP_tra" if description is None else description
    copy = series.again(f"{series.name} projection", number, voxels=voxels, preferred=False, shows=None)
    return copy.with_attributes(ImageType=kind).described(text)


def subtraction(series: ClinicalSeries, number: int, *, image_type: list[str]) -> ClinicalSeries:
    """Return what is left of an enhanced series when the native one is taken away: bright vessels and lesions only."""
    level = float(np.percentile(series.voxels, 90))
    copy = series.again(f"{series.name} subtraction", number, preferred=False, shows=None)
    left = np.maximum(series.voxels - np.float32(level), 0)
    return replace(copy, voxels=left).with_attributes(ImageType=image_type).described("SUB")


def multi_echo(
    patient: ClinicalPatient,
    drawn: Drawn,
    rng: np.random.Generator,
    number: int,
    started_s: float | None,
    *,
    agent: float = 0.0,
    one_series: bool = True,
    echoes: int = 4,
    name: str = "multi-echo",
) -> list[ClinicalSeries]:
    """Return the echoes of a multi-echo 3D T1, 1.86 ms apart, and their root mean square in a series of its own.

    The mean square is preferred; any echo may stand for it.
    """
    seed = int(rng.integers(2**31))
    found: list[ClinicalSeries] = []
    for echo in range(echoes):
        te = round(1.64 + 1.86 * echo, 2)
        own = np.random.default_rng(seed)  # the same head position and coil
        timed = replace(drawn, contrast=replace(drawn.contrast, echo_time_ms=te))
        one = patient.series(f"{name} echo {echo + 1}", number, timed, own, started_s, agent=agent, motion=0.5)
        noisy = rng.normal(0, 6, one.voxels.shape)
        one = replace(one, preferred=False, voxels=np.abs(one.voxels + noisy).astype(np.float32))
        one = one.with_attributes(EchoTime=te, EchoNumbers=echo + 1)
        one = replace(one, within=f"{name} echo 1") if one_series else replace(one, number=number + echo)
        found.append(one)
    square = np.sqrt(np.mean([e.voxels**2 for e in found], axis=0)).astype(np.float32)
    text = f"{found[0].attributes['SeriesDescription']} RMS"
    last = number + (1 if one_series else echoes)
    mean = found[0].again(f"{name} RMS", last, voxels=square, preferred=True, within="")
    kind = [*found[0].attributes["ImageType"][:2], "OTHER" if len(found[0].attributes["ImageType"]) < 4 else "M", "RMS"]
    return [*found, mean.described(text).with_attributes(ImageType=kind, EchoNumbers=None)]


def dixon(
    patient: ClinicalPatient,
    drawn: Drawn,
    rng: np.random.Generator,
    number: int,
    started_s: float | None,
    *,
    agent: float = 0.0,
    one_series: bool = True,
    name: str = "dixon",
    marks: tuple[str, str, str, str] = ("W", "F", "IP", "OP"),
) -> list[ClinicalSeries]:
    """Return water, fat, in-phase and opposed-phase images, in one series or in four.

    Only ImageType's third and fourth value (``marks``) tells them apart within one series; four are also described.
    """
    seed = int(rng.integers(2**31))
    found: list[ClinicalSeries] = []
    images: tuple[FatImage, ...] = ("water", "fat", "in phase", "opposed")
    for place, (image, mark) in enumerate(zip(images, marks, strict=True)):
        own = np.random.default_rng(seed)
        shown = replace(drawn, contrast=replace(drawn.contrast, fat=image))
        one = patient.series(f"{name} {image}", number, shown, own, started_s, agent=agent, motion=0.5)
        one = replace(one, shows=one.shows if image in ("water", "in phase") else None)
        one = one.with_attributes(ImageType=["ORIGINAL", "PRIMARY", mark, mark, "FFE"])
        if one_series:
            one = replace(one, within=f"{name} water")
        else:
            one = replace(one, number=number + place).described(f"{one.attributes['SeriesDescription']}_{mark}")
        found.append(one)
    return found


def blanked(series: ClinicalSeries, first: float, last: float) -> ClinicalSeries:
    """Return the series with zeros in its slices from share ``first`` to ``last``, as a failed transfer leaves it."""
    voxels = series.voxels.copy()
    voxels[int(first * len(voxels)) : int(last * len(voxels))] = 0
    return replace(series, voxels=voxels)


def one_uid_per_file(series: ClinicalSeries) -> ClinicalSeries:
    """Return the series as an anonymiser leaves it that gives every file a SeriesInstanceUID of its own."""
    return replace(series, uid_per_file=True)


def unevenly_spaced(series: ClinicalSeries, share: float, rng: np.random.Generator) -> ClinicalSeries:
    """Return the series with slice distances that differ by up to ``share`` of the mean."""
    step_mm = series.geometry.spacing_mm[2]
    steps = 1 + rng.uniform(-share / 2, share / 2, len(series.voxels) - 1)
    places = np.concatenate([[0.0], np.cumsum(steps / steps.mean())]) * step_mm
    return replace(series, offsets_mm=tuple(float(v) for v in places - np.arange(len(places)) * step_mm))


def _replanned(series: ClinicalSeries, plane: ScanPlane, spacing_mm: float) -> tuple[FloatArray, Geometry]:
    source = series.geometry
    extent_mm = np.abs(source.lps_from_voxel[:3, :3]) @ np.array(source.size_voxels)
    axes = plane_axes(plane)
    pixel_mm = source.spacing_mm[0]
    spacing = np.array((pixel_mm, pixel_mm, spacing_mm))
    x, y, z = (max(8, int(n)) for n in np.round(np.abs(axes).T @ extent_mm / spacing))
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    middle = source.lps_from_voxel @ np.append((np.array(source.size_voxels) - 1) / 2, 1)
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((np.array((x, y, z)) - 1) / 2)
    geometry = Geometry((x, y, z), affine)
    return sample(series.voxels, source, geometry, np.eye(4)), geometry

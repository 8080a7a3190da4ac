"""One phantom patient on a clinical scanner: any technique, any plane, in coarse pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import SimpleITK as sitk

from glioserve_contract import Modality
from glioserve_contract.records.grid import Vector
from glioserve_dicom.volumes.geometry import Geometry, Matrix
from glioserve_phantom.acquisition import PhantomAcquisition, ScanPlane, head_axes, plane_axes, rigid, rotation, scan
from glioserve_phantom.anatomy import BOX_HIGH_MM, BOX_LOW_MM, PhantomTissue
from glioserve_phantom.clinical.physics import Contrast, tissue_signal
from glioserve_phantom.clinical.series import ClinicalSeries
from glioserve_phantom.clinical.techniques import AGENT_MARKS, Drawn
from glioserve_phantom.shapes import capsule
from glioserve_phantom.study import POINT_SPREAD_MM, Phantom, PhantomHead, make_phantom
from glioserve_preprocess.arrays import ByteArray, FloatArray
from glioserve_preprocess.itk import to_sitk

HEAD_SPACING_MM = 2.0
PIXEL_MM = 2.1
"""Coarser than a real scan's 0.5 to 1 mm, for time, but finer than what counts as a field map's or a scout's."""
FIELD_MM = 240.0
COVERED_MM: dict[ScanPlane, float] = {"axial": 160.0, "sagittal": 150.0, "coronal": 190.0}
CONTRAST_AGENT = "Gadobutrol"
JITTER = 0.05
"""Relative standard deviation of each tissue's intensity between scans."""
ARTERIES: tuple[tuple[Vector, Vector, float], ...] = (
    ((0, 2, -60), (0, -4, -22), 2.2),  # basilar
    ((14, -12, -64), (14, -16, -16), 2.5),  # internal carotids
    ((-14, -12, -64), (-14, -16, -16), 2.5),
    ((14, -16, -16), (48, -10, -4), 1.8),  # middle cerebral
    ((-14, -16, -16), (-48, -10, -4), 1.8),
    ((0, -30, -12), (0, -58, 26), 1.6),  # anterior cerebral, both
)
"""Start, end and radius in mm, in the head's frame: bright by inflow in gradient echoes, dark in spin echoes."""
SMALL_LESION_MM = 4.0
"""Radius of the lesion of a patient who has a small one only."""


@dataclass(frozen=True)
class Conditions:
    """The grid and the imperfections of a scan."""

    plane: ScanPlane = "axial"
    spacing_mm: float = 4.0
    pixel_mm: float = PIXEL_MM
    field_mm: float = FIELD_MM
    covered_mm: float | None = None
    """Extent along the normal; None takes the plane's usual one."""
    noise: float = 0.02
    """Rician sigma, in units of 560 (:data:`physics.BRIGHT` is 900)."""
    shading: float = 0.1
    """Standard deviation of the logarithm of the coil's field."""
    gain: float = 1.0


class ClinicalPatient:
    """A phantom's head that may be scanned any number of times; the head itself is rendered once."""

    def __init__(self, seed: int, *, small_lesion: bool = False, field_tesla: float | None = None) -> None:
        self.seed = seed
        self.field_tesla = field_tesla or (3.0 if seed % 2 else 1.5)
        self.phantom: Phantom = make_phantom(seed, spacing_mm=HEAD_SPACING_MM)
        if small_lesion:
            lesion = replace(self.phantom.lesion, radii_mm=(SMALL_LESION_MM,) * 3, outline_mm=0.5, oedema_mm=3.0)
            self.phantom = replace(self.phantom, lesion=lesion)

    @property
    def head(self) -> PhantomHead:
        """The rendered head."""
        return self.phantom.head

    @cached_property
    def labels(self) -> ByteArray:
        """The head's tissues [z, y, x] with :data:`ARTERIES`."""
        labels = self.head.labels.copy()
        p = head_axes(HEAD_SPACING_MM, BOX_LOW_MM, BOX_HIGH_MM)
        open_to_flow = (labels >= PhantomTissue.CSF) & (labels <= PhantomTissue.DEEP_GREY)
        for start, end, radius_mm in ARTERIES:
            labels[open_to_flow & (capsule(p, start, end, radius_mm) < 0)] = PhantomTissue.VESSEL
        return labels

    def measured(
        self, contrast: Contrast, conditions: Conditions, rng: np.random.Generator, *, motion: float = 1.0
    ) -> tuple[FloatArray, Geometry]:
        """Return voxels [z, y, x] and geometry of one scan; ``motion`` scales turns of 2 degrees and shifts of 2 mm."""
        table = tissue_signal(contrast) * rng.normal(1.0, JITTER, len(PhantomTissue)).clip(0.85, 1.15)
        voxels = np.asarray(table[self.labels] * self.head.texture, dtype=np.float32)
        if contrast.inflow:
            voxels = self._saturated(voxels, contrast)
        image = sitk.DiscreteGaussian(to_sitk(voxels, self.head.geometry), [POINT_SPREAD_MM**2] * 3)
        base = self.phantom.scanner_lps_from_head[Modality.T1CE]
        turned = rigid(rng.normal(0, 2.0 * motion, 3), rng.normal(0, 2.0 * motion, 3))
        pose: Matrix = base @ turned
        acquisition = self._acquisition(conditions, base, rng)
        return scan(image, acquisition, pose), acquisition.geometry

    def series(
        self,
        name: str,
        number: int,
        drawn: Drawn,
        rng: np.random.Generator,
        started_s: float | None,
        *,
        agent: float = 0.0,
        marked: bool = True,
        motion: float = 1.0,
        conditions: Conditions | None = None,
        **values: Any,
    ) -> ClinicalSeries:
        """Return one scan as a series; with ``agent`` its headers name one, and its description too if ``marked``."""
        conditions = conditions or Conditions(noise=rng.uniform(0.01, 0.035), shading=rng.uniform(0.04, 0.2))
        conditions = replace(
            conditions,
            plane=drawn.plane,
            spacing_mm=drawn.spacing_mm,
            gain=float(np.exp(rng.uniform(np.log(0.6), np.log(2.4)))),
        )
        voxels, geometry = self.measured(replace(drawn.contrast, agent=agent), conditions, rng, motion=motion)
        shows = drawn.technique.shows
        if shows is Modality.T1 and agent:
            shows = Modality.T1CE
        series = ClinicalSeries(
            name, number, voxels, geometry, drawn.attributes, shows, True, started_s, 0.95 * drawn.spacing_mm, **values
        )
        if agent:
            series = series.with_attributes(ContrastBolusAgent=CONTRAST_AGENT)
        if agent and marked and shows is Modality.T1CE:
            maker = next(m for m in AGENT_MARKS if str(drawn.attributes["Manufacturer"]).upper().startswith(m[:5]))
            series = series.described(AGENT_MARKS[maker].format(drawn.attributes["SeriesDescription"]))
        return series

    def _saturated(self, voxels: FloatArray, contrast: Contrast) -> FloatArray:
        """Let inflowing blood lose its signal from the neck upwards, as it is excited again and again."""
        resting = tissue_signal(replace(contrast, inflow=0.0))[PhantomTissue.VESSEL]
        share = np.linspace(1.3, 0.3, voxels.shape[0], dtype=np.float32).clip(0, 1)[:, None, None]
        vessel = self.labels == PhantomTissue.VESSEL
        return np.where(vessel, resting + (voxels - resting) * share, voxels).astype(np.float32)

    def _acquisition(self, wanted: Conditions, pose: Matrix, rng: np.random.Generator) -> PhantomAcquisition:
        covered_mm = wanted.covered_mm or COVERED_MM[wanted.plane]
        slices = max(2, int(np.ceil(covered_mm / wanted.spacing_mm)))
        size = round(wanted.field_mm / wanted.pixel_mm)
        directions = rotation(rng.uniform(-5, 5, 3)) @ plane_axes(wanted.plane)
        centre = (pose @ (0, 0, -2.0, 1))[:3] + rng.uniform(-3, 3, 3)
        affine = np.eye(4)
        affine[:3, :3] = directions * (wanted.pixel_mm, wanted.pixel_mm, wanted.spacing_mm)
        affine[:3, 3] = centre - affine[:3, :3] @ ((np.array((size, size, slices)) - 1) / 2)
        return PhantomAcquisition(
            Modality.T1,
            wanted.plane,
            Geometry((size, size, slices), affine),
            0.95 * wanted.spacing_mm,
            wanted.noise,
            wanted.shading,
            wanted.gain,
            int(rng.integers(2**31)),
        )


@lru_cache(maxsize=4)
def clinical_patient(seed: int, small_lesion: bool = False) -> ClinicalPatient:
    """Return the patient of a seed; the last few are kept, since rendering a head is most of a study's cost."""
    return ClinicalPatient(seed, small_lesion=small_lesion)

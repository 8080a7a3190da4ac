"""Stacks as candidates for a sequence: what each one is, where it lies, and what speaks for it."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from glioserve_contract import GlioserveError, Modality
from glioserve_contract.sequences import PixelKind
from glioserve_dicom import words
from glioserve_dicom.files.attributes import text
from glioserve_dicom.slices.spacing import SAME_POSITION_MM, even_step
from glioserve_dicom.slices.stacks import Stack, counted
from glioserve_preprocess.arrays import FloatArray
from glioserve_preprocess.series.acquisition import Acquisition
from glioserve_preprocess.series.evidence import Evidence

_LOSSY_SYNTAXES = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000})
"""Transfer syntaxes that lose information, or may: JPEG 2000 has a lossless one of its own (PS3.5 A.4)."""
_COMBINED = frozenset({"RMS", "MEAN", "COMBINED", "SUM"})
"""Image types and words of an image that was computed from all echoes."""
_WATER = frozenset("W WATER W_FFE W_TSE W_SE DIXON_WATER DIXON_W WATER_ONLY WATER_IMAGE IDEAL_WATER".split())
"""Image types of the water image of a Dixon acquisition."""
AXIAL_COSINE = 0.8
"""Least cosine between an axial stack's normal and the patient's long axis: oblique axial slices are still axial."""

Voxels = Callable[[Stack], FloatArray | None]
"""Voxels [z, y, x] of a stack; None where they cannot be read."""


class PixelOpinion(Protocol):
    """The opinion on a stack by its voxels alone, as the network of the package ``opinion`` gives it."""

    @property
    def shares(self) -> Mapping[PixelKind, float]:
        """Calibrated share of every kind; they sum to 1."""

    @property
    def thresholds(self) -> Mapping[PixelKind, float]:
        """Share from which each kind is the answer."""

    @property
    def likeliest(self) -> PixelKind:
        """Kind of the largest share, decided or not."""

    @property
    def confidence(self) -> float:
        """Largest share, 0 to 1."""

    @property
    def kind(self) -> PixelKind | None:
        """Likeliest kind, or None where its share is below its threshold."""


@dataclass(frozen=True, eq=False)
class SeriesCandidate:
    """One stack with its acquisition and the evidence of what it is."""

    number: str
    """SeriesNumber, by which a person finds it in the archive; "unnumbered" where there is none."""
    stack: Stack
    acquisition: Acquisition
    evidence: Evidence
    acquisition_group: int = -1
    """Number of its acquisition within the study; stacks of equal number are reconstructions of one."""
    time_is_of_making: bool = False
    """True for a derived stack without its originals: its images are at least as old as its times."""
    marked_native: bool = False
    """True where its own headers, or those of its acquisition, settle that no agent was given before it."""
    told_by_images: bool = False
    """True where a comparison with another stack's images counted for or against the agent."""
    pixels: PixelOpinion | None = None
    """Opinion of the network that looks at voxels; None where it was not asked."""

    @property
    def series_instance_uid(self) -> str:
        """SeriesInstanceUID as the files have it."""
        return self.stack.series_instance_uid

    @property
    def series_instance_uids(self) -> frozenset[str]:
        """SeriesInstanceUIDs of all frames; several where a volume was split over series."""
        return frozenset(text(frame.dataset, "SeriesInstanceUID") for frame in self.stack.frames)

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID as the files have it; empty where there is none."""
        return text(self.stack.frames[0].dataset, "FrameOfReferenceUID")

    def timely(self, untimely: Container[float]) -> float | None:
        """Return the time of its acquisition; None where it is not stated or among ``untimely``."""
        time_s = self.acquisition.acquired_s
        return None if time_s is None or time_s in untimely else time_s

    @property
    def slices(self) -> int:
        """Number of different slice positions."""
        return self.stack.slices

    @property
    def modality(self) -> Modality | None:
        """The sequence that the evidence names, if it is strong enough."""
        return self.evidence.modality

    @property
    def derived(self) -> bool:
        """True for a stack that was computed from other images."""
        return "DERIVED" in self.acquisition.image_type

    @property
    def lossy(self) -> bool:
        """True where the pixels were compressed with loss, now or at some time before."""
        return self.acquisition.lossy or self.stack.frames[0].instance.transfer_syntax in _LOSSY_SYNTAXES

    @property
    def marks(self) -> frozenset[str]:
        """Image types and known words of the description, upper case."""
        return frozenset({*self.acquisition.image_type, *(w.upper() for w in self.acquisition.description)})

    @property
    def combines_echoes(self) -> bool:
        """True for the root mean square, or the mean, of the echoes of a multi-echo acquisition."""
        return bool(self.marks & _COMBINED)

    @property
    def is_water(self) -> bool:
        """True for the water image of a Dixon acquisition."""
        return bool({*self.acquisition.image_type} & _WATER or {*self.acquisition.description} & {"water"})

    @property
    def distortion_corrected(self) -> bool:
        """True where the scanner corrected the gradients' distortion."""
        return bool(self.marks & {"DIS2D", "DIS3D"})

    @property
    def normalised(self) -> bool:
        """True where the scanner divided out the sensitivity of its receive coil."""
        return "NORM" in self.marks

    @property
    def fat_suppressed(self) -> bool:
        """True where the headers state that fat is suppressed."""
        marks = {*self.acquisition.description, *self.acquisition.scan_options}
        return self.acquisition.fat_suppressed or bool(marks & (words.FAT_SAT_WORDS | {"FS", "SFS", "WE"}))

    @property
    def blood_suppressed(self) -> bool:
        """True where the description states that blood is dark: an image of vessel walls."""
        return bool({*self.acquisition.description} & words.BLOOD_SAT_WORDS)

    @property
    def noisy_background(self) -> bool:
        """True for a uniform image of MP2RAGE whose background was not cleaned: a ratio, which is noise in air."""
        return "uniden" not in self.acquisition.description and bool(self.marks & {"UNI"})

    @cached_property
    def problem(self) -> GlioserveError | None:
        """The reason why it cannot be a volume, as far as headers show: the stack's own problem, or uneven slices."""
        planes = [frame.plane for frame in self.stack.frames if frame.plane is not None]
        if self.stack.problem is not None or len(planes) < 2:
            return self.stack.problem
        normal = planes[0].normal
        positions = np.array([plane.position_lps_mm for plane in planes])
        kept = np.diff(positions @ normal, prepend=-np.inf) >= SAME_POSITION_MM
        try:
            even_step(positions[kept], normal, planes[0].normal_error)
        except GlioserveError as problem:
            return problem
        return None

    @cached_property
    def extent_mm(self) -> float:
        """Distance from the first slice to the last; 0 where the headers do not place them."""
        planes = [frame.plane for frame in self.stack.frames if frame.plane is not None]
        if not planes:
            return 0.0
        along = np.array([plane.position_lps_mm for plane in planes]) @ planes[0].normal
        return float(np.ptp(along))

    @property
    def slice_distance_mm(self) -> float:
        """Mean distance of neighbouring slices."""
        return self.extent_mm / max(self.slices - 1, 1)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Distance of neighbouring rows, then of neighbouring columns; 0 where the headers do not state it."""
        plane = self.stack.frames[0].plane
        return plane.pixel_spacing_mm if plane is not None else (0.0, 0.0)

    @property
    def grid(self) -> Hashable:
        """Frame of reference, number of slices, matrix, and the first slice's place to the millimetre."""
        plane = self.stack.frames[0].plane
        place = () if plane is None else (plane.rows, plane.columns, *(round(float(v)) for v in plane.position_lps_mm))
        return (self.frame_of_reference, self.slices, place)

    @property
    def field_mm(self) -> float:
        """Larger side of the field of view within a slice; 0 where the headers do not state it."""
        plane = self.stack.frames[0].plane
        if plane is None:
            return 0.0
        row_mm, column_mm = plane.pixel_spacing_mm
        return max(row_mm * plane.rows, column_mm * plane.columns)

    @property
    def axial(self) -> bool:
        """True where the slices lie across the patient's long axis."""
        plane = self.stack.frames[0].plane
        return plane is not None and abs(float(plane.normal[2])) > AXIAL_COSINE

    @property
    def protocol(self) -> Acquisition:
        """The acquisition without its time and without words that only mark a repeat."""
        description = tuple(w for w in self.acquisition.description if w not in ("repeat", "rpt", "motion"))
        return replace(
            self.acquisition, started_s=None, acquired_s=None, acquisition_number="", description=description
        )

    @property
    def name(self) -> str:
        """The name in messages: ``series 13`` or ``series 13, echo 2``."""
        return f"series {self.number}" + (f", {self.stack.part}" if self.stack.part else "")

    def score(self, modality: Modality) -> float:
        """Return the share of belief in ``modality``."""
        return self.evidence.scores.get(modality, 0.0)

    def __str__(self) -> str:
        best = max(self.evidence.scores, key=self.score, default=None)
        likeliest = f"{best} {self.score(best):.2f}" if best else "none of the sequences"
        return f"{self.name} ({counted(self.slices)}, {likeliest}: {'; '.join(self.evidence.reasons)})"

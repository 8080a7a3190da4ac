"""The sequences of a phantom's scanner as one table: words, timings, planes, and intensities of tissue.

Headers, acquisitions and images are drawn from it; ``docs/adding-a-sequence.md`` describes a further sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glioserve_contract import Modality
from glioserve_contract.sequences import SEQUENCES
from glioserve_phantom.anatomy import PhantomTissue
from glioserve_preprocess.arrays import FloatArray


@dataclass(frozen=True)
class PulseSequence:
    """The timings of one kind of pulse sequence, as ranges to draw from, by the DICOM attributes that carry them."""

    scanning_sequence: str | list[str]
    sequence_variant: str
    repetition_time_ms: tuple[float, float]
    echo_time_ms: tuple[float, float]
    flip_angle_deg: int
    echo_train_length: int = 1
    inversion_time_ms: tuple[float, float] | None = None

    def attributes(self, rng: np.random.Generator) -> dict[str, str | list[str] | float]:
        """Return one draw as values by DICOM keyword."""
        drawn: dict[str, str | list[str] | float] = {
            "ScanningSequence": self.scanning_sequence,
            "SequenceVariant": self.sequence_variant,
            "RepetitionTime": _tenths(rng, self.repetition_time_ms),
            "EchoTime": _tenths(rng, self.echo_time_ms),
            "FlipAngle": self.flip_angle_deg,
            "EchoTrainLength": self.echo_train_length,
        }
        if self.inversion_time_ms is not None:
            drawn["InversionTime"] = _tenths(rng, self.inversion_time_ms)
        return drawn


def _tenths(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    return round(float(rng.uniform(*limits)), 1)


@dataclass(frozen=True)
class Scan:
    """One way of scanning a sequence, as its headers describe it."""

    descriptions: tuple[str, str, str]
    """SeriesDescription by vendor, in the order of ``headers.VENDORS``; ``{}`` stands for the plane's word."""
    pulse_sequence: PulseSequence


@dataclass(frozen=True)
class SequenceProtocol:
    """One row of :data:`PROTOCOLS`."""

    scan: Scan
    """The scan in 2D."""
    start_s: int
    """Seconds after the localiser."""
    thin_scan: Scan | None = None
    """The scan in 3D that takes the place of the other from :data:`THIN_MM` downwards."""
    plane_odds: tuple[float, float, float] = (0.65, 0.2, 0.15)
    """Probability of axial, sagittal and coronal slices."""
    spacings_mm: tuple[float, ...] = (4.0, 4.5, 4.8)
    """Slice spacings, all equally likely."""


THIN_MM = 3.0
"""Largest slice spacing of a scan in 3D."""
_T1_SPIN_ECHO = PulseSequence("SE", "NONE", (420, 650), (8, 15), 90)

PROTOCOLS: dict[Modality, SequenceProtocol] = {
    Modality.T1: SequenceProtocol(Scan(("t1_se_{}", "{} T1 SE", "T1W_SE_{}"), _T1_SPIN_ECHO), start_s=180),
    Modality.T1CE: SequenceProtocol(
        Scan(("t1_se_{}_KM", "{} T1 SE +C", "T1W_SE_{} GD"), _T1_SPIN_ECHO),
        start_s=1140,  # after all that is scanned without contrast agent
        thin_scan=Scan(
            ("t1_mpr_{}_3d KM", "{} T1 3D SPGR +C", "3D T1W_FFE_{} GD"),
            PulseSequence("GR", "SP", (7, 11), (2.2, 4.5), 15),
        ),
        plane_odds=(0.9, 0.1, 0.0),
        spacings_mm=(3.0, 4.0, 4.5, 4.8),
    ),
    Modality.T2: SequenceProtocol(
        Scan(
            ("t2_tse_{}", "{} T2 FSE", "T2W_TSE_{}"),
            PulseSequence("SE", "SK", (3200, 5500), (85, 110), 150, echo_train_length=15),
        ),
        start_s=420,
    ),
    Modality.FLAIR: SequenceProtocol(
        Scan(
            ("t2_tirm_{}_dark-fluid", "{} T2 FLAIR", "FLAIR_{}"),
            PulseSequence(
                ["IR", "SE"],
                "SK",
                (7500, 9500),
                (90, 130),
                150,
                echo_train_length=17,
                inversion_time_ms=(2200, 2600),
            ),
        ),
        start_s=660,
    ),
}
"""The protocol of each sequence."""

_COLUMNS = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)
_INTENSITY: dict[PhantomTissue, tuple[float, ...]] = {
    # in the order of _COLUMNS; white matter on T1 is 560
    PhantomTissue.AIR: (4, 4, 4, 4),
    PhantomTissue.FAT: (950, 950, 640, 560),
    PhantomTissue.MUSCLE: (300, 330, 180, 220),
    PhantomTissue.BONE: (45, 50, 30, 35),
    PhantomTissue.MARROW: (330, 340, 170, 180),
    PhantomTissue.CSF: (140, 150, 1000, 90),
    PhantomTissue.GREY: (420, 445, 560, 600),
    PhantomTissue.WHITE: (560, 580, 400, 480),
    PhantomTissue.DEEP_GREY: (475, 500, 470, 545),
    PhantomTissue.EYE: (150, 155, 1000, 140),
    PhantomTissue.VESSEL: (170, 930, 110, 120),
    PhantomTissue.DURA: (220, 520, 260, 220),
    PhantomTissue.PLEXUS: (340, 800, 620, 500),
    PhantomTissue.OEDEMA: (400, 420, 760, 880),
    PhantomTissue.ENHANCING: (420, 1020, 600, 760),
    PhantomTissue.NECROTIC: (240, 280, 880, 560),
    PhantomTissue.MUCOSA: (380, 720, 780, 640),
}
TISSUE_JITTER = 0.06
"""Relative standard deviation of each tissue's intensity between studies."""
ENHANCEMENT_RANGE = (0.8, 1.15)
"""Range of the factor on the enhancing tissue after contrast agent, between studies; the same for both diagnoses."""


def tissue_intensities(rng: np.random.Generator, modality: Modality) -> FloatArray:
    """Return the intensity of every :class:`PhantomTissue` label in one study's sequence, before coil and noise."""
    table = np.array([_INTENSITY[t][_COLUMNS.index(modality)] for t in PhantomTissue], dtype=np.float32)
    table *= rng.normal(1.0, TISSUE_JITTER, table.shape).clip(0.85, 1.15).astype(np.float32)
    enhancement = np.float32(rng.uniform(*ENHANCEMENT_RANGE))
    if SEQUENCES[modality].enhanced:
        table[PhantomTissue.ENHANCING] *= enhancement
    return table

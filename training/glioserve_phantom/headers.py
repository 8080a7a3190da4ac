"""Headers of a phantom's series as a scanner writes them: descriptions, timings and contrast, by vendor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from glioserve_contract.sequences import SEQUENCES
from glioserve_phantom.acquisition import PhantomAcquisition
from glioserve_phantom.sequences import PROTOCOLS, THIN_MM

VENDORS = ("SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems")
_PLANE_WORDS = {"axial": ("tra", "Ax", "TRA"), "sagittal": ("sag", "Sag", "SAG"), "coronal": ("cor", "Cor", "COR")}
CONTRAST_AGENT = "Gadobutrol"

HeaderValue = str | float | list[str]
"""A value that pydicom takes for an attribute."""


@dataclass(frozen=True)
class SeriesHeader:
    """The attributes of one series."""

    series_number: int
    start_s: int
    """Seconds after the study's first image."""
    attributes: Mapping[str, HeaderValue] = field(default_factory=dict)
    """Values by DICOM keyword."""


def sequence_header(acquisition: PhantomAcquisition, vendor: str) -> SeriesHeader:
    """Return the header of one of the study's sequences."""
    modality, protocol = acquisition.modality, PROTOCOLS[acquisition.modality]
    rng = np.random.default_rng([acquisition.seed, 4])
    style = VENDORS.index(vendor)
    volumetric = protocol.thin_scan is not None and acquisition.geometry.spacing_mm[2] <= THIN_MM
    scan = protocol.thin_scan if protocol.thin_scan is not None and volumetric else protocol.scan
    attributes: dict[str, HeaderValue] = {
        "SeriesDescription": scan.descriptions[style].format(_PLANE_WORDS[acquisition.plane][style]),
        "ImageType": ["ORIGINAL", "PRIMARY", *(("M", "ND") if style == 0 else ("OTHER",))],
        "MRAcquisitionType": "3D" if volumetric else "2D",
        "ScanOptions": "",
        **scan.pulse_sequence.attributes(rng),
    }
    attributes["ProtocolName"] = attributes["SeriesDescription"]
    if SEQUENCES[modality].enhanced:
        attributes["ContrastBolusAgent"] = CONTRAST_AGENT
    number = 2 + sorted(PROTOCOLS, key=lambda m: PROTOCOLS[m].start_s).index(modality)
    return SeriesHeader(number, protocol.start_s, attributes)


def localiser_header(vendor: str) -> SeriesHeader:
    """Return the header of a quick gradient echo in three planes, the first series of the study."""
    return SeriesHeader(
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


def reformat_header(t1ce: SeriesHeader) -> SeriesHeader:
    """Return the header of a coronal reformat of the contrast series: all of its marks, but derived."""
    changes: dict[str, HeaderValue] = {
        "SeriesDescription": f"{t1ce.attributes['SeriesDescription']} MPR cor",
        "ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"],
    }
    return SeriesHeader(t1ce.series_number + 1, t1ce.start_s + 300, {**t1ce.attributes, **changes})

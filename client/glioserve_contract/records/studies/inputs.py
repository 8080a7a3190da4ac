"""Describe a study's input as drift is measured: the scanner and the intensities, no pixel and no identity."""

from __future__ import annotations

from dataclasses import dataclass

from glioserve_contract.sequences import Modality

HISTOGRAM_BINS = 32
"""Bins of equal width over 0 to 1 of an intensity histogram."""


@dataclass(frozen=True)
class SequenceInput:
    """Scanner and intensities of one sequence that was used."""

    modality: Modality
    """Sequence of the channel."""
    histogram: tuple[float, ...]
    """Shares of the brain's voxels on the network's grid in :data:`HISTOGRAM_BINS` equal bins of the normalised
    intensity from 0 to 1; they sum to 1."""
    manufacturer: str = ""
    """Manufacturer by its known short name (``SIEMENS``); empty where it is unknown, and for volumes."""
    field_strength_tesla: float | None = None
    """MagneticFieldStrength, in tesla; None where it is not stated, and for volumes."""


@dataclass(frozen=True)
class InputRecord:
    """The input of one study, in the order of the network's channels."""

    sequences: tuple[SequenceInput, ...]
    """One entry for each channel."""
